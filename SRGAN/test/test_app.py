"""app.py: what the page makes of a photograph and of what is none; served once where gradio is installed."""

import app
import numpy as np
import pytest
from conftest import noise
from PIL import Image

from common.cli import UserError


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_photograph(tmp_path, network, monkeypatch, mode):
    """The slider's images are of one size, on white where there is alpha; the file is what predict.py writes."""
    path = tmp_path / "a.png"
    Image.fromarray(noise(20, 30, 3)).convert(mode).save(path)
    (bicubic, ours), file, told = app.enlarge_file(network, str(path), str(tmp_path / "out"))
    assert bicubic.size == ours.size == (120, 80) and bicubic.mode == ours.mode == "RGB"
    assert file.endswith("a_x4.png") and told.startswith("30 x 20 became 120 x 80 in ")
    with Image.open(file) as result:
        assert result.mode == mode
        if mode == "RGB":
            np.testing.assert_array_equal(np.asarray(result), np.asarray(ours))
    monkeypatch.setattr(app, "MAX_PIXELS", 599)
    with pytest.raises(UserError, match="30 x 20 pixels are more than this page takes .*predict.py takes any"):
        app.enlarge_file(network, str(path), str(tmp_path))


def test_the_page(tiny_run, tmp_path):
    """It opens with an example's result; a run's folder does as weights, and what is none is told on the page."""
    gr = pytest.importorskip("gradio")
    with gr.Blocks(analytics_enabled=False) as page:
        app.build(str(tiny_run.folder))
    values = {type(block).__name__: block.value for block in page.blocks.values() if hasattr(block, "value")}
    assert values["ImageSlider"] is not None and values["DownloadButton"] is not None
    with gr.Blocks(analytics_enabled=False) as page:
        app.build(str(tmp_path))
    [markdown] = [block.value for block in page.blocks.values() if type(block).__name__ == "Markdown"]
    assert markdown.startswith("SRGAN cannot be shown: no weights in")
