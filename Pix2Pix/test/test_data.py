"""Pairs on disk and the batches made of them: which pixels go where, in which order, and what is refused."""

import argparse
import itertools

import data
import numpy as np
import pytest
from data import Pairs, as_channels, batches, find_pairs, read_pair
from PIL import Image

from common.cli import UserError
from common.session import Session, SessionConfig

HALF = 20  # height and width of a small pair's halves


def options(**changed):
    given = {"input_nc": 3, "output_nc": 3, "which_direction": "BtoA", "batch_size": 1, "load_size": HALF}
    given.update(fine_size=16, flip=True, serial_batches=False, seed=0)
    return argparse.Namespace(**{**given, **changed})


SESSION = Session(SessionConfig(), "cpu", "float32")


def save(path, left, right=None):
    """A pair, or one half, uint8 [height, width, channels] each."""
    pixels = left if right is None else np.concatenate([left, right], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return path


def flat(*colour, height=HALF, width=HALF):
    return np.full((height, width, len(colour)), colour, np.uint8)


def ramp():
    """A half in which a pixel tells where it stands: red 12 times its column, green 12 times its row."""
    rows, columns = np.mgrid[:HALF, :HALF]
    return np.stack([12 * columns, 12 * rows, 0 * rows], -1).astype(np.uint8)


def pairs_of(args, files):
    return Pairs(args, files, (args.load_size, args.load_size))


def first(count, args, pairs, start_step=0):
    """The first batches as [(input, target), ...]."""
    return [
        tuple(np.asarray(x) for x in batch)
        for batch in itertools.islice(batches(args, pairs, start_step, SESSION), count)
    ]


def same(one, other):
    return all(np.array_equal(x, y) for x, y in zip(itertools.chain(*one), itertools.chain(*other)))


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Five pairs; of pair n the left half is n * 20 and the right one 255 - n * 20 throughout."""
    folder = tmp_path_factory.mktemp("numbered")
    return [save(folder / f"{n}.png", flat(*[n * 20] * 3), flat(*[255 - n * 20] * 3)) for n in range(5)]


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """One pair of two ramps."""
    return [save(tmp_path_factory.mktemp("twins") / "0.png", ramp(), ramp())]


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Five pairs of equal noisy halves, of sizes that differ."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("noise")
    halves = [rng.integers(0, 256, (30 - n, 30 + n, 3)).astype(np.uint8) for n in range(5)]
    return [save(folder / f"{n}.png", half, half) for n, half in enumerate(halves)]


def refused(call, *words):
    with pytest.raises(UserError) as caught:
        call()
    told = str(caught.value)
    assert all(str(word) in told for word in words) and len(told.splitlines()) <= 2, told


# Files.


def test_where_pairs_are_looked_for(tmp_path):
    for name in ("train/b.PNG", "train/a.jpg", "train/.hidden.png", "train/notes.txt", "test/c.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_pairs(str(tmp_path), "train")] == ["a.jpg", "b.PNG"]
    assert find_pairs(str(tmp_path), "val") == find_pairs(str(tmp_path), "test") == [tmp_path / "test" / "c.bmp"]
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "d.webp").touch()
    assert find_pairs(str(tmp_path), "val") == [tmp_path / "val" / "d.webp"]
    assert find_pairs(str(tmp_path), "test") == [tmp_path / "test" / "c.bmp"]


def test_no_images_at_all(tmp_path):
    refused(lambda: find_pairs(str(tmp_path), "train"), f"--data_path {tmp_path}: no images in train/", "prepare.py")
    refused(lambda: find_pairs(str(tmp_path), "val"), "no images in val/ or test/")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_directions(tmp_path, suffix):
    """Left is A, right is B, in any format."""
    path = save(tmp_path / f"pair{suffix}", flat(200, 200, 200), flat(40, 40, 40))
    for direction, source, target in (("AtoB", 200, 40), ("BtoA", 40, 200)):
        pair = read_pair(path, 3, 3, direction)
        assert [half.shape for half in pair] == [(HALF, HALF, 3)] * 2 and pair[0].dtype == np.uint8
        assert np.abs(pair[0].astype(int) - source).max() <= 3 and np.abs(pair[1].astype(int) - target).max() <= 3


def test_halves_are_resized_by_themselves(tmp_path):
    """Neither bleeds into the other, whatever the sizes."""
    path = save(tmp_path / "pair.png", flat(255, 0, 9, height=31, width=40), flat(0, 255, 9, height=31, width=40))
    for half, colour in zip(read_pair(path, 3, 3, "AtoB", (24, 16)), ([255, 0, 9], [0, 255, 9])):
        assert half.shape == (24, 16, 3) and (half == colour).all()


def test_channels(tmp_path):
    grey, colour = Image.new("L", (4, 2), 7), Image.new("RGB", (4, 2), (1, 2, 90))
    opaque, clear = Image.new("RGBA", (4, 2), (1, 2, 90, 255)), Image.new("RGBA", (4, 2), (1, 2, 90, 254))
    for image, nc, expected in (
        (grey, 1, [7]),
        (grey, 3, [7, 7, 7]),
        (colour, 3, [1, 2, 90]),
        (opaque, 3, [1, 2, 90]),
        (opaque, 4, [1, 2, 90, 255]),
        (clear, 4, [1, 2, 90, 254]),
        (Image.new("RGB", (4, 2), (50, 52, 49)), 1, [51]),  # as JPEG keeps a grey image: luma
        (Image.new("RGBA", (4, 2), (50, 50, 50, 255)), 1, [50]),
    ):
        pixels = as_channels(image, nc, "--input_nc", "f.png")
        assert pixels.dtype == np.uint8 and pixels.shape == (2, 4, nc) and (pixels == expected).all()
    for image, nc, words in (
        (colour, 1, "f.png: is in colour, but --input_nc=1"),
        (colour, 4, "f.png: has no alpha channel, which --input_nc=4 asks for"),
        (grey, 4, "f.png: has no alpha channel"),
        (clear, 3, "f.png: is transparent in places; give --input_nc=4"),
        (clear, 1, "f.png: is transparent in places"),
    ):
        refused(lambda image=image, nc=nc: as_channels(image, nc, "--input_nc", "f.png"), words)


def test_channels_of_a_pair(tmp_path):
    """One channel in, four out; which half is refused is told by its flag."""
    path = save(tmp_path / "pair.png", flat(9, 90, 200, 0), flat(50, 50, 50, 255))
    source, target = read_pair(path, 1, 4, "BtoA")
    assert source.shape == (HALF, HALF, 1) and (source == 50).all() and (target == [9, 90, 200, 0]).all()
    refused(lambda: read_pair(path, 1, 3, "BtoA"), path, "--output_nc=4")
    refused(lambda: read_pair(path, 1, 4, "AtoB"), path, "--input_nc=4")
    pairs = Pairs(options(input_nc=1, output_nc=4), [path], (8, 8))
    assert pairs.read(0).shape == (8, 8, 5) and (pairs.read(0)[..., :1] == 50).all()
    [(source, target)] = first(1, options(input_nc=1, output_nc=4), pairs_of(options(input_nc=1, output_nc=4), [path]))
    assert source.shape == (1, 16, 16, 1) and target.shape == (1, 16, 16, 4)


# Bad files.


BAD = {
    "pixels wide, and a pair has two halves": lambda path: save(path, flat(1, 2, 3, width=41)),
    "20 x 20, one half only": lambda path: save(path, flat(1, 2, 3)),
    "is no image that can be decoded": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n and no more"),
}


@pytest.mark.parametrize("memory", [2**30, 0], ids=["kept", "streamed"])
@pytest.mark.parametrize("words", BAD)
def test_a_bad_file_in_the_middle(numbered, tmp_path, monkeypatch, memory, words):
    monkeypatch.setattr(data, "MEMORY", memory)
    bad = tmp_path / "bad.png"
    BAD[words](bad)
    files = [*numbered[:2], bad, *numbered[2:]]
    refused(lambda: pairs_of(options(), files), f"{bad}: ", words)


def test_a_file_that_ceases_to_decode(noise, tmp_path, monkeypatch):
    """Named in place of TensorFlow's own error."""
    monkeypatch.setattr(data, "MEMORY", 0)
    soon_bad = tmp_path / "soon bad.png"
    soon_bad.write_bytes(noise[1].read_bytes())
    args = options(serial_batches=True, flip=False)
    pairs = pairs_of(args, [noise[0], soon_bad, noise[2]])
    soon_bad.write_bytes(noise[1].read_bytes()[:-200])
    refused(lambda: first(3, args, pairs), f"{soon_bad}: is no image that can be decoded")


def test_a_size_that_is_too_large_is_told_by_the_header(tmp_path, monkeypatch):
    """Nothing is decoded for it."""
    path = save(tmp_path / "pair.png", flat(1, 2, 3), flat(1, 2, 3))
    monkeypatch.setattr(data, "MAX_PIXELS", 2 * HALF * HALF - 1)
    monkeypatch.setattr(data.images, "decode", lambda path: pytest.fail("was decoded"))
    refused(lambda: data.decode(path), f"{path}: 40 x 20 is more than 799 pixels")


# Batches.


def test_a_batch(numbered):
    args = options(batch_size=2, serial_batches=True)
    (source, target), (later, _) = first(2, args, pairs_of(args, numbered))
    assert source.shape == target.shape == (2, 16, 16, 3) and source.dtype == target.dtype == np.float32
    for index, number in enumerate([0, 1]):
        np.testing.assert_allclose(target[index], number * 20 / 127.5 - 1, atol=1e-6)
        np.testing.assert_allclose(source[index], (255 - number * 20) / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(later[0], (255 - 2 * 20) / 127.5 - 1, atol=1e-6)


def numbers_of(found):
    return [int(round(float((value + 1) * 127.5 / 20))) for _, target in found for value in target[:, 0, 0, 0]]


def test_each_epoch_sees_every_pair_once(numbered):
    args = options()
    pairs = pairs_of(args, numbered)
    numbers = numbers_of(first(20, args, pairs))
    epochs = [numbers[start : start + 5] for start in range(0, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert numbers_of(first(20, options(seed=1), pairs)) != numbers
    assert numbers_of(first(7, options(serial_batches=True), pairs)) == [0, 1, 2, 3, 4, 0, 1]
    in_twos = numbers_of(first(4, options(batch_size=2), pairs))  # one is left out of each epoch
    assert len(set(in_twos[:4])) == len(set(in_twos[4:])) == 4


@pytest.mark.parametrize("changed", [{}, {"batch_size": 2}, {"serial_batches": True, "batch_size": 3}], ids=str)
def test_batches_are_a_function_of_seed_and_step(noise, monkeypatch, changed):
    args = options(**changed)
    pairs = pairs_of(args, noise)
    whole = first(9, args, pairs)
    assert same(whole, first(9, args, pairs))
    for start in (1, 4, 7):
        assert same(whole[start:], first(9 - start, args, pairs, start))
    assert not same(whole, first(9, options(**changed, seed=1), pairs))
    monkeypatch.setattr(data, "MEMORY", 0)
    streamed = pairs_of(args, noise)
    assert pairs.kept is not None and streamed.kept is None and same(whole, first(9, args, streamed))


def test_jitter(twins):
    """All crops and both mirrorings come up, the same for both halves and none of them depending on another."""
    args = options()
    seen = []
    for source, target in first(400, args, pairs_of(args, twins)):
        np.testing.assert_array_equal(source, target)
        columns, rows = (np.round((source[0, ..., channel] + 1) * 127.5 / 12) for channel in (0, 1))
        mirrored = columns[0, 0] > columns[0, -1]
        left, top = int(min(columns[0, 0], columns[0, -1])), int(rows[0, 0])
        expected = np.arange(left, left + 16)[:: -1 if mirrored else 1]
        assert (columns == expected).all() and (np.arange(top, top + 16) == rows.T).all()
        seen.append((left, top, bool(mirrored)))
    counts = np.zeros((5, 5, 2))
    for place in seen:
        counts[place] += 1
    for axis, share in ((0, 80), (1, 80), (2, 200)):  # of 400: uniform, within four standard deviations
        sums = counts.sum(tuple({0, 1, 2} - {axis}))
        assert np.abs(sums - share).max() < 40, sums
    assert (counts > 0).all()


def test_no_jitter(twins):
    args = options(flip=False, load_size=16)
    [(source, _), (again, _)] = first(2, args, pairs_of(args, twins))
    np.testing.assert_array_equal(source, again)
    found = first(60, options(flip=False), pairs_of(options(), twins))
    assert all(source[0, 0, 0, 0] < source[0, 0, -1, 0] for source, _ in found)  # never mirrored
