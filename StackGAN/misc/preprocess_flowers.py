"""Scales the pictures of Oxford-102 flowers: {76,304}images.npy in train/ and test/, which data.py reads.

python misc/preprocess_flowers.py                                      of Data/flowers
python misc/preprocess_flowers.py --data_path flowers --output_path scaled

It takes <data_path>/jpg/, and the split of {train,test}/filenames.pickle, which come with the text embeddings. Without
those it draws one (--split) of the pictures that have captions in text_c10/class_00001/image_00001.txt, or, where there
are no captions, of all.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _path  # noqa: E402, F401  (finds ../common)
import numpy as np  # noqa: E402

from common import cli, pictures  # noqa: E402
from common.cli import UserError  # noqa: E402
from misc import preprocess  # noqa: E402


def find_names(folder: Path) -> list[str]:
    """The names of all pictures: "class_00001/image_00001" by the captions' folders, or "jpg/image_00001".

    Raises:
        UserError: there are none.
    """
    names = [f"{path.parent.name}/{path.stem}" for path in folder.glob("text_c10/class_*/image_*.txt")]
    names = names or [f"jpg/{path.stem}" for path in pictures.find_pictures(folder / "jpg")]
    if not names:
        raise UserError(f"--data_path {folder}: there are no pictures in jpg/; unpack 102flowers.tgz there")
    return names


def read_flower(folder: Path, name: str) -> np.ndarray:
    """A picture, squeezed to a square, uint8 [304, 304, 3].

    Raises:
        UserError: it is missing or broken.
    """
    path = folder / "jpg" / f"{Path(name).name}.jpg"
    if not path.is_file():
        raise UserError(f"{path}: is missing; unpack 102flowers.tgz again")
    return preprocess.scaled(pictures.decode(path))


def run(args) -> None:
    names = preprocess.split_names(args, partial(find_names, args.data_path))
    preprocess.write(args, names, partial(read_flower, args.data_path))


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(run, preprocess.parse_args(argv, __doc__, "flowers", "classes"))


if __name__ == "__main__":
    sys.exit(main())
