"""Every form of a data set: what is read is what was written; and damaged and hostile files, each with its words."""

import gzip
import io
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


def test_tfrecord_of_bytes(tmp_path):
    """uint8 images, a class number as label."""
    rows = [{"image": [bytes(range(48))], "label": [label]} for label in (1, 0)]
    toy.write_examples(tmp_path / "train.tfrecord", rows)
    images, labels = formats.read_tfrecord(tmp_path, "train")
    assert images.shape == (2, 4, 4, 3) and labels.tolist() == [1, 0]


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


def npz(**changed):
    """A data.npz with members changed: arrays, or the raw bytes of a member."""
    made = toy.random_set()
    arrays = {name: getattr(made, name) for name in formats.ARRAYS}
    arrays["class_names"] = np.array(made.class_names)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", changed.pop("packing", zipfile.ZIP_STORED)) as archive:
        for name, value in {**arrays, **changed}.items():
            member = io.BytesIO()
            if isinstance(value, np.ndarray):
                np.save(member, value)
            archive.writestr(f"{name}.npy", value if isinstance(value, bytes) else member.getvalue())
    return content.getvalue()


def header(kind, shape):
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def write_npz(folder):
    (folder / "data.npz").write_bytes(npz())


def write_batches(folder):
    for name, content in toy.cifar10_files()[1].items():
        (folder / name).write_bytes(content)


def svhn(folder):
    return formats.both_splits(formats.read_svhn, folder)


def cifar10(folder):
    return formats.both_splits(formats.read_cifar10, folder)


WHOLE = {  # what writes a set, the file that is damaged, what reads it
    "npz": (write_npz, "data.npz", data.load),
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
        fails(lambda: read(tmp_path), tmp_path if form == "batch" else path)
    rng = np.random.default_rng(0)
    for _ in range(0 if form == "hdf5" else 30):
        changed = bytearray(whole[: rng.integers(1, len(whole) + 1)] if rng.random() < 0.2 else whole)
        for place in rng.integers(0, min(len(changed), 400), rng.integers(1, 6)) * rng.choice([1, -1]):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            read(tmp_path)
        except UserError as error:
            assert len(str(error).splitlines()) <= 2
    path.unlink()
    fails(lambda: read(tmp_path), tmp_path)


NPZ = {
    "packed": npz(packing=zipfile.ZIP_DEFLATED),
    "a promise": npz(train_images=header("|u1", (2**20, 2**20, 9, 1))),
    "objects": npz(train_labels=header("|O", (12,)) + pickle.dumps([1] * 12)),
    "no header": npz(train_labels=header("|u1", "__import__('os').abort()")),
    "floats": npz(train_images=np.zeros((12, 6, 6, 1))),
    "other labels": npz(train_labels=np.zeros(3, np.int32)),
    "no label": npz(test_labels=np.full(6, -1, np.int32)),
    "one class": npz(
        class_names=np.array(["a"]), train_labels=np.zeros(12, np.int32), test_labels=np.zeros(6, np.int32)
    ),
    "a class without images": npz(class_names=np.array(["a", "b", "c", "d"])),
    "two channels": npz(train_images=np.zeros((12, 6, 6, 2), np.uint8), test_images=np.zeros((6, 6, 6, 2), np.uint8)),
    "other sizes": npz(test_images=np.zeros((6, 5, 5, 1), np.uint8)),
}


@pytest.mark.parametrize("kind", NPZ)
def test_hostile_npz(tmp_path, kind):
    (tmp_path / "data.npz").write_bytes(NPZ[kind])
    fails(lambda: data.load(tmp_path), tmp_path)


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


GOOD = {"image": [bytes(16)], "label": [0]}
RECORDS = [
    [{"label": [0]}],
    [{"image": [bytes(16)]}],
    [{**GOOD, "label": [b"cat"]}],
    [{**GOOD, "image": [bytes(15)]}],
    [GOOD, {**GOOD, "image": [bytes(25)]}],
    [{**GOOD, "label": [-2]}],
    [{**GOOD, "label": [float("nan")]}],
    [GOOD, {**GOOD, "label": [0, 1]}],
    [{**GOOD, "image": [0.5] * 8 + [float("nan")] * 8}],
]


def test_hostile_tfrecord(tmp_path):
    path = tmp_path / "train.tfrecord"
    for rows in RECORDS:
        toy.write_examples(path, rows)
        fails(lambda: formats.read_tfrecord(tmp_path, "train"), path)
    path.write_bytes(struct.pack("<Q", 2**40) + path.read_bytes()[8:])  # a length that leads out of the file
    fails(lambda: formats.read_tfrecord(tmp_path, "train"), path)


def test_hostile_hdf5(tmp_path):
    import h5py

    toy.write_hdf5(tmp_path)
    path = tmp_path / "data.hdf5"
    whole = path.read_bytes()
    (tmp_path / "secret.hdf5").write_bytes(whole)
    outside = [(str(tmp_path / "secret.hdf5"), 0, 36)]
    for change in (
        lambda file: None,
        lambda file: file.create_dataset("1/image", (10**6, 10**6, 1), np.uint8, chunks=(64, 64, 1)),
        lambda file: file.create_dataset("1/image", (10**6, 10**6, 1), np.uint8),
        lambda file: file.__setitem__("1/image", h5py.ExternalLink("secret.hdf5", "1/image")),
        lambda file: file.create_dataset("1/image", (6, 6, 1), np.uint8, external=outside),
    ):
        path.write_bytes(whole)
        with h5py.File(str(path), "r+") as file:
            del file["1/image"]
            change(file)
        fails(lambda: data.load(tmp_path), path)


def test_hostile_mat(tmp_path):
    from scipy.io import savemat

    toy.write_svhn(tmp_path)
    path, x, y = tmp_path / "train_32x32.mat", np.zeros((32, 32, 3, 2), np.uint8), [[1], [2]]
    for arrays in (
        *({"X": x}, {"y": y}, {"X": x, "y": [[1], [11]]}, {"X": np.array(["a", {}], object), "y": y}),
        *({"X": value, "y": y} for value in (x[..., :1], x[0], x.astype("f8"))),
    ):
        savemat(str(path), arrays)
        fails(lambda: svhn(tmp_path), path)
    header = path.read_bytes()[:128]  # and an array of four gigabytes that is not there
    dimensions, name = struct.pack("<II4i", 5, 16, 2**15, 2**15, 4, 1), struct.pack("<HH4s", 1, 1, b"X")
    body = struct.pack("<IIII", 6, 8, 9, 0) + dimensions + name + struct.pack("<II", 2, 2**32 - 1)
    path.write_bytes(header + struct.pack("<II", 14, len(body)) + body + bytes(64))
    fails(lambda: svhn(tmp_path), path)


def test_cifar10_out_of_the_archive(tmp_path):
    write_batches(tmp_path)
    made = toy.cifar10_files()[0]
    same(made, cifar10(tmp_path))
    # Python 3's pickles, too, as they come of reading and writing a batch again.
    rows = made.test_images.transpose(0, 3, 1, 2).reshape(10, -1)
    for protocol in (2, 3, 4):
        batch = pickle.dumps({b"labels": made.test_labels.tolist(), b"data": rows}, protocol)
        images, labels = formats.read_batch(batch)
        assert (images == made.test_images).all() and (labels == made.test_labels).all()


class Trap:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_nothing_of_a_pickle_is_run(tmp_path):
    trap = tmp_path / "trap"
    for protocol in (0, 2, 4):
        batch = pickle.dumps({b"data": Trap(os.mkdir, str(trap)), b"labels": []}, protocol)
        with pytest.raises(ZeroDivisionError):  # no label is found
            formats.read_batch(batch)
    assert not trap.exists()


def test_hostile_cifar10(tmp_path):
    """Batches that would take all memory or hours, and an archive whose members promise gigabytes or escape."""
    made, good = toy.cifar10_files()
    bomb = b"\x80\x02}(" + b"r\xff\xff\xff\x7f" * 10 + b"u."  # a memo of 2**31 entries, if anyone built it
    digits = b"\x80\x02}(U\x06labels](I" + b"9" * 10**6 + b"\neu."  # a number that takes hours to read
    for content in (good["data_batch_1"].replace(b"K\x05", b"N"), bomb, digits, b"T\xff\xff\xff\xff"):
        (tmp_path / "test_batch").write_bytes(content)
        fails(lambda: formats.read_cifar10(tmp_path, "test"), "does not hold data_batch_1, ... and test_batch")
    (tmp_path / "test_batch").unlink()
    archive = tmp_path / "in" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    toy.write_archive(archive, {"test_batch": good["test_batch"]})
    fails(lambda: cifar10(archive.parent), "data_batch_1, ... and test_batch")
    member = tarfile.TarInfo("data_batch_1")
    for size in (2**40, 2**62):
        member.size = size
        archive.write_bytes(gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(2048)))
        fails(lambda: cifar10(archive.parent), archive)
    toy.write_archive(archive, good, prefix="../../escaped/")
    same(made, cifar10(archive.parent))
    assert [path.name for path in tmp_path.rglob("*")] == ["in", archive.name]
