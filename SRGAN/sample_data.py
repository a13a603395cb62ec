"""Writes a small set of pictures to train on, offline: crops of the photographs that scikit-image installs.

    python sample_data.py --output_path photographs

train/ and val/ show different photographs. They are few, and hold no more than a network needs to show that it works:
take thousands of pictures of your own for one that is of use.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import skimage.data

from common import cli
from common.cli import UserError
from common.pictures import decode

PHOTOGRAPHS = {  # files within scikit-image's package, from version 0.19 to 0.26 at least
    "train": ["astronaut.png", "brick.png", "chelsea.png", "coins.png", "grass.png", "gravel.png",
              "motorcycle_left.png", "rocket.jpg"],
    "val": ["camera.png", "coffee.png"],
}  # fmt: skip
SMALLEST = 300  # the shortest side of them all


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description="Writes crops of scikit-image's photographs, offline.")
    parser.add_argument("--output_path", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--train", type=cli.in_range(int, 1, 10**5), default=96, help="pictures to train on")
    parser.add_argument("--val", type=cli.in_range(int, 1, 10**5), default=8, help="pictures to test on")
    parser.add_argument("--size", type=cli.in_range(int, 16, SMALLEST), default=256, help="side of a crop in pixels")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="other seeds cut other crops")
    return parser.parse_args(argv)


def write(args: argparse.Namespace) -> None:
    """Writes the crops into a new folder.

    Raises:
        UserError: the folder holds something or cannot be written, or a photograph is not installed.
    """
    folder = cli.empty_folder(args.output_path)
    installed = Path(skimage.data.__file__).parent
    missing = [name for names in PHOTOGRAPHS.values() for name in names if not (installed / name).is_file()]
    if missing:
        raise UserError(f"{installed} lacks {', '.join(missing)}: install scikit-image 0.19 to 0.26 from a wheel")
    for number, (split, names) in enumerate(PHOTOGRAPHS.items()):
        photographs = [decode(installed / name) for name in names]
        (folder / split).mkdir()
        for index in range(getattr(args, split)):
            rng = np.random.default_rng([args.seed, number, index])
            photograph, stem = photographs[index % len(names)], Path(names[index % len(names)]).stem
            left, top = (int(rng.integers(side - args.size + 1)) for side in photograph.size)
            cut = photograph.crop((left, top, left + args.size, top + args.size))
            cut.save(folder / split / f"{stem}_{index // len(names) + 1:03}.png")
        print(f"[Info] {folder / split}: {getattr(args, split)} pictures of {args.size} x {args.size}")
    words = [os.path.relpath(Path(__file__).resolve().with_name("train.py")), f"--data_path={folder}"]
    print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


def main(argv: Optional[list[str]] = None) -> int:
    return cli.call(write, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
