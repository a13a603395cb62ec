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
from model import FOLDER, LATENT_RANGES, classify, load_discriminator, load_generator, predict_logits, value_range

from common import cli, weights
from common.cli import notice
from common.export import Exported, add_export_flags, begin_export, export
from common.images import to_float

ANY_BATCH = {"saved_model": (0,), "onnx": (0,)}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add_export_flags(parser)
    parser.add_argument("--what", choices=["classifier", "generator", "both"], default="both", help="which network")
    return parser.parse_args(argv)


def classifier(loaded: weights.Weights, batch_size: int) -> tuple[Callable, dict, dict, dict]:
    """The function to export, an example, what predict.py makes of it, and what its input and output are."""
    discriminator, (low, high) = load_discriminator(loaded), value_range(loaded.options)
    images = np.random.default_rng(0).integers(0, 256, (batch_size, *loaded.about["image_shape"])).astype(np.uint8)
    expected = tf.nn.softmax(predict_logits(discriminator, loaded.options, images, batch_size)).numpy()
    if loaded.options.minibatch_discrimination:
        notice("--minibatch_discrimination: what an image's probabilities are depends on the others of its batch")

    def probabilities(inputs):
        return {"probabilities": tf.nn.softmax(classify(discriminator, loaded.options, inputs["images"]))}

    names = ", ".join(loaded.about["class_names"])
    description = {"images": f"black {low:g}, white {high:g}", "probabilities": f"of the classes {names}"}
    return probabilities, {"images": to_float(images, (low, high))}, {"probabilities": expected}, description


def generator(loaded: weights.Weights, batch_size: int) -> tuple[Callable, dict, dict, dict]:
    """The same of the generator."""
    network, (low, high) = load_generator(loaded), LATENT_RANGES[loaded.options.model]
    z = np.random.default_rng(0).uniform(low, high, (batch_size, loaded.options.n_z)).astype(np.float32)
    black, white = value_range(loaded.options)

    def draw(inputs):
        return {"images": network(inputs["latents"], training=False)}

    description = {"latents": f"uniform from {low:g} to {high:g}", "images": f"black {black:g}, white {white:g}"}
    return draw, {"latents": z}, {"images": network(tf.constant(z), training=False).numpy()}, description


def describe(loaded: weights.Weights, path: Path) -> None:
    """Adds what predict.py has to know to the .json beside an exported file."""
    about = {name: loaded.about[name] for name in ("image_shape", "class_names", "dataset")}
    about.update(ink=loaded.about.get("ink"), values=value_range(loaded.options))
    about["latent"] = (loaded.options.n_z, *LATENT_RANGES[loaded.options.model])
    path.write_text(json.dumps({**json.loads(path.read_text()), "about": about}, indent=2) + "\n")


def freeze(args: argparse.Namespace) -> None:
    """Exports what was asked for.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    makers = {"classifier": classifier, "generator": generator}
    names = list(makers) if args.what == "both" else [args.what]
    if args.check:
        (given,) = Exported(args.check).inputs.items()
        names = ["classifier" if given[0] == "images" else "generator"]
        args.batch_size = given[1][0] or args.batch_size
    names = names if set(args.format) - {"weights"} else []
    folder = begin_export([*names, "ImprovedGAN"], args)
    loaded = weights.load(args.ckpt_path, "ImprovedGAN", FOLDER)
    if "weights" in args.format and not args.check:
        parts = ("generator", "average")
        tensors = {f"{part}/{name}": array for part in parts for name, array in loaded.part(part).items()}
        target = weights.save(
            folder / f"ImprovedGAN{weights.ENDING}",
            "ImprovedGAN",
            tensors,
            vars(loaded.options),
            loaded.about,
            loaded.step,
            half=True,
        )
        notice(f"wrote {target}")
        args.format.remove("weights")
    for name in names:
        function, inputs, expected, description = makers[name](loaded, args.batch_size)
        export(name, function, inputs, expected, args, description, loaded, dynamic=ANY_BATCH)
        if not args.check:
            describe(loaded, folder / f"{name}.json")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(freeze, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
