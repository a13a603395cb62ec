"""app.py: what its page computes and that it builds; the page in a real browser is tested elsewhere."""

from pathlib import Path

import app
import numpy as np
import pytest
from test_predict import opened


def test_what_the_page_shows(ssgan_run):
    predictor = opened(ssgan_run)
    answer, seen, seconds = app.recognise(predictor, app.example())
    assert set(answer) == set(ssgan_run.data.class_names) and sum(answer.values()) == pytest.approx(1, abs=1e-4)
    assert seen.shape == (48, 40, 3) and seen.dtype == np.uint8 and seconds.endswith(" seconds")
    path = app.generate(predictor, 3)
    assert path.endswith("generated_3.png") and Path(path).read_bytes()[:4] == b"\x89PNG"


def test_the_page_builds(ssgan_run, tmp_path):
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks() as page:  # as a tab of a larger page
        app.build(str(ssgan_run.folder))
    kinds = {type(block).__name__ for block in page.blocks.values()}
    assert {"Sketchpad", "Label", "Image", "Number", "File"} <= kinds
    with gradio.Blocks() as page:  # without weights: a line that says so
        app.build(str(tmp_path))
    [line] = [block.value for block in page.blocks.values() if type(block).__name__ == "Markdown"]
    assert "no weights in" in line
