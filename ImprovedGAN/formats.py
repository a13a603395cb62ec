"""Data sets in the files they come in -> arrays. Nothing in a file is believed unchecked, and nothing in it is run.

A file is read up to a limit, whatever its header promises, and an array is made only of bytes that are there.
"""

import gzip
import io
import math
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import preprocess
from PIL import Image
from tqdm import tqdm

from common.cli import UserError, notice
from common.images import find_images

MAX_BYTES = 2**30  # of one file, unpacked
UNLABELLED = ("unlabelled", "unlabeled")
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Parts(NamedTuple):
    """What a set holds: uint8 images [n, h, w, c], int32 labels [n] (-1: none), and its classes if it names them."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: Optional[list[str]] = None


def read_file(path: Path) -> bytes:
    """A file's content, unpacked where its name ends in .gz.

    Raises:
        UserError: it is missing, cut short, or too large.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path} is missing")
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES or path.suffix == ".gz" and file.read(1):  # to the end, where gzip's sum is
                raise UserError(f"{path}: more than {MAX_BYTES} bytes, which this program does not read")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read to its end ({error}); fetch it again") from error
    return content


def class_indices(rows: Any, where: Any) -> tuple[np.ndarray, Optional[list[str]]]:
    """Labels written as class numbers (-1: none) or one-hot (all zeros: none) -> int32 [n], and one-hot's classes."""
    rows = np.asarray(rows).astype(np.float64)
    if rows.ndim == 2 and rows.shape[1] > 1:
        if not (np.isin(rows, (0, 1)).all() and (rows.sum(1) <= 1).all()):
            raise UserError(f"{where}: a label is neither a class number nor one-hot (a single 1, else zeros)")
        names = [str(number) for number in range(rows.shape[1])]
        return np.where(rows.sum(1) == 0, -1, rows.argmax(1)).astype(np.int32), names
    rows = rows.reshape(-1)
    wrong = ~((rows >= -1) & (rows < 10**6) & (rows == np.floor(rows)))
    if wrong.any():
        raise UserError(f"{where}: label {rows[wrong][0]:g} is not a class number (0, 1, ...; -1: none)")
    return rows.astype(np.int32), None


# MNIST as it is published: idx


def read_idx(folder: Path) -> Parts:
    """The four files of MNIST, .gz or not."""
    arrays = []
    for split in ("train", "t10k"):
        arrays += [_idx(folder, f"{split}-images", 3)[..., None], _idx(folder, f"{split}-labels", 1).astype(np.int32)]
        if len(arrays[-2]) != len(arrays[-1]):
            raise UserError(f"{folder}: {len(arrays[-2])} images but {len(arrays[-1])} labels in its {split} files")
    return Parts(*arrays)


def _idx(folder: Path, stem: str, dims: int) -> np.ndarray:
    names = [f"{stem}{mark}idx{dims}-ubyte{suffix}" for mark in "-." for suffix in ("", ".gz")]
    path = next((folder / name for name in names if (folder / name).is_file()), folder / names[1])
    content, start = read_file(path), 4 + 4 * dims
    if content[:4] != bytes([0, 0, 8, dims]) or len(content) < start:
        raise UserError(f"{path}: not an idx file of bytes with {dims} dimension(s); fetch it again")
    shape = struct.unpack_from(f">{dims}I", content, 4)
    if math.prod(shape) != len(content) - start or not all(shape):
        raise UserError(f"{path}: does not hold the {' x '.join(map(str, shape))} bytes of its header; fetch it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


# SVHN as it is published: MATLAB 5


def read_svhn(folder: Path) -> Parts:
    """The cropped digits: X, bytes [height, width, 3, n], and y, whose label 10 is the digit 0."""
    arrays = []
    for split in ("train", "test"):
        path = folder / f"{split}_32x32.mat"
        try:
            found = read_mat(read_file(path))
            x, y = found["X"], found["y"].reshape(-1)
            if x.ndim != 4 or x.dtype != np.uint8 or len(y) != x.shape[3] or not set(np.unique(y)) <= set(range(11)):
                raise ValueError(f"X is {x.dtype} {x.shape}, y holds {len(y)} labels")
        except (LookupError, ValueError, TypeError, struct.error, zlib.error, OverflowError, MemoryError) as error:
            what = "X, bytes [height, width, 3, n], and y, n labels from 1 to 10"
            raise UserError(f"{path}: does not hold {what} ({str(error)[:100]}); fetch it again") from error
        arrays += [np.ascontiguousarray(x.transpose(3, 0, 1, 2)), np.where(y == 10, 0, y).astype(np.int32)]
    return Parts(*arrays)


MAT_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}


def read_mat(content: bytes) -> dict[str, np.ndarray]:
    """The numeric arrays X and y of a MATLAB 5 file; whatever else stands in it is passed over unread."""
    order = {b"IM": "<", b"MI": ">"}[content[126:128]]
    view, position, arrays = memoryview(content), 128, {}
    while position < len(view):
        kind, element, position = _element(view, position, order)
        if kind == 15:  # packed by zlib
            unpack = zlib.decompressobj()
            unpacked = unpack.decompress(element, MAX_BYTES)
            if not unpack.eof:
                raise ValueError("cut short, or too large")
            kind, element, _ = _element(memoryview(unpacked), 0, order)
        if kind != 14:  # no array
            continue
        _, _, inside = _element(element, 0, order)  # its flags
        _, shape, inside = _element(element, inside, order)
        _, name, inside = _element(element, inside, order)
        if bytes(name) in (b"X", b"y"):
            kind, numbers, _ = _element(element, inside, order)
            array = np.frombuffer(numbers, order + MAT_NUMBERS[kind])
            arrays[bytes(name).decode()] = array.reshape(np.frombuffer(shape, order + "i4"), order="F")
    return arrays


def _element(view: memoryview, start: int, order: str) -> tuple[int, memoryview, int]:
    """A MATLAB element's kind, its content, and where the next one starts."""
    kind, size = struct.unpack_from(order + "II", view, start)
    if kind >> 16:  # kind, size and up to four bytes in eight
        kind, size, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
    else:
        begin, end = start + 8, start + 8 + size + (0 if kind == 15 else -size % 8)
    if begin + size > len(view):
        raise ValueError("cut short")
    return kind, view[begin : begin + size], end


# CIFAR-10 as it is published: pickles in an archive


def read_cifar10(folder: Path) -> Parts:
    """The batches, in the archive (no path in it is followed) or beside it."""
    batches = {name: read_batch(content, folder / name) for name, content in _cifar10_files(folder)}
    train = sorted((name for name in batches if name != "test_batch"), key=lambda name: int(name.rsplit("_", 1)[1]))
    if not train or "test_batch" not in batches:
        raise UserError(f"{folder}: data_batch_1, ... and test_batch are needed; found {', '.join(batches) or 'none'}")
    if len({batches[name][0].shape[1:] for name in train}) > 1:
        raise UserError(f"{folder}: its batches hold images of different sizes")
    images, labels = (np.concatenate([batches[name][index] for name in train]) for index in (0, 1))
    return Parts(images, labels, *batches["test_batch"], CIFAR10)


def _cifar10_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    wanted, archive = re.compile(r"data_batch_\d{1,6}|test_batch"), folder / "cifar-10-python.tar.gz"
    if not archive.is_file():
        yield from ((path.name, read_file(path)) for path in folder.glob("*_batch*") if wanted.fullmatch(path.name))
        return
    content = read_file(archive)
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for member in tar:
                if not 0 <= member.size <= len(content):
                    raise ValueError(f"{member.name[:40]} promises {member.size} bytes")
                name = member.name.rsplit("/", 1)[-1]
                if member.isfile() and wanted.fullmatch(name):
                    yield name, tar.extractfile(member).read()
    except (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise UserError(f"{archive}: cannot be read to its end ({str(error)[:100]}); fetch it again") from error


# A pickle's opcodes as CIFAR-10's files have them: how many bytes follow each, or tell the length of what does.
OPCODES = {
    **dict.fromkeys(b"}](eusatRbN.\x85\x86\x87\x88\x89\x93\x94", 0),
    **dict(zip(b"\x80qrhjKMJ\x95", b"\1\1\4\1\4\1\2\4\10")),
}
STRINGS = dict(zip(b"UTCBX\x8c", b"\1\4\1\4\4\1"))


def read_batch(content: bytes, where: Any) -> tuple[np.ndarray, np.ndarray]:
    """A batch -> uint8 [n, h, w, 3], int32 [n]: the numbers after "labels" and the bytes after "data" in its pickle.

    Nothing of the pickle is run or built, so nothing in it can do harm.
    """
    position, key, labels, pixels = 0, b"", [], b""
    try:
        while position < len(content):
            opcode, start = content[position], position + 1
            if opcode == ord("c"):  # a class's module and name, a line each
                position = content.index(b"\n", content.index(b"\n", start) + 1) + 1
            elif opcode in STRINGS:
                start += STRINGS[opcode]
                position = start + int.from_bytes(content[start - STRINGS[opcode] : start], "little")
                text = content[start:position]
                if key == b"data" and len(text) > 100:
                    # Python 3 writes bytes in an old protocol as text.
                    pixels = text.decode("utf-8").encode("latin-1") if opcode == ord("X") else text
                elif text in (b"labels", b"data"):
                    key = text
            else:
                position = start + OPCODES[opcode]
                if key == b"labels" and opcode in b"KMJ":
                    labels.append(int.from_bytes(content[start:position], "little", signed=opcode == ord("J")))
        side = math.isqrt(len(pixels) // (3 * len(labels)))
        images = np.frombuffer(pixels, np.uint8).reshape(len(labels), 3, side, side).transpose(0, 2, 3, 1)
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise UserError(
            f"{where}: not a CIFAR-10 batch of data and labels ({str(error)[:80]}); fetch it again"
        ) from error
    return np.ascontiguousarray(images), class_indices(labels, where)[0]


# The original's forms: TFRecord and HDF5


def read_tfrecords(folder: Path) -> Parts:
    """train.tfrecord and test.tfrecord, of examples with `image` and `label`."""
    train, names = read_tfrecord(folder / "train.tfrecord")
    test, _ = read_tfrecord(folder / "test.tfrecord")
    return Parts(*train, *test, names)


def read_tfrecord(path: Path) -> tuple[tuple[np.ndarray, np.ndarray], Optional[list[str]]]:
    """One file's images, raw bytes or floats from -1 to 1, and labels. Without height, width, channels: square."""
    import tensorflow as tf

    content = read_file(path)
    position = 0  # followed here first: TensorFlow makes room for whatever length a frame tells
    while position < len(content):
        position += 16 + int.from_bytes(content[position : position + 8], "little")
    if position != len(content) or not content:
        raise UserError(f"{path}: empty, cut short or not a TFRecord file; make it again")
    images, labels = [], []
    try:
        for record in tqdm(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), path.name, unit="", disable=None):
            feature = tf.train.Example.FromString(record).features.feature
            floats = np.array(feature["image"].float_list.value, np.float32)
            if not (np.abs(floats) <= 1).all():
                raise UserError(f"{path}: image {len(images)} holds floats that leave the range from -1 to 1")
            pixels = b"".join(feature["image"].bytes_list.value) or np.rint((floats + 1) * 127.5).astype(np.uint8)
            shape = [sum(feature[key].int64_list.value) for key in ("height", "width", "channels")]
            if not any(shape):
                channels = next(c for c in (1, 3) if math.isqrt(len(pixels) // c) ** 2 * c == len(pixels))
                shape = [math.isqrt(len(pixels) // channels)] * 2 + [channels]
            label = list(feature["label"].int64_list.value) or list(feature["label"].float_list.value)
            if not len(pixels) or not label:
                raise ValueError("image or label is missing")
            images.append(np.frombuffer(pixels, np.uint8).reshape(shape))
            labels.append(label)
        images, labels = np.stack(images), np.array(labels, np.float64)
    except UserError:
        raise
    except Exception as error:  # TensorFlow's and protobuf's errors share no other base
        reason = str(error).split("\n")[0].split("{{")[0][:100]
        where = f"record {len(images)}" if isinstance(images, list) else "a label"
        raise UserError(f"{path}: {where} is damaged or of another form or size ({reason}); make it again") from error
    labels, names = class_indices(labels, path)
    return (images, labels), names


def read_hdf5(folder: Path) -> Parts:
    """data.hdf5 with a group an id (image, one-hot label), and id.txt with an id a line."""
    import h5py

    path, listing = folder / "data.hdf5", folder / "id.txt"
    ids = list(dict.fromkeys(read_file(listing).decode("utf-8", "replace").split()))
    if all(name.startswith(("train", "test")) for name in ids):
        ids.sort(key=lambda name: not name.startswith("train"))
        cut = sum(name.startswith("train") for name in ids)
    else:
        np.random.RandomState(123).shuffle(ids)
        cut = int(0.8 * len(ids))
        notice(f"{path}: its ids name no split, so {cut} train and {len(ids) - cut} test, drawn as the original does")
    images, labels, name = [], [], ""
    try:
        with h5py.File(path, "r") as file:

            def read(name, key):
                for part in (name, f"{name}/{key}"):
                    if not isinstance(file.get(part, getlink=True), h5py.HardLink):  # nor a link to another file
                        raise ValueError("not there")
                found = file[f"{name}/{key}"]
                # Stored in one piece, as the original does, so that there are as many bytes as its shape says.
                if (
                    found.chunks
                    or found.external
                    or found.is_virtual
                    or found.dtype.hasobject
                    or found.nbytes * len(ids) > most
                ):
                    raise ValueError("stored in another way than the original's")
                return found[()]

            most = path.stat().st_size
            for name in tqdm(ids, path.name, unit="", disable=None):
                images.append(read(name, "image"))
                labels.append(read(name, "label"))
        images, labels = np.stack(images), np.stack(labels)
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise ValueError(f"images are {images.dtype} {images.shape[1:]}, not uint8 [h, w] or [h, w, c]")
        labels, names = class_indices(labels, path)
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: {name!r} of id.txt cannot be read ({str(error)[:100]}); make it again") from error
    images = images if images.ndim == 4 else images[..., None]
    return Parts(images[:cut], labels[:cut], images[cut:], labels[cut:], names)


# Your own images, a folder a class


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, sorted; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and path.name[0] != ".")


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold a class's images; names that are numbers sort as numbers."""
    found = [path for path in subfolders(folder) if path.name.lower() not in UNLABELLED and find_images(path)]
    return sorted(found, key=lambda path: int(path.name)) if all(p.name.isdecimal() for p in found) else found


def read_class_folders(folder: Path, read: "preprocess.Reader") -> Parts:
    """train/<class>/ and test/<class>/, or <class>/ of which a tenth is held out; and unlabelled/ beside the classes.

    Args:
        read: makes uint8 [h, w, c] of an image file.
    """
    split = (folder / "train").is_dir() and (folder / "test").is_dir()
    root = folder / "train" if split else folder
    names = [path.name for path in class_folders(root)]
    rng = np.random.default_rng(0)
    train, test = [], []
    for label, name in enumerate(names):
        own = [(path, label) for path in find_images(root / name)]
        held = max(1, round(len(own) / 10))
        if not split and len(own) < 2:
            raise UserError(f"{root / name}: a class needs two images at least, one of them to test on")
        if not split:
            own = [own[i] for i in rng.permutation(len(own))]
            own, test = own[held:], test + own[:held]
        train += own
    if split:
        strange = [path.name for path in class_folders(folder / "test") if path.name not in names]
        if strange:
            raise UserError(f"{folder}: test/{strange[0]} has no fellow in train/; both hold a folder a class")
        test = [(path, label) for label, name in enumerate(names) for path in find_images(folder / "test" / name)]
    else:
        notice(f"{folder}: no train/ and test/, so a tenth of each class ({len(test)} of {len(train + test)} images)")
        print("       is held out to test on, drawn with seed 0", flush=True)
    train += [(path, -1) for sub in subfolders(root) if sub.name.lower() in UNLABELLED for path in find_images(sub)]
    train = [train[i] for i in rng.permutation(len(train))]  # so that the first so many hold all classes
    rows: list[np.ndarray] = []
    for path, _ in tqdm(train + test, "images", unit="", disable=None):
        rows.append(read(path))
        if rows[-1].nbytes * len(train + test) > 4 * MAX_BYTES:
            raise UserError(f"{folder}: {len(train + test)} images as large as {path.name} do not fit into memory")
    rows = _stack(rows, folder)
    labels, cut = np.array([label for _, label in train + test], np.int32), len(train)
    return Parts(rows[:cut], labels[:cut], rows[cut:], labels[cut:], names)


def _stack(rows: list[np.ndarray], folder: Path) -> np.ndarray:
    """Images of one size as one array: grey ones become RGB where one of them is."""
    sizes = sorted({row.shape[:2] for row in rows})
    if len(sizes) > 1:
        raise UserError(
            f"{folder}: images of different sizes, such as {sizes[0]} and {sizes[-1]};\n"
            "give --image_size=N to scale every image to N x N"
        )
    channels = max(row.shape[2] for row in rows)
    return np.stack([np.broadcast_to(row, row.shape[:2] + (channels,)) for row in rows])


def resize(rows: np.ndarray, size: Optional[tuple[int, int]]) -> np.ndarray:
    """uint8 [n, h, w, 1 or 3] scaled to (h, w) as `preprocess.fit` does; unchanged where that is None or their size."""
    if size is None or rows.shape[1:3] == tuple(size):
        return rows
    return np.stack([preprocess.fit(Image.fromarray(row[..., 0] if row.shape[2] == 1 else row), size) for row in rows])
