"""predict.py and trained.py: what the network draws, of any size and kind of picture, and what it says to bad input."""

import numpy as np
import predict
import pytest
import tensorflow as tf
import trained
from conftest import write_run
from PIL import Image

from common.checkpoint import Record


def call(capsys, *argv):
    """The exit status, and what was said on stdout and stderr."""
    status = predict.main([str(word) for word in argv])
    told = capsys.readouterr()
    return status, told.out, told.err


def patches(height, width, channels=3, seed=0):
    """A picture of flat patches, uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), channels)).astype(np.uint8)
    return small.repeat(8, 0).repeat(8, 1)[:height, :width]


def save(path, pixels):
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def model(tiny_run):
    return trained.load(str(tiny_run.folder))


# translate


def test_a_picture_of_the_networks_size_by_hand(model):
    """No margin: scaled, through the network, scaled back; the dropout is the seed's."""
    pixels = patches(256, 512)
    x = tf.constant(pixels[None] / 127.5 - 1, tf.float32)
    for inference, dropout in (("deterministic", False), ("paper", True)):
        drawn = model.generator(256, 512)([x, tf.constant([5, 0])], training=dropout)[0].numpy()
        expected = np.round((drawn + 1) * 127.5)
        result = trained.translate(model, pixels[None], inference, seed=5)
        assert result.dtype == np.uint8 and result.shape == (1, 256, 512, 3) and result.std() > 20
        assert np.abs(result[0] - expected).max() <= 1 and (result[0] != expected).mean() < 1e-3
    other = trained.translate(model, pixels[None], "paper", seed=6)
    assert np.abs(other.astype(int) - result).max() > 20


@pytest.mark.parametrize("inference", trained.INFERENCE)
def test_a_picture_does_not_depend_on_those_beside_it(model, inference):
    batch = np.stack([patches(40, 300, seed=seed) for seed in range(2)])
    together = trained.translate(model, batch, inference)
    assert (together[0] != together[1]).any()
    for one, picture in zip(together, batch):
        np.testing.assert_array_equal(trained.translate(model, picture[None], inference)[0], one)


def test_the_margin_mirrors_the_picture(model):
    """250 x 256 is drawn as its mirrored enlargement to 256 x 256 is, cut back; a single pixel as a flat picture."""
    pixels = patches(250, 256)
    whole = np.concatenate([pixels[2::-1], pixels, pixels[:-4:-1]])
    assert whole.shape == (256, 256, 3)
    expected = trained.translate(model, whole[None])[0, 3:-3]
    np.testing.assert_array_equal(trained.translate(model, pixels[None])[0], expected)
    flat = np.full((1, 256, 256, 3), (9, 90, 200), np.uint8)
    one = trained.translate(model, flat[:, :1, :1])
    np.testing.assert_array_equal(one[0, 0, 0], trained.translate(model, flat)[0, 127, 127])
    assert trained.translate(model, patches(257, 3)[None]).shape == (1, 257, 3, 3)


# predict.py


def test_pictures_and_folders(capsys, tmp_path, tiny_run, model):
    (tmp_path / "maps").mkdir()
    files = [save(tmp_path / "maps" / "b.png", patches(30, 50)), save(tmp_path / "maps" / "c d.bmp", patches(70, 20))]
    files = [save(tmp_path / "b.png", patches(60, 60, seed=1)), *files]
    output = tmp_path / "new" / "drawn"
    argv = ["--ckpt_path", tiny_run.folder, "--input", files[0], tmp_path / "maps", "--output_path", output]
    assert call(capsys, *argv)[0] == 0
    names = ["b.png", "b-2.png", "c d.png"]
    assert sorted(path.name for path in output.iterdir()) == sorted(names)
    for file, name in zip(files, names):
        np.testing.assert_array_equal(read(output / name), trained.translate(model, read(file)[None])[0])
    before = (output / "b.png").read_bytes()
    status, said, _ = call(capsys, *argv, "--inference=paper", "--seed=3")
    assert status == 0 and (output / "b.png").read_bytes() == before
    assert f"{files[0]}  {output / 'b-3.png'}" in said.splitlines() and f"drawn by {model.prefix}" in said
    np.testing.assert_array_equal(
        read(output / "b-3.png"), trained.translate(model, read(files[0])[None], "paper", 3)[0]
    )


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_pairs(capsys, tmp_path, direction):
    run = write_run(tmp_path / "run", which_direction=direction)
    left, right = patches(40, 60), patches(40, 60, seed=1)
    for name, pixels in (("pair", np.concatenate([left, right], 1)), ("alone", left if direction == "AtoB" else right)):
        argv = ["--input", save(tmp_path / f"{name}.png", pixels), "--output_path", tmp_path / "drawn"]
        assert call(capsys, "--ckpt_path", run.folder, *argv, f"--pairs={name == 'pair'}")[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "drawn" / "pair.png"), read(tmp_path / "drawn" / "alone.png"))


def test_what_is_done_to_make_a_picture_fit():
    clear = np.dstack([np.full((2, 2, 3), (255, 0, 0), np.uint8), np.array([[255, 0], [255, 255]], np.uint8)])
    red, grey = Image.fromarray(clear[..., :3]), Image.new("L", (2, 2), 9)

    def fitted(picture, channels):
        picture, done = predict.fit_channels(picture, channels)
        return np.asarray(picture).tolist()[0], [words.split(",")[0] for words in done]

    assert fitted(red, 1) == ([76, 76], ["turned grey"])  # 0.299 of 255
    assert fitted(grey.convert("RGB"), 1) == ([9, 9], [])
    assert fitted(Image.fromarray(clear), 1) == ([76, 255], ["put on white", "turned grey"])
    assert fitted(Image.fromarray(clear), 3) == ([[255, 0, 0], [255, 255, 255]], ["put on white"])
    assert fitted(red.convert("RGBA"), 3) == ([[255, 0, 0]] * 2, [])
    assert fitted(red, 4) == ([[255, 0, 0, 255]] * 2, ["taken as opaque"])
    assert fitted(Image.fromarray(clear), 4) == (clear[0].tolist(), [])


def test_other_channels(capsys, tmp_path):
    """Grey in, four channels out."""
    run = write_run(tmp_path / "run", input_nc=1, output_nc=4)
    save(tmp_path / "grey.png", patches(20, 30, 1))
    save(tmp_path / "colour.png", patches(20, 30, 3))
    argv = ["--input", tmp_path / "grey.png", tmp_path / "colour.png", "--output_path", tmp_path / "drawn"]
    status, said, _ = call(capsys, "--ckpt_path", run.folder, *argv)
    assert status == 0 and "1 of 2 pictures: turned grey, being in colour" in said
    assert read(tmp_path / "drawn" / "grey.png").shape == (20, 30, 4)
    run = write_run(tmp_path / "other", input_nc=4, output_nc=1)
    status, said, _ = call(capsys, "--ckpt_path", run.folder, *argv)
    assert status == 0 and "2 of 2 pictures: taken as opaque, having no alpha channel" in said
    assert read(tmp_path / "drawn" / "grey-2.png").shape == (20, 30)


def test_bad_pictures(capsys, tmp_path, tiny_run):
    good = save(tmp_path / "good.png", patches(20, 30))
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(good.read_bytes()[:60])
    save(tmp_path / "tall.png", patches(30, 20))
    save(tmp_path / "odd.png", patches(20, 31))
    cases = {
        "nothing.png": ("there is no such file", []),
        "empty": ("holds no picture", []),
        "broken.png": ("is no picture that can be decoded", []),
        "good.png": ("30 x 20 is more than --max_pixels 599", ["--max_pixels=599"]),
        "tall.png": ("is 20 x 30, one half only", ["--pairs"]),
        "odd.png": ("is 31 pixels wide", ["--pairs"]),
    }
    for name, (reason, flags) in cases.items():
        argv = ["--input", good, tmp_path / name, "--output_path", tmp_path / "drawn", *flags]
        status, _, error = call(capsys, "--ckpt_path", tiny_run.folder, *argv)
        assert status == 2 and str(tmp_path / name) in error and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "drawn").exists()  # nothing is drawn before all were looked at

    argv = ["--ckpt_path", tiny_run.folder, "--skip_bad_files", "--output_path", tmp_path / "drawn", "--input"]
    status, said, _ = call(capsys, *argv, tmp_path / "broken.png", good)
    assert status == 0 and f"1 of 2 pictures left out: {tmp_path / 'broken.png'}" in said
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["good.png"]
    status, _, error = call(capsys, *argv, tmp_path / "broken.png")
    assert status == 2 and "not one of the 1 pictures can be used" in error
    status, _, error = call(capsys, *argv[:-2], good, "--input", good)
    assert status == 2 and "--output_path" in error and "cannot be written" in error


def test_bad_checkpoints(capsys, tmp_path, tiny_run):
    good = save(tmp_path / "good.png", patches(20, 30))

    def refused(path, reason):
        status, _, error = call(capsys, "--ckpt_path", path, "--input", good, "--output_path", tmp_path / "drawn")
        assert status == 2 and str(path) in error and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "drawn").exists()

    refused(tmp_path / "nowhere", "no checkpoint in")
    options = vars(tiny_run.options)
    for name, state, reason in (
        ("foreign", {"weights": tf.Variable(1.0)}, "no whole checkpoint written by this model's train.py"),
        ("other", {"record": Record(options=options, about={"network": "SRGAN"})}, "not a checkpoint of Pix2Pix"),
        ("swapped", {"record": Record(options=options, about={"network": "Pix2Pix"})}, "of another model or of other"),
    ):
        tf.train.Checkpoint(**state).write(str(tmp_path / name / "ckpt-1"))
        refused(tmp_path / name, reason)


def test_bad_flags(capsys, tmp_path, tiny_run):
    flags = ["--ckpt_path", str(tiny_run.folder), "--input", "a.png", f"--output_path={tmp_path}"]
    for argv in ([*flags, "--inference=exact"], [*flags, "--sead=1"], [*flags, "--seed=-1"], flags[:2]):
        with pytest.raises(SystemExit) as exit_:
            predict.main(argv)
        assert exit_.value.code == 2
    assert "the nearest known one is --seed" in capsys.readouterr().err
