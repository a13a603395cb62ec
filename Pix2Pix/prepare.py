"""Makes a set of side-by-side pairs for train.py out of your own pictures, or checks one.

    python prepare.py --a photos/ --b drawings/ --output_path pairs        two folders, matched by name: A left, B right
    python prepare.py --pictures photos/ --make edges --output_path pairs  one folder; the other half is made of it
    python prepare.py --validate pairs                                     checks a set; makes nothing

`--which_direction BtoA`, the default, trains from the right half (B, the input) to the left (A, what is wanted), AtoB
the other way round. With --make your pictures are what is wanted, and the input is made of them: by default your
pictures stand left and what is made of them right. Train in the same direction; the command is printed at the end.

Writes train/ and val/, one picture a pair, only when all of it is there. Your own files are left as they are.
"""

import argparse
import os
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from common import cli, pictures
from common.cli import UserError

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
NAMED = 20  # bad files that are named; the others are counted


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--a", type=cli.user_path, metavar="DIR", help="the pictures of the left halves")
    parser.add_argument(
        "--b", type=cli.user_path, metavar="DIR", help="those of the right halves, named as those of --a"
    )
    parser.add_argument("--pictures", type=cli.user_path, metavar="DIR", help="pictures whose other half --make draws")
    parser.add_argument("--make", choices=["edges", "grey", "downscale"], help="what that other half is")
    parser.add_argument(
        "--validate", type=cli.user_path, metavar="DIR", help="a set to check: a folder with train/ and val/"
    )
    parser.add_argument("--output_path", type=cli.user_path, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--which_direction", choices=["BtoA", "AtoB"], default="BtoA", help="in which you will train (BtoA)"
    )
    parser.add_argument("--size", type=cli.in_range(int, 8, 8192), default=256, help="each half is N x N pixels (256)")
    cli.add_boolean(parser, "--crop", False, "cut the middle square out of a picture; else it is squeezed to one")
    parser.add_argument("--channels", type=int, choices=list(MODES), default=3, help="1 grey, 3 colour, 4 RGBA (3)")
    parser.add_argument("--sigma", type=cli.in_range(float, 0, 100), default=2.0, help="edges: blur, in pixels (2)")
    parser.add_argument("--factor", type=cli.in_range(int, 2, 64), default=4, help="downscale: times smaller (4)")
    parser.add_argument("--val", type=cli.in_range(float, 0, 0.9), default=0.1, help="share held out for val/ (0.1)")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="draws which ones those are (0)")
    parser.add_argument("--format", choices=["png", "jpg"], default="png", help="png is exact, jpg is small (png)")
    cli.add_boolean(parser, "--skip_bad_files", False, "leave out what cannot be used, and count it")
    args = parser.parse_args(argv)
    if sum(way is not None for way in (args.a or args.b, args.pictures or args.make, args.validate)) != 1:
        parser.error("give --a DIR --b DIR, or --pictures DIR --make WHAT, or --validate DIR (--help explains)")
    if (args.a is None) != (args.b is None):
        parser.error("--a and --b go together: the left halves' folder and the right halves'")
    if (args.pictures is None) != (args.make is None):
        parser.error("--pictures and --make go together: a folder, and edges, grey or downscale")
    if not args.validate and args.output_path is None:
        parser.error("--output_path DIR is missing: a new or empty folder for the set")
    if args.format == "jpg" and args.channels == 4:
        parser.error("--format=jpg has no alpha channel; give --format=png or --channels=3")
    return args


def report(folder: Path, counts: dict, *flags: str) -> None:
    """Prints what a set holds now and the command that trains on it with `flags`."""
    print(f"[Info] {folder}: {', '.join(f'{count} pairs in {split}/' for split, count in counts.items())}")
    words = [os.path.relpath(Path(__file__).resolve().with_name("train.py")), f"--data_path={folder}", *flags]
    print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


def listing(lines: list[str], limit: int) -> str:
    """The first `limit` of `lines`, and how many more there are."""
    more = [f"... and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join(f"  {line}" for line in lines[:limit] + more)


def by_stem(flag: str, folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their names without suffix.

    Raises:
        UserError: no such folder, no pictures in it, or a name twice.
    """
    if not folder.is_dir():
        raise UserError(f"{flag} {folder}: there is no such folder")
    files = pictures.picture_files(folder)
    if not files:
        raise UserError(f"{flag} {folder}: the folder holds no picture (those in folders below it are not looked for)")
    stems: dict[str, Path] = {}
    for path in files:
        if path.stem in stems:
            raise UserError(f"{flag} {folder}: {stems[path.stem].name} and {path.name} share a name; move one")
        stems[path.stem] = path
    return stems


def match(args: argparse.Namespace) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """The files that make up each pair, by name, in order; and a line for each file that has no fellow."""
    if args.pictures:
        return {stem: (path,) for stem, path in by_stem("--pictures", args.pictures).items()}, []
    lefts, rights = by_stem("--a", args.a), by_stem("--b", args.b)
    if args.a.resolve() == args.b.resolve():
        raise UserError(f"--a and --b are one folder ({args.a}); name two, or --pictures DIR --make WHAT")
    alone = [f"{path}: no picture of that name in {args.b}" for stem, path in lefts.items() if stem not in rights]
    alone += [f"{path}: no picture of that name in {args.a}" for stem, path in rights.items() if stem not in lefts]
    pairs = {stem: (path, rights[stem]) for stem, path in lefts.items() if stem in rights}
    if not pairs:
        raise UserError(f"--a {args.a} and --b {args.b} have no name in common (3.jpg goes with 3.jpg or 3.png)")
    return pairs, alone


def fit(picture: Image.Image, size: int, crop: bool, channels: int) -> Image.Image:
    """A picture in mode L, RGB or RGBA scaled to size x size, bicubic, with 1, 3 or 4 channels.

    Args:
        crop: cut the middle square out first, in place of squeezing.
        channels: with fewer than 4, what is transparent is seen on white.
    """
    if channels < 4 and pictures.is_transparent(picture):
        picture = pictures.on_white(picture)
    picture = picture.convert(MODES[channels])
    if crop:
        return ImageOps.fit(picture, (size, size), Image.BICUBIC)
    return picture.resize((size, size), Image.BICUBIC)


def make(picture: Image.Image, what: str, sigma: float = 2.0, factor: int = 4) -> Image.Image:
    """What a picture becomes as an input, in its own size and mode.

    Args:
        what: "edges" (Canny's, black lines on white), "grey" or "downscale" (`factor` times smaller and back, bicubic).
        sigma: of the Gaussian that smooths before edges are looked for, in pixels.
    """
    if what == "downscale":
        small = [max(1, round(side / factor)) for side in picture.size]
        return picture.resize(small, Image.BICUBIC).resize(picture.size, Image.BICUBIC)
    grey = (pictures.on_white(picture) if what == "edges" else picture).convert("L")
    if what == "edges":
        from skimage.feature import canny  # takes a second to import

        lines = canny(np.asarray(grey) / 255.0, sigma=sigma)
        return Image.fromarray(np.where(lines, 0, 255).astype(np.uint8)).convert(picture.mode)
    made = grey.convert(picture.mode)
    if picture.mode == "RGBA":
        made.putalpha(picture.getchannel("A"))
    return made


def pair_of(paths: tuple[Path, ...], args: argparse.Namespace) -> Image.Image:
    """The finished pair, side by side, of two files or of one and what is made of it."""
    halves = [fit(pictures.decode(path), args.size, args.crop, args.channels) for path in paths]
    if args.make:
        halves.append(make(halves[0], args.make, args.sigma, args.factor))
        if args.which_direction == "AtoB":
            halves.reverse()
    pair = Image.new(MODES[args.channels], (2 * args.size, args.size))
    for number, half in enumerate(halves):
        pair.paste(half, (number * args.size, 0))
    return pair


def held_out(names: list[str], share: float, seed: int) -> list[str]:
    """Draws a share of the names for val: one at least but not all, or none if the share is 0."""
    count = min(len(names) - 1, max(1, round(share * len(names)))) if share else 0
    return [names[index] for index in np.random.default_rng(seed).permutation(len(names))[:count]]


def write(args: argparse.Namespace) -> None:
    """Makes a set."""
    pairs, bad = match(args)
    if bad and not args.skip_bad_files:
        raise refusal(bad)
    good = []
    with cli.new_set(args.output_path) as work:
        train, val = work / "train", work / "val"
        train.mkdir()
        for stem, paths in tqdm(pairs.items(), "pairs", unit="", disable=None):
            try:
                pair = pair_of(paths, args)
            except UserError as error:
                bad.append(str(error))
                continue
            good.append(f"{stem}.{args.format}")
            pair.save(train / good[-1], quality=95, subsampling=0)
        if bad and not args.skip_bad_files:
            raise refusal(bad)
        if not good:
            raise UserError(f"nothing was written: no pair is left\n{listing(bad, NAMED)}")
        held = held_out(good, args.val, args.seed)
        if held:
            val.mkdir()
        for name in held:
            (train / name).rename(val / name)
    if bad:
        print(f"[Warning] {len(bad)} files were left out:\n{listing(bad, NAMED)}", file=sys.stderr, flush=True)
    flags = [f"--which_direction={args.which_direction}"]
    if args.channels != 3:
        flags += [f"--input_nc={args.channels}", f"--output_nc={args.channels}"]
    if args.size % 256 == 0 and args.size > 256:
        flags += [f"--fine_size={args.size}"]
    report(args.output_path, {"train": len(good) - len(held), "val": len(held)}, *flags)


def refusal(bad: list[str]) -> UserError:
    """The error that names bad files, up to a limit."""
    return UserError(f"nothing was written, for what follows; mend it or give --skip_bad_files\n{listing(bad, NAMED)}")


def validate(args: argparse.Namespace) -> None:
    """Looks at every pair of a set as train.py would: decodes it, and checks its halves and channels."""
    root = args.validate
    if not pictures.picture_files(root / "train"):
        raise UserError(f"--validate {root}: no pictures in train/; a set holds its pairs in train/ and val/")
    bad, total = [], 0
    for split in ("train", "val", "test"):
        files, seen = pictures.picture_files(root / split), Counter()
        for path in tqdm(files, split, unit="", disable=None):
            try:
                picture = pictures.decode(path)
                data.check_halves(path, *picture.size)
                data.as_channels(picture, args.channels, "--channels", path)
                seen[f"{picture.size[0]} x {picture.size[1]}, {len(picture.getbands())} channels"] += 1
            except UserError as error:
                bad.append(str(error))
        total += len(files)
        if files:
            kinds = listing([f"     {kind}: {count}" for kind, count in seen.most_common()], 10)
            good = sum(seen.values())
            print(f"[Info] {root / split}: {len(files)} pictures, {good} good\n{kinds}".rstrip(), flush=True)
    if bad:
        raise UserError(f"{len(bad)} of {total} pictures are bad:\n{listing(bad, len(bad))}")
    print(f"[Info] {root}: all {total} pairs can be trained on", flush=True)


def main(argv: Optional[list[str]] = None) -> int:
    args = parse_args(argv)
    return cli.call(validate if args.validate else write, args)


if __name__ == "__main__":
    sys.exit(main())
