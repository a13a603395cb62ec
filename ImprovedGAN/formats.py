"""Data sets in the files they come in -> arrays. Nothing in a file is believed unchecked, and nothing in it is run."""

import gzip
import io
import math
import pickletools
import re
import resource
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
from tqdm import tqdm

from common.cli import UserError, notice
from common.images import find_images

MAX_BYTES = 2**30  # of one file, unpacked; a whole set may have four times as many
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
def expecting(what: str, path: Path) -> Iterator[None]:
    """Whatever goes wrong meanwhile is told in a line: the file does not hold `what`."""
    try:
        if not path.is_file():  # a pipe would never end
            raise ValueError("there is no such file")
        yield
    except Exception as error:  # readers raise nearly every kind on a broken file
        reason = (str(getattr(error, "strerror", None) or error) or type(error).__name__).splitlines()[0][:100]
        raise UserError(f"{path}: does not hold {what} ({reason}); fetch or make it again") from error


def read_file(path: Path) -> bytes:
    """A file's content, unpacked where its name ends in .gz, whatever its header promises."""
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes, which this program does not read")
    return content


def read_npz(folder: Path) -> Data:
    """What download.py and sample_data.py write."""
    path = folder / "data.npz"
    with expecting("what download.py writes", path), zipfile.ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > 4 * MAX_BYTES:
            raise ValueError(f"more than {4 * MAX_BYTES} bytes, which this program does not read")
        with np.load(str(path), allow_pickle=False) as arrays:
            images, labels, test_images, test_labels = (arrays[name] for name in ARRAYS)
            names = [str(name) for name in arrays["class_names"]]
        return Data(images, labels.astype(np.int32), test_images, test_labels.astype(np.int32), names)


def both_splits(read: Callable[[Path, str], tuple], folder: Path, class_names: Optional[list[str]] = None) -> Data:
    """A set by the function that reads one split, "train" or "test", of it: (folder, split) -> images, labels."""
    images, labels = zip(*(read(folder, split) for split in ("train", "test")))
    return Data(images[0], labels[0].astype(np.int32), images[1], labels[1].astype(np.int32), class_names)


def read_idx(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST as it is published: idx files, .gz or not."""
    arrays = []
    for name, dims in (("images", 3), ("labels", 1)):
        stem = f"{'t10k' if split == 'test' else 'train'}-{name}"
        path = min(folder.glob(f"{stem}[-.]idx{dims}-ubyte*"), default=folder / f"{stem}-idx{dims}-ubyte.gz")
        with expecting(f"bytes of {dims} dimension(s) in the form idx", path):
            content = read_file(path)
            if content[:4] != bytes([0, 0, 8, dims]):
                raise ValueError("another beginning")
            shape = np.frombuffer(content, ">u4", dims, offset=4)
            arrays.append(np.frombuffer(content, np.uint8, offset=4 + 4 * dims).reshape(shape))
    return arrays[0][..., None], arrays[1]


def read_svhn(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """SVHN's cropped digits as they are published: X, bytes [height, width, 3, n], and y, whose label 10 is the 0."""
    from scipy.io import loadmat

    path = folder / f"{split}_32x32.mat"
    with expecting("X, bytes [height, width, 3, n], and y, n labels from 1 to 10", path):
        # Apart, since SciPy's reader crashes on some damaged files; with bounded memory, since it believes all of them.
        bound = resource.RLIMIT_DATA, (4 * MAX_BYTES, resource.RLIM_INFINITY)
        with ProcessPoolExecutor(1, get_context("fork"), resource.setrlimit, bound) as apart:
            found = apart.submit(loadmat, str(path), variable_names=["X", "y"]).result()
        return np.ascontiguousarray(found["X"].transpose(3, 0, 1, 2)), found["y"].reshape(-1) % 10


def read_cifar10(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 as it is published: pickles in an archive (no path in it is followed), or beside it."""
    archive, batches = folder / "cifar-10-python.tar.gz", "test_batch" if split == "test" else "data_batch_[1-9]"
    with expecting("data_batch_1, ... and test_batch", archive if archive.exists() else folder / "test_batch"):
        if archive.exists():
            content = read_file(archive)
            with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:  # no member is larger than all of it
                files = {Path(m.name).name: tar.extractfile(m).read(len(content)) for m in tar if m.isfile()}
        else:
            files = {path.name: read_file(path) for path in folder.glob("*_batch*")}
        images, labels = zip(*(read_batch(files[name]) for name in sorted(files) if re.fullmatch(batches, name)))
        return np.concatenate(images), np.concatenate(labels)


def read_batch(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """A batch -> uint8 [n, 32, 32, 3], int [n]: the numbers after "labels" and the bytes after "data" in its pickle.

    Nothing of the pickle is run or built, so nothing in it can do harm.
    """
    key, labels, pixels = b"", [], b""
    for opcode, value, _ in pickletools.genops(content):
        # Python 2 wrote bytes as strings; Python 3 writes them in an old protocol as text.
        text = value.encode("latin-1") if isinstance(value, str) else value
        if text in (b"labels", b"data"):
            key = text
        elif key == b"labels" and opcode.name.startswith("BININT"):
            labels.append(value)
        elif key == b"data" and isinstance(text, bytes) and len(text) > 100:
            pixels = text
    images = np.frombuffer(pixels, np.uint8).reshape(len(labels), 3, 32, 32)
    return images.transpose(0, 2, 3, 1), np.array(labels)


def read_tfrecord(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The original's form: examples of a square image, grey or RGB, as bytes or as floats from -1 to 1, and a label."""
    import tensorflow as tf

    path, images, labels = folder / f"{split}.tfrecord", [], []
    with expecting("examples of an image and a label, all of one size", path):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            pixels = np.frombuffer(b"".join(feature["image"].bytes_list.value), np.uint8)
            if not len(pixels):
                floats = np.array(feature["image"].float_list.value, np.float32)
                if not (np.abs(floats) <= 1).all():
                    raise ValueError(f"floats of image {len(images)} leave the range from -1 to 1")
                pixels = np.rint((floats + 1) * 127.5).astype(np.uint8)
            images.append(pixels)
            labels.append(list(feature["label"].int64_list.value) or list(feature["label"].float_list.value))
        count = len(images[0])
        channels = next(c for c in (1, 3) if math.isqrt(count // c) ** 2 * c == count > 0)
        size = math.isqrt(count // channels)
        return np.stack(images).reshape(-1, size, size, channels), class_indices(labels)


def read_hdf5(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The original's other form: data.hdf5 with a group an id (image, one-hot label), and id.txt with an id a line.

    As there, a fifth of the shuffled ids is the test split.
    """
    import h5py

    path = folder / "data.hdf5"
    with expecting("ids, a line each", folder / "id.txt"):
        ids = read_file(folder / "id.txt").decode().split()
    np.random.RandomState(123).shuffle(ids)
    cut = int(0.8 * len(ids))
    images, labels = [], []
    with expecting("an image and a label for each id of id.txt", path), h5py.File(str(path), "r") as file:
        for name in tqdm(ids[:cut] if split == "train" else ids[cut:], path.name, unit="", disable=None):
            for rows, stored in ((images, file[f"{name}/image"]), (labels, file[f"{name}/label"])):
                # Whole in this very file, as the original stores it: so there are as many bytes as its shape says.
                if stored.file.filename != str(path) or stored.id.get_offset() is None:
                    raise ValueError(f"{stored.name} is stored in another way than the original's")
                rows.append(stored[()])
        images = np.stack(images)
        return images.reshape(*images.shape[:3], -1), class_indices(labels)


def class_indices(rows: Any) -> np.ndarray:
    """Labels written as class numbers (-1: none) or one-hot (all zeros: none) -> int32 [n]."""
    rows = np.asarray(rows).astype(np.float64)
    if rows.ndim == 2 and rows.shape[1] > 1:
        sound = np.isin(rows, (0, 1)).all() and (rows.sum(1) <= 1).all()
        rows = np.where(rows.any(1), rows.argmax(1), -1)
    else:
        sound = np.isin(rows, range(-1, 1000)).all()
    if not sound:
        raise ValueError("a label is neither a class number (-1 for none) nor one-hot")
    return rows.reshape(len(rows)).astype(np.int32)


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, sorted; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and path.name[0] != ".")


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold a class's images; names that are numbers sort as numbers."""
    found = [path for path in subfolders(folder) if path.name.lower() not in UNLABELLED and find_images(path)]
    return sorted(found, key=lambda path: int(path.name)) if all(p.name.isdecimal() for p in found) else found


def training_root(folder: Path) -> Path:
    """The folder with the classes to train on: train/, where there is a test/ too, else `folder` itself."""
    return folder / "train" if (folder / "train").is_dir() and (folder / "test").is_dir() else folder


def read_class_folders(folder: Path, read: Callable[[Path], np.ndarray]) -> Data:
    """train/<class>/ and test/<class>/, or <class>/ of which a tenth is held out; and unlabelled/ beside the classes.

    Args:
        read: makes uint8 [h, w, c] of an image file.
    """
    root, rng = training_root(folder), np.random.default_rng(0)
    names = [path.name for path in class_folders(root)]
    own = [find_images(root / name) for name in names]
    if root == folder:
        own = [[paths[i] for i in rng.permutation(len(paths))] for paths in own]
        cuts = [max(1, round(len(paths) / 10)) for paths in own]
        own, held = zip(*[(paths[cut:], paths[:cut]) for paths, cut in zip(own, cuts)])
        notice(f"{folder}: no train/ and test/, so a tenth of each class ({sum(cuts)} images) is held out to test on")
    else:
        held = [find_images(folder / "test" / name) for name in names]
        strange = [path.name for path in class_folders(folder / "test") if path.name not in names]
        if strange:
            raise UserError(f"{folder}: test/{strange[0]} has no fellow in train/; both hold a folder a class")
    train, test = ([(path, label) for label, paths in enumerate(split) for path in paths] for split in (own, held))
    train += [(path, -1) for sub in subfolders(root) if sub.name.lower() in UNLABELLED for path in find_images(sub)]
    train = [train[i] for i in rng.permutation(len(train))]  # so that the first so many hold all classes
    rows: list[np.ndarray] = []
    for path, _ in tqdm(train + test, "images", unit="", disable=None):
        rows.append(read(path))
        if rows[-1].shape[:2] != rows[0].shape[:2]:
            raise UserError(f"{folder}: images of different sizes; give --image_size=N to scale them all to N x N")
        if rows[-1].nbytes * len(train + test) > 4 * MAX_BYTES:
            raise UserError(f"{folder}: {len(train + test)} images as large as {path.name} do not fit into memory")
    channels = max(row.shape[2] for row in rows)  # grey ones become RGB where one of them is
    images = np.stack([np.broadcast_to(row, row.shape[:2] + (channels,)) for row in rows])
    labels, cut = np.array([label for _, label in train + test], np.int32), len(train)
    return Data(images[:cut], labels[:cut], images[cut:], labels[cut:], names)


FORMS = {  # files -> what reads the set in a folder with such files
    "data.npz": read_npz,
    "*.tfrecord": partial(both_splits, read_tfrecord),
    "data.hdf5": partial(both_splits, read_hdf5),
    "*-images*ubyte*": partial(both_splits, read_idx),
}


def form_of(folder: Path) -> Optional[str]:
    """A folder's form of data set: one of `FORMS`, or "**/*.*" for a folder a class; None: it holds none."""
    for form in FORMS:
        if any(path.is_file() for path in folder.glob(form)):  # and no pipe, which would never end
            return form
    return "**/*.*" if len(class_folders(training_root(folder))) > 1 else None
