"""Exports a trained SRGAN generator: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file.

python SRGAN/freeze.py --ckpt_path=SRGAN/test/output/0 --output_path=exported
python SRGAN/freeze.py --ckpt_path=model/gen_model500.h5 --output_path=any --format=pb --height=-1 --width=-1

All three hold the same graph, from `input` [batch, height, width, 3] to `output` [batch, scale height, scale width, 3],
float32, black -1 and white 1. The SavedModel and the ONNX file take any batch, height and width; the .pb the ones that
--batch_size, --height and --width say, since the 910 is fastest with fixed shapes (-1: any). They draw what predict.py
draws before it rounds. Each file is run beside the checkpoint before it is kept, and exported/generator.json tells the
shapes and ranges, and how far tiles have to overlap.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
import trained
from model import reach

from common import cli
from common.cli import UserError
from common.export import add_export_flags, begin_export, export
from common.pictures import scale

ANY = (40, 56)  # the height and width to try where any will do


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_export_flags(parser)
    for name in ("height", "width"):
        parser.add_argument(
            f"--{name}", type=cli.in_range(int, -1), default=128, metavar="N", help="of the .pb's input, -1: any (128)"
        )
    args = parser.parse_args(argv)
    if 0 in (args.height, args.width):
        parser.error("--height and --width are at least 1, or -1 for any")
    return args


def freeze(args: argparse.Namespace) -> None:
    """Exports the generator.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    folder = begin_export(["generator"], args)
    model = trained.load(args.ckpt_path)
    sides = (args.height, args.width)
    height, width = (any_side if side == -1 else side for side, any_side in zip(sides, ANY))
    pictures = np.random.default_rng(0).integers(0, 256, (args.batch_size, height, width, 3)).astype(np.uint8)
    expected = np.stack([trained.enlarge(model, picture) for picture in pictures]) * 2 - 1
    description = {
        "input": "RGB pictures, black -1, white 1",
        "output": f"the same {model.options.scale} times as large",
        "scale": model.options.scale,
        "reach": reach(model.options),  # pixels of the input, to each side, that a pixel of the output depends on
    }

    def enlarged(x):
        return model.generator(x, training=False)

    free = {"pb": [axis for axis, side in enumerate(sides, 1) if side == -1]}
    free.update(saved_model=(0, 1, 2), onnx=(0, 1, 2))
    x = scale(pictures, (-1.0, 1.0))
    try:
        export("generator", enlarged, x, expected, description, args.format, folder, model.prefix, free=free)
    except tf.errors.ResourceExhaustedError:
        raise UserError(f"{height} x {width} does not fit into memory; make --height and --width smaller") from None


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(freeze, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
