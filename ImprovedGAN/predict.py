"""Classifies your own pictures with a trained ImprovedGAN, and generates new ones.

python ImprovedGAN/predict.py --ckpt_path=train_dir --input three.png more_digits/ --invert
python ImprovedGAN/predict.py --ckpt_path=train_dir --generate=64

Writes predictions.csv and generated.png to new files: -2, -3, ... where they are there already.
"""

import argparse
import csv
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
import trained
from evaluate import predict_logits
from model import LATENT_RANGES, picture_range
from pictures import read_picture
from PIL import Image
from trained import Trained

from common import cli
from common.pictures import input_files, save_grid, to_uint8
from common.session import add_device_flags, device_config, open_session

BATCH = 64  # pictures at a time


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help="a run's folder, or one checkpoint in it")
    parser.add_argument("--input", nargs="+", metavar="PATH", help="pictures, or folders of pictures, to classify")
    cli.add_boolean(
        parser, "--invert", False, "black becomes white: for dark digits on white, as MNIST has white on black"
    )
    parser.add_argument("--generate", type=cli.in_range(int, 1, 10000), metavar="N", help="write a grid of N pictures")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**31 - 1), default=0, help="which pictures those are (0)")
    parser.add_argument("--output_path", default=".", metavar="DIR", help="where the files go (.)")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    if not args.input and not args.generate:
        parser.error("nothing to do: give --input PATH... to classify pictures, or --generate N to make some")
    return args


def read_input(path: Path, image_shape: Sequence[int], invert: bool) -> np.ndarray:
    """A picture file of any size and colour as uint8 [height, width, channels] for the network."""
    height, width, channels = image_shape
    picture = read_picture(path, (height, width))
    if channels == 1 and picture.shape[2] == 3:
        picture = np.asarray(Image.fromarray(picture).convert("L"))[..., None]
    picture = np.broadcast_to(picture, image_shape)  # grey to three channels
    return 255 - picture if invert else picture


def classify_pictures(model: Trained, images: np.ndarray) -> np.ndarray:
    """Class probabilities float32 [n, classes] of uint8 pictures [n, height, width, channels]."""
    return tf.nn.softmax(predict_logits(model.discriminator, model.options, images, BATCH)).numpy()


def generate(model: Trained, count: int, seed: int) -> np.ndarray:
    """`count` generated pictures, uint8 [count, height, width, channels]."""
    low, high = LATENT_RANGES[model.options.model]
    forward = tf.function(lambda z: model.generator(z, training=False))
    pictures = []
    for number in range(math.ceil(count / BATCH)):
        z = tf.random.stateless_uniform([BATCH, model.options.n_z], [seed, number], low, high)
        pictures.append(to_uint8(forward(z), picture_range(model.options)))
    return np.concatenate(pictures)[:count]


def predict(args: argparse.Namespace) -> None:
    """Prints and writes what the pictures show, and writes generated ones.

    Raises:
        UserError: no such checkpoint or picture, or a picture that does not decode.
    """
    files = input_files(args.input or [])
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    if files:
        images = np.stack([read_input(file, model.image_shape, args.invert) for file in files])
        probabilities = classify_pictures(model, images)
        rows = [(file, model.class_names[row.argmax()], f"{row.max():.4f}") for file, row in zip(files, probabilities)]
        for row in rows:
            print(*row, sep="  ")
        target = cli.new_file(os.path.join(args.output_path, "predictions.csv"))
        with open(target, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "class", "probability"), *rows])
        print(f"[Info] wrote {target}", flush=True)
    if args.generate:
        target = cli.new_file(os.path.join(args.output_path, "generated.png"))
        save_grid(generate(model, args.generate, args.seed), str(target))
        print(f"[Info] wrote {target}: {args.generate} generated pictures", flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(predict, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
