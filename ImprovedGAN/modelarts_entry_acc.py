"""ModelArts job entry: the full schedule, then the accuracy. `--data_url` and `--train_url`: folders or obs://."""

import sys
from pathlib import Path

import _path  # noqa: F401  (finds ../common)

from common import modelarts

if __name__ == "__main__":
    sys.exit(modelarts.main(Path(__file__).resolve().parent / "test" / "train_full_1p.sh"))
