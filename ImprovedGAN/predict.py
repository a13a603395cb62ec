"""Says which digit (or class) is on your images, drawn, scanned or photographed; and generates new ones.

python ImprovedGAN/predict.py digit.png more_digits/
python ImprovedGAN/predict.py --generate=64
python ImprovedGAN/predict.py --model=exported/classifier.onnx digit.png

Without --ckpt_path the weights are those in ImprovedGAN/pretrained/. Writes predictions.csv and generated.png to new
files: -2, -3, ... where they are there already.
"""

import argparse
import csv
import os
from collections.abc import Sequence
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import preprocess
from predictor import Predictor, open_export

from common import cli
from common.cli import UserError, notice
from common.config import add_device_flags
from common.images import input_files, save_grid


def open_predictor(args: argparse.Namespace) -> Predictor:
    """The network that --model or --ckpt_path names."""
    if args.model:
        return open_export(args.model)
    from model import open_checkpoint  # which needs TensorFlow

    return open_checkpoint(args.ckpt_path, args)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="PATH", help="images, or folders of images, to classify")
    parser.add_argument("--input", nargs="+", default=[], metavar="PATH", help="the same as a flag")
    parser.add_argument(
        "--ckpt_path", metavar="PATH", help="a run's folder or a file of weights (default: pretrained/)"
    )
    parser.add_argument("--model", metavar="FILE", help="instead: an exported file (.onnx, .pb, SavedModel, .om)")
    text = "light and dark change places, as for dark digits where the training's are light (found out by itself)"
    cli.add_boolean(parser, "--invert", None, text)
    parser.add_argument("--generate", type=cli.in_range(int, 1, 10000), metavar="N", help="write a grid of N images")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**31 - 1), default=0, help="which images those are")
    parser.add_argument("--output_path", default=".", metavar="DIR", help="where the files go")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    args.images += args.input
    if not args.images and not args.generate:
        parser.error("nothing to do: name images to classify, or give --generate=N to make some")
    return args


def predict(args: argparse.Namespace) -> None:
    """Prints and writes what the images show, and writes generated ones."""
    files = input_files(args.images)
    predictor = open_predictor(args)
    if files and predictor.classify is None:
        raise UserError(f"--model {args.model}: a generator; give a classifier for images, or --generate=N")
    if args.generate and predictor.draw is None:
        raise UserError(f"--model {args.model}: a classifier; give a generator for --generate")
    if files:
        how = predictor.image_shape, predictor.ink, args.invert
        images = np.stack([preprocess.to_input(preprocess.read_image(file), *how) for file in files])
        probabilities = predictor.classify(images)
        names = predictor.class_names
        rows = [(str(file), names[row.argmax()], f"{row.max():.4f}") for file, row in zip(files, probabilities)]
        for row in rows:
            print(*row, sep="  ")
        target = cli.new_file(os.path.join(args.output_path, "predictions.csv"))
        with open(target, "w", newline="", encoding="utf-8", errors="replace") as file:
            csv.writer(file).writerows([("file", "class", "probability"), *rows])
        notice(f"wrote {target}")
    if args.generate:
        target = cli.new_file(os.path.join(args.output_path, "generated.png"))
        save_grid(predictor.generate(args.generate, args.seed), str(target))
        notice(f"wrote {target}: {args.generate} generated images")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(predict, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
