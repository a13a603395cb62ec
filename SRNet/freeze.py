"""Exports a trained SRNet generator: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file, or its weights alone.

python SRNet/freeze.py --output_path=exported                                  of the weights in pretrained/
python SRNet/freeze.py --ckpt_path=RUN --output_path=wide --format=pb --width=256 --soc_version=Ascend310P3 --atc
python SRNet/freeze.py --ckpt_path=RUN --output_path=shipped --format=weights
python SRNet/freeze.py --ckpt_path=RUN --output_path=. --check=wide/final.om --width=256

All hold the same graph, from `i_t` (the wanted word in a standard font) and `i_s` (the crop), [batch, height, width,
3], to `o_sk`, [batch, height, width, 1] in 0..1, and `o_t`, `o_b`, `o_f`, [batch, height, width, 3]; float32, black -1
and white 1. The SavedModel and the ONNX file take any batch, height and width that are multiples of 8; the .pb,
final.pb as in the original, the ones that --batch_size, --height and --width say, since the 910 is fastest with fixed
shapes. predict.py --model=FILE runs them. A training run ends with such a final.pb in its folder.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from data import MULTIPLE, OUTPUTS
from model import build_generators, load_generator
from tensorflow import keras

from common import cli, weights
from common.export import add_export_flags, begin_export, export, frozen_graph
from common.layers import float32_layers, named_variables

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


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_export_flags(parser)
    for name in ("height", "width"):
        what = f"of the .pb's inputs, a multiple of {MULTIPLE} (without: that of the training)"
        parser.add_argument(f"--{name}", type=cli.in_range(int, MULTIPLE), metavar="N", help=what)
    args = parser.parse_args(argv)
    if any((side or 0) % MULTIPLE for side in (args.height, args.width)):
        parser.error(f"--height, --width: the encoders halve them three times, so give multiples of {MULTIPLE}")
    return args


def function(generator: keras.Model) -> Callable[[dict], dict]:
    """A generator from named inputs to named outputs."""
    return lambda inputs: dict(zip(OUTPUTS, generator([inputs["i_t"], inputs["i_s"]], training=False)))


def freeze(args: argparse.Namespace) -> None:
    """Exports the generator.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    folder = begin_export([NAME], args)
    loaded = weights.load(args.ckpt_path, NETWORK, Path(__file__).resolve().parent)
    generate, trained = function(load_generator(loaded)), loaded.options.data_shape
    height, width = args.height or trained[0], args.width or trained[1]
    rng = np.random.default_rng(0)
    inputs = {
        name: rng.uniform(-1, 1, (args.batch_size, height, width, 3)).astype(np.float32) for name in ("i_t", "i_s")
    }
    expected = generate({name: tf.constant(array) for name, array in inputs.items()})
    expected = {name: value.numpy() for name, value in expected.items()}
    dynamic = {"saved_model": (0, 1, 2), "onnx": (0, 1, 2)}
    export(NAME, generate, inputs, expected, args, DESCRIPTION, loaded, tolerance=TOLERANCE, dynamic=dynamic)
    if not args.check:  # what predict.py scales crops by
        file = folder / f"{NAME}.json"
        scaling = {name: getattr(loaded.options, name, None) for name in ("data_shape", "widths", "tight_text")}
        file.write_text(json.dumps({**json.loads(file.read_text()), **scaling}, indent=2) + "\n")


def write_final(generator: keras.Model, options: argparse.Namespace, path: str) -> None:
    """Writes a generator in training as the frozen .pb that the original ends with: float32, one crop of the training's
    size at a time. The file is whole or not there.

    Args:
        options: of the run.
    Raises:
        OSError: it cannot be written.
    """
    with float32_layers():
        exact, _ = build_generators(options, options.data_shape)
    trained = named_variables(generator)
    for name, variable in named_variables(exact).items():
        variable.assign(trained[name])
    shape = (1, *options.data_shape, 3)
    graph_def = frozen_graph(function(exact), {"i_t": shape, "i_s": shape}, OUTPUTS)
    Path(f"{path}.partial").write_bytes(graph_def.SerializeToString())
    os.replace(f"{path}.partial", path)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(freeze, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
