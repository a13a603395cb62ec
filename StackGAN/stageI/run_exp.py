"""Trains stage I by the original's command; --help lists every flag of train.py.

python stageI/run_exp.py --cfg stageI/cfg/birds.yml --gpu 0             into ckpt/birds/stageI
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train  # noqa: E402

from common import cli  # noqa: E402

if __name__ == "__main__":
    cli.leave(train.main(["--stage=1", *sys.argv[1:]], "ckpt"))  # in the working directory, as in the original
