"""Data sets in the files they come in -> arrays. Nothing in a file is believed unchecked, and nothing in it is run.

A file is read up to a limit, whatever its header promises, and an array is made only of bytes that are there.
"""

import gzip
import io
import itertools
import math
import pickletools
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
from tqdm import tqdm

from common.cli import UserError, notice
from common.images import find_images

MAX_BYTES = 2**30  # of one file, unpacked
UNLABELLED = ("unlabelled", "unlabeled")
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@dataclass(frozen=True)
class Data:
    """A data set in memory."""

    train_images: np.ndarray  # uint8 [n, h, w, c]
    train_labels: np.ndarray  # int32 [n], -1: an image without a label
    test_images: np.ndarray  # uint8 [m, h, w, c]
    test_labels: np.ndarray  # int32 [m]
    class_names: Optional[list[str]] = None  # where the files name them
    name: str = ""
    files: tuple[Path, ...] = ()  # that it was read from

    def __str__(self) -> str:
        shape = " x ".join(str(size) for size in self.train_images.shape[1:])
        unlabelled = int((self.train_labels < 0).sum())
        train = f"{len(self.train_images)} images to train on" + (f" ({unlabelled} unlabelled)" if unlabelled else "")
        return f"{self.name}: {train}, {len(self.test_images)} to test on, {shape}, {len(self.class_names)} classes"


@contextmanager
def expecting(what: str, path: Any) -> Iterator[None]:
    """Whatever goes wrong meanwhile is told in a line: the file does not hold `what`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # readers raise nearly every kind on a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0].split("{{")[0][:100]
        raise UserError(f"{path}: does not hold {what} ({reason}); fetch or make it again") from error


def read_file(path: Path) -> bytes:
    """A file's content, unpacked where its name ends in .gz."""
    if not path.is_file():
        raise UserError(f"{path} is missing")
    with expecting("a whole file", path), gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: more than {MAX_BYTES} bytes, which this program does not read")
    return content


def class_indices(rows: Any) -> np.ndarray:
    """Labels written as class numbers (-1: none) or one-hot (all zeros: none) -> int32 [n]."""
    rows = np.asarray(rows).astype(np.float64)
    if rows.ndim == 2 and rows.shape[1] > 1:
        if not (np.isin(rows, (0, 1)).all() and (rows.sum(1) <= 1).all()):
            raise ValueError("a label is not one-hot: a single 1, else zeros")
        return np.where(rows.sum(1) == 0, -1, rows.argmax(1)).astype(np.int32)
    rows = rows.reshape(len(rows))
    if not ((rows >= -1) & (rows < 10**6) & (rows == np.floor(rows))).all():
        raise ValueError("a label is not a class number: 0, 1, ...; -1 for none")
    return rows.astype(np.int32)


# What download.py and sample_data.py write


def read_npz(folder: Path) -> Data:
    """data.npz. Its arrays lie in the file unpacked, so that none is larger than the file."""
    path = folder / "data.npz"
    with expecting("what download.py writes", path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("its arrays are packed")
        with np.load(path, allow_pickle=False) as arrays:
            *parts, names = (arrays[name] for name in (*ARRAYS, "class_names"))
        if [array.dtype for array in parts] != [np.uint8, np.int32] * 2 or names.dtype.kind != "U" or names.ndim != 1:
            raise ValueError("its arrays are of other kinds")
        return Data(*parts, names.tolist())


# MNIST as it is published: idx


def read_idx(folder: Path) -> Data:
    """The four files of MNIST, .gz or not."""
    arrays = []
    for split in ("train", "t10k"):
        arrays += [_idx(folder, f"{split}-images", 3)[..., None], _idx(folder, f"{split}-labels", 1).astype(np.int32)]
    return Data(*arrays)


def _idx(folder: Path, stem: str, dims: int) -> np.ndarray:
    path = min(folder.glob(f"{stem}[-.]idx{dims}-ubyte*"), default=folder / f"{stem}-idx{dims}-ubyte.gz")
    content = read_file(path)
    with expecting(f"bytes of {dims} dimension(s) in the form idx", path):
        if content[:4] != bytes([0, 0, 8, dims]):
            raise ValueError("another beginning")
        shape = struct.unpack_from(f">{dims}I", content, 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dims).reshape(shape)


# SVHN as it is published: MATLAB 5


def read_svhn(folder: Path) -> Data:
    """The cropped digits: X, bytes [height, width, 3, n], and y, whose label 10 is the digit 0."""
    arrays = []
    for split in ("train", "test"):
        path = folder / f"{split}_32x32.mat"
        content = read_file(path)
        with expecting("X, bytes [height, width, 3, n], and y, n labels from 1 to 10", path):
            found = read_mat(content)
            x, y = found["X"], found["y"].reshape(-1)
            if x.ndim != 4 or x.dtype != np.uint8 or len(y) != x.shape[3] or not set(np.unique(y)) <= set(range(11)):
                raise ValueError(f"X is {x.dtype} {x.shape}, y holds {len(y)} labels")
        arrays += [np.ascontiguousarray(x.transpose(3, 0, 1, 2)), np.where(y == 10, 0, y).astype(np.int32)]
    return Data(*arrays)


MAT_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}


def read_mat(content: bytes) -> dict[str, np.ndarray]:
    """The numeric arrays X and y of a MATLAB 5 file; whatever else stands in it is passed over unread.

    (SciPy's reader crashes on some damaged files.)
    """
    arrays = {}
    for kind, element in _elements(memoryview(content)[128:]):
        if kind == 15:  # packed by zlib
            unpack = zlib.decompressobj()
            unpacked = unpack.decompress(element, MAX_BYTES)
            if not unpack.eof:
                raise ValueError("cut short, or too large")
            kind, element = next(_elements(memoryview(unpacked)))
        if kind == 14:  # an array: its flags, shape, name and numbers
            _, (_, shape), (_, name), (kind, numbers) = itertools.islice(_elements(element), 4)
            if bytes(name) in (b"X", b"y"):
                array = np.frombuffer(numbers, MAT_NUMBERS[kind])
                arrays[bytes(name).decode()] = array.reshape(np.frombuffer(shape, "<i4"), order="F")
    return arrays


def _elements(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The MATLAB elements that stand one after another: each one's kind and its content."""
    start = 0
    while start < len(view):
        kind, size = struct.unpack_from("<II", view, start)
        begin, end = start + 8, start + 8 + size + (0 if kind == 15 else -size % 8)
        if kind >> 16:  # kind, size and up to four bytes in eight
            kind, size, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        if begin + size > len(view):
            raise ValueError("cut short")
        yield kind, view[begin : begin + size]
        start = end


# CIFAR-10 as it is published: pickles in an archive


def read_cifar10(folder: Path) -> Data:
    """The batches, in the archive (no path in it is followed) or beside it."""
    archive, batches = folder / "cifar-10-python.tar.gz", {}
    with expecting("data_batch_1, ... and test_batch, of images of one size", archive if archive.exists() else folder):
        beside = ((path.name, read_file(path)) for path in folder.glob("*_batch*"))
        for name, content in _unpacked(read_file(archive)) if archive.exists() else beside:
            if re.fullmatch("data_batch_[1-9]|test_batch", name):
                batches[name] = read_batch(content, folder / name)
        test = batches.pop("test_batch")
        images, labels = (np.concatenate([batches[name][index] for name in sorted(batches)]) for index in (0, 1))
    return Data(images, labels, *test, CIFAR10)


def _unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        for member in tar:
            if not 0 <= member.size <= len(content):
                raise ValueError(f"{member.name[:40]} promises {member.size} bytes")
            if member.isfile():
                yield member.name.rsplit("/", 1)[-1], tar.extractfile(member).read()


def read_batch(content: bytes, where: Any) -> tuple[np.ndarray, np.ndarray]:
    """A batch -> uint8 [n, h, w, 3], int32 [n]: the numbers after "labels" and the bytes after "data" in its pickle.

    Nothing of the pickle is run or built, so nothing in it can do harm.
    """
    key, labels, pixels = b"", [], b""
    with expecting("a CIFAR-10 batch of data and labels", where):
        for opcode, value, _ in pickletools.genops(content):
            if key == b"labels" and opcode.name.startswith("BININT"):
                labels.append(value)
            # Python 2 wrote bytes as strings; Python 3 writes them in an old protocol as text.
            text = value.encode("latin-1") if isinstance(value, str) else value
            if text in (b"labels", b"data"):
                key = text
            elif key == b"data" and isinstance(text, bytes) and len(text) > 100:
                pixels = text
        size = math.isqrt(len(pixels) // (3 * len(labels)))
        images = np.frombuffer(pixels, np.uint8).reshape(len(labels), 3, size, size).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), class_indices(labels)


# The original's forms: TFRecord and HDF5


def read_tfrecords(folder: Path) -> Data:
    """train.tfrecord and test.tfrecord, of examples with `image` and `label`."""
    return Data(*read_tfrecord(folder / "train.tfrecord"), *read_tfrecord(folder / "test.tfrecord"))


def read_tfrecord(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One file's square images, grey or RGB, as bytes or as floats from -1 to 1; and labels."""
    import tensorflow as tf

    content, position, images, labels = read_file(path), 0, [], []
    with expecting("examples of an image and a label, all of one size", path):
        while position < len(content):  # first: TensorFlow makes room for whatever length a frame tells
            position += 16 + int.from_bytes(content[position : position + 8], "little")
        if position != len(content):
            raise ValueError("cut short, or no TFRecord file")
        for record in tqdm(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), path.name, unit="", disable=None):
            feature = tf.train.Example.FromString(record).features.feature
            floats = np.array(feature["image"].float_list.value, np.float32)
            if not (np.abs(floats) <= 1).all():
                raise ValueError(f"floats of image {len(images)} leave the range from -1 to 1")
            pixels = np.frombuffer(b"".join(feature["image"].bytes_list.value), np.uint8)
            images.append(pixels if len(pixels) else np.rint((floats + 1) * 127.5).astype(np.uint8))
            labels.append(list(feature["label"].int64_list.value) or list(feature["label"].float_list.value))
        pixels = np.stack(images)
        channels = next(c for c in (1, 3) if math.isqrt(pixels.shape[1] // c) ** 2 * c == pixels.shape[1] > 0)
        size = math.isqrt(pixels.shape[1] // channels)
        return pixels.reshape(-1, size, size, channels), class_indices(labels)


def read_hdf5(folder: Path) -> Data:
    """data.hdf5 with a group an id (image, one-hot label), and id.txt with an id a line."""
    import h5py

    path = folder / "data.hdf5"
    ids = list(dict.fromkeys(read_file(folder / "id.txt").decode("utf-8", "replace").split()))
    if all(name.startswith(("train", "test")) for name in ids):
        ids.sort(key=lambda name: not name.startswith("train"))
        cut = sum(name.startswith("train") for name in ids)
    else:
        np.random.RandomState(123).shuffle(ids)
        cut = int(0.8 * len(ids))
        notice(f"{path}: its ids name no split, so {cut} train and {len(ids) - cut} test, drawn as the original does")
    most = path.stat().st_size / max(1, len(ids))  # bytes of an array

    def read(name, key):
        links = (file.get(place, getlink=True) for place in (name, f"{name}/{key}"))
        linked = not all(isinstance(link, h5py.HardLink) for link in links)  # to another file, or to nothing
        found = None if linked else file[f"{name}/{key}"]
        # Stored in one piece, as the original does, so that there are as many bytes as its shape says.
        elsewhere = linked or found.chunks or found.external or found.is_virtual or found.dtype.hasobject
        if elsewhere or found.nbytes > most:
            raise ValueError(f"{name}/{key} is not there, or stored in another way than the original's")
        return found[()]

    with expecting("an image and a label for each id of id.txt", path), h5py.File(path, "r") as file:
        bar = tqdm(ids, path.name, unit="", disable=None)
        images, labels = map(np.stack, zip(*((read(name, "image"), read(name, "label")) for name in bar)))
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(f"images are {images.dtype} {images.shape[1:]}, not uint8 [h, w] or [h, w, c]")
        labels = class_indices(labels)
    images = images if images.ndim == 4 else images[..., None]
    return Data(images[:cut], labels[:cut], images[cut:], labels[cut:])


# Your own images, a folder a class


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, sorted; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and path.name[0] != ".")


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold a class's images; names that are numbers sort as numbers."""
    found = [path for path in subfolders(folder) if path.name.lower() not in UNLABELLED and find_images(path)]
    return sorted(found, key=lambda path: int(path.name)) if all(p.name.isdecimal() for p in found) else found


def is_split(folder: Path) -> bool:
    """Whether `folder` has train/ and test/."""
    return (folder / "train").is_dir() and (folder / "test").is_dir()


def read_class_folders(folder: Path, read: Callable[[Path], np.ndarray]) -> Data:
    """train/<class>/ and test/<class>/, or <class>/ of which a tenth is held out; and unlabelled/ beside the classes.

    Args:
        read: makes uint8 [h, w, c] of an image file.
    """
    split = is_split(folder)
    root = folder / "train" if split else folder
    names = [path.name for path in class_folders(root)]
    strange = [path.name for path in class_folders(folder / "test") if path.name not in names] if split else []
    if strange:
        raise UserError(f"{folder}: test/{strange[0]} has no fellow in train/; both hold a folder a class")
    rng = np.random.default_rng(0)
    train, test = [], []
    for label, name in enumerate(names):
        own = find_images(root / name)
        if split:
            held = find_images(folder / "test" / name)
        else:
            own = [own[i] for i in rng.permutation(len(own))]
            cut = max(1, round(len(own) / 10))
            own, held = own[cut:], own[:cut]
        train += [(path, label) for path in own]
        test += [(path, label) for path in held]
    if not split:
        notice(f"{folder}: no train/ and test/, so a tenth of each class ({len(test)} images) is held out to test on")
    train += [(path, -1) for sub in subfolders(root) if sub.name.lower() in UNLABELLED for path in find_images(sub)]
    train = [train[i] for i in rng.permutation(len(train))]  # so that the first so many hold all classes
    rows: list[np.ndarray] = []
    for path, _ in tqdm(train + test, "images", unit="", disable=None):
        rows.append(read(path))
        if rows[-1].shape[:2] != rows[0].shape[:2]:
            raise UserError(
                f"{folder}: images of different sizes, such as {rows[0].shape[:2]} and {rows[-1].shape[:2]};\n"
                "give --image_size=N to scale every image to N x N"
            )
        if rows[-1].nbytes * len(train + test) > 4 * MAX_BYTES:
            raise UserError(f"{folder}: {len(train + test)} images as large as {path.name} do not fit into memory")
    channels = max(row.shape[2] for row in rows)  # grey ones become RGB where one of them is
    images = np.stack([np.broadcast_to(row, row.shape[:2] + (channels,)) for row in rows])
    labels, cut = np.array([label for _, label in train + test], np.int32), len(train)
    return Data(images[:cut], labels[:cut], images[cut:], labels[cut:], names)


FORMS = {  # files -> their reader
    "data.npz": read_npz,
    "*.tfrecord": read_tfrecords,
    "data.hdf5": read_hdf5,
    "*-images*ubyte*": read_idx,
}


def form_of(folder: Path) -> Optional[str]:
    """A folder's form of data set: one of `FORMS`, or "**/*.*" for a folder a class; None where it holds none."""
    for form in FORMS:
        if any(path.is_file() for path in folder.glob(form)):  # and no pipe, which would never end
            return form
    return "**/*.*" if len(class_folders(folder / "train" if is_split(folder) else folder)) > 1 else None
