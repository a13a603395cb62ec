r"""Images of sentences, by a trained StackGAN or by an export of one.

python StackGAN/predict.py "a blue bird with a white belly"
python StackGAN/predict.py "a yellow bird" "a blue bird with a white belly" --num=8 --seed=3 --stage=1
python StackGAN/predict.py "a yellow bird" --ckpt_path=RUN --output_path=images
python StackGAN/predict.py "a yellow bird" --model=exported/generator.onnx          without TensorFlow

The weights are by default those in pretrained/. Each sentence becomes a new PNG in the working folder, a row a stage.
The same --seed gives the same noise, whatever else is asked for. Words that the text encoder never saw are named.
"""

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
import text_encoder
from PIL import Image, ImageDraw, ImageFont

from common import cli
from common.cli import UserError, notice
from common.config import add_device_flags, device_config
from common.images import to_uint8

HERE = Path(__file__).resolve().parent
RANGE = (-1.0, 1.0)  # black and white to the networks
OUTPUTS = {64: "image_64", 256: "image_256"}  # of exports
EMBEDDINGS = ("embedding", "Placeholder")  # what exports call their first input
BATCH = 8  # of an export that takes any number
SHOWN, MARGIN, FONT = 256, 12, 20  # pixels on a sheet

Generators = Any  # model.Generator or ExportedGenerator


class ExportedGenerator:
    """An export of freeze.py in the place of a `model.Generator`.

    Raises:
        UserError: it is of something else.
    """

    options = argparse.Namespace()

    def __init__(self, path: Union[str, Path]) -> None:
        from common.export import Exported

        self.file = Exported(path)
        inputs = self.file.inputs
        self.first = next((name for name in EMBEDDINGS if name in inputs), None)
        self.image_sizes = tuple(size for size, name in OUTPUTS.items() if name in self.file.outputs)
        if self.first is None or not {"eps", "z"} <= set(inputs) or not self.image_sizes:
            raise UserError(f"--model {path}: not a StackGAN that freeze.py wrote")
        self.path, self.folder = str(path), Path(path).parent
        self.sizes = inputs[self.first][-1], inputs["eps"][-1], inputs["z"][-1]
        self.fixed = inputs["z"][0] or 0
        self.batch = self.fixed or BATCH

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """float32 images in -1..1 of each stage, of (embeddings, eps, z, eps of stage II)."""
        feeds = dict(zip((self.first, "eps", "z", "eps_2"), inputs))
        shape = self.file.inputs[self.first]
        feeds[self.first] = feeds[self.first].reshape([1, *shape[1:]] if len(shape) == 3 else feeds[self.first].shape)
        found = self.file.run({name: array for name, array in feeds.items() if name in self.file.inputs})
        return [found[OUTPUTS[size]] for size in self.image_sizes]


def open_generator(
    ckpt_path: Optional[str] = None, model: Optional[str] = None, stage: Optional[int] = None
) -> Generators:
    """The generators of an export, or else of weights (None: pretrained/'s), of stage I alone if `stage` is 1.

    Raises:
        UserError: there are none, they cannot be used, or there is no stage II.
    """
    if model:
        generator = ExportedGenerator(model)
        generator.image_sizes = generator.image_sizes[:stage]
    else:
        from model import find_weights, load_generator

        generator = load_generator(find_weights(ckpt_path), stage)
    if stage == 2 and len(generator.image_sizes) == 1:
        raise UserError(f"--stage 2: {generator.path} is of stage I; give weights of stage II")
    return generator


def latents(n: int, seed: int, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The noise of `n` images: eps, float32 [2, n, condition], stage I's and stage II's, and z, float32 [n, z_dim].

    eps is from a truncated normal distribution, z from a normal one. Image i's is a function of (seed, i) alone.
    """
    _, condition, z_dim = sizes
    eps, z = np.empty([2, n, condition], np.float32), np.empty([n, z_dim], np.float32)
    for index in range(n):
        rng, drawn = np.random.default_rng([seed, index]), np.empty(0)
        while len(drawn) < 2 * condition:
            more = rng.standard_normal(2 * condition)
            drawn = np.concatenate([drawn, more[np.abs(more) <= 2]])
        eps[:, index] = drawn[: 2 * condition].reshape(2, condition)
        z[index] = rng.standard_normal(z_dim)
    return eps, z


def generate(generator: Generators, embeddings: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """An image of each embedding. No image depends on the others: statistics are those of the training.

    Args:
        embeddings: float32 [n, size].
    Returns:
        Of each stage uint8 [n, 64, 64, 3] or [n, 256, 256, 3].
    Raises:
        UserError: embeddings of another size, or weights of no use.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != generator.sizes[0]:
        wanted = f"{generator.path} takes [n, {generator.sizes[0]}], of the encoder that it was trained with"
        raise UserError(f"embeddings {list(embeddings.shape)}: {wanted}")
    n, parts = len(embeddings), []
    eps, z = latents(n, seed, generator.sizes)
    size = generator.fixed or min(generator.batch, n)
    for start in range(0, n, size):
        rows = np.minimum(np.arange(start, start + size), n - 1)  # one shape: the last image fills the batch up
        inputs = np.asarray(embeddings[rows], np.float32), eps[0][rows], z[rows], eps[1][rows]
        made = [images[: n - start] for images in generator(*inputs)[: len(generator.image_sizes)]]
        if not all(np.isfinite(images).all() for images in made):
            raise UserError("the images are not finite numbers: the run diverged; use earlier weights")
        parts.append([to_uint8(images, RANGE) for images in made])
    return [np.concatenate(images) for images in zip(*parts)]


def sentence_images(
    generator: Generators, encoder: text_encoder.TextEncoder, sentence: str, num: int = 4, seed: int = 0
) -> tuple[list[np.ndarray], list[str]]:
    """Images of a sentence: of each stage uint8 [num, size, size, 3]; and what there is to tell of the sentence.

    Raises:
        UserError: nothing of the sentence can be read.
    """
    told: list[str] = []
    embedding = encoder.encode([sentence], told.append)
    unknown = encoder.unknown_words(sentence)
    if unknown:
        told.append(f"never seen in training, so they mean little: {', '.join(unknown)}")
    return generate(generator, embedding.repeat(num, 0), seed), told


def sheet(text: str, stages: Sequence[np.ndarray], real: Optional[np.ndarray] = None) -> Image.Image:
    """A sentence above its images, a row a stage.

    Args:
        stages: uint8 [n, size, size, 3] each.
        real: uint8 [size, size, 3], in a column before them.
    """
    rows = [list(images) for images in stages]
    if real is not None:
        rows = [[real if row == 0 else np.full_like(real, 255), *images] for row, images in enumerate(rows)]
    font, cell = ImageFont.load_default(size=FONT), SHOWN + MARGIN
    width = len(rows[0]) * cell + MARGIN
    lines = textwrap.wrap(text, max(10, 2 * width // FONT)) or [""]
    top = len(lines) * (FONT + 6) + 2 * MARGIN
    page = Image.new("RGB", (width, top + len(rows) * cell), "white")
    ImageDraw.Draw(page).multiline_text((MARGIN, MARGIN), "\n".join(lines), "black", font, spacing=6)
    for row, images in enumerate(rows):
        for column, pixels in enumerate(images):
            page.paste(Image.fromarray(data.resized(pixels, SHOWN)), (MARGIN + column * cell, top + row * cell))
    return page


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that demo/demo.py has too."""
    parser.add_argument("--caption_path", metavar="FILE", help="sentences, one a line")
    parser.add_argument("--embeddings", metavar="FILE", help="embeddings that something else made, .npy [n, size]")
    parser.add_argument("--ckpt_path", metavar="PATH", help="a run's folder or one file of weights (pretrained/)")
    parser.add_argument("--model", metavar="FILE", help="an export of freeze.py instead: .onnx, .pb, .om, SavedModel")
    parser.add_argument("--stage", type=int, choices=[1, 2], help="1: stage I alone (all there are)")
    parser.add_argument("--num", "--number", type=cli.in_range(int, 1, 256), default=4, help="images a sentence")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="of the noise")
    parser.add_argument("--output_path", type=cli.user_path, default=Path("."), metavar="DIR", help="where images go")
    cli.add_boolean(parser, "--separate", False, "also write each image as a file of its own")
    add_device_flags(parser)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="what to show")
    add_flags(parser)
    return parser.parse_args(argv)


def slug(text: str) -> str:
    """A file's name of a sentence."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:60].rstrip("_") or "image"


def predict(args: argparse.Namespace) -> None:
    """Writes the images of the sentences that the flags name and prints where they are.

    Raises:
        UserError: no such weights, encoder or file, or one of no use; an empty sentence; a folder that cannot be
            written.
    """
    sentences = [*args.sentences, *(data.read_lines(Path(args.caption_path)) if args.caption_path else ())]
    if not sentences and not args.embeddings:
        raise UserError('nothing to show: give a sentence, such as "a red bird", or --caption_path')
    if not str(args.model).endswith((".onnx", ".om")):  # which need no TensorFlow
        from common.session import open_session

        open_session(device_config(args))
    generator = open_generator(args.ckpt_path, args.model, args.stage)
    encoder = text_encoder.load(generator.folder / text_encoder.FILE) if sentences else None
    for sentence in sentences:
        stages, told = sentence_images(generator, encoder, sentence, args.num, args.seed)
        for line in told:
            notice(f"{sentence[:60]!r}: {line}")
        write(args, sentence, stages)
    if args.embeddings:
        rows = data.check_embeddings(args.embeddings, data.read_npy(Path(args.embeddings)))
        for number, row in enumerate(rows.reshape(-1, rows.shape[2]), 1):
            stages = generate(generator, row[None].repeat(args.num, 0), args.seed)
            write(args, f"{Path(args.embeddings).stem} {number}", stages)


def write(args: argparse.Namespace, text: str, stages: Sequence[np.ndarray]) -> None:
    """Writes a sentence's sheet and, with --separate, its images; prints the sheet's path."""
    path = cli.new_file(args.output_path / f"{slug(text)}.png")
    sheet(text, stages).save(path)
    for images in stages if args.separate else ():
        for number, image in enumerate(images, 1):
            name = f"{slug(text)}_{image.shape[0]}_{number:02d}.png"
            Image.fromarray(image).save(cli.new_file(args.output_path / name))
    print(f"{path}  {text}", flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(predict, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
