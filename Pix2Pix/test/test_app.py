"""app.py: what becomes of a painted label map, without a browser."""

import app
import numpy as np
import predict
import pytest
from data import FACADE_LABELS
from PIL import Image

from common.cli import UserError

COLOURS = set(FACADE_LABELS.values())


def colours_of(labels):
    return set(map(tuple, np.unique(labels.reshape(-1, 3), axis=0).tolist()))


@pytest.mark.parametrize("name", app.TEMPLATES)
def test_templates(name):
    labels = app.template(name)
    assert labels.shape == (app.CANVAS, app.CANVAS, 3) and colours_of(labels) <= COLOURS
    assert FACADE_LABELS["facade"] in colours_of(labels)


def test_what_a_brush_blurs_is_cleaned():
    rng = np.random.default_rng(0)
    labels = app.template("town house")
    blurred = np.clip(labels + rng.integers(-10, 11, labels.shape), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(app.cleaned(blurred, app.CANVAS), labels)
    assert app.cleaned(labels, 256).shape == (256, 256, 3)


def test_a_label_map_of_ones_own(tmp_path):
    """Scaled to the canvas; of a pair the right half; what is no image is told in a line."""
    map_ = Image.fromarray(app.template("shops below"))
    map_.save(tmp_path / "map.png")
    np.testing.assert_array_equal(app.read_labels(str(tmp_path / "map.png")), np.asarray(map_))
    pair = Image.new("RGB", (2 * app.CANVAS, app.CANVAS))
    pair.paste(map_, (app.CANVAS, 0))
    pair.save(tmp_path / "pair.png")
    np.testing.assert_array_equal(app.read_labels(str(tmp_path / "pair.png")), np.asarray(map_))
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(UserError, match="is no image"):
        app.read_labels(str(tmp_path / "bad.png"))


def test_photograph(tmp_path, tiny_run):
    """That of predict.py, kept in a file."""
    translator, told = app.load(str(tiny_run.folder))
    assert "Trained for 7 steps on facades" in told
    labels = app.template("town house")
    image, file, seconds = app.photograph(translator, labels, str(tmp_path))
    expected = predict.load_translator(predict.parse_args(["x", f"--ckpt_path={tiny_run.folder}"]))(labels[::2, ::2])
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(np.asarray(Image.open(file)), expected)
    assert seconds.endswith(" s")
    with pytest.raises(UserError, match="paint something first"):
        app.photograph(translator, None, str(tmp_path))
