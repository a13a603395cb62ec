"""Draws a small data set of birds with captions and classes, offline, in the form that data.py reads.

    python sample_data.py --output_path birds

Each bird has colours of body, wings and belly, which make its class, and a beak, a size and a place; ten sentences tell
some of it, in words that vary. In test/ the body and the wings have pairs of colours that are never seen together in
train/, either way round: who generates those has understood the words one by one. attributes.json tells what is shown.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from tqdm import tqdm

from common import cli
from common.cli import UserError

SIZE = 304  # pixels
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


@dataclass(frozen=True)
class Bird:
    """What an image shows and its sentences may name."""

    body: str
    wing: str
    belly: str
    beak: str
    size: str  # small or large
    place: str

    @property
    def name(self) -> str:
        """The class."""
        return f"{self.body}_body_{self.wing}_wings_{self.belly}_belly"


# Outlines of a bird that looks to the right: x to the right and y down, in lengths of a body, 0 its middle.

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
TAIL = [(-0.46, -0.05), (-0.62, -0.02), (-0.84, 0.04), (-0.86, 0.13), (-0.70, 0.15), (-0.46, 0.13)]
BEAK = [(0.55, -0.345), (0.72, -0.255), (0.555, -0.20)]
FEET = 0.58  # how far below the body's middle they stand


def rounded(corners: Any, steps: int = 8) -> np.ndarray:
    """A smooth closed curve through corners [n, 2] (Catmull-Rom)."""
    p1 = np.asarray(corners, float)
    p0, p2, p3 = np.roll(p1, 1, 0), np.roll(p1, -1, 0), np.roll(p1, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = 2 * p1 + t * (p2 - p0) + t**2 * (2 * p0 - 5 * p1 + 4 * p2 - p3) + t**3 * (3 * p1 - p0 - 3 * p2 + p3)
    return (curve / 2).swapaxes(0, 1).reshape(-1, 2)


def tint(colour: Colour, light: float) -> tuple[int, int, int]:
    """A colour darker (under 1) or lighter."""
    return tuple(int(min(255, channel * light)) for channel in colour)


def mottled(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Soft noise, float32 [size, size], mostly within -1..1: `cells` spots each way."""
    coarse = Image.fromarray(rng.normal(0, 0.5, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((size, size), Image.BICUBIC))


class Canvas:
    """An image, FINE times larger, onto which outlines in lengths of a body are drawn.

    Args:
        unit: pixels a body's length; middle: the bird's, in pixels; turn: radians; mirrored: it looks to the left.
    """

    def __init__(self, background: Image.Image, unit: float, middle: Any, turn: float, mirrored: bool) -> None:
        self.image, self.unit, self.middle = background, unit * FINE, np.asarray(middle) * FINE
        cos, sin = np.cos(turn), np.sin(turn)
        self.matrix = np.array([[cos, sin], [-sin, cos]]) * ([-1, 1] if mirrored else [1, 1])
        self.bird = Image.new("L", background.size)  # where it is
        self.pen = ImageDraw.Draw(background)

    def pixels(self, points: Any) -> list[tuple[float, float]]:
        return list(map(tuple, np.asarray(points, float) @ self.matrix * self.unit + self.middle))

    def fill(self, points: Any, colour: Colour, inside: Optional[Image.Image] = None) -> Image.Image:
        """Fills an outline, of it only what is `inside` a mask; returns its own mask."""
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon(self.pixels(points), 255)
        mask = mask if inside is None else ImageChops.multiply(mask, inside)
        self.image.paste(tint(colour, 1), mask=mask)
        self.bird.paste(255, mask=mask)
        return mask

    def line(self, points: Any, colour: Colour, width: float) -> None:
        self.pen.line(self.pixels(points), tint(colour, 1), max(1, round(width * self.unit)), joint="curve")

    def dot(self, point: Any, radius: float, colour: Colour) -> None:
        (x, y), r = self.pixels([point])[0], radius * self.unit
        self.pen.ellipse((x - r, y - r, x + r, y + r), tint(colour, 1))


def backdrop(rng: np.random.Generator, place: str, horizon: float) -> Image.Image:
    """What is behind the bird, RGB, SIZE * FINE pixels, out of focus.

    Args:
        horizon: of sand, 0 the top and 1 the bottom.
    """
    size = SIZE // 2  # coarse is enough for what is out of focus
    y = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    if place == "sky":
        top, bottom = np.array([[138, 184, 226], [202, 222, 238]]) * rng.uniform(0.94, 1.06, (2, 1))
        clouds = np.clip(mottled(rng, 4, size) + 0.5 * mottled(rng, 9, size) - 0.1, 0, 1)[..., None]
        pixels = top + (bottom - top) * y
        pixels = pixels + clouds * rng.uniform(0.3, 0.9) * (np.array([246, 247, 250]) - pixels)
    elif place == "leaves":
        base = np.array([122, 142, 92]) * rng.uniform(0.85, 1.1) * rng.normal(1, 0.04, 3)
        pixels = base * (1 + 0.2 * mottled(rng, 14, size) + 0.1 * mottled(rng, 30, size))[..., None]
    else:
        far, near = np.array([[120, 172, 188], [214, 192, 152]]) * rng.uniform(0.92, 1.06, (2, 1))
        ground = near * (1 + 0.03 * mottled(rng, 30, size)[..., None])
        pixels = far + (ground - far) * np.clip((y - horizon) * 12, 0, 1)
    pixels = np.clip(pixels + 3 * mottled(rng, 12, size)[..., None], 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((SIZE * FINE, SIZE * FINE), Image.BILINEAR)


def draw_bird(rng: np.random.Generator, canvas: Canvas, bird: Bird) -> None:
    body, wing, belly = (COLOURS[colour] for colour in (bird.body, bird.wing, bird.belly))
    plump = np.array([1, rng.uniform(0.94, 1.1)])
    legs = tint((150, 110, 70), rng.uniform(0.7, 1.1))
    if bird.place != "sand":  # it sits on a branch
        branch = [(x, FEET + 0.035 + rng.normal(0, 0.012)) for x in np.linspace(-2.2, 2.2, 9)]
        canvas.line(branch, tint((112, 92, 72), rng.uniform(0.7, 1.0)), rng.uniform(0.07, 0.11))
    for x, shade in ((0.12, 0.8), (-0.02, 1)):
        canvas.line([(x, 0.30), (x - 0.02, 0.45), (x + 0.01, FEET)], tint(legs, shade), 0.026)
        for toe in (0.10, 0.05, -0.07):
            canvas.line([(x + 0.01, FEET), (x + toe, FEET + 0.02)], tint(legs, shade), 0.022)
    canvas.fill(rounded(TAIL), tint(body, 0.9))
    whole = canvas.fill(rounded(BODY) * plump, body)
    canvas.fill(rounded(BELLY) * plump, belly, whole)
    canvas.fill(rounded(FOLDED) + [-0.006, 0.016], tint(wing, 0.58), whole)
    canvas.fill(rounded(FOLDED), wing)
    for number in range(4):  # feathers
        start = np.array([0.02 - 0.10 * number, -0.05 + 0.055 * number])
        end = start + [-0.40 + 0.03 * number, 0.085 - 0.02 * number]
        light = 1.7 if bird.wing == "black" else 0.72
        canvas.line([start, (start + end) / 2 + [0, 0.02], end], tint(wing, light), 0.012)
    canvas.fill(BEAK, BEAKS[bird.beak])
    canvas.dot((0.43, -0.31), 0.050, tint(body, 1.9) if bird.body == "black" else tint(body, 0.72))
    canvas.dot((0.43, -0.31), 0.036, (20, 18, 18))
    canvas.dot((0.443, -0.322), 0.012, (250, 250, 250))


def develop(rng: np.random.Generator, canvas: Canvas, turn_light: float) -> Image.Image:
    """The image with light and shade on the bird, brightness and grain: RGB, SIZE x SIZE."""
    pixels = np.asarray(canvas.image.reduce(FINE), np.float32)
    coarse = canvas.bird.reduce(2 * FINE)
    soft = np.asarray(coarse.filter(ImageFilter.GaussianBlur(7)).resize((SIZE, SIZE), Image.BILINEAR), np.float32) / 255
    down, right = np.gradient(soft)
    light = 26 * (down * 0.9 + right * turn_light) + 0.24 * (soft - 0.72)  # from above; darker towards the rim
    mask = np.asarray(canvas.bird.reduce(FINE), np.float32) / 255
    grain = 0.035 * mottled(rng, 76, SIZE)
    pixels = pixels * (1 + (mask * (np.clip(light, -0.3, 0.22) + grain))[..., None])
    pixels = pixels * rng.uniform(0.86, 1.1) * rng.normal(1, 0.012, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw(bird: Bird, rng: np.random.Generator) -> Image.Image:
    """An image of a bird, RGB, SIZE x SIZE: its stance, its light and what is behind it are drawn from `rng`."""
    unit = rng.uniform(*((104, 116) if bird.size == "small" else (128, 142)))
    mirrored, turn = bool(rng.random() < 0.5), np.radians(rng.uniform(-10, 14))
    middle = np.array([0.5, 0.48]) * SIZE + rng.uniform(-1, 1, 2) * 0.03 * SIZE
    middle[0] += (-1 if mirrored else 1) * 0.06 * unit
    horizon = (middle[1] + FEET * unit * 0.4) / SIZE * rng.uniform(0.6, 0.95)
    canvas = Canvas(backdrop(rng, bird.place, horizon), unit, middle, turn, mirrored)
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
    "sky": ["in the sky", "against the sky", "under a blue sky"],
    "leaves": ["among the leaves", "in a tree", "in the greenery"],
    "sand": ["on the beach", "on the sand", "by the shore"],
}
BELLY_WORDS, BEAK_WORDS = ["belly", "breast", "underside", "abdomen"], ["beak", "bill"]
TEMPLATES = [  # in braces what a bird shows
    "this {size} bird has a {body} body, {wing} wings and a {belly} {belly_}.",
    "a {body} bird with {wing} wings, a {belly} {belly_} and a {beak} {beak_}.",
    "the head of this bird is {body}, its wings are {wing} and its {belly_} is {belly}.",
    "a {size} bird with a {body} head and back and a {belly} {belly_}.",
    "this is a {body} bird whose wings are {wing} and whose {belly_} is {belly}.",
    "{size} bird with {body} body, {belly} {belly_} and {wing} wings.",
    "the {body} bird {place} has a {beak} {beak_} and {wing} wings.",
    "{place} there is a {size} {body} bird with a {belly} {belly_}.",
    "a {body} bird, {place}, with {wing} wings and a {belly} {belly_}.",
    "this bird is {body} with {wing} wings and has a {beak} {beak_}.",
    "a bird with {wing} wings, {body} feathers on head and back, and a {belly} {belly_}.",
    "the {size} bird {place} is {body} all over but for its {wing} wings and {belly} {belly_}.",
]


def sentences(rng: np.random.Generator, bird: Bird, count: int = SENTENCES) -> tuple[list[str], list[list[str]]]:
    """So many sentences on a bird, each of another template, and the names of what each tells. All tell the body's
    colour."""
    shown, texts, told = asdict(bird), [], []
    for number in rng.permutation(len(TEMPLATES))[:count]:
        choices = {key: WORDS.get(word, [word]) for key, word in shown.items()}
        choices.update(belly_=BELLY_WORDS, beak_=BEAK_WORDS)
        said = {key: of[0] if rng.random() < 0.6 else of[rng.integers(len(of))] for key, of in choices.items()}
        texts.append(TEMPLATES[number].format(**said).replace("a orange", "an orange"))
        told.append([key for key in shown if f"{{{key}}}" in TEMPLATES[number]])
    return texts, told


def attribute_embeddings(shown: Sequence[dict[str, Any]], size: int = 1024) -> np.ndarray:
    """Embeddings that need no text encoder: of each thing that a sentence tells a fixed random vector, added up.

    Args:
        shown: as `read_attributes` gives it.
    Returns:
        float32 [birds, sentences, size].
    """

    def vector(key: str, value: str) -> np.ndarray:
        return np.random.default_rng(list(f"{key} {value}".encode())).normal(0, 0.2, size)

    rows = [[np.sum([vector(key, bird[key]) for key in told], 0) for told in bird["told"]] for bird in shown]
    return np.array(rows, np.float32)


# What is seen in an image

LIGHTS = (0.58, 0.7, 0.82, 0.92, 1.0, 1.06)  # a colour from shade to light
BEHIND = [  # of the places, at their mean, and of branches
    (170, 204, 232), (206, 222, 236), (230, 238, 246), (122, 142, 92), (158, 180, 112), (90, 106, 68), (120, 172, 188),
    (214, 192, 152), (112, 92, 72), (100, 88, 70),
]  # fmt: skip


def wanted_colours(split: data.Split) -> Optional[np.ndarray]:
    """The bodies' colours in a split as `metrics.body_colours` tells them; None where this script did not draw it."""
    shown = read_attributes(split)
    return None if shown is None else np.array([list(COLOURS).index(bird["body"]) for bird in shown])


def read_attributes(split: data.Split) -> Optional[list[dict[str, Any]]]:
    """What each image of a split shows, in their order, or None where there is no attributes.json.

    Returns:
        `Bird`'s fields, and "told": of each sentence, the fields that it names.
    """
    path = split.folder / "attributes.json"
    if not path.is_file():
        return None
    try:
        shown = json.loads(path.read_text(encoding="utf-8"))
        found = [shown[name] for name in split.filenames]
        if all(bird["body"] in COLOURS for bird in found):
            return found
        reason = "an unknown colour"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error!r:.80}"
    raise UserError(f"{path}: is not what sample_data.py wrote ({reason}); draw the set again")


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
    return Bird(*colours, *(list(of)[rng.integers(len(of))] for of in (BEAKS, ("small", "large"), PLACES)))


def write_split(folder: Path, classes: list[tuple[str, str, str]], count: int, key: list[int], bar: tqdm) -> None:
    """Writes the images, captions, embeddings and attributes.json of a split; image `i` is a function of (*key, i)."""
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
    (folder / "attributes.json").write_text(json.dumps(shown, indent=0), encoding="utf-8")
    split = data.load(folder, embeddings=False)
    data.save_embeddings(folder, split.filenames, attribute_embeddings(read_attributes(split)), "attributes")


def write(args: argparse.Namespace) -> None:
    """Draws the set into a new folder."""
    rng = np.random.default_rng(args.seed)
    classes = [choose_classes(rng, count, held) for count, held in ((args.classes, False), (args.test_classes, True))]
    counts = args.train, args.test
    with cli.new_set(args.output_path) as work, tqdm(total=sum(counts), unit="", disable=None) as bar:
        for number, part in enumerate(("train", "test")):
            write_split(work / part, classes[number], counts[number], [args.seed, number], bar)
    print(f"[Info] {args.output_path}: {args.train} images in train/, {args.test} images in test/")
    print(
        f"Next:  train_text_encoder.py and train.py with --data_path={args.output_path}, or train.py at once",
        flush=True,
    )


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output_path", type=cli.user_path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--train", type=cli.in_range(int, 2, 10**6), default=1200, help="images in train/")
    parser.add_argument("--test", type=cli.in_range(int, 2, 10**6), default=150, help="images in test/")
    parser.add_argument("--classes", type=cli.in_range(int, 2, 448), default=150, help="classes in train/")
    parser.add_argument("--test_classes", type=cli.in_range(int, 2, 64), default=30, help="classes in test/")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**63), default=0, help="other seeds draw other birds")
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
