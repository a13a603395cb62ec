"""predict.py: images of every kind enlarged as that kind, and what is said to bad input."""

import subprocess
import sys

import numpy as np
import png
import predict
import pytest
import skimage.data
import tensorflow as tf
from conftest import MODEL, call, noise
from metrics import psnr
from PIL import Image, ImageCms
from tensorflow import keras

from common.session import cpu_has_bfloat16


def save(path, pixels, mode=None, **options):
    if pixels.dtype == np.uint16:
        png.write(path, pixels)
        return path
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def check(path, network, pixels, factor=4):
    """That a file holds the network's four times, resampled by Pillow; alpha by bicubic."""
    height, width = (max(1, round(factor * length)) for length in pixels.shape[:2])
    white, colours = np.iinfo(pixels.dtype).max, 3 if pixels.shape[2] > 2 else 1
    planes = [(plane, Image.LANCZOS) for plane in np.moveaxis(network.enlarge(pixels[..., :colours]), 2, 0)]
    planes += [(plane, Image.BICUBIC) for plane in np.moveaxis(pixels[..., colours:], 2, 0)]
    resized = [Image.fromarray(plane.astype(np.float32)).resize((width, height), how) for plane, how in planes]
    result = tf.io.decode_png(path.read_bytes(), dtype=pixels.dtype).numpy()
    np.testing.assert_allclose(result, np.clip(np.dstack(resized), 0, white), atol=0.51)


@pytest.fixture
def start(capsys, tmp_path, tiny_run):
    """Runs predict.py's main with the small network, into the folder `large`; its exit status and what it said."""

    def run(*argv):
        flags = [f"--ckpt_path={tiny_run.folder}", f"--output_path={tmp_path / 'large'}", "--precision_mode=force_fp32"]
        return call(capsys, predict.main, *flags, *argv)

    return run


def test_files_and_folders(start, tmp_path, network, monkeypatch):
    """Into the folder that one is in; what is there already stays."""
    (tmp_path / "more").mkdir()
    for name in ("b.png", "more/b.jpg", "more/c d.bmp"):
        save(tmp_path / name, noise(7, 12, 3))
    monkeypatch.chdir(tmp_path)
    status, said, _ = start("b.png", "more", "--output_path=.")
    assert status == 0 and f"3 images enlarged 4 times by {network.path}" in said
    assert {path.name for path in tmp_path.iterdir()} == {"b.png", "more", "b_x4.png", "b_x4-2.png", "c d_x4.png"}
    check(tmp_path / "b_x4.png", network, noise(7, 12, 3))


def test_bfloat16_where_the_cpu_has_it(capsys, tmp_path):
    """By default, with the weights that ship: the image in float32 to 48 dB, and that very one where there is none."""
    save(tmp_path / "a.png", skimage.data.coffee()[100:148, 200:248])
    for name, flags in (("default", []), ("exact", ["--precision_mode=force_fp32"])):
        argv = [str(tmp_path / "a.png"), f"--output_path={tmp_path / name}", "--device=cpu", *flags]
        assert call(capsys, predict.main, *argv)[0] == 0
        low = name == "default" and cpu_has_bfloat16()
        assert keras.mixed_precision.global_policy().name == ("mixed_bfloat16" if low else "float32")
    images = [np.asarray(Image.open(tmp_path / name / "a_x4.png"), float) for name in ("default", "exact")]
    assert psnr(*images) > 48 if cpu_has_bfloat16() else np.array_equal(*images)


@pytest.mark.parametrize("factor", [4, 2.5, 0.05])
def test_any_kind_by_any_factor(start, tmp_path, network, factor):
    """Grey and RGB, with alpha and without, of 8 and of 16 bits: the result is of the same kind."""
    pixels = np.maximum(noise(20, 30, 4), 1)
    images = {f"{count}.png": pixels[..., -count:] for count in (1, 2, 3, 4)}
    images.update({f"deep_{name}": image.astype(np.uint16) * 256 + image[::-1] for name, image in images.items()})
    files = [save(tmp_path / name, image) for name, image in images.items()]
    assert start(*files, f"--outscale={factor}", "--suffix=")[0] == 0
    for name, image in images.items():
        check(tmp_path / "large" / name, network, image, factor)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CMYK = SRGB[:16] + b"CMYK" + SRGB[20:]


@pytest.mark.parametrize(
    "name, channels, mode, options, expected",
    [
        ("a.png", 3, None, {"icc_profile": SRGB}, (3, SRGB)),
        ("a.jpg", 3, "CMYK", {"icc_profile": CMYK}, (3, None)),  # a profile is kept where it fits
        ("a.png", 1, None, {"icc_profile": SRGB}, (1, None)),
        ("a.png", 3, "P", {"transparency": 3}, (4, None)),
        ("a.png", 1, "1", {"transparency": 0}, (2, None)),
    ],
)
def test_what_is_read(tmp_path, name, channels, mode, options, expected):
    """Grey or RGB, with alpha where something may be transparent."""
    pixels, profile = predict.read(save(tmp_path / name, noise(8, 9, channels), mode, **options))
    assert pixels.shape == (8, 9, expected[0]) and profile == expected[1]


def test_a_hidden_colour_becomes_the_nearest_that_shows():
    pixels = np.zeros((1, 5, 4), np.uint8)
    pixels[0, :, 0] = (10, 20, 30, 40, 50)
    pixels[0, :, 3] = (1, 0, 0, 255, 0)
    assert predict.visible_colours(pixels)[0, :, 0].tolist() == [10, 10, 40, 40, 40]
    pixels[..., 3] = 0
    assert predict.visible_colours(pixels)[0, :, 0].tolist() == [10, 20, 30, 40, 50]


def test_bad_images(start, tmp_path, monkeypatch):
    """Each is named; the others are enlarged all the same."""
    good = save(tmp_path / "good.png", noise(20, 30, 3))
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:60])
    deep = save(tmp_path / "deep.png", noise(20, 30, 3).astype(np.uint16))
    deep.write_bytes(deep.read_bytes()[:-30])
    large = save(tmp_path / "large.png", noise(20, 31, 3))
    monkeypatch.setattr(predict, "MAX_VALUES", 80 * 120 * 3)
    status, said, error = start("--suffix=", tmp_path / "broken.png", good, deep, large)
    assert status == 2 and error.startswith(f"[Error] 3 of 4 images were left out: {tmp_path / 'broken.png'}: ")
    assert "deep.png: is no PNG" in error and "large.png: too large for memory when enlarged (124 x 80)" in error
    assert error.count("\n") == 1 and "1 image enlarged 4 times" in said
    assert [path.name for path in (tmp_path / "large").iterdir()] == ["good.png"]


def test_nothing_half_done_is_left(start, tmp_path, monkeypatch):
    def interrupted(*rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(png, "write", interrupted)
    assert start(save(tmp_path / "a.png", noise(6, 6, 3)))[0] == 130
    assert not list((tmp_path / "large").iterdir())


def test_bad_flags(start, tmp_path):
    good = save(tmp_path / "good.png", noise(20, 30, 3))
    for argv, reason in (
        ([good, "--model=a.onnx"], "leave --ckpt_path out"),
        ([good, "--suffix=a/b"], "is no part of a file's name"),
        ([], "name the images to enlarge"),
    ):
        status, _, error = start(*argv)
        assert status == 2 and reason in error and not (tmp_path / "large").exists()


def test_no_tensorflow_for_an_export():
    """TensorFlow takes seconds to load, and may not be there."""
    code = "import sys, predict; predict.parse_args(['a.png', '--model=a.onnx']); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=str(MODEL), check=False).returncode == 0
