"""Measures a trained ImprovedGAN: errors and accuracy on the whole held-out set, and what its generated images show.

python ImprovedGAN/evaluate.py --ckpt_path=train_dir
python ImprovedGAN/evaluate.py --ckpt_path=train_dir/checkpoints/ckpt-45000 --data_path=datasets/MNIST --dump_result
python ImprovedGAN/evaluate.py --model=exported/classifier.onnx --data_path=datasets/MNIST
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from predict import Predictor, open_predictor
from preprocess import read_image, to_input

from common import cli, weights
from common.cli import UserError, notice
from common.config import add_device_flags

DATASETS = Path(__file__).resolve().parent / "datasets"  # where download.py writes


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    checkpoint = ("--ckpt_path", "--checkpoint", "--train_dir")
    parser.add_argument(*checkpoint, metavar="PATH", help="a run's folder or a file of weights (default: pretrained/)")
    parser.add_argument("--model", metavar="FILE", help="instead: an exported classifier (.onnx, .pb, SavedModel, .om)")
    parser.add_argument("--data_path", metavar="DIR", help="the data set, or the folder that holds it (the run's own)")
    parser.add_argument("--dataset", help="its name, where DIR holds several; without DIR what download.py fetched")
    parser.add_argument("--data_id", type=cli.in_range(int, 0), nargs="+", help="only these held-out images, from 0")
    parser.add_argument("--batch_size", type=cli.in_range(int, 1), default=500, help="images at a time")
    parser.add_argument("--judge_steps", type=cli.in_range(int, 0), default=1000, help="updates of the judge, 0: none")
    cli.add_boolean(parser, "--dump_result", False, "write results.hdf5: each image's number, label, probabilities")
    parser.add_argument("--output_path", metavar="DIR", help="where evaluation.json goes (the run's folder)")
    add_device_flags(parser)
    return parser.parse_args(argv)


def load_data(args: argparse.Namespace, predictor: Predictor) -> tuple[data.Data, str]:
    """The data to evaluate on, image files read as predict.py reads them; and where it is.

    Raises:
        UserError: there is none, or of another kind than the network was trained on.
    """
    options = vars(predictor.loaded.options) if predictor.loaded else {}
    path, dataset = args.data_path, args.dataset
    if path is None and dataset and (DATASETS / dataset.upper()).is_dir():
        path = DATASETS / dataset.upper()
    elif path is None:
        path, dataset = options.get("data_path"), dataset or options.get("dataset")
    if path is None:
        raise UserError("--data_path DIR: neither an exported file nor shipped weights say where their data is")
    shape, names = tuple(predictor.image_shape), predictor.class_names
    loaded = data.load(path, dataset, shape[:2], lambda file: to_input(read_image(file), shape, predictor.ink))
    if loaded.test_images.shape[1:] != shape or len(loaded.class_names) != len(names):
        found = f"images of {loaded.test_images.shape[1:]} in {len(loaded.class_names)} classes"
        raise UserError(f"--data_path {path}: {found}, but the network was trained on {shape} in {len(names)}")
    return loaded, path


def evaluate(args: argparse.Namespace) -> dict:
    """Evaluates a checkpoint or an exported file, prints the metrics and writes them to a new `evaluation.json`."""
    predictor = open_predictor(args)
    if predictor.classify is None:
        raise UserError(f"--model {args.model}: not a classifier; evaluate.py takes exported/classifier....")
    loaded, path = load_data(args, predictor)
    total = len(loaded.test_images)
    chosen = np.array(args.data_id or range(total))
    if chosen.max() >= total:
        raise UserError(f"--data_id {chosen.max()}: the held-out images are numbered 0 to {total - 1}")
    images, labels = loaded.test_images[chosen], loaded.test_labels[chosen]

    predictor.classify(images[: args.batch_size], args.batch_size)  # makes the graph
    started = time.perf_counter()
    probabilities = predictor.classify(images, args.batch_size)
    seconds = time.perf_counter() - started
    errors = int((probabilities.argmax(-1) != labels).sum())
    result = {
        "checkpoint": os.path.abspath(predictor.path),
        "data": f"{loaded.name} in {os.path.abspath(path)}",
        "accuracy": 1 - errors / len(images),
        "errors": errors,
        "test_images": len(images),
        "baseline_accuracy": float((labels == np.bincount(labels).argmax()).mean()),
        "images_per_sec": len(images) / seconds,
    }
    if args.judge_steps and predictor.loaded and not args.data_id:
        from metrics import judge_generated

        networks = predictor.loaded.options, predictor.session, predictor.generator
        result.update(judge_generated(*networks, loaded, args.judge_steps))
    for name, value in result.items():
        print(f"{name:23s}: {value}")
    folder = weights.run_folder(predictor.path) if predictor.loaded else Path(".")
    if args.output_path or folder.name == "pretrained":  # what is shipped stays as it is
        folder = Path(args.output_path or ".")
    if args.dump_result:
        import h5py

        target = cli.new_file(folder / "results.hdf5")
        with h5py.File(str(target), "w") as file:
            file["test/number"], file["test/label"], file["test/probabilities"] = chosen, labels, probabilities
        notice(f"wrote {target}")
    target = cli.new_file(folder / "evaluation.json")
    target.write_text(json.dumps(result, indent=2) + "\n")
    notice(f"wrote {target}")
    return result


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(evaluate, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
