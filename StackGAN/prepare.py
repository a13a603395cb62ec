"""Makes a data set for train.py out of your own images and captions.

    python prepare.py --images birds/ --output_path set           NAME.jpg beside NAME.txt, a caption a line
    python prepare.py --images photos/ --captions texts/ --output_path set

Sub-folders are classes; without any, each image is a class of its own. Images are cut to their middle square and scaled
to 304 x 304. Writes train/ and test/ only when all of it is there; your own files are left as they are. Next,
train_text_encoder.py learns embeddings of the captions.
"""

import argparse
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from PIL import Image

from common import cli
from common.cli import UserError

PARTS = ("train", "test")


def add_split_flags(parser: argparse.ArgumentParser, split: str, share: float) -> None:
    """What test/ is to hold, where nothing else says."""
    help = "what test/ holds: all of some classes, as in the paper, or some images of all"
    parser.add_argument("--split", choices=["classes", "images"], default=split, help=help)
    parser.add_argument("--test", type=cli.in_range(float, 0, 0.9), default=share, help="share held out for test/")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="draws which ones those are")


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    help = "images, in sub-folders a class or not"
    parser.add_argument("--images", type=cli.user_path, required=True, metavar="DIR", help=help)
    help = "their captions, NAME.txt, in the same sub-folders (beside them)"
    parser.add_argument("--captions", type=cli.user_path, metavar="DIR", help=help)
    parser.add_argument("--output_path", type=cli.user_path, required=True, metavar="DIR", help="a new or empty folder")
    add_split_flags(parser, "images", 0.1)
    return parser.parse_args(argv)


def held_out(names: Sequence[str], split: str, share: float, seed: int) -> set[str]:
    """Draws the names for test/.

    Args:
        names: "class/name" or "name" of each.
        split: "classes": all names of some classes; "images": any, but never the last of a class.
        share: of the names or classes; one at least but not all, or none if it is 0.
    """
    classes = [name.rpartition("/")[0] for name in names]
    every = sorted(set(classes)) if split == "classes" else list(names)
    if not share or len(names) < 2:
        return set()
    if len(every) < 2:
        raise UserError("--split=classes: there is one class only; give --split=images")
    order = [every[number] for number in np.random.default_rng(seed).permutation(len(every))]
    wanted = min(len(every) - 1, max(1, round(share * len(every))))
    if split == "classes":
        return {name for name, kind in zip(names, classes) if kind in order[:wanted]}
    left, drawn = Counter(classes), set()
    for name in order:
        kind = name.rpartition("/")[0]
        if len(drawn) < wanted and left[kind] > 1:
            drawn.add(name)
            left[kind] -= 1
    return drawn


def write_part(folder: Path, names: Sequence[str], read: Callable, captions: Optional[Callable]) -> None:
    """Writes the images and captions of train/ or test/.

    Args:
        read: name -> uint8 [304, 304, 3]; captions: name -> lines, or None where there are none.
    Raises:
        UserError: by `read` or `captions`, of the first name that cannot be used.
    """

    def one(name: str) -> None:
        image, text = (folder / kind / f"{name}{end}" for kind, end in (("images", ".png"), ("captions", ".txt")))
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(read(name)).save(image, compress_level=1)
        if captions:
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("".join(f"{line}\n" for line in captions(name)), encoding="utf-8")

    for _ in data.in_threads(one, names, folder.name):
        pass


def report(folder: Path, embedded: bool = False) -> None:
    """Prints what a set holds now and the commands that train on it."""
    counts = [
        f"{len(data.Split(folder / part, False))} images in {part}/" for part in PARTS if (folder / part).is_dir()
    ]
    print(f"[Info] {folder}: {', '.join(counts)}")
    for script in ("train.py",) if embedded else ("train_text_encoder.py", "train.py"):
        words = [os.path.relpath(Path(__file__).resolve().with_name(script)), f"--data_path={folder}"]
        print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


def prepare(args: argparse.Namespace) -> None:
    """Makes a set.

    Raises:
        UserError: an image or its captions are missing or broken; `output_path` holds something.
    """
    found = data.find_images(args.images)
    if len(found) < 2:
        raise UserError(f"--images {args.images}: {len(found)} images in the folder and below it; a set takes two")
    held = held_out(list(found), args.split, args.test, args.seed)
    with cli.new_set(args.output_path) as work:
        for part, names in (("train", [name for name in found if name not in held]), ("test", sorted(held))):
            captions = partial(data.read_captions, args.captions or args.images)
            write_part(work / part, names, lambda name: data.square(found[name]), captions)
    report(args.output_path)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(prepare, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
