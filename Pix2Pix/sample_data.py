"""Draws a small data set of facades, offline, in the form of the CMP facades that the paper trains on.

    python sample_data.py --output_path facades

Each image holds a photograph (left, A) and its label map (right, B), one flat colour for each of CMP's twelve classes.
What is where can be learnt from it; the colour of a wall, the sun and the weather can not, as in the real set.
"""

import argparse
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from data import FACADE_LABELS
from PIL import Image, ImageDraw, ImageFilter
from prepare import report
from tqdm import tqdm

from common import cli

WALLS = [(226, 206, 160), (236, 226, 204), (200, 196, 186), (222, 170, 120), (164, 88, 66), (190, 204, 214)]
PAINTS = [(238, 236, 228), (110, 74, 48), (60, 82, 66), (46, 60, 84), (120, 40, 34)]
SKIES = [(206, 222, 236), (240, 240, 242), (168, 178, 190)]
GLASS, STREET = (40, 44, 52), (112, 110, 108)
SIZE = 256

Box = tuple[float, float, float, float]  # left, top, right, bottom; ends excluded
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


class Canvas:
    """A pair while it is drawn: the photograph, the light that falls on it, and the label map."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.photo = Image.new("RGB", (SIZE, SIZE), pick(rng, SKIES))
        self.light = Image.new("L", (SIZE, SIZE), 255)
        self.labels = Image.new("RGB", (SIZE, SIZE), FACADE_LABELS["background"])
        self.shadow = rng.choice([-0.7, 0.7])  # its pixels to the side, for each that a thing stands out

    def fill(self, image: Image.Image, box: Box, colour: Colour) -> None:
        """Fills a box of the photograph, the light or the label map."""
        left, top, right, bottom = (round(edge) for edge in box)
        if right > left and bottom > top:
            ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), colour)

    def part(self, name: str, box: Box, colour: Colour, depth: float = 0, pitch: int = 0) -> None:
        """A part of the house: its label, its face, its shadow if it stands out, and lines across if it has slats."""
        left, top, right, bottom = box
        self.fill(self.labels, box, FACADE_LABELS[name])
        if depth:
            aside = self.shadow * depth
            self.fill(self.light, (left + aside, top + depth, right + aside, bottom + depth), 135)
            self.fill(self.light, box, 255)
        self.fill(self.photo, box, colour)
        for y in range(round(top) + pitch, round(bottom), pitch or SIZE):
            self.fill(self.photo, (left, y, right, y + 1), tuple(value * 6 // 10 for value in colour))

    def glass(self, name: str, box: Box, frame: Colour, panes: int) -> None:
        """A window or a shop: the sky's reflection above, dark below, with bars and a frame."""
        left, top, right, bottom = box
        self.part(name, box, GLASS)
        self.fill(self.photo, (left, top, right, (top + bottom) / 2), tuple(value + 40 for value in GLASS))
        for x in np.linspace(left, right - 1, panes + 1):
            self.fill(self.photo, (x, top, x + 1, bottom), frame)
        for y in (top, bottom - 1):
            self.fill(self.photo, (left, y, right, y + 1), frame)


def clouds(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise [SIZE, SIZE, 1], deviation about 1, with `cells` bumps along each axis."""
    coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((SIZE, SIZE), Image.BICUBIC))[..., None]


def draw_house(rng: np.random.Generator, canvas: Canvas, house: Box) -> None:
    """The facade: storeys of windows under a molding, and a ground floor with a door, shops or more windows."""
    left, top, right, ground = house
    wall, frame, shutter = pick(rng, WALLS), pick(rng, PAINTS), pick(rng, PAINTS[1:])
    trim = pick(rng, [tuple(value * 8 // 10 for value in wall), PAINTS[0]])
    head, sill, blinds, deco, shops = rng.random(5) < (0.7, 0.7, 0.3, 0.3, 0.5)
    balconies, panes, course = rng.choice([0, 0.3]), rng.integers(1, 4), rng.choice([0, 4, 8])
    storeys, columns = rng.integers(2, 6), rng.integers(3, 7)
    lines, cell = np.linspace(top + 12, ground, storeys + 1), (right - left) / columns
    half = cell * rng.uniform(0.18, 0.28)
    canvas.part("facade", house, wall, pitch=int(course))
    canvas.part("molding", (left, top, right, top + 12), trim, 6)
    if rng.random() < 0.25:
        for x in left + cell * np.arange(1, columns):  # between the windows
            canvas.part("pillar", (x - 2, top + 12, x + 2, lines[-2]), trim, 2)
    for above, below in zip(lines[:-2], lines[1:]):
        over, under = above + 0.3 * (below - above), above + 0.76 * (below - above)
        for x in left + cell * (np.arange(columns) + 0.5):
            canvas.glass("window", (x - half, over, x + half, under), frame, panes)
            if head:
                canvas.part("cornice", (x - half - 2, over - 5, x + half + 2, over - 1), trim, 3)
            if sill:
                canvas.part("sill", (x - half - 2, under, x + half + 2, under + 3), trim, 2)
            if blinds and rng.random() < 0.6:
                canvas.part("blind", (x - half, over, x + half, rng.uniform(over, under)), PAINTS[0], pitch=2)
            if rng.random() < balconies:
                canvas.part("balcony", (x - half - 3, (over + under) / 2, x + half + 3, under + 4), shutter, 5, 3)
            elif deco:
                canvas.part("deco", (x - half, under + 4, x + half, under + 8), trim, 1)
    entrance, high = rng.integers(columns), ground - lines[-2]
    canvas.part("molding", (left, lines[-2] - 4, right, lines[-2]), trim, 3)
    for column, x in enumerate(left + cell * (np.arange(columns) + 0.5)):
        over = lines[-2] + 0.26 * high
        if column == entrance:
            canvas.part("door", (x - half, over, x + half, ground), shutter, 1, 6)
        elif shops:
            canvas.glass("shop", (x - 0.45 * cell, over, x + 0.45 * cell, ground - 1), frame, 2)
        else:
            canvas.glass("window", (x - half, over, x + half, ground - 0.28 * high), frame, panes)


def develop(rng: np.random.Generator, canvas: Canvas) -> Image.Image:
    """The photograph as a camera takes it: shadows, uneven light, a tint, softness and noise; RGB, SIZE x SIZE."""
    shadow = 1 - np.asarray(canvas.light.filter(ImageFilter.GaussianBlur(0.7)), np.float32)[..., None] / 255
    pixels = np.asarray(canvas.photo, np.float32) * (1 - rng.choice([0.35, 0.7, 1.0]) * shadow)  # overcast to bright
    slope = np.linspace(-1, 1, SIZE, dtype=np.float32)
    pixels *= 1 + rng.uniform(-0.1, 0.1) * slope[:, None, None] + rng.uniform(-0.14, 0.14) * slope[:, None]
    pixels *= (1 + 0.03 * clouds(rng, 7)) * rng.uniform(0.82, 1.1) * rng.normal(1, 0.03, 3)
    pixels += rng.normal(0, 1, pixels.shape) * rng.uniform(1.5, 4)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.5))


def draw_pair(rng: np.random.Generator) -> Image.Image:
    """One pair, RGB, 512 x 256: the photograph on the left, its label map on the right."""
    canvas, margins = Canvas(rng), rng.integers(0, 34, 2) * (rng.random(2) < 0.6)
    ground = int(rng.integers(230, 250))
    canvas.fill(canvas.photo, (0, ground, SIZE, SIZE), STREET)
    draw_house(rng, canvas, (margins[0], rng.integers(4, 64), SIZE - margins[1], ground))
    pair = Image.new("RGB", (2 * SIZE, SIZE))
    pair.paste(develop(rng, canvas), (0, 0))
    pair.paste(canvas.labels, (SIZE, 0))
    return pair


def write(args: argparse.Namespace) -> None:
    """Draws the set into a new folder."""
    counts = {"train": args.train, "val": args.val}
    with cli.new_set(args.output_path) as work, tqdm(total=sum(counts.values()), unit="", disable=None) as bar:
        for number, (split, count) in enumerate(counts.items()):
            (work / split).mkdir()
            for index in range(count):
                pair = draw_pair(np.random.default_rng([args.seed, number, index]))
                pair.save(work / split / f"{index + 1}.jpg", quality=95, subsampling=0)  # 4:4:4 keeps labels' colours
                bar.update()
    report(args.output_path, counts, "--which_direction=BtoA")


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
