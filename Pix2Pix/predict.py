"""Translates your own images with a trained Pix2Pix: images or whole folders in, a PNG each out, of any size.

python Pix2Pix/predict.py labels.png
python Pix2Pix/predict.py labels.png more_labels/ --ckpt_path=Pix2Pix/test/output/0 --output_path=generated
python Pix2Pix/predict.py facades/val --pairs --model=exported/generator.onnx

No pair is needed; with --pairs the images are side-by-side pairs, and only the half that the run took as its input is
used. What comes out is new: <name>_generated.png here, or <name>.png in the folder that --output_path names, with -2,
-3, ... where that is there already.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from data import DIRECTIONS, MODES, MULTIPLE, RANGE, split_pair, to_channels
from PIL import Image
from tqdm import tqdm

from common import cli, images, weights
from common.cli import UserError
from common.config import add_device_flags, device_config
from common.export import Exported

HERE = Path(__file__).resolve().parent


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", metavar="PATH", help="images, or folders of images")
    parser.add_argument("--output_path", metavar="DIR", help="where the generated images go (default: here)")
    cli.add_boolean(parser, "--pairs", False, "the images are pairs: use the run's input half")
    add_generator_flags(parser)
    text = "refuse images that have more when filled up to multiples of 256: each takes some 450 bytes of memory"
    parser.add_argument("--max_pixels", type=cli.in_range(int, 1), default=2**22, metavar="N", help=text)
    return parser.parse_args(argv)


def add_generator_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what says which generator is used and how: for `load_translator`."""
    parser.add_argument("--ckpt_path", metavar="PATH", help="weights: a file, or a run's folder (default: pretrained/)")
    parser.add_argument("--model", metavar="FILE", help="an export of freeze.py in their place: .onnx, .pb, ..., .om")
    text = "of pairs (default: the checkpoint's own; of an export BtoA: the right half is the input)"
    parser.add_argument("--which_direction", choices=DIRECTIONS, help=text)
    text = "paper: with dropout, as the paper tests"
    parser.add_argument("--inference", choices=["deterministic", "paper"], default="deterministic", help=text)
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**31 - 1), default=0, help="of that dropout")
    add_device_flags(parser)


@dataclass
class Translator:
    """Generates an image for each input by itself, whatever its size.

    Attributes:
        forward: the generator: float32 [1, height, width, input_nc] in -1..1 -> [1, height, width, output_nc].
        options: of the run that trained it: `input_nc`, `output_nc`, `which_direction`, `fine_size`, ...
        path: where it comes from.
        size: the one (height, width) that `forward` takes; None: any multiples of 256.
    """

    forward: Callable[[np.ndarray], np.ndarray]
    options: argparse.Namespace
    path: str = ""
    size: Optional[tuple[int, int]] = None

    def padded_size(self, height: int, width: int) -> tuple[int, int]:
        """The size that an image is filled up to.

        Raises:
            UserError: the generator takes no image as large.
        """
        if self.size is None:
            return height + -height % MULTIPLE, width + -width % MULTIPLE
        if height > self.size[0] or width > self.size[1]:
            raise UserError(
                f"{width} x {height} is larger than the {self.size[1]} x {self.size[0]} that {self.path} takes; "
                "make it smaller, or export with --height and --width"
            )
        return self.size

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [height, width, input_nc] -> uint8 [height, width, output_nc]."""
        height, width = image.shape[:2]
        rows, columns = self.padded_size(height, width)
        top, left = (rows - height) // 2, (columns - width) // 2
        # The margin mirrors the image, so that the statistics of all of it are near the image's own.
        margins = (top, rows - height - top), (left, columns - width - left), (0, 0)
        generated = self.forward(images.to_float(np.pad(image, margins, "symmetric")[None], RANGE))[0]
        return images.to_uint8(generated[top : top + height, left : left + width], RANGE)


def load_translator(args: argparse.Namespace) -> Translator:
    """The generator that `add_generator_flags`' flags name.

    Raises:
        UserError: no such weights or export, or flags that do not go together.
    """
    if args.model and (args.ckpt_path or args.inference == "paper"):
        raise UserError("--model: an export has its own weights and no dropout; leave --ckpt_path and --inference out")
    if not (args.model or "").endswith((".onnx", ".om")):  # which need no TensorFlow
        from common.session import open_session

        open_session(device_config(args))
    if args.model:
        return exported_translator(args.model, args.which_direction or "BtoA")
    from model import NETWORK, load_generator

    found = weights.load(args.ckpt_path, NETWORK, HERE)
    generator, options = load_generator(found), found.options
    options.which_direction = args.which_direction or options.which_direction
    return network_translator(generator, options, found.path, args.inference, args.seed)


def exported_translator(file: str, which_direction: str) -> Translator:
    """An export of freeze.py as a `Translator`."""
    exported = Exported(file)
    shapes = [*exported.inputs.values(), *exported.outputs.values()]
    if len(shapes) != 2 or any(len(shape) != 4 or shape[3] not in MODES for shape in shapes):
        raise UserError(f"--model {file}: no export of Pix2Pix; its inputs and outputs are {shapes}")
    (batch, height, width, input_nc), (*_, output_nc) = shapes
    options = argparse.Namespace(input_nc=input_nc, output_nc=output_nc, fine_size=height or MULTIPLE)
    options.which_direction = which_direction
    [name], [result] = exported.inputs, exported.outputs

    def forward(x):
        return exported.run({name: np.repeat(x, batch or 1, 0)})[result][:1]

    return Translator(forward, options, file, (height, width) if height and width else None)


def network_translator(
    network: Any, options: argparse.Namespace, path: str = "", inference: str = "deterministic", seed: int = 0
) -> Translator:
    """A generator of model.py as a `Translator`.

    Args:
        inference: "deterministic", or "paper": with dropout, as section 3.4 tests.
        seed: of that dropout, the same one for each image.
    """
    import tensorflow as tf

    # Of one image the statistics in training are its own too, so `training` turns on nothing but dropout.
    compiled = tf.function(lambda x, key: network([x, key], training=inference == "paper"))

    def forward(x):
        try:
            return compiled(tf.constant(x), tf.constant([seed, 0])).numpy()
        except tf.errors.ResourceExhaustedError:
            raise UserError(f"{x.shape[2]} x {x.shape[1]} pixels do not fit into memory; make it smaller") from None

    return Translator(forward, options, path)


def save_image(image: np.ndarray, path: Path) -> None:
    """Writes uint8 [h, w, 1, 3 or 4] as a PNG."""
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)


def predict(args: argparse.Namespace) -> None:
    """Generates an image for each of the user's and prints which is which; at the end, which cannot be used.

    Raises:
        UserError: no such weights or image; or, when all others are done, images that cannot be used.
    """
    files, translator, bad = images.input_files(args.images), load_translator(args), []
    for path in tqdm(files, "generating", unit="", disable=None):
        try:
            width, height = images.size(path)  # by the header: nothing too large is decoded
            rows, columns = translator.padded_size(height, width // 2 if args.pairs else width)
            if rows * columns > args.max_pixels:
                told = f"{width} x {height} is more than --max_pixels={args.max_pixels} allows"
                raise UserError(f"{told}; make it smaller")
            image = images.decode(path)
            if args.pairs:
                image, _ = split_pair(image, translator.options.which_direction, path)
            generated = translator(to_channels(image, translator.options.input_nc))
            name = f"{path.stem}.png" if args.output_path else f"{path.stem}_generated.png"
            written = cli.new_file(Path(args.output_path or ".") / name)
        except UserError as error:
            bad.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        save_image(generated, written)
        tqdm.write(f"{path}  {written}", file=sys.stdout)
    if len(bad) < len(files):
        cli.notice(f"{len(files) - len(bad)} images generated by {translator.path}")
    if bad:
        counted = f"{len(bad)} of {len(files)} images were left out: " if len(files) > 1 else ""
        raise UserError(counted + "; ".join(bad[:5]))


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(predict, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
