"""Measures a trained StackGAN on the captions of test images, beside the answers that need no learning.

python StackGAN/evaluate.py --ckpt_path=StackGAN/test/output/0/stageI
python StackGAN/evaluate.py --ckpt_path=RUN --data_path=birds --number=3000 --vgg19_weights=FILE --weights=FILE

What is measured depends on what is there: NOTES.md has a table of the metrics, and metrics.py tells how each is made.
R-precision needs a text encoder beside the weights or the data, and --vgg19_weights if it was trained against VGG19.

A new folder, `evaluation` or `evaluation-2`, ..., takes the images of each stage, evaluation.json and index.html.
"""

import argparse
import json
import os
from collections.abc import Sequence
from functools import partial
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
from image_features import INCEPTION_FILE, VGG19_LAST, load_image_encoder, load_inception, vgg19_halves
from PIL import Image
from tqdm import tqdm

from common import cli
from common.cli import UserError, notice
from common.config import add_device_flags, device_config
from common.images import write_page
from common.session import open_session
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

# (embeddings float32 [n, d], seed=number) -> each stage's images, uint8 [n, 64, 64, 3] and [n, 256, 256, 3]
Generate = Callable[..., list[np.ndarray]]
Means = dict[str, dict[str, float]]  # by method, by metric


class Chosen:
    """Captions to generate images of.

    Attributes:
        indices: whose image each belongs to, [n]; numbers: which of that image's captions it is, [n].
        embeddings: float32 [n, d].
        captions: their texts, where the data has them; `texts`: these, or else what their images are called.
    """

    def __init__(self, split: data.Split, indices: np.ndarray, numbers: np.ndarray) -> None:
        self.split, self.indices, self.numbers = split, indices, numbers
        self.embeddings = np.asarray(split.embeddings[indices, numbers], np.float32)
        every = split.captions
        self.captions = every and [every[i][number % len(every[i])] for i, number in zip(indices, numbers)]
        self.texts = self.captions or [split.filenames[i] for i in indices]

    def real(self, size: int) -> np.ndarray:
        """The images that they tell of, uint8 [n, size, size, 3]."""
        return self.split.crops(size, self.indices)


def choose(split: data.Split, number: int) -> Chosen:
    """`number` captions of different images, evenly from all; where there are not so many images, further captions of
    each, and then the same again (with other noise)."""
    count, captions = len(split), split.embeddings.shape[1]
    rows = np.arange(number)
    indices = data.spread(number, count) if number <= count else rows % count
    return Chosen(split, indices, (indices + rows // count) % captions)


def encoders(places: Sequence[Any], vgg19: Optional[Callable] = None) -> tuple:
    """The text encoder of the first folder that has one, and the image encoder trained with it; or None, None."""
    path = text_encoder.find(*places)
    image_encoder = path and load_image_encoder(path, vgg19)
    return (text_encoder.load(path), image_encoder) if image_encoder else (None, None)


def make_ruler(
    chosen: Chosen, known: data.Split, real: np.ndarray, encoder=None, image_encoder=None, features=None
) -> Callable[[np.ndarray], dict[str, float]]:
    """What measures a set of images that were generated for the same captions: uint8 [n, s, s, 3] -> all metrics.

    Args:
        known: the training split; real: the captions' own images, uint8, with which sets are compared.
        encoder: of sentences, and `image_encoder` of uint8 images; None: there are none.
        features: networks by the metric's name: of the Frechet distance of their features.
    """
    features = {"frechet_colours": lambda images: (metrics.pooled_colours(images), None), **(features or {})}
    real_features = {name: network(real)[0] for name, network in features.items()}
    wanted, captions = sample_data.wanted_colours(chosen.split), chosen.captions
    probe = metrics.colour_probe(known) if wanted is None and captions and known.captions else None
    texts = encoder.encode(captions) if encoder and captions else None

    def measure(images: np.ndarray) -> dict[str, float]:
        values = {}
        if wanted is not None:
            values["colour_share"] = float((metrics.body_colours(images) == wanted[chosen.indices]).mean())
        if probe:
            value = metrics.colour_auc(probe(images), metrics.named_colours(captions))
            values.update({} if value is None else {"colour_auc": value})
        if texts is not None:
            classes = chosen.split.classes[chosen.indices]
            values["r_precision"] = metrics.r_precision(image_encoder(images), texts, classes)
        for name, network in features.items():
            found, probabilities = network(images)
            if len(images) > 1:
                values[name] = metrics.frechet_distance(found, real_features[name])
            if probabilities is not None:
                values["inception"], values["inception_std"] = metrics.inception_score(probabilities)
        return values

    return measure


def measure(
    folder: Path, chosen: Chosen, generate: Generate, data_path: str, seed: int, about: dict[str, str], *networks: Any
) -> Means:
    """Generates the captions' images, measures them, and writes all of it to a new folder.

    Args:
        data_path: of the training images; about: what evaluation.json says besides.
        networks: `make_ruler`'s.
    Returns: {"stageI": {metric: number}, "stageII": ..., "real": ..., "shuffled": ..., "mean": ...}.
    """
    n, parts = len(chosen.indices), []
    for start in tqdm(range(0, n, BATCH), "generating", unit="batch", disable=None):
        parts.append(generate(chosen.embeddings[start : start + BATCH], seed=seed + start))  # other noise for each
    folder = cli.new_folder(folder)
    made = {STAGES[stage[0].shape[1]]: np.concatenate(stage) for stage in zip(*parts)}
    size = max(images.shape[1] for images in made.values())
    known, real = data.Split(Path(data_path, "train"), False, chosen.split.crop), chosen.real(size)
    ruler = make_ruler(chosen, known, real, *networks)
    means = {stage: ruler(images) for stage, images in made.items()}
    means["real"] = {k: v for k, v in ruler(real).items() if not k.startswith("frechet")}  # 0 from itself
    means["shuffled"] = ruler(metrics.shuffled(known, n, size, seed))
    means["mean"] = ruler(np.repeat(metrics.mean_image(known, size)[None], n, 0))

    for stage, images in made.items():
        (folder / stage).mkdir()
        for number, (image, index) in enumerate(zip(images, chosen.indices)):
            name = Path(chosen.split.filenames[index]).name
            Image.fromarray(image).save(folder / stage / f"{number:04}_{name}.png")
    shown, texts = {**made, "real": real}, chosen.texts
    samples = (
        (texts[i], [(METHODS[name], data.resized(images[i], 256)) for name, images in shown.items()], {})
        for i in data.spread(SHOWN, n)
    )
    about = {**about, "data": os.path.abspath(data_path)}
    table = {METHODS[method]: values for method, values in means.items()}
    write_page(folder / "index.html", f"StackGAN: {n} captions of {about['data']}", table, samples)
    result = {**about, "images": n, "seed": seed, "metrics": means}
    (folder / RESULT).write_text(json.dumps(result, indent=2) + "\n")  # last: it says that all is there
    notice(f"wrote {folder}: the images, evaluation.json and index.html")
    return means


def sheet(chosen: Chosen, made: Sequence[list[np.ndarray]]) -> Image.Image:
    """Each caption above its real image and what several noises make of it, a row a stage; RGB.

    Args:
        made: for each noise the images of each stage, uint8 [captions, size, size, 3].
    """
    real = chosen.real(made[0][-1].shape[1])
    sheets = []
    for number, text in enumerate(chosen.texts):
        stages = [np.stack([images[number] for images in stage]) for stage in zip(*made)]
        sheets.append(np.asarray(predict.sheet(text, stages, real[number])))
    return Image.fromarray(np.concatenate(sheets))


def evaluate_run(
    args: argparse.Namespace, generate: Generate, split: data.Split, folder: Path
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a trained network that need no file of weights, and the trivial baselines.

    Args:
        args: of train.py; split: the test images and captions.
        folder: takes the results; <folder>-2, ... where it is there already.
    Returns:
        {"colour_share", ..., "images"} of the last stage, and {"stageI_colour_share", ...} where there are two;
        {"colour_share", ...} of training images whatever the caption says, and {"real_...", "mean_..."}.
    """
    chosen, networks = choose(split, min(NUMBER, len(split))), encoders([args.output_path, args.data_path])
    means = measure(folder, chosen, generate, args.data_path, args.seed, {}, *networks)

    def named(method: str) -> dict[str, float]:
        return {f"{method}_{name}": value for name, value in means[method].items()}

    scores = {**means["stageII"], **named("stageI")} if "stageII" in means else means["stageI"]
    return {**scores, "images": len(chosen.indices)}, {**means["shuffled"], **named("mean"), **named("real")}


def test_set(args: argparse.Namespace) -> None:
    """Generates an image of every test image's first caption with trained weights, in a new folder:

    <weights' folder>-1real-4samples/test/<class>/<name>_sentence0.jpg   a sheet: the image and NUM_COPY generated ones
    <weights' folder>-1real-4samples/samples/                            the generated ones, for inception_score.py

    Raises:
        UserError: there are no weights, or no test set.
    """
    if not args.pretrained_model:
        raise UserError("--flag=False takes trained weights: name them by --ckpt_path, or PRETRAINED_MODEL in --cfg")
    open_session(device_config(args))
    generator = predict.open_generator(args.pretrained_model)
    split = data.Split(Path(args.data_path, "test"), crop=args.random_crop)
    folder = cli.new_folder(f"{generator.folder}-1real-{args.num_copy}samples")
    for index, name in enumerate(tqdm(split.filenames, "generating", unit="", disable=None)):
        chosen, seed = Chosen(split, np.array([index]), np.array([0])), args.seed + index * args.num_copy
        made = [predict.generate(generator, chosen.embeddings, seed + number) for number in range(args.num_copy)]
        path = folder / "test" / f"{name}_sentence0.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet(chosen, made).save(path, quality=95)
        for number, stages in enumerate(made):
            path = cli.new_file(folder / "samples" / f"{name.replace('/', '-')}_{number}.png")
            Image.fromarray(stages[-1][0]).save(path)
    notice(f"{len(split)} sheets are in {folder / 'test'}, and each generated image in {folder / 'samples'}")


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt_path", metavar="PATH", help="a run's folder or one file of weights (pretrained/)")
    parser.add_argument("--model", metavar="FILE", help="an export of freeze.py instead")
    parser.add_argument("--data_path", metavar="DIR", help="train/ and test/ (the run's own)")
    parser.add_argument("--stage", type=int, choices=[1, 2], help="1: stage I alone, of a run of stage II (both)")
    number = cli.in_range(int, metrics.SPLITS)
    parser.add_argument("--number", type=number, default=NUMBER, metavar="N", help="captions")
    add_vgg19_flag(parser, "for frechet_vgg19")
    parser.add_argument("--weights", metavar="FILE", help=f"Keras' {INCEPTION_FILE}")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="of the noise")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    add_device_flags(parser)
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluates weights or an export, prints the metrics and writes the results to a new folder.

    Raises:
        UserError: no such weights, stage, data or network, or one that cannot be used.
    """
    open_session(device_config(args))
    generator = predict.open_generator(args.ckpt_path, args.model, args.stage)
    data_path = args.data_path or getattr(generator.options, "data_path", None)
    if not data_path:
        raise UserError("--data_path: name the data, a folder with train/ and test/")
    split = data.Split(Path(data_path, "test"), crop=getattr(generator.options, "random_crop", True))
    vgg19, features = vgg19_halves(args.vgg19_weights, data_path), {}
    if vgg19:
        features["frechet_vgg19"] = lambda images: (vgg19(images).mean(1)[:, -VGG19_LAST:], None)
    if args.weights:
        features["frechet_inception"] = load_inception(args.weights)
    networks = *encoders([generator.folder, data_path, model.HERE / "pretrained"], vgg19), features
    folder, about = args.output_path or generator.folder / "evaluation", {"weights": os.path.abspath(generator.path)}
    generate = partial(predict.generate, generator)
    means = measure(folder, choose(split, args.number), generate, data_path, args.seed, about, *networks)
    print(f"{args.number} captions of {os.path.abspath(data_path)}")
    print(" " * 18 + "".join(f"{method:>15}" for method in means))
    for name in dict.fromkeys(name for values in means.values() for name in values):
        cells = (f"{values[name]:15.4g}" if name in values else " " * 15 for values in means.values())
        print(f"{name:18}{''.join(cells)}".rstrip())


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(evaluate, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
