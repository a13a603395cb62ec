"""Cuts the birds of CUB-200-2011 out of their images and makes the set that data.py reads: train/ and test/.

python misc/preprocess_birds.py                                        of Data/birds
python misc/preprocess_birds.py --data_path birds --output_path cut

It takes <data_path>/CUB_200_2011/{images/, images.txt, bounding_boxes.txt}, text_c10/ with the captions, and the split
and embeddings of {train,test}/filenames.pickle and char-CNN-RNN-embeddings.pickle. Without those it draws a split with
other classes in test/ than in train/ (--split), and train_text_encoder.py makes embeddings.
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
from PIL import Image  # noqa: E402

from common import cli  # noqa: E402
from common.cli import UserError  # noqa: E402
from common.images import read_rgb  # noqa: E402
from misc import preprocess  # noqa: E402

MARGIN = 0.75  # of a box's larger side: half the size of the square that is cut out

Box = tuple[float, ...]  # left, top, width and height in pixels


def read_boxes(folder: Path) -> dict[str, Box]:
    """The birds' boxes by "class/name".

    Raises:
        UserError: the files of CUB are missing or damaged.
    """
    names, boxes = (
        [line.split() for line in data.read_lines(folder / f"{n}.txt")] for n in ("images", "bounding_boxes")
    )
    try:
        by_key = {key: tuple(map(float, (left, top, width, height))) for key, left, top, width, height in boxes}
        return {name.rpartition(".")[0]: by_key[key] for key, name in names}
    except (ValueError, KeyError) as error:
        raise UserError(
            f"{folder}: images.txt and bounding_boxes.txt do not fit ({error}); unpack them again"
        ) from None


def square(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The square around a bird, of half-size 0.75 x the larger side of its box, as far as the image goes.

    Args:
        width, height: of the image.
    Returns:
        Left, top, right and bottom; nothing of it may be in the image.
    """
    half = int(MARGIN * max(box[2], box[3]))
    x, y = int((2 * box[0] + box[2]) / 2), int((2 * box[1] + box[3]) / 2)
    return max(0, x - half), max(0, y - half), min(width, x + half), min(height, y + half)


def run(args: argparse.Namespace) -> None:
    cub = args.data_path / "CUB_200_2011"
    boxes = read_boxes(cub)

    def read(name: str) -> np.ndarray:
        if name not in boxes:
            raise UserError(
                f"{name}: is in filenames.pickle but not in {cub / 'images.txt'}; they are of different sets"
            )
        image = Image.fromarray(read_rgb(cub / "images" / f"{name}.jpg"))
        try:
            box = square(boxes[name], *image.size)
            return np.asarray(image.resize((data.SIZE, data.SIZE), Image.BICUBIC, box))
        except (ValueError, OverflowError):
            raise UserError(f"{cub / 'bounding_boxes.txt'}: the box of {name} is not in the image") from None

    preprocess.convert(args, preprocess.split_names(args, list(boxes)), read)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(run, preprocess.parse_args(argv, __doc__, "birds"))


if __name__ == "__main__":
    cli.leave(main())
