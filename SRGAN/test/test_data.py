"""Files of all kinds -> crops: what is used, what is named, and that they are a function of (seed, step)."""

from argparse import Namespace
from itertools import islice
from types import SimpleNamespace

import baseline
import data
import numpy as np
import pytest
from conftest import noise
from PIL import Image

from common.cli import UserError

ALONE = SimpleNamespace(world_size=1, rank=0, local_batch=lambda batch_size: batch_size)  # a session


def options(path, **changed):
    given = {"data_path": str(path), "lr_path": None, "degradation": "bicubic", "crop": 16, "scale": 4, "seed": 3}
    given.update(batch_size=2, number_of_images=8000, train_test_ratio=0.8)
    return Namespace(**{**given, **changed})


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def photographs(tmp_path):
    for number in range(5):
        write(tmp_path / "set" / f"{number}.png", noise(20, 24, 3, seed=number))
    return tmp_path / "set"


def crops_of(args):
    return data.Crops(args, data.split(args)[0])


def first_batches(args, crops, count, start_step=0):
    return [[x.numpy() for x in pair] for pair in islice(data.batches(args, crops, ALONE, start_step), count)]


def test_split(tmp_path, photographs):
    train, val = data.split(options(photographs))
    assert [path.name for path in train] == ["0.png", "1.png", "2.png", "3.png"] and [p.name for p in val] == ["4.png"]
    assert len(data.split(options(photographs, train_test_ratio=1.0))[1]) == 1  # one is always held out
    assert [len(files) for files in data.split(options(photographs, number_of_images=2))] == [1, 1]
    write(photographs / "deep" / "er" / "x.jpg", noise(9, 9, 3))
    assert len(sum(data.split(options(photographs)), [])) == 6
    with pytest.raises(UserError, match="one image only"):
        data.split(options(photographs / "deep"))
    for name in ("train", "val"):
        write(tmp_path / "both" / name / f"{name}.png", noise(9, 9, 3))
    train, val = data.split(options(tmp_path / "both"))
    assert [path.name for path in train + val] == ["train.png", "val.png"]


def test_small_images(photographs):
    """Mirrored below their last row."""
    small = noise(10, 40, 3)
    write(photographs / "00.png", small)
    crops, key = crops_of(options(photographs)), np.array([1, 0], np.int32)
    assert crops.small == 1
    _, across, mirrored = np.random.default_rng(key).random(3)
    left = int(across * 25)
    expected = np.concatenate([small, small[:3:-1]])[:, left : left + 16]
    _, hr = crops.read(crops.files.index(photographs / "00.png"), key, key)
    np.testing.assert_array_equal(hr, expected[:, ::-1] if mirrored < 0.5 else expected)


def test_lr_is_what_the_degradation_says(photographs):
    """Bicubic as the evaluation makes it; photo another one with each key; hr is the same crop of the file in both."""
    whole, keys = np.asarray(Image.open(photographs / "2.png")), [np.array([n, 5], np.int32) for n in range(8)]
    lr, hr = crops_of(options(photographs)).read(2, keys[0], keys[0])
    places = [whole[y : y + 16, x : x + 16] for y in range(5) for x in range(9)]
    assert any((place == part).all() for place in places for part in (hr, hr[:, ::-1]))
    np.testing.assert_array_equal(lr, baseline.shrink(hr, 4))
    crops = crops_of(options(photographs, degradation="photo"))
    pairs = [crops.read(2, keys[0], key) for key in (*keys, keys[1])]
    assert all((hr == pair[1]).all() for pair in pairs) and (pairs[1][0] == pairs[-1][0]).all()
    assert len({pair[0].tobytes() for pair in pairs}) > 4


def test_lr_images_of_ones_own(tmp_path):
    """Crops of both at the same place; what has no partner or another size is named."""
    for number in range(3):
        hr, name = noise(41, 50, 3, seed=number), "0" if number else "0x4"  # as DIV2K calls them
        write(tmp_path / "hr" / f"{number}" / "0.png", hr)
        write(tmp_path / "lr" / f"{number}" / f"{name}.png", hr[:40:4, :48:4])  # so that a pixel tells its place
    args = options(tmp_path / "hr", lr_path=str(tmp_path / "lr"), train_test_ratio=0.7)
    crops = crops_of(args)
    for number in range(6):
        lr, hr = crops.read(number % 2, np.array([number, 1], np.int32), np.zeros(2, np.int32))
        mirrored = np.random.default_rng([number, 1]).random(3)[2] < 0.5
        np.testing.assert_array_equal(lr, hr[::4, ::-1][:, ::4][:, ::-1] if mirrored else hr[::4, ::4])
    write(tmp_path / "lr" / "1" / "0.png", noise(10, 11, 3))
    with pytest.raises(UserError, match=r"11 x 10 pixels; by --scale 4 of .*1/0.png it has to be 12 x 10"):
        crops_of(args)
    (tmp_path / "lr" / "1" / "0.png").unlink()
    with pytest.raises(UserError, match=r"there is no 1/0.png for"):
        crops_of(args)


def test_stream(photographs, monkeypatch):
    """A function of (seed, step); what is not kept in memory gives the same."""
    args = options(photographs, degradation="photo")
    crops = crops_of(args)
    first = first_batches(args, crops, 6)
    assert [x.shape for x in first[0]] == [(2, 4, 4, 3), (2, 16, 16, 3)] and first[0][0].dtype == np.uint8
    np.testing.assert_equal(first_batches(args, crops, 2, start_step=4), first[4:])
    [other] = first_batches(options(photographs, seed=4), crops, 1)
    assert (other[1] != first[0][1]).any()

    monkeypatch.setattr(data, "MEMORY", 1)
    streamed = crops_of(args)
    assert len(streamed._kept) == 1
    np.testing.assert_equal(first_batches(args, streamed, 6), first)
    streamed.files[3].write_bytes(b"gone")  # a file that has gone bad since
    with pytest.raises(UserError, match=streamed.files[3].name):
        first_batches(args, streamed, 4)
