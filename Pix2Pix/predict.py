"""Translates your own pictures with a trained Pix2Pix: pictures or whole folders in, a PNG each out, of any size.

python Pix2Pix/predict.py --ckpt_path=Pix2Pix/test/output/0 --input map.png more_maps/ --output_path=drawn
python Pix2Pix/predict.py --ckpt_path=Pix2Pix/test/output/0 --input facades/val --pairs --output_path=drawn

No pair is needed; with --pairs the pictures are side-by-side pairs, and only the half that the run took as its input is
used. What comes out is new: <name>.png, or <name>-2.png, -3, ... where that is there already.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import trained
from data import GREY, as_channels, check_halves
from PIL import Image
from tqdm import tqdm

from common import cli
from common.cli import UserError
from common.pictures import decode, input_files, on_white
from common.session import add_device_flags, device_config, notice, open_session


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help="a run's folder, or one checkpoint in it")
    parser.add_argument("--input", required=True, nargs="+", metavar="PATH", help="pictures, or folders of pictures")
    parser.add_argument("--output_path", required=True, metavar="DIR", help="where the drawn pictures go")
    cli.add_boolean(parser, "--pairs", False, "the pictures are pairs: use the run's input half (False)")
    parser.add_argument(
        "--inference",
        choices=trained.INFERENCE,
        default="deterministic",
        help="paper: with dropout, as the paper tests (deterministic)",
    )
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**31 - 1), default=0, help="of that dropout (0)")
    cli.add_boolean(parser, "--skip_bad_files", False, "leave out and count pictures that cannot be used (False)")
    parser.add_argument(
        "--max_pixels",
        type=cli.in_range(int, 1),
        default=2**24,
        metavar="N",
        help="refuse larger pictures, for which memory may not do (4096 x 4096)",
    )
    add_device_flags(parser)
    return parser.parse_args(argv)


def input_half(pair: Image.Image, which_direction: str, path: Path) -> Image.Image:
    """The half of a side-by-side pair that is the input: AtoB the left one, BtoA the right one.

    Raises:
        UserError: it cannot be a pair.
    """
    width, height = pair.size
    check_halves(path, width, height)
    left = 0 if which_direction == "AtoB" else width // 2
    return pair.crop((left, 0, left + width // 2, height))


def fit_channels(picture: Image.Image, channels: int) -> tuple[Image.Image, list[str]]:
    """A picture (L, RGB, RGBA) as near as can be to what a generator of so many channels takes.

    Returns: it, and what was done to it.
    """
    done = []
    if channels == 4 and picture.mode != "RGBA":
        return picture.convert("RGBA"), ["taken as opaque, having no alpha channel"]
    if channels != 4 and picture.mode == "RGBA":
        if picture.getextrema()[3][0] < 255:
            done.append("put on white, being transparent in places")
        picture = on_white(picture)
    if channels == 1 and picture.mode == "RGB":
        if np.ptp(np.asarray(picture), axis=2).mean() > GREY:
            done.append("turned grey, being in colour")
        picture = picture.convert("L")
    return picture, done


def read_input(path: Path, options: argparse.Namespace, args: argparse.Namespace) -> tuple[np.ndarray, list[str]]:
    """A picture file as uint8 [height, width, input_nc] for a run's generator, and what was done to make it fit.

    Raises:
        UserError: it does not decode, is too large, or is no pair where it ought to be.
    """
    picture = decode(path)
    if args.pairs:
        picture = input_half(picture, options.which_direction, path)
    if picture.width * picture.height > args.max_pixels:
        raise UserError(
            f"{path}: {picture.width} x {picture.height} is more than --max_pixels {args.max_pixels}; make the picture "
            "smaller, or the limit larger: a pixel takes some 450 bytes of memory"
        )
    picture, done = fit_channels(picture, options.input_nc)
    return as_channels(picture, options.input_nc, "--input_nc", path), done


def usable(files: Sequence[Path], options: argparse.Namespace, args: argparse.Namespace) -> list[Path]:
    """The pictures that can be used, all of them looked at before anything is written; tells what had to be done.

    Raises:
        UserError: one cannot, where those are not skipped, or none can.
    """
    good, bad, changes = [], [], Counter()
    for path in tqdm(files, "reading", unit="", disable=None):
        try:
            changes.update(read_input(path, options, args)[1])
        except UserError as error:
            if not args.skip_bad_files:
                raise
            bad.append(str(error))
        else:
            good.append(path)
    for change, count in changes.items():
        notice(f"{count} of {len(good)} pictures: {change}")
    if bad:
        notice(f"--skip_bad_files: {len(bad)} of {len(files)} pictures left out: {'; '.join(bad[:5])}")
    if not good:
        raise UserError(f"--input: not one of the {len(files)} pictures can be used; {bad[0]}")
    return good


def predict(args: argparse.Namespace) -> None:
    """Draws a picture for each of the user's, and prints which is which.

    Raises:
        UserError: no such checkpoint or picture, a picture that cannot be used, a folder that cannot be written.
    """
    files = input_files(args.input)
    open_session(device_config(args))
    model = trained.load(args.ckpt_path)
    files = usable(files, model.options, args)
    for path in tqdm(files, "drawing", unit="", disable=None):
        pixels, _ = read_input(path, model.options, args)
        drawn = trained.translate(model, pixels[None], args.inference, args.seed)[0]
        target = cli.new_file(Path(args.output_path) / f"{path.stem}.png")
        Image.fromarray(drawn[..., 0] if drawn.shape[2] == 1 else drawn).save(target)
        tqdm.write(f"{path}  {target}", file=sys.stdout)
    notice(f"{len(files)} pictures drawn by {model.prefix}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(predict, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
