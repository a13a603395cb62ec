"""Draws a small data set of birds with captions and classes, offline, in the form that prepare.py makes of your own.

    python sample_data.py --output_path birds

Each bird has colours of body, wings and belly, which make its class, and a beak, a tail, a size, a pose and a place;
ten sentences tell some of it, in words that vary. In test/ the body and the wings have pairs of colours that are never
seen together in train/, either way round: who draws those has understood the words one by one. attributes.json tells
what is shown.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from prepare import report
from tqdm import tqdm

from common import cli
from common.cli import UserError

SIZE = 304  # pixels a side
FINE = 2  # drawn so many times larger
SENTENCES = 10

COLOURS = {  # of body, wings and belly
    "red": (204, 34, 40),
    "yellow": (242, 206, 44),
    "green": (46, 146, 60),
    "blue": (40, 92, 206),
    "purple": (140, 58, 168),
    "brown": (118, 74, 40),
    "black": (34, 34, 40),
    "white": (243, 243, 238),
}
BEAKS = {"orange": (238, 138, 36), "yellow": (240, 200, 60), "black": (44, 42, 44), "grey": (136, 136, 140)}
PLACES = ("sky", "leaves", "sand")
# Which colour of wings a body of each colour has in test/ and never in train/. In both directions: where train/ had
# purple birds with yellow wings and no yellow ones with purple wings, "yellow" and "purple" would mean a purple bird.
HELD_OUT = {"red": "blue", "yellow": "purple", "green": "brown", "black": "white"}
HELD_OUT.update({wing: body for body, wing in HELD_OUT.items()})

Colour = tuple[float, float, float]
Points = np.ndarray  # [n, 2], x to the right and y down, in lengths of a body, 0 its middle


@dataclass(frozen=True)
class Bird:
    """What a picture shows and its sentences may name."""

    body: str
    wing: str
    belly: str
    beak: str
    beak_shape: str  # short, long or hooked
    tail: str  # short or long
    size: str  # small or large
    place: str
    flying: bool

    @property
    def name(self) -> str:
        """The class."""
        return f"{self.body}_body_{self.wing}_wings_{self.belly}_belly"


# Outlines of a bird that looks to the right

BODY = [
    (0.60, -0.25), (0.575, -0.15), (0.545, 0.0), (0.50, 0.14), (0.38, 0.28), (0.18, 0.365), (-0.06, 0.36),
    (-0.28, 0.27), (-0.46, 0.14), (-0.60, 0.03), (-0.56, -0.05), (-0.38, -0.09), (-0.15, -0.17), (0.04, -0.27),
    (0.17, -0.38), (0.30, -0.455), (0.43, -0.455), (0.54, -0.385),
]  # fmt: skip
BELLY = [
    (0.40, 0.02), (0.62, 0.12), (0.50, 0.42), (0.05, 0.46), (-0.26, 0.42), (-0.20, 0.27), (0.08, 0.225), (0.28, 0.165),
]  # fmt: skip
FOLDED = [
    (0.06, -0.06), (0.02, 0.05), (-0.12, 0.12), (-0.36, 0.13), (-0.72, 0.10), (-0.50, -0.01), (-0.24, -0.08),
    (-0.05, -0.10),
]  # fmt: skip
RAISED = [
    (0.06, -0.12), (-0.04, -0.07), (-0.20, -0.09), (-0.28, -0.28), (-0.42, -0.46), (-0.53, -0.70), (-0.32, -0.69),
    (-0.10, -0.56), (0.05, -0.34),
]  # fmt: skip
FAR = [(0.20, -0.22), (0.06, -0.22), (0.05, -0.42), (0.02, -0.60), (0.11, -0.80), (0.25, -0.68), (0.29, -0.46)]
FEET = 0.58  # how far below the body's middle they stand
TAILS = {
    "short": [(-0.46, -0.05), (-0.62, -0.02), (-0.84, 0.04), (-0.86, 0.13), (-0.70, 0.15), (-0.46, 0.13)],
    "long": [(-0.46, -0.05), (-0.70, 0.02), (-1.10, 0.15), (-1.13, 0.25), (-0.92, 0.25), (-0.46, 0.13)],
}
BEAK_OUTLINES = {  # of three or more corners, not rounded
    "short": [(0.55, -0.345), (0.72, -0.255), (0.555, -0.20)],
    "long": [(0.55, -0.335), (0.93, -0.235), (0.56, -0.20)],
    "hooked": [
        (0.54, -0.37),
        (0.63, -0.37),
        (0.71, -0.325),
        (0.755, -0.25),
        (0.76, -0.16),
        (0.715, -0.205),
        (0.65, -0.215),
        (0.56, -0.19),
    ],  # fmt: skip
}


def rounded(corners: Any, steps: int = 8) -> Points:
    """A smooth closed curve through corners (Catmull-Rom)."""
    p1 = np.asarray(corners, float)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = 2 * p1 + t * (p2 - p0) + t**2 * (2 * p0 - 5 * p1 + 4 * p2 - p3) + t**3 * (3 * p1 - p0 - 3 * p2 + p3)
    return (curve / 2).swapaxes(0, 1).reshape(-1, 2)


def tint(colour: Colour, light: float) -> tuple[int, int, int]:
    """A colour darker (under 1) or lighter."""
    return tuple(int(min(255, channel * light)) for channel in colour)


def mottled(rng: np.random.Generator, cells: int, side: int) -> np.ndarray:
    """Soft noise, float32 [side, side], mostly within -1..1: `cells` spots a side."""
    coarse = Image.fromarray(rng.normal(0, 0.5, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.BICUBIC))


class Canvas:
    """A picture, FINE times larger, onto which outlines in lengths of a body are drawn.

    Args:
        unit: pixels a body's length; middle: the bird's, in pixels; turn: radians; mirrored: it looks to the left.
    """

    def __init__(self, background: Image.Image, unit: float, middle: Any, turn: float, mirrored: bool) -> None:
        self.picture, self.unit, self.middle = background, unit * FINE, np.asarray(middle) * FINE
        cos, sin = np.cos(turn), np.sin(turn)
        self.matrix = np.array([[cos, sin], [-sin, cos]]) * ([-1, 1] if mirrored else [1, 1])
        self.bird = Image.new("L", background.size)  # where it is
        self.draw, self.mask = ImageDraw.Draw(background), ImageDraw.Draw(self.bird)

    def pixels(self, points: Any) -> list[tuple[float, float]]:
        return list(map(tuple, np.asarray(points, float) @ self.matrix * self.unit + self.middle))

    def fill(self, points: Any, colour: Colour, inside: Optional[Image.Image] = None) -> Image.Image:
        """Fills an outline, of it only what is `inside` a mask; returns its own mask."""
        pixels = np.array(self.pixels(points))
        left, top = np.maximum(np.floor(pixels.min(0)).astype(int) - 1, 0)
        right, bottom = np.minimum(np.ceil(pixels.max(0)).astype(int) + 2, self.picture.size)
        part = Image.new("L", (max(1, right - left), max(1, bottom - top)))  # small, since most of a picture is not it
        ImageDraw.Draw(part).polygon(list(map(tuple, pixels - [left, top])), 255)
        if inside is not None:
            part = ImageChops.multiply(part, inside.crop((left, top, left + part.width, top + part.height)))
        self.picture.paste(tint(colour, 1), (int(left), int(top)), part)
        self.bird.paste(255, (int(left), int(top)), part)
        mask = Image.new("L", self.picture.size)
        mask.paste(part, (int(left), int(top)))
        return mask

    def line(self, points: Any, colour: Colour, width: float) -> None:
        pixels = max(1, round(width * self.unit))
        self.draw.line(self.pixels(points), tint(colour, 1), pixels, joint="curve")

    def dot(self, point: Any, radius: float, colour: Colour) -> None:
        (x, y), r = self.pixels([point])[0], radius * self.unit
        self.draw.ellipse((x - r, y - r, x + r, y + r), tint(colour, 1))


# Places


def backdrop(rng: np.random.Generator, place: str, horizon: float) -> Image.Image:
    """What is behind the bird, RGB, SIZE * FINE pixels a side, out of focus.

    Args:
        horizon: of sand, 0 the top and 1 the bottom.
    """
    side = SIZE // 2  # coarse is enough for what is out of focus
    y = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    if place == "sky":
        top, bottom = np.array([[138, 184, 226], [202, 222, 238]]) * rng.uniform(0.94, 1.06, (2, 1))
        clouds = np.clip(mottled(rng, 4, side) + 0.5 * mottled(rng, 9, side) - 0.1, 0, 1)[..., None]
        pixels = top + (bottom - top) * y
        pixels = pixels + clouds * rng.uniform(0.3, 0.9) * (np.array([246, 247, 250]) - pixels)
    elif place == "leaves":
        base = np.array([122, 142, 92]) * rng.uniform(0.85, 1.1) * rng.normal(1, 0.04, 3)
        blurred = Image.new("RGB", (side, side), tint(base, 1))
        draw = ImageDraw.Draw(blurred)
        for _ in range(46):  # leaves, and light between them
            x, height, r = *rng.uniform(0, side, 2), rng.uniform(5, 17)
            light = rng.uniform(0.72, 1.35)
            draw.ellipse((x - r, height - r * 0.6, x + r, height + r * 0.6), tint(base, light))
        pixels = np.asarray(blurred.filter(ImageFilter.GaussianBlur(3)), np.float32)
    else:
        far, near = np.array([[120, 172, 188], [214, 192, 152]]) * rng.uniform(0.92, 1.06, (2, 1))
        ripples = 0.5 * mottled(rng, 30, side) + np.sin(y[..., 0] * 60 + 2 * mottled(rng, 5, side)) * 0.4
        ground = near * (1 + 0.05 * ripples[..., None])
        pixels = far + (ground - far) * np.clip((y - horizon) * 12, 0, 1)
    pixels = np.clip(pixels + 3 * mottled(rng, 12, side)[..., None], 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((SIZE * FINE, SIZE * FINE), Image.BILINEAR)


def draw_branch(rng: np.random.Generator, canvas: Canvas, height: float) -> None:
    """A branch under the bird's feet, at a height in lengths of a body, with leaves where those are."""
    bark = tint((112, 92, 72), rng.uniform(0.8, 1.15))
    slope = rng.uniform(-0.12, 0.12)
    xs = np.linspace(-2.2, 2.2, 9)
    line = np.stack([xs, height + 0.035 + slope * xs + rng.normal(0, 0.012, 9)], 1)
    width = rng.uniform(0.07, 0.11)
    canvas.line(line, tint(bark, 0.75), width)
    canvas.line(line - [0, 0.018], bark, width * 0.6)


# The bird


def draw_bird(rng: np.random.Generator, canvas: Canvas, bird: Bird) -> None:
    body, wing, belly = (COLOURS[colour] for colour in (bird.body, bird.wing, bird.belly))
    beak = BEAKS[bird.beak]
    plump = np.array([1, rng.uniform(0.94, 1.1)])
    legs = tint((150, 110, 70), rng.uniform(0.7, 1.1))
    if bird.flying:
        canvas.fill(rounded(FAR), tint(wing, 0.72))
        for x in (-0.16, -0.06):
            canvas.line([(x, 0.32), (x - 0.16, 0.42), (x - 0.22, 0.41)], legs, 0.022)
    else:
        for x, shade in ((0.12, 0.8), (-0.02, 1)):
            canvas.line([(x, 0.30), (x - 0.02, 0.45), (x + 0.01, FEET)], tint(legs, shade), 0.026)
            for toe in (0.10, 0.05, -0.07):
                canvas.line([(x + 0.01, FEET), (x + toe, FEET + 0.02)], tint(legs, shade), 0.022)
    tail = rounded(TAILS[bird.tail])
    canvas.fill(tail, tint(body, 0.9))
    tip = np.mean(TAILS[bird.tail][2:4], 0)
    for part in (0.3, 0.7):
        start = np.array([-0.5, -0.03 + 0.13 * part])
        canvas.line([start, tip + [0, 0.1 * (part - 0.5)]], tint(body, 1.9 if bird.body == "black" else 0.72), 0.010)
    whole = canvas.fill(rounded(BODY) * plump, body)
    canvas.fill(rounded(BELLY) * plump, belly, whole)
    near = rounded(RAISED if bird.flying else FOLDED)
    canvas.fill(near + [-0.006, 0.016], tint(wing, 0.58), None if bird.flying else whole)
    canvas.fill(near, wing)
    for number in range(4):  # feathers
        if bird.flying:
            start, end = np.array([0.10 - 0.08 * number, -0.10 - 0.10 * number]), np.array(RAISED[3 + number // 2])
            start, end = start + [0, -0.05], end + [0.05, 0.03 - 0.05 * (number % 2)]
        else:
            start = np.array([0.02 - 0.10 * number, -0.05 + 0.055 * number])
            end = start + [-0.40 + 0.03 * number, 0.085 - 0.02 * number]
        light = 1.7 if bird.wing == "black" else 0.72
        canvas.line([start, (start + end) / 2 + [0, 0.02], end], tint(wing, light), 0.012)
    outline = BEAK_OUTLINES[bird.beak_shape]
    canvas.fill(outline, beak)
    middle = np.mean([outline[0], outline[-1]], 0)
    canvas.line([middle, np.mean([middle, outline[len(outline) // 2]], 0)], tint(beak, 0.6), 0.012)
    eye = (0.43, -0.31)
    canvas.dot(eye, 0.050, tint(body, 1.9) if bird.body == "black" else tint(body, 0.72))
    canvas.dot(eye, 0.036, (20, 18, 18))
    canvas.dot((0.443, -0.322), 0.012, (250, 250, 250))


def develop(rng: np.random.Generator, canvas: Canvas, turn_light: float) -> Image.Image:
    """The picture with light and shade on the bird, brightness and grain: RGB, SIZE x SIZE."""
    pixels = np.asarray(canvas.picture.reduce(FINE), np.float32)
    coarse = canvas.bird.reduce(2 * FINE)
    soft = np.asarray(coarse.filter(ImageFilter.GaussianBlur(7)).resize((SIZE, SIZE), Image.BILINEAR), np.float32)
    soft = soft / 255
    down, right = np.gradient(soft)
    light = 26 * (down * 0.9 + right * turn_light) + 0.24 * (soft - 0.72)  # from above; darker towards the rim
    mask = np.asarray(canvas.bird.reduce(FINE), np.float32) / 255
    grain = 0.035 * mottled(rng, 76, SIZE)
    pixels = pixels * (1 + (mask * (np.clip(light, -0.3, 0.22) + grain))[..., None])
    pixels = pixels * rng.uniform(0.86, 1.1) * rng.normal(1, 0.012, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw(bird: Bird, rng: np.random.Generator) -> Image.Image:
    """A picture of a bird, RGB, SIZE x SIZE: its stance, its light and what is behind it are drawn from `rng`."""
    unit = rng.uniform(*((104, 116) if bird.size == "small" else (128, 142)))
    mirrored, turn = bool(rng.random() < 0.5), np.radians(rng.uniform(-10, 14))
    middle = np.array([0.5, 0.56 if bird.flying else 0.48]) * SIZE + rng.uniform(-1, 1, 2) * 0.03 * SIZE
    middle[0] += (-1 if mirrored else 1) * (0.22 if bird.tail == "long" else 0.06) * unit
    horizon = (middle[1] + FEET * unit * 0.4) / SIZE * rng.uniform(0.6, 0.95)
    canvas = Canvas(backdrop(rng, bird.place, horizon), unit, middle, turn, mirrored)
    if not bird.flying:
        if bird.place == "sand":  # a shadow in place of a branch
            shade = Image.new("L", canvas.picture.size)
            (x, y), r = canvas.pixels([(0.02, FEET + 0.03)])[0], canvas.unit
            ImageDraw.Draw(shade).ellipse((x - 0.5 * r, y - 0.06 * r, x + 0.5 * r, y + 0.06 * r), 110)
            canvas.picture.paste((110, 92, 68), mask=shade)
        else:
            draw_branch(rng, canvas, FEET)
    draw_bird(rng, canvas, bird)
    return develop(rng, canvas, (-1 if mirrored else 1) * rng.uniform(-0.4, 0.4))


# Sentences

WORDS = {  # how a word may be said; the first is the usual one
    "red": ["red", "crimson", "scarlet"],
    "yellow": ["yellow", "golden"],
    "purple": ["purple", "violet"],
    "brown": ["brown", "chestnut"],
    "black": ["black", "jet black"],
    "white": ["white", "snowy white"],
    "grey": ["grey", "gray"],
    "small": ["small", "tiny", "little"],
    "large": ["large", "big"],
    "beak": ["beak", "bill"],
    "belly": ["belly", "breast", "underside", "abdomen"],
    "hooked": ["hooked", "curved"],
    "sky": ["in the sky", "against the sky", "under a blue sky"],
    "leaves": ["among the leaves", "in a tree", "in the greenery"],
    "sand": ["on the beach", "on the sand", "by the shore"],
    "perched": ["sitting", "perched", "standing"],
    "flying": ["flying", "in flight", "with its wings raised"],
}
# In braces what a bird shows, or a word that has others like it; what is named is learnt from the braces.
TEMPLATES = [
    "this {size} bird has a {body} body, {wing} wings and a {belly} {belly_}.",
    "a {body} bird with {wing} wings, a {belly} {belly_} and a {beak_shape} {beak} {beak_}.",
    "the head of this bird is {body}, its wings are {wing} and its {belly_} is {belly}.",
    "a {size} bird with a {body} head and back and a {belly} {belly_}.",
    "this is a {body} bird whose wings are {wing} and whose {belly_} is {belly}.",
    "{size} bird with {body} body, {belly} {belly_} and {wing} wings.",
    "the {body} bird {pose} {place} has a {beak} {beak_} and {wing} wings.",
    "its body and its {tail} tail are {body} while its wings are {wing}.",
    "{place} there is a {size} {body} bird with a {belly} {belly_}.",
    "this bird has {wing} wings, a {tail} tail, a {belly} {belly_} and a {body} body.",
    "a {body} bird, {pose} {place}, with {wing} wings and a {belly} {belly_}.",
    "this bird is {body} with {wing} wings and has a {beak_shape}, {beak} {beak_}.",
    "a bird with {wing} wings, {body} feathers on head and back, and a {belly} {belly_}.",
    "the {size} bird {pose} {place} is {body} all over but for its {wing} wings and {belly} {belly_}.",
    "this {body} bird has {wing} wings, a {belly} {belly_} and a {tail} tail.",
    "a {size} {body} bird with a {beak_shape} {beak} {beak_} and a {belly} {belly_}.",
]


def sentence(rng: np.random.Generator, bird: Bird, template: str) -> tuple[str, list[str]]:
    """A template filled with what a bird shows, and the names of what it tells, such as "body" and "beak_shape"."""
    shown = {**asdict(bird), "belly_": "belly", "beak_": "beak", "pose": "flying" if bird.flying else "perched"}
    said = {}
    for key, word in shown.items():
        choices = WORDS.get(word, [word]) if isinstance(word, str) else [""]
        said[key] = choices[0] if rng.random() < 0.6 else choices[rng.integers(len(choices))]
    text = template.format(**said).replace("a orange", "an orange")
    return text, [key for key in shown if f"{{{key}}}" in template and key[-1] != "_"]


def sentences(rng: np.random.Generator, bird: Bird, count: int = SENTENCES) -> tuple[list[str], list[list[str]]]:
    """So many sentences on a bird, each of another template, and what each tells. All tell the body's colour."""
    chosen = rng.permutation(len(TEMPLATES))[:count]
    texts, told = zip(*(sentence(rng, bird, TEMPLATES[number]) for number in chosen))
    return list(texts), list(told)


def attribute_embeddings(birds: list[Bird], told: list[list[list[str]]], numbers: int = 1024) -> np.ndarray:
    """Embeddings that need no text encoder: of each thing that a sentence tells a fixed random vector, added up.

    Returns:
        float32 [birds, sentences, numbers].
    """
    vectors: dict[str, np.ndarray] = {}

    def vector(key: str, value: Any) -> np.ndarray:
        name = f"{key} {value}"
        if name not in vectors:
            vectors[name] = np.random.default_rng(list(name.encode())).normal(0, 0.2, numbers).astype(np.float32)
        return vectors[name]

    def embedded(bird: Bird, keys: list[str]) -> np.ndarray:
        shown = {**asdict(bird), "pose": bird.flying}
        return np.sum([vector(key, shown[key]) for key in keys], 0)

    return np.array([[embedded(bird, keys) for keys in lines] for bird, lines in zip(birds, told)])


# What is seen in a picture

LIGHTS = (0.58, 0.7, 0.82, 0.92, 1.0, 1.06)  # a colour from shade to light
BEHIND = [  # of the places, at their mean, and of branches
    (170, 204, 232), (206, 222, 236), (230, 238, 246), (122, 142, 92), (158, 180, 112), (90, 106, 68), (120, 172, 188),
    (214, 192, 152), (112, 92, 72), (100, 88, 70),
]  # fmt: skip


def wanted_colours(split: "data.Split") -> Optional[np.ndarray]:
    """The bodies' colours in a split as `metrics.body_colours` tells them; None where this script did not draw it."""
    shown = read_attributes(split.folder)
    return None if shown is None else np.array([list(COLOURS).index(bird["body"]) for bird in shown])


# The set


def choose_classes(rng: np.random.Generator, count: int, held_out: bool) -> list[tuple[str, str, str]]:
    """Draws classes: colours of body, wings and belly, all bodies equally often. Those to test on are `HELD_OUT`."""
    pools = []
    for body, held in HELD_OUT.items():
        pairs = [(wing, belly) for wing in COLOURS for belly in COLOURS if (wing == held) == held_out]
        pools.append([(body, *pairs[number]) for number in rng.permutation(len(pairs))])
    return [pools[number % len(pools)][number // len(pools)] for number in range(count)]


def make_bird(rng: np.random.Generator, colours: tuple[str, str, str]) -> Bird:
    """A bird of a class, the rest of it drawn."""

    def choose(options):
        return list(options)[rng.integers(len(options))]

    beak, shape, tail = choose(BEAKS), choose(BEAK_OUTLINES), choose(TAILS)
    return Bird(*colours, beak, shape, tail, choose(["small", "large"]), choose(PLACES), bool(rng.random() < 0.25))


def write_split(folder: Path, classes: list[tuple[str, str, str]], count: int, key: list[int], bar: tqdm) -> None:
    """Writes the pictures, captions and attributes.json of a split; picture `i` is a function of (*key, i)."""
    shown = {}
    for index in range(count):
        rng = np.random.default_rng([*key, index])
        bird = make_bird(rng, classes[index % len(classes)])
        name = f"{bird.name}/bird_{index + 1:05}"
        texts, told = sentences(rng, bird)
        for kind in ("images", "captions"):
            (folder / kind / bird.name).mkdir(parents=True, exist_ok=True)
        draw(bird, rng).save(folder / "images" / f"{name}.png", compress_level=1)
        (folder / "captions" / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        shown[name] = {**asdict(bird), "told": told}
        bar.update()
    shown = {name: shown[name] for name in data.read_filenames(folder)}
    (folder / "attributes.json").write_text(json.dumps(shown, indent=0), encoding="utf-8")


def read_attributes(folder: Path) -> Optional[list[dict[str, Any]]]:
    """What each picture of a split shows, in the order of its names, or None where there is no attributes.json.

    Returns:
        `Bird`'s fields, and "told": of each sentence, the fields that it names ("pose" is whether it flies).
    """
    path = folder / "attributes.json"
    if not path.is_file():
        return None
    try:
        shown = json.loads(path.read_text(encoding="utf-8"))
        return [shown[name] for name in data.read_filenames(folder)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: is not what sample_data.py wrote ({error!r:.80}); draw the set again") from error


def embed(folder: Path) -> None:
    """Writes a split's `attribute_embeddings`."""
    shown = read_attributes(folder)
    told = [entry.pop("told") for entry in shown]
    embeddings = attribute_embeddings([Bird(**entry) for entry in shown], told)
    data.save_embeddings(folder, data.read_filenames(folder), embeddings, "attributes")


def write(args: argparse.Namespace) -> None:
    """Draws the set into a new folder."""
    counts = {"train": args.train, "test": args.test}
    rng = np.random.default_rng(args.seed)
    classes = {
        "train": choose_classes(rng, args.classes, held_out=False),
        "test": choose_classes(rng, args.test_classes, held_out=True),
    }
    with cli.new_set(args.output_path) as work, tqdm(total=sum(counts.values()), unit="", disable=None) as bar:
        for number, (split, count) in enumerate(counts.items()):
            write_split(work / split, classes[split], count, [args.seed, number], bar)
            if args.embeddings == "attributes":
                embed(work / split)
    report(args.output_path, counts, trained=args.embeddings == "attributes")


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_path", type=cli.user_path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--train", type=cli.in_range(int, 2, 10**6), default=1200, help="pictures in train/ (1200)")
    parser.add_argument("--test", type=cli.in_range(int, 2, 10**6), default=150, help="pictures in test/ (150)")
    parser.add_argument("--classes", type=cli.in_range(int, 2, 448), default=150, help="classes in train/ (150)")
    parser.add_argument("--test_classes", type=cli.in_range(int, 2, 64), default=30, help="classes in test/ (30)")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**63), default=0, help="other seeds draw other birds (0)")
    parser.add_argument(
        "--embeddings",
        choices=["attributes", "none"],
        default="attributes",
        help="attributes: a fixed random vector of each thing that a sentence tells, so that train.py runs at once; "
        "train_text_encoder.py replaces them by a text encoder's. none: leave it to train_text_encoder.py (attributes)",
    )
    return parser.parse_args(argv)


def main(argv: Optional[list[str]] = None) -> int:
    return cli.call(write, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
