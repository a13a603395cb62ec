"""Exports a trained SRNet generator: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file, or its weights alone.

python SRNet/freeze.py --output_path=exported                                  of the weights in pretrained/
python SRNet/freeze.py --ckpt_path=RUN --output_path=mine --format=pb --soc_version=Ascend310P3 --atc
python SRNet/freeze.py --ckpt_path=RUN --output_path=shipped --format=weights
python SRNet/freeze.py --ckpt_path=RUN --output_path=. --check=mine/final.om

All hold the same graph, from `i_t` (the wanted word in a standard font) and `i_s` (the crop), [batch, height, width,
3], to `o_sk`, [batch, height, width, 1] in 0..1, and `o_t`, `o_b`, `o_f`, [batch, height, width, 3]; float32, black -1
and white 1. The SavedModel and the ONNX file take any batch, height and width that are multiples of 8; the .pb,
final.pb as in the original, --batch_size crops of the training's size, since the 910 is fastest with fixed shapes.
predict.py --model=FILE runs them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from data import OUTPUTS
from model import load_generator

from common import cli, weights
from common.export import add_export_flags, begin_export, export

NETWORK = "SRNet"
NAME = "final"  # of the files, as in the original
TOLERANCE = 1e-3  # an eighth of a grey level; rounding errors add up over sixty layers
DESCRIPTION = {
    "i_t": "the wanted word in a standard font, RGB, black -1, white 1",
    "i_s": "the crop, likewise",
    "o_sk": "the wanted word's skeleton, 0 to 1",
    "o_t": "the wanted word in the crop's style, on grey, RGB, black -1, white 1",
    "o_b": "the background, likewise",
    "o_f": "the edited crop, likewise",
}


def freeze(args: argparse.Namespace) -> None:
    """Exports the generator.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    folder = begin_export([NAME], args)
    loaded = weights.load(args.ckpt_path, NETWORK, Path(__file__).resolve().parent)
    generator = load_generator(loaded)

    def generate(inputs: dict) -> dict:
        return dict(zip(OUTPUTS, generator([inputs["i_t"], inputs["i_s"]], training=False)))

    rng = np.random.default_rng(0)
    shape = (args.batch_size, *loaded.options.data_shape, 3)
    inputs = {name: rng.uniform(-1, 1, shape).astype(np.float32) for name in ("i_t", "i_s")}
    outputs = generate({name: tf.constant(array) for name, array in inputs.items()})
    expected = {name: value.numpy() for name, value in outputs.items()}
    dynamic = {"saved_model": (0, 1, 2), "onnx": (0, 1, 2)}
    export(NAME, generate, inputs, expected, args, DESCRIPTION, loaded, tolerance=TOLERANCE, dynamic=dynamic)
    if not args.check:  # what predict.py scales crops by
        file = folder / f"{NAME}.json"
        scaling = {name: getattr(loaded.options, name, None) for name in ("data_shape", "tight_text")}
        file.write_text(json.dumps({**json.loads(file.read_text()), **scaling}, indent=2) + "\n")


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = cli.ArgumentParser(description=__doc__)
    add_export_flags(parser)
    return cli.run_main(freeze, parser.parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
