"""Says which digit (or class) is on your images, drawn, scanned or photographed; and generates new ones.

python ImprovedGAN/predict.py digit.png more_digits/
python ImprovedGAN/predict.py --generate=64
python ImprovedGAN/predict.py --model=exported/classifier.onnx digit.png

Without --ckpt_path the weights are those in ImprovedGAN/pretrained/: the ModelZoo's model to classify, the paper's to
generate. Writes predictions.csv and generated.png to new
files: -2, -3, ... where they are there already.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import preprocess
from data import in_batches

from common import cli, weights
from common.cli import UserError, notice
from common.config import SessionConfig, add_device_flags, device_config
from common.export import Exported
from common.images import input_files, save_grid, to_float, to_uint8

BATCH = 64  # images at a time
CLASSIFIER, GENERATOR = "ssgan", "paper"  # of pretrained/


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="PATH", help="images, or folders of images, to classify")
    parser.add_argument("--input", nargs="+", default=[], metavar="PATH", help="the same as a flag")
    parser.add_argument("--ckpt_path", metavar="PATH", help="weights: a file, or a run's folder (default: pretrained/)")
    parser.add_argument("--model", metavar="FILE", help="instead: an exported file (.onnx, .pb, SavedModel, .om)")
    cli.add_boolean(parser, "--invert", None, "light and dark change places (found out by itself)")
    parser.add_argument("--generate", type=cli.in_range(int, 1, 10000), metavar="N", help="write a grid of N images")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**31 - 1), default=0, help="which images those are")
    parser.add_argument("--output_path", default=".", metavar="DIR", help="where the files go")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    args.images += args.input
    if not args.images and not args.generate:
        parser.error("nothing to do: name images to classify, or give --generate=N to make some")
    return args


@dataclass
class Predictor:
    """A trained network as it is used, from a file of weights or an exported one (which may need no TensorFlow).

    Attributes:
        classify: (uint8 images [n, height, width, channels], rows at a time) -> probabilities float32 [n, classes].
        draw: latents float32 [n, n_z] -> images in the network's range.
        loaded, generator, session: what it was made of, where that is a file of weights.
    """

    path: str
    image_shape: Sequence[int]
    class_names: Sequence[str]
    dataset: str
    ink: Optional[preprocess.Ink]  # how its images show ink
    values: Sequence[float]  # of black and of white
    latent: Sequence[float]  # size of a latent, its lowest and its highest value
    classify: Optional[Callable] = None
    draw: Optional[Callable] = None
    loaded: Optional[weights.Weights] = None
    generator: Any = None
    session: Any = None

    def generate(self, count: int, seed: int) -> np.ndarray:
        """`count` generated images, uint8 [count, height, width, channels]."""
        size, low, high = self.latent
        z = np.random.default_rng(seed).uniform(low, high, (count, size)).astype(np.float32)
        return to_uint8(self.draw(z), self.values)


def open_checkpoint(
    path: Optional[str], config: Optional[SessionConfig] = None, shipped: str = CLASSIFIER, session: Any = None
) -> Predictor:
    """The networks in a file of weights or a run's folder; without a `path` those of this name in pretrained/.

    Args:
        config: of the session to open, where none is open yet.
    """
    import model  # which needs TensorFlow
    import tensorflow as tf

    from common.session import open_session

    loaded = model.load_weights(path, shipped)
    session = session or open_session(config or SessionConfig())
    discriminator, generator = model.load_networks(loaded)
    graph = tf.function(lambda z: generator(z, training=False))

    def classify(images, size=BATCH):
        return tf.nn.softmax(model.predict_logits(discriminator, loaded.options, images, size)).numpy()

    def draw(z):
        return in_batches(lambda rows: graph(tf.constant(rows)).numpy(), z, BATCH)

    made = {"loaded": loaded, "generator": generator, "session": session}
    return Predictor(loaded.path, **model.describe(loaded), classify=classify, draw=draw, **made)


def open_export(path: str) -> Predictor:
    """An exported classifier or generator, with the .json that freeze.py wrote beside it."""
    exported, file = Exported(path), Path(path)
    beside = file.with_name(f"{file.name.replace('_saved_model', '') if file.is_dir() else file.stem}.json")
    try:
        predictor = Predictor(path, **json.loads(beside.read_text())["about"])
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(f"--model {path}: needs {beside.name} beside it, as freeze.py wrote it") from None
    (name, (rows, *_)), (output, *_) = *exported.inputs.items(), exported.outputs

    def run(x, size=BATCH):
        return in_batches(lambda batch: exported.run({name: batch})[output], x, rows or size)

    if name == "images":
        predictor.classify = lambda images, size=BATCH: run(to_float(images, predictor.values), size)
    else:
        predictor.draw = run
    return predictor


def open_predictor(args: argparse.Namespace, shipped: str = CLASSIFIER) -> Predictor:
    """The network that --model or --ckpt_path names, or the one of this name in pretrained/."""
    return open_export(args.model) if args.model else open_checkpoint(args.ckpt_path, device_config(args), shipped)


def predict(args: argparse.Namespace) -> None:
    """Prints and writes what the images show, and writes generated ones."""
    files = input_files(args.images)
    predictor = open_predictor(args, CLASSIFIER if files else GENERATOR)
    if (files and predictor.classify is None) or (args.generate and predictor.draw is None):
        raise UserError(f"--model {args.model}: exported/classifier.* takes images, exported/generator.* --generate=N")
    if files:
        how = predictor.image_shape, predictor.ink, args.invert
        images = np.stack([preprocess.to_input(preprocess.read_image(file), *how) for file in files])
        rows = [("file", "class", "probability")]
        for file, probabilities in zip(files, predictor.classify(images)):
            rows.append((str(file), predictor.class_names[probabilities.argmax()], f"{probabilities.max():.4f}"))
            print(*rows[-1], sep="  ")
        target = cli.new_file(Path(args.output_path, "predictions.csv"))
        with open(target, "w", newline="", encoding="utf-8", errors="replace") as file:
            csv.writer(file).writerows(rows)
        notice(f"wrote {target}")
    if args.generate:
        if files and not (args.model or args.ckpt_path):
            predictor = open_checkpoint(None, shipped=GENERATOR, session=predictor.session)
        target = cli.new_file(Path(args.output_path, "generated.png"))
        save_grid(predictor.generate(args.generate, args.seed), str(target))
        notice(f"wrote {target}: {args.generate} generated images")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(predict, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
