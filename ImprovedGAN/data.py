"""A data set on disk -> uint8 arrays in memory, checked; and the label budget of semi-supervised training.

`load` finds and reads any of:

    data.npz                                         what download.py and sample_data.py write
    train.tfrecord, test.tfrecord                    the original's forms
    data.hdf5, id.txt
    train-images-idx3-ubyte[.gz] and three others    MNIST as published
    train/<class>/*.png, test/<class>/*.png          your own images; train/unlabelled/ may hold some without a label
    <class>/*.png                                    the same without a split: a tenth of each class is held out

classes.txt beside any of the files names the classes, a line each.
"""

import argparse
import os
import shlex
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Optional, Union

import formats
import numpy as np
import preprocess
from formats import Parts, class_folders, subfolders

from common import cli
from common.cli import UserError

KNOWN = ("MNIST", "SVHN", "CIFAR10")
FILE = "data.npz"
HELP = "sample_data.py writes a small set, download.py fetches MNIST, SVHN and CIFAR10"


@dataclass(frozen=True)
class Data:
    """A data set in memory."""

    train_images: np.ndarray  # uint8 [n, h, w, c]
    train_labels: np.ndarray  # int32 [n], -1: an image without a label
    test_images: np.ndarray  # uint8 [m, h, w, c]
    test_labels: np.ndarray  # int32 [m]
    class_names: list[str]
    name: str
    files: tuple[Path, ...] = ()  # that it was read from

    def __str__(self) -> str:
        shape = " x ".join(str(size) for size in self.train_images.shape[1:])
        unlabelled = int((self.train_labels < 0).sum())
        return (
            f"{self.name}: {len(self.train_images)} images to train on"
            + (f" ({unlabelled} unlabelled)" if unlabelled else "")
            + f", {len(self.test_images)} to test on, {shape}, {len(self.class_names)} classes"
        )


def load(
    data_path: Union[str, Path],
    dataset: Optional[str] = None,
    image_size: Union[int, tuple[int, int], None] = None,
    image_shape: Optional[tuple[int, int, int]] = None,
    ink: Optional[dict[str, Any]] = None,
) -> Data:
    """Reads a data set, whichever of the forms above it has.

    Args:
        data_path: the set's own folder, or `datasets/`, or the folder above `datasets/`.
        dataset: the set's name (in any case) where there are several.
        image_size: a size, or (height, width), to scale every image to; nothing is cropped away.
        image_shape, ink: image files are read as predict.py reads them (`preprocess.to_input`).
    Raises:
        UserError: no such folder, no or several sets in it, or files that are damaged or do not fit each other.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    try:
        folder = find_set(Path(data_path).expanduser().resolve(), dataset)
        pattern, read = FORMS.get(container(folder), ("**/*.*", None))
        if read:
            parts = read(folder)
        else:
            parts = formats.read_class_folders(folder, partial(_read_image, size, image_shape, ink))
        files, names = tuple(sorted(path for path in folder.glob(pattern) if path.is_file())), folder / "classes.txt"
        if read and names.exists():
            lines = formats.read_file(names).decode("utf-8", "replace").splitlines()
            parts = parts._replace(class_names=[line.strip() for line in lines if line.strip()])
    except OSError as error:
        raise UserError(f"{error.filename or data_path}: cannot be read ({error.strerror or error})") from error
    parts = check(parts, str(folder))
    train, test = (formats.resize(images, size) for images in (parts.train_images, parts.test_images))
    return Data(train, parts.train_labels, test, parts.test_labels, parts.class_names, dataset or folder.name, files)


def _read_image(size, image_shape, ink, path: Path) -> np.ndarray:
    pixels = preprocess.read_image(path, image_shape, ink)
    return pixels if image_shape else formats.resize(pixels[None], size)[0]


def container(folder: Path) -> Optional[str]:
    """Which of the forms `folder` has, or None."""
    for form, (pattern, _) in FORMS.items():
        if any(folder.glob(pattern)):
            return form
    split = (folder / "train").is_dir() and (folder / "test").is_dir()
    return "images" if len(class_folders(folder / "train" if split else folder)) > 1 else None


def find_set(root: Path, dataset: Optional[str]) -> Path:
    """Finds the data set's folder: `root` itself, or the one that is meant among those below it."""
    if not root.is_dir():
        raise UserError(f"--data_path: there is no folder {root}; {HELP}")
    if container(root):
        if dataset and root.name.upper() in KNOWN and root.name.upper() != dataset.upper():
            raise UserError(f"--dataset={dataset}, but --data_path names another set: {root}")
        return root
    found: dict[str, Path] = {}
    for level in (root / "datasets" / "datasets", root / "datasets", root):
        for folder in subfolders(level):
            if container(folder):
                found.setdefault(folder.name, folder)
    listing = ", ".join(sorted(found))
    if not found:
        raise UserError(f"--data_path: no data set in {root} (data.npz, idx, or a folder of images a class); {HELP}")
    if dataset is None and len(found) > 1:
        raise UserError(f"--data_path holds several data sets: {listing}; choose one with --dataset")
    names = [name for name in found if dataset is None or name.lower() == dataset.lower()]
    if not names:
        raise UserError(f"--dataset={dataset}: no such data set in {root}, which holds {listing}; {HELP}")
    return found[dataset if dataset in names else names[0]]


def check(parts: Parts, where: str) -> Parts:
    """Refuses parts that do not fit each other. Returns them with their classes named."""
    train, test = parts.train_images, parts.test_images
    used = np.unique(parts.train_labels[parts.train_labels >= 0])
    names = list(parts.class_names or map(str, range(len(used))))
    largest = max(parts.train_labels.max(initial=-1), parts.test_labels.max(initial=-1))
    missing = sorted(set(range(len(names))) - set(used.tolist()))
    sizes = f"images to train on are {train.shape[1:]}, to test on {test.shape[1:]}; both [h, w, 1 or 3]"
    for wrong, what in (
        (not train.size, "there is no image to train on"),
        (not test.size, "there is no image to test on"),
        (train.shape[1:] != test.shape[1:] or train.ndim != 4 or train.shape[-1] not in (1, 3), sizes),
        ([len(train), len(test)] != [len(parts.train_labels), len(parts.test_labels)], "not as many labels as images"),
        (len(set(names)) != len(names), "two classes have the same name"),
        (largest >= len(names), f"label {largest} is out of range for {len(names)} classes (0, 1, ...)"),
        (len(names) < 2, "there must be two classes at least"),
        (missing, f"no labelled image of class {missing[:1]} to train on; every class needs one"),
        (parts.test_labels.min(initial=0) < 0, "an image of the test set has no label; only images to train on may"),
    ):
        if wrong:
            raise UserError(f"{where}: {what}")
    return parts._replace(class_names=names)


# The one form that is written: data.npz


def read_npz(folder: Path) -> Parts:
    """Reads what `save` wrote. Its arrays lie in the file unpacked, so that none is larger than the file."""
    path = folder / FILE
    try:
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("its arrays are packed")
        with np.load(path, allow_pickle=False) as arrays:
            *parts, names = (arrays[name] for name in Parts._fields)
        if [array.dtype for array in parts] != [np.uint8, np.int32] * 2 or names.dtype.kind != "U" or names.ndim != 1:
            raise ValueError("its arrays are of other kinds")
        return Parts(*parts, names.tolist())
    except (zipfile.BadZipFile, ValueError, LookupError, TypeError, SyntaxError, EOFError, RuntimeError) as error:
        reason = str(error).split("\n")[0][:100]
    except (zlib.error, OverflowError, MemoryError) as error:
        reason = str(error)[:100]
    raise UserError(f"{path}: damaged, or not written by this program ({reason}); make it again")


FORMS = {  # files -> their reader
    "npz": (FILE, read_npz),
    "tfrecord": ("*.tfrecord", formats.read_tfrecords),
    "hdf5": ("data.hdf5", formats.read_hdf5),
    "idx": ("*-images*ubyte*", formats.read_idx),
}


def save(data: Data, folder: Path) -> None:
    """Writes a data set to `folder`/data.npz, whole or not at all.

    Raises:
        UserError: it is there, or cannot be written.
    """
    path, temporary = folder / FILE, folder / f"{FILE}.part"
    if path.exists():
        raise UserError(f"--output_path: {path} is there already, nothing is overwritten; name another folder")
    arrays = {name: getattr(data, name) for name in Parts._fields[:4]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez(file, **arrays, class_names=np.array(data.class_names, dtype=np.str_))
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"--output_path: {folder} cannot be written ({error.strerror})") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def report(data: Data, folder: Path, script: str) -> None:
    """Prints what a folder holds now and the command that trains on it; `script` is any of this model's."""
    cli.notice(f"{data}, in {folder / FILE}")
    train = os.path.relpath(Path(script).resolve().with_name("train.py"))
    print(f"Next:  python {shlex.quote(train)} --data_path={shlex.quote(str(folder))}", flush=True)


# What training sees


def choose_labels(labels: np.ndarray, n_labels: int, split_seed: int) -> np.ndarray:
    """Draws the images whose labels training may see: exactly `n_labels`, as many of each class.

    Args:
        labels: int [n], 0, 1, ...; -1 where there is none.
        n_labels: how many labels in all.
        split_seed: the draw's seed. With one seed a smaller budget's images are among a larger one's.
    Returns:
        Sorted int64 [n_labels] indices.
    Raises:
        UserError: `n_labels` does not divide by the classes, or a class has too few.
    """
    classes = max(1, int(labels.max()) + 1)
    if n_labels < 1 or n_labels % classes:
        raise UserError(
            f"--n_labels={n_labels} does not divide by the {classes} classes; choose a multiple of {classes}"
        )
    rng = np.random.default_rng(split_seed)
    chosen = []
    for label in range(classes):
        own = np.flatnonzero(labels == label)
        if len(own) * classes < n_labels:
            raise UserError(
                f"--n_labels={n_labels} asks for {n_labels // classes} a class, but class {label} has {len(own)}; "
                f"choose at most {classes * int(np.bincount(labels[labels >= 0], minlength=classes).min())}"
            )
        chosen.append(rng.permutation(own)[: n_labels // classes])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def choose_images(args: argparse.Namespace, data: Data) -> tuple[Data, np.ndarray]:
    """The images to train on (`--max_sample`), and the indices of those whose labels training may see."""
    if args.max_sample and args.max_sample < len(data.train_images):
        order = np.random.default_rng(args.split_seed).permutation(len(data.train_images))
        chosen = np.sort(order[: args.max_sample])
        data = replace(data, train_images=data.train_images[chosen], train_labels=data.train_labels[chosen])
    if args.n_labels:
        return data, choose_labels(data.train_labels, args.n_labels, args.split_seed)
    return data, np.flatnonzero(data.train_labels >= 0)


def training_batches(
    args: argparse.Namespace,
    data: Data,
    labelled: np.ndarray,
    value_range: tuple[float, float],
    session: Any,
    start_step: int,
) -> Iterator:
    """The training data from `start_step` on, images float32 [batch_size, h, w, c] in `value_range`; of several
    workers each has its shard.

    Args:
        labelled: indices of the images whose labels may be seen.
    Yields:
        ssgan: (images, labels or -1). paper: (labelled images, labels, unlabelled, unlabelled for the generator).
    """
    import tensorflow as tf

    from common.stream import shuffled_batches

    low, high = value_range
    images = tf.constant(data.train_images)
    labels = np.full(len(data.train_labels), -1, np.int32)
    labels[labelled] = data.train_labels[labelled]
    labels = tf.constant(labels)

    def order(count, purpose):
        return shuffled_batches(count, args.batch_size, args.seed, start_step, purpose).map(session.shard)

    def scaled(indices):
        return tf.cast(tf.gather(images, indices), tf.float32) * ((high - low) / 255.0) + low

    if args.model == "ssgan":
        dataset = order(len(images), "order")
        dataset = dataset.map(lambda i: (scaled(i), tf.gather(labels, i)), num_parallel_calls=2)
        return iter(dataset.prefetch(4))

    # Fewer labels than a batch has: each stands in it several times, as in the published code.
    rows = tf.constant(np.tile(labelled, -(-args.batch_size // len(labelled))))

    def paper(places, first, second):
        chosen = tf.gather(rows, places)
        return scaled(chosen), tf.gather(labels, chosen), scaled(first), scaled(second)

    orders = (order(len(rows), "order_labelled"), order(len(images), "order"), order(len(images), "order_generator"))
    return iter(tf.data.Dataset.zip(orders).map(paper, num_parallel_calls=2).prefetch(4))
