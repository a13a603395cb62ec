"""Enlarges your own pictures with a trained SRGAN: pictures or whole folders of any size in, a PNG each out.

python SRGAN/predict.py --ckpt_path=SRGAN/test/output/0 --input photo.jpg more_photos/ --output_path=large
python SRGAN/predict.py --ckpt_path=model/gen_model500.h5 --input scan.png --output_path=large --memory=0.5

A picture goes through the network in overlapping tiles and into its file row by row, so that memory has a bound
whatever its size, and no seam shows: the tiles overlap by as much as the network sees.

What is kept: 16 bits a channel of PNG files, grey, the colour profile, and alpha, which is enlarged by bicubic
interpolation (the network would invent texture in it). What comes out is new: <name>.png, or <name>-2.png, -3, ...
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import trained
from PIL import Image
from png import is_16_bit, png_writer, read_16_bit
from scipy import ndimage
from tiles import MIN_TILE
from tqdm import tqdm

from common import cli
from common.cli import UserError
from common.pictures import input_files, is_transparent, opened
from common.session import add_device_flags, device_config, notice, open_session

GIB = 2**30
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
ALPHA = (2, 4)  # channels of pictures with alpha, the last one


@dataclass
class Picture:
    """A picture that was read: uint8 or uint16 [height, width, 1 to 4], grey or RGB, with alpha or without."""

    pixels: np.ndarray
    profile: Optional[bytes]  # ICC
    changes: list[str] = field(default_factory=list)  # what was done to it


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "a run's folder, one checkpoint in it, or a gen_model<epoch>.h5"
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help=what)
    parser.add_argument("--input", required=True, nargs="+", metavar="PATH", help="pictures, or folders of pictures")
    parser.add_argument("--output_path", required=True, metavar="DIR", help="where the enlarged pictures go")
    parser.add_argument(
        "--tile",
        type=cli.in_range(int, MIN_TILE),
        metavar="N",
        help="side of a tile without its overlap, in pixels of the input (the largest that --memory allows)",
    )
    parser.add_argument(
        "--memory",
        type=cli.in_range(float, 0.01, 2**20),
        default=trained.MEMORY / GIB,
        metavar="GIB",
        help="what the network may take for a tile, beside about 1 GiB for all else (2)",
    )
    cli.add_boolean(parser, "--skip_bad_files", False, "leave out and count pictures that cannot be used (False)")
    add_device_flags(parser)
    return parser.parse_args(argv)


def read(path: Path) -> Picture:
    """Reads a picture file: what is not grey or RGB becomes RGB, what may be transparent gets an alpha channel.

    Raises:
        UserError: it is too large, does not decode, or has more than 8 bits a channel and is no PNG.
    """
    if is_16_bit(path):
        pixels, profile = read_16_bit(path)
        return _picture(pixels, profile)
    with opened(path) as picture:
        grey, alpha = picture.mode in ("1", "L", "LA", "La"), is_transparent(picture)
        mode = ("L" if grey else "RGB") + ("A" if alpha else "")
        changes = []
        if picture.mode not in ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa"):
            changes.append(f"converted to {mode}, being {'a palette' if picture.mode[0] == 'P' else picture.mode}")
        pixels = np.asarray(picture.convert(mode))
        return _picture(np.atleast_3d(pixels), picture.info.get("icc_profile"), changes)


def _picture(pixels: np.ndarray, profile: Optional[bytes], changes: Sequence[str] = ()) -> Picture:
    """A picture whose profile is left out where it is of other colours, such as CMYK."""
    fits = isinstance(profile, bytes) and profile[16:20] == (b"GRAY" if pixels.shape[2] < 3 else b"RGB ")
    return Picture(pixels, profile if fits else None, list(changes))


def network_input(pixels: np.ndarray) -> np.ndarray:
    """A picture's colours as the network takes them, [height, width, 3]: grey repeated, and beneath full transparency
    the colour of the nearest pixel that shows, lest a hidden one fringes it."""
    channels = pixels.shape[2]
    colours = pixels[..., :-1] if channels in ALPHA else pixels
    hidden = pixels[..., -1] == 0 if channels in ALPHA else np.zeros(1, bool)
    if hidden.any() and not hidden.all():
        nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
        colours = colours[tuple(nearest)]
    return np.repeat(colours, 3, 2) if channels < 3 else colours


def enlarged_rows(
    model: trained.Trained, pixels: np.ndarray, args: argparse.Namespace, progress: Callable[[], object]
) -> Iterator[np.ndarray]:
    """A picture of any kind enlarged, in the same kind, from the top down: yields [n, scale width, channels]."""
    height, width, channels = pixels.shape
    scale, dtype = model.options.scale, pixels.dtype
    rows, columns = tiles(model, height, width, args)
    alpha = Image.fromarray(pixels[..., -1].astype(np.float32)) if channels in ALPHA else None

    def finish(tile):
        return trained.quantised(tile @ LUMA[:, None] if channels < 3 else tile, dtype)

    large = trained.enlarged_rows(model, network_input(pixels), rows, columns, finish, progress)
    for window, colours in zip(rows, large):
        if alpha is not None:
            box = (0, window.first, width, window.last)
            matte = np.asarray(alpha.resize((width * scale, len(colours)), Image.BICUBIC, box=box))
            colours = np.dstack([colours, trained.quantised(matte / np.iinfo(dtype).max, dtype)])
        yield colours


def tiles(model: trained.Trained, height: int, width: int, args: argparse.Namespace):
    """The tiles of a picture, as `trained.tiling` gives them, by the flags."""
    return trained.tiling(model.options, height, width, args.tile, int(args.memory * GIB))


def enlarge_file(model: trained.Trained, path: Path, args: argparse.Namespace, progress: Callable[[], object]) -> Path:
    """Enlarges a picture file and returns the new file's path; where that does not come to its end, none is left."""
    picture = read(path)
    height, width, channels = picture.pixels.shape
    size = (height * model.options.scale, width * model.options.scale, channels, 8 * picture.pixels.itemsize)
    target = cli.new_file(Path(args.output_path) / f"{path.stem}.png")
    try:
        with png_writer(target, *size, picture.profile) as write:
            for rows in enlarged_rows(model, picture.pixels, args, progress):
                write(rows)
    except BaseException:
        os.unlink(target)
        raise
    return target


def usable(files: Sequence[Path], model: trained.Trained, args: argparse.Namespace) -> tuple[list[Path], int]:
    """The pictures that can be used, all of them looked at before anything is written, and the number of their tiles;
    tells what has to be done to them.

    Raises:
        UserError: one cannot, where those are not skipped, or none can.
    """
    good, bad, changes, count, largest = [], [], Counter(), 0, 0
    for path in tqdm(files, "reading", unit="", disable=None):
        try:
            picture = read(path)
        except UserError as error:
            if not args.skip_bad_files:
                raise
            bad.append(str(error))
            continue
        good.append(path)
        changes.update(picture.changes)
        rows, columns = tiles(model, *picture.pixels.shape[:2], args)
        count += len(rows) * len(columns)
        largest = max(largest, trained.tile_bytes(model.options, rows, columns))
    for change, number in changes.items():
        notice(f"{number} of {len(good)} pictures: {change}")
    if bad:
        notice(f"--skip_bad_files: {len(bad)} of {len(files)} pictures left out: {'; '.join(bad[:5])}")
    if not good:
        raise UserError(f"--input: not one of the {len(files)} pictures can be used; {bad[0]}")
    if largest > args.memory * GIB:
        notice(f"a tile takes about {largest / GIB:.2g} GiB, more than --memory {args.memory:g}")
    return good, count


def predict(args: argparse.Namespace) -> None:
    """Enlarges each of the user's pictures, and prints which is which.

    Raises:
        UserError: no such checkpoint or picture, a picture that cannot be used, a folder that cannot be written.
    """
    files = input_files(args.input)
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    files, count = usable(files, model, args)
    with tqdm(total=count, desc="enlarging", unit=" tiles", disable=None) as bar:
        for path in files:
            target = enlarge_file(model, path, args, bar.update)
            tqdm.write(f"{path}  {target}", file=sys.stdout)
    notice(f"{len(files)} pictures enlarged {model.options.scale} times by {model.prefix}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(predict, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
