"""Exports a trained SRGAN generator: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file; or its weights alone.

python SRGAN/freeze.py --ckpt_path=RUN --output_path=exported --soc_version=Ascend310P3     and the line for atc
python SRGAN/freeze.py --ckpt_path=model/gen_model500.h5 --output_path=any --format=pb --height=-1 --width=-1
python SRGAN/freeze.py --ckpt_path=RUN --output_path=small --format=weights      one small file, float16
python SRGAN/freeze.py --ckpt_path=RUN --output_path=exported --check=exported/generator.om

All hold the same function, from `lr` [batch, height, width, 3] to `sr` [batch, scale height, scale width, 3], float32,
black -1 and white 1. The SavedModel and the ONNX file take any batch, height and width; the .pb the ones that
--batch_size, --height and --width say, since an Ascend device is fastest with fixed shapes (-1: any). Each file is run
beside the checkpoint before it is kept. generator.json beside them tells predict.py --model how far tiles overlap.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import checkpoint
import numpy as np
import tensorflow as tf
from model import bytes_per_pixel, load_generator, receptive_field

from common import cli
from common.cli import UserError
from common.export import add_export_flags, begin_export, export

NAME = "generator"
ANY = (40, 56)  # the height and width to try where any will do


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_export_flags(parser)
    text = "of the .pb's input, -1: any; larger ones waste less on overlaps"
    for flag in ("--height", "--width"):
        parser.add_argument(flag, type=cli.in_range(int, -1), default=256, metavar="N", help=text)
    args = parser.parse_args(argv)
    if 0 in (args.height, args.width):
        parser.error("--height and --width are at least 1, or -1 for any")
    return args


def freeze(args: argparse.Namespace) -> None:
    """Exports the generator.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    folder = begin_export([NAME], args)
    weights = checkpoint.load_weights(args.ckpt_path)
    generator, scale = load_generator(weights), weights.options.scale
    sizes = (-1, -1) if args.format == ["weights"] else (args.height, args.width)
    height, width = (other if size == -1 else size for size, other in zip(sizes, ANY))
    lr = np.random.default_rng(0).uniform(-1, 1, (args.batch_size, height, width, 3)).astype(np.float32)
    free = [axis for axis, size in enumerate(sizes, 1) if size == -1]
    dynamic = {"pb": free, "saved_model": (0, 1, 2), "onnx": (0, 1, 2)}
    description = {"lr": "RGB images, black -1, white 1", "sr": f"the same {scale} times as large"}

    def enlarged(inputs):
        return {"sr": generator(inputs["lr"], training=False)}

    try:
        expected = {"sr": generator(tf.constant(lr), training=False).numpy()}
        export(NAME, enlarged, {"lr": lr}, expected, args, description, weights, dynamic=dynamic)
    except tf.errors.ResourceExhaustedError:
        raise UserError(f"{height} x {width} does not fit into memory; make --height and --width smaller") from None
    if not args.check:
        about = folder / f"{NAME}.json"
        tiles = {"scale": scale, "receptive_field": receptive_field(weights.options)}
        tiles["bytes_per_pixel"] = bytes_per_pixel(weights.options)
        about.write_text(json.dumps({**json.loads(about.read_text()), **tiles}, indent=2) + "\n")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(freeze, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
