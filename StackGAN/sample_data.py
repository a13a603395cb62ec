"""Draws a small data set of birds with captions and classes, offline, in the form that data.py reads.

    python sample_data.py --output_path birds

Each bird has colours of body, wings and belly, which make its class, and a beak, a size and a place; ten sentences tell
some of it, in words that vary. In test/ the body and the wings have pairs of colours that are never seen together in
train/, either way round: who generates those has understood the words one by one. attributes.json tells what is shown.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from PIL import Image, ImageDraw
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
PLACES = {"sky": (160, 200, 230), "leaves": (122, 142, 92), "sand": (214, 192, 152)}
BRANCH = (112, 92, 72)
SIZES = {"small": 0.36, "large": 0.46}  # of the image, a body's length
# Which colour of wings a body of each colour has in test/ and never in train/. In both directions: where train/ had
# purple birds with yellow wings and no yellow ones with purple wings, "yellow" and "purple" would mean a purple bird.
HELD_OUT = {"red": "blue", "yellow": "purple", "green": "brown", "black": "white"}
HELD_OUT.update({wing: body for body, wing in HELD_OUT.items()})

Bird = dict[str, str]  # body, wing, belly, beak, size and place, which its sentences may name


def draw(bird: Bird, rng: np.random.Generator) -> Image.Image:
    """An image of a bird, RGB, SIZE x SIZE: its stance and what is behind it are drawn from `rng`."""
    body, wing, belly = (COLOURS[bird[part]] for part in ("body", "wing", "belly"))
    size = SIZE * FINE
    unit, mirrored = SIZES[bird["size"]] * rng.uniform(0.95, 1.05) * size, rng.random() < 0.5
    middle = size * (np.array([0.5, 0.48]) + rng.uniform(-0.03, 0.03, 2))
    ground = rng.normal(0, 8, (6, 6, 1)) + np.array(PLACES[bird["place"]]) * rng.uniform(0.9, 1.08)
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8)).resize((size, size), Image.BICUBIC)
    pen = ImageDraw.Draw(image)

    def pixels(points: Any) -> list[tuple[float, float]]:  # from lengths of a body, x to its front, y down
        return list(map(tuple, np.asarray(points) * [-unit if mirrored else unit, unit] + middle))

    def oval(colour: tuple[int, int, int], x: float, y: float, a: float, b: float, turn: float = 0) -> None:
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        cos, sin = a * np.cos(angles), b * np.sin(angles)
        turned = np.stack([cos * np.cos(turn) - sin * np.sin(turn), cos * np.sin(turn) + sin * np.cos(turn)], 1)
        pen.polygon(pixels(turned + [x, y]), colour)

    def line(points: Any, colour: tuple[int, int, int], width: float) -> None:
        pen.line(pixels(points), colour, round(width * unit))

    if bird["place"] != "sand":  # it sits on a branch
        line([(-3, 0.62 + rng.normal(0, 0.1)), (0, 0.6), (3, 0.62 + rng.normal(0, 0.1))], BRANCH, 0.08)
    for x in (-0.04, 0.1):
        line([(x, 0.25), (x, 0.58)], (150, 110, 70), 0.03)
    tilt = rng.uniform(-0.45, -0.2)
    pen.polygon(pixels([(-0.3, -0.05), (-0.85, 0.02 - tilt / 2), (-0.82, 0.16 - tilt / 2), (-0.3, 0.2)]), body)  # tail
    oval(body, 0, 0.05, 0.5, 0.3, tilt)
    oval(belly, 0.1, 0.19, 0.3, 0.14, tilt)
    oval(wing, -0.18, 0.0, 0.33, 0.13, tilt + 0.65)
    pen.polygon(pixels([(0.5, -0.36), (0.74, -0.26), (0.5, -0.2)]), BEAKS[bird["beak"]])
    oval(body, 0.38, -0.28, 0.2, 0.18)
    oval((250, 250, 250), 0.44, -0.32, 0.05, 0.05)
    oval((20, 18, 18), 0.445, -0.32, 0.035, 0.035)
    return image.reduce(FINE)


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


def sentences(rng: np.random.Generator, bird: Bird) -> tuple[list[str], list[list[str]]]:
    """Ten sentences on a bird, each of another template, all on the body's colour; and the names of what each tells."""
    texts, told = [], []
    for number in rng.permutation(len(TEMPLATES))[:SENTENCES]:
        choices = {key: WORDS.get(word, [word]) for key, word in bird.items()}
        choices.update(belly_=BELLY_WORDS, beak_=BEAK_WORDS)
        said = {key: of[0] if rng.random() < 0.6 else of[rng.integers(len(of))] for key, of in choices.items()}
        texts.append(TEMPLATES[number].format(**said).replace("a orange", "an orange"))
        told.append([key for key in bird if f"{{{key}}}" in TEMPLATES[number]])
    return texts, told


def attribute_embeddings(bird: Bird, told: Sequence[Sequence[str]]) -> np.ndarray:
    """Embeddings that need no text encoder, float32 [sentences, 1024]: of each thing that a sentence tells a fixed
    random vector, added up."""
    seeds = {key: list(f"{key} {value}".encode()) for key, value in bird.items()}
    vectors = {key: np.random.default_rng(seed).normal(0, 0.2, 1024) for key, seed in seeds.items()}
    return np.array([np.sum([vectors[key] for key in names], 0) for names in told], np.float32)


def wanted_colours(split: data.Split) -> Optional[np.ndarray]:
    """The bodies' colours in a split, numbers in `COLOURS` [n], or None where there is no attributes.json.

    Raises:
        UserError: it is not what this script wrote.
    """
    path = split.folder / "attributes.json"
    if not path.is_file():
        return None
    try:
        shown = json.loads(path.read_text(encoding="utf-8"))
        return np.array([list(COLOURS).index(shown[name]["body"]) for name in split.filenames])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: is not what sample_data.py wrote ({error!r:.80}); draw the set again") from None


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
    rest = (list(of)[rng.integers(len(of))] for of in (BEAKS, SIZES, PLACES))
    return dict(zip(("body", "wing", "belly", "beak", "size", "place"), (*colours, *rest)))


def write_split(folder: Path, classes: list[tuple[str, str, str]], count: int, key: list[int]) -> None:
    """Writes the images, captions, embeddings and attributes.json of a split; image `i` is a function of (*key, i)."""
    shown, embeddings = {}, {}
    for index in tqdm(range(count), folder.name, unit="", disable=None):
        rng = np.random.default_rng([*key, index])
        bird = make_bird(rng, classes[index % len(classes)])
        texts, told = sentences(rng, bird)
        kind = "{body}_body_{wing}_wings_{belly}_belly".format(**bird)
        name = f"{kind}/bird_{index + 1:05}"
        for part in ("images", "captions"):
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
        draw(bird, rng).save(folder / "images" / f"{name}.png", compress_level=1)
        (folder / "captions" / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        shown[name], embeddings[name] = {**bird, "told": told}, attribute_embeddings(bird, told)
    (folder / "attributes.json").write_text(json.dumps(shown, indent=0), encoding="utf-8")
    names = data.Split(folder, embeddings=False).filenames
    data.save_embeddings(folder, names, np.stack([embeddings[name] for name in names]), data.BY_ATTRIBUTES)


def write(args: argparse.Namespace) -> None:
    """Draws the set into a new folder."""
    rng = np.random.default_rng(args.seed)
    classes = [choose_classes(rng, count, held) for count, held in ((args.classes, False), (args.test_classes, True))]
    with cli.new_set(args.output_path) as work:
        for number, (part, count) in enumerate((("train", args.train), ("test", args.test))):
            write_split(work / part, classes[number], count, [args.seed, number])
    print(f"[Info] {args.output_path}: {args.train} images in train/, {args.test} images in test/")
    print(f"Next:  train_text_encoder.py and train.py with --data_path={args.output_path}, or train.py at once")


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
