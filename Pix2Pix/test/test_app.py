"""app.py: what becomes of a painted label map, without a browser."""

import app
import numpy as np
import pytest
from conftest import read
from data import FACADE_LABELS
from PIL import Image
from predict import load_translator, parse_args

from common.cli import UserError


def test_label_maps():
    """Templates hold facades; what a brush blurs is cleaned; a user's own is scaled, and of a pair the right half."""
    for labels in app.templates().values():
        assert labels.shape == (app.CANVAS, app.CANVAS, 3) and (labels == FACADE_LABELS["facade"]).all(2).any()
        blurred = labels + np.random.default_rng(0).integers(-10, 11, labels.shape)
        cleaned = app.cleaned(np.clip(blurred, 0, 255).astype(np.uint8), 256)
        np.testing.assert_array_equal(cleaned, labels[1::2, 1::2])
        for own in (labels[::2, ::2], np.concatenate([0 * labels, labels], 1)):
            np.testing.assert_array_equal(app.on_canvas(Image.fromarray(own)), labels)


def test_photograph(tmp_path, tiny_run):
    """That of predict.py, kept in a file, and shown as large as the map."""
    translator, told = app.load(str(tiny_run.folder))
    assert "Trained for 7 steps on facades" in told
    labels = app.templates()["town house"]
    image, file, seconds = app.photograph(translator, labels, str(tmp_path))
    expected = load_translator(parse_args(["x", f"--ckpt_path={tiny_run.folder}"]))(labels[::2, ::2])
    assert image.shape == (app.CANVAS, app.CANVAS, 3)
    np.testing.assert_allclose(image.mean((0, 1)), expected.mean((0, 1)), atol=1)
    np.testing.assert_array_equal(read(file), expected)
    assert seconds.endswith(" s")
    with pytest.raises(UserError, match="paint something first"):
        app.photograph(translator, None, str(tmp_path))
