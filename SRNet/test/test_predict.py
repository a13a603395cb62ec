"""predict.py: words changed in photographs of every kind, and nothing else; crops as the original takes them."""

import subprocess
import sys

import fonts
import numpy as np
import ocr
import predict
import pytest
import quads
from conftest import MODEL, call
from data import resized
from PIL import Image

QUAD = "12.5,9,88,20.25,80,61,5,40.5"
BOX = "20,10,80,40"


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


def within(text, height, width):
    """Which pixels a place covers: those that a white crop changes on black."""
    corners = predict.place(text).corners
    white = np.full((*quads.upright_size(corners), 1), 255, np.uint8)
    return quads.paste(np.zeros((height, width, 1), np.uint8), white, corners)[..., 0] > 0


def test_a_crop_by_hand(editor, monkeypatch):
    """Resized, scaled, through the network, scaled back; the skeleton from 0 to 1, the others from -1 to 1. With
    --tight_text the standard word is cut out of i_t first, however much room is round it."""
    i_t, i_s = np.full((40, 100, 3), 127, np.uint8), noise(50, 70, seed=1)
    i_t[18:28, 20:60] = 0
    for tight in (False, True):
        monkeypatch.setattr(editor.options, "tight_text", tight, raising=False)
        given = [resized(image, (32, 64)) for image in (i_t[17:29, 19:61] if tight else i_t, i_s)]
        outputs = editor.run(*(image[None] / np.float32(127.5) - 1 for image in given))
        edited = editor.edit(i_t, i_s)
        assert list(edited) == ["o_sk", "o_t", "o_b", "o_f"] and edited["o_sk"].shape == (50, 70, 1)
        for kind, y in zip(edited, outputs):
            expected = np.round(y[0] * 255 if kind == "o_sk" else (y[0] + 1) * 127.5).astype(np.uint8)
            np.testing.assert_allclose(
                edited[kind].astype(int), resized(expected, (50, 70)), atol=2
            )  # rounded either way, then resized
            assert edited[kind].std() > 1


def test_the_size_that_the_network_sees(editor):
    """32 x 64, and of long crops half of their width."""
    for (height, width), wide in {(10, 10): 64, (50, 202): 64, (10, 44): 72, (100, 2000): 320, (1, 32): 512}.items():
        assert editor.size_of(height, width) == (32, wide)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("place", [("--box", BOX), ("--quad", QUAD)], ids=["box", "quad"])
def test_nothing_but_the_word_changes(edit, tmp_path, channels, place):
    """Grey stays grey, alpha stays, and beside the place every pixel does."""
    assert edit(save(tmp_path / "a.png", noise(70, 100, channels)), *place, "--text", "Hi")[0] == 0
    result, before = np.atleast_3d(read(tmp_path / "new" / "a_edited.png")), noise(70, 100, channels)
    inside, colours = within(place[1], 70, 100), slice(3 if channels > 1 else 1)
    assert result.shape == before.shape and 1000 < inside.sum() < 5000
    np.testing.assert_array_equal(result[~inside], before[~inside])
    assert (result[inside][:, colours] != before[inside][:, colours]).mean() > 0.5
    if channels == 4:
        np.testing.assert_array_equal(result[..., 3], before[..., 3])


def test_a_box_by_hand(edit, tmp_path, editor):
    """Within the soft edge the photograph is o_f at the crop's size; with --save_mode 1 all four are written."""
    photo = save(tmp_path / "a.jpg", noise(70, 100), quality=95)
    status, said, _ = edit("--image", photo, "--box", BOX, "--text", "Hi", "--save_mode", 1)
    assert status == 0 and f"1 word changed by {editor.path}" in said
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
    """In the order given, each text in its place, in the font that is given; a profile is kept. (test_images.py of
    common has photographs held sideways, and the other kinds.)"""
    photo = save(tmp_path / "a.png", noise(70, 200), icc_profile=b"x" * 16 + b"RGB " + b"x" * 108)
    first, second = ["--box", BOX, "--text", "Ναί"], ["--quad", "120,10,190,5,190,50,120,60", "--text", "No"]
    font = ["--font", next(path for path in fonts.font_files() if path.name == "DejaVuSans-Bold.ttf")]
    new = tmp_path / "new"
    assert edit(photo, *first, *second, *font)[0] == 0
    assert edit(photo, *first, *font)[0] == 0
    assert edit(new / "a_edited-2.png", *second, *font)[0] == 0
    np.testing.assert_array_equal(read(new / "a_edited.png"), read(new / "a_edited-2_edited.png"))
    assert len(Image.open(new / "a_edited.png").info["icc_profile"]) == 128


def test_words_that_are_found(edit, tmp_path, monkeypatch):
    """One is edited, several are listed with the flag for each; without what finds them, a line how to get it."""
    photo = save(tmp_path / "a.png", noise(70, 100))
    upright, turned = quads.of_box(20, 10, 80, 40), np.array([(10, 9), (88, 20), (80, 61), (5, 40)], float)
    words = [(upright, "OPEN")]
    monkeypatch.setattr(ocr, "installed", lambda: True)
    monkeypatch.setattr(ocr, "Reader", type("Reader", (), {"find": lambda self, photo: words}))
    status, said, _ = edit(photo, "--text", "Hi")
    assert status == 0 and "found 'OPEN' at --box=20,10,80,40" in said
    status, said, error = edit(photo)
    assert status == 2 and said == "--box=20,10,80,40  OPEN\n" and "1 word found: give --text=WORD" in error
    assert edit(photo, "--box", BOX, "--text", "Hi")[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "new" / "a_edited.png"), read(tmp_path / "new" / "a_edited-2.png"))
    words.append((turned, "SHUT"))
    status, said, error = edit(photo, "--text", "Hi")
    listed = ["--box=20,10,80,40  OPEN", "--quad=10,9,88,20,80,61,5,40  SHUT"]
    assert status == 2 and said.splitlines() == listed and "2 words found: give one of these flags" in error
    words.clear()
    assert "no word was found: say where it is, --box=" in edit(photo, "--text", "Hi")[2]
    monkeypatch.setattr(ocr, "installed", lambda: False)
    status, _, error = edit(photo, "--text", "Hi")
    assert status == 2 and "pip install --no-deps rapidocr-onnxruntime" in error and error.count("\n") == 1


def test_crops_as_the_original_takes_them(edit, tmp_path, editor):
    """Of any size and kind; results at the crop's size."""
    i_s, i_t, pairs, new = noise(50, 90), noise(30, 70), tmp_path / "pairs", tmp_path / "new"
    pairs.mkdir()
    for name in ("a", "b_1"):
        save(pairs / f"{name}_i_s.png", i_s), save(pairs / f"{name}_i_t.png", i_t)
    files = ["--i_s", pairs / "a_i_s.png", "--i_t", pairs / "a_i_t.png"]
    assert edit("--save_mode", 0, *files)[0] == 0 and [path.name for path in new.iterdir()] == ["result.png"]
    assert edit("--save_mode", 1, *files)[0] == 0
    edited = editor.edit(i_t, i_s)
    for kind, name in (("o_sk", "result_sk"), ("o_t", "result_t"), ("o_b", "result_b"), ("o_f", "result-2")):
        np.testing.assert_array_equal(read(new / f"{name}.png"), edited[kind].squeeze())
    status, said, _ = edit("--input_dir", pairs)
    assert status == 0 and f"2 crops edited by {editor.path}" in said and (new / "a_o_f.png").exists()
    np.testing.assert_array_equal(read(new / "b_1_o_f.png"), edited["o_f"])
    (pairs / "a_i_s.png").write_text("no image")
    status, _, error = edit("--input_dir", pairs)
    assert status == 2 and "a_i_s.png: is no image that can be decoded" in error
    (pairs / "a_i_s.png").unlink()
    assert "there is no a_i_s.png; give pairs" in edit("--input_dir", pairs)[2]


@pytest.mark.parametrize(
    "told, argv",
    [
        ("give one of a photograph", "a.png --input_dir=pairs"),
        ("--i_s and --i_t go together", "--i_s=a.png"),
        ("1 of --box and --quad, and 0 of --text", f"a.png --box={BOX}"),
        ("2 of --box and --quad, and 1 of --text", f"a.png --text=Hi --box={BOX} --quad={QUAD}"),
        ("is not 4 or 8 numbers with commas", "a.png --box=1,2,3 --text=Hi"),
        ("is not 4 or 8 numbers with commas", "a.png --quad=1,2,3,4,5,6,7,nan --text=Hi"),
        ("--box=9,9,9,20: give left,top,right,bottom", "a.png --box=9,9,9,20 --text=Hi"),
        ("no.png", f"no.png --box={BOX} --text=Hi"),
        ("--box=20,10,80,71: reaches outside the photograph, which is 100 x 70", "a.png --box=20,10,80,71 --text=Hi"),
        ("convex quadrangle", "a.png --quad=0,0,90,60,90,0,0,60 --text=Hi"),  # crosses itself
        ("convex quadrangle", "a.png --quad=0,0,90,0,20,20,0,60 --text=Hi"),  # dented
        ("convex quadrangle", "a.png --quad=0,0,0,60,90,60,90,0 --text=Hi"),  # anticlockwise
        ("is more than 32 times as wide as high", "a.png --box=0,0,99,3 --text=Hi"),
        ("the text is empty", f"a.png --box={BOX} --text="),
        ("U+10FFFD", f"a.png --box={BOX} --text=a\U0010fffd"),  # which no font has
        ("no.ttf: is no font", f"a.png --box={BOX} --text=Hi --font=no.ttf"),
        ("there is no NAME_i_s.png; give pairs", "--input_dir=no"),
    ],
)
def test_mistakes(edit, tmp_path, monkeypatch, told, argv):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png", noise(70, 100))
    status, _, error = edit(*argv.split())
    assert status == 2 and told in error and error.count("\n") <= 2 and not (tmp_path / "new").exists()


def test_data_are_written_and_an_onnx_file_runs_without_tensorflow(tmp_path):
    save(tmp_path / "a.png", noise(70, 100))
    argv = [str(tmp_path / "a.png"), f"--box={BOX}", "--text=Hi", f"--model={tmp_path / 'none.onnx'}"]
    code = f"import sys, sample_data, predict; status = predict.main({argv}); "
    code += "sys.exit(10 * ('tensorflow' in sys.modules) + status)"
    assert subprocess.run([sys.executable, "-c", code], cwd=str(MODEL), check=False).returncode == 2
