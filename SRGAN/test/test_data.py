"""Files of all kinds -> crops: what is used, what is named, and that they are a function of (seed, step)."""

from argparse import Namespace
from itertools import islice

import data
import numpy as np
import pytest
from PIL import Image

from common.cli import UserError


def options(path, **changed):
    given = {"data_path": str(path), "crop": 16, "batch_size": 2, "seed": 3, "skip_bad_files": False}
    given.update(small_pictures="pad", number_of_images=8000, train_test_ratio=0.8)
    return Namespace(**{**given, **changed})


def write(path, height=20, width=24, mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    (picture.quantize(16) if mode == "P" else picture.convert(mode)).save(path)
    return path


@pytest.fixture
def photographs(tmp_path):
    for number in range(5):
        write(tmp_path / "set" / f"{number}.png", seed=number)
    return tmp_path / "set"


def crops_of(args):
    return data.Crops(args, data.split(args)[0])


def test_split(tmp_path, photographs):
    train, val = data.split(options(photographs))
    assert [path.name for path in train] == ["0.png", "1.png", "2.png", "3.png"] and [p.name for p in val] == ["4.png"]
    assert len(data.split(options(photographs, train_test_ratio=1.0))[1]) == 1  # one is always held out
    assert [len(files) for files in data.split(options(photographs, number_of_images=2))] == [1, 1]
    write(photographs / "deep" / "er" / "x.jpg")
    assert len(sum(data.split(options(photographs)), [])) == 6
    for name in ("train", "val"):
        write(tmp_path / "both" / name / f"{name}.png")
    train, val = data.split(options(tmp_path / "both"))
    assert [path.name for path in train + val] == ["train.png", "val.png"]


def test_no_pictures(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="no pictures in it or below it"):
        data.split(options(tmp_path))
    write(tmp_path / "alone.png")
    with pytest.raises(UserError, match="one picture only"):
        data.split(options(tmp_path))


@pytest.mark.parametrize("mode, ending", [("L", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("1", "png")])
def test_every_kind_becomes_rgb(tmp_path, mode, ending):
    picture = data.read_rgb(write(tmp_path / f"x.{ending}", mode=mode))
    assert picture.shape == (20, 24, 3) and picture.dtype == np.uint8
    if mode in ("L", "1"):
        assert (picture == picture[..., :1]).all()


def test_transparent_is_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "x.png")
    assert (data.read_rgb(tmp_path / "x.png") == 255).all()


def test_small_pictures(photographs):
    small = write(photographs / "00.png", 10, 40)
    crops = crops_of(options(photographs))
    assert crops.small == [small] and small in crops.files
    picture = data.read_rgb(small)
    crop = crops.read(crops.files.index(small), np.array([0.0, 0.0, 0.9]))
    np.testing.assert_array_equal(crop[:10], picture[:, :16])
    np.testing.assert_array_equal(crop[10:], picture[:3:-1, :16])  # mirrored below its last row
    crops = crops_of(options(photographs, small_pictures="skip"))
    assert crops.small == [small] and small not in crops.files
    with pytest.raises(UserError, match="smaller than --crop 64"):
        crops_of(options(photographs, small_pictures="skip", crop=64))


def test_broken_files(photographs):
    (photographs / "1.png").write_bytes((photographs / "1.png").read_bytes()[:80])
    with pytest.raises(UserError, match=r"1\.png: is no picture"):
        crops_of(options(photographs))
    crops = crops_of(options(photographs, skip_bad_files=True))
    assert [path.name for path in crops.files] == ["0.png", "2.png", "3.png"] and "1.png" in crops.bad[0]


def test_crops(photographs):
    crops = crops_of(options(photographs))
    whole = data.read_rgb(crops.files[2])
    np.testing.assert_array_equal(crops.read(2, np.array([0.999, 0.5, 0.6])), whole[4:20, 4:20])
    np.testing.assert_array_equal(crops.read(2, np.array([0.0, 0.0, 0.4])), whole[:16, 15::-1])


def test_stream(photographs, monkeypatch):
    """A function of (seed, step); an epoch sees each picture once; what is not kept in memory gives the same."""
    args = options(photographs)
    crops = crops_of(args)
    first = [batch.numpy() for batch in islice(data.batches(args, crops), 6)]
    assert first[0].shape == (2, 16, 16, 3) and first[0].dtype == np.uint8
    later = [batch.numpy() for batch in islice(data.batches(args, crops, start_step=4), 2)]
    np.testing.assert_array_equal(later, first[4:])
    other = next(data.batches(options(photographs, seed=4), crops)).numpy()
    assert (other != first[0]).any()

    monkeypatch.setattr(data, "MEMORY", 1)
    streamed = crops_of(args)
    assert len(streamed._kept) == 1
    np.testing.assert_array_equal([b.numpy() for b in islice(data.batches(args, streamed), 6)], first)
    # A file that has gone bad since.
    streamed.files[3].write_bytes(b"gone")
    with pytest.raises(UserError, match="is no picture that can be decoded"):
        list(islice(data.batches(args, streamed), 4))


def test_an_epoch_sees_each_picture_once(tmp_path):
    for number in range(4):
        pixels = np.full((16, 16, 3), 50 * number, np.uint8)
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "train" / f"{number}.png")
    write(tmp_path / "val" / "v.png")
    args = options(tmp_path)
    crops = crops_of(args)
    epochs = np.concatenate([batch.numpy()[:, 0, 0, 0] for batch in islice(data.batches(args, crops), 4)])
    assert sorted(epochs[:4]) == sorted(epochs[4:]) == [0, 50, 100, 150]
