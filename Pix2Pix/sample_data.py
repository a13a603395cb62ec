"""Draws a small data set of facades, offline, in the form of the CMP facades that the paper trains on.

    python sample_data.py --output_path facades

Each image holds a photograph (left, A) and its label map (right, B), one flat colour for each of CMP's twelve classes.
What is where can be learnt from it; the colour of a wall, the sky and the light can not, as in the real set.
"""

import argparse
from collections.abc import Iterator
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from data import FACADE_LABELS
from PIL import Image, ImageDraw

from common import cli

SIZE = 256
WALLS = [(226, 206, 160), (236, 226, 204), (200, 196, 186), (222, 170, 120), (164, 88, 66), (190, 204, 214)]
PAINTS = [(238, 236, 228), (110, 74, 48), (60, 82, 66), (46, 60, 84), (120, 40, 34)]
SKIES = [(206, 222, 236), (240, 240, 242), (168, 178, 190)]
GLASS, STREET = (40, 44, 52), (112, 110, 108)
# What windows may have: left, top, right and bottom, where the window is -1 to 1 across and 0 to 1 down.
DETAILS = {
    "cornice": (-1.2, -0.2, 1.2, -0.05),
    "sill": (-1.2, 1, 1.2, 1.1),
    "blind": (-1, 0, 1, 0.4),
    "deco": (-1, 1.2, 1, 1.35),
    "balcony": (-1.3, 0.6, 1.3, 1.15),
}


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output_path", type=cli.user_path, required=True, help="a new or empty folder")
    parser.add_argument("--train", type=cli.in_range(int, 1, 10**5), default=100, help="pairs to train on")
    parser.add_argument("--val", type=cli.in_range(int, 1, 10**5), default=20, help="pairs to test on")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="other seeds draw other facades")
    return parser.parse_args(argv)


def house(rng: np.random.Generator) -> Iterator[tuple[str, tuple, tuple]]:
    """The parts of a facade, from back to front: (label, (left, top, right, bottom), colour)."""
    wall, trim, paint = WALLS[rng.integers(6)], PAINTS[rng.integers(5)], PAINTS[rng.integers(5)]
    details = [label for label in DETAILS if rng.random() < 0.5]
    pillars, shops = rng.random(2) < 0.5
    storeys, columns = rng.integers(3, 7), rng.integers(3, 7)
    left, right = rng.integers(0, 30), SIZE - rng.integers(0, 30)
    top, ground = rng.integers(4, 64), rng.integers(230, 250)
    floors, width = np.linspace(top + 12, ground, storeys + 1), (right - left) / columns
    half, entrance = width * rng.uniform(0.2, 0.3), rng.integers(columns)
    yield "facade", (left, top, right, ground), wall
    yield "molding", (left, top, right, top + 12), trim
    yield "molding", (left, floors[-2] - 4, right, floors[-2]), trim
    for x in left + width * np.arange(1, columns) if pillars else ():
        yield "pillar", (x - 2, top + 12, x + 2, floors[-2]), trim
    for storey in range(storeys):
        over, height = floors[storey] + 0.3 * (floors[1] - floors[0]), 0.46 * (floors[1] - floors[0])
        for column, x in enumerate(left + width * (np.arange(columns) + 0.5)):
            if storey == storeys - 1 and column == entrance:
                yield "door", (x - half, over, x + half, ground), paint
            elif storey == storeys - 1 and shops:
                yield "shop", (x - 0.45 * width, over, x + 0.45 * width, ground - 2), GLASS
            else:
                yield "window", (x - half, over, x + half, over + height), GLASS
                for label in details:
                    a, b, c, d = DETAILS[label]
                    yield label, (x + a * half, over + b * height, x + c * half, over + d * height), trim


def draw_pair(rng: np.random.Generator) -> Image.Image:
    """One pair, RGB, 512 x 256: the photograph on the left, its label map on the right."""
    photo = Image.new("RGB", (SIZE, SIZE), SKIES[rng.integers(3)])
    labels = Image.new("RGB", (SIZE, SIZE), FACADE_LABELS["background"])
    on_photo, on_labels = ImageDraw.Draw(photo), ImageDraw.Draw(labels)
    on_photo.rectangle((0, 240, SIZE, SIZE), STREET)
    for label, box, colour in house(rng):
        left, top, right, bottom = (round(edge) for edge in box)
        if label not in ("facade", "window", "blind"):  # what stands out throws a shadow
            on_photo.rectangle((left + 2, top + 3, right + 2, bottom + 3), GLASS)
        on_photo.rectangle((left, top, right, bottom), colour)
        on_labels.rectangle((left, top, right, bottom), FACADE_LABELS[label])
    light = rng.uniform(0.82, 1.1) * rng.normal(1, 0.05, 3)  # bright or dim, and of a tint
    pixels = np.asarray(photo) * light + rng.normal(0, 3, (SIZE, SIZE, 3))
    return Image.fromarray(np.concatenate([pixels.clip(0, 255).astype(np.uint8), np.asarray(labels)], 1))


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
