"""prepare.py: pairs with the halves where they belong, a split that stays, and every refusal with its words."""

import numpy as np
import prepare
import pytest
from data import read_pair
from PIL import Image

RED, BLUE = (200, 30, 40), (20, 40, 210)


def call(capsys, *argv):
    """The exit status, and what was said on stdout and stderr."""
    try:
        status = prepare.main([str(word) for word in argv])
    except SystemExit as error:
        status = error.code
    told = capsys.readouterr()
    return status, told.out, told.err


def plain(path, colour=RED, size=(24, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def two(tmp_path):
    """Folders a (red, PNG) and b (blue, BMP) with ten pictures each."""
    for number in range(10):
        plain(tmp_path / "a" / f"{number}.png")
        plain(tmp_path / "b" / f"{number}.bmp", BLUE, (40, 40))
    return tmp_path


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_two_folders_become_pairs(capsys, two):
    out = two / "new set"
    status, said, _ = call(capsys, "--a", two / "a", "--b", two / "b", "--output_path", out, "--size=32", "--val=0.2")
    assert status == 0
    assert f"[Info] {out}: 8 pairs in train/, 2 pairs in val/\n" in said
    assert f"train.py '--data_path={out}' --which_direction=BtoA\n" in said
    files = written(out)
    assert sorted(int(name[name.index("/") + 1 : -4]) for name in files) == list(range(10))
    for name in files:
        left, right = read_pair(out / name, 3, 3, "AtoB")
        assert left.shape == right.shape == (32, 32, 3)
        assert (left == RED).all() and (right == BLUE).all()


def test_the_split(capsys, two):
    """The same each time; one pair at least, or none."""

    def val(name, *flags):
        argv = ["--a", two / "a", "--b", two / "b", "--output_path", two / name, "--size=8", *flags]
        assert call(capsys, *argv)[0] == 0
        return [file for file in written(two / name) if file.startswith("val/")]

    first = val("one", "--val=0.3")
    assert len(first) == 3 and first == val("same", "--val=0.3")
    assert val("none", "--val=0") == [] and len(val("least", "--val=0.01")) == 1


@pytest.mark.parametrize("direction", ["BtoA", "AtoB"])
def test_what_is_made_is_the_input_of_the_direction(capsys, tmp_path, direction):
    plain(tmp_path / "in" / "one.jpg", RED, (50, 40))
    argv = ["--images", tmp_path / "in", "--make=grey", "--output_path", tmp_path / "out", "--size=16"]
    status, said, _ = call(capsys, *argv, f"--which_direction={direction}")
    assert status == 0 and f"--which_direction={direction}\n" in said
    source, target = read_pair(tmp_path / "out" / "train" / "one.png", 1, 3, direction)  # one channel: it is grey
    assert np.abs(target.astype(int) - RED).max() <= 3
    assert np.abs(source.astype(int) - round(0.299 * 200 + 0.587 * 30 + 0.114 * 40)).max() <= 3


def test_edges_run_where_brightness_changes():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    edges = np.asarray(prepare.make(Image.fromarray(pixels), "edges"))
    assert set(np.unique(edges)) == {0, 255} and edges.shape == (32, 32, 3)
    rows, columns, _ = np.nonzero(edges == 0)
    assert set(columns.tolist()) <= {15, 16} and len(set(rows.tolist())) > 20
    flat = np.asarray(prepare.make(Image.new("RGB", (32, 32), RED), "edges"))
    assert (flat == 255).all()


def test_crop_cuts_and_the_default_squeezes():
    strip = Image.new("RGB", (30, 10), RED)
    strip.paste(BLUE, (10, 0, 20, 10))
    cropped = np.asarray(prepare.fit(strip, 20, True, 3)).astype(int)
    assert np.abs(cropped - BLUE)[:, 4:-4].max() <= 3  # but for the rim, to which bicubic weights reach from beyond
    squeezed = np.asarray(prepare.fit(strip, 9, False, 3)).astype(int)
    assert np.abs(squeezed[:, 4] - BLUE).max() <= 12 and np.abs(squeezed[:, [0, 8]] - RED).max() <= 12


def test_channels():
    glass = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    assert (np.asarray(prepare.fit(glass, 8, False, 3)) == 255).all()  # on white paper
    assert np.asarray(prepare.fit(glass, 8, False, 1)).tolist() == [[255] * 8] * 8
    assert np.asarray(prepare.fit(glass, 8, False, 4))[..., 3].max() == 0
    assert np.asarray(prepare.fit(Image.new("L", (8, 8), 7), 8, False, 4))[0, 0].tolist() == [7, 7, 7, 255]
    half = Image.new("RGBA", (16, 16), (200, 100, 0, 128))
    assert (np.asarray(prepare.make(half, "grey"))[..., 3] == 128).all()


@pytest.mark.parametrize(
    "channels, flags", [(1, " --input_nc=1 --output_nc=1"), (3, ""), (4, " --input_nc=4 --output_nc=4")]
)
def test_a_set_of_each_channel_count_can_be_read(capsys, tmp_path, channels, flags):
    plain(tmp_path / "in" / "1.png", (200, 30, 40, 90), mode="RGBA")
    plain(tmp_path / "in" / "2.png", RED)
    argv = ["--images", tmp_path / "in", "--make=edges", "--output_path", tmp_path / "out", "--size=512"]
    status, said, _ = call(capsys, *argv, f"--channels={channels}")
    assert status == 0 and said.endswith(f"--which_direction=BtoA{flags} --fine_size=512\n")
    for name in written(tmp_path / "out"):
        left, right = read_pair(tmp_path / "out" / name, channels, channels, "AtoB")
        assert left.shape == right.shape == (512, 512, channels)


def test_refusals(capsys, two):
    ab = ["--a", two / "a", "--b", two / "b"]
    new = ["--output_path", two / "new"]
    plain(two / "other" / "x.png")
    plain(two / "twice" / "x.png")
    plain(two / "twice" / "x.jpg")
    (two / "broken").mkdir()
    (two / "broken" / "x.png").write_text("no image")
    for argv, words in [
        (["--a", two / "a", *new], "--a and --b go together"),
        (["--images", two / "a", *new], "and --images and --make"),
        (new, "give --a DIR --b DIR, or --images DIR --make WHAT"),
        (ab, "--output_path"),
        ([*ab, *new, "--val=1"], "'1' is not a number, at least 0, at most 0.9"),
        ([*ab, "--output_path", two / "a"], f"{two / 'a'} is not an empty folder"),
        (["--a", two / "no", "--b", two / "b", *new], f"--a {two / 'no'}: there is no image in that folder"),
        (["--a", two / "a", "--b", two / "other", *new], "11 images have no fellow"),
        (["--images", two / "twice", "--make=grey", *new], "x.jpg and x.png share a name"),
        (["--images", two / "broken", "--make=grey", *new], "x.png: is no image"),
    ]:
        status, _, error = call(capsys, *argv)
        assert status == 2 and error.startswith("[Error] ") and words in error, error
    assert len(list((two / "a").iterdir())) == 10 and not list((two / "new").glob("*"))
