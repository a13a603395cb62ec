"""Writes a small data set of real handwritten digits, offline, in the form that download.py writes.

    python sample_data.py --output_path digits

The 1797 digits (8 x 8, 43 writers) come with scikit-learn: Alpaydin and Kaynak, "Optical Recognition of Handwritten
Digits", UCI repository, 1998. A fifth of each class is kept to test on.
"""

import argparse
import sys
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
import pictures

from common import cli
from common.cli import UserError


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description="Writes a small set of handwritten digits, offline.")
    parser.add_argument("--output_path", type=Path, required=True, help="a new or empty folder")
    parser.add_argument("--size", type=cli.in_range(int, 8, 512), default=28, help="side of the pictures in pixels")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help="draws which pictures are kept to test on")
    return parser.parse_args(argv)


def digits(size: int, seed: int) -> data.Data:
    """The digits as grey pictures of `size` x `size`, a fifth of each class drawn to test on."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    images = pictures.resize(images, (size, size))
    labels = raw.target.astype(np.int32)
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    for label in range(10):
        own = np.flatnonzero(labels == label)
        held[rng.permutation(own)[: round(len(own) / 5)]] = True
    names = [str(label) for label in range(10)]
    return data.Data(images[~held], labels[~held], images[held], labels[held], names, "digits")


def write(args: argparse.Namespace) -> None:
    """Writes the digits, unless they are there."""
    folder = args.output_path.expanduser()
    sample = digits(args.size, args.seed)
    if all((folder / name).exists() for name in data.FILES["tfrecord"]):
        there = data.load(folder)
        same = np.array_equal(there.train_images, sample.train_images)
        if not same or not np.array_equal(there.test_images, sample.test_images):
            raise UserError(f"--output_path: {folder} holds another data set ({there}); name another folder")
        print(f"[Info] {folder} holds these digits already; nothing was done", flush=True)
        return
    data.save(sample, cli.empty_folder(folder))
    data.report(sample, folder, __file__)


def main(argv: Optional[list[str]] = None) -> int:
    return cli.call(write, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
