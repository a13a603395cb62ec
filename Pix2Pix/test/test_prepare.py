"""prepare.py: pairs with the halves where they belong, a split that stays, and every refusal with its words."""

from argparse import Namespace

import numpy as np
import prepare
import pytest
from conftest import read, save
from PIL import Image

from common.test.testing import call_main

RED, BLUE = (200, 30, 40), (20, 40, 210)


def plain(path, colour=RED, size=(24, 16), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


@pytest.fixture
def two(tmp_path):
    """Folders a (red, PNG) and b (blue, BMP) with ten images each."""
    for number in range(10):
        plain(tmp_path / "a" / f"{number}.png")
        plain(tmp_path / "b" / f"{number}.bmp", BLUE, (40, 40))
    return tmp_path


def test_two_folders_become_pairs(capsys, two):
    """A left, B right; the same split each time, of one pair at least or none."""
    splits = []
    for name, share in (("new set", 0.2), ("same", 0.2), ("none", 0), ("least", 0.01)):
        flags = ["--output_path", two / name, "--size=32", f"--val={share}"]
        status, said, _ = call_main(capsys, prepare.main, "--a", two / "a", "--b", two / "b", *flags)
        val, train = (sorted(path.name for path in (two / name / split).glob("*")) for split in ("val", "train"))
        assert status == 0 and sorted([*val, *train]) == [f"{number}.png" for number in range(10)]
        assert said.startswith(f"[Info] {len(train)} pairs in train/, {len(val)} in val/: train.py --data_path={two}")
        splits.append(val)
    assert splits[0] == splits[1] and list(map(len, splits)) == [2, 2, 0, 1]
    for path in (two / "new set" / "train").iterdir():
        pair = read(path)
        assert pair.shape == (32, 64, 3) and (pair[:, :32] == RED).all() and (pair[:, 32:] == BLUE).all()


def test_what_is_made_is_the_right_half(capsys, tmp_path):
    """Grey by luma; a transparent image stays so, and what is made of it is seen on white."""
    plain(tmp_path / "in" / "plain.png", RED, (50, 40))
    plain(tmp_path / "in" / "glass.png", (200, 30, 40, 0), mode="RGBA")
    argv = ["--a", tmp_path / "in", "--make=grey", "--output_path", tmp_path / "out", "--size=16", "--val=0"]
    assert call_main(capsys, prepare.main, *argv)[0] == 0
    pair = read(tmp_path / "out" / "train" / "plain.png")
    assert (pair[:, :16] == RED).all() and (pair[:, 16:] == 82).all()  # 0.299 * 200 + 0.587 * 30 + 0.114 * 40
    pair = read(tmp_path / "out" / "train" / "glass.png")
    assert (pair[:, :16, 3] == 0).all() and (pair[:, 16:] == 255).all()


def test_edges_run_where_brightness_changes():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = 255
    edges = np.asarray(prepare.make(Image.fromarray(pixels), "edges").convert("L"))
    rows, columns = np.nonzero(edges == 0)
    assert edges.shape == (32, 32) and set(columns.tolist()) <= {15, 16} and len(set(rows.tolist())) > 20


def test_crop_cuts_and_the_default_squeezes(tmp_path):
    path = save(tmp_path / "1.png", *(np.full((20, 20, 3), colour, np.uint8) for colour in (RED, BLUE, RED)))
    for crop, red in ((True, 0), (False, 2 / 3)):
        pair = prepare.make_pair([path], Namespace(size=30, crop=crop, make="grey"))
        assert (np.asarray(pair)[:, :30, 0] > 110).mean() == pytest.approx(red, abs=0.1)


def test_refusals(capsys, two):
    for name in ("other/x.png", "twice/x.png", "twice/x.jpg"):
        plain(two / name)
    for *sides, words in (
        ("--b", two / "b", "--output_path", two / "a", f"{two / 'a'} is not an empty folder"),
        ("--b", two / "no", f"{two / 'no'}: there is no such file or folder"),
        ("--b", two / "other", "11 images have no fellow"),
        ("--b", two / "twice", "x.jpg and x.png share a name"),
    ):
        status, _, error = call_main(capsys, prepare.main, "--a", two / "a", "--output_path", two / "new", *sides)
        assert status == 2 and error.startswith("[Error] ") and words in error, error
    assert len(list((two / "a").iterdir())) == 10 and not list((two / "new").glob("*"))
