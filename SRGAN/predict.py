"""Enlarges your own images with a trained SRGAN: files or whole folders of any size in, a PNG each out.

python SRGAN/predict.py photo.jpg                                             with the weights in SRGAN/pretrained/
python SRGAN/predict.py photo.jpg more_photos/ --ckpt_path=RUN --output_path=large --outscale=2.5
python SRGAN/predict.py scan.png --model=exported/generator.onnx              an export, without TensorFlow

An image goes through the network in overlapping tiles and into its file row by row, so that memory has a bound
whatever its size, and no seam shows: the tiles overlap by as much as the network sees.

What is kept: 16 bits a channel of PNG files, grey, the colour profile, and alpha, which is enlarged by bicubic
interpolation (the network would invent texture in it). What comes out is new: photo_x4.png, or photo_x4-2.png, -3, ...
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import enlarger
import numpy as np
from enlarger import Enlarger
from PIL import Image
from png import is_16_bit, png_writer, read_16_bit
from scipy import ndimage
from tiles import MIN_TILE
from tqdm import tqdm

from common import cli
from common.cli import UserError, notice
from common.images import input_files, is_transparent, opened

GIB = 2**30
MAX_PIXELS = 2**31  # of a result: what its readers take
MAX_LENGTH = 2**15  # pixels: height or width of an image, of which whole rows are held in memory
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
ALPHA = (2, 4)  # channels of images with alpha, the last one


@dataclass
class Photo:
    """An image that was read: uint8 or uint16 [height, width, 1 to 4], grey or RGB, with alpha or without."""

    pixels: np.ndarray
    profile: Optional[bytes]  # ICC
    changes: list[str] = field(default_factory=list)  # what was done to it


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="images, or folders of images")
    parser.add_argument("--input", nargs="+", default=[], metavar="IMAGE", help="the same")
    what = "weights, a run's folder or a gen_model<epoch>.h5 (SRGAN/pretrained/)"
    parser.add_argument("--ckpt_path", metavar="PATH", help=what)
    parser.add_argument("--model", metavar="FILE", help="instead of weights an export: .onnx, .pb, SavedModel or .om")
    parser.add_argument("--output_path", default=".", metavar="DIR", help="where the enlarged images go")
    text = "how many times larger; what the network does not do is resampled after it (the network's)"
    parser.add_argument("--outscale", type=cli.in_range(float, 0.05, 64), metavar="N", help=text)
    parser.add_argument("--suffix", metavar="TEXT", help="behind the names of the results (_x4, or what it is)")
    text = "a tile's size without its overlap, in pixels of the input (the largest that --memory allows)"
    parser.add_argument("--tile", type=cli.in_range(int, MIN_TILE), metavar="N", help=text)
    text = "GiB that the network may take for a tile, beside about 1 for all else"
    parser.add_argument("--memory", type=cli.in_range(float, 0.01, 2**20), default=2.0, metavar="GIB", help=text)
    cli.add_boolean(parser, "--skip_bad_files", False, "leave out and count images that cannot be used")
    add_device_flags(parser, argv)
    args = parser.parse_args(argv)
    if not (args.images or args.input):
        parser.error("name the images to enlarge: predict.py photo.jpg (--help tells more)")
    if args.model and args.ckpt_path:
        parser.error("--model is an export with its weights in it: leave --ckpt_path out")
    if args.suffix and Path(args.suffix).name != args.suffix:
        parser.error(f"--suffix {args.suffix!r} is no part of a file's name")
    return args


def add_device_flags(parser: argparse.ArgumentParser, argv: Optional[Sequence[str]]) -> None:
    """The flags of the device for what TensorFlow runs on it. An export has none, and an .onnx or .om file needs no
    TensorFlow, which is not even imported then."""
    if any(word.split("=")[0] == "--model" for word in (sys.argv[1:] if argv is None else argv)):
        return
    try:
        from common.session import add_device_flags
    except ImportError:
        return
    add_device_flags(parser)


def load_network(args: argparse.Namespace) -> Enlarger:
    """What a script's `--model` or `--ckpt_path` names, on the device of its flags.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    if args.model:
        return enlarger.from_export(args.model)
    try:
        import checkpoint

        from common.session import device_config
    except ImportError as error:
        raise UserError(f"without TensorFlow only an export can be run: --model=FILE.onnx ({error})") from None
    return checkpoint.load(args.ckpt_path, device_config(args))


def read(path: Path) -> Photo:
    """Reads an image file: what is not grey or RGB becomes RGB, what may be transparent gets an alpha channel.

    Raises:
        UserError: it is too large, does not decode, or has more than 8 bits a channel and is no PNG.
    """
    if is_16_bit(path):
        pixels, profile = read_16_bit(path)
        return _photo(pixels, profile)
    with opened(path) as image:
        grey, alpha = image.mode in ("1", "L", "LA", "La"), is_transparent(image)
        mode = ("L" if grey else "RGB") + ("A" if alpha else "")
        changes = []
        if image.mode not in ("1", "L", "LA", "La", "RGB", "RGBA", "RGBa"):
            changes.append(f"converted to {mode}, being {'a palette' if image.mode[0] == 'P' else image.mode}")
        if getattr(image, "n_frames", 1) > 1:
            changes.append(f"the first of its {image.n_frames} frames alone")
        pixels = np.asarray(image.convert(mode))
        return _photo(np.atleast_3d(pixels), image.info.get("icc_profile"), changes)


def _photo(pixels: np.ndarray, profile: Optional[bytes], changes: Sequence[str] = ()) -> Photo:
    """A photo whose profile is left out where it is of other colours, such as CMYK."""
    fits = isinstance(profile, bytes) and profile[16:20] == (b"GRAY" if pixels.shape[2] < 3 else b"RGB ")
    return Photo(pixels, profile if fits else None, list(changes))


def network_input(pixels: np.ndarray) -> np.ndarray:
    """An image's colours as the network takes them, [height, width, 3]: grey repeated, and beneath full transparency
    the colour of the nearest pixel that shows, lest a hidden one fringes it."""
    channels = pixels.shape[2]
    colours = pixels[..., :-1] if channels in ALPHA else pixels
    hidden = pixels[..., -1] == 0 if channels in ALPHA else np.zeros(1, bool)
    if hidden.any() and not hidden.all():
        nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
        colours = colours[tuple(nearest)]
    return np.repeat(colours, 3, 2) if channels < 3 else colours


def quantised(image: np.ndarray, dtype: Any) -> np.ndarray:
    """An image in 0..1 as uint8 or uint16."""
    white = np.iinfo(dtype).max
    return np.clip(np.rint(image * white), 0, white).astype(dtype)


def result_size(network: Enlarger, height: int, width: int, outscale: Optional[float]) -> tuple[int, int]:
    """The height and width of what an image becomes."""
    factor = outscale or network.scale
    return max(1, round(height * factor)), max(1, round(width * factor))


def enlarged_rows(
    network: Enlarger,
    pixels: np.ndarray,
    outscale: Optional[float] = None,
    tile: Optional[int] = None,
    memory: int = enlarger.MEMORY,
    progress: Callable[[], Any] = lambda: None,
) -> Iterator[np.ndarray]:
    """An image of any kind enlarged, in the same kind, from the top down.

    Args:
        pixels: uint8 or uint16 [height, width, 1 to 4], grey or RGB, with alpha or without.
        outscale: how many times larger (the network's scale).
        tile, memory, progress: as `Enlarger.rows` has them.
    Yields:
        [n, outscale * width, channels].
    """
    height, width, channels = pixels.shape
    size = result_size(network, height, width, outscale)
    rows = network.rows(network_input(pixels), tile, memory, progress)
    native = (height * network.scale, width * network.scale)
    if size != native:
        rows = enlarger.resampled(rows, native, size)
    alpha = Image.fromarray(pixels[..., -1].astype(np.float32)) if channels in ALPHA else None
    done = 0
    for colours in rows:
        colours = quantised(colours @ LUMA[:, None] if channels < 3 else colours, pixels.dtype)
        if alpha is not None:
            box = (0, done * height / size[0], width, min(height, (done + len(colours)) * height / size[0]))
            matte = np.asarray(alpha.resize((size[1], len(colours)), Image.BICUBIC, box=box))
            colours = np.dstack([colours, quantised(matte / np.iinfo(pixels.dtype).max, pixels.dtype)])
        done += len(colours)
        yield colours


def enlarge(network: Enlarger, pixels: np.ndarray, outscale: Optional[float] = None, **tiling: Any) -> np.ndarray:
    """The whole of what `enlarged_rows` gives: an image of any kind enlarged, in the same kind.

    `enlarge(checkpoint.load(), np.asarray(Image.open("photo.jpg")))` takes and gives uint8 [height, width, 3].
    """
    return np.concatenate(list(enlarged_rows(network, pixels, outscale, **tiling)))


def enlarge_file(
    network: Enlarger, path: Path, args: argparse.Namespace, progress: Callable[[], Any] = lambda: None
) -> Path:
    """Enlarges an image file and returns the new file's path; where that does not come to its end, none is left."""
    photo = read(path)
    height, width, channels = photo.pixels.shape
    size = (*result_size(network, height, width, args.outscale), channels, 8 * photo.pixels.itemsize)
    suffix = f"_x{args.outscale or network.scale:g}" if args.suffix is None else args.suffix
    target = cli.new_file(Path(args.output_path) / f"{path.stem}{suffix}.png")
    memory = int(args.memory * GIB)
    try:
        with png_writer(target, *size, photo.profile) as write:
            for rows in enlarged_rows(network, photo.pixels, args.outscale, args.tile, memory, progress):
                write(rows)
    except BaseException:
        os.unlink(target)
        raise
    return target


def usable(network: Enlarger, files: Sequence[Path], args: argparse.Namespace) -> tuple[list[Path], int]:
    """The images that can be used, all of them looked at before anything is written, and the number of their tiles;
    tells what has to be done to them.

    Raises:
        UserError: one cannot, where those are not skipped, or none can.
    """
    good, bad, changes, count, largest = [], [], Counter(), 0, 0
    for path in tqdm(files, "reading", unit="", disable=None):
        try:
            photo = read(path)
            height, width = photo.pixels.shape[:2]
            rows, columns = network.tiling(height, width, args.tile, int(args.memory * GIB))
            if max(height, width) > MAX_LENGTH:
                raise UserError(f"{path}: more than {MAX_LENGTH} pixels in height or width; cut it into parts")
            if np.prod(result_size(network, height, width, args.outscale), dtype=float) > MAX_PIXELS:
                raise UserError(f"{path}: {width} x {height} pixels become too many; give a smaller --outscale")
        except UserError as error:
            if not args.skip_bad_files:
                raise
            bad.append(str(error))
            continue
        good.append(path)
        changes.update(photo.changes)
        count += len(rows) * len(columns)
        largest = max(largest, network.tile_bytes(rows, columns))
    for change, number in changes.items():
        notice(f"{number} of {len(good)} images: {change}")
    if bad:
        notice(f"--skip_bad_files: {len(bad)} of {len(files)} images left out: {'; '.join(bad[:5])}")
    if not good:
        raise UserError(f"not one of the {len(files)} images can be used; {bad[0]}")
    if largest > args.memory * GIB:
        notice(f"a tile takes about {largest / GIB:.2g} GiB, more than --memory {args.memory:g}")
    return good, count


def predict(args: argparse.Namespace) -> list[Path]:
    """Enlarges each of the user's images, prints which is which, and returns the new files.

    Raises:
        UserError: no such weights or image, an image that cannot be used, a folder that cannot be written.
    """
    files = input_files([*args.images, *args.input])
    network = load_network(args)
    files, count = usable(network, files, args)
    targets = []
    with tqdm(total=count, desc="enlarging", unit=" tiles", disable=None) as bar:
        for path in files:
            targets.append(enlarge_file(network, path, args, bar.update))
            tqdm.write(f"{path}  {targets[-1]}", file=sys.stdout)
    factor = args.outscale or network.scale
    notice(f"{len(files)} image{'s' * (len(files) > 1)} enlarged {factor:g} times by {network.path}")
    return targets


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(predict, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
