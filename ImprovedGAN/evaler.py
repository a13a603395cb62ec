"""Evaluates a checkpoint by the original's command: evaluate.py, on the data that download.py wrote.

python ImprovedGAN/download.py --dataset MNIST
python ImprovedGAN/evaler.py --checkpoint train_dir --dataset MNIST
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
from evaluate import evaluate, parse_args
from formats import subfolders

from common import cli

DATASETS = Path(__file__).resolve().parent / "datasets"


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = parse_args(argv, __doc__)
    if args.dataset and not args.data_path:
        downloaded = [folder for folder in subfolders(DATASETS) if folder.name.lower() == args.dataset.lower()]
        args.data_path = str(downloaded[0]) if downloaded else None  # else the run's own
    return cli.run_main(evaluate, args)


if __name__ == "__main__":
    cli.leave(main())
