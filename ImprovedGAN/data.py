"""A data set on disk -> uint8 arrays in memory, checked; and the label budget of semi-supervised training.

`load` finds and reads any of:

    data.npz                                         what download.py and sample_data.py write
    train.tfrecord, test.tfrecord                    the original's forms
    data.hdf5, id.txt
    train-images-idx3-ubyte[.gz] and three others    MNIST as published
    train/<class>/*.png, test/<class>/*.png          your own images; train/unlabelled/ may hold some without a label
    <class>/*.png                                    the same without a split: a tenth of each class is held out
"""

import argparse
import os
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Optional, Union

import numpy as np
import preprocess
from formats import ARRAYS, FORMS, Data, form_of, read_class_folders, subfolders

from common.cli import UserError, notice

KNOWN = ("MNIST", "SVHN", "CIFAR10")
FILE = "data.npz"
HELP = "sample_data.py writes a small set, download.py fetches MNIST, SVHN and CIFAR10"


def load(
    data_path: Union[str, Path],
    dataset: Optional[str] = None,
    size: Optional[tuple[int, int]] = None,
    read: Optional[Callable[[Path], np.ndarray]] = None,
) -> Data:
    """Reads a data set, whichever of the forms above it has.

    Args:
        data_path: the set's own folder, or `datasets/`, or the folder above `datasets/`.
        dataset: the set's name (in any case) where there are several.
        size: (height, width) to scale every image to; nothing is cropped away.
        read: makes uint8 [h, w, c] of an image file where images lie in folders; as they are without it.
    """

    def read_scaled(path):
        return preprocess.resize(preprocess.to_pixels(preprocess.read_image(path))[None], size)[0]

    try:
        folder = find_set(Path(data_path).expanduser().resolve(), dataset)
        form = form_of(folder)
        found = FORMS[form](folder) if form in FORMS else read_class_folders(folder, read or read_scaled)
        files = tuple(sorted(path for path in folder.glob(form) if path.is_file()))
    except OSError as error:
        raise UserError(f"{error.filename or data_path}: cannot be read ({error.strerror or error})") from error
    found = check(found, folder)
    train, test = (preprocess.resize(images, size) for images in (found.train_images, found.test_images))
    return replace(found, train_images=train, test_images=test, name=dataset or folder.name, files=files)


def find_set(root: Path, dataset: Optional[str]) -> Path:
    """Finds the data set's folder: `root` itself, or the one that is meant among those below it."""
    if not root.is_dir():
        raise UserError(f"--data_path: there is no folder {root}; {HELP}")
    if form_of(root):
        if dataset and root.name.upper() in KNOWN and root.name.upper() != dataset.upper():
            raise UserError(f"--dataset={dataset}, but --data_path names another set: {root}")
        return root
    levels = (root, root / "datasets", root / "datasets" / "datasets")
    found = {folder.name.lower(): folder for level in levels for folder in subfolders(level) if form_of(folder)}
    listing = ", ".join(sorted(folder.name for folder in found.values()))
    if not found:
        raise UserError(f"--data_path: no data set in {root} (data.npz, idx, or a folder of images a class); {HELP}")
    if dataset is None and len(found) > 1:
        raise UserError(f"--data_path holds several data sets: {listing}; choose one with --dataset")
    name = dataset.lower() if dataset else next(iter(found))
    if name not in found:
        raise UserError(f"--dataset={dataset}: no such data set in {root}, which holds {listing}; {HELP}")
    return found[name]


def check(data: Data, where: Path) -> Data:
    """Refuses a set whose parts do not fit each other. Returns it with its classes named."""
    train, test = data.train_images, data.test_images
    used = np.unique(data.train_labels[data.train_labels >= 0])
    names = list(data.class_names or map(str, range(len(used))))
    largest = max(data.train_labels.max(initial=-1), data.test_labels.max(initial=-1))
    shapes = [data.train_labels.shape, data.test_labels.shape]
    missing = sorted(set(range(len(names))) - set(used.tolist()))
    sizes = f"images to train on are {train.shape[1:]}, to test on {test.shape[1:]}; both [h, w, 1 or 3]"
    for wrong, what in (
        (not train.size, "there is no image to train on"),
        (not test.size, "there is no image to test on"),
        (train.shape[1:] != test.shape[1:] or train.ndim != 4 or train.shape[-1] not in (1, 3), sizes),
        (shapes != [(len(train),), (len(test),)], "not as many labels as images"),
        (len(set(names)) != len(names), "two classes have the same name"),
        (largest >= len(names), f"label {largest} is out of range for {len(names)} classes (0, 1, ...)"),
        (len(names) < 2, "there must be two classes at least"),
        (missing, f"no labelled image of class {missing[:1]} to train on; every class needs one"),
        (data.test_labels.min(initial=0) < 0, "an image of the test set has no label; only images to train on may"),
    ):
        if wrong:
            raise UserError(f"{where}: {what}")
    return replace(data, class_names=names)


def save(data: Data, folder: Path) -> None:
    """Writes a data set to `folder`/data.npz, whole or not at all, and prints the command that trains on it."""
    path = folder / FILE
    if path.exists():
        raise UserError(f"--output_path: {path} is there already, nothing is overwritten; name another folder")
    arrays = {name: getattr(data, name) for name in ARRAYS}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as work:
            np.savez(os.path.join(work, FILE), **arrays, class_names=np.array(data.class_names, dtype=np.str_))
            os.rename(os.path.join(work, FILE), path)
    except OSError as error:
        raise UserError(f"--output_path: {folder} cannot be written ({error.strerror})") from error
    notice(f"{data}, in {path}")
    train = os.path.relpath(Path(__file__).resolve().with_name("train.py"))
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
    args: argparse.Namespace, parts: SimpleNamespace, value_range: tuple[float, float], start_step: int
) -> Iterator:
    """The training data from `start_step` on, images float32 [batch_size, h, w, c] in `value_range`; of several
    workers each has its shard.

    Args:
        parts: `data`, `labelled`, the indices of the images whose labels may be seen, and `session`.
    Yields:
        ssgan: (images, labels or -1). paper: (labelled images, labels, unlabelled, unlabelled for the generator).
    """
    import tensorflow as tf  # which evaluating an export does not need

    from common.stream import shuffled_batches

    low, high = value_range
    images, labelled = tf.constant(parts.data.train_images), parts.labelled
    labels = np.full(len(images), -1, np.int32)
    labels[labelled] = parts.data.train_labels[labelled]
    labels = tf.constant(labels)

    def order(count, purpose):
        return shuffled_batches(count, args.batch_size, args.seed, start_step, purpose).map(parts.session.shard)

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
