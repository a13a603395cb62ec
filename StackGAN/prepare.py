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
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from PIL import Image

from common import cli
from common.cli import UserError
from common.images import decode, find_images

NAMED = 20  # bad files that are named; the others are counted
SIZE = data.LOAD_SIZES[256]
PARTS = ("train", "test")


def add_split_flags(parser: argparse.ArgumentParser, split: str, share: float) -> None:
    """What test/ is to hold, where nothing else says."""
    help = "what test/ holds: all of some classes, as in the paper, or some images of all"
    parser.add_argument("--split", choices=["classes", "images"], default=split, help=help)
    parser.add_argument("--test", type=cli.in_range(float, 0, 0.9), default=share, help="share held out for test/")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="draws which ones those are")


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--images", type=cli.user_path, required=True, metavar="DIR", help="images, in sub-folders a class or not"
    )
    help = "their captions, NAME.txt, in the same sub-folders (beside them)"
    parser.add_argument("--captions", type=cli.user_path, metavar="DIR", help=help)
    parser.add_argument("--output_path", type=cli.user_path, required=True, metavar="DIR", help="a new or empty folder")
    add_split_flags(parser, "images", 0.1)
    cli.add_boolean(parser, "--skip_bad_files", False, "leave out what cannot be used, and count it")
    return parser.parse_args(argv)


def report(folder: Path, embedded: bool = False) -> None:
    """Prints what a set holds now and the commands that train on it."""
    counts = [f"{len(data.load(folder / part, False))} images in {part}/" for part in PARTS if (folder / part).is_dir()]
    print(f"[Info] {folder}: {', '.join(counts)}")
    for script in ("train.py",) if embedded else ("train_text_encoder.py", "train.py"):
        words = [os.path.relpath(Path(__file__).resolve().with_name(script)), f"--data_path={folder}"]
        print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


def listing(lines: Sequence[str]) -> str:
    """The first lines, and how many more there are."""
    more = [f"... and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return "\n".join(f"  {line}" for line in [*lines[:NAMED], *more])


def find(args: argparse.Namespace) -> dict[str, tuple[Path, Path]]:
    """The image and the captions' file of each name "class/name" or "name".

    Raises:
        UserError: there are no images, a name is there twice, or there are images both in classes and outside.
    """
    root, texts = args.images, args.captions or args.images
    for flag, folder in (("--images", root), ("--captions", texts)):
        if not folder.is_dir():
            raise UserError(f"{flag} {folder}: there is no such folder")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    inside, outside = [file for folder in folders for file in find_images(folder)], find_images(root)
    if inside and outside:
        raise UserError(
            f"--images {root}: {outside[0].name} and {len(outside) - 1} more are in no sub-folder, others are; "
            "sub-folders are classes, so put them all into some or into none"
        )
    found = {}
    for path in inside or outside:
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in found:
            raise UserError(f"--images {root}: two images share the name {name}; rename one")
        found[name] = (path, texts / f"{name}.txt")
    if not found:
        raise UserError(f"--images {root}: no image in the folder or in its sub-folders")
    return found


def held_out(names: Sequence[str], split: str, share: float, seed: int) -> set[str]:
    """Draws the names for test/.

    Args:
        names: "class/name" or "name" of each.
        split: "classes": all names of some classes; "images": any, but never the last of a class.
        share: of the names or classes; one at least but not all, or none if it is 0.
    """
    if not share or len(names) < 2:
        return set()
    rng = np.random.default_rng(seed)
    classes = [name.rpartition("/")[0] for name in names]
    if split == "classes":
        distinct = sorted(set(classes))
        if len(distinct) < 2:
            raise UserError("--split=classes: there is one class only; give --split=images")
        count = min(len(distinct) - 1, max(1, round(share * len(distinct))))
        drawn = {distinct[number] for number in rng.permutation(len(distinct))[:count]}
        return {name for name, kind in zip(names, classes) if kind in drawn}
    wanted = min(len(names) - 1, max(1, round(share * len(names))))
    left = {kind: classes.count(kind) for kind in set(classes)}
    drawn = set()
    for number in rng.permutation(len(names)):
        if len(drawn) < wanted and left[classes[number]] > 1:
            drawn.add(names[number])
            left[classes[number]] -= 1
    return drawn


def write_part(folder: Path, names: Iterable[str], read: Callable[[str], np.ndarray], captions: Callable) -> list[str]:
    """Writes the images and captions of train/ or test/; returns a line for each name that cannot be used.

    Args:
        read: name -> uint8 [304, 304, 3], maybe raising a UserError; captions: likewise its lines, or None.
    """
    bad = []

    def one(name: str) -> Optional[str]:
        try:
            lines, image = captions(name), read(name)
        except UserError as error:
            return str(error)
        path, text = folder / "images" / f"{name}.png", folder / "captions" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, compress_level=1)
        if lines is not None:
            text.parent.mkdir(parents=True, exist_ok=True)
            text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return None

    for problem in data.in_threads(one, list(names), folder.name):
        bad += [problem] if problem else []
    return bad


def prepare(args: argparse.Namespace) -> None:
    """Makes a set."""
    found = find(args)

    def read(name: str) -> np.ndarray:
        return data.square(decode(found[name][0]), SIZE)

    def captions(name: str) -> list[str]:
        lines = data.read_lines(found[name][1])
        if not lines:
            raise UserError(f"{found[name][1]}: holds no caption")
        return lines

    held = held_out(list(found), args.split, args.test, args.seed)
    with cli.new_set(args.output_path) as work:
        write = partial(write_part, read=read, captions=captions)
        bad = [
            *write(work / "train", [name for name in found if name not in held]),
            *write(work / "test", sorted(held)),
        ]
        if bad and not args.skip_bad_files:
            raise UserError(f"nothing was written, for what follows; mend it or give --skip_bad_files\n{listing(bad)}")
        if len(found) - len(bad) < 2 or not (work / "train" / "images").is_dir():
            raise UserError(f"nothing was written: {len(found) - len(bad)} images are left\n{listing(bad)}".rstrip())
    if bad:
        print(f"[Warning] {len(bad)} files were left out:\n{listing(bad)}", file=sys.stderr, flush=True)
    report(args.output_path)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(prepare, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
