"""Trains stage I by the original's command; --help lists every flag of train.py.

python stageI/run_exp.py --cfg stageI/cfg/birds.yml --gpu 0             into ckpt/birds/stageI
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _path  # noqa: E402, F401  (finds ../common)
import train  # noqa: E402

from common import cli  # noqa: E402


def main(argv: Optional[Sequence[str]] = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    return train.main(["--stage=1", *argv], "ckpt")  # in the working directory, as in the original


if __name__ == "__main__":
    cli.leave(main())
