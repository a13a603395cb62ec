"""A data set on disk, in any of the forms that README.md lists -> uint8 arrays in memory, checked; and the label budget
of semi-supervised training."""

import argparse
import os
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Optional, Union

import numpy as np
import preprocess
from formats import ARRAYS, FORMS, Data, form_of, read_class_folders, subfolders

from common import cli
from common.cli import UserError

KNOWN = ("MNIST", "SVHN", "CIFAR10")


def load(
    data_path: Union[str, Path],
    dataset: Optional[str] = None,
    size: Optional[tuple[int, int]] = None,
    read: Optional[Callable[[Path], np.ndarray]] = None,
) -> Data:
    """Reads a data set, whichever form it has.

    Args:
        data_path: the set's own folder, or `datasets/`, or the folder above `datasets/`.
        dataset: the set's name (in any case) where there are several.
        size: (height, width) to scale every image to; nothing is cropped away.
        read: makes uint8 [h, w, c] of an image file where images lie in folders; as they are without it.
    Raises:
        UserError: there is no such set, or it is not whole.
    """

    def read_scaled(path):
        image = preprocess.read_image(path)
        return preprocess.fit(image, size or image.size[::-1])

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
    if form_of(root):
        if dataset and root.name.upper() in KNOWN and root.name.upper() != dataset.upper():
            raise UserError(f"--dataset={dataset}, but --data_path names another set: {root}")
        return root
    levels = (root, root / "datasets", root / "datasets" / "datasets")
    found = {folder.name.lower(): folder for level in levels for folder in subfolders(level) if form_of(folder)}
    meant = [folder for name, folder in found.items() if dataset is None or name == dataset.lower()]
    if len(meant) == 1:
        return meant[0]
    listing = ", ".join(sorted(folder.name for folder in found.values())) or "no data set"
    hint = "sample_data.py writes a small set, download.py fetches MNIST, SVHN and CIFAR10"
    raise UserError(f"--data_path: {root} holds {listing}; choose the set with --dataset.\n{hint}")


def check(data: Data, where: Path) -> Data:
    """Refuses a set whose parts do not fit each other. Returns it with its classes named."""
    train, test = data.train_images, data.test_images
    used = np.unique(data.train_labels[data.train_labels >= 0]).tolist()
    names = list(data.class_names or map(str, used))
    kinds = [(images.dtype.name, *images.shape[1:]) for images in (train, test)]
    sound = kinds[0] == kinds[1] and len(kinds[0]) == 4 and kinds[0][0] == "uint8" and kinds[0][3] in (1, 3)
    counts = data.train_labels.shape + data.test_labels.shape
    for right, what in (
        (train.size and test.size, "there must be images to train on, and others to test on"),
        (sound, f"images to train on are {kinds[0]}, to test on {kinds[1]}; both must be (uint8, h, w, 1 or 3)"),
        (counts == train.shape[:1] + test.shape[:1], "not as many labels as images"),
        (used == list(range(len(names))) and len(names) > 1, "every class (two at least) needs a label to train on"),
        (np.isin(data.test_labels, used).all(), "each image to test on needs a label that is trained on"),
    ):
        if not right:
            raise UserError(f"{where}: {what}")
    return replace(data, class_names=names)


def save(data: Data, folder: Path) -> None:
    """Writes a data set to `folder`/data.npz, whole or not at all, and prints the command that trains on it.

    Raises:
        UserError: `folder` holds something, or cannot be written.
    """
    arrays = {name: getattr(data, name) for name in ARRAYS}
    with cli.new_set(folder) as work:
        np.savez(str(work / "data.npz"), **arrays, class_names=np.array(data.class_names, dtype=np.str_))
    cli.notice(f"{data}, in {folder / 'data.npz'}")
    train = os.path.relpath(Path(__file__).resolve().with_name("train.py"))
    print(f"Next:  python {shlex.quote(train)} --data_path={shlex.quote(str(folder))}", flush=True)


def in_batches(function: Callable, rows: np.ndarray, size: int, fill_up: bool = True) -> np.ndarray:
    """What `function` makes of `rows`, `size` at a time; the last batch is filled up, for one shape and one graph."""
    filled = np.pad(rows, [(0, -len(rows) % size if fill_up else 0)] + [(0, 0)] * (rows.ndim - 1))
    return np.concatenate([function(filled[i : i + size]) for i in range(0, len(filled), size)])[: len(rows)]


# What training sees


def choose_labels(labels: np.ndarray, n_labels: int, split_seed: int) -> np.ndarray:
    """Draws the images whose labels training may see: exactly `n_labels`, as many of each class.

    Args:
        labels: int [n], 0, 1, ...; -1 where there is none.
        split_seed: with one of them a smaller budget's images are among a larger one's.
    Returns:
        Sorted int64 [n_labels] indices.
    Raises:
        UserError: there are not as many.
    """
    classes = max(1, int(labels.max()) + 1)
    each, rest = divmod(n_labels, classes)
    fewest = int(np.bincount(labels[labels >= 0], minlength=classes).min())
    if rest or each > fewest:
        raise UserError(f"--n_labels={n_labels}: give a multiple of the {classes} classes, at most {classes * fewest}")
    rng = np.random.default_rng(split_seed)
    drawn = [rng.permutation(np.flatnonzero(labels == label))[:each] for label in range(classes)]
    return np.sort(np.concatenate(drawn))


def choose_images(args: argparse.Namespace, data: Data) -> tuple[Data, np.ndarray]:
    """The images to train on (`--max_sample`), and the indices of those whose labels training may see."""
    if args.max_sample:
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
    seen = np.isin(np.arange(len(images)), labelled)
    labels = tf.constant(np.where(seen, parts.data.train_labels, -1).astype(np.int32))

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
