"""predict.py: images of every kind enlarged as that kind, in tiles and row by row, and what is said to bad input."""

import os
import subprocess
import sys

import numpy as np
import predict
import pytest
import tensorflow as tf
from conftest import MODEL, call
from PIL import Image, ImageCms

from common.images import ORIENTATION


def gradient(height, width, channels=3):
    """A smooth image, uint8, no two channels alike, the last one with all values in it."""
    y, x = np.indices((height, width))
    return np.stack([(255 * ((y + (channel + 2) * x) % 61) // 60) for channel in range(channels)], 2).astype(np.uint8)


def save(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def save_16(path, pixels):
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    return path


def read(path, dtype=tf.uint8):
    """[h, w, c], by libpng."""
    return tf.io.decode_png(path.read_bytes(), dtype=dtype).numpy()


def enlarged(network, pixels):
    """What the network makes of uint8 or uint16 RGB, rounded as a file holds it."""
    return np.round(network.enlarge(pixels).astype(np.float64) * np.iinfo(pixels.dtype).max)


def assert_near(result, expected, part=5e-3):
    """Whole numbers that are the same, but where rounding goes either way."""
    difference = np.abs(result - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < part


def test_files_and_folders(capsys, tmp_path, tiny_run, network, monkeypatch):
    """By position or by --input, into the folder that one is in or another; what is there already stays."""
    (tmp_path / "more").mkdir()
    files = [save(tmp_path / "more" / "b.jpg", gradient(30, 50)), save(tmp_path / "more" / "c d.bmp", gradient(7, 2))]
    files = [save(tmp_path / "b.png", gradient(20, 21)), *files]
    monkeypatch.chdir(tmp_path)
    argv = ["b.png", "--ckpt_path", tiny_run.folder, "--input", tmp_path / "more"]
    status, said, _ = call(capsys, predict.main, *argv)
    names = ["b_x4.png", "b_x4-2.png", "c d_x4.png"]
    assert status == 0 and f"3 images enlarged 4 times by {network.path}" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "b.png", "more"])
    for file, name in zip(files, names):
        assert_near(read(tmp_path / name), enlarged(network, np.asarray(Image.open(file))))
    assert call(capsys, predict.main, *argv, "--output_path=new/large", "--suffix=")[0] == 0
    assert sorted(os.listdir(tmp_path / "new" / "large")) == ["b-2.png", "b.png", "c d.png"]


@pytest.mark.parametrize("factor, size", [(2.5, (50, 75)), (1, (20, 30)), (6.3, (126, 189)), (0.05, (1, 2))])
def test_any_factor(capsys, tmp_path, tiny_run, network, factor, size):
    """The network's four times, resampled: close to what Pillow makes of the whole; alpha by bicubic alone."""
    pixels = gradient(20, 30, 4)
    pixels[..., 3] = np.maximum(pixels[..., 3], 1)
    argv = [save(tmp_path / "a.png", pixels), "--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "out"]
    assert call(capsys, predict.main, *argv, f"--outscale={factor}")[0] == 0
    result = read(tmp_path / "out" / f"a_x{factor:g}.png")
    assert result.shape == (*size, 4)
    whole = network.enlarge(pixels[..., :3]) * 255
    channels = [Image.fromarray(np.ascontiguousarray(whole[..., i])) for i in range(3)]
    channels = [np.asarray(channel.resize(size[::-1], Image.LANCZOS)) for channel in channels]
    assert_near(result[..., :3], np.clip(np.round(np.dstack(channels)), 0, 255))
    alpha = Image.fromarray(pixels[..., 3].astype(np.float32)).resize(size[::-1], Image.BICUBIC)
    assert_near(result[..., 3], np.clip(np.round(alpha), 0, 255))


def test_tiles_make_no_difference(capsys, tmp_path, tiny_run, network):
    """90 x 90 pixels of 2048 bytes are more than --memory allows."""
    argv = [save(tmp_path / "a.png", gradient(90, 90)), "--ckpt_path", tiny_run.folder, "--memory=0.01"]
    assert call(capsys, predict.main, *argv, "--output_path", tmp_path / "out", "--suffix=")[0] == 0
    assert len(network.tiling(90, 90, int(0.01 * 2**30))[0]) > 1
    assert_near(read(tmp_path / "out" / "a.png"), enlarged(network, gradient(90, 90)))


def test_16_bits(capsys, tmp_path, tiny_run, network):
    pixels = gradient(20, 30, 4).astype(np.uint16) * 256 + gradient(20, 30, 4)[::-1]
    argv = ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "large", "--suffix=", "--input"]
    argv += [save_16(tmp_path / "rgb.png", pixels[..., :3]), save_16(tmp_path / "grey.png", pixels[..., :1])]
    status, *_ = call(capsys, predict.main, *argv, save_16(tmp_path / "rgba.png", np.maximum(pixels, 1)))
    assert status == 0
    colour, grey, with_alpha = (read(tmp_path / "large" / f"{n}.png", tf.uint16) for n in ("rgb", "grey", "rgba"))
    assert colour.shape == (80, 120, 3) and with_alpha.shape == (80, 120, 4)
    assert np.abs(colour - enlarged(network, pixels[..., :3])).max() <= 2  # of 65535
    expected = enlarged(network, pixels[..., :1].repeat(3, 2)) @ [0.299, 0.587, 0.114]
    assert grey.shape == (80, 120, 1) and np.abs(grey[..., 0] - expected).max() <= 2
    alpha = Image.fromarray(np.maximum(pixels[..., 3], 1).astype(np.float32)).resize((120, 80), Image.BICUBIC)
    assert np.abs(with_alpha[..., 3] - np.clip(alpha, 0, 65535)).max() <= 1


def test_grey_and_alpha(capsys, tmp_path, tiny_run, network):
    """Grey stays grey; alpha is bicubic, without seams, and hidden colours do not matter."""
    pixels = gradient(60, 60, 4)
    pixels[..., 3] = np.maximum(pixels[..., 3], 1)
    pixels[20:40, 20:40, 3] = 0
    other = np.where(pixels[..., 3:] == 0, 255 - pixels, pixels)
    other[..., 3] = pixels[..., 3]
    files = [save(tmp_path / "one.png", pixels), save(tmp_path / "other.png", other)]
    files += [save(tmp_path / "la.png", pixels[..., 2:], "LA"), save(tmp_path / "l.png", pixels[..., :1])]
    argv = ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "large", "--suffix=", "--input"]
    assert call(capsys, predict.main, *argv, *files)[0] == 0
    one, other, la, grey = (read(tmp_path / "large" / file.name) for file in files)
    np.testing.assert_array_equal(one, other)
    alpha = Image.fromarray(pixels[..., 3].astype(np.float32)).resize((240, 240), Image.BICUBIC)
    for result in (one, la):
        assert_near(result[..., -1], np.round(np.clip(alpha, 0, 255)))
    luma = [0.299, 0.587, 0.114]
    assert_near(grey[..., 0], np.round(enlarged(network, pixels[..., :1].repeat(3, 2)) @ luma), 0.5)
    assert la.shape == (240, 240, 2) and grey.shape == (240, 240, 1)
    # Far from what is hidden the colours are those of the image without alpha.
    np.testing.assert_allclose(one[:, :24, :3], enlarged(network, pixels[..., :3])[:, :24], atol=1)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CMYK = SRGB[:16] + b"CMYK" + SRGB[20:]


@pytest.mark.parametrize(
    "name, channels, mode, options, expected",
    [
        ("a.png", 3, None, {"icc_profile": SRGB}, (3, SRGB)),
        ("a.jpg", 3, "CMYK", {"icc_profile": CMYK}, (3, None)),  # a profile is kept where it fits
        ("a.png", 1, None, {"icc_profile": SRGB}, (1, None)),
        ("a.png", 3, "P", {}, (3, None)),
        ("a.png", 3, "P", {"transparency": 3}, (4, None)),
        ("a.png", 1, "1", {}, (1, None)),
        ("a.png", 1, None, {"transparency": 9}, (2, None)),
        ("a.gif", 3, "P", {"save_all": True, "append_images": [Image.new("P", (9, 8), 9)]}, (3, None)),
    ],
)
def test_what_is_read(tmp_path, name, channels, mode, options, expected):
    """Grey or RGB, with alpha where something may be transparent."""
    photo = predict.read(save(tmp_path / name, gradient(8, 9, channels), mode, **options))
    assert photo.pixels.shape == (8, 9, expected[0]) and photo.profile == expected[1]


def test_a_turned_camera(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = predict.read(save(tmp_path / "a.png", gradient(8, 9), exif=exif))
    np.testing.assert_array_equal(turned.pixels, np.rot90(gradient(8, 9), -1))


def test_a_hidden_colour_becomes_the_nearest_that_shows():
    pixels = np.zeros((1, 5, 4), np.uint8)
    pixels[0, :, 0] = (10, 20, 30, 40, 50)
    pixels[0, :, 3] = (1, 0, 0, 255, 0)
    assert predict.network_input(pixels)[0, :, 0].tolist() == [10, 10, 40, 40, 40]
    pixels[..., 3] = 0
    assert predict.network_input(pixels)[0, :, 0].tolist() == [10, 20, 30, 40, 50]
    assert predict.network_input(pixels[..., 2:])[0].tolist() == [[0, 0, 0]] * 5


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (3, 1, 4), (1, 90, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_of_hardly_any_pixels(network, shape, dtype):
    for outscale in (None, 1.5):
        result = predict.enlarge(network, np.full(shape, 7, dtype), outscale)
        factor = outscale or 4
        assert result.shape == (max(1, round(shape[0] * factor)), round(shape[1] * factor), shape[2])
        assert result.dtype == dtype


def test_bad_images(capsys, tmp_path, tiny_run, monkeypatch):
    """Each is named; the others are enlarged all the same."""
    good = save(tmp_path / "good.png", gradient(20, 30))
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:60])
    deep = save_16(tmp_path / "deep.png", gradient(20, 30).astype(np.uint16))
    deep.write_bytes(deep.read_bytes()[:-30])
    save(tmp_path / "large.png", gradient(30, 40))
    save(tmp_path / "long.png", gradient(1, 40))
    Image.fromarray(gradient(9, 9, 1)[..., 0].astype(np.int32)).save(tmp_path / "deep.tif")
    monkeypatch.setattr(predict, "MAX_LENGTH", 159)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30 * 40 - 1)
    os.mkfifo(tmp_path / "pipe.png")
    cases = {
        "broken.png": "broken.png",
        "deep.png": "is a damaged PNG",
        "deep.tif": "has more than 8 bits a channel",
        "large.png": "more than 1199 pixels",
        "long.png": "more than 159 pixels high or wide",
        "pipe.png": "there is no such file",
    }
    argv = ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "large", "--suffix="]
    for name, reason in cases.items():
        status, _, error = call(capsys, predict.main, *argv, tmp_path / name)
        assert status == 2 and str(tmp_path / name) in error and reason in error and error.count("\n") == 1
        assert not list((tmp_path / "large").glob("*"))
    status, said, error = call(capsys, predict.main, *argv, tmp_path / "broken.png", good, deep)
    assert status == 2 and error.startswith(f"[Error] 2 of 3 images were left out: {tmp_path / 'broken.png'}: ")
    assert "deep.png" in error and "1 image enlarged 4 times" in said
    assert [path.name for path in (tmp_path / "large").iterdir()] == ["good.png"]


def test_nothing_half_done_is_left(capsys, tmp_path, tiny_run, monkeypatch):
    argv = [save(tmp_path / "a.png", gradient(60, 60)), "--ckpt_path", tiny_run.folder]

    def interrupted(*rest):
        yield next(enlarged_rows(*rest))
        raise KeyboardInterrupt

    enlarged_rows = predict.enlarged_rows
    monkeypatch.setattr(predict, "enlarged_rows", interrupted)
    assert call(capsys, predict.main, *argv, "--output_path", tmp_path / "large")[0] == 130
    assert not list((tmp_path / "large").iterdir())


def test_bad_weights_and_flags(capsys, tmp_path, tiny_run):
    good = save(tmp_path / "good.png", gradient(20, 30))
    run = f"--ckpt_path={tiny_run.folder}"
    for argv, reason in (
        ([tmp_path / "no.png"], "there is no such file or folder"),
        ([good, f"--ckpt_path={tmp_path}"], "no weights in"),
        ([good, f"--model={good}"], "neither .onnx, .pb nor .om"),
        ([good, run, "--model=a.onnx"], "leave --ckpt_path out"),
        ([good, run, "--suffix=a/b"], "is no part of a file's name"),
        ([good, run, "--memory=0"], "at least 0.01"),
        ([good, run, f"--output_path={good}"], "cannot be written"),
        ([run], "name the images to enlarge"),
    ):
        status, _, error = call(capsys, predict.main, f"--output_path={tmp_path / 'large'}", *argv)
        assert status == 2 and reason in error and not (tmp_path / "large").exists()


def test_no_tensorflow_for_an_export():
    """TensorFlow takes seconds to load, and may not be there."""
    code = (
        "import sys, sample_data, predict; predict.parse_args(['a.png', '--model=a.onnx']); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=str(MODEL), check=False).returncode == 0
