"""The files that hold a whole data set: idx, TFRecord, the original's HDF5. Nothing in them is believed unchecked."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from tqdm import tqdm

from common.cli import UserError
from common.pictures import MAX_BYTES


class Parts(NamedTuple):
    """What a container holds: uint8 pictures [n, h, w, c], int32 labels [n] (-1: none), and its classes if it says."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: Optional[int] = None


def import_tensorflow() -> Any:
    """Imports TensorFlow, which takes seconds, only where it is needed, and without its start-up notices."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    return tensorflow


def class_indices(rows: np.ndarray, where: str) -> tuple[np.ndarray, Optional[int]]:
    """Reads labels written as class numbers (-1: none) or one-hot (all zeros: none).

    Args:
        rows: [n], [n, 1] or [n, classes], any numeric type.
        where: what to name in an error.
    Returns:
        int32 [n] class numbers, and the number of classes where the rows are one-hot.
    """
    rows = np.asarray(rows).astype(np.float64)  # exact for whole numbers below 2**53
    if rows.ndim == 2 and rows.shape[1] > 1:
        ones = rows.sum(axis=1)
        if not (np.isin(rows, (0, 1)).all() and (ones <= 1).all()):
            raise UserError(f"{where}: a label is neither a class number nor one-hot (a single 1, else zeros)")
        return np.where(ones == 0, -1, rows.argmax(axis=1)).astype(np.int32), rows.shape[1]
    rows = rows.reshape(-1)
    wrong = ~((rows >= -1) & (rows < 2**31) & (rows == np.floor(rows)))
    if wrong.any():
        index = int(wrong.argmax())
        raise UserError(
            f"{where}: label {rows[index]:g} of picture {index} is not a class number (0, 1, ...; -1: none)"
        )
    return rows.astype(np.int32), None


# idx, the form in which MNIST is published


def find_idx(folder: Path, stem: str, dims: int) -> Path:
    """Returns the idx file of `stem` ("train-images", ...) under its official name or the dotted one, .gz or not."""
    names = [f"{stem}{mark}idx{dims}-ubyte{suffix}" for mark in "-." for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder}: {names[0]} (or {names[1]}) is missing; MNIST's idx files come in fours")


def read_idx(path: Path, dims: int) -> np.ndarray:
    """Reads an idx file of bytes with `dims` dimensions, gzip or not (format: the MNIST page). Returns uint8."""
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path, "rb") if packed else open(path, "rb") as file:
            if file.read(4) != bytes([0, 0, 8, dims]):
                raise UserError(
                    f"{path}: not an idx file of bytes with {dims} dimension(s): its first four bytes are wrong"
                )
            shape = struct.unpack(f">{dims}I", file.read(4 * dims))
            size = math.prod(shape)
            if size > MAX_BYTES:
                raise UserError(f"{path}: its header promises {size} bytes, more than this program reads ({MAX_BYTES})")
            most = path.stat().st_size * (1032 if packed else 1)  # gzip packs no tighter than 1032 to 1
            data = file.read(size + 1) if size <= most else b""
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{path}: cannot be read to its end ({error or 'cut short'}); fetch it again") from error
    if len(data) != size:
        kind = "more" if len(data) > size else "fewer"
        raise UserError(f"{path}: holds {kind} bytes than its header's {' x '.join(map(str, shape))}; fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def read_idx_set(folder: Path) -> Parts:
    """Reads the four idx files of a set."""
    arrays = []
    for split in ("train", "t10k"):
        images, labels = find_idx(folder, f"{split}-images", 3), find_idx(folder, f"{split}-labels", 1)
        arrays += [read_idx(images, 3)[..., None], read_idx(labels, 1).astype(np.int32)]
        if len(arrays[-2]) != len(arrays[-1]):
            raise UserError(
                f"{images.name} holds {len(arrays[-2])} pictures and {labels.name} {len(arrays[-1])} labels: {folder}"
            )
    return Parts(*arrays)


# TFRecord, the form that this folder trains from


def write_tfrecord(path: Path, images: np.ndarray, labels: np.ndarray, prefix: str) -> None:
    """Writes one Example a picture: image (raw bytes), label, id (`prefix` and a number), height, width, channels.

    Raises:
        OSError: the file cannot be written.
    """
    tf = import_tensorflow()

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    shape = dict(zip(("height", "width", "channels"), images.shape[1:]))
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for index, (image, label) in enumerate(zip(images, tqdm(labels, path.name, unit="", disable=None))):
                values = {
                    "image": image.tobytes(),
                    "label": int(label),
                    "id": f"{prefix}_{index:07d}".encode(),
                    **shape,
                }
                features = tf.train.Features(feature={key: feature(value) for key, value in values.items()})
                writer.write(tf.train.Example(features=features).SerializeToString())
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def count_records(path: Path) -> int:
    """Counts a TFRecord file's frames (length, its check, bytes, their check), so that no false length is followed."""
    size, position, count = path.stat().st_size, 0, 0
    with open(path, "rb") as file:
        while position < size:
            file.seek(position)
            header = file.read(8)
            position += 16 + int.from_bytes(header, "little")
            if len(header) < 8 or position > size:
                raise UserError(f"{path}: cut short in record {count}, or not a TFRecord file; make it again")
            count += 1
    if not count:
        raise UserError(f"{path}: holds no record; make it again")
    return count


def guess_shape(size: int, where: str) -> tuple[int, int, int]:
    """The [h, w, c] of a picture of `size` values without stated sides: square, grey or RGB."""
    for channels in (1, 3):
        side = math.isqrt(size // channels)
        if size and side * side * channels == size:
            return side, side, channels
    raise UserError(
        f"{where}: {size} values are no square grey or RGB picture, and height, width, channels are not given"
    )


def read_tfrecord(path: Path) -> tuple[np.ndarray, np.ndarray, Optional[int]]:
    """Reads a TFRecord file of raw pictures.

    The features are those of `write_tfrecord`. Also read: files without height, width and channels, one-hot labels, and
    the original's pictures, floats from -1 to 1.

    Returns:
        uint8 [n, h, w, c], int32 [n] (-1: none), and the number of classes where the labels are one-hot.
    """
    tf = import_tensorflow()
    count = count_records(path)
    try:
        with tf.device("/CPU:0"):
            records = tf.data.TFRecordDataset(str(path), buffer_size=2**22)
            first = tf.train.Example.FromString(next(iter(records)).numpy()).features.feature
            spec, shape = _features(tf, first, str(path))
            size = math.prod(shape)
            if count * size > path.stat().st_size:
                raise UserError(f"{path}: its {count} pictures are not all of the size of the first, {shape}")
            parsed = records.batch(1024).map(lambda batch: tf.io.parse_example(batch, spec), tf.data.AUTOTUNE)
            images, labels, done = np.empty((count, size), np.uint8), [], 0
            for batch in parsed.prefetch(2):
                sides = [batch[key].numpy() for key in ("height", "width", "channels") if key in batch]
                if any((values != side).any() for values, side in zip(sides, shape)):
                    raise UserError(f"{path}: pictures {done}... are not all of the size of the first, {shape}")
                rows = _pixels(batch["image"].numpy(), size, done, path)
                images[done : done + len(rows)] = rows
                labels.append(batch["label"].numpy())
                done += len(rows)
    except UserError:
        raise
    except Exception as error:  # TensorFlow's and protobuf's errors share no other base
        reason = str(error).split("\n")[0].split("{{")[0][:200]
        raise UserError(f"{path}: damaged, or without the features image and label: {reason}") from error
    labels, classes = class_indices(np.concatenate(labels), str(path))
    return images.reshape((count,) + shape), labels, classes


def _features(tf: Any, first: Any, where: str) -> tuple[dict, tuple[int, int, int]]:
    """What `tf.io.parse_example` is to look for, and the pictures' shape, as the first record has them."""
    kinds = {key: first[key].WhichOneof("kind") for key in ("image", "label") if key in first}
    numbers = (
        getattr(first["label"], kinds["label"]).value if kinds.get("label") in ("int64_list", "float_list") else []
    )
    if kinds.get("image") not in ("bytes_list", "float_list") or not numbers:
        raise UserError(
            f"{where}: its records lack image (bytes) and label (a number); download.py writes the right form"
        )
    spec = {"image": tf.io.FixedLenFeature([], tf.string)}
    size = len(b"".join(first["image"].bytes_list.value))
    if kinds["image"] == "float_list":
        size = len(first["image"].float_list.value)
        spec["image"] = tf.io.FixedLenFeature([size], tf.float32)
    dtype = tf.int64 if kinds["label"] == "int64_list" else tf.float32
    spec["label"] = tf.io.FixedLenFeature([len(numbers)], dtype)
    sides = ("height", "width", "channels")
    if not all(key in first for key in sides):
        return spec, guess_shape(size, where)
    spec.update({key: tf.io.FixedLenFeature([], tf.int64) for key in sides})
    shape = tuple(sum(first[key].int64_list.value) for key in sides)
    if min(shape) < 1 or math.prod(shape) != size:
        raise UserError(
            f"{where}: a picture of {size} values cannot be {' x '.join(map(str, shape))} (height, width, channels)"
        )
    return spec, shape


def _pixels(batch: np.ndarray, size: int, done: int, path: Path) -> np.ndarray:
    """Turns a batch of raw pictures (bytes, or floats from -1 to 1) into uint8 [n, size]."""
    if batch.dtype != np.float32:
        for index, picture in enumerate(batch):
            if len(picture) != size:
                raise UserError(f"{path}: picture {done + index} has {len(picture)} bytes, the first has {size}")
        return np.frombuffer(b"".join(batch), np.uint8).reshape(-1, size)
    if not (np.abs(batch) <= 1).all():
        raise UserError(f"{path}: pictures {done}... are floats that leave the range from -1 to 1")
    return np.rint((batch + 1) * 127.5).astype(np.uint8)


# HDF5, the original's form: data.hdf5 with a group an id (image, one-hot label), id.txt with an id a line


def write_hdf5(path: Path, images: np.ndarray, labels: np.ndarray, ids: list[str], classes: int) -> None:
    """Writes the original's data.hdf5. A picture without a label gets zeros."""
    import h5py

    one_hot = np.vstack([np.eye(classes, dtype=bool), np.zeros((1, classes), bool)])
    with h5py.File(path, "w") as file:
        for name, image, label in zip(tqdm(ids, path.name, unit="", disable=None), images, labels):
            group = file.create_group(name)
            group["image"], group["label"] = image, one_hot[label]


def split_ids(ids: list[str], where: str) -> tuple[list[str], list[str]]:
    """Splits ids into train and test: by their prefix, else as the original does (shuffle, 80 %), which is said."""
    if all(name.startswith(("train", "test")) for name in ids):
        return [name for name in ids if name.startswith("train")], [name for name in ids if name.startswith("test")]
    ids = list(ids)
    np.random.RandomState(123).shuffle(ids)
    cut = int(0.8 * len(ids))
    print(f"[Info] {where}: its ids name no split, so 80 % ({cut}) train and the rest ({len(ids) - cut}) test,")
    print("       drawn as the original draws them (RandomState(123))", flush=True)
    return ids[:cut], ids[cut:]


def read_hdf5(folder: Path) -> Parts:
    """Reads the original's data.hdf5 and id.txt."""
    import h5py

    path, listing = folder / "data.hdf5", folder / "id.txt"
    ids = [line.strip() for line in read_lines(listing) if line.strip()]
    if not ids or len(set(ids)) != len(ids):
        raise UserError(
            f"{listing}: {'an id stands there twice' if ids else 'no id in it'}; it lists each id of data.hdf5 once"
        )
    train, test = split_ids(ids, str(path))
    images, labels, name = None, [], ""  # read through h5py's lower level, at half the time of file[name]["image"][()]
    try:
        with h5py.File(path, "r") as file:
            for index, name in enumerate(tqdm(train + test, path.name, unit="", disable=None)):
                image, label = (h5py.h5d.open(file.id, f"{name}/{key}".encode()) for key in ("image", "label"))
                if index == 0:
                    size = len(ids) * (math.prod(image.shape) + math.prod(label.shape))
                    if len(image.shape) not in (2, 3) or size > MAX_BYTES:
                        raise UserError(
                            f"{path}: {len(ids)} pictures of {image.shape} cannot be read; [h, w] or [h, w, c] can"
                        )
                    images, first = np.empty((len(ids),) + image.shape, np.uint8), label.shape
                fits = image.shape == images.shape[1:] and label.shape == first
                if not fits or image.dtype != np.uint8 or label.dtype.kind not in "biuf":
                    raise UserError(
                        f"{path}: {name} holds {image.dtype} {image.shape} with a label {label.dtype} {label.shape}; "
                        f"expected uint8 {images.shape[1:]} with {first}"
                    )
                labels.append(np.empty(first, label.dtype))
                image.read(h5py.h5s.ALL, h5py.h5s.ALL, images[index])
                label.read(h5py.h5s.ALL, h5py.h5s.ALL, labels[-1])
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        what = f"{name!r} of id.txt" if isinstance(error, KeyError) else "it"
        raise UserError(f"{path}: {what} cannot be read ({str(error)[:160]}); make it again") from error
    labels, classes = class_indices(np.array(labels).reshape(len(ids), -1), str(path))
    images = images if images.ndim == 4 else images[..., None]
    cut = len(train)
    return Parts(images[:cut], labels[:cut], images[cut:], labels[cut:], classes)


def read_lines(path: Path) -> list[str]:
    """Reads a text file's lines (UTF-8)."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})") from error
