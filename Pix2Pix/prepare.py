"""Makes a set of side-by-side pairs for train.py out of your own images.

    python prepare.py --a photos/ --b drawings/ --output_path pairs      two folders, matched by name: A left, B right
    python prepare.py --images photos/ --make edges --output_path pairs  one folder; B, the input, is made of its images

By default (`--which_direction=BtoA`) train.py makes A, the left half, from B, the right one. Writes train/ and val/,
one image a pair, only when all of it is there. Your own files are left as they are.
"""

import argparse
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from common import cli, images
from common.cli import UserError

SIGMA = 2.0  # pixels: the blur before edges are looked for


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--a", "--images", type=cli.user_path, metavar="DIR", required=True, help="the images of the left halves"
    )
    right = parser.add_mutually_exclusive_group(required=True)
    right.add_argument("--b", type=cli.user_path, metavar="DIR", help="those of the right halves, named as in --a")
    right.add_argument("--make", choices=["edges", "grey"], help="what the right halves are, made of the left ones")
    parser.add_argument("--output_path", type=cli.user_path, metavar="DIR", required=True, help="a new or empty folder")
    parser.add_argument("--size", type=cli.in_range(int, 8, 8192), default=256, help="each half is N x N pixels")
    cli.add_boolean(parser, "--crop", False, "cut the middle square out of an image; else it is squeezed to one")
    parser.add_argument("--val", type=cli.in_range(float, 0, 0.9), default=0.1, help="share held out for val/")
    return parser.parse_args(argv)


def by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without suffix.

    Raises:
        UserError: no images in it, or a name twice.
    """
    files = images.input_files([folder])
    stems = {path.stem: path for path in files}
    for path in files:
        if stems[path.stem] != path:
            raise UserError(f"{folder}: {path.name} and {stems[path.stem].name} share a name; move one")
    return stems


def make(image: Image.Image, what: str) -> Image.Image:
    """What an image becomes as an input: "edges" (Canny's, black on white) or "grey"."""
    grey = images.on_white(image).convert("L")
    if what == "grey":
        return grey
    from skimage.feature import canny  # takes a second to import

    return Image.fromarray(~canny(np.asarray(grey) / 255.0, sigma=SIGMA))


def make_pair(paths: list[Path], args: argparse.Namespace) -> Image.Image:
    """The finished pair, side by side, of two files or of one and what is made of it; RGBA where one half is."""
    size, fit = (args.size, args.size), ImageOps.fit if args.crop else Image.Image.resize
    halves = [fit(images.decode(path), size, Image.BICUBIC) for path in paths]
    if args.make:
        halves.append(make(halves[0], args.make))
    pair = Image.new("RGBA" if any(half.mode == "RGBA" for half in halves) else "RGB", (2 * args.size, args.size))
    for number, half in enumerate(halves):
        pair.paste(half, (number * args.size, 0))
    return pair


def write(args: argparse.Namespace) -> None:
    """Makes a set, of which a share is held out: one pair at least but not all, or none if the share is 0.

    Raises:
        UserError: the folders' images do not go together, one does not decode, or the set cannot be written.
    """
    sides = [by_stem(folder) for folder in (args.a, args.b) if folder]
    alone = sorted(sides[0].keys() ^ sides[-1].keys())
    if alone:
        raise UserError(f"{len(alone)} images have no fellow (3.jpg goes with 3.jpg or 3.png): {', '.join(alone[:5])}")
    stems = list(sides[0])
    count = min(len(stems) - 1, max(1, round(args.val * len(stems)))) if args.val else 0
    held_out = {stems[index] for index in np.random.default_rng(0).permutation(len(stems))[:count]}
    with cli.new_set(args.output_path) as work:
        for stem in tqdm(stems, "pairs", unit="", disable=None):
            folder = work / ("val" if stem in held_out else "train")
            folder.mkdir(exist_ok=True)
            make_pair([files[stem] for files in sides], args).save(folder / f"{stem}.png")
    cli.notice(f"{len(stems) - count} pairs in train/, {count} in val/: train.py --data_path={args.output_path}")


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
