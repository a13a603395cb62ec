"""Scales the images of Oxford-102 flowers and makes the set that data.py reads: train/ and test/.

python misc/preprocess_flowers.py                                      of Data/flowers
python misc/preprocess_flowers.py --data_path flowers --output_path scaled

It takes <data_path>/jpg/, the captions in text_c10/class_00001/image_00001.txt, whose folders are the classes, and the
split and embeddings of {train,test}/filenames.pickle and char-CNN-RNN-embeddings.pickle. Without those it draws a split
(--split) of the images that have captions.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _path  # noqa: E402, F401  (finds ../common)
import data  # noqa: E402
import numpy as np  # noqa: E402

from common import cli  # noqa: E402
from common.cli import UserError  # noqa: E402
from common.images import read_rgb  # noqa: E402
from misc import preprocess  # noqa: E402


def run(args: argparse.Namespace) -> None:
    texts = args.data_path / "text_c10"
    classes = {path.stem: path.parent.name for path in sorted(texts.glob("class_*/image_*.txt"))}
    if not classes:
        raise UserError(f"{texts}: there are no captions, whose folders tell the classes; unpack them there")

    def read(name: str) -> np.ndarray:
        return data.resized(read_rgb(args.data_path / "jpg" / f"{Path(name).name}.jpg"), data.SIZE)

    def full_name(name: str) -> str:  # jpg/image_00001 -> class_00077/image_00001
        stem = Path(name).name
        if stem not in classes:
            raise UserError(f"{texts}: the captions of the image {name} are missing")
        return f"{classes[stem]}/{stem}"

    found = preprocess.split_names(args, [f"{kind}/{stem}" for stem, kind in classes.items()])
    preprocess.convert(args, {part: list(map(full_name, names)) for part, names in found.items()}, read)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(run, preprocess.parse_args(argv, __doc__, "flowers"))


if __name__ == "__main__":
    cli.leave(main())
