"""Every form of a data set: what is read is what was written; and damaged and hostile files, each with its words."""

import dataclasses
import gzip
import os
import pickle
import struct
import tarfile
import zipfile

import data
import formats
import numpy as np
import pytest
import toy
from PIL import Image

from common.cli import UserError


def same(one, other):
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        left, right = getattr(one, field), getattr(other, field)
        assert left.dtype == right.dtype == (np.uint8 if "images" in field else np.int32)
        np.testing.assert_array_equal(left, right)


def fails(read, *words):
    """It is refused in one or two short lines that hold the words."""
    with pytest.raises(UserError) as caught:
        read()
    text = str(caught.value)
    assert len(text.splitlines()) <= 2 and len(text) < 500, text
    assert all(str(word) in text for word in words), text


def test_npz(tmp_path, capsys):
    made = toy.random_set(unlabelled=3)
    data.save(made, tmp_path / "toy")
    assert "12 images to train on (3 unlabelled), 6 to test on" in capsys.readouterr().out
    read = data.load(tmp_path / "toy")
    same(made, read)
    assert (read.class_names, read.name) == (["0", "1", "2"], "toy")
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["data.npz"] == [path.name for path in read.files]
    fails(lambda: data.save(made, tmp_path / "toy"), "is not an empty folder")


def write_packed_idx(folder):
    return toy.write_idx(folder, ".gz", ".")


@pytest.mark.parametrize("write", [toy.write_idx, write_packed_idx, toy.write_tfrecords, toy.write_hdf5])
def test_other_containers(tmp_path, write):
    made = write(tmp_path)
    read = data.load(tmp_path)
    same(made, read)
    assert read.class_names == ["0", "1", "2"] and read.files


def test_a_pipe_is_no_data_set(tmp_path):
    os.mkfifo(tmp_path / "data.npz")
    fails(lambda: data.load(tmp_path), "no data set", tmp_path)


# A folder a class


def save_images(folder, count, size=(6, 5), colour=None, mode="L", suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new(mode, size, colour or index).save(folder / f"{index:02d}{suffix}")


def test_class_folders_with_a_split(tmp_path):
    for name, colour in (("10", 200), ("9", 100)):
        save_images(tmp_path / "train" / name, 3, colour=colour)
        save_images(tmp_path / "test" / name, 2, colour=colour + 1, suffix=".bmp")
    save_images(tmp_path / "train" / "unlabelled", 4, colour=50)
    (tmp_path / "train" / "9" / "notes.txt").write_text("not an image")
    read = data.load(tmp_path)
    assert read.class_names == ["9", "10"]  # as numbers
    assert read.train_images.shape == (10, 5, 6, 1) and read.test_images.shape == (4, 5, 6, 1)
    colours = {0: 100, 1: 200, -1: 50}
    assert all((image == colours[label]).all() for image, label in zip(read.train_images, read.train_labels))
    assert all((image == colours[label] + 1).all() for image, label in zip(read.test_images, read.test_labels))
    save_images(tmp_path / "test" / "c", 1)
    fails(lambda: data.load(tmp_path), "test/c has no fellow in train/")


def test_class_folders_without_a_split(tmp_path, capsys):
    save_images(tmp_path / "cat", 20)
    save_images(tmp_path / "dog", 6, colour=(1, 2, 3), mode="RGB")
    save_images(tmp_path / "unlabelled", 2)
    first = data.load(tmp_path)
    same(first, data.load(tmp_path))
    assert first.train_images.shape[3] == 3  # grey becomes colour where one is
    assert np.bincount(first.test_labels).tolist() == [2, 1]
    assert np.bincount(first.train_labels + 1).tolist() == [2, 18, 5]
    assert "a tenth of each class (3 images)" in capsys.readouterr().out
    cats = np.concatenate([first.train_images[first.train_labels == 0], first.test_images[first.test_labels == 0]])
    assert sorted(cats[:, 0, 0, 0]) == list(range(20))  # each image once


def test_image_size(tmp_path):
    """Nothing is cropped away: a wide image gets ground above and below."""
    wide = np.full((8, 24), 100, np.uint8)
    wide[:, 8:16] = 200
    for name in ("a", "b"):
        save_images(tmp_path / name, 2, colour=100)
        Image.fromarray(wide).save(tmp_path / name / "wide.png")
    fails(lambda: data.load(tmp_path), "different sizes", "--image_size=N")
    read = data.load(tmp_path, size=(12, 12))
    assert read.train_images.shape == (4, 12, 12, 1)
    striped = next(image[..., 0] for image in np.concatenate([read.train_images, read.test_images]) if np.ptp(image))
    assert (striped[:4] == 100).all() and (striped[8:] == 100).all() and striped[6, 6] >= 200
    assert data.load(tmp_path, size=(4, 8)).train_images.shape == (4, 4, 8, 1)


# Damaged and hostile files


def write_batches(folder):
    made, files = toy.cifar10_files()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return made


def svhn(folder):
    return data.check(formats.both_splits(formats.read_svhn, folder), folder)


def cifar10(folder):
    return data.check(formats.both_splits(formats.read_cifar10, folder), folder)


WHOLE = {  # what writes a set, the file that is damaged, what reads it
    "npz": (lambda folder: data.save(toy.random_set(), folder), "data.npz", data.load),
    "idx": (toy.write_idx, "train-images-idx3-ubyte", data.load),
    "packed idx": (write_packed_idx, "train-labels.idx1-ubyte.gz", data.load),
    "tfrecord": (toy.write_tfrecords, "train.tfrecord", data.load),
    "hdf5": (toy.write_hdf5, "data.hdf5", data.load),
    "mat": (toy.write_svhn, "train_32x32.mat", svhn),
    "batch": (write_batches, "test_batch", cifar10),
    "archive": (toy.write_cifar10, "cifar-10-python.tar.gz", cifar10),
}


@pytest.mark.parametrize("form", WHOLE)
def test_damage_is_told(tmp_path, form):
    """Cut short, empty, noise, gone; and random changes: it is read, or refused by a `UserError`; nothing else."""
    write, name, read = WHOLE[form]
    write(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2 - 1], b"", b"none of these forms" * 20):
        path.write_bytes(content)
        fails(lambda: read(tmp_path), path)
    rng = np.random.default_rng(0)
    for _ in range(0 if form == "hdf5" else 12):  # which its library leaves in a bad state
        changed = bytearray(whole)
        for place in rng.integers(0, min(len(changed), 400), rng.integers(1, 6)) * rng.choice([1, -1]):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            read(tmp_path)
        except UserError as error:
            assert len(str(error).splitlines()) <= 2
    path.unlink()
    fails(lambda: read(tmp_path), tmp_path)


def test_sets_that_do_not_fit(tmp_path):
    labels, images = np.arange(6, dtype=np.int32) % 3, np.zeros((6, 5, 5, 1), np.uint8)
    for words, change in {
        "must be (uint8, h, w": {"train_images": np.zeros((12, 6, 6, 1))},
        "both must be": {"test_images": images},
        "1 or 3": {"train_images": np.zeros((12, 6, 6, 2), np.uint8), "test_images": np.zeros((6, 6, 6, 2), np.uint8)},
        "not as many labels": {"train_labels": labels},
        "each image to test on": {"test_labels": np.full(6, -1, np.int32)},
        "every class (two": {"train_labels": np.zeros(12, np.int32), "class_names": ["a"]},
        "every class": {"class_names": ["a", "b", "c", "d"]},
        "there must be images": {"test_images": images[:0], "test_labels": labels[:0]},
    }.items():
        made = dataclasses.replace(toy.random_set(), **change)
        fails(lambda made=made: data.check(made, tmp_path), words, tmp_path)


def test_hostile_npz(tmp_path, monkeypatch):
    """Arrays that promise what is not there, or would run something; and more than is read."""
    data.save(toy.random_set(), tmp_path)
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path) as archive:
        whole = {name: archive.read(name) for name in archive.namelist()}

    def promise(kind, shape):
        text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text

    for member, content in {
        "train_images.npy": promise("|u1", (2**20, 2**20, 9, 1)),
        "train_labels.npy": promise("|O", (12,)) + pickle.dumps([1] * 12),
        "test_labels.npy": promise("|u1", "__import__('os').abort()"),
    }.items():
        with zipfile.ZipFile(path, "w") as archive:
            for name, kept in {**whole, member: content}.items():
                archive.writestr(name, kept)
        fails(lambda: data.load(tmp_path), path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, kept in whole.items():
            archive.writestr(name, kept)
    same(toy.random_set(), data.load(tmp_path))
    monkeypatch.setattr(formats, "MAX_BYTES", 200)
    fails(lambda: data.load(tmp_path), "more than 800 bytes")


def test_hostile_idx(tmp_path, monkeypatch):
    """A byte too many, a promise of bytes that are not there, and more than is read."""
    toy.write_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for content in (whole + b"x", whole[:4] + struct.pack(">3I", 2**31, 2**31, 2**31) + whole[16:]):
        path.write_bytes(content)
        fails(lambda: data.load(tmp_path), path)
    path.unlink()
    monkeypatch.setattr(formats, "MAX_BYTES", 10**6)
    (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(whole + bytes(10**7)))
    fails(lambda: data.load(tmp_path), "more than 1000000 bytes")


def test_records_of_a_tfrecord(tmp_path):
    """Images as bytes, class numbers as labels; others are refused."""
    path, good = tmp_path / "train.tfrecord", {"image": [bytes(range(48))], "label": [1]}
    toy.write_examples(path, [good, {**good, "label": [0]}])
    images, labels = formats.read_tfrecord(tmp_path, "train")
    assert images.shape == (2, 4, 4, 3) and labels.tolist() == [1, 0]
    for bad in ({"image": []}, {"image": [bytes(15)]}, {"image": [0.5] * 47 + [float("nan")]}, {"label": [b"cat"]}):
        toy.write_examples(path, [good, {**good, **bad}])
        fails(lambda: formats.read_tfrecord(tmp_path, "train"), path)


def test_hostile_hdf5(tmp_path):
    """An image that is missing, and datasets that promise what is not in the file."""
    import h5py

    toy.write_hdf5(tmp_path)
    path, shape = tmp_path / "data.hdf5", (10**6, 10**6, 1)
    whole = path.read_bytes()
    for packing in (None, {}, {"chunks": (64, 64, 1)}, {"external": [(str(tmp_path / "id.txt"), 0, 10**12)]}):
        path.write_bytes(whole)
        with h5py.File(str(path), "r+") as file:
            del file["1/image"]
            if packing is not None:
                file.create_dataset("1/image", shape, np.uint8, **packing)
        fails(lambda: data.load(tmp_path), path)
    (tmp_path / "other.hdf5").write_bytes(whole)
    path.write_bytes(whole)
    with h5py.File(str(path), "r+") as file:
        del file["1/image"]
        file["1/image"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "1/image")
    fails(lambda: data.load(tmp_path), path)


def test_hostile_mat(tmp_path):
    """Arrays of other shapes, and one of four gigabytes that is not there."""
    from scipy.io import savemat

    toy.write_svhn(tmp_path)
    path, x, y = tmp_path / "train_32x32.mat", np.zeros((32, 32, 3, 2), np.uint8), [[1], [2]]
    for arrays in ({"X": x}, {"X": x, "y": [[1]]}, {"X": np.array(["a", {}], object), "y": y}):
        savemat(str(path), arrays)
        fails(lambda: svhn(tmp_path), tmp_path)
    header = path.read_bytes()[:128]
    dimensions, name = struct.pack("<II4i", 5, 16, 2**15, 2**15, 4, 1), struct.pack("<HH4s", 1, 1, b"X")
    body = struct.pack("<IIII", 6, 8, 9, 0) + dimensions + name + struct.pack("<II", 2, 2**32 - 1)
    path.write_bytes(header + struct.pack("<II", 14, len(body)) + body + bytes(64))
    fails(lambda: svhn(tmp_path), path)


def test_cifar10_out_of_the_archive(tmp_path):
    made = write_batches(tmp_path)
    same(made, cifar10(tmp_path))
    # Python 3's pickles, too, as they come of reading and writing a batch again.
    rows = made.test_images.transpose(0, 3, 1, 2).reshape(10, -1)
    for protocol in (2, 4):
        batch = pickle.dumps({b"labels": made.test_labels.tolist(), b"data": rows}, protocol)
        images, labels = formats.read_batch(batch)
        assert (images == made.test_images).all() and (labels == made.test_labels).all()


class Trap:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_hostile_cifar10(tmp_path):
    """Batches that would run something or take all memory; an archive whose members promise gigabytes or escape."""
    made, good = toy.cifar10_files()
    archive, trap = tmp_path / "cifar-10-python.tar.gz", tmp_path / "trap"
    bomb = b"\x80\x02}(" + b"r\xff\xff\xff\x7f" * 10 + b"u."  # a memo of 2**31 entries, if anyone built it
    trapped = pickle.dumps({b"data": Trap(trap), b"labels": [1]}, 2)
    for content in (trapped, good["test_batch"].replace(b"K\x05", b"N"), bomb, b"T\xff\xff\xff\xff"):
        toy.write_archive(archive, {**good, "test_batch": content})
        fails(lambda: cifar10(tmp_path), tmp_path)
    member = tarfile.TarInfo("data_batch_1")
    member.size = 2**40
    archive.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
    fails(lambda: cifar10(tmp_path), archive)
    toy.write_archive(archive, good, prefix="../../escaped/")
    same(made, cifar10(tmp_path))
    assert list(tmp_path.iterdir()) == [archive]
