"""Draws a small data set of facades, offline, in the form of the CMP facades that the paper trains on.

    python sample_data.py --output_path facades

Each image holds a photograph (left, A) and its label map (right, B), one flat colour for each of CMP's twelve classes.
What is where can be learnt from it; the colour of a wall, the sun and the weather can not, as in the real set.
"""

import argparse
from collections.abc import Iterator
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from data import FACADE_LABELS
from PIL import Image, ImageDraw, ImageFilter

from common import cli

WALLS = [(226, 206, 160), (236, 226, 204), (200, 196, 186), (222, 170, 120), (164, 88, 66), (190, 204, 214)]
PAINTS = [(238, 236, 228), (110, 74, 48), (60, 82, 66), (46, 60, 84), (120, 40, 34)]
SKIES = [(206, 222, 236), (240, 240, 242), (168, 178, 190)]
GLASS, STREET = (40, 44, 52), (112, 110, 108)
SIZE = 256

Colour = tuple[int, ...]


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output_path", type=cli.user_path, required=True, help="a new or empty folder")
    parser.add_argument("--train", type=cli.in_range(int, 1, 10**5), default=100, help="pairs to train on")
    parser.add_argument("--val", type=cli.in_range(int, 1, 10**5), default=20, help="pairs to test on")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="other seeds draw other facades")
    return parser.parse_args(argv)


def pick(rng: np.random.Generator, colours: list) -> Colour:
    """One of `colours`, slightly changed."""
    picked = np.array(colours[rng.integers(len(colours))]) + rng.normal(0, 5, 3) + rng.normal(0, 10)
    return tuple(int(value) for value in picked.clip(8, 250))


def house(rng: np.random.Generator) -> Iterator[tuple[str, tuple, Colour, Colour]]:
    """The parts of a facade, from back to front: (label, (left, top, right, bottom), colour, colour of its frame)."""
    wall, trim, paint, frame = pick(rng, WALLS), pick(rng, PAINTS), pick(rng, PAINTS[1:]), pick(rng, PAINTS)
    cornices, sills, blinds, decos, balconies, pillars, shops = rng.random(7) < 0.5
    storeys, columns = rng.integers(3, 7), rng.integers(3, 7)
    left, right = rng.integers(0, 30), SIZE - rng.integers(0, 30)
    top, ground = rng.integers(4, 64), rng.integers(230, 250)
    lines, cell = np.linspace(top + 12, ground, storeys + 1), (right - left) / columns
    half, entrance = cell * rng.uniform(0.2, 0.3), rng.integers(columns)
    yield "facade", (left, top, right, ground), wall, wall
    yield "molding", (left, top, right, top + 12), trim, trim
    for x in left + cell * np.arange(1, columns) if pillars else ():
        yield "pillar", (x - 2, top + 12, x + 2, lines[-2]), trim, trim
    yield "molding", (left, lines[-2] - 4, right, lines[-2]), trim, trim
    for storey in range(storeys):
        over, under = lines[storey] + np.array([0.3, 0.76]) * (lines[1] - lines[0])
        for column, x in enumerate(left + cell * (np.arange(columns) + 0.5)):
            if storey == storeys - 1 and column == entrance:
                yield "door", (x - half, over, x + half, ground), paint, frame
            elif storey == storeys - 1 and shops:
                yield "shop", (x - 0.45 * cell, over, x + 0.45 * cell, ground - 2), GLASS, frame
            else:
                yield "window", (x - half, over, x + half, under), GLASS, frame
                if cornices:
                    yield "cornice", (x - half - 2, over - 5, x + half + 2, over - 1), trim, trim
                if sills:
                    yield "sill", (x - half - 2, under, x + half + 2, under + 3), trim, trim
                if blinds and rng.random() < 0.6:
                    yield "blind", (x - half, over, x + half, rng.uniform(over, under)), PAINTS[0], frame
                if balconies and rng.random() < 0.3:
                    yield "balcony", (x - half - 3, (over + under) / 2, x + half + 3, under + 4), paint, frame
                elif decos:
                    yield "deco", (x - half, under + 4, x + half, under + 8), trim, trim


def develop(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """The photograph as a camera takes it, with uneven light, a tint, softness and noise; RGB, SIZE x SIZE."""
    slope = np.linspace(-1, 1, SIZE)
    pixels = np.asarray(photo) * rng.uniform(0.82, 1.1) * rng.normal(1, 0.03, 3)
    pixels *= 1 + rng.uniform(-0.1, 0.1) * slope[:, None, None] + rng.uniform(-0.14, 0.14) * slope[:, None]
    pixels += rng.normal(0, 1, pixels.shape) * rng.uniform(1.5, 4)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.5))


def draw_pair(rng: np.random.Generator) -> Image.Image:
    """One pair, RGB, 512 x 256: the photograph on the left, its label map on the right."""
    photo = Image.new("RGB", (SIZE, SIZE), pick(rng, SKIES))
    labels = Image.new("RGB", (SIZE, SIZE), FACADE_LABELS["background"])
    on_photo, on_labels = ImageDraw.Draw(photo), ImageDraw.Draw(labels)
    on_photo.rectangle((0, 240, SIZE, SIZE), STREET)
    for label, box, colour, frame in house(rng):
        left, top, right, bottom = (round(edge) for edge in box)
        if label not in ("facade", "window", "blind"):  # what stands out throws a shadow
            on_photo.rectangle((left + 2, top + 3, right + 2, bottom + 3), GLASS)
        on_photo.rectangle((left, top, right, bottom), colour, frame)
        if colour == GLASS:  # which mirrors the sky above
            on_photo.rectangle((left + 1, top + 1, right - 1, (top + bottom) // 2), (90, 98, 110))
        on_labels.rectangle((left, top, right, bottom), FACADE_LABELS[label])
    pair = Image.new("RGB", (2 * SIZE, SIZE))
    pair.paste(develop(rng, photo), (0, 0))
    pair.paste(labels, (SIZE, 0))
    return pair


def write(args: argparse.Namespace) -> None:
    """Draws the set into a new folder.

    Raises:
        UserError: the folder holds something or cannot be written.
    """
    with cli.new_set(args.output_path) as work:
        for number, (split, count) in enumerate({"train": args.train, "val": args.val}.items()):
            (work / split).mkdir()
            for index in range(count):
                pair = draw_pair(np.random.default_rng([args.seed, number, index]))
                pair.save(work / split / f"{index + 1}.jpg", quality=95, subsampling=0)  # 4:4:4 keeps labels' colours
    cli.notice(f"{args.train} pairs in train/, {args.val} in val/: train.py --data_path={args.output_path}")


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
