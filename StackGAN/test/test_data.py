"""A set on disk: what is read, what is made once and kept, every refusal, and batches as a function of the step."""

import os
from argparse import Namespace
from itertools import islice
from types import SimpleNamespace

import data
import numpy as np
import pytest
from conftest import write_set
from PIL import Image

from common.cli import UserError

SESSION = SimpleNamespace(world_size=1, rank=0, local_batch=lambda size: size)


@pytest.fixture
def own(tmp_path):
    return write_set(tmp_path / "set", size=8) / "train"


def test_a_set(own):
    split = data.Split(own)
    assert split.filenames == ["blue/02", "blue/05", "green/01", "green/04", "red/00", "red/03"]
    assert split.classes.tolist() == [0, 0, 1, 1, 2, 2] and split.embeddings.shape == (6, 3, 8)
    assert split.captions[4] == ["a red bird, number 0", "a red bird, number 1", "a red bird, number 2"]
    for size in (76, 304):
        found = split.images(size)
        assert found.shape == (6, size, size, 3) and found[4, 0, 0, 0] > 180 > found[0, 0, 0, 0]
        assert isinstance(found, np.memmap)
    assert np.array_equal(split.crops(64, [4, 0]), split.images(76)[[4, 0], 6:70, 6:70])
    assert sorted(path.name for path in own.glob("*.np*")) == ["304images.npy", "76images.npy", "embeddings.npy"]
    assert not list(own.glob(".*"))


def test_images_are_made_once_and_again_when_they_change(own, monkeypatch):
    data.Split(own).images(76)
    seen, read = [], data.image_files.read_rgb
    monkeypatch.setattr(data.image_files, "read_rgb", lambda path: seen.append(path.name) or read(path))
    data.Split(own).images(76)
    assert seen == []
    path = own / "images" / "blue" / "02.png"
    before = path.stat()
    Image.new("RGB", (50, 40), (1, 2, 3)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 10**9))  # another one, and an older one
    assert (data.Split(own).images(76)[0] == [1, 2, 3]).all() and len(seen) == 6
    (own / "images" / "red" / "03.png").unlink()
    assert len(data.Split(own, False).images(76)) == 5
    with pytest.raises(UserError, match="embeddings.npy: was made for other images"):
        data.Split(own)


def test_a_folder_that_cannot_be_written_to(own, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = data.Split(own).images(76)
    assert found.shape == (6, 76, 76, 3) and found[4, 0, 0, 0] > 180
    assert not list(own.glob("*images.npy")) and "cannot be written to" in capsys.readouterr().out


def test_every_kind_of_image(tmp_path):
    """What is transparent is on white; of a wide image the middle is seen; grey is a colour."""
    wide = Image.new("RGB", (60, 20), (255, 0, 0))
    wide.paste((0, 0, 255), (20, 0, 40, 20))
    glass, grey = Image.new("RGBA", (30, 20), (200, 0, 0, 0)), Image.new("L", (5, 5), 7)
    for image, colour in ((glass, 255), (wide, [0, 0, 255]), (grey, 7)):
        image.save(tmp_path / "x.png")
        found = data.square(tmp_path / "x.png")
        assert found.shape == (304, 304, 3) and (found[:, 40:-40] == colour).all()


def test_captions_in_other_encodings(tmp_path):
    (tmp_path / "x.txt").write_bytes("this\u00a0bird  is\tred\r\n\n caf\u00e9 \n".encode())
    assert data.read_lines(tmp_path / "x.txt") == ["this bird is red", "caf\u00e9"]
    (tmp_path / "y.txt").write_bytes(b"caf\xe9")
    assert data.read_lines(tmp_path / "y.txt") == ["caf\u00e9"]


@pytest.mark.parametrize(
    "content, words",
    [
        (np.zeros((5, 3, 8)), "was made for other images"),
        (np.full((6, 3, 8), np.nan), "not finite"),
        (np.array([{}] * 6, object), "is no .npy that can be read"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999999, 9999, 9)}", "is no .npy"),
        (os.mkfifo, "there are no embeddings yet; train_text_encoder.py makes them"),
    ],
)
def test_embeddings_of_no_use(own, content, words):
    path = own / "embeddings.npy"
    path.unlink()
    if callable(content):
        content(path)
    else:
        path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(UserError, match=words):
        data.Split(own)


@pytest.mark.parametrize("content", ['{"embeddings.npy": [1]}', "[]", "{", "[" * 10**5])
def test_a_record_that_is_none(own, content):
    (own / "prepared.json").write_text(content)
    with pytest.raises(UserError, match="prepared.json: is not what was written .*; remove it and repeat"):
        data.Split(own)


def test_more_refusals(own, tmp_path):
    with pytest.raises(UserError, match="no images in nowhere/images; misc/preprocess_birds.py, prepare.py"):
        data.Split(tmp_path / "nowhere")
    path = own / "captions" / "red" / "00.txt"
    for content, words in ((b" \n\n", "holds no caption"), (b"a\0b", "no text file"), (None, "there is no such file")):
        path.write_bytes(content) if content else path.unlink()
        with pytest.raises(UserError, match=f"00.txt: .*{words}"):
            _ = data.Split(own).captions
    (own / "images" / "red" / "00.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="00.png"):
        data.Split(own).images(76)
    assert not list(own.glob(".unfinished*")) and not (own / "76images.npy").exists()


# Batches


def options(**changed):
    return Namespace(**{"batch_size": 3, "seed": 5, "num_embedding": 4, **changed})


@pytest.fixture
def told(own):
    """Six images, whose pixels tell which image, row and column they are of, and embeddings likewise."""
    split = data.Split(own)
    for size in (76, 304):
        pixels = np.zeros((6, size, size, 3), np.uint8)
        pixels[..., 0] = np.arange(6)[:, None, None] * 40
        pixels[..., 1], pixels[..., 2] = np.arange(size)[:, None] % 256, np.arange(size) % 256
        split._images[size] = pixels
    numbers = np.arange(6)[:, None, None] * 100 + 2.0 ** np.arange(6)[:, None] + np.zeros(7)
    split.embeddings = numbers.astype(np.float32)
    return split


def batches(split, size, count, start=0, **changed):
    found = islice(data.training_batches(options(**changed), split, size, start, SESSION), count)
    return [[x.numpy() for x in batch] for batch in found]


@pytest.mark.parametrize("size", [64, 256])
def test_batches(told, size):
    tops, mirrored, sums = set(), set(), set()
    for images, embedding, classes in batches(told, size, 16):
        assert images.shape == (3, size, size, 3) and embedding.shape == (3, 7) and np.abs(images).max() <= 1
        pixels = np.round((images + 1) * 127.5).astype(int)
        assert (np.diff(pixels[..., 1], axis=1) % 256 == 1).all()  # a crop, rows in their order
        turned = np.diff(pixels[..., 2], axis=2) % 256
        assert (turned == turned[:, :1, :1]).all() and set(turned[:, 0, 0]) <= {1, 255}
        tops.update(pixels[:, 0, 0, 1])
        mirrored.update(turned[:, 0, 0])
        which = np.round((images[:, 0, 0, 0] + 1) * 127.5 / 40).astype(int)
        assert (told.classes[which] == classes).all() and (embedding[:, 0] // 100 == which).all()
        means = (embedding[:, 0] % 100) * 4
        assert all(bin(int(mean)).count("1") == 4 and mean == int(mean) for mean in means)  # four different captions
        sums.update(means)
    assert len(tops) > 5 and mirrored == {1, 255} and len(sums) > 5


def test_whole_images(own, told):
    """Not cropped, an image is shrunk to what a network sees, in batches as where it is compared."""
    told.crop = False
    told._images[64] = told._images[76][:, :64, :64]
    pixels = [np.round((images + 1) * 127.5).astype(int) for images, *_ in batches(told, 64, 8)]
    assert all((part[:, 0, :, 1] == 0).all() and (part[:, -1, :, 1] == 63).all() for part in pixels)
    assert {column for part in pixels for column in part[:, 0, 0, 2]} == {0, 63}  # mirrored or not
    split = data.Split(own, crop=False)
    assert np.array_equal(split.crops(64, [4, 0]), split.images(64)[[4, 0]]) and split.images(64).shape[1] == 64
    assert np.abs(split.crops(64).mean((1, 2)) - split.images(304).mean((1, 2))).max() < 1


def test_batches_are_a_function_of_seed_and_step(told):
    every, later, other = batches(told, 64, 5), batches(told, 64, 2, start=3), batches(told, 64, 2, seed=6)
    for one, two in zip(every[3:], later):
        for x, y in zip(one, two):
            np.testing.assert_array_equal(x, y)
    assert not np.array_equal(every[0][0], other[0][0])


def test_held_out_batch(told):
    images, embedding, classes = data.held_out_batch(options(num_embedding=1), told, 64)
    assert np.round((images[:, 0, 0, 0] + 1) * 127.5 / 40).tolist() == [0, 2, 4] and classes.tolist() == [0, 1, 2]
    assert embedding[:, 0].tolist() == [1, 201, 401] and np.round((images[0, 0, 0, 1] + 1) * 127.5) == 6
