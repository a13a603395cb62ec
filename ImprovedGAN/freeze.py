"""Exports a trained ImprovedGAN: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file.

python ImprovedGAN/freeze.py --ckpt_path=train_dir --output_path=exported

All three hold the same graph, from `input` to `output`, for a fixed number of rows:

    classifier   pictures [batch, height, width, channels] in the network's range -> probabilities [batch, classes]
    generator    latents [batch, n_z] in their range -> pictures in the network's range

All numbers are float32. Each file is run beside the checkpoint before it is kept, and exported/<name>.json tells the
shapes, the ranges and the class names.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
import trained
from evaluate import predict_logits
from model import LATENT_RANGES, classify, picture_range
from trained import Trained

from common import cli
from common.export import add_export_flags, begin_export, export
from common.pictures import scale
from common.session import notice


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_export_flags(parser)
    parser.add_argument("--what", choices=["classifier", "generator", "both"], default="both", help="(both)")
    return parser.parse_args(argv)


def classifier(model: Trained, batch_size: int) -> tuple[Callable, np.ndarray, np.ndarray, dict[str, Any]]:
    """The classifier: the function to freeze, an input, what predict.py makes of that input, and a description."""
    pictures = np.random.default_rng(0).integers(0, 256, (batch_size, *model.image_shape)).astype(np.uint8)
    expected = tf.nn.softmax(predict_logits(model.discriminator, model.options, pictures, batch_size)).numpy()
    low, high = picture_range(model.options)
    description = {"input": f"pictures, black {low:g}, white {high:g}", "output": "class probabilities"}
    description["class_names"] = model.class_names
    if model.options.minibatch_discrimination:
        notice("--minibatch_discrimination: what a picture's probabilities are depends on the others of its batch")

    def probabilities(images):
        return tf.nn.softmax(classify(model.discriminator, model.options, images))

    return probabilities, scale(pictures, (low, high)), expected, description


def generator(model: Trained, batch_size: int) -> tuple[Callable, np.ndarray, np.ndarray, dict[str, Any]]:
    """The same of the generator."""
    low, high = LATENT_RANGES[model.options.model]
    z = np.random.default_rng(0).uniform(low, high, (batch_size, model.options.n_z)).astype(np.float32)
    black, white = picture_range(model.options)
    description = {
        "input": f"latents, uniform from {low:g} to {high:g}",
        "output": f"pictures, black {black:g}, white {white:g}",
    }

    def picture(latents):
        return model.generator(latents, training=False)

    return picture, z, picture(tf.constant(z)).numpy(), description


def freeze(args: argparse.Namespace) -> None:
    """Exports what was asked for.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    makers = {"classifier": classifier, "generator": generator}
    names = list(makers) if args.what == "both" else [args.what]
    folder = begin_export(names, args)
    model = trained.load(args.ckpt_path)
    for name in names:
        export(name, *makers[name](model, args.batch_size), args.format, folder, model.prefix)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(freeze, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
