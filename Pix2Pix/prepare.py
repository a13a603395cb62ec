"""Makes a set of side-by-side pairs for train.py out of your own images.

    python prepare.py --a photos/ --b drawings/ --output_path pairs      two folders, matched by name: A left, B right
    python prepare.py --images photos/ --make edges --output_path pairs  one folder; the other half is made of it

`--which_direction BtoA`, the default, trains from the right half (B, the input) to the left (A, what is wanted), AtoB
the other way round. With --make your images are what is wanted, and the input is made of them: by default your images
stand left and what is made of them right. Train in the same direction; the command is printed at the end.

Writes train/ and val/, one image a pair, only when all of it is there. Your own files are left as they are.
"""

import argparse
import os
import shlex
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from data import MODES, decode
from PIL import Image, ImageOps
from tqdm import tqdm

from common import cli, images
from common.cli import UserError

SIGMA = 2.0  # pixels: the blur before edges are looked for


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--a", type=cli.user_path, metavar="DIR", help="the images of the left halves")
    parser.add_argument("--b", type=cli.user_path, metavar="DIR", help="those of the right halves, named as in --a")
    text = "images whose other half --make draws"
    parser.add_argument("--images", "--pictures", type=cli.user_path, metavar="DIR", help=text)
    parser.add_argument("--make", choices=["edges", "grey"], help="what that other half is")
    parser.add_argument("--output_path", type=cli.user_path, metavar="DIR", required=True, help="a new or empty folder")
    parser.add_argument("--which_direction", choices=["BtoA", "AtoB"], default="BtoA", help="in which you will train")
    parser.add_argument("--size", type=cli.in_range(int, 8, 8192), default=256, help="each half is N x N pixels")
    cli.add_boolean(parser, "--crop", False, "cut the middle square out of an image; else it is squeezed to one")
    parser.add_argument("--channels", type=int, choices=list(MODES), default=3, help="1 grey, 3 colour, 4 RGBA")
    parser.add_argument("--val", type=cli.in_range(float, 0, 0.9), default=0.1, help="share held out for val/")
    args = parser.parse_args(argv)
    if (args.a is None) != (args.b is None) or (args.images is None) != (args.make is None):
        parser.error("--a and --b go together, and --images and --make")
    if (args.a is None) == (args.images is None):
        parser.error("give --a DIR --b DIR, or --images DIR --make WHAT (--help explains)")
    return args


def by_stem(flag: str, folder: Path) -> dict[str, Path]:
    """The images of a folder by their names without suffix.

    Raises:
        UserError: no images in it, or a name twice.
    """
    stems: dict[str, Path] = {}
    for path in images.find_images(folder):
        if path.stem in stems:
            raise UserError(f"{flag} {folder}: {stems[path.stem].name} and {path.name} share a name; move one")
        stems[path.stem] = path
    if not stems:
        raise UserError(f"{flag} {folder}: there is no image in that folder (those in folders below are not used)")
    return stems


def match(args: argparse.Namespace) -> dict[str, tuple[Path, ...]]:
    """The files that make up each pair, by name, in order.

    Raises:
        UserError: a file has no fellow.
    """
    if args.images:
        return {stem: (path,) for stem, path in by_stem("--images", args.images).items()}
    lefts, rights = by_stem("--a", args.a), by_stem("--b", args.b)
    alone = [files[stem] for files, others in ((lefts, rights), (rights, lefts)) for stem in files.keys() - others]
    if alone:
        named = ", ".join(map(str, sorted(alone)[:5]))
        raise UserError(f"{len(alone)} images have no fellow (3.jpg goes with 3.jpg or 3.png): {named}")
    return {stem: (path, rights[stem]) for stem, path in lefts.items()}


def fit(image: Image.Image, size: int, crop: bool, channels: int) -> Image.Image:
    """An image in mode L, RGB or RGBA scaled to size x size, bicubic, with 1, 3 or 4 channels.

    Args:
        crop: cut the middle square out first, in place of squeezing.
        channels: with fewer than 4, what is transparent is seen on white.
    """
    if channels < 4 and images.is_transparent(image):
        image = images.on_white(image)
    image = image.convert(MODES[channels])
    if crop:
        return ImageOps.fit(image, (size, size), Image.BICUBIC)
    return image.resize((size, size), Image.BICUBIC)


def make(image: Image.Image, what: str) -> Image.Image:
    """What an image becomes as an input, in its own size and mode: "edges" (Canny's, black on white) or "grey"."""
    if what == "edges":
        from skimage.feature import canny  # takes a second to import

        lines = canny(np.asarray(images.on_white(image).convert("L")) / 255.0, sigma=SIGMA)
        return Image.fromarray(np.where(lines, 0, 255).astype(np.uint8)).convert(image.mode)
    grey = image.convert("L").convert(image.mode)
    if image.mode == "RGBA":
        grey.putalpha(image.getchannel("A"))
    return grey


def make_pair(paths: tuple[Path, ...], args: argparse.Namespace) -> Image.Image:
    """The finished pair, side by side, of two files or of one and what is made of it."""
    halves = [fit(decode(path), args.size, args.crop, args.channels) for path in paths]
    if args.make:
        halves.append(make(halves[0], args.make))
        if args.which_direction == "AtoB":
            halves.reverse()
    pair = Image.new(MODES[args.channels], (2 * args.size, args.size))
    for number, half in enumerate(halves):
        pair.paste(half, (number * args.size, 0))
    return pair


def report(folder: Path, counts: dict, *flags: str) -> None:
    """Prints what a set holds now and the command that trains on it with `flags`."""
    cli.notice(f"{folder}: {', '.join(f'{count} pairs in {split}/' for split, count in counts.items())}")
    words = [os.path.relpath(Path(__file__).resolve().with_name("train.py")), f"--data_path={folder}", *flags]
    print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


def write(args: argparse.Namespace) -> None:
    """Makes a set, of which a share is held out: one pair at least but not all, or none if the share is 0.

    Raises:
        UserError: the folders' images do not go together, one does not decode, or the set cannot be written.
    """
    pairs = match(args)
    count = min(len(pairs) - 1, max(1, round(args.val * len(pairs)))) if args.val else 0
    held_out = {list(pairs)[index] for index in np.random.default_rng(0).permutation(len(pairs))[:count]}
    with cli.new_set(args.output_path) as work:
        for stem, paths in tqdm(pairs.items(), "pairs", unit="", disable=None):
            folder = work / ("val" if stem in held_out else "train")
            folder.mkdir(exist_ok=True)
            make_pair(paths, args).save(folder / f"{stem}.png")
    flags = [f"--which_direction={args.which_direction}"]
    if args.channels != 3:
        flags += [f"--input_nc={args.channels}", f"--output_nc={args.channels}"]
    if args.size % 256 == 0 and args.size > 256:
        flags += [f"--fine_size={args.size}"]
    report(args.output_path, {"train": len(pairs) - count, "val": count}, *flags)


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
