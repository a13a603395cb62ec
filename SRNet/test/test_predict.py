"""predict.py: words changed in photographs of every kind, and nothing else; crops as the original takes them."""

import fonts
import numpy as np
import predict
import pytest
import quads
import tensorflow as tf
import trained
from conftest import write_run
from data import resized
from PIL import Image

from common.testing import call_main

QUAD = "12.5,9,88,20.25,80,61,5,40.5"
BOX = "20,10,80,40"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("tiny") / "run", cnum=4, data_shape=[32, 64])


@pytest.fixture(scope="module")
def model(run):
    return trained.load(str(run.folder))


@pytest.fixture(autouse=True)
def loaded_once(run, model, monkeypatch):
    load = trained.load
    monkeypatch.setattr(trained, "load", lambda path: model if path == str(run.folder) else load(path))


def call(capsys, *argv):
    """predict.py's exit status, and what it said on stdout and stderr."""
    return call_main(capsys, predict.main, *argv)


def noise(height, width, channels=3):
    small = np.random.default_rng(0).integers(0, 256, (-(-height // 4), -(-width // 4), channels)).astype(np.uint8)
    return small.repeat(4, 0).repeat(4, 1)[:height, :width]


def save(path, pixels, **options):
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path, **options)
    return path


def read(path):
    return np.asarray(Image.open(path))


def within(flag, text, height, width):
    """Which pixels a place covers: those that a white crop changes on black."""
    corners = (predict.box if flag == "--box" else predict.quad)(text).corners
    white = np.full((*quads.upright_size(corners), 1), 255, np.uint8)
    return quads.paste(np.zeros((height, width, 1), np.uint8), white, corners)[..., 0] > 0


def expected_in_a_box(model, pixels, text):
    """What the four pictures are for the box 20,10,80,40 of an RGB photograph, from trained.py."""
    i_t = fonts.standard_picture(text, fonts.standard_font(text), (32, 64))
    return trained.edit(model, i_t, pixels[10:40, 20:80])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("place", [("--box", BOX), ("--quad", QUAD)], ids=["box", "quad"])
def test_nothing_but_the_word_changes(capsys, tmp_path, run, channels, place):
    """Grey stays grey, alpha stays, and beside the place every pixel does."""
    photo = save(tmp_path / "a.png", noise(70, 100, channels))
    argv = ["--ckpt_path", run.folder, "--image", photo, *place, "--text", "Hi", "--save_dir", tmp_path / "new"]
    status, said, _ = call(capsys, *argv)
    assert status == 0 and ("transparent in places" in said) == (channels == 4)
    result, before = np.atleast_3d(read(tmp_path / "new" / "a.png")), noise(70, 100, channels)
    inside = within(*place, 70, 100)
    assert result.shape == before.shape and 1000 < inside.sum() < 5000
    np.testing.assert_array_equal(result[~inside], before[~inside])
    assert (result[inside][:, : 3 if channels > 1 else 1] != before[inside][:, : 3 if channels > 1 else 1]).mean() > 0.5
    if channels == 4:
        np.testing.assert_array_equal(result[..., 3], before[..., 3])


def test_a_box_by_hand(capsys, tmp_path, run, model):
    """Within the soft edge the photograph is o_f at the crop's size; with --save_mode 1 all four are written."""
    pixels = noise(70, 100)
    argv = ["--checkpoint", run.folder, "--image", save(tmp_path / "a.jpg", pixels, quality=95), "--text", "Hi"]
    pixels = read(tmp_path / "a.jpg")
    status, said, _ = call(capsys, *argv, "--box", BOX, "--output_path", tmp_path, "--save_mode", 1)
    assert status == 0 and f"1 words changed by {model.prefix}" in said
    drawn = expected_in_a_box(model, pixels, "Hi")
    np.testing.assert_array_equal(read(tmp_path / "a.png")[13:37, 23:77], resized(drawn["o_f"], (30, 60))[3:-3, 3:-3])
    for kind, picture in drawn.items():
        written = read(tmp_path / f"a_1_{kind}.png")
        np.testing.assert_array_equal(written, resized(picture, (30, 60)).squeeze())
        assert f"{tmp_path / 'a.jpg'}  {tmp_path / f'a_1_{kind}.png'}" in said.splitlines()
    before = (tmp_path / "a.png").read_bytes()
    assert call(capsys, *argv, "--box", BOX, "--save_dir", tmp_path)[0] == 0
    assert (tmp_path / "a.png").read_bytes() == before == (tmp_path / "a-2.png").read_bytes()


def test_several_words(capsys, tmp_path, run):
    """In the order given, each text in its place, each with its font; a profile is kept."""
    photo = save(tmp_path / "a.png", noise(70, 200), icc_profile=b"x" * 16 + b"RGB " + b"x" * 108)
    bold = next(path for path in fonts.font_files() if path.name == "DejaVuSans-Bold.ttf")
    argv = ["--ckpt_path", run.folder, "--save_dir", tmp_path, "--image"]
    both = ["--box", BOX, "--quad", "120,10,190,5,190,50,120,60", "--text", "Ναί", "--text", "No"]
    assert call(capsys, *argv, photo, *both, "--font", fonts.standard_font("N"), "--font", bold)[0] == 0
    assert call(capsys, *argv, photo, *both[:2], *both[4:6])[0] == 0
    assert call(capsys, *argv, tmp_path / "a-3.png", *both[2:4], *both[6:], "--font", bold)[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "a-2.png"), read(tmp_path / "a-3-2.png"))
    assert len(Image.open(tmp_path / "a-2.png").info["icc_profile"]) == 128


def test_crops_as_the_original_takes_them(capsys, tmp_path, run, model):
    """Of any size and kind; results at the crop's size."""
    i_s, i_t = noise(50, 90), noise(30, 70)
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for name in ("a", "b_1"):
        save(pairs / f"{name}_i_s.png", i_s), save(pairs / f"{name}_i_t.png", i_t)
    (
        save(pairs / "grey_i_s.png", i_s[..., :1]),
        save(pairs / "grey_i_t.png", np.dstack([i_t, i_t[..., :1] // 255 + 255])),
    )
    drawn = trained.edit(model, i_t, i_s)
    argv = ["--checkpoint", run.folder, "--save_dir", tmp_path / "one", "--save_mode"]
    files = ["--i_s", pairs / "a_i_s.png", "--i_t", pairs / "a_i_t.png"]
    assert call(capsys, *argv, 0, *files)[0] == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["result.png"]
    assert call(capsys, *argv, 1, *files)[0] == 0
    for kind, name in (("o_sk", "result_sk"), ("o_t", "result_t"), ("o_b", "result_b"), ("o_f", "result-2")):
        expected = resized(drawn[kind], (50, 90)).squeeze()
        np.testing.assert_array_equal(read(tmp_path / "one" / f"{name}.png"), expected)
    status, said, _ = call(capsys, *argv[:2], "--input_dir", pairs, "--save_dir", tmp_path / "all")
    assert status == 0 and f"3 crops edited by {model.prefix}" in said
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["a_o_f.png", "b_1_o_f.png", "grey_o_f.png"]
    np.testing.assert_array_equal(read(tmp_path / "all" / "b_1_o_f.png"), resized(drawn["o_f"], (50, 90)))


def test_bad_photographs_places_and_texts(capsys, tmp_path, run):
    photo = save(tmp_path / "a.png", noise(70, 100))
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:60])
    deep = noise(70, 100).astype(np.uint16) * 257
    (tmp_path / "deep.png").write_bytes(tf.io.encode_png(deep).numpy())
    (tmp_path / "deep_grey.png").write_bytes(tf.io.encode_png(deep[..., :1]).numpy())
    (tmp_path / "no.ttf").write_text("no font")

    def refused(reason, image=photo, place=("--box", BOX), text="Hi", more=()):
        argv = ["--ckpt_path", run.folder, "--image", image, *place, "--text", text, *more]
        status, _, error = call(capsys, *argv, "--save_dir", tmp_path / "new")
        assert status == 2 and reason in error and error.count("\n") <= 2 and not (tmp_path / "new").exists()

    refused("no.png", tmp_path / "no.png")
    refused("broken.png: is no picture that can be decoded", tmp_path / "broken.png")
    refused("deep.png: has more than 8 bits a channel", tmp_path / "deep.png")
    refused("deep_grey.png: has more than 8 bits a channel", tmp_path / "deep_grey.png")
    outside = "reaches outside the photograph, which is 100 x 70"
    refused(f"--box 20,10,80,71: {outside}", place=("--box", "20,10,80,71"))
    refused(f"--quad 0,0,9,0,9,9,-1,9: {outside}", place=("--quad", "0,0,9,0,9,9,-1,9"))
    refused("crosses itself", place=("--quad", "0,0,90,60,90,0,0,60"))
    refused("is more than 32 times as wide as high", place=("--box", "0,0,99,3"))
    refused("the text is empty", text=" \n")
    refused("U+4F60", text="a你")
    refused("no.ttf: is no font", more=("--font", tmp_path / "no.ttf"))
    refused("no checkpoint in", more=("--ckpt_path", tmp_path))
    status, _, error = call(
        capsys, "--ckpt_path", run.folder, "--image", photo, "--box", BOX, "--text", "Hi", "--save_dir", photo
    )
    assert status == 2 and "cannot be written" in error


def test_bad_crops(capsys, tmp_path, run):
    argv = ["--ckpt_path", run.folder, "--save_dir", tmp_path / "new", "--input_dir", tmp_path / "pairs"]

    def refused(reason):
        status, _, error = call(capsys, *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2 and not (tmp_path / "new").exists()

    refused("there is no such folder")
    (tmp_path / "pairs").mkdir()
    refused("holds no pairs")
    save(tmp_path / "pairs" / "a_i_t.png", noise(20, 40))
    refused("a_i_t.png has no a_i_s.png beside it")
    (tmp_path / "pairs" / "a_i_s.png").write_text("no picture")
    refused("a_i_s.png: is no picture that can be decoded")


def test_flags(capsys):
    def refused(reason, *argv):
        with pytest.raises(SystemExit) as exit_:
            predict.main(list(argv))
        assert exit_.value.code == 2 and reason in capsys.readouterr().err

    refused("--ckpt_path")
    given = ["--ckpt_path=run", "--save_dir=new"]
    photo = [*given, "--image=a.png"]
    refused("give one of --image", *given)
    refused("give one of --image", *photo, "--input_dir=pairs")
    refused("--i_s and --i_t go together", *given, "--i_s=a.png")
    refused("go with --image", *given, "--input_dir=pairs", "--text=Hi")
    refused("0 of --box and --quad, and 1 of --text", *photo, "--text=Hi")
    refused("2 of --box and --quad, and 1 of --text", *photo, f"--box={BOX}", f"--quad={QUAD}", "--text=Hi")
    refused("3 fonts for 2 texts", *photo, *[f"--box={BOX}", "--text=Hi"] * 2, *["--font=a.ttf"] * 3)
    refused("is not 4 numbers with commas", *photo, "--box=1,2,3", "--text=Hi")
    refused("is not 8 numbers with commas", *photo, "--quad=1,2,3,4,5,6,7,nan", "--text=Hi")
    refused("9,9,9,20 is empty", *photo, "--box=9,9,9,20", "--text=Hi")
    refused("--save_mode", *photo, "--save_mode=2")
    refused("the nearest known one is --image", *given, "--imag=a.png")
