"""Writes a small set of images to train on, offline: crops of the photographs that scikit-image installs.

python SRGAN/sample_data.py --output_path=photographs
python SRGAN/sample_data.py --output_path=photographs --degradation=photo       shows what --degradation=photo trains on

train/ and val/ show different photographs. They are few, and hold no more than a network needs to show that it works:
take thousands of images of your own for one that is of use.
"""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import skimage.data
from data import DEGRADATIONS, low_resolution
from PIL import Image

from common import cli
from common.cli import notice
from common.images import read_rgb

PHOTOGRAPHS = {  # files within scikit-image's package, from version 0.19 to 0.26 at least
    "train": ["astronaut.png", "brick.png", "chelsea.png", "coins.png", "grass.png", "gravel.png",
              "motorcycle_left.png", "rocket.jpg"],
    "val": ["camera.png", "coffee.png"],
}  # fmt: skip
SMALLEST = 300  # pixels: the least height or width of them all


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output_path", type=cli.user_path, required=True, help="a new or empty folder")
    parser.add_argument("--train", type=cli.in_range(int, 1, 10**5), default=96, help="images to train on")
    parser.add_argument("--val", type=cli.in_range(int, 1, 10**5), default=8, help="images to test on")
    parser.add_argument("--size", type=cli.in_range(int, 16, SMALLEST), default=256, help="height and width, pixels")
    text = "also write lr/, of the same names at a quarter of the size, for train.py --lr_path"
    parser.add_argument("--degradation", choices=DEGRADATIONS, help=text)
    args = parser.parse_args(argv)
    args.scale = 4
    if args.degradation and args.size % args.scale:
        parser.error(f"--size {args.size} is no multiple of {args.scale}, by which --degradation makes images smaller")
    return args


def write(args: argparse.Namespace) -> None:
    """Writes the crops into a new folder.

    Raises:
        UserError: the folder holds something or cannot be written.
    """
    installed = Path(skimage.data.__file__).parent
    with cli.new_set(args.output_path) as folder:
        for number, (split, names) in enumerate(PHOTOGRAPHS.items()):
            photographs = [read_rgb(installed / name) for name in names]
            for index in range(getattr(args, split)):
                rng = np.random.default_rng([0, number, index])
                photograph, stem = photographs[index % len(names)], Path(names[index % len(names)]).stem
                top, left = (int(rng.integers(length - args.size + 1)) for length in photograph.shape[:2])
                hr = np.ascontiguousarray(photograph[top:, left:][: args.size, : args.size])
                made = {split: hr, **({f"lr/{split}": low_resolution(args, hr, rng)} if args.degradation else {})}
                for place, image in made.items():
                    (folder / place).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(image).save(folder / place / f"{stem}_{index // len(names) + 1:03}.png")
    for split in PHOTOGRAPHS:
        notice(f"{args.output_path / split}: {getattr(args, split)} images of {args.size} x {args.size}")
    words = [os.path.relpath(Path(__file__).resolve().with_name("train.py")), f"--data_path={args.output_path}"]
    words += [f"--lr_path={args.output_path / 'lr'}"] if args.degradation else []
    print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
