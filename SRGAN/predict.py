"""Enlarges your own images with a trained SRGAN: files or whole folders of any size in, a PNG each out.

python SRGAN/predict.py photo.jpg                                             with the weights in SRGAN/pretrained/
python SRGAN/predict.py photo.jpg more_photos/ --ckpt_path=RUN --output_path=large --outscale=2.5
python SRGAN/predict.py scan.png --model=exported/generator.onnx              an export, without TensorFlow

An image goes through the network in overlapping tiles, which bound what that takes of memory whatever its size, and no
seam shows: they overlap by as much as the network sees.

What is kept: 16 bits a channel of PNG files, grey, the colour profile, and alpha, which is enlarged by bicubic
interpolation (the network would invent texture in it). What comes out is new: photo_x4.png, or photo_x4-2.png, -3, ...

A CPU that has bfloat16 computes in it, 1.6 times as fast and the same to 58 dB; --precision_mode=force_fp32 does not.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import enlarger
import numpy as np
import png
from enlarger import Enlarger
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from common import cli
from common.cli import UserError, notice
from common.config import add_device_flags
from common.images import input_files, is_transparent, opened

MAX_VALUES = 2**31 - 1  # of a result, which is held in memory: pixels times channels
ALPHA = (2, 4)  # channels of images with alpha, the last one


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="images, or folders of images")
    parser.add_argument("--input", nargs="+", default=[], metavar="IMAGE", help="the same")
    add_network_flags(parser)
    parser.add_argument("--output_path", default=".", metavar="DIR", help="where the enlarged images go")
    text = "how many times larger; what the network does not do is resampled after it (the network's)"
    parser.add_argument("--outscale", type=cli.in_range(float, 0.05, 64), metavar="N", help=text)
    parser.add_argument("--suffix", metavar="TEXT", help="behind the names of the results (_x4, or what it is)")
    text = "GiB that the network may take for a tile, beside the result and about 1 for all else"
    parser.add_argument("--memory", type=cli.in_range(float, 0.01, 2**20), default=2.0, metavar="GIB", help=text)
    parser.set_defaults(precision_mode=None)  # the fastest that gives the same image; evaluate.py keeps float32
    args = parser.parse_args(argv)
    args.images += args.input
    if not args.images:
        parser.error("name the images to enlarge: predict.py photo.jpg (--help tells more)")
    if args.suffix and Path(args.suffix).name != args.suffix:
        parser.error(f"--suffix {args.suffix!r} is no part of a file's name")
    return args


def add_network_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what says which network is used, and on which device."""
    parser.add_argument("--ckpt_path", metavar="PATH", help="weights, a run or gen_model<epoch>.h5 (SRGAN/pretrained/)")
    parser.add_argument("--model", metavar="FILE", help="instead of weights an export: .onnx, .pb, SavedModel or .om")
    add_device_flags(parser)


def load_network(args: argparse.Namespace) -> Enlarger:
    """What those flags name.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    if args.model and args.ckpt_path:
        raise UserError("--model is an export with its weights in it: leave --ckpt_path out")
    if args.model:
        return enlarger.from_export(args.model)
    try:
        import checkpoint
    except ImportError as error:
        raise UserError(f"without TensorFlow only an export can be run: --model=FILE.onnx ({error})") from None
    return checkpoint.load(args.ckpt_path, args.device, args.precision_mode)


def read(path: Path) -> tuple[np.ndarray, Optional[bytes]]:
    """Reads an image file: uint8 or uint16 [height, width, 1 to 4], grey or RGB, with alpha where something may be
    transparent; and its ICC profile, unless it is one of other colours, such as CMYK's.

    Raises:
        UserError: it is too large, does not decode, or has more than 8 bits a channel and is no PNG.
    """
    deep = png.read_16_bit(path)
    if deep:
        pixels, profile = deep
    else:
        with opened(path) as image:
            mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
            pixels = np.atleast_3d(np.asarray(image.convert(mode + "A" * is_transparent(image))))
            profile = image.info.get("icc_profile")
    fits = isinstance(profile, bytes) and profile[16:20] == (b"GRAY" if pixels.shape[2] < 3 else b"RGB ")
    return pixels, profile if fits else None


def visible_colours(pixels: np.ndarray) -> np.ndarray:
    """An image without its alpha: beneath full transparency the colour of the nearest pixel that shows, lest a hidden
    one fringes it."""
    hidden, colours = pixels[..., -1] == 0, pixels[..., :-1]
    if not hidden.any() or hidden.all():
        return colours
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return colours[tuple(nearest)]


def resize(image: np.ndarray, height: int, width: int, kernel: int) -> np.ndarray:
    """A uint8 or uint16 image [h, w, c] in another size, by one of Pillow's kernels."""
    planes, white = [], np.iinfo(image.dtype).max
    for channel in np.moveaxis(image, 2, 0):
        resized = Image.fromarray(channel.astype(np.float32)).resize((width, height), kernel)
        planes.append(np.clip(np.rint(resized), 0, white).astype(image.dtype))
    return np.dstack(planes)


def enlarge_file(network: Enlarger, path: Path, args: argparse.Namespace) -> Path:
    """Enlarges an image file and returns the new file's path; where that does not come to its end, none is left.

    Raises:
        UserError: it cannot be used, or no file can be written.
    """
    (pixels, profile), factor = read(path), args.outscale or network.scale
    height, width = (max(1, round(length * factor)) for length in pixels.shape[:2])
    if pixels.size * max(factor, network.scale) ** 2 > MAX_VALUES:
        raise UserError(f"{path}: too large for memory when enlarged ({width} x {height}); cut it, or lower --outscale")
    suffix = f"_x{factor:g}" if args.suffix is None else args.suffix
    target = cli.new_file(Path(args.output_path) / f"{path.stem}{suffix}.png")
    try:
        has_alpha = pixels.shape[2] in ALPHA
        result = network.enlarge(visible_colours(pixels) if has_alpha else pixels, int(args.memory * 2**30))
        if factor != network.scale:
            result = resize(result, height, width, Image.LANCZOS)
        if has_alpha:
            result = np.dstack([result, resize(pixels[..., -1:], height, width, Image.BICUBIC)])
        png.write(target, result, profile)
    except BaseException:
        os.unlink(target)
        raise
    return target


def predict(args: argparse.Namespace) -> list[Path]:
    """Enlarges each of the user's images, prints which is which, and returns the new files.

    Raises:
        UserError: no such weights or image; or, when all others are done, images that cannot be used.
    """
    files, network = input_files(args.images), load_network(args)
    targets, bad = [], []
    for path in tqdm(files, "enlarging", unit="", disable=None):
        try:
            targets.append(enlarge_file(network, path, args))
        except UserError as error:
            bad.append(str(error))
            continue
        tqdm.write(f"{path}  {targets[-1]}", file=sys.stdout)
    if targets:
        times = f"{args.outscale or network.scale:g} times by {network.path}"
        notice(f"{len(targets)} image{'s' * (len(targets) > 1)} enlarged {times}")
    if bad:
        counted = f"{len(bad)} of {len(files)} images were left out: " if len(files) > 1 else ""
        raise UserError(counted + "; ".join(bad[:5]))
    return targets


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(predict, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
