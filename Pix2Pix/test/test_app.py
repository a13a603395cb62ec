"""app.py: what becomes of a painted label map, without a browser."""

import app
import numpy as np
import pytest
from conftest import read, save
from data import FACADE_LABELS
from predict import load_translator, parse_args

from common.cli import UserError


def test_templates_hold_labels_and_what_a_brush_blurs_is_cleaned():
    for name in app.TEMPLATES:
        labels = app.template(name)
        assert labels.shape == (app.CANVAS, app.CANVAS, 3) and (labels == FACADE_LABELS["facade"]).all(2).any()
        blurred = labels + np.random.default_rng(0).integers(-10, 11, labels.shape)
        np.testing.assert_array_equal(app.cleaned(np.clip(blurred, 0, 255).astype(np.uint8), app.CANVAS), labels)
    assert app.cleaned(labels, 256).shape == (256, 256, 3)


def test_a_label_map_of_ones_own(tmp_path):
    """Scaled to the canvas; of a pair the right half; what is no image is told in a line."""
    labels = app.template("shops below")
    for name, halves in (("map", [labels]), ("small", [labels[::2, ::2]]), ("pair", [0 * labels, labels])):
        np.testing.assert_array_equal(app.read_labels(str(save(tmp_path / f"{name}.png", *halves))), labels)
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(UserError, match="is no image"):
        app.read_labels(str(tmp_path / "bad.png"))


def test_photograph(tmp_path, tiny_run):
    """That of predict.py, kept in a file."""
    translator, told = app.load(str(tiny_run.folder))
    assert "Trained for 7 steps on facades" in told
    labels = app.template("town house")
    image, file, seconds = app.photograph(translator, labels, str(tmp_path))
    expected = load_translator(parse_args(["x", f"--ckpt_path={tiny_run.folder}"]))(labels[::2, ::2])
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(read(file), expected)
    assert seconds.endswith(" s")
    with pytest.raises(UserError, match="paint something first"):
        app.photograph(translator, None, str(tmp_path))
