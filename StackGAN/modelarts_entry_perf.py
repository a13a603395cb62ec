"""ModelArts job entry: the short schedule, for the speed. `--data_url` and `--train_url`: folders or obs://."""

from pathlib import Path

import _path  # noqa: F401  (finds ../common)

from common import cli, modelarts

if __name__ == "__main__":
    cli.leave(modelarts.main(Path(__file__).resolve().parent / "test" / "train_performance_1p.sh"))
