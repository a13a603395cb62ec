"""Writes a small data set to train on, offline: words of Python's manual in matplotlib's fonts.

python SRNet/sample_data.py --output_path pairs

val/ shows other words, fonts and photographs than train/. It is what datagen.py writes with nothing else at hand, at
the size that the network is trained at, words in tight crops and as wide as those they replace: take fonts, words and
photographs of your own there for one that is of use.
"""

from typing import Optional

import _path  # noqa: F401  (finds ../common)
import datagen

from common import cli


def main(argv: Optional[list[str]] = None) -> int:
    args = datagen.parse_args(argv, __doc__, number=400, val=60, shape=(64, 128), padding=(3, 6), fit=True)
    return cli.run_main(datagen.write, args)


if __name__ == "__main__":
    cli.leave(main())
