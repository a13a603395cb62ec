"""Measures a trained StackGAN on the captions of test pictures, beside the answers that need no learning.

python StackGAN/evaluate.py --ckpt_path=StackGAN/test/output/0/stageI
python StackGAN/evaluate.py --ckpt_path=RUN --data_path=birds --number=3000 --weights=FILE

What is measured depends on what is there; metrics.py tells how:

    colour_share     where the data has attributes.json, the sample set's: pictures whose body has the caption's colour
    r_precision      where a text encoder is there that was trained with pictures, beside the checkpoint or the data
    frechet_colours  of two pictures or more: a distance from the test pictures by the mean colours of 4 x 4 cells
    inception, frechet   with --weights, Keras' InceptionV3, or with a classifier of train_classifier.py

A new folder, `evaluation` or `evaluation-2`, ..., takes the pictures of each stage, super_images.png (test captions,
each with the real picture and what four different noises make of it), evaluation.json and gallery.html.
"""

import argparse
import dataclasses
import functools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import _path  # noqa: F401  (finds ../common)
import baseline
import data
import matplotlib
import metrics
import numpy as np
import sample_data
import text_encoder
import trained
from inception_score import INCEPTION_FILE, Judge, load_judge
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm
from train_classifier import FILE as CLASSIFIER_FILE

from common import cli
from common.cli import UserError
from common.distances import frechet_distance
from common.gallery import Row, write_gallery
from common.session import add_device_flags, device_config, notice, open_session

STAGES = {64: "stageI", 256: "stageII"}
METHODS = {
    "stageI": "stage I",
    "stageII": "stage II",
    "real": "real test pictures",
    "shuffled": "training pictures, any caption",
    "mean": "mean training picture",
}
NUMBER = 500  # test captions that are drawn
BATCH = 20  # of them at a time
SHOWN = 60  # in the gallery, evenly from all
SHEET, SAMPLES = 8, 4  # captions in super_images.png, and pictures of each
LINE = 22  # pixels that a caption is high in super_images.png
GAP = 4  # pixels between its pictures
LEAST = 128  # pixels a side of them at least
EDGE = ((0, GAP), (0, GAP), (0, 0))  # that a picture gets
PALETTE = list(sample_data.COLOURS)

Draw = Callable[..., list[np.ndarray]]  # (embeddings, seed=number) -> each stage's pictures
Means = dict[str, dict[str, float]]  # by method, by metric


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The captions that are drawn.

    Attributes:
        indices: whose picture each belongs to, [n].
        numbers: which of that picture's captions it is, [n].
    """

    split: "data.Split"
    indices: np.ndarray
    numbers: np.ndarray

    @property
    def embeddings(self) -> np.ndarray:
        """float32 [n, 1024]."""
        return np.asarray(self.split.embeddings[self.indices, self.numbers], np.float32)

    @functools.cached_property
    def captions(self) -> Optional[list[str]]:
        """Their texts, where the data has them."""
        if self.split.captions is None:
            return None
        every = self.split.captions
        return [every[index][number % len(every[index])] for index, number in zip(self.indices, self.numbers)]

    @property
    def classes(self) -> np.ndarray:
        return np.asarray(self.split.classes)[self.indices]

    def real(self, side: int) -> np.ndarray:
        """The pictures that they tell of, uint8 [n, side, side, 3]."""
        stored = self.split.pictures(data.LOAD_SIZES[side])
        return np.stack([baseline.middle(stored[index : index + 1], side)[0] for index in self.indices])

    def text(self, row: int) -> str:
        """A caption, or else what its picture is called."""
        return self.captions[row] if self.captions else self.name(row)

    def some(self, number: int) -> "Chosen":
        """At most `number` of them, evenly from all."""
        rows = baseline.spread(number, len(self.indices))
        return Chosen(self.split, self.indices[rows], self.numbers[rows])

    def name(self, row: int) -> str:
        """What the drawn picture's file is called."""
        return f"{Path(self.split.filenames[self.indices[row]]).stem}_{self.numbers[row]}"


def choose(split: "data.Split", number: int) -> Chosen:
    """`number` captions of different pictures, evenly from all; where there are not so many pictures, further captions
    of each, and then the same again (with other noise)."""
    count, captions = len(split), split.embeddings.shape[1]
    rows = np.arange(number)
    indices = baseline.spread(number, count) if number <= count else rows % count
    return Chosen(split, indices, (indices + rows // count) % captions)


class Ruler:
    """Measures sets of pictures that were drawn for the same captions.

    Args:
        wanted: the body's colour that each caption names, numbers in `PALETTE`; None: not known.
        encoders: (text encoder, picture encoder); None: there are none.
        side: of the real pictures that sets are compared with.
    """

    def __init__(
        self,
        chosen: Chosen,
        side: int,
        wanted: Optional[np.ndarray] = None,
        encoders: Optional[tuple] = None,
        judge: Optional[Judge] = None,
    ) -> None:
        self.chosen, self.wanted, self.judge = chosen, wanted, judge
        self.picture_encoder = self.texts = None
        if encoders and chosen.captions:
            try:
                self.picture_encoder, self.texts = encoders[1], text_encoder.encode(encoders[0], chosen.captions)
            except UserError as error:  # a caption that the encoder cannot read
                notice(f"no R-precision: {error}")
        self.real = chosen.real(side)
        self.real_colours = metrics.pooled_colours(self.real)
        self.real_features = judge(self.real, len(self.real))[1] if judge else None

    def measure(self, pictures: np.ndarray) -> dict[str, float]:
        """All metrics of a set of pictures, uint8 [n, s, s, 3]."""
        values = {}
        if self.wanted is not None:
            values["colour_share"] = float((metrics.body_colours(pictures) == self.wanted).mean())
        if self.texts is not None:
            features = text_encoder.encode_pictures(self.picture_encoder, pictures)
            values["r_precision"] = metrics.r_precision(features, self.texts, self.chosen.classes)
        if len(pictures) > 1:
            values["frechet_colours"] = frechet_distance(metrics.pooled_colours(pictures), self.real_colours)
        if self.judge:
            probabilities, features = self.judge(pictures, len(pictures))
            values["inception"], values["inception_std"] = metrics.inception_score(probabilities)
            values["frechet"] = frechet_distance(features, self.real_features)
        return values

    def of_each(self, pictures: np.ndarray) -> list[dict[str, Any]]:
        """What there is to tell of single pictures: {"difference": of the cells' colours from the real picture's
        [, "colour": the body's]}."""
        rows = [{"difference": x} for x in np.abs(metrics.pooled_colours(pictures) - self.real_colours).mean(1)]
        if self.wanted is not None:
            for row, seen in zip(rows, metrics.body_colours(pictures)):
                row["colour"] = PALETTE[seen]
        return rows


def evaluate_run(
    args: argparse.Namespace, draw: Draw, split: "data.Split", folder: Union[str, Path, None] = None
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a trained network that need no file of weights, and the baselines.

    Args:
        args: of train.py.
        draw: (embeddings float32 [n, 1024], seed=number) -> the pictures of each stage, uint8 [n, 64, 64, 3] and,
            after stage II, [n, 256, 256, 3].
        split: the test pictures and captions.
        folder: takes the pictures, evaluation.json and gallery.html; <folder>-2, ... where it is there already.
    Returns:
        {"colour_share", "r_precision", "frechet_colours", "pictures"} of the last stage, as far as there is what to
        measure them by, and {"stageI_colour_share", ...} of stage I where there are two.
        Of the baselines {"colour_share", "r_precision"} of training pictures whatever the caption says,
        {"frechet_colours"} of the mean training picture, and the rest as {"real_colour_share", ...}.
    """
    chosen = choose(split, min(NUMBER, len(split)))
    folder = cli.new_folder(folder) if folder else None
    try:
        encoders = find_encoders([Path(args.output_path), Path(args.data_path)])
    except UserError as error:  # which is no reason to end a training without its result
        notice(f"no R-precision: {error}")
        encoders = None
    ruler, drawn, means = measure(args, draw, chosen, encoders)
    if folder:
        write_results(folder, draw, ruler, drawn, means, {"data": os.path.abspath(args.data_path)}, args.seed)
    *earlier, last = (STAGES[pictures.shape[1]] for pictures in drawn)
    found = {**means[last], "pictures": len(chosen.indices)}
    for stage in earlier:
        found.update({f"{stage}_{name}": value for name, value in means[stage].items()})
    plain = {"colour_share": "shuffled", "r_precision": "shuffled", "frechet_colours": "mean"}
    trivial = {
        name if plain[name] == method else f"{method}_{name}": value
        for method in ("shuffled", "mean", "real")
        for name, value in means.get(method, {}).items()
    }
    return found, trivial


def find_encoders(folders: Sequence[Path]) -> Optional[tuple]:
    """The text encoder and the picture encoder of the first of the folders that holds both."""
    for folder in folders:
        path = folder / text_encoder.FILE
        if path.is_file():
            pictures = text_encoder.load_picture_encoder(str(path))
            if pictures is not None:
                return text_encoder.load(str(path)), pictures
            notice(f"{path} was trained without pictures: no R-precision")
    return None


def measure(
    args: argparse.Namespace,
    draw: Draw,
    chosen: Chosen,
    encoders: Optional[tuple] = None,
    judge: Optional[Judge] = None,
) -> tuple[Ruler, list[np.ndarray], Means]:
    """Draws the captions and measures what came out.

    Args:
        args: `data_path` (of the training pictures) and `seed`.
    Returns:
        What it was measured by, the pictures of each stage, and {"stageI": {metric: number}, "stageII": ..., "real":
        ..., "shuffled": ..., "mean": ...}.
    """
    drawn = draw_all(draw, chosen.embeddings, args.seed)
    side = drawn[-1].shape[1]
    wanted = sample_data.wanted_colours(chosen.split)
    ruler = Ruler(chosen, side, wanted if wanted is None else wanted[chosen.indices], encoders, judge)
    means = {STAGES[pictures.shape[1]]: ruler.measure(pictures) for pictures in drawn}
    means["real"] = ruler.measure(ruler.real)
    for name in ("frechet_colours", "frechet"):
        means["real"].pop(name, None)  # from themselves
    try:
        known = data.load(os.path.join(args.data_path, "train"), None).pictures(data.LOAD_SIZES[side])
    except UserError as error:
        notice(f"no training pictures to compare with: {error}")
        return ruler, drawn, means
    n = len(chosen.indices)
    means["shuffled"] = ruler.measure(baseline.shuffled(known, n, side, args.seed))
    means["mean"] = ruler.measure(np.repeat(baseline.mean_picture(known, side)[None], n, 0))
    return ruler, drawn, means


def draw_all(draw: Draw, embeddings: np.ndarray, seed: int) -> list[np.ndarray]:
    """The pictures of each stage for all embeddings, uint8 [n, s, s, 3]."""
    parts = []
    with tqdm(total=len(embeddings), desc="drawing", unit="", disable=None) as bar:
        for start in range(0, len(embeddings), BATCH):
            batch = embeddings[start : start + BATCH]
            parts.append(draw(batch, seed=seed + start))  # other noise for each
            bar.update(len(batch))
    return [np.concatenate(stage) for stage in zip(*parts)]


# What is written.


def write_results(
    folder: Path,
    draw: Draw,
    ruler: Ruler,
    drawn: Sequence[np.ndarray],
    means: Means,
    about: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Writes pictures, super_images.png, evaluation.json and gallery.html; returns what evaluation.json holds."""
    chosen = ruler.chosen
    stages = [STAGES[pictures.shape[1]] for pictures in drawn]
    rows = ruler.of_each(drawn[-1])
    for number, row in enumerate(rows):
        row.update(caption=chosen.text(number), file=str(chosen.split.filenames[chosen.indices[number]]))
        if ruler.wanted is not None:
            row["wanted"] = PALETTE[ruler.wanted[number]]
        for stage, pictures in zip(stages, drawn):
            row[stage] = save_picture(pictures[number], folder / stage, chosen.name(number))
    result = {
        **about,
        "pictures": len(rows),
        "sizes": [pictures.shape[1] for pictures in drawn],
        "seed": seed,
        "conventions": "colour_share: bodies of the caption's colour; r_precision: own caption first of "
        f"{metrics.CANDIDATES} by cosine; frechet_colours: of the mean colours of 4 x 4 cells; inception: mean of "
        f"{metrics.SPLITS} splits",
        "metrics": means,
        "per_picture": rows,
    }
    (folder / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    super_images(chosen.some(SHEET), draw, seed + 1).save(folder / "super_images.png")

    shown = baseline.spread(SHOWN, len(rows))
    title = f"StackGAN: {len(rows)} captions of {about['data']}"
    table = {METHODS[method]: values for method, values in means.items()}
    columns = gallery_rows(ruler, drawn, rows, shown)
    count = write_gallery(folder / "gallery.html", title, table, columns, len(shown), "difference")
    notice(
        f"wrote {folder}: {', '.join(stages)}, super_images.png, evaluation.json, gallery.html with {count} pictures"
    )
    return result


def save_picture(picture: np.ndarray, folder: Path, name: str) -> str:
    """Writes uint8 [s, s, 3] as a new PNG and returns its path from the folder above."""
    path = cli.new_file(folder / f"{name}.png")
    Image.fromarray(picture).save(path)
    return f"{folder.name}/{path.name}"


def gallery_rows(
    ruler: Ruler, drawn: Sequence[np.ndarray], rows: Sequence[dict[str, Any]], shown: Sequence[int]
) -> Iterator[Row]:
    """A caption with each stage's picture and the real one."""
    for number in shown:
        columns = [(METHODS[STAGES[pictures.shape[1]]], enlarged(pictures[number])) for pictures in drawn]
        columns.append(("real", enlarged(ruler.real[number])))
        told = {name: rows[number][name] for name in ("difference", "wanted", "colour") if name in rows[number]}
        yield Row(rows[number]["caption"], columns, told)


def enlarged(picture: np.ndarray, side: int = 256) -> np.ndarray:
    """uint8 [s, s, 3] at [side, side, 3]."""
    return picture if len(picture) == side else np.asarray(Image.fromarray(picture).resize((side, side), Image.BICUBIC))


def super_images(chosen: Chosen, draw: Draw, seed: int, samples: int = SAMPLES) -> Image.Image:
    """A sheet: each caption above its real picture and what so many noises make of it, a row a stage; RGB."""
    drawn = [draw(chosen.embeddings, seed=seed + number) for number in range(samples)]
    side = max(LEAST, drawn[0][-1].shape[1])
    real = chosen.real(drawn[0][-1].shape[1])
    rows = []
    for number in range(len(chosen.indices)):
        rows.append(text_line(chosen.text(number), (samples + 1) * (side + GAP)))
        for stage in range(len(drawn[0])):
            first = real[number] if stage == 0 else np.full((side, side, 3), 255, np.uint8)
            pictures = [first, *(sample[stage][number] for sample in drawn)]
            row = np.concatenate([np.pad(enlarged(x, side), EDGE, constant_values=255) for x in pictures], 1)
            rows.append(row)
    return Image.fromarray(np.concatenate(rows))


def text_line(text: str, width: int) -> np.ndarray:
    """A line of text, black on white, cut off where it does not fit: uint8 [LINE, width, 3]."""
    line = Image.new("RGB", (width, LINE), "white")
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), LINE * 2 // 3)
    ImageDraw.Draw(line).text((4, 2), " ".join(text.split()), "black", font)
    return np.asarray(line)


# The command.


def table_lines(means: Means) -> Iterator[str]:
    """The means as a table for the terminal."""
    names = list(dict.fromkeys(name for values in means.values() for name in values))
    yield " " * 32 + "".join(f"{name:>17}" for name in names)
    for method, values in means.items():
        cells = (f"{values[name]:17.4g}" if name in values else " " * 17 for name in names)
        yield f"{METHODS[method]:32}{''.join(cells)}".rstrip()


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help="a run's folder, or one checkpoint in it")
    parser.add_argument("--data_path", metavar="DIR", help="train/ and test/ (the run's own)")
    parser.add_argument("--stage", type=int, choices=[1, 2], help="1: stage I alone, of a run of stage II (both)")
    parser.add_argument(
        "--number", type=cli.in_range(int, metrics.SPLITS), default=NUMBER, metavar="N", help=f"captions ({NUMBER})"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--weights", metavar="FILE", help=f"Keras' {INCEPTION_FILE}")
    group.add_argument("--classifier", metavar="FILE", help=f"of train_classifier.py (<data_path>/{CLASSIFIER_FILE})")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="of the noise (0)")
    parser.add_argument("--output_path", metavar="DIR", help="a new folder for the results (evaluation in the run's)")
    add_device_flags(parser)
    return parser.parse_args(argv)


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Evaluates a checkpoint, prints the metrics and writes the results to a new folder.

    Returns: what evaluation.json holds.
    Raises:
        UserError: no such checkpoint, stage, data or weights, or one that cannot be used.
    """
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    if args.stage == 2 and model.stage == 1:
        raise UserError(f"--stage 2: {args.ckpt_path} is of stage I; give the folder of a run of stage II")
    if args.stage == 1:
        model = dataclasses.replace(model, stage=1, stage2=None)
    data_path = os.path.expanduser(args.data_path or model.options.data_path)
    options = argparse.Namespace(**{**vars(model.options), "data_path": data_path, "seed": args.seed})
    split = data.load(os.path.join(data_path, "test"), options.embedding_type)
    wanted = trained.embedding_size(model)
    if split.embeddings.shape[2] != wanted:
        raise UserError(
            f"--data_path {data_path}: its embeddings have {split.embeddings.shape[2]} numbers, and {args.ckpt_path} "
            f"takes {wanted}; give the data that it was trained on, or data of the same encoder"
        )
    found = os.path.join(data_path, CLASSIFIER_FILE)
    judge = load_judge(args.weights, args.classifier or (found if os.path.isfile(found) else None))
    encoders = find_encoders([model.run_folder, Path(data_path)])
    folder = cli.new_folder(args.output_path or model.run_folder / "evaluation")

    def draw(embeddings, seed):
        return trained.draw(model, embeddings, seed=seed)

    ruler, drawn, means = measure(options, draw, choose(split, args.number), encoders, judge)
    about = {
        "checkpoint": os.path.abspath(model.prefix),
        "data": os.path.abspath(data_path),
        "network": judge and judge.name,
    }
    print(f"{args.number} captions of {about['data']}" + (f", judged by {judge.name}" if judge else ""))
    print(*table_lines(means), sep="\n")
    return write_results(folder, draw, ruler, drawn, means, about, args.seed)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(evaluate, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
