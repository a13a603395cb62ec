"""ModelArts job entry: the full schedule, then the accuracy. `--data_url` and `--train_url`: folders or obs://."""

from pathlib import Path

import _path  # noqa: F401  (finds ../common)

from common import cli, modelarts

if __name__ == "__main__":
    cli.leave(modelarts.main(Path(__file__).resolve().parent / "test" / "train_full_1p.sh"))
