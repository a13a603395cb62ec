"""Exports a trained ImprovedGAN: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file; or its weights alone.

python ImprovedGAN/freeze.py --ckpt_path=train_dir --output_path=exported
python ImprovedGAN/freeze.py --ckpt_path=train_dir --output_path=shipped --format=weights

    classifier   images [batch, height, width, channels] in the network's range -> probabilities [batch, classes]
    generator    latents [batch, n_z] in their range -> images in the network's range

All numbers are float32. A .pb has a fixed number of rows, the others any. Each file is run beside the checkpoint before
it is kept, and predict.py --model and evaluate.py --model run it. `--format=weights` writes both networks to one file.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from model import FOLDER, classify, describe, load_discriminator, load_generator, predict_logits

from common import cli, weights
from common.cli import notice
from common.export import Exported, add_export_flags, begin_export, export
from common.images import to_float

ANY_BATCH = {"saved_model": (0,), "onnx": (0,)}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_export_flags(parser)
    return parser.parse_args(argv)


def classifier(loaded: weights.Weights, batch_size: int) -> tuple[Callable, dict, dict, dict]:
    """The function to export, an example, what predict.py makes of it, and what its input and output are."""
    discriminator, (low, high) = load_discriminator(loaded), describe(loaded)["values"]
    images = np.random.default_rng(0).integers(0, 256, (batch_size, *loaded.about["image_shape"])).astype(np.uint8)
    expected = tf.nn.softmax(predict_logits(discriminator, loaded.options, images, batch_size)).numpy()

    def probabilities(inputs):
        return {"probabilities": tf.nn.softmax(classify(discriminator, loaded.options, inputs["images"]))}

    names = ", ".join(loaded.about["class_names"])
    description = {"images": f"black {low:g}, white {high:g}", "probabilities": f"of the classes {names}"}
    return probabilities, {"images": to_float(images, (low, high))}, {"probabilities": expected}, description


def generator(loaded: weights.Weights, batch_size: int) -> tuple[Callable, dict, dict, dict]:
    """The same of the generator."""
    network, about = load_generator(loaded), describe(loaded)
    (size, low, high), (black, white) = about["latent"], about["values"]
    z = np.random.default_rng(0).uniform(low, high, (batch_size, size)).astype(np.float32)

    def draw(inputs):
        return {"images": network(inputs["latents"], training=False)}

    description = {"latents": f"uniform from {low:g} to {high:g}", "images": f"black {black:g}, white {white:g}"}
    return draw, {"latents": z}, {"images": network(tf.constant(z), training=False).numpy()}, description


def write_weights(loaded: weights.Weights, folder: Path) -> None:
    """Both networks in one file, for others."""
    parts = {part: loaded.part(part) for part in ("generator", "average")}
    tensors = {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
    record = vars(loaded.options), loaded.about, loaded.step
    target = weights.save(folder / f"ImprovedGAN{weights.ENDING}", "ImprovedGAN", tensors, *record, half=True)
    notice(f"wrote {target}")


def freeze(args: argparse.Namespace) -> None:
    """Exports what was asked for, or with --check compares a file with the checkpoint."""
    makers = {"classifier": classifier, "generator": generator}
    if args.check:
        ((name, shape),) = Exported(args.check).inputs.items()
        del makers["generator" if name == "images" else "classifier"]
        args.batch_size = shape[0] or args.batch_size
    elif args.format == ["weights"]:
        makers = {}
    folder = begin_export([*makers, "ImprovedGAN"], args)
    loaded = weights.load(args.ckpt_path, "ImprovedGAN", FOLDER)
    if "weights" in args.format and not args.check:
        write_weights(loaded, folder)
        args.format.remove("weights")
    for name, make in makers.items():
        function, inputs, expected, description = make(loaded, args.batch_size)
        export(name, function, inputs, expected, args, description, loaded, dynamic=ANY_BATCH)
        if not args.check:
            beside = folder / f"{name}.json"
            told = {**json.loads(beside.read_text()), "about": describe(loaded)}  # what predict.py has to know
            beside.write_text(json.dumps(told, indent=2) + "\n")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(freeze, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
