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
    if (args.height or 0) % MULTIPLE or (args.width or 0) % MULTIPLE:
        parser.error(
            f"--height, --width: the U-Net halves both eight times, so give multiples of {MULTIPLE} "
            "(predict.py mirrors the edges to fill them up, and cuts them off again)"
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
    # Flat patches as in a label map, to try the export on.
    shape = (args.batch_size, (args.height or options.fine_size) // 16, (args.width or options.fine_size) // 16)
    patches = np.random.default_rng(0).integers(0, 256, (*shape, options.input_nc)).astype(np.uint8)
    x = images.to_float(patches.repeat(16, axis=1).repeat(16, axis=2), RANGE)

    def generate(inputs):
        return {"output": generator([inputs["input"], no_dropout], training=False)}

    expected = np.concatenate([generate({"input": tf.constant(image[None])})["output"] for image in x])
    channels = {"input": options.input_nc, "output": options.output_nc}
    description = {name: f"{KINDS[count]} images, black -1, white 1" for name, count in channels.items()}
    export("generator", generate, {"input": x}, {"output": expected}, args, description, loaded, tolerance=TOLERANCE)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(freeze, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
