"""predict.py: words changed in photographs of every kind, and nothing else; crops as the original takes them."""

import subprocess
import sys
import zlib

import fonts
import numpy as np
import ocr
import predict
import pytest
import quads
import tensorflow as tf
from conftest import MODEL, call, write_run
from data import resized
from PIL import Image

from common.cli import UserError

QUAD = "12.5,9,88,20.25,80,61,5,40.5"
BOX = "20,10,80,40"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("tiny") / "run", cnum=4, data_shape=[32, 64])


@pytest.fixture(scope="module")
def editor(run):
    return predict.load_editor(run.folder)


@pytest.fixture
def edit(run, editor, monkeypatch, tmp_path, capsys):
    """Calls predict.py with the run, which is loaded once, and results in tmp_path/new."""
    load = predict.load_editor
    monkeypatch.setattr(predict, "load_editor", lambda path, *a: editor if path == str(run.folder) else load(path, *a))

    def edited(*argv):
        return call(capsys, predict.main, "--ckpt_path", run.folder, "--save_dir", tmp_path / "new", *argv)

    return edited


def noise(height, width, channels=3, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 4), -(-width // 4), channels)).astype(np.uint8)
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


def test_a_crop_by_hand(editor):
    """Resized, scaled, through the network, scaled back; the skeleton from 0 to 1, the others from -1 to 1."""
    i_t, i_s = noise(20, 100), noise(50, 70, seed=1)
    x = [resized(image, (32, 64))[None] / np.float32(127.5) - 1 for image in (i_t, i_s)]
    o_sk, *others = (y[0].numpy() for y in editor._run(*map(tf.constant, x)))
    generated = editor.generate(*(resized(image, (32, 64))[None] for image in (i_t, i_s)))
    assert list(generated) == ["o_sk", "o_t", "o_b", "o_f"] and generated["o_sk"].shape == (1, 32, 64, 1)
    for result, expected in zip(generated.values(), [o_sk * 255, *((y + 1) * 127.5 for y in others)]):
        assert result.dtype == np.uint8 and np.abs(result[0] - expected).max() <= 0.51 and result.std() > 1
    edited = editor.edit(i_t, i_s)["o_f"]
    np.testing.assert_array_equal(edited, resized(generated["o_f"][0], (50, 70)))


def test_the_size_that_the_network_sees(editor):
    """Trained squeezed: 32 x 64, and of long crops half of their width; trained in buckets: the nearest one."""
    sizes = {(10, 10): 64, (50, 100): 64, (50, 202): 64, (10, 44): 72, (100, 2000): 320, (1, 32): 512}
    for (height, width), wide in sizes.items():
        assert editor.size_of(height, width) == (32, wide)
    buckets = predict.Editor()
    buckets.options = predict.argparse.Namespace(data_shape=[64, 128], widths=[64, 96, 128, 256])
    for (height, width), wide in {(10, 5): 64, (10, 13): 96, (50, 140): 128, (50, 150): 256, (50, 400): 512}.items():
        assert buckets.size_of(height, width) == (64, wide)


def test_bad_crops(editor):
    good = noise(20, 40)
    for i_t, i_s, reason in (
        (good[..., :1], good, "i_t: must be uint8"),
        (good, good / 255, "i_s: must be uint8 .* is float64"),
        (good, good[:0], r"i_s: .* \[0, 40, 3\]"),
        (good, noise(2, 65), "65 x 2 is more than 32 times as wide as high"),
    ):
        with pytest.raises(UserError, match=reason):
            editor.edit(i_t, i_s)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("place", [("--box", BOX), ("--quad", QUAD)], ids=["box", "quad"])
def test_nothing_but_the_word_changes(edit, tmp_path, channels, place):
    """Grey stays grey, alpha stays, and beside the place every pixel does."""
    status, said, _ = edit(save(tmp_path / "a.png", noise(70, 100, channels)), *place, "--text", "Hi")
    assert status == 0 and ("transparent in places" in said) == (channels == 4)
    result, before = np.atleast_3d(read(tmp_path / "new" / "a_edited.png")), noise(70, 100, channels)
    inside, colours = within(*place, 70, 100), slice(3 if channels > 1 else 1)
    assert result.shape == before.shape and 1000 < inside.sum() < 5000
    np.testing.assert_array_equal(result[~inside], before[~inside])
    assert (result[inside][:, colours] != before[inside][:, colours]).mean() > 0.5
    if channels == 4:
        np.testing.assert_array_equal(result[..., 3], before[..., 3])


def test_a_box_by_hand(edit, tmp_path, editor):
    """Within the soft edge the photograph is o_f at the crop's size; with --save_mode 1 all four are written."""
    photo = save(tmp_path / "a.jpg", noise(70, 100), quality=95)
    status, said, _ = edit("--image", photo, "--box", BOX, "--text", "Hi", "--save_mode", 1)
    assert status == 0 and f"1 words changed by {editor.path}" in said
    i_t = fonts.standard_image("Hi", fonts.standard_font("Hi"), (32, 64))
    edited, folder = editor.edit(i_t, read(photo)[10:40, 20:80]), tmp_path / "new"
    np.testing.assert_array_equal(read(folder / "a_edited.png")[13:37, 23:77], edited["o_f"][3:-3, 3:-3])
    for kind, image in edited.items():
        np.testing.assert_array_equal(read(folder / f"a_1_{kind}.png"), image.squeeze())
        assert f"{photo}  {folder / f'a_1_{kind}.png'}" in said.splitlines()
    before = (folder / "a_edited.png").read_bytes()
    assert edit(photo, "--box", BOX, "--text", "Hi")[0] == 0
    assert (folder / "a_edited.png").read_bytes() == before == (folder / "a_edited-2.png").read_bytes()


def test_several_words(edit, tmp_path):
    """In the order given, each text in its place, each with its font; a profile is kept."""
    photo = save(tmp_path / "a.png", noise(70, 200), icc_profile=b"x" * 16 + b"RGB " + b"x" * 108)
    bold = next(path for path in fonts.font_files() if path.name == "DejaVuSans-Bold.ttf")
    both = ["--box", BOX, "--quad", "120,10,190,5,190,50,120,60", "--text", "Ναί", "--text", "No"]
    new = tmp_path / "new"
    assert edit(photo, *both, "--font", fonts.standard_font("N"), "--font", bold)[0] == 0
    assert edit(photo, *both[:2], *both[4:6])[0] == 0
    assert edit(new / "a_edited-2.png", *both[2:4], *both[6:], "--font", bold)[0] == 0
    np.testing.assert_array_equal(read(new / "a_edited.png"), read(new / "a_edited-2_edited.png"))
    assert len(Image.open(new / "a_edited.png").info["icc_profile"]) == 128


def test_photographs_of_every_kind(edit, tmp_path):
    """CMYK, a moving GIF, Exif's rotation and a single pixel give a result; 16 bits and a forged size give a line."""
    pixels = noise(70, 100)
    Image.fromarray(pixels).convert("CMYK").save(tmp_path / "cmyk.jpg")
    frames = [Image.fromarray(noise(70, 100, seed=seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    turned = Image.Exif()
    turned[0x0112] = 6
    save(tmp_path / "turned.jpg", noise(100, 70), exif=turned)
    for name in ("cmyk.jpg", "moving.gif", "turned.jpg"):
        assert edit(tmp_path / name, "--box", BOX, "--text", "Hi")[0] == 0
        assert Image.open(tmp_path / "new" / f"{name[:-4]}_edited.png").size == (100, 70)
    assert edit(save(tmp_path / "dot.png", pixels[:1, :1]), "--box=0,0,1,1", "--text=Hi")[0] == 0
    deep = pixels.astype(np.uint16) * 257
    (tmp_path / "deep.png").write_bytes(tf.io.encode_png(deep).numpy())
    huge = bytearray(save(tmp_path / "huge.png", pixels).read_bytes())
    huge[16:24] = (30000).to_bytes(4, "big") + (20000).to_bytes(4, "big")
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(huge)
    (tmp_path / "broken.png").write_bytes(bytes(huge[:12]))
    for name, reason in (("deep", "more than 8 bits"), ("huge", "make it smaller"), ("broken", "can be decoded")):
        status, _, error = edit(tmp_path / f"{name}.png", "--box", BOX, "--text", "Hi")
        assert status == 2 and reason in error and error.count("\n") == 1


def test_bad_places_and_texts(edit, tmp_path):
    photo = save(tmp_path / "a.png", noise(70, 100))
    (tmp_path / "no.ttf").write_text("no font")

    def refused(reason, image=photo, place=("--box", BOX), text="Hi", more=()):
        status, _, error = edit(image, *place, "--text", text, *more)
        assert status == 2 and reason in error and error.count("\n") <= 2 and not (tmp_path / "new").exists()

    refused("no.png", tmp_path / "no.png")
    outside = "reaches outside the photograph, which is 100 x 70"
    refused(f"--box 20,10,80,71: {outside}", place=("--box", "20,10,80,71"))
    refused(f"--quad 0,0,9,0,9,9,-1,9: {outside}", place=("--quad", "0,0,9,0,9,9,-1,9"))
    refused("crosses itself", place=("--quad", "0,0,90,60,90,0,0,60"))
    refused("is more than 32 times as wide as high", place=("--box", "0,0,99,3"))
    refused("the text is empty", text=" \n")
    refused("U+1F984", text="a🦄")
    refused("U+4F60", text="a你")
    refused("no.ttf: is no font", more=("--font", tmp_path / "no.ttf"))
    refused("no weights in", more=("--ckpt_path", tmp_path))
    refused("neither .onnx, .pb nor .om", more=("--model", tmp_path / "no.ttf"))
    (tmp_path / "new").write_text("a file")
    status, _, error = edit(photo, "--box", BOX, "--text", "Hi")
    assert status == 2 and "cannot be written" in error


def test_words_that_are_found(edit, tmp_path, monkeypatch):
    """One is edited, several are listed with the flag for each; without what finds them, a line how to get it."""
    photo = save(tmp_path / "a.png", noise(70, 100))
    upright, turned = quads.of_box(20, 10, 80, 40), np.array([(10, 9), (88, 20), (80, 61), (5, 40)], float)
    words = [ocr.Word(upright, "OPEN")]
    monkeypatch.setattr(ocr, "installed", lambda: True)
    monkeypatch.setattr(ocr, "Reader", type("Reader", (), {"find": lambda self, photo: words}))
    status, said, _ = edit(photo, "--text", "Hi")
    assert status == 0 and "found 'OPEN' at --box=20,10,80,40" in said
    assert edit(photo, "--box", BOX, "--text", "Hi")[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "new" / "a_edited.png"), read(tmp_path / "new" / "a_edited-2.png"))
    words.append(ocr.Word(turned, "SHUT"))
    status, said, error = edit(photo, "--text", "Hi")
    listed = ["--box=20,10,80,40  OPEN", "--quad=10,9,88,20,80,61,5,40  SHUT"]
    assert status == 2 and said.splitlines() == listed and "2 words found: give one of these flags" in error
    words.clear()
    assert "no word found; say where it is" in edit(photo, "--text", "Hi")[2]
    monkeypatch.setattr(ocr, "installed", lambda: False)
    status, _, error = edit(photo, "--text", "Hi")
    assert status == 2 and "pip install --no-deps rapidocr-onnxruntime" in error and error.count("\n") == 1


def test_crops_as_the_original_takes_them(edit, tmp_path, editor):
    """Of any size and kind; results at the crop's size."""
    i_s, i_t, pairs, new = noise(50, 90), noise(30, 70), tmp_path / "pairs", tmp_path / "new"
    pairs.mkdir()
    for name in ("a", "b_1"):
        save(pairs / f"{name}_i_s.png", i_s), save(pairs / f"{name}_i_t.png", i_t)
    save(pairs / "grey_i_s.png", i_s[..., :1])
    save(pairs / "grey_i_t.png", np.dstack([i_t, i_t[..., :1] // 255 + 255]))
    files = ["--i_s", pairs / "a_i_s.png", "--i_t", pairs / "a_i_t.png"]
    assert edit("--save_mode", 0, *files)[0] == 0 and [path.name for path in new.iterdir()] == ["result.png"]
    assert edit("--save_mode", 1, *files)[0] == 0
    edited = editor.edit(i_t, i_s)
    for kind, name in (("o_sk", "result_sk"), ("o_t", "result_t"), ("o_b", "result_b"), ("o_f", "result-2")):
        np.testing.assert_array_equal(read(new / f"{name}.png"), edited[kind].squeeze())
    status, said, _ = edit("--input_dir", pairs)
    assert status == 0 and f"3 crops edited by {editor.path}" in said
    assert {"a_o_f.png", "b_1_o_f.png", "grey_o_f.png"} < {path.name for path in new.iterdir()}
    np.testing.assert_array_equal(read(new / "b_1_o_f.png"), edited["o_f"])


def test_bad_pairs(edit, tmp_path):
    def refused(reason):
        status, _, error = edit("--input_dir", tmp_path / "pairs")
        assert status == 2 and reason in error and error.count("\n") <= 2 and not (tmp_path / "new").exists()

    refused("there is no such folder")
    (tmp_path / "pairs").mkdir()
    refused("holds no pairs")
    save(tmp_path / "pairs" / "a_i_t.png", noise(20, 40))
    refused("a_i_t.png has no a_i_s.png beside it")
    (tmp_path / "pairs" / "a_i_s.png").write_text("no image")
    refused("a_i_s.png: is no image that can be decoded")


@pytest.mark.parametrize(
    "told, argv",
    [
        ("give one of a photograph", []),
        ("give one of a photograph", ["a.png", "--input_dir=pairs"]),
        ("two photographs, a.png and b.png", ["a.png", "--image=b.png"]),
        ("--i_s and --i_t go together", ["--i_s=a.png"]),
        ("go with a photograph", ["--input_dir=pairs", "--text=Hi"]),
        ("1 of --box and --quad, and 0 of --text", ["a.png", f"--box={BOX}"]),
        ("2 of --box and --quad, and 1 of --text", ["a.png", "--text=Hi", f"--box={BOX}", f"--quad={QUAD}"]),
        ("2 of --text: say by --box or --quad where", ["a.png", "--text=Hi", "--text=Ho"]),
        ("3 fonts for 1 texts", ["a.png", f"--box={BOX}", "--text=Hi", *["--font=a.ttf"] * 3]),
        ("is not 4 numbers with commas", ["a.png", "--box=1,2,3", "--text=Hi"]),
        ("is not 8 numbers with commas", ["a.png", "--quad=1,2,3,4,5,6,7,nan", "--text=Hi"]),
        ("9,9,9,20 is empty", ["a.png", "--box=9,9,9,20", "--text=Hi"]),
        ("--save_mode", ["a.png", "--save_mode=2"]),
        ("the nearest known one is --image", ["--imag=a.png"]),
    ],
)
def test_flags(capsys, told, argv):
    status, _, error = call(capsys, predict.main, *argv)
    assert status == 2 and told in error


def test_an_onnx_file_runs_without_tensorflow(tmp_path):
    save(tmp_path / "a.png", noise(70, 100))
    argv = [str(tmp_path / "a.png"), f"--box={BOX}", "--text=Hi", f"--model={tmp_path / 'none.onnx'}"]
    code = f"import sys, predict; status = predict.main({argv}); sys.exit(10 * ('tensorflow' in sys.modules) + status)"
    assert subprocess.run([sys.executable, "-c", code], cwd=str(MODEL), check=False).returncode == 2
