"""Data sets small enough for a test, in every form that is read."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import data
import numpy as np


def write_set(folder, shape=(8, 8, 1), train=60, test=12):
    """Three classes of noisy images: bright above, bright in the middle, bright below. Returns the folder."""
    rng = np.random.default_rng(0)
    labels = (np.arange(train + test) % 3).astype(np.int32)
    images = rng.integers(0, 60, (train + test, *shape))
    for image, label in zip(images, labels):
        third = shape[0] // 3
        image[label * third : (label + 1) * third] += 180
    images = images.astype(np.uint8)
    names = ["above", "middle", "below"]
    data.save(data.Data(images[:train], labels[:train], images[train:], labels[train:], names, "toy"), folder)
    return folder


def random_set(shape=(6, 6, 1), train=12, test=6, classes=3, unlabelled=0):
    """Random images; every class is in both splits."""
    images = np.random.default_rng(0).integers(0, 256, (train + test, *shape)).astype(np.uint8)
    labels = (np.arange(train + test) % classes).astype(np.int32)
    labels[train - unlabelled : train] = -1
    names = [str(number) for number in range(classes)]
    return data.Data(images[:train], labels[:train], images[train:], labels[train:], names, "toy")


def splits(made, *names):
    return zip(names, (made.train_images, made.test_images), (made.train_labels, made.test_labels))


# One function a published form: writes the files of a small set into `folder` and returns the set.


def write_idx(folder: Path, suffix="", mark="-"):
    made = random_set()
    folder.mkdir(parents=True, exist_ok=True)
    for split, images, labels in splits(made, "train", "t10k"):
        for name, array in ((f"images{mark}idx3", images[..., 0]), (f"labels{mark}idx1", labels.astype(np.uint8))):
            content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
            path = folder / f"{split}-{name}-ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)
    return made


def write_svhn(folder: Path):
    from scipy.io import savemat

    made = random_set((32, 32, 3), train=20, test=10, classes=10)
    folder.mkdir(parents=True, exist_ok=True)
    for split, images, labels in splits(made, "train", "test"):
        y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        path = str(folder / f"{split}_32x32.mat")
        savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": y}, do_compression=True)
    return made


def cifar10_batch(images, labels):
    """A batch in the very opcodes of the published files, which Python 2 wrote (protocol 2, 8-bit strings)."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)

    def text(value):
        return b"U" + bytes([len(value)]) + value

    shape = b"(K\x01K" + bytes([len(rows)]) + b"M" + struct.pack("<H", rows.shape[1]) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + shape
    array += b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    array += b"T" + struct.pack("<I", rows.size) + rows.tobytes() + b"tb"
    items = [text(b"batch_label"), text(b"training batch 1 of 5"), text(b"labels"), b"]("]
    items += [*(b"K" + bytes([label]) for label in labels), b"e", text(b"data"), array, text(b"filenames"), b"]("]
    return b"\x80\x02}(" + b"".join(items) + text(b"labels.png") + b"eu."


def cifar10_files():
    made = random_set((32, 32, 3), train=40, test=10, classes=10)
    files = {"batches.meta": b"\x80\x02}.", "test_batch": cifar10_batch(made.test_images, made.test_labels)}
    for number in range(4):
        part = slice(10 * number, 10 * number + 10)
        files[f"data_batch_{number + 1}"] = cifar10_batch(made.train_images[part], made.train_labels[part])
    return made, files


def write_archive(path: Path, files, prefix="cifar-10-batches-py/"):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_cifar10(folder: Path):
    made, files = cifar10_files()
    folder.mkdir(parents=True, exist_ok=True)
    write_archive(folder / "cifar-10-python.tar.gz", files)
    return made


PUBLISHED = {"MNIST": write_idx, "SVHN": write_svhn, "CIFAR10": write_cifar10}


def write_examples(path: Path, rows):
    """Writes TFRecord examples whose features are given as lists of bytes, ints or floats."""
    import tensorflow as tf

    lists = {bytes: "bytes_list", int: "int64_list", float: "float_list"}

    def feature(values):
        made = tf.train.Feature()
        for value in values:
            getattr(made, lists[type(value)]).value.append(value)
        return made

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            features = tf.train.Features(feature={key: feature(values) for key, values in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())


def write_tfrecords(folder: Path):
    """The original's: floats from -1 to 1, one-hot labels."""
    made = random_set((4, 4, 1))
    for split, images, labels in splits(made, "train", "test"):
        rows = [
            {"image": (image.ravel() / 255.0 * 2 - 1).tolist(), "label": np.eye(3)[label].tolist(), "id": [b"7"]}
            for image, label in zip(images, labels)
        ]
        write_examples(folder / f"{split}.tfrecord", rows)
    return made


def write_hdf5(folder: Path):
    """The original's: a group an id. RandomState(123) shuffles ten ids so, of which the last two are for the test."""
    import h5py

    made = random_set(train=8, test=2)
    folder.mkdir(parents=True, exist_ok=True)
    rows = zip([*made.train_images, *made.test_images], [*made.train_labels, *made.test_labels])
    with h5py.File(str(folder / "data.hdf5"), "w") as file:
        for name, (image, label) in zip((4, 0, 7, 5, 8, 3, 1, 6, 9, 2), rows):
            file[f"{name}/image"], file[f"{name}/label"] = image, np.eye(3, dtype=bool)[label]
    (folder / "id.txt").write_text("".join(f"{name}\n" for name in range(10)))
    return made
