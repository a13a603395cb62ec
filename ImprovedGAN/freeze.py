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
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from model import NETWORK, classify, describe, load_networks, load_weights, tested_part
from predict import CLASSIFIER

from common import cli, weights
from common.export import Exported, add_export_flags, begin_export, export
from common.images import to_float

ANY_BATCH = {"saved_model": (0,), "onnx": (0,)}


def write_weights(loaded: weights.Weights, folder: Path) -> None:
    """Both networks in one file, for others: to use, and to begin a training with (`--ckpt_path`)."""
    parts = {"generator": loaded.part("generator"), "discriminator": loaded.part(tested_part(loaded))}
    tensors = {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}
    record = vars(loaded.options), loaded.about, loaded.step
    target = weights.save(folder / f"{NETWORK}{weights.ENDING}", NETWORK, tensors, *record, half=True)
    cli.notice(f"wrote {target}")


def freeze(args: argparse.Namespace) -> None:
    """Exports what was asked for, or with --check compares a file with the checkpoint.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    names = [] if args.format == ["weights"] else ["classifier", "generator"]
    if args.check:
        inputs = Exported(args.check).inputs
        names = ["classifier" if "images" in inputs else "generator"]
        args.batch_size = next(iter(inputs.values()))[0] or args.batch_size
    folder = begin_export([*names, NETWORK], args)
    loaded = load_weights(args.ckpt_path, CLASSIFIER)
    if "weights" in args.format and not args.check:
        write_weights(loaded, folder)
        args.format.remove("weights")

    (discriminator, network), about = load_networks(loaded), describe(loaded)
    (size, low, high), (black, white) = about["latent"], about["values"]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (args.batch_size, *about["image_shape"])).astype(np.uint8)
    latents = rng.uniform(low, high, (args.batch_size, size)).astype(np.float32)

    def classifier(inputs):
        return {"probabilities": tf.nn.softmax(classify(discriminator, loaded.options, inputs["images"]))}

    def generator(inputs):
        return {"images": network(inputs["latents"], training=False)}

    networks = {
        "classifier": (classifier, {"images": to_float(images, (black, white))}),
        "generator": (generator, {"latents": latents}),
    }
    description = {
        "images": f"black {black:g}, white {white:g}",
        "probabilities": f"of the classes {', '.join(about['class_names'])}",
        "latents": f"uniform from {low:g} to {high:g}",
    }
    for name in names:
        function, inputs = networks[name]
        expected = {key: x.numpy() for key, x in function(inputs).items()}
        export(name, function, inputs, expected, args, description, loaded, dynamic=ANY_BATCH)
        if not args.check:
            beside = folder / f"{name}.json"
            told = {**json.loads(beside.read_text()), "about": about}  # what predict.py has to know
            beside.write_text(json.dumps(told, indent=2) + "\n")


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = cli.ArgumentParser(description=__doc__)
    add_export_flags(parser)
    return cli.run_main(freeze, parser.parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
