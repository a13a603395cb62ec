"""Pairs on disk and the batches made of them: which pixels go where, in which order, and what is refused."""

import argparse
import itertools

import data
import numpy as np
import pytest
from conftest import OPTIONS, save
from data import Pairs, batches, find_pairs, to_channels
from PIL import Image

from common.cli import UserError
from common.config import SessionConfig
from common.session import Session

SESSION = Session(SessionConfig(), "cpu", "float32")


def options(**changed):
    given = {"batch_size": 1, "load_size": 20, "fine_size": 16, "flip": True, "serial_batches": False}
    return argparse.Namespace(**{**OPTIONS, **given, **changed})


def flat(*colour, height=20, width=20):
    return np.full((height, width, len(colour)), colour, np.uint8)


def first(count, args, files, start_step=0):
    """The first batches as [(input, target), ...]."""
    pairs = Pairs(args, files, args.load_size)
    return list(itertools.islice(batches(args, pairs, start_step, SESSION), count))


def same(one, other):
    return all(np.array_equal(x, y) for x, y in zip(itertools.chain(*one), itertools.chain(*other)))


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Five pairs; of pair n the left half is n * 20 and the right one 255 - n * 20 throughout."""
    folder = tmp_path_factory.mktemp("numbered")
    return [save(folder / f"{n}.png", flat(*[n * 20] * 3), flat(*[255 - n * 20] * 3)) for n in range(5)]


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Five pairs of noisy halves, of sizes that differ."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("noise")
    return [save(folder / f"{n}.png", rng.integers(0, 256, (30 - n, 60, 3)).astype(np.uint8)) for n in range(5)]


def test_where_pairs_are_looked_for(tmp_path):
    for name in ("train/b.PNG", "train/a.jpg", "test/c.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_pairs(str(tmp_path), "train")] == ["a.jpg", "b.PNG"]
    assert find_pairs(str(tmp_path), "val") == find_pairs(str(tmp_path), "test") == [tmp_path / "test" / "c.bmp"]
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "d.webp").touch()
    assert find_pairs(str(tmp_path), "val") == [tmp_path / "val" / "d.webp"]
    with pytest.raises(UserError, match="no images in train/; it takes pairs, .*prepare.py"):
        find_pairs(str(tmp_path / "none"), "train")


def test_directions(tmp_path):
    """Left is A, right is B; halves of any size are scaled by themselves, so that neither bleeds into the other."""
    path = save(tmp_path / "pair.png", *(flat(*[value] * 3, height=48, width=64) for value in (200, 40)))
    for direction, values in (("AtoB", (200, 40)), ("BtoA", (40, 200))):
        for half, value in zip(Pairs(options(which_direction=direction), [path], 16)[0], values):
            assert half.shape == (16, 16, 3) and half.dtype == np.uint8 and (half == value).all()


def test_channels(tmp_path):
    """Grey for one, on white for fewer than four; the input's and the target's are counted apart."""
    grey, colour = Image.new("L", (4, 2), 7), Image.new("RGB", (4, 2), (255, 0, 0))
    clear = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
    for image, count, expected in (
        (grey, 1, [7]),
        (grey, 3, [7, 7, 7]),
        (colour, 1, [76]),  # 0.299 of 255
        (colour, 4, [255, 0, 0, 255]),
        (clear, 1, [255]),
        (clear, 3, [255, 255, 255]),
        (clear, 4, [255, 0, 0, 0]),
    ):
        pixels = to_channels(image, count)
        assert pixels.dtype == np.uint8 and pixels.shape == (2, 4, count) and (pixels == expected).all()
    pair = save(tmp_path / "pair.png", flat(9, 90, 200, 0), flat(50, 50, 50, 255))
    [(source, target)] = first(1, options(input_nc=1, output_nc=4), [pair])
    assert source.shape == (1, 16, 16, 1) and target.shape == (1, 16, 16, 4)
    np.testing.assert_allclose([source[0, 0, 0, 0], target[0, 0, 0, 3]], [50 / 127.5 - 1, -1], atol=1e-6)


@pytest.mark.parametrize("memory", [2**30, 0], ids=["kept", "not kept"])
@pytest.mark.parametrize("bad", [flat(1, 2, 3, width=41), flat(1, 2, 3), None], ids=["odd", "one half", "broken"])
def test_a_bad_file_in_the_middle(numbered, tmp_path, monkeypatch, memory, bad):
    """Named before training begins, also where only the sizes are looked at."""
    monkeypatch.setattr(data, "MEMORY", memory)
    path = tmp_path / "bad.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more") if bad is None else save(path, bad)
    words = "is no image that can be decoded" if bad is None else "and no pair"
    with pytest.raises(UserError, match=f"bad.png: .*{words}"):
        Pairs(options(), [*numbered[:2], path, *numbered[2:]], 20)


def numbers_of(found):
    return [int(round(float((value + 1) * 127.5 / 20))) for _, target in found for value in target[:, 0, 0, 0]]


def test_order(numbered):
    """Each epoch sees every pair once; with --serial_batches in the files' order."""
    assert sorted(numbers_of(first(10, options(), numbered))) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    found = first(4, options(serial_batches=True, batch_size=2), numbered)
    assert numbers_of(found) == [0, 1, 2, 3, 4, 0, 1, 2] and found[0][0].shape == (2, 16, 16, 3)
    for source, target in found:
        np.testing.assert_allclose(source + target, 0, atol=1e-6)


@pytest.mark.parametrize("changed", [{"batch_size": 2}, {"serial_batches": True, "batch_size": 3}], ids=str)
def test_batches_are_a_function_of_seed_and_step(noise, monkeypatch, changed):
    args = options(**changed)
    whole = first(9, args, noise)
    assert same(whole[4:], first(5, args, noise, 4)) and not same(whole, first(9, options(**changed, seed=1), noise))
    monkeypatch.setattr(data, "MEMORY", 0)
    assert same(whole, first(9, args, noise))


def test_jitter(tmp_path):
    """All crops and both mirrorings come up, the same for both halves and none of them depending on another."""
    rows, columns = np.mgrid[:20, :20]
    ramp = np.stack([12 * columns, 12 * rows, 0 * rows], -1).astype(np.uint8)  # a pixel tells where it stands
    files, counts = [save(tmp_path / "0.png", ramp, ramp)], np.zeros((5, 5, 2))
    for source, target in first(400, options(), files):
        np.testing.assert_array_equal(source, target)
        columns, rows = (np.round((source[0, ..., channel] + 1) * 127.5 / 12) for channel in (0, 1))
        mirrored = columns[0, 0] > columns[0, -1]
        left, top = int(min(columns[0, 0], columns[0, -1])), int(rows[0, 0])
        expected = np.arange(left, left + 16)[:: -1 if mirrored else 1]
        assert (columns == expected).all() and (np.arange(top, top + 16) == rows.T).all()
        counts[left, top, int(mirrored)] += 1
    for axis, share in ((0, 80), (1, 80), (2, 200)):  # of 400: uniform, within four standard deviations
        assert np.abs(counts.sum(tuple({0, 1, 2} - {axis})) - share).max() < 40
    assert (counts > 0).all()
    for source, _ in first(20, options(flip=False, load_size=16), files):
        assert source[0, 0, 0, 0] < source[0, 0, -1, 0]  # never mirrored
