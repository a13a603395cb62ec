"""Draws a small data set of facades, offline, in the form of the CMP facades that the paper trains on.

    python sample_data.py --output_path facades

Each image holds a photograph (left, A) and its label map (right, B), one flat colour for each of CMP's twelve classes.
What is where can be learnt from it; the colour of a wall, the sun and the weather can not, as in the real set.
"""

import argparse
from types import SimpleNamespace
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from data import FACADE_LABELS
from PIL import Image, ImageDraw, ImageFilter
from prepare import report
from tqdm import tqdm

from common import cli

WALLS = [  # plaster, brick and stone as they are seen in a street
    (226, 206, 160), (214, 190, 150), (236, 226, 204), (200, 196, 186), (222, 170, 120), (196, 132, 104),
    (164, 88, 66), (150, 74, 58), (176, 166, 148), (208, 214, 196), (190, 204, 214), (228, 190, 178), (140, 130, 118),
]  # fmt: skip
PAINTS = [(238, 236, 228), (228, 220, 204), (110, 74, 48), (62, 44, 34), (60, 82, 66), (46, 60, 84), (120, 40, 34)]
SIGNS = [(150, 40, 36), (38, 84, 62), (40, 62, 112), (196, 160, 70), (60, 56, 54)]
SKIES = [((108, 150, 206), (206, 222, 236)), ((232, 234, 238), (246, 246, 246)), ((168, 178, 190), (222, 222, 220)),
         ((92, 128, 180), (244, 214, 178))]  # fmt: skip
STREETS = [(112, 110, 108), (90, 90, 94), (142, 136, 128)]
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


def tint(colour: Colour, factor: float) -> Colour:
    """A colour made darker (`factor` below 1) or lighter."""
    return tuple(min(255, round(value * factor)) for value in colour)


def pick(rng: np.random.Generator, colours: list, jitter: float = 10.0) -> Colour:
    """One of `colours`, slightly changed."""
    picked = np.array(colours[rng.integers(len(colours))]) + rng.normal(0, jitter / 2, 3) + rng.normal(0, jitter)
    return tuple(int(value) for value in picked.clip(8, 250))


def clouds(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Smooth noise [height, width, 1], float32, deviation about 1, with `cells` bumps along each axis."""
    coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.BICUBIC))[..., None]


class Canvas:
    """A pair while it is drawn: the photograph, the light that falls on it, and the label map.

    Args:
        sun: where shadows fall, in pixels for each pixel that a thing stands out.
    """

    def __init__(self, sun: tuple[float, float]) -> None:
        self.sun = sun
        self.photo, self.light = Image.new("RGB", (SIZE, SIZE)), Image.new("L", (SIZE, SIZE), 255)
        self.labels = Image.new("RGB", (SIZE, SIZE), FACADE_LABELS["background"])

    def fill(self, box: Box, colour: Colour, image: Optional[Image.Image] = None) -> tuple[int, ...]:
        """Fills a box of the photograph, or of another image; returns it in whole pixels."""
        left, top, right, bottom = box = tuple(round(edge) for edge in box)
        if right > left and bottom > top:
            ImageDraw.Draw(image or self.photo).rectangle((left, top, right - 1, bottom - 1), colour)
        return box

    def part(self, name: str, box: Box, colour: Colour, depth: float = 0) -> tuple[int, ...]:
        """A part of the house: its label, its shadow if it stands out, and its face, bright above and dark below."""
        left, top, right, bottom = box = self.fill(box, FACADE_LABELS[name], self.labels)
        if depth:
            dx, dy = self.sun[0] * depth, self.sun[1] * depth
            self.fill((left + dx, top + dy, right + dx, bottom + dy), 135, self.light)
        self.fill(box, colour)
        if depth:
            self.fill((left, top, right, top + 1), tint(colour, 1.12))
            self.fill((left, bottom - 1, right, bottom), tint(colour, 0.76))
        return box

    def stripes(self, box: Box, colour: Colour, pitch: int, upright: bool = False) -> None:
        """Dark lines, as slats or bars have them."""
        left, top, right, bottom = box
        for at in range((left if upright else top) + pitch, right if upright else bottom, pitch):
            self.fill((at, top, at + 1, bottom) if upright else (left, at, right, at + 1), tint(colour, 0.6))

    def texture(self, box: Box, pixels: np.ndarray) -> None:
        """Puts colours [height, width, 3] into the photograph."""
        self.photo.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), box[:2])


def masonry(rng: np.random.Generator, box: Box, colour: Colour, course: int) -> np.ndarray:
    """A wall in courses of so many pixels, or of plaster where that is 0."""
    height, width = box[3] - box[1], box[2] - box[0]
    relief = 0.02 * rng.normal(0, 1, (height, width, 1)) + 0.035 * clouds(rng, height, width, 7)
    if course:
        rows, block = np.arange(height) // course, round(2.4 * course)
        along = np.arange(width)[None] + (rows % 2 * block // 2)[:, None]
        relief += rng.normal(0, 0.05, (rows[-1] + 1, width // block + 2))[rows[:, None], along // block, None]
        relief -= 0.12 * ((np.arange(height) % course == 0)[:, None] | (along % block == 0))[..., None]
    return np.array(colour) * (1 + relief)


def draw_glass(rng: np.random.Generator, canvas: Canvas, name: str, box: Box, style: SimpleNamespace) -> None:
    """A window or a shop: dark below, with the sky's reflection above, behind a frame with bars."""
    left, top, right, bottom = box = canvas.part(name, box, style.frame)
    if right - left < 4 or bottom - top < 4:
        return
    down, across = np.mgrid[0 : 1 : (bottom - top) * 1j, 0 : 1 : (right - left) * 1j]
    shine = (1 - down) * rng.uniform(0.15, 0.5) + 0.22 * (down + rng.uniform(-0.4, 0.4) * across < rng.uniform(0, 0.9))
    canvas.texture(box, np.array((34, 38, 44)) * (1 - shine[..., None]) + np.array(style.sky) * shine[..., None])
    for x in np.linspace(left, right - 1, style.panes[0] + 1):
        canvas.fill((x, top, x + 1, bottom), style.frame)
    for y in np.linspace(top, bottom - 1, style.panes[1] + 1):
        canvas.fill((left, y, right, y + 1), style.frame)
    canvas.fill((left, top, right, top + 0.08 * (bottom - top)), 110, canvas.light)  # the reveal's shadow


def draw_window(rng: np.random.Generator, canvas: Canvas, box: Box, style: SimpleNamespace, room: float) -> None:
    """A window and what stands around it: head, sill, blinds, a balcony. `room`: free wall on each side, in pixels."""
    left, top, right, bottom = box
    over, height, width = min(room, 2.5), bottom - top, right - left
    canvas.fill((left - 1, top - 1, right + 1, bottom + 1), style.trim)
    draw_glass(rng, canvas, "window", box, style)
    if style.head:
        canvas.part("cornice", (left - over, top - max(4, 0.24 * height), right + over, top - 1), style.trim, 2.5)
    if style.sill:
        canvas.part("sill", (left - over, bottom, right + over, bottom + 2.6), style.trim, 2)
    if style.blind == "shutters" and room >= 4:
        wide = min(0.5 * width, room - 1)
        for x in (left - wide, right):
            canvas.stripes(canvas.part("blind", (x, top, x + wide, bottom), style.shutter), style.shutter, 2)
    if style.blind == "roller" and rng.random() < 0.6:
        down = top + rng.uniform(0.2, 0.9) * height
        canvas.stripes(canvas.part("blind", (left, top, right, down), (206, 200, 188)), (206, 200, 188), 2)
    if rng.random() < style.balconies:
        rail = canvas.part("balcony", (left - 3, top + 0.55 * height, right + 3, bottom + 4), style.shutter, 5)
        canvas.stripes(rail, style.shutter, 2, upright=True)
    elif style.deco:
        canvas.part("deco", (left, bottom + 4, right, bottom + 0.35 * height), style.trim, 1)


def draw_ground_floor(
    rng: np.random.Generator, canvas: Canvas, floor: Box, columns: int, style: SimpleNamespace
) -> None:
    """A door, and shops or windows beside it."""
    left, top, right, ground = floor
    cell, high = (right - left) / columns, ground - top
    entrance, shops = int(rng.integers(columns)), rng.random() < 0.5
    for column in range(columns):
        middle = left + cell * (column + 0.5)
        if column == entrance:
            half = min(0.3 * cell, 9)
            door = canvas.part("door", (middle - half, top + 0.26 * high, middle + half, ground), style.shutter, 1)
            canvas.stripes(door, style.shutter, 4, upright=True)
        elif shops:
            box = (middle - 0.45 * cell, top + 0.14 * high, middle + 0.45 * cell, ground - 1)
            draw_glass(rng, canvas, "shop", box, style)
            canvas.fill((box[0], box[1], box[2], box[1] + 0.2 * high), pick(rng, SIGNS, 16))
        else:
            box = (middle - 0.24 * cell, top + 0.26 * high, middle + 0.24 * cell, top + 0.72 * high)
            draw_glass(rng, canvas, "window", box, style)


def draw_house(rng: np.random.Generator, canvas: Canvas, house: Box, sky: Colour) -> None:
    """The facade: storeys of windows, ledges between them, a ground floor."""
    left, top, right, ground = house
    wall = pick(rng, WALLS, 12)
    canvas.part("facade", house, wall)
    canvas.texture(house, masonry(rng, house, wall, [0, 0, 4, 7, 9][rng.integers(5)]))
    style = SimpleNamespace(  # what one house has in common from window to window
        trim=pick(rng, [tint(wall, 1.14), tint(wall, 0.84), (226, 220, 206), (236, 234, 230)], 4),
        frame=pick(rng, PAINTS),
        shutter=pick(rng, PAINTS[2:]),
        sky=sky,
        panes=rng.integers(1, 4, 2),  # columns and rows
        head=rng.random() < 0.7,
        sill=rng.random() < 0.7,
        blind=rng.choice(["", "", "shutters", "roller"]),
        balconies=rng.choice([0, 0, 0.2, 0.5]),
        deco=rng.random() < 0.3,
    )
    storeys = int(np.clip((ground - top) / rng.uniform(34, 64), 2, 6))
    columns = int(np.clip((right - left) / rng.uniform(24, 46), 3, 9))
    crown = rng.uniform(6, 16)  # the band under the roof
    lines = np.linspace(top + crown, ground, storeys + 1)
    cell = (right - left) / columns
    wide = cell * rng.uniform(0.36, 0.58)
    canvas.part("molding", (left, top, right, top + crown), style.trim, 6)
    for y in lines[1:-1]:
        if rng.random() < 0.4:
            canvas.part("molding", (left, y - rng.uniform(3, 5), right, y), style.trim, 3)
    if rng.random() < 0.25:
        for x in left + cell * np.arange(1, columns):  # between the windows of the upper storeys
            canvas.part("pillar", (x - 2, top + crown, x + 2, lines[-2] - 5), style.trim, 2)
    for above, below in zip(lines[:-2], lines[1:]):
        for middle in left + cell * (np.arange(columns) + 0.5):
            over, high = above + 0.3 * (below - above), 0.46 * (below - above)
            box = tuple(round(edge) for edge in (middle - wide / 2, over, middle + wide / 2, over + high))
            draw_window(rng, canvas, box, style, (cell - wide) / 2 - 1)
    draw_ground_floor(rng, canvas, (left, lines[-2], right, ground), columns, style)


def develop(rng: np.random.Generator, canvas: Canvas) -> Image.Image:
    """The photograph as a camera takes it: shadows, uneven light, a tint, softness and noise; RGB, SIZE x SIZE."""
    light = np.asarray(canvas.light.filter(ImageFilter.GaussianBlur(0.7)), np.float32)[..., None] / 255
    pixels = np.asarray(canvas.photo, np.float32)
    pixels = pixels * (1 - rng.choice([0.35, 0.7, 1.0]) * (1 - light))  # from an overcast day to a bright one
    slope = np.linspace(-1, 1, SIZE, dtype=np.float32)
    pixels = pixels * (1 + rng.uniform(-0.1, 0.1) * slope[:, None, None] + rng.uniform(-0.14, 0.14) * slope[:, None])
    pixels = pixels * rng.uniform(0.82, 1.1) * rng.normal(1, 0.03, 3)
    pixels = pixels + rng.normal(0, 1, pixels.shape) * rng.uniform(1.5, 4) + 2 * clouds(rng, SIZE, SIZE, 90)
    photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.7)))


def draw_pair(rng: np.random.Generator) -> Image.Image:
    """One pair, RGB, 512 x 256: the photograph on the left, its label map on the right."""
    canvas = Canvas(sun=(rng.choice([-1, 1]) * rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.1)))
    margins = rng.uniform(0, 34, 2) * (rng.random(2) < 0.6)
    house = (round(margins[0]), int(rng.integers(4, 64)), SIZE - round(margins[1]), int(rng.integers(230, 250)))
    above, below = SKIES[rng.integers(len(SKIES))]
    down = np.linspace(0, 1, SIZE)[:, None, None] ** 0.8
    sky = np.array(above) * (1 - down) + np.array(below) * down
    canvas.texture((0, 0), sky + 7 * clouds(rng, SIZE, SIZE, 6))
    street = pick(rng, STREETS)
    canvas.fill((0, house[3], SIZE, SIZE), street)
    canvas.fill((0, house[3], SIZE, house[3] + 5), tint(street, 1.25))
    draw_house(rng, canvas, house, above)
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
