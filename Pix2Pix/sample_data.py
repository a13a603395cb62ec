"""Draws a small data set of facades, offline, in the form of the CMP facades that the paper trains on.

    python sample_data.py --output_path facades

Each picture holds a photograph (left, A) and its label map (right, B). The label map is one flat colour a class:
the twelve classes and colours of CMP facades (Tylecek and Sara, "Spatial Pattern Templates for Recognition of Objects
with Regular Structure", 2013). What is where can be learnt from it; the colour of a wall, the sun and the weather can
not, as in the real set.
"""

import argparse
import sys
from dataclasses import dataclass, field
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from prepare import report
from tqdm import tqdm

from common import cli

PALETTE = {
    "background": (0, 0, 222),
    "facade": (0, 48, 255),
    "window": (0, 128, 255),
    "door": (0, 208, 255),
    "cornice": (32, 255, 224),
    "sill": (112, 255, 144),
    "balcony": (192, 255, 64),
    "blind": (255, 240, 0),
    "deco": (255, 160, 0),
    "molding": (255, 80, 0),
    "pillar": (255, 0, 0),
    "shop": (174, 0, 0),
}
WALLS = [  # plaster, brick and stone as they are seen in a street
    (226, 206, 160), (214, 190, 150), (236, 226, 204), (200, 196, 186), (222, 170, 120), (196, 132, 104),
    (164, 88, 66), (150, 74, 58), (176, 166, 148), (208, 214, 196), (190, 204, 214), (228, 190, 178), (140, 130, 118),
]  # fmt: skip
PAINTS = [(238, 236, 228), (228, 220, 204), (110, 74, 48), (62, 44, 34), (60, 82, 66), (46, 60, 84), (120, 40, 34)]
ROOFS = [(128, 66, 48), (96, 52, 42), (84, 84, 88), (110, 100, 92)]
SKIES = [((108, 150, 206), (206, 222, 236)), ((232, 234, 238), (246, 246, 246)), ((168, 178, 190), (222, 222, 220)),
         ((92, 128, 180), (244, 214, 178))]  # fmt: skip
SIZE = 256
FINE = 2  # photographs are drawn at twice their size and averaged, which softens the edges as a lens does

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the finished half; ends excluded
Colour = tuple[int, ...]


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description="Draws a small set of facades and their label maps, offline.")
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
    drawn = np.array(colours[rng.integers(len(colours))]) + rng.normal(0, jitter / 2, 3) + rng.normal(0, jitter)
    return tuple(int(value) for value in drawn.clip(8, 250))


def clouds(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Smooth noise [height, width], float32, deviation about 1; `cells` says how many bumps a side has."""
    coarse = Image.fromarray(rng.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.BICUBIC))


def masonry(rng: np.random.Generator, height: int, width: int, colour: Colour, course: int, block: int) -> Image.Image:
    """A wall of the given size (fine pixels) in blocks of `block` x `course`, or of plaster where `course` is 0."""
    relief = 0.02 * rng.normal(0, 1, (height, width)) + 0.035 * clouds(rng, height, width, 7)
    if course:
        rows = np.arange(height) // course
        along = np.arange(width)[None] + (rows % 2 * block // 2)[:, None]
        tones = rng.normal(0, 0.07 if course < 12 else 0.03, (rows[-1] + 1, width // block + 2))
        relief = relief + tones[rows[:, None], along // block]
        joint = (np.arange(height) % course == 0)[:, None] | (along % block == 0)
        relief = relief + np.where(joint, 0.16 if course < 12 and sum(colour) < 450 else -0.16, 0)
    pixels = np.array(colour) * (1 + relief[..., None])
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@dataclass
class Canvas:
    """A pair while it is drawn: the photograph and its shadows at FINE times the size, the label map at SIZE."""

    sun: tuple[float, float]  # where shadows fall, in pixels for each pixel that a thing stands out
    photo: Image.Image = field(default_factory=lambda: Image.new("RGB", (SIZE * FINE, SIZE * FINE)))
    light: Image.Image = field(default_factory=lambda: Image.new("L", (SIZE * FINE, SIZE * FINE), 255))
    labels: Image.Image = field(default_factory=lambda: Image.new("RGB", (SIZE, SIZE), PALETTE["background"]))

    def mark(self, name: str, box: Box) -> Box:
        """Fills a box of the label map; returns it in whole pixels."""
        left, top, right, bottom = box = tuple(round(side) for side in box)
        if right > left and bottom > top:
            ImageDraw.Draw(self.labels).rectangle((left, top, right - 1, bottom - 1), PALETTE[name])
        return box

    def fill(self, box: Box, colour: Colour) -> None:
        """Fills a box of the photograph."""
        left, top, right, bottom = (round(side * FINE) for side in box)
        if right > left and bottom > top:
            ImageDraw.Draw(self.photo).rectangle((left, top, right - 1, bottom - 1), colour)

    def polygon(self, points: list[tuple[float, float]], colour: Colour) -> None:
        """Fills a polygon of the photograph."""
        ImageDraw.Draw(self.photo).polygon([(x * FINE, y * FINE) for x, y in points], colour)

    def paste(self, picture: Image.Image, box: Box) -> None:
        """Puts a picture (in fine pixels) into the photograph."""
        self.photo.paste(picture, (round(box[0] * FINE), round(box[1] * FINE)))

    def shade(self, box: Box, depth: float, strength: int = 120) -> None:
        """The shadow of a box that stands out by `depth` pixels; what is drawn in the box later stays in it."""
        left, top, right, bottom = box
        dx, dy = self.sun[0] * depth, self.sun[1] * depth
        corners = [(left, bottom), (right, bottom), (right + dx, bottom + dy), (left + dx, bottom + dy)]
        ImageDraw.Draw(self.light).polygon([(x * FINE, y * FINE) for x, y in corners], 255 - strength)
        side = right if dx > 0 else left
        corners = [(side, top), (side + dx, top + dy), (side + dx, bottom + dy), (side, bottom)]
        ImageDraw.Draw(self.light).polygon([(x * FINE, y * FINE) for x, y in corners], 255 - strength)

    def ledge(self, name: str, box: Box, colour: Colour, depth: float) -> None:
        """A moulded band that stands out: bright above, dark below, with its shadow."""
        left, top, right, bottom = box = self.mark(name, box)
        self.shade(box, depth)
        self.fill(box, colour)
        height = bottom - top
        self.fill((left, top, right, top + max(0.5, height * 0.2)), tint(colour, 1.12))
        self.fill((left, bottom - max(0.5, height * 0.3), right, bottom), tint(colour, 0.78))
        if height >= 6:
            self.fill((left, top + height * 0.45, right, top + height * 0.45 + 0.5), tint(colour, 0.7))


@dataclass
class Style:
    """What one house has in common from window to window."""

    trim: Colour
    frame: Colour
    shutter: Colour
    door: Colour
    curtain: float  # how often a window has one
    panes: tuple[int, int]  # columns and rows
    head: str  # over the windows: "", "flat" or "gable"
    sill: bool
    blind: str  # "", "shutters" beside the windows, or "roller"
    deco: bool
    arched: bool


def draw_style(rng: np.random.Generator, wall: Colour) -> Style:
    trims = [tint(wall, 1.14), tint(wall, 0.84), (226, 220, 206), (236, 234, 230)]
    return Style(
        trim=pick(rng, trims, 4),
        frame=pick(rng, PAINTS),
        shutter=pick(rng, PAINTS[2:]),
        door=pick(rng, PAINTS[2:]),
        curtain=rng.choice([0.1, 0.4, 0.8]),
        panes=(int(rng.integers(1, 4)), int(rng.integers(1, 4))),
        head=rng.choice(["", "flat", "gable", "gable"]),
        sill=bool(rng.random() < 0.7),
        blind=rng.choice(["", "", "shutters", "roller"]),
        deco=bool(rng.random() < 0.3),
        arched=bool(rng.random() < 0.2),
    )


def glass(rng: np.random.Generator, box: Box, sky: Colour, curtain: bool) -> Image.Image:
    """A pane: dark below, the sky's reflection above with a slanted edge, perhaps a curtain behind."""
    height, width = (round((box[i + 2] - box[i]) * FINE) for i in (1, 0))
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    shine = (1 - down) * rng.uniform(0.15, 0.5) + 0.22 * (down + rng.uniform(-0.4, 0.4) * across < rng.uniform(0, 0.9))
    pixels = np.array((34, 38, 44)) * (1 - shine[..., None]) + np.array(sky) * shine[..., None]
    if curtain:
        folds = 0.92 + 0.08 * np.sin(across * width / rng.uniform(1.0, 2.0))
        cloth = np.abs(across - 0.5) > rng.uniform(0, 0.35)
        pixels = np.where(cloth[..., None], 0.45 * pixels + 0.5 * np.array((214, 208, 196)) * folds[..., None], pixels)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_window(rng: np.random.Generator, canvas: Canvas, box: Box, style: Style, wall: Colour, sky: Colour) -> None:
    """A window with its frame and bars, set back into the wall."""
    left, top, right, bottom = box = canvas.mark("window", box)
    width, height = right - left, bottom - top
    if width < 3 or height < 3:
        return
    canvas.paste(glass(rng, box, sky, rng.random() < style.curtain), box)
    columns, rows = (max(1, min(n, side // 5)) for n, side in zip(style.panes, (width, height)))
    for x in np.linspace(left, right, columns + 1):
        canvas.fill((max(left, x - 0.5), top, min(right, x + 0.5), bottom), style.frame)
    for y in np.linspace(top, bottom, rows + 1):
        canvas.fill((left, max(top, y - 0.5), right, min(bottom, y + 0.5)), style.frame)
    if style.arched and height > 1.2 * width:  # the wall's corners reach over a round head
        middle, radius = (left + right) / 2, width / 2
        for side, corner in ((-1, left), (1, right)):
            turns = np.linspace(0, np.pi / 2, 9)
            arc = [(middle + side * radius * np.cos(a), top + radius * (1 - np.sin(a))) for a in turns]
            canvas.polygon([*arc, (corner, top)], tint(wall, 0.92))
    recess = ImageDraw.Draw(canvas.light)  # the reveal's shadow on the glass
    recess.rectangle((left * FINE, top * FINE, right * FINE - 1, (top + 0.08 * height) * FINE), 110)
    edge = left if canvas.sun[0] > 0 else right - 0.08 * width
    recess.rectangle((edge * FINE, top * FINE, (edge + 0.08 * width) * FINE, bottom * FINE - 1), 150)


def dress_window(canvas: Canvas, box: Box, style: Style, room: float) -> None:
    """What stands around a window: head, sill, blinds. `room` is the free wall on each side, in pixels."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    over = min(room, 2.5)
    surround = (left - 1, top - 1, right + 1, bottom + 1)
    canvas.fill(surround, style.trim)
    if style.head:
        head = (left - over, top - max(4, 0.24 * height), right + over, top - 1)
        canvas.ledge("cornice", head, style.trim, 2.5)
        if style.head == "gable":
            x0, y0, x1, y1 = (round(side) for side in head)
            canvas.fill((x0, y0, x1, y1 - 1.5), tint(style.trim, 0.86))
            canvas.polygon([(x0, y1 - 1), ((x0 + x1) / 2, y0), (x1, y1 - 1)], tint(style.trim, 1.06))
            canvas.polygon([(x0 + 3, y1 - 1.5), ((x0 + x1) / 2, y0 + 1.5), (x1 - 3, y1 - 1.5)], tint(style.trim, 0.9))
    if style.sill:
        canvas.ledge("sill", (left - over, bottom, right + over, bottom + 2.6), style.trim, 2)
    if style.blind == "shutters" and room >= 4:
        wide = min(0.5 * width, room - 1)
        for x in (left - wide, right):
            blind = canvas.mark("blind", (x, top, x + wide, bottom))
            canvas.shade(blind, 1.0)
            slats(canvas, blind, style.shutter, 1.5)


def slats(canvas: Canvas, box: Box, colour: Colour, pitch: float) -> None:
    """Blinds: lit and dark lines in turn."""
    left, top, right, bottom = box
    canvas.fill(box, colour)
    for y in np.arange(top + pitch, bottom, pitch):
        canvas.fill((left + 0.5, y, right - 0.5, y + 0.5), tint(colour, 0.66))


def draw_balcony(canvas: Canvas, box: Box, metal: bool, style: Style) -> None:
    """A slab and a railing, of metal bars or of stone, over the lower part of a window."""
    left, top, right, bottom = box = canvas.mark("balcony", box)
    canvas.shade(box, 5)
    colour = (40, 40, 42) if metal else style.trim
    if not metal:
        canvas.fill(box, tint(colour, 0.8))
    for x in np.arange(left + 0.5, right - 0.5, 2 if metal else 2.5):
        canvas.fill((x, top, x + (0.5 if metal else 1.5), bottom - 2), colour)
    canvas.fill((left, top, right, top + 1), colour)
    canvas.fill((left, bottom - 2, right, bottom), tint(style.trim, 0.9))
    canvas.fill((left, bottom - 0.5, right, bottom), tint(style.trim, 0.55))


def draw_door(canvas: Canvas, box: Box, style: Style) -> None:
    """A two-winged panelled door in its surround."""
    left, top, right, bottom = box = canvas.mark("door", box)
    canvas.fill((left - 1.5, top - 2, right + 1.5, bottom), style.trim)
    canvas.fill(box, style.door)
    middle, light = (left + right) / 2, top + 0.2 * (bottom - top)
    canvas.fill((left + 1, top + 1, right - 1, light), (52, 56, 62))
    for x0, x1 in ((left + 1.5, middle - 1), (middle + 1, right - 1.5)):
        for y0, y1 in ((light + 2, light + (bottom - light) * 0.5), (light + (bottom - light) * 0.58, bottom - 2)):
            canvas.fill((x0, y0, x1, y1), tint(style.door, 0.72))
            canvas.fill((x0 + 0.5, y0 + 0.5, x1, y1), tint(style.door, 1.15))
    canvas.fill((middle - 0.25, light, middle + 0.25, bottom), tint(style.door, 0.5))
    ImageDraw.Draw(canvas.light).rectangle((left * FINE, top * FINE, right * FINE - 1, (top + 2) * FINE), 120)


def draw_shop(rng: np.random.Generator, canvas: Canvas, box: Box, sky: Colour) -> None:
    """A shop window under a sign, perhaps with an awning."""
    left, top, right, bottom = box = canvas.mark("shop", box)
    colour = pick(rng, [(150, 40, 36), (38, 84, 62), (40, 62, 112), (196, 160, 70), (60, 56, 54)], 16)
    canvas.fill(box, tint(colour, 0.6))
    sign = top + 0.24 * (bottom - top)
    canvas.fill((left, top, right, sign), colour)
    for x in np.arange(left + 3, right - 4, 2.5):  # a name that is too small to read
        if rng.random() < 0.8:
            canvas.fill((x, top + 0.3 * (sign - top), x + 1.5, top + 0.7 * (sign - top)), tint(colour, 2.2))
    pane = tuple(round(side) for side in (left + 1, sign + 1, right - 1, bottom - 3))
    if pane[2] - pane[0] >= 3 and pane[3] - pane[1] >= 3:
        canvas.paste(glass(rng, pane, (250, 214, 150) if rng.random() < 0.5 else sky, False), pane)
        for _ in range(int(rng.integers(2, 6))):  # goods on display
            x, tall = rng.uniform(pane[0], pane[2] - 3), rng.uniform(3, 0.6 * (pane[3] - pane[1]))
            canvas.fill((x, pane[3] - tall, x + 3, pane[3]), pick(rng, WALLS + PAINTS, 20))
    if rng.random() < 0.35:
        stripes = np.linspace(left, right, max(3, (right - left) // 4) | 1)
        for index, (x0, x1) in enumerate(zip(stripes, stripes[1:])):
            canvas.fill((x0, sign - 1, x1, sign + 5), (236, 232, 222) if index % 2 else colour)
        canvas.shade((left, sign - 1, right, sign + 5), 3, 90)


def draw_surroundings(rng: np.random.Generator, canvas: Canvas, house: Box, sky: tuple[Colour, Colour]) -> None:
    """Sky, neighbours, roof and street: all of it background in the label map."""
    left, top, right, ground = house
    down = np.linspace(0, 1, SIZE * FINE)[:, None, None] ** 0.8
    drifts = 7 * clouds(rng, SIZE * FINE, SIZE * FINE, 6)[..., None]
    pixels = np.array(sky[0]) * (1 - down) + np.array(sky[1]) * down + drifts
    canvas.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), (0, 0, SIZE, SIZE))
    for x0, x1 in ((0, left), (right, SIZE)):
        if x1 - x0 >= 4 and rng.random() < 0.8:  # a neighbour, whose windows nobody labelled
            wall, roof = pick(rng, WALLS, 14), top + rng.uniform(-20, 50)
            canvas.fill((x0, roof, x1, ground), wall)
            canvas.fill((x0, roof, x1, roof + 4), tint(wall, 0.75))
            for y in np.arange(roof + 14, ground - 12, rng.uniform(24, 40)):
                for x in np.arange(x0 + 3, x1 - 7, 14):
                    canvas.fill((x, y, x + 7, y + 13), (58, 62, 70))
    if rng.random() < 0.6:
        high, slope, colour = rng.uniform(8, 34), rng.uniform(0, 16), pick(rng, ROOFS)
        canvas.polygon([(left, top), (left + slope, top - high), (right - slope, top - high), (right, top)], colour)
        for y in np.arange(top - high, top, 2):
            inset = slope * (top - y) / high
            canvas.fill((left + inset, y, right - inset, y + 0.5), tint(colour, 0.8))
        for x in np.arange(left + rng.uniform(20, 60), right - 20, rng.uniform(50, 120)):
            canvas.fill((x, top - high - 8, x + 7, top - high + 3), pick(rng, WALLS[4:8]))
    street = pick(rng, [(112, 110, 108), (90, 90, 94), (142, 136, 128)])
    pavement = ground + rng.uniform(3, 7)
    canvas.fill((0, ground, SIZE, pavement), tint(street, 1.25))
    canvas.fill((0, pavement, SIZE, pavement + 1), tint(street, 1.45))
    canvas.fill((0, pavement + 1, SIZE, SIZE), street)


def draw_house(rng: np.random.Generator, canvas: Canvas, house: Box, sky: Colour) -> None:
    """The facade: storeys of windows, ledges between them, a door and perhaps shops below."""
    left, top, right, ground = canvas.mark("facade", house)
    wall = pick(rng, WALLS, 12)
    style = draw_style(rng, wall)
    course, block = [(0, 0), (0, 0), (5, 12), (5, 14), (14, 32), (18, 44)][rng.integers(6)]
    canvas.paste(masonry(rng, (ground - top) * FINE, (right - left) * FINE, wall, course, block), house)
    storeys = int(np.clip((ground - top) / rng.uniform(34, 64), 2, 6))
    columns = int(np.clip((right - left) / rng.uniform(24, 46), 3, 9))
    crown = rng.uniform(6, 16)  # the band under the roof
    lines = np.linspace(top + crown, ground - rng.uniform(1.0, 1.3) * (ground - top - crown) / storeys, storeys)
    lines = [*lines, ground]
    base = lines[-2]
    if rng.random() < 0.5:  # a ground floor of coarser stone
        stone = pick(rng, [tint(wall, 0.85), (150, 144, 134), tint(wall, 1.1)], 6)
        size = (round((ground - base) * FINE), round((right - left) * FINE))
        canvas.paste(masonry(rng, *size, stone, 14, 40), (left, ground - size[0] / FINE, right, ground))
    canvas.ledge("molding", (left, top, right, top + crown), style.trim, 6)
    if crown > 9:
        for x in np.arange(left + 1, right - 2, 5):  # brackets
            canvas.fill((x, top + 0.55 * crown, x + 2, top + 0.85 * crown), tint(style.trim, 0.72))
    ledges = [rng.random() < p for p in [0.3] * (storeys - 2) + [0.8]]
    for y, there in zip(lines[1:], ledges):
        if there:
            canvas.ledge("molding", (left, y - rng.uniform(3, 5), right, y), style.trim, 3)
    cell = (right - left) / columns
    wide = cell * rng.uniform(0.36, 0.58)
    if rng.random() < 0.25:
        breadth = min(0.3 * (cell - wide), 6)
        for x in left + cell * np.arange(columns + 1):  # pillars between the windows of the upper storeys
            x0, x1 = max(left, x - breadth / 2), min(right, x + breadth / 2)
            x0, top_end, x1, foot = canvas.mark("pillar", (x0, top + crown, x1, base - 5 * ledges[-1]))
            canvas.shade((x0, top_end, x1, foot), 2)
            canvas.fill((x0, top_end, x1, foot), style.trim)
            canvas.fill((x1 - 1, top_end, x1, foot), tint(style.trim, 0.76))
            for y in (top_end, foot - 3):
                canvas.fill((x0, y, x1, y + 3), tint(style.trim, 1.1))
    balconies = rng.random((storeys, columns)) < rng.choice([0, 0, 0.2, 0.5])
    metal = bool(rng.random() < 0.6)
    for row in range(storeys - 1):
        high = lines[row + 1] - lines[row]
        tall = high * (0.5 if row else rng.uniform(0.36, 0.5))
        over = lines[row] + 0.3 * high if style.head else lines[row] + 0.22 * high
        for column in range(columns):
            middle = left + cell * (column + 0.5)
            window = tuple(round(side) for side in (middle - wide / 2, over, middle + wide / 2, over + tall))
            dress_window(canvas, window, style, (cell - wide) / 2 - 1)
            draw_window(rng, canvas, window, style, wall, sky)
            if style.blind == "roller" and rng.random() < 0.6:
                down = window[1] + rng.uniform(0.2, 0.9) * (window[3] - window[1])
                slats(canvas, canvas.mark("blind", (window[0], window[1], window[2], down)), (206, 200, 188), 1)
            if balconies[row, column] and row:
                rail = (window[0] - 3, over + 0.55 * tall, window[2] + 3, min(over + tall + 4, lines[row + 1] - 5))
                draw_balcony(canvas, rail, metal, style)
            elif style.deco and lines[row + 1] - window[3] > 13:
                box = canvas.mark("deco", (window[0], window[3] + 4, window[2], lines[row + 1] - 6))
                canvas.fill(box, tint(style.trim, 0.88))
                canvas.fill((box[0] + 1, box[1] + 1, box[2], box[3]), tint(style.trim, 1.08))
                canvas.fill((box[0] + 1.5, box[1] + 1.5, box[2] - 1.5, box[3] - 1), tint(style.trim, 0.94))
    entrance = int(rng.integers(columns))
    shops = rng.random() < 0.5
    for column in range(columns):
        middle, high = left + cell * (column + 0.5), ground - base
        if column == entrance:
            half = min(0.3 * cell, 9)
            draw_door(canvas, (middle - half, base + 0.26 * high, middle + half, ground), style)
        elif shops:
            box = (middle - 0.45 * cell, base + 0.14 * high, middle + 0.45 * cell, ground - 1)
            draw_shop(rng, canvas, box, sky)
        else:
            box = (middle - wide / 2, base + 0.26 * high, middle + wide / 2, base + 0.72 * high)
            draw_window(rng, canvas, tuple(round(side) for side in box), style, wall, sky)


def develop(rng: np.random.Generator, canvas: Canvas, house: Box) -> Image.Image:
    """The photograph as a camera takes it: shadows, uneven light, a tint, softness and noise; RGB, SIZE x SIZE."""
    if rng.random() < 0.35:  # the shadow of the house across the street
        y0, y1 = rng.uniform(house[1], house[3], 2)
        across = [(0, y0 * FINE), (SIZE * FINE, y1 * FINE), (SIZE * FINE, SIZE * FINE), (0, SIZE * FINE)]
        mask = Image.new("L", canvas.light.size, 255)
        ImageDraw.Draw(mask).polygon(across, int(rng.uniform(130, 190)))
        mask.paste(255, (0, 0, SIZE * FINE, house[1] * FINE))  # the sky stays as it is
        canvas.light = ImageChops.darker(canvas.light, mask)
    light = canvas.light.filter(ImageFilter.GaussianBlur(0.7)).reduce(FINE)
    pixels = np.asarray(canvas.photo.reduce(FINE), np.float32)
    shadow = rng.choice([0.35, 0.7, 1.0])  # from an overcast day to a bright one
    pixels = pixels * (1 - shadow * (1 - np.asarray(light, np.float32)[..., None] / 255))
    slope = np.linspace(-1, 1, SIZE, dtype=np.float32)
    pixels = pixels * (1 + rng.uniform(-0.1, 0.1) * slope[:, None, None] + rng.uniform(-0.14, 0.14) * slope[:, None])
    pixels = pixels * rng.uniform(0.82, 1.1) * rng.normal(1, 0.03, 3)
    pixels = pixels + rng.normal(0, 1, pixels.shape) * rng.uniform(1.5, 4) + 2 * clouds(rng, SIZE, SIZE, 90)[..., None]
    photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.55)))


def facade(rng: np.random.Generator) -> Image.Image:
    """One pair, RGB, 512 x 256: the photograph on the left, its label map on the right."""
    canvas = Canvas(sun=(rng.choice([-1, 1]) * rng.uniform(0.3, 0.9), rng.uniform(0.7, 1.1)))
    margins = rng.uniform(0, 34, 2) * (rng.random(2) < 0.6)
    house = (round(margins[0]), int(rng.integers(4, 64)), SIZE - round(margins[1]), int(rng.integers(230, 250)))
    sky = SKIES[rng.integers(len(SKIES))]
    draw_surroundings(rng, canvas, house, sky)
    draw_house(rng, canvas, house, sky[0])
    pair = Image.new("RGB", (2 * SIZE, SIZE))
    pair.paste(develop(rng, canvas, house), (0, 0))
    pair.paste(canvas.labels, (SIZE, 0))
    return pair


def write(args: argparse.Namespace) -> None:
    """Draws the set into a new folder."""
    counts = {"train": args.train, "val": args.val}
    with cli.new_set(args.output_path) as work, tqdm(total=sum(counts.values()), unit="", disable=None) as bar:
        for number, (split, count) in enumerate(counts.items()):
            (work / split).mkdir()
            for index in range(count):
                pair = facade(np.random.default_rng([args.seed, number, index]))
                path = work / split / f"{index + 1}.jpg"
                pair.save(path, quality=95, subsampling=0)  # 4:4:4, so that the label map's colours stay
                bar.update()
    report(args.output_path, counts, "--which_direction=BtoA")


def main(argv: Optional[list[str]] = None) -> int:
    return cli.call(write, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
