"""app.py: what the page is given for a sentence, and for what is none."""

import app
import numpy as np
import predict
import pytest
from PIL import Image

from common.cli import UserError


def test_a_sentence_and_what_is_none(stage2_run, tmp_path):
    generator, encoder, trained_on = app.load(str(stage2_run))
    assert trained_on == "Trained on the images and captions of nowhere, both stages."
    images, path, told = app.generate(generator, encoder, "a red OSTRICH", 3, str(tmp_path))
    assert [image.shape for image, _ in images] == [(256, 256, 3)] * 8 and "mean little: ostrich." in told
    assert [name for _, name in images[::4]] == list(app.METHODS.values())
    wanted = predict.generate(generator, encoder.encode(["a red OSTRICH"]).repeat(4, 0), 3)[1]
    assert np.abs(images[4][0].astype(int) - wanted[0]).max() <= 1
    assert Image.open(path).size[0] == 4 * (256 + 12) + 12
    for sentence, seed in (("", 0), (None, 0), ("x" * 2000, 0), ("\u00e9\u00e8", 0), ("a bird", None), ("a bird", -1)):
        with pytest.raises(UserError):
            app.generate(generator, encoder, sentence, seed, str(tmp_path))


def test_a_page_without_weights(tmp_path):
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks(analytics_enabled=False) as page:
        app.build(str(tmp_path))
    [text] = [c for c in page.get_config_file()["components"] if c["type"] == "markdown"]
    assert "StackGAN cannot be shown: no weights in" in text["props"]["value"]
