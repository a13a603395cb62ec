"""ModelArts job entry: the short schedule, for the speed. `--data_url` and `--train_url`: folders or obs://."""

import sys
from pathlib import Path

import _path  # noqa: F401  (finds ../common)

from common import modelarts

if __name__ == "__main__":
    sys.exit(modelarts.main(Path(__file__).resolve().parent / "test" / "train_performance_1p.sh"))
