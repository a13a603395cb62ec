"""Trains stage II by the original's command, or, with TRAIN.FLAG: False in its settings, generates images of the test
set's captions.

python stageII/run_exp.py --cfg stageII/cfg/birds.yml --gpu 0             into ckpt/birds/stageII

In the settings, PRETRAINED_MODEL is the folder of the trained stage I; to generate, that of the trained stage II.
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
    return train.main(["--stage=2", *argv], "ckpt")  # in the working directory, as in the original


if __name__ == "__main__":
    cli.leave(main())
