"""enlarger.py: windows over an image, the network through them, and through what was exported."""

import json
import random
from argparse import Namespace
from dataclasses import replace

import checkpoint
import enlarger
import numpy as np
import pytest
import tensorflow as tf
from conftest import noise, write_run
from enlarger import Window, cut
from model import bytes_per_pixel, load_generator

from common.cli import UserError


def test_windows():
    """Any length is kept once and far enough from the windows' ends."""
    # Two windows of 13 hold 20 pixels with an overlap of 2 x 3; they meet in its middle.
    assert cut(20, 15, 3) == [Window(0, 13, 0, 10), Window(7, 20, 10, 20)]
    # Of 15 pixels and no fewer, as an export may want them; one may reach beyond the image.
    assert cut(20, 15, 3, exact=True) == [Window(0, 15, 0, 10), Window(5, 20, 10, 20)]
    assert cut(9, 15, 3, exact=True) == [Window(0, 15, 0, 9)]
    rng = random.Random(0)
    for _ in range(3000):
        field, length, exact = rng.randint(1, 50), rng.randint(1, 700), rng.random() < 0.5
        most = rng.randint(2 * field + 1, 800)
        windows = cut(length, most, field, exact)
        sizes = {window.end - window.start for window in windows}
        assert sizes == {most} if exact else len(sizes) == 1 and max(sizes) <= most
        assert windows[0].start == windows[0].first == 0 and windows[-1].last == length
        assert windows[-1].end == (max(length, most) if exact else length)
        for one, following in zip(windows, windows[1:]):
            assert one.first < one.last == following.first < following.last
            assert one.end - one.last >= field and following.first - following.start >= field


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [3, 1])
def test_an_image_by_hand(tiny_run, network, dtype, channels):
    """Scaled, through the network (on a CPU in two halves), scaled back; grey by its luma."""
    lr, white = noise(51, 30, channels, dtype=dtype), np.iinfo(dtype).max
    generator = load_generator(checkpoint.load_weights(str(tiny_run.folder)))
    colours = tf.constant(lr[None].repeat(3 // channels, 3) / (white / 2) - 1, tf.float32)
    sr = generator(colours, training=False)[0].numpy()
    sr = sr if channels == 3 else sr @ [[0.299], [0.587], [0.114]]
    result = network.enlarge(lr)
    assert result.dtype == dtype and result.shape == (204, 120, channels) and result.std() > 0.03 * white
    np.testing.assert_allclose(result, (sr + 1) / 2 * white, atol=0.5 + 1e-5 * white)
    assert network.enlarge(lr[:1, :1]).shape == (4, 4, channels)


@pytest.mark.parametrize("options", [{}, {"scale": 2, "upsampling": "resize"}, {"scale": 8}], ids=str)
def test_no_seam_between_tiles(tmp_path, options):
    """Not even in 16 bits, at the image's edges too; and the overlap is no larger than it has to be."""
    network = checkpoint.load(str(write_run(tmp_path / "run", **options).folder))
    lr = noise(50, 77, 3, dtype="uint16")
    whole = network.enlarge(lr)
    rows, columns = network.tiling(50, 77, memory=1)
    assert len(rows) == 2 and len(columns) == 4  # the smallest: of up to 16 and 2 x 13 of overlap
    np.testing.assert_allclose(network.enlarge(lr, memory=1), whole.astype(float), atol=1)
    less = replace(network, receptive_field=network.receptive_field - 4)
    assert np.abs(less.enlarge(lr, memory=1) - whole.astype(float)).max() > 7


def test_tiles_stay_within_the_memory(network):
    for height, width in ((3000, 4000), (100, 100000), (5000, 7)):
        for memory in (2**24, 2**28):
            rows, columns = network.tiling(height, width, memory=memory)
            size = (rows[0].end - rows[0].start) * (columns[0].end - columns[0].start) * network.bytes_per_pixel
            assert size <= memory
    # By hand: 4 copies of the last layer's 64 channels of 4 bytes, 4 x 4 for a pixel; "resize" has 256 channels there.
    for upsampling, channels in (("shuffle", 64), ("resize", 256)):
        assert bytes_per_pixel(Namespace(scale=4, upsampling=upsampling, channels=64)) == 4 * channels * 4 * 16


def test_an_export_of_one_size_takes_any_image(network):
    """By tiles of exactly that size; what is smaller is mirrored to it, and equal but near that border."""

    def run(x):
        assert x.shape == (1, 36, 40, 3)
        return network.run(x)

    export, lr = replace(network, run=run, size=(36, 40)), noise(50, 77, 3)
    np.testing.assert_allclose(export.enlarge(lr), network.enlarge(lr).astype(float), atol=1)
    found, expected = export.enlarge(lr[:30, :20]), network.enlarge(lr[:30, :20]).astype(float)
    assert found.shape == expected.shape
    inner = -4 * network.receptive_field
    np.testing.assert_allclose(found[:inner, :inner], expected[:inner, :inner], atol=1)
    with pytest.raises(UserError, match="--height and --width of at least 42"):
        replace(network, size=(26, 26)).enlarge(lr)


def test_an_export_without_what_freeze_writes_beside_it(tmp_path, monkeypatch):
    """generator.json tells how far tiles overlap: none, another's or nonsense is refused."""
    exported = Namespace(inputs={"lr": (1, None, None, 3)}, outputs={"sr": (1, None, None, 3)})
    monkeypatch.setattr("common.export.Exported", lambda path: exported)
    good = {"scale": 4, "receptive_field": 13, "bytes_per_pixel": 2048}
    for content in (None, "{}", "[", json.dumps({**good, "scale": True}), json.dumps({**good, "receptive_field": -1})):
        if content is not None:
            (tmp_path / "generator.json").write_text(content)
        with pytest.raises(UserError, match="generator.json is not what freeze.py writes beside it"):
            enlarger.from_export(tmp_path / "generator.onnx")
    (tmp_path / "generator.json").write_text(json.dumps(good))
    for name in ("generator.onnx", "generator_saved_model"):
        assert enlarger.from_export(tmp_path / name).receptive_field == 13
