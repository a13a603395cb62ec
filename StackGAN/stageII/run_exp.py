"""Trains stage II by the original's command, or, with TRAIN.FLAG: False in its settings, generates images of the test
set's captions.

python stageII/run_exp.py --cfg stageII/cfg/birds.yml --gpu 0             into ckpt/birds/stageII

In the settings, PRETRAINED_MODEL is the folder of the trained stage I; to generate, that of the trained stage II.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import train  # noqa: E402

from common import cli  # noqa: E402

if __name__ == "__main__":
    cli.leave(train.main(["--stage=2", *sys.argv[1:]], "ckpt"))  # in the working directory, as in the original
