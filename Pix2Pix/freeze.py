"""Exports a trained Pix2Pix generator: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file.

python Pix2Pix/freeze.py --ckpt_path=Pix2Pix/test/output/0 --output_path=exported
python Pix2Pix/freeze.py --ckpt_path=Pix2Pix/test/output/0 --output_path=wide --height=512 --width=1024 --format=pb

All three hold the same graph, from `input` [batch, height, width, input_nc] to `output` [batch, height, width,
output_nc], float32, black -1 and white 1. They draw what predict.py draws (--inference=deterministic), each picture of
a batch by itself. Each file is run beside the checkpoint before it is kept, and exported/generator.json tells the
shapes and ranges.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
import trained
from model import MULTIPLE
from trained import RANGE

from common import cli
from common.export import add_export_flags, begin_export, export
from common.pictures import scale

# An eighth of a grey level. Rounding errors grow where four values are divided by their own deviation (decoder_1).
TOLERANCE = 1e-3
KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_export_flags(parser)
    parser.add_argument("--height", type=cli.in_range(int, 1), help="of the pictures, a multiple of 256 (fine_size)")
    parser.add_argument("--width", type=cli.in_range(int, 1), help="likewise (fine_size)")
    args = parser.parse_args(argv)
    for name, side in (("height", args.height), ("width", args.width)):
        if side and side % MULTIPLE:
            parser.error(
                f"--{name} {side}: the U-Net halves a side eight times, so give a multiple of {MULTIPLE} (predict.py "
                "mirrors the edges to fill one up, and cuts them off again)"
            )
    return args


def freeze(args: argparse.Namespace) -> None:
    """Exports the generator.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    folder = begin_export(["generator"], args)
    model = trained.load(args.ckpt_path)
    options = model.options
    height, width = args.height or options.fine_size, args.width or options.fine_size
    generator, no_dropout = model.generator(height, width), tf.constant([0, 0])
    pictures = example(args.batch_size, height, width, options.input_nc)
    expected = trained.translate(model, pictures, raw=True)
    description = {
        "input": f"{KINDS[options.input_nc]} pictures, black {RANGE[0]:g}, white {RANGE[1]:g}",
        "output": f"{KINDS[options.output_nc]} pictures, black {RANGE[0]:g}, white {RANGE[1]:g}",
        "which_direction": options.which_direction,
    }

    def drawn(x):
        return generator([x, no_dropout], training=False)

    x = scale(pictures, RANGE)
    export("generator", drawn, x, expected, description, args.format, folder, model.prefix, TOLERANCE)


def example(batch_size: int, height: int, width: int, channels: int) -> np.ndarray:
    """Pictures to try an export on: flat patches as in a label map, uint8 [batch_size, height, width, channels]."""
    patch = MULTIPLE // 16
    shape = (batch_size, height // patch, width // patch, channels)
    colours = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return colours.repeat(patch, axis=1).repeat(patch, axis=2)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(freeze, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
