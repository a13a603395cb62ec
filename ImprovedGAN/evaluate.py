"""Measures a trained ImprovedGAN on the whole held-out set: errors and accuracy, beside two baselines.

python ImprovedGAN/evaluate.py --ckpt_path=train_dir --data_path=datasets/mnist
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import h5py
import losses
import numpy as np
import tensorflow as tf
from layers import data_dependent_init, no_seed
from model import build_networks, classify, picture_range
from PIL import Image
from tensorflow import keras

from common import cli
from common.cli import UserError
from common.optimizer import Adam, named_variables
from common.run import checkpoint_options, load_checkpoint
from common.session import add_session_flags, open_session, session_config
from common.stream import shuffled_batches

BATCH = 500  # pictures classified at a time


def predict_logits(discriminator: keras.Model, options: argparse.Namespace, images: np.ndarray) -> np.ndarray:
    """Class logits [n, n_classes] of uint8 pictures [n, height, width, channels]."""
    forward = _forward(discriminator, options)
    logits = []
    for start in range(0, len(images), BATCH):
        batch = scale(images[start : start + BATCH], picture_range(options))
        padding = [(0, BATCH - len(batch))] + [(0, 0)] * 3  # one shape, one graph
        logits.append(forward(tf.constant(np.pad(batch, padding)))[: len(batch)].numpy())
    return np.concatenate(logits)


def _forward(discriminator: keras.Model, options: argparse.Namespace):
    """The discriminator as a graph, made once for each network."""
    if not hasattr(discriminator, "classify_graph"):
        discriminator.classify_graph = tf.function(lambda images: classify(discriminator, options, images))
    return discriminator.classify_graph


def count_errors(
    discriminator: keras.Model, options: argparse.Namespace, images: np.ndarray, labels: np.ndarray
) -> int:
    """How many pictures' largest class logit is not their label's."""
    return int((predict_logits(discriminator, options, images).argmax(-1) != labels).sum())


def scale(images: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """uint8 pictures as float32 for a network."""
    low, high = value_range
    return images.astype(np.float32) * ((high - low) / 255.0) + low


def to_uint8(pictures: tf.Tensor, value_range: tuple[float, float]) -> np.ndarray:
    """Pictures of a network as uint8."""
    low, high = value_range
    return np.clip(np.round((np.asarray(pictures) - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)


def save_grid(pictures: np.ndarray, path: str) -> str:
    """Writes uint8 pictures [n, height, width, channels] as one nearly square picture and returns its path."""
    n, height, width, channels = pictures.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    grid = np.zeros([rows * columns, height, width, channels], np.uint8)
    grid[:n] = pictures
    grid = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    grid = grid.reshape(rows * height, columns * width, channels)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    Image.fromarray(grid[..., 0] if channels == 1 else grid).save(path)
    return path


def evaluate_run(
    options: argparse.Namespace, discriminator: keras.Model, pictures: data.Data, labelled: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a trained discriminator on the whole held-out set, and the baselines.

    Args:
        labelled: indices of the training pictures whose labels were seen.
    Returns:
        {"accuracy", "errors", "test_pictures", "labels"}, and {"accuracy": always the most frequent class,
        "supervised_only_accuracy": the same discriminator trained on the same labels alone}.
    """
    images, labels = pictures.test_images, pictures.test_labels
    errors = count_errors(discriminator, options, images, labels)
    metrics = {
        "accuracy": 1 - errors / len(images),
        "errors": errors,
        "test_pictures": len(images),
        "labels": len(labelled),
    }
    known = pictures.train_labels[labelled]
    baseline = {"accuracy": float((labels == np.bincount(known).argmax()).mean())}
    if options.baseline_steps:
        supervised = train_supervised(options, pictures.train_images[labelled], known, len(pictures.class_names))
        baseline["supervised_only_accuracy"] = 1 - count_errors(supervised, options, images, labels) / len(images)
    return metrics, baseline


def train_supervised(
    options: argparse.Namespace, images: np.ndarray, labels: np.ndarray, n_classes: int
) -> keras.Model:
    """The supervised-only baseline: the same discriminator on the labelled pictures alone, for `--baseline_steps`."""
    _, discriminator = build_networks(options, images.shape[1:], n_classes)
    low, high = picture_range(options)
    optimizer = Adam(
        named_variables(discriminator, trainable_only=True), options.learning_rate_d, beta_1=0.5, epsilon=1e-4
    )
    variables = list(optimizer.variables_by_name.values())

    @tf.function
    def step(batch, targets, seed):
        batch = tf.cast(batch, tf.float32) * ((high - low) / 255.0) + low
        with tf.GradientTape() as tape:
            if options.model == "ssgan":
                loss = losses.real_or_class(discriminator(batch, training=True), targets)
            else:
                loss = losses.labelled(discriminator([batch, seed], training=True)[1], targets)
        optimizer.apply(tape.gradient(loss, variables))

    batch_size = min(options.batch_size, len(images))
    if options.model == "paper":
        rows = np.resize(np.arange(len(images)), min(500, len(images)))
        data_dependent_init(discriminator, [tf.constant(scale(images[rows], picture_range(options))), no_seed()])
    order = iter(shuffled_batches(len(images), batch_size, options.seed, stream=4))
    for number in range(options.baseline_steps):
        rows = next(order).numpy()
        step(tf.constant(images[rows]), tf.constant(labels[rows]), tf.constant([options.seed, number]))
    return discriminator


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", "--checkpoint", required=True, help="a run's folder, or one checkpoint in it")
    parser.add_argument("--data_path", help="the data set (the run's own)")
    parser.add_argument("--dataset", help="its name, where --data_path holds several")
    parser.add_argument("--data_id", type=cli.in_range(int, 0), nargs="*", help="only these held-out pictures")
    parser.add_argument("--dump_result", metavar="FILE", help="write each picture's label and probabilities as HDF5")
    parser.add_argument("--output_path", default=".", metavar="DIR", help="where evaluation.json goes (.)")
    add_session_flags(parser)
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> dict:
    """Evaluates a checkpoint, prints the metrics and writes them to `evaluation.json`."""
    open_session(session_config(args))
    options = checkpoint_options(args.ckpt_path)
    path = args.data_path or options.data_path
    pictures = data.load(path, args.dataset or (None if args.data_path else options.dataset), options.image_size)
    images, labels = pictures.test_images, pictures.test_labels
    if args.data_id:
        if max(args.data_id) >= len(images):
            raise UserError(f"--data_id {max(args.data_id)}: the held-out pictures are numbered 0 to {len(images) - 1}")
        images, labels = images[args.data_id], labels[args.data_id]

    prefix, discriminator = load_discriminator(args.ckpt_path, options, images.shape[1:], len(pictures.class_names))
    started = time.perf_counter()
    logits = predict_logits(discriminator, options, images)
    seconds = time.perf_counter() - started
    errors = int((logits.argmax(-1) != labels).sum())
    result = {
        "checkpoint": prefix,
        "accuracy": 1 - errors / len(images),
        "errors": errors,
        "test_pictures": len(images),
        "baseline_accuracy": float((labels == np.bincount(labels).argmax()).mean()),
        "images_per_sec": len(images) / seconds,
    }
    for name, value in result.items():
        print(f"{name:18s}: {value}")
    if args.dump_result:
        write_results(args.dump_result, labels, tf.nn.softmax(logits).numpy())
    os.makedirs(args.output_path, exist_ok=True)
    with open(os.path.join(args.output_path, "evaluation.json"), "w") as file:
        json.dump(result, file, indent=2)
    return result


def load_discriminator(
    ckpt_path: str, options: argparse.Namespace, image_shape: Sequence[int], n_classes: int
) -> tuple[str, keras.Model]:
    """The checkpoint's prefix, and the discriminator to test: for the paper's model the average of its weights.

    Raises:
        UserError: no checkpoint, or one of another model or shape.
    """
    _, discriminator = build_networks(options, image_shape, n_classes)
    name = "average" if options.model == "paper" else "discriminator"
    return load_checkpoint(ckpt_path, **{name: named_variables(discriminator)}), discriminator


def write_results(path: str, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Writes `test/label` and `test/probabilities` to a new HDF5 file."""
    try:
        with h5py.File(path, "x") as file:
            file["test/label"], file["test/probabilities"] = labels, probabilities
    except OSError as error:
        raise UserError(
            f"--dump_result {path} cannot be written ({error}); name a file that is not there yet"
        ) from None


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(evaluate, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
