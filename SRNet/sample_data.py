"""Writes a small data set to train on, offline: words of Python's manual in matplotlib's fonts.

python SRNet/sample_data.py --output_path pairs

val/ shows other words, fonts and photographs than train/. It is what datagen.py writes with nothing else at hand, at
the size that the network is trained at, words in tight crops and as wide as those they replace: take fonts, words and
photographs of your own there for one that is of use.
"""

import argparse
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import datagen

from common import cli


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    """The flags of datagen.py that these stand for."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output_path", required=True, metavar="DIR", help="a new folder, or one to go on with")
    parser.add_argument("--number", type=cli.in_range(int, 1, 10**6), default=400, help="samples to train on")
    parser.add_argument("--val", type=cli.in_range(int, 1, 10**6), default=60, help="held-out samples")
    parser.add_argument("--shape", default="64x128", help="size of the images, HEIGHTxWIDTH")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**63), default=0, help="other seeds, other samples")
    parser.add_argument("--processes", type=cli.in_range(int, 1, 256), default=datagen.cores(), help="at a time")
    flags = [f"--{name}={value}" for name, value in vars(parser.parse_args(argv)).items()]
    return datagen.parse_args([*flags, "--padding=3,6", "--fit"])


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(datagen.write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
