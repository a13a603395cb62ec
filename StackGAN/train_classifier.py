"""Trains a small network to tell a data set's own classes, for the inception score and the Frechet distance.

python StackGAN/train_classifier.py --data_path=birds                     minutes on a CPU; writes birds/classifier.h5

The paper fine-tuned an Inception network on the classes whose captions it draws. So this one learns from the pictures
of test/ too: all but a fifth of each class, on which its accuracy is told. It measures pictures and draws none.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import data
import h5py
import numpy as np
import tensorflow as tf
from baseline import middle
from tensorflow import keras
from tqdm import tqdm

from common import cli
from common.cli import UserError
from common.layers import BatchNorm
from common.optimizer import Adam, named_variables
from common.pictures import scale as to_range
from common.pretrained import float32_layers, load_weights
from common.session import add_device_flags, device_config, notice, open_session, set_seed
from common.stream import shuffled_batches

FILE = "classifier.h5"  # beside the data
SIDE = 64  # of the pictures that it sees
STORED = data.LOAD_SIZES[SIDE]  # of the pictures that it is trained on, which are cropped
WIDTH = 32  # channels of the first layer
HELD_OUT = 5  # every fifth picture of a class
BATCH = 64
RATE = 1e-3
MAX_CLASSES, MAX_WIDTH = 100_000, 1024
NETWORK = "a classifier"
ADVICE = "train_classifier.py writes one"


def build_classifier(classes: int, width: int = WIDTH) -> keras.Model:
    """Four 4x4 convolutions of stride 2 and a dense layer: pictures [n, 64, 64, 3] in -1..1 -> logits [n, classes]."""
    with float32_layers():
        x = inputs = keras.Input([SIDE, SIDE, 3], name="picture")
        for number in range(4):  # -> 4 x 4 x 8 width
            x = keras.layers.Conv2D(width << number, 4, 2, "same", use_bias=False, name=f"conv_{number}")(x)
            x = BatchNorm(momentum=0.9, name=f"norm_{number}")(x)
            x = keras.layers.LeakyReLU(0.2, name=f"relu_{number}")(x)
        x = keras.layers.GlobalAveragePooling2D(name="features")(x)
        return keras.Model(inputs, keras.layers.Dense(classes, name="classes")(x), name="classifier")


def save(path: Path, model: keras.Model, about: dict[str, Any]) -> None:
    """Writes a classifier to an HDF5 file in Keras' layout, and what it is about as JSON."""
    with h5py.File(str(path), "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file["about"] = json.dumps(about)  # no attribute: these end at 64 KiB
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            group, arrays = file.create_group(layer.name), layer.get_weights()
            group.attrs["weight_names"] = [str(number).encode() for number in range(len(arrays))]
            for number, array in enumerate(arrays):
                group.create_dataset(str(number), data=array)


def load(path: str, flag: str = "--classifier") -> keras.Model:
    """The classifier of a file.

    Raises:
        UserError: it is missing, damaged, or not one that `save` wrote.
    """
    about = _about(path, flag)
    model = build_classifier(len(about["classes"]), about["width"])
    load_weights(model, path, NETWORK, ADVICE, flag)
    return model


def _about(path: str, flag: str) -> dict[str, Any]:
    """What a file says it holds, checked before a network is built by it."""
    if not os.path.isfile(path):
        raise UserError(f"{flag} {path}: there is no such file; {ADVICE}")
    try:
        with h5py.File(path, "r") as file:
            about = json.loads(file["about"][()])
            classes, width = about["classes"], about["width"]
            stored = file["classes"]["0"].shape, file["conv_0"]["0"].shape
        whole = isinstance(classes, list) and 2 <= len(classes) <= MAX_CLASSES and type(width) is int
        if not whole or not 1 <= width <= MAX_WIDTH or stored != ((8 * width, len(classes)), (4, 4, 3, width)):
            raise ValueError("its sizes do not fit together")
    except Exception as error:  # h5py and json raise nearly every kind on a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{flag} {path}: damaged, or not the file of {NETWORK} ({reason}); {ADVICE}") from None
    return about


def labelled_pictures(data_path: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """All pictures of a data set with their classes.

    Returns:
        Pictures uint8 [n, 76, 76, 3], labels int32 [n] from 0, and the classes' names in the labels' order.
    Raises:
        UserError: there is no such data, or only one class.
    """
    splits = [data.load(os.path.join(data_path, part), None) for part in ("train", "test")]
    names = [name.rpartition("/")[0] for split in splits for name in split.filenames]
    if len(set(names)) == 1:  # the folders do not tell; the numbers in class_info.pickle count on from set to set
        names = [str(number) for split in splits for number in split.classes]
    classes = sorted(set(names))
    if len(classes) < 2:
        raise UserError(f"--data_path {data_path}: all pictures are of one class; there is nothing to tell apart")
    label_of = {name: number for number, name in enumerate(classes)}
    images = np.concatenate([split.pictures(STORED) for split in splits])
    return images, np.array([label_of[name] for name in names], np.int32), classes


def held_out(labels: np.ndarray) -> np.ndarray:
    """Which pictures are not learned from: bool [n], every fifth of each class; none of a class of fewer."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[HELD_OUT - 1 :: HELD_OUT]] = True
    return chosen


def fit(model: keras.Model, images: np.ndarray, labels: np.ndarray, steps: int, seed: int) -> None:
    """Trains by cross entropy on random crops, mirrored by turns, the rate falling to 0 in a line."""
    optimizer = Adam(named_variables(model, trainable_only=True), lambda n: RATE * (1 - tf.cast(n, tf.float32) / steps))
    variables = list(optimizer.variables_by_name.values())
    batch_size = min(BATCH, len(labels))

    @tf.function
    def update(pictures, wanted, step):
        key = tf.stack([tf.constant(seed, tf.int64), step])
        pictures = tf.cast(pictures, tf.float32) / 127.5 - 1
        pictures = tf.image.stateless_random_crop(pictures, [batch_size, SIDE, SIDE, 3], key)  # one crop a batch
        pictures = tf.image.stateless_random_flip_left_right(pictures, key)
        with tf.GradientTape() as tape:
            logits = model(pictures, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=logits))
        optimizer.apply(tape.gradient(loss, variables))
        return loss

    order = shuffled_batches(len(labels), batch_size, seed).take(steps).prefetch(2)
    for step, batch in enumerate(tqdm(order, "training", steps, disable=None)):
        chosen = batch.numpy()
        loss = update(tf.constant(images[chosen]), tf.constant(labels[chosen]), tf.constant(step, tf.int64))
    if not np.isfinite(float(loss)):
        raise cli.TrainingError("the classifier's loss is no longer a finite number; try another --seed")


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of pictures whose likeliest class is theirs."""
    right = 0
    for start in range(0, len(labels), BATCH):
        pictures = tf.constant(to_range(middle(images[start : start + BATCH], SIDE), (-1.0, 1.0)))
        logits = model(pictures, training=False).numpy()
        right += int((logits.argmax(1) == labels[start : start + BATCH]).sum())
    return right / len(labels)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", required=True, metavar="DIR", help="a data set with train/ and test/")
    parser.add_argument("--output_path", metavar="FILE", help="where to write it (<data_path>/classifier.h5)")
    parser.add_argument("--train_steps", type=cli.in_range(int, 1), default=1000, help="of 64 pictures each (1000)")
    parser.add_argument("--width", type=cli.in_range(int, 1, MAX_WIDTH), default=WIDTH, help=f"channels ({WIDTH})")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="weights, order, crops (0)")
    add_device_flags(parser)
    return parser.parse_args(argv)


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Trains a classifier and writes its file.

    Returns: {"accuracy", "chance": of always saying the commonest class, "pictures", "classes", "path"}.
    Raises:
        UserError: data that cannot be used, or a file that cannot be written.
    """
    open_session(device_config(args))
    set_seed(args.seed)
    images, labels, classes = labelled_pictures(args.data_path)
    aside = held_out(labels)
    if not aside.any():
        raise UserError(f"--data_path {args.data_path}: no class has {HELD_OUT} pictures, so none can be held out")
    notice(f"{args.data_path}: {(~aside).sum()} pictures of {len(classes)} classes, {aside.sum()} held out")
    model = build_classifier(len(classes), args.width)
    fit(model, images[~aside], labels[~aside], args.train_steps, args.seed)
    right = accuracy(model, images[aside], labels[aside])
    chance = float(np.bincount(labels[aside]).max() / aside.sum())
    path = cli.new_file(args.output_path or os.path.join(args.data_path, FILE))
    save(path, model, {"classes": classes, "width": args.width, "accuracy": right})
    print(f"accuracy on held-out pictures: {right:.4f} (the commonest class alone: {chance:.4f})")
    notice(f"wrote {path}")
    return {"accuracy": right, "chance": chance, "pictures": len(labels), "classes": len(classes), "path": str(path)}


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(train, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
