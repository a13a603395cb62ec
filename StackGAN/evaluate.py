"""Measures a trained StackGAN on the captions of test images, beside the answers that need no learning.

python StackGAN/evaluate.py --ckpt_path=StackGAN/test/output/0/stageI
python StackGAN/evaluate.py --ckpt_path=RUN --data_path=birds --number=3000 --vgg19_weights=FILE --weights=FILE

What is measured depends on what is there; metrics.py tells how:

    colour_share      where the data has attributes.json, the sample set's: images whose body has the caption's colour
    r_precision       where a text encoder is there, beside the weights or the data (one that was trained against VGG19
                      needs --vgg19_weights)
    frechet_colours   of two images or more: a distance from the test images by the mean colours of 4 x 4 cells
    frechet_vgg19     with --vgg19_weights: by the means of VGG19's block5_conv4
    inception, frechet_inception     with --weights, Keras' InceptionV3 (whose weights are not those of FID)

A new folder, `evaluation` or `evaluation-2`, ..., takes the images of each stage, sheet.png (test captions, each with
the real image and what four different noises make of it), evaluation.json and index.html.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import data
import metrics
import model
import numpy as np
import predict
import sample_data
import text_encoder
from image_features import INCEPTION_FILE, Features, load_image_encoder, load_inception, vgg19_features
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from common import cli
from common.cli import UserError, notice
from common.images import write_page
from common.session import SessionConfig, add_device_flags, device_config, open_session
from common.vgg19 import add_vgg19_flag

STAGES = {64: "stageI", 256: "stageII"}
METHODS = {
    "stageI": "stage I",
    "stageII": "stage II",
    "real": "real test images",
    "shuffled": "training images, any caption",
    "mean": "mean training image",
}
RESULT = "evaluation.json"
NUMBER = 500  # test captions
BATCH = 64  # of them at a time
SHOWN = 60  # on the page, evenly from all
SHEET, SAMPLES = 8, 4  # captions in sheet.png, and images of each
LINE, GAP, LEAST = 22, 4, 128  # pixels on a sheet: height of a caption, between images, of an image at least
PALETTE = list(sample_data.COLOURS)

Generate = Callable[..., list[np.ndarray]]  # (embeddings, seed=number) -> each stage's images
Means = dict[str, dict[str, float]]  # by method, by metric


@dataclass(frozen=True)
class Chosen:
    """Captions to generate images of.

    Attributes:
        indices: whose image each belongs to, [n].
        numbers: which of that image's captions it is, [n].
    """

    split: data.Split
    indices: np.ndarray
    numbers: np.ndarray

    @property
    def embeddings(self) -> np.ndarray:
        """float32 [n, d]."""
        return np.asarray(self.split.embeddings[self.indices, self.numbers], np.float32)

    @property
    def captions(self) -> Optional[list[str]]:
        """Their texts, where the data has them."""
        every = self.split.captions
        return every and [every[i][number % len(every[i])] for i, number in zip(self.indices, self.numbers)]

    def real(self, size: int) -> np.ndarray:
        """The images that they tell of, uint8 [n, size, size, 3]."""
        return self.split.crops(size, self.indices)

    @property
    def texts(self) -> list[str]:
        """The captions, or else what their images are called."""
        return self.captions or self.names

    @property
    def names(self) -> list[str]:
        """What the generated images' files are called."""
        return [f"{Path(self.split.filenames[i]).name}_{number}" for i, number in zip(self.indices, self.numbers)]

    def some(self, number: int) -> "Chosen":
        """At most `number` of them, evenly from all."""
        rows = data.spread(number, len(self.indices))
        return Chosen(self.split, self.indices[rows], self.numbers[rows])


def choose(split: data.Split, number: int) -> Chosen:
    """`number` captions of different images, evenly from all; where there are not so many images, further captions of
    each, and then the same again (with other noise)."""
    count, captions = len(split), split.embeddings.shape[1]
    rows = np.arange(number)
    indices = data.spread(number, count) if number <= count else rows % count
    return Chosen(split, indices, (indices + rows // count) % captions)


class Ruler:
    """Measures sets of images that were generated for the same captions.

    Args:
        size: of the real images that sets are compared with.
        encoder: of sentences, and `image_encoder` of uint8 images; None: there are none.
        features: networks by the metric's name: of the Frechet distance of their features.
    """

    def __init__(
        self,
        chosen: Chosen,
        size: int,
        encoder: Optional[text_encoder.TextEncoder] = None,
        image_encoder: Optional[Callable] = None,
        features: Optional[dict[str, Features]] = None,
    ) -> None:
        self.chosen, self.image_encoder, self.features, self.texts = chosen, image_encoder, features or {}, None
        wanted = sample_data.wanted_colours(chosen.split)
        self.wanted = wanted if wanted is None else wanted[chosen.indices]
        if encoder and image_encoder and chosen.captions:
            try:
                self.texts = encoder.encode(chosen.captions)
            except UserError as error:  # a caption that the encoder cannot read
                notice(f"no R-precision: {error}")
        self.real = chosen.real(size)
        self.real_features = {name: network(self.real)[0] for name, network in self.features.items()}

    def measure(self, images: np.ndarray, real: bool = False) -> dict[str, float]:
        """All metrics of a set of images, uint8 [n, s, s, 3]; of the real ones no distance from themselves."""
        values = {}
        if self.wanted is not None:
            values["colour_share"] = float((metrics.body_colours(images) == self.wanted).mean())
        if self.texts is not None:
            classes = self.chosen.split.classes[self.chosen.indices]
            values["r_precision"] = metrics.r_precision(self.image_encoder(images), self.texts, classes)
        if len(images) > 1 and not real:
            colours = [metrics.pooled_colours(x) for x in (images, self.real)]
            values["frechet_colours"] = metrics.frechet_distance(*colours)
        for name, network in self.features.items():
            features, probabilities = network(images)
            if len(images) > 1 and not real:
                values[name] = metrics.frechet_distance(features, self.real_features[name])
            if probabilities is not None:
                values["inception"], values["inception_std"] = metrics.inception_score(probabilities)
        return values


def measure(
    args: argparse.Namespace, generate: Generate, chosen: Chosen, **networks: Any
) -> tuple[Ruler, list[np.ndarray], Means]:
    """Generates the captions' images and measures them.

    Args:
        args: `data_path` (of the training images) and `seed`.
        networks: for `Ruler`.
    Returns:
        What it was measured by, the images of each stage, and {"stageI": {metric: number}, "stageII": ..., "real": ...,
        "shuffled": ..., "mean": ...}.
    """
    parts = []
    for start in tqdm(range(0, len(chosen.indices), BATCH), "generating", unit="batch", disable=None):
        batch = chosen.embeddings[start : start + BATCH]
        parts.append(generate(batch, seed=args.seed + start))  # other noise for each
    made = [np.concatenate(stage) for stage in zip(*parts)]
    size = made[-1].shape[1]
    ruler = Ruler(chosen, size, **networks)
    means = {STAGES[images.shape[1]]: ruler.measure(images) for images in made}
    means["real"] = ruler.measure(ruler.real, real=True)
    try:
        known = data.load(os.path.join(args.data_path, "train"), embeddings=False)
    except UserError as error:
        notice(f"no training images to compare with: {error}")
        return ruler, made, means
    n = len(chosen.indices)
    means["shuffled"] = ruler.measure(metrics.shuffled(known, n, size, args.seed))
    means["mean"] = ruler.measure(np.repeat(metrics.mean_image(known, size)[None], n, 0))
    return ruler, made, means


def find_encoders(folders: Sequence[Any], vgg19: Optional[Features] = None) -> dict[str, Any]:
    """For `Ruler`: the text encoder of the first folder that has one, and the image encoder trained with it."""
    path = text_encoder.find(*folders)
    try:
        image_encoder = path and load_image_encoder(path, vgg19)
        return {"encoder": text_encoder.load(path), "image_encoder": image_encoder} if image_encoder else {}
    except UserError as error:  # which is no reason to end a training without its result
        notice(f"no R-precision: {error}")
        return {}


def evaluate_run(
    args: argparse.Namespace, generate: Generate, split: data.Split, folder: Optional[Path] = None
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a trained network that need no file of weights, and the trivial baselines.

    Args:
        args: of train.py.
        generate: (embeddings float32 [n, d], seed=number) -> the images of each stage, uint8 [n, 64, 64, 3] and, after
            stage II, [n, 256, 256, 3].
        split: the test images and captions.
        folder: takes the results; <folder>-2, ... where it is there already.
    Returns:
        {"colour_share", "r_precision", "frechet_colours", "images"} of the last stage, as far as there is what to
        measure them by, and {"stageI_colour_share", ...} of stage I where there are two.
        Of the baselines {"colour_share", "r_precision", "frechet_colours"} of training images whatever the caption
        says, and the rest as {"real_colour_share", "mean_colour_share", ...}.
    """
    chosen = choose(split, min(NUMBER, len(split)))
    ruler, made, means = measure(args, generate, chosen, **find_encoders([args.output_path, args.data_path]))
    if folder:
        about = {"data": os.path.abspath(args.data_path)}
        write_results(cli.new_folder(folder), generate, ruler, made, means, about, args.seed)
    *earlier, last = (STAGES[images.shape[1]] for images in made)
    found = {**means[last], "images": len(chosen.indices)}
    for stage in earlier:
        found.update({f"{stage}_{name}": value for name, value in means[stage].items()})
    trivial = dict(means.get("shuffled", {}))
    for method in ("mean", "real"):
        trivial.update({f"{method}_{name}": value for name, value in means.get(method, {}).items()})
    return found, trivial


# What is written.


def write_results(
    folder: Path,
    generate: Generate,
    ruler: Ruler,
    made: Sequence[np.ndarray],
    means: Means,
    about: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Writes images, sheet.png, evaluation.json and index.html; returns what evaluation.json holds."""
    chosen, rows = ruler.chosen, []
    seen = metrics.body_colours(made[-1]) if ruler.wanted is not None else None
    for number, (name, text) in enumerate(zip(chosen.names, chosen.texts)):
        rows.append({"caption": text, "file": chosen.split.filenames[chosen.indices[number]]})
        if seen is not None:
            rows[-1].update(wanted=PALETTE[ruler.wanted[number]], colour=PALETTE[seen[number]])
        for images in made:
            stage = STAGES[images.shape[1]]
            path = cli.new_file(folder / stage / f"{name}.png")
            Image.fromarray(images[number]).save(path)
            rows[-1][stage] = f"{stage}/{path.name}"
    result = {**about, "images": len(rows), "seed": seed, "metrics": means, "per_image": rows}
    sheet(chosen.some(SHEET), generate, seed + 1).save(folder / "sheet.png")

    def samples() -> Iterator[tuple]:
        for number in data.spread(SHOWN, len(rows)):
            columns = [(METHODS[STAGES[images.shape[1]]], data.resized(images[number], 256)) for images in made]
            columns.append(("real", data.resized(ruler.real[number], 256)))
            told = {name: rows[number][name] for name in ("wanted", "colour") if name in rows[number]}
            yield rows[number]["caption"], columns, told

    table = {METHODS[method]: values for method, values in means.items()}
    write_page(folder / "index.html", f"StackGAN: {len(rows)} captions of {about['data']}", table, samples())
    (folder / RESULT).write_text(json.dumps(result, indent=2) + "\n")  # last: it says that all is there
    notice(f"wrote {folder}: the images, sheet.png, evaluation.json and index.html")
    return result


def sheet(chosen: Chosen, generate: Generate, seed: int, samples: int = SAMPLES) -> Image.Image:
    """Each caption above its real image and what so many noises make of it, a row a stage; RGB."""
    made = [generate(chosen.embeddings, seed=seed + number) for number in range(samples)]
    size = max(LEAST, made[0][-1].shape[1])
    real = chosen.real(made[0][-1].shape[1])
    edge = ((0, GAP), (0, GAP), (0, 0))
    rows = []
    for number, text in enumerate(chosen.texts):
        rows.append(text_line(text, (samples + 1) * (size + GAP)))
        for stage in range(len(made[0])):
            first = real[number] if stage == 0 else np.full((size, size, 3), 255, np.uint8)
            images = [first, *(sample[stage][number] for sample in made)]
            row = [np.pad(data.resized(image, size), edge, constant_values=255) for image in images]
            rows.append(np.concatenate(row, 1))
    return Image.fromarray(np.concatenate(rows))


def text_line(text: str, width: int) -> np.ndarray:
    """A line of text, black on white, cut off where it does not fit: uint8 [LINE, width, 3]."""
    line = Image.new("RGB", (width, LINE), "white")
    ImageDraw.Draw(line).text((4, 2), " ".join(text.split()), "black", ImageFont.load_default(size=LINE * 2 // 3))
    return np.asarray(line)


def test_set(args: argparse.Namespace) -> Path:
    """Generates an image of every test image's first caption with trained weights; returns the new folder.

    <weights' folder>-1real-4samples/test/<class>/<name>_sentence0.jpg   a sheet: the image and NUM_COPY generated ones
    <weights' folder>-1real-4samples/samples/                            the generated ones, for inception_score.py

    Args:
        args: of train.py, with `--flag=False`.
    Raises:
        UserError: there are no weights, or no test set.
    """
    if not args.pretrained_model:
        raise UserError("--flag=False takes trained weights: name them by --ckpt_path, or PRETRAINED_MODEL in --cfg")
    open_session(SessionConfig(device=args.device, precision_mode=args.precision_mode))
    generator = predict.open_generator(args.pretrained_model)
    split = data.load(os.path.join(args.data_path, "test"))
    folder = cli.new_folder(f"{generator.folder}-1real-{args.num_copy}samples")
    for index in tqdm(range(len(split)), "generating", unit="", disable=None):
        name, chosen = split.filenames[index], Chosen(split, np.array([index]), np.array([0]))
        seeds = [args.seed + index * args.num_copy + number for number in range(args.num_copy)]
        made = {seed: predict.generate(generator, chosen.embeddings, seed) for seed in seeds}
        path = folder / "test" / f"{name}_sentence0.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet(chosen, lambda _, seed, made=made: made[seed], seeds[0], len(seeds)).save(path, quality=95)
        for number, stages in enumerate(made.values()):
            path = cli.new_file(folder / "samples" / f"{name.replace('/', '-')}_{number}.png")
            Image.fromarray(stages[-1][0]).save(path)
    notice(f"{len(split)} sheets are in {folder / 'test'}, and each generated image in {folder / 'samples'}")
    return folder


# The command.


def table_lines(means: Means) -> Iterator[str]:
    """The means as a table for the terminal: a line a metric, a column a method."""
    names = list(dict.fromkeys(name for values in means.values() for name in values))
    yield " " * 18 + "".join(f"{method:>15}" for method in means)
    for name in names:
        cells = (f"{values[name]:15.4g}" if name in values else " " * 15 for values in means.values())
        yield f"{name:18}{''.join(cells)}".rstrip()


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt_path", metavar="PATH", help="a run's folder or one file of weights (pretrained/)")
    parser.add_argument("--model", metavar="FILE", help="an export of freeze.py instead")
    parser.add_argument("--data_path", metavar="DIR", help="train/ and test/ (the run's own)")
    parser.add_argument("--stage", type=int, choices=[1, 2], help="1: stage I alone, of a run of stage II (both)")
    parser.add_argument(
        "--number", type=cli.in_range(int, metrics.SPLITS), default=NUMBER, metavar="N", help="captions"
    )
    add_vgg19_flag(parser, "for frechet_vgg19")
    parser.add_argument("--weights", metavar="FILE", help=f"Keras' {INCEPTION_FILE}")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="of the noise")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    add_device_flags(parser)
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates weights or an export, prints the metrics and writes the results to a new folder.

    Returns: what evaluation.json holds.
    Raises:
        UserError: no such weights, stage, data or network, or one that cannot be used.
    """
    open_session(device_config(args))
    generator = predict.open_generator(args.ckpt_path, args.model, args.stage)
    data_path = args.data_path or getattr(generator.options, "data_path", None)
    if not data_path:
        raise UserError("--data_path: name the data, a folder with train/ and test/")
    split = data.load(os.path.join(data_path, "test"))
    if split.embeddings.shape[2] != generator.sizes[0]:
        raise UserError(
            f"--data_path {data_path}: its embeddings are of size {split.embeddings.shape[2]}, and {generator.path} "
            f"takes {generator.sizes[0]}; give the data that it was trained on, or data of the same encoder"
        )
    vgg19 = vgg19_features(args.vgg19_weights, data_path)
    features = {"frechet_vgg19": vgg19} if vgg19 else {}
    if args.weights:
        features["frechet_inception"] = load_inception(args.weights)
    folder = cli.new_folder(args.output_path or generator.folder / "evaluation")
    options = argparse.Namespace(data_path=data_path, seed=args.seed)
    generate = predict.generating(generator)
    networks = {**find_encoders([generator.folder, data_path, model.HERE / "pretrained"], vgg19), "features": features}
    ruler, made, means = measure(options, generate, choose(split, args.number), **networks)
    about = {"weights": os.path.abspath(generator.path), "data": os.path.abspath(data_path)}
    print(f"{args.number} captions of {about['data']}")
    print(*table_lines(means), sep="\n")
    return write_results(folder, generate, ruler, made, means, about, args.seed)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(evaluate, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
