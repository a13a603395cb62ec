"""predict.py: pictures of every kind enlarged as that kind, in tiles and row by row, and what is said to bad input."""

import numpy as np
import png
import predict
import pytest
import tensorflow as tf
import trained
from conftest import write_run
from PIL import Image, ImageCms


def call(capsys, *argv):
    """The exit status, and what was said on stdout and stderr."""
    status = predict.main([str(word) for word in argv])
    told = capsys.readouterr()
    return status, told.out, told.err


def gradient(height, width, channels=3):
    """A smooth picture, uint8, no two channels alike, the last one with all values in it."""
    y, x = np.indices((height, width))
    return np.stack([(255 * ((y + (channel + 2) * x) % 61) // 60) for channel in range(channels)], 2).astype(np.uint8)


def save(path, pixels, mode=None, **options):
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def save_16(path, pixels):
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    return path


def read(path):
    """uint8 or uint16 [h, w, c], by libpng."""
    dtype = tf.uint16 if png.is_16_bit(path) else tf.uint8
    return tf.io.decode_png(path.read_bytes(), dtype=dtype).numpy()


@pytest.fixture(scope="module")
def model(tiny_run):
    return trained.load(str(tiny_run.folder))


def drawn(model, pixels):
    """What the network makes of uint8 or uint16 RGB, rounded as a file holds it."""
    white = np.iinfo(pixels.dtype).max
    return np.round(trained.enlarge(model, pixels).astype(np.float64) * white)


def assert_near(result, expected, part=5e-3):
    """Whole numbers that are the same, but where rounding goes either way."""
    difference = np.abs(result - expected)
    assert difference.max() <= 1 and (difference > 0).mean() < part


def test_pictures_and_folders(capsys, tmp_path, tiny_run, model):
    (tmp_path / "more").mkdir()
    files = [save(tmp_path / "more" / "b.jpg", gradient(30, 50)), save(tmp_path / "more" / "c d.bmp", gradient(7, 2))]
    files = [save(tmp_path / "b.png", gradient(20, 21)), *files]
    output = tmp_path / "new" / "large"
    argv = ["--ckpt_path", tiny_run.folder, "--input", files[0], tmp_path / "more", "--output_path", output]
    status, said, _ = call(capsys, *argv)
    assert status == 0 and f"3 pictures enlarged 4 times by {model.prefix}" in said
    names = ["b.png", "b-2.png", "c d.png"]
    assert sorted(path.name for path in output.iterdir()) == sorted(names)
    for file, name in zip(files, names):
        assert f"{file}  {output / name}" in said.splitlines()
        assert_near(read(output / name), drawn(model, np.asarray(Image.open(file))))
    before = (output / "b.png").read_bytes()
    assert call(capsys, *argv)[0] == 0
    assert (output / "b.png").read_bytes() == before and (output / "b-3.png").read_bytes() == before


def test_tiles_make_no_difference(capsys, tmp_path, tiny_run, model):
    """And an .h5 file draws what the checkpoint that it was saved from does."""
    trained.save_h5(str(tmp_path / "gen_model7.h5"), model.generator, model.options)
    file = save(tmp_path / "a.png", gradient(60, 90))
    argv = ["--ckpt_path", tmp_path / "gen_model7.h5", "--input", file, "--output_path"]
    assert call(capsys, *argv, tmp_path / "small", "--tile=16")[0] == 0
    status, said, _ = call(capsys, *argv, tmp_path / "little", "--memory=0.01")
    assert status == 0 and "more than --memory" not in said
    for folder in ("small", "little"):
        assert_near(read(tmp_path / folder / "a.png"), drawn(model, gradient(60, 90)))
    # Tiles of at least 16 pixels and 13 to each side, here of 38 x 42: times 4 x 4 bytes x 32 channels x 16.
    argv = ["--ckpt_path", write_run(tmp_path / "run", channels=32).folder, *argv[2:]]
    status, said, _ = call(capsys, *argv, tmp_path / "large", "--memory=0.01")
    assert status == 0 and "a tile takes about 0.012 GiB, more than --memory 0.01" in said


def test_16_bits(capsys, tmp_path, tiny_run, model):
    pixels = gradient(20, 30, 4).astype(np.uint16) * 256 + gradient(20, 30, 4)[::-1]
    argv = ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "large", "--input"]
    argv += [save_16(tmp_path / "rgb.png", pixels[..., :3]), save_16(tmp_path / "grey.png", pixels[..., :1])]
    status, *_ = call(capsys, *argv, save_16(tmp_path / "rgba.png", np.maximum(pixels, 1)))
    assert status == 0
    colour, grey = read(tmp_path / "large" / "rgb.png"), read(tmp_path / "large" / "grey.png")
    assert colour.dtype == grey.dtype == np.uint16 and colour.shape == (80, 120, 3)
    expected = drawn(model, pixels[..., :3])
    assert np.abs(colour - expected).max() <= 2  # of 65535
    expected = drawn(model, pixels[..., :1].repeat(3, 2)) @ [0.299, 0.587, 0.114]
    assert grey.shape == (80, 120, 1) and np.abs(grey[..., 0] - expected).max() <= 2
    with_alpha = read(tmp_path / "large" / "rgba.png")
    assert with_alpha.shape == (80, 120, 4) and with_alpha.dtype == np.uint16
    alpha = Image.fromarray(np.maximum(pixels[..., 3], 1).astype(np.float32)).resize((120, 80), Image.BICUBIC)
    assert np.abs(with_alpha[..., 3] - np.clip(alpha, 0, 65535)).max() <= 1


def test_grey_and_alpha(capsys, tmp_path, tiny_run, model):
    """Grey stays grey; alpha is bicubic, without seams, and hidden colours do not matter."""
    pixels = gradient(60, 60, 4)
    pixels[..., 3] = np.maximum(pixels[..., 3], 1)
    pixels[20:40, 20:40, 3] = 0
    other = np.where(pixels[..., 3:] == 0, 255 - pixels, pixels)
    other[..., 3] = pixels[..., 3]
    files = [save(tmp_path / "one.png", pixels), save(tmp_path / "other.png", other)]
    files += [save(tmp_path / "la.png", pixels[..., 2:], "LA"), save(tmp_path / "l.png", pixels[..., :1])]
    argv = ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "large", "--tile=16", "--input"]
    status, said, _ = call(capsys, *argv, *files)
    assert status == 0 and "converted" not in said
    one, other, la, grey = (read(tmp_path / "large" / file.name) for file in files)
    np.testing.assert_array_equal(one, other)
    alpha = Image.fromarray(pixels[..., 3].astype(np.float32)).resize((240, 240), Image.BICUBIC)
    for result in (one, la):
        assert_near(result[..., -1], np.round(np.clip(alpha, 0, 255)))
    luma = [0.299, 0.587, 0.114]
    assert_near(grey[..., 0], np.round(drawn(model, pixels[..., :1].repeat(3, 2)) @ luma), 0.5)
    assert la.shape == (240, 240, 2) and grey.shape == (240, 240, 1)
    # Far from what is hidden the colours are those of the picture without alpha.
    np.testing.assert_allclose(one[:, :24, :3], drawn(model, pixels[..., :3])[:, :24], atol=1)


def test_what_is_read(tmp_path):
    """Palette, CMYK, black and white, 16 bits; a profile is kept where it fits."""
    pixels = gradient(8, 9, 4)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    def kind(path):
        picture = predict.read(path)
        return picture.pixels.shape[2], [words.split(",")[1] for words in picture.changes], picture.profile == srgb

    assert kind(save(tmp_path / "a.png", pixels[..., :3], icc_profile=srgb)) == (3, [], True)
    assert kind(save(tmp_path / "b.jpg", pixels[..., :3], "CMYK", icc_profile=srgb[:16] + b"CMYK" + srgb[20:])) == (
        *(3, [" being CMYK"], False),
    )
    assert kind(save(tmp_path / "c.png", pixels[..., :1], icc_profile=srgb)) == (1, [], False)
    assert kind(save(tmp_path / "d.png", pixels[..., :3], "P")) == (3, [" being a palette"], False)
    assert kind(save(tmp_path / "e.png", pixels[..., :3], "P", transparency=3)) == (4, [" being a palette"], False)
    assert kind(save(tmp_path / "f.png", pixels[..., :1], "1")) == (1, [], False)
    assert kind(save(tmp_path / "g.png", pixels[..., :1], transparency=9)) == (2, [], False)
    assert kind(save_16(tmp_path / "h.png", pixels[..., :2].astype(np.uint16))) == (2, [], False)


def test_a_hidden_colour_becomes_the_nearest_that_shows():
    pixels = np.zeros((1, 5, 4), np.uint8)
    pixels[0, :, 0] = (10, 20, 30, 40, 50)
    pixels[0, :, 3] = (1, 0, 0, 255, 0)
    assert predict.network_input(pixels)[0, :, 0].tolist() == [10, 10, 40, 40, 40]
    pixels[..., 3] = 0
    assert predict.network_input(pixels)[0, :, 0].tolist() == [10, 20, 30, 40, 50]
    assert predict.network_input(pixels[..., 2:])[0].tolist() == [[0, 0, 0]] * 5


def test_bad_pictures(capsys, tmp_path, tiny_run, monkeypatch):
    good = save(tmp_path / "good.png", gradient(20, 30))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:60])
    deep = save_16(tmp_path / "deep.png", gradient(20, 30).astype(np.uint16))
    deep.write_bytes(deep.read_bytes()[:-30])
    save(tmp_path / "large.png", gradient(30, 40))
    Image.fromarray(gradient(9, 9, 1)[..., 0].astype(np.int32)).save(tmp_path / "deep.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30 * 40 - 1)
    cases = {
        "nothing.png": "there is no such file",
        "empty": "holds no picture",
        "broken.png": "is no picture that can be decoded",
        "deep.png": "is no picture that can be decoded",
        "deep.tif": "has more than 8 bits a channel",
        "large.png": "more than 1199 pixels",
    }
    argv = ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "large", "--input"]
    for name, reason in cases.items():
        status, _, error = call(capsys, *argv, good, tmp_path / name)
        assert status == 2 and str(tmp_path / name) in error and reason in error and "Traceback" not in error
        assert not (tmp_path / "large").exists()  # nothing is drawn before all were looked at
    status, said, _ = call(capsys, *argv, tmp_path / "broken.png", good, "--skip_bad_files")
    assert status == 0 and f"1 of 2 pictures left out: {tmp_path / 'broken.png'}" in said
    assert [path.name for path in (tmp_path / "large").iterdir()] == ["good.png"]
    status, _, error = call(capsys, *argv, tmp_path / "broken.png", "--skip_bad_files")
    assert status == 2 and "not one of the 1 pictures can be used" in error
    status, _, error = call(capsys, *argv[:3], good, "--input", good)
    assert status == 2 and "--output_path" in error and "cannot be written" in error


def test_nothing_half_done_is_left(capsys, tmp_path, tiny_run, monkeypatch):
    argv = ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "large", "--tile=16", "--input"]
    argv.append(save(tmp_path / "a.png", gradient(60, 60)))

    def interrupted(*rest):
        yield next(enlarged_rows(*rest))
        raise KeyboardInterrupt

    enlarged_rows = predict.enlarged_rows
    monkeypatch.setattr(predict, "enlarged_rows", interrupted)
    assert call(capsys, *argv)[0] == 130
    assert not list((tmp_path / "large").iterdir())


def test_bad_checkpoints_and_flags(capsys, tmp_path, tiny_run):
    good = save(tmp_path / "good.png", gradient(20, 30))
    flags = ["--input", str(good), f"--output_path={tmp_path / 'large'}"]
    for path, reason in ((tmp_path, "no checkpoint in"), (tmp_path / "no.h5", "there is no such file")):
        status, _, error = call(capsys, "--ckpt_path", path, *flags)
        assert status == 2 and str(path) in error and reason in error and not (tmp_path / "large").exists()
    flags = [f"--ckpt_path={tiny_run.folder}", *flags]
    for argv in ([*flags, "--tile=15"], [*flags, "--memory=0"], [*flags, "--tiles=64"], flags[:2]):
        with pytest.raises(SystemExit) as exit_:
            predict.main(argv)
        assert exit_.value.code == 2
    assert "the nearest known one is --tile" in capsys.readouterr().err
