"""MNIST, SVHN and CIFAR-10 as they are published -> arrays. Nothing in the files is believed unchecked or run."""

import gzip
import io
import math
import pickle
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Optional

import _path  # noqa: F401  (finds ../common)
import formats
import numpy as np
import pictures

from common.cli import UserError

SOURCES = {  # what `--source` looks for
    "MNIST": ("train-images*ubyte*", "t10k-images*ubyte*"),
    "SVHN": ("train_32x32.mat", "test_32x32.mat"),
    "CIFAR10": ("cifar-10-python.tar.gz", "data_batch_*", "test_batch"),
}
CIFAR10_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def read(folder: Path, name: str) -> tuple[formats.Parts, Optional[list[str]]]:
    """Reads the published files of MNIST, SVHN or CIFAR10. Returns them and the classes' names where they are known."""
    if name == "MNIST":
        return formats.read_idx_set(folder), None
    return read_svhn(folder) if name == "SVHN" else read_cifar10(folder)


def find_source(source: Path, name: str) -> Path:
    """Finds the folder with a set's published files: `source`, or one of the usual names in it."""
    usual = (name.lower(), "raw", "cifar-10-batches-py")
    near = [folder for folder in pictures.subfolders(source) if folder.name.lower() in usual]
    below = [sub for folder in near for sub in pictures.subfolders(folder) if sub.name.lower() in usual]
    for folder in (source, *near, *below):
        if any(path.is_file() for pattern in SOURCES[name] for path in folder.glob(pattern)):
            return folder
    what = "no such folder" if not source.is_dir() else f"no file of {name} in it ({', '.join(SOURCES[name])})"
    raise UserError(f"--source={source}: {what}")


def read_svhn(folder: Path) -> tuple[formats.Parts, Optional[list[str]]]:
    """Reads the cropped digits; their label 10 is the digit 0."""
    return formats.Parts(*read_mat(folder / "train_32x32.mat"), *read_mat(folder / "test_32x32.mat")), None


def read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads one of SVHN's .mat files: X uint8 [h, w, 3, n], y [n, 1] -> uint8 [n, h, w, 3], int32 [n]."""
    from scipy.io import loadmat, whosmat

    if not path.is_file():
        raise UserError(f"{path} is missing; SVHN has train_32x32.mat and test_32x32.mat")
    try:
        shapes = {name: shape for name, shape, _ in whosmat(str(path))}
        images, labels = shapes.get("X", ()), shapes.get("y", ())
        fits = len(images) == 4 and math.prod(labels) == images[3] and math.prod(images) <= formats.MAX_BYTES
        if fits:
            content = loadmat(str(path), variable_names=["X", "y"])
            images, labels = content["X"], content["y"].reshape(-1)
    except Exception as error:  # scipy raises nearly every kind on a damaged file
        raise UserError(f"{path}: cannot be read ({str(error)[:120]}); fetch it again") from error
    if not fits or images.dtype != np.uint8 or labels.dtype.kind not in "iuf":
        raise UserError(f"{path}: does not hold X, bytes [height, width, 3, n], and y, n labels; fetch it again")
    if labels.min(initial=0) < 0 or labels.max(initial=0) > 10:
        raise UserError(f"{path}: a label is out of range; SVHN's are 1 to 10")
    labels, _ = formats.class_indices(np.where(labels == 10, 0, labels), str(path))
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels


def read_cifar10(folder: Path) -> tuple[formats.Parts, Optional[list[str]]]:
    """Reads the batches, in the archive or beside it."""
    batches, classes = {}, CIFAR10_CLASSES
    for name, content in cifar10_files(folder):
        where = f"{folder / name}"
        if name in batches:
            raise UserError(f"{where}: there are two of it; keep one")
        batch = unpickle(content, where)
        if name == "batches.meta":
            batches[name], classes = None, read_meta(batch, where)
        else:
            batches[name] = read_batch(batch, where)
    train = [name for name in batches if name.startswith("data_batch_")]
    if not train or "test_batch" not in batches:
        raise UserError(f"{folder}: data_batch_1, ... and test_batch are needed; found {', '.join(batches) or 'none'}")
    train.sort(key=lambda name: int(name.rsplit("_", 1)[1]))
    shapes = {batches[name][0].shape[1:] for name in train}
    if len(shapes) > 1:
        raise UserError(f"{folder}: its batches hold pictures of different sizes: {shapes}")
    images, labels = (np.concatenate([batches[name][index] for name in train]) for index in (0, 1))
    return formats.Parts(images, labels, *batches["test_batch"]), classes


def cifar10_files(folder: Path) -> Iterator[tuple[str, BinaryIO]]:
    """Yields CIFAR-10's files by name. The archive's are read where they are: no path in it is followed."""
    wanted = re.compile(r"(data_batch_\d+|test_batch|batches\.meta)")
    archive = folder / "cifar-10-python.tar.gz"
    try:
        if not archive.is_file():
            for path in sorted(path for path in folder.glob("*") if wanted.fullmatch(path.name)):
                yield path.name, io.BytesIO(path.read_bytes())
            return
        with gzip.open(archive, "rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and wanted.fullmatch(name):
                    if member.size > formats.MAX_BYTES:
                        raise UserError(f"{archive}: {name} is larger than this program reads; fetch it again")
                    yield name, io.BytesIO(tar.extractfile(member).read())
            while stream.read(2**20):  # gzip's checksum stands behind the last member
                pass
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        at = archive if archive.is_file() else getattr(error, "filename", folder)
        raise UserError(f"{at}: cannot be read to its end ({str(error)[:120]}); fetch it again") from error


class _Array:
    """Stands in for a numpy array while a batch is unpickled: keeps what was stored and runs nothing."""

    state: tuple = ()

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        self.state = state


class BatchUnpickler(pickle.Unpickler):
    """Reads CIFAR-10's pickles, which hold numbers, strings, lists and one numpy array, and refuses anything else."""

    def find_class(self, module: str, name: str) -> type:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")) or (
            module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct"
        ):
            return _Array
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 file does")


def unpickle(content: BinaryIO, where: str) -> dict:
    """Reads a pickled dictionary through `BatchUnpickler`; its keys become strings."""
    try:
        batch = BatchUnpickler(content, encoding="bytes").load()
        return {_text(key): value for key, value in batch.items()}
    except Exception as error:  # damaged pickles raise nearly every kind
        raise UserError(f"{where}: refused, not a CIFAR-10 batch ({str(error)[:120]}); fetch it again") from error


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def read_batch(batch: dict, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Turns a batch (data: bytes [n, 3 h w], plane by plane; labels: a list) into uint8 [n, h, w, 3] and int32 [n]."""
    try:
        _, (count, size), _, fortran, content = batch["data"].state
        side = math.isqrt(size // 3)
        if fortran or len(content) != count * size or 3 * side * side != size or len(batch["labels"]) != count:
            raise ValueError(f"{len(content)} bytes for {count} pictures and {len(batch['labels'])} labels")
        images = np.frombuffer(content, np.uint8).reshape(count, 3, side, side).transpose(0, 2, 3, 1)
        labels, _ = formats.class_indices(np.array(batch["labels"], np.float64), where)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{where}: its data and labels do not fit each other ({error}); fetch it again") from error
    return np.ascontiguousarray(images), labels


def read_meta(batch: dict, where: str) -> list[str]:
    """The classes' names in batches.meta."""
    try:
        return [" ".join(_text(name).split()) for name in batch["label_names"]]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: its label_names are no list of names; fetch it again or remove it") from error
