"""Measures a trained ImprovedGAN on the whole held-out set: errors and accuracy, beside two baselines.

python ImprovedGAN/evaluate.py --ckpt_path=train_dir
python ImprovedGAN/evaluate.py --ckpt_path=train_dir/checkpoints/ckpt-45000 --data_path=datasets/MNIST --dump_result
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
import numpy as np
import tensorflow as tf
import trained
from baseline import train_supervised
from model import classify, picture_range
from tensorflow import keras

from common import cli
from common.cli import UserError
from common.pictures import scale
from common.session import add_device_flags, device_config, open_session

BATCH = 500  # pictures classified at a time


def predict_logits(
    discriminator: keras.Model, options: argparse.Namespace, images: np.ndarray, batch_size: int = BATCH
) -> np.ndarray:
    """Class logits [n, n_classes] of uint8 pictures [n, height, width, channels], `batch_size` at a time."""
    forward = _forward(discriminator, options)
    logits = []
    for start in range(0, len(images), batch_size):
        batch = scale(images[start : start + batch_size], picture_range(options))
        rows = len(batch)
        if not options.minibatch_discrimination:  # which sees the other pictures of the batch
            batch = np.pad(batch, [(0, batch_size - rows)] + [(0, 0)] * 3)  # one shape, one graph
        logits.append(forward(tf.constant(batch))[:rows].numpy())
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


def evaluate_run(
    options: argparse.Namespace,
    discriminator: keras.Model,
    pictures: data.Data,
    labelled: np.ndarray,
    baseline_updates: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a trained discriminator on the whole held-out set, and the baselines.

    Args:
        labelled: indices of the training pictures whose labels were seen.
        baseline_updates: how long to train the supervised-only baseline; 0 leaves it out.
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
    if baseline_updates:
        seen = pictures.train_images[labelled]
        supervised = train_supervised(options, seen, known, len(pictures.class_names), baseline_updates)
        baseline["supervised_only_accuracy"] = 1 - count_errors(supervised, options, images, labels) / len(images)
    return metrics, baseline


def parse_args(argv: Optional[Sequence[str]] = None, description: Optional[str] = __doc__) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    checkpoint = ("--ckpt_path", "--checkpoint", "--train_dir")
    parser.add_argument(*checkpoint, required=True, metavar="PATH", help="a run's folder, or one checkpoint in it")
    parser.add_argument("--data_path", metavar="DIR", help="the data set, or the folder that holds it (the run's own)")
    parser.add_argument("--dataset", help="its name, where DIR holds several")
    parser.add_argument("--data_id", type=cli.in_range(int, 0), nargs="+", help="only these held-out pictures, from 0")
    parser.add_argument("--batch_size", type=cli.in_range(int, 1), default=BATCH, help=f"pictures at a time ({BATCH})")
    cli.add_boolean(parser, "--dump_result", False, "write results.hdf5: each picture's number, label, probabilities")
    parser.add_argument("--output_path", metavar="DIR", help="where evaluation.json goes (the run's folder)")
    add_device_flags(parser)
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> dict:
    """Evaluates a checkpoint, prints the metrics and writes them to a new `evaluation.json`.

    Raises:
        UserError: no such checkpoint, data or picture, or data of another kind than the checkpoint's.
    """
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    options = model.options
    path = args.data_path or options.data_path
    pictures = data.load(path, args.dataset or (None if args.data_path else options.dataset), options.image_size)
    images, labels = pictures.test_images, pictures.test_labels
    if images.shape[1:] != model.image_shape or len(pictures.class_names) != len(model.class_names):
        raise UserError(
            f"--data_path {path}: pictures of {images.shape[1:]} in {len(pictures.class_names)} classes, but the "
            f"checkpoint was trained on {model.image_shape} in {len(model.class_names)}; give data of that kind"
        )
    chosen = np.arange(len(images))
    if args.data_id:
        if max(args.data_id) >= len(images):
            raise UserError(f"--data_id {max(args.data_id)}: the held-out pictures are numbered 0 to {len(images) - 1}")
        chosen = np.array(args.data_id)
        images, labels = images[chosen], labels[chosen]

    predict_logits(model.discriminator, options, images[: args.batch_size], args.batch_size)  # makes the graph
    started = time.perf_counter()
    logits = predict_logits(model.discriminator, options, images, args.batch_size)
    seconds = time.perf_counter() - started
    errors = int((logits.argmax(-1) != labels).sum())
    result = {
        "checkpoint": os.path.abspath(model.prefix),
        "data": f"{pictures.name} in {os.path.abspath(path)}",
        "accuracy": 1 - errors / len(images),
        "errors": errors,
        "test_pictures": len(images),
        "baseline_accuracy": float((labels == np.bincount(labels).argmax()).mean()),
        "images_per_sec": len(images) / seconds,
    }
    for name, value in result.items():
        print(f"{name:18s}: {value}")
    folder = args.output_path or model.run_folder
    if args.dump_result:
        print(f"[Info] wrote {write_results(folder, chosen, labels, tf.nn.softmax(logits).numpy())}")
    file = cli.new_file(os.path.join(folder, "evaluation.json"))
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(f"[Info] wrote {file}", flush=True)
    return result


def write_results(folder: str, numbers: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> str:
    """Writes `test/number`, `test/label` and `test/probabilities` to a new results.hdf5 and returns its path."""
    path = str(cli.new_file(os.path.join(folder, "results.hdf5")))
    with h5py.File(path, "w") as file:
        file["test/number"], file["test/label"], file["test/probabilities"] = numbers, labels, probabilities
    return path


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(evaluate, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
