"""Exports a trained Pix2Pix generator: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file; or its weights alone.

python Pix2Pix/freeze.py --output_path=exported
python Pix2Pix/freeze.py --ckpt_path=Pix2Pix/test/output/0 --output_path=wide --height=512 --width=1024 --format=pb
python Pix2Pix/freeze.py --ckpt_path=Pix2Pix/test/output/0 --output_path=weights --format=weights

All hold the same graph, from `input` [batch, height, width, input_nc] to `output` [batch, height, width, output_nc],
float32, black -1 and white 1. They generate what predict.py does (--inference=deterministic), each image of a batch by
itself; `predict.py --model=FILE` runs them. Each file is run beside the checkpoint before it is kept.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from data import MULTIPLE, RANGE
from model import NETWORK, load_generator

from common import cli, images, weights
from common.export import add_export_flags, begin_export, export

# An eighth of a grey level. Rounding errors grow where four values are divided by their own deviation (decoder_1).
TOLERANCE = 1e-3
KINDS = {1: "grey", 3: "RGB", 4: "RGBA"}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_export_flags(parser)
    for name in ("height", "width"):
        text = "of the images, a multiple of 256 (default: the run's fine_size)"
        parser.add_argument(f"--{name}", type=cli.in_range(int, 1, 8192), help=text)
    args = parser.parse_args(argv)
    for name, size in (("height", args.height), ("width", args.width)):
        if size and size % MULTIPLE:
            parser.error(
                f"--{name} {size}: the U-Net halves height and width eight times, so give a multiple of {MULTIPLE} "
                "(predict.py mirrors the edges to fill one up, and cuts them off again)"
            )
    return args


def freeze(args: argparse.Namespace) -> None:
    """Exports the generator.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    begin_export(["generator"], args)
    loaded = weights.load(args.ckpt_path, NETWORK, Path(__file__).resolve().parent)
    generator, options, no_dropout = load_generator(loaded), loaded.options, tf.constant([0, 0])
    size = args.height or options.fine_size, args.width or options.fine_size
    x = images.to_float(example(args.batch_size, *size, options.input_nc), RANGE)

    def generate(inputs):
        return {"output": generator([inputs["input"], no_dropout], training=False)}

    expected = np.concatenate([generate({"input": tf.constant(image[None])})["output"] for image in x])
    description = {
        "input": f"{KINDS[options.input_nc]} images, black {RANGE[0]:g}, white {RANGE[1]:g}",
        "output": f"{KINDS[options.output_nc]} images, black {RANGE[0]:g}, white {RANGE[1]:g}",
    }
    export("generator", generate, {"input": x}, {"output": expected}, args, description, loaded, tolerance=TOLERANCE)


def example(batch_size: int, height: int, width: int, channels: int) -> np.ndarray:
    """Images to try an export on: flat patches as in a label map, uint8 [batch_size, height, width, channels]."""
    patch = MULTIPLE // 16
    shape = (batch_size, height // patch, width // patch, channels)
    colours = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return colours.repeat(patch, axis=1).repeat(patch, axis=2)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(freeze, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
