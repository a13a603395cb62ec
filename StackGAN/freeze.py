"""Exports a trained StackGAN: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file.

python StackGAN/freeze.py --ckpt_path=RUN --output_path=exported
python StackGAN/freeze.py --ckpt_path=RUN --output_path=one --format=pb --batch_size=1

model.pb is as the original's page has it: from `Placeholder` [1, 64, 1024], the embeddings of 64 sentences
(--batch_size), so that the page's atc line fits. generator_saved_model and generator.onnx hold the same networks from
`embedding` [any, 1024]. All take the noise as inputs too, so that the same inputs give the same pictures: `eps`, stage
I's, and `eps_2`, stage II's, of a truncated normal distribution, and `z` of a normal one; zeros give the mean picture.
They give `picture_64` and, of a checkpoint of both stages, `picture_256`; float32, black -1 and white 1. Each file is
run beside the checkpoint before it is kept, and model.json and generator.json tell the shapes and ranges.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
import trained

from common import cli
from common.cli import UserError
from common.export import add_export_flags, atc_command, begin_export, export

NAMES = {"pb": "model", "saved_model": "generator", "onnx": "generator"}  # of the files; the .pb's is the page's
BATCH = 64  # the page's
TOLERANCE = 1e-3  # an eighth of a grey level; rounding errors add up over thirty layers
OUTPUTS = ("picture_64", "picture_256")
DESCRIPTION = {
    "Placeholder": "embeddings of sentences",
    "embedding": "embeddings of sentences",
    "eps": "noise of stage I's condition, truncated normal",
    "z": "noise, normal",
    "eps_2": "noise of stage II's condition, truncated normal",
    "picture_64": "stage I's RGB pictures, black -1, white 1",
    "picture_256": "stage II's, likewise",
}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_export_flags(parser)
    what = f"sentences that the .pb takes at a time ({BATCH}, as on the page)"
    next(action for action in parser._actions if action.dest == "batch_size").help = what
    parser.set_defaults(batch_size=BATCH)
    return parser.parse_args(argv)


def function(model: trained.Trained, embedding: str) -> Callable[[dict], dict]:
    """The networks from named inputs to named outputs; `embedding` is what the embeddings are called."""
    pictures = trained.function(model.stage1, model.stage2)
    size = trained.embedding_size(model)

    def draw(inputs):
        rows = tf.reshape(inputs[embedding], [-1 if inputs["z"].shape[0] is None else inputs["z"].shape[0], size])
        return dict(zip(OUTPUTS, pictures(rows, inputs["eps"], inputs["z"], inputs.get("eps_2"))))

    return draw


def example(model: trained.Trained, n: int, embedding: str) -> dict[str, np.ndarray]:
    """Inputs to try."""
    eps, z = trained.latents(n, 0, model.options)
    rows = np.random.default_rng(0).standard_normal([n, trained.embedding_size(model)]).astype(np.float32)
    inputs = {embedding: rows[None] if embedding == "Placeholder" else rows, "eps": eps[0], "z": z}
    return inputs if model.stage2 is None else {**inputs, "eps_2": eps[1]}


def freeze(args: argparse.Namespace) -> None:
    """Exports the generators.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    folder = begin_export(sorted({NAMES[form] for form in args.format}), args)
    model = trained.load(args.ckpt_path)
    for name, embedding, n in (("model", "Placeholder", args.batch_size), ("generator", "embedding", 2)):
        chosen = [form for form in args.format if NAMES[form] == name]
        if not chosen:
            continue
        x, draw = example(model, n, embedding), function(model, embedding)
        expected = {
            name: y.numpy() for name, y in draw({name: tf.constant(array) for name, array in x.items()}).items()
        }
        free = {form: () if form == "pb" else (0,) for form in chosen}
        try:
            export(name, draw, x, expected, DESCRIPTION, chosen, folder, model.prefix, TOLERANCE, free)
        except tf.errors.ResourceExhaustedError:
            raise UserError(f"--batch_size {n} does not fit into memory; give a smaller one") from None
        if "pb" in chosen:
            shapes = {name: array.shape for name, array in x.items()}
            command = atc_command(folder / f"{name}.pb", shapes, list(expected))
            print("  and for the 310, as on the page:\n  " + command.replace("Ascend910", "Ascend310"), flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(freeze, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
