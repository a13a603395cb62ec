"""Cuts the birds of CUB-200-2011 out of their images and makes the set that data.py reads: train/ and test/.

python misc/preprocess_birds.py                                        of Data/birds
python misc/preprocess_birds.py --data_path birds --output_path cut

It takes <data_path>/CUB_200_2011/{images/, images.txt, bounding_boxes.txt}, text_c10/ with the captions, and the split
and embeddings of {train,test}/filenames.pickle and char-CNN-RNN-embeddings.pickle. Without those it draws a split with
other classes in test/ than in train/ (--split), and train_text_encoder.py makes embeddings.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import _path  # noqa: E402, F401  (finds ../common)
import data  # noqa: E402
import numpy as np  # noqa: E402

from common import cli  # noqa: E402
from common.cli import UserError  # noqa: E402
from common.images import decode  # noqa: E402
from misc import preprocess  # noqa: E402

MARGIN = 0.75  # of a box's larger side: half the size of the square that is cut out


def read_table(path: Path, columns: int) -> dict[str, list[str]]:
    """A file of CUB: lines of a number and as many more words, as {number: words}.

    Raises:
        UserError: it is missing, or a line has another form.
    """
    table = {}
    for number, line in enumerate(data.read_lines(path, 2**26), 1):
        key, *words = line.split()
        if len(words) != columns:
            raise UserError(f"{path}, line {number}: {line[:60]!r} is not a number and {columns} more; it is damaged")
        table[key] = words
    return table


def read_boxes(folder: Path) -> dict[str, tuple[float, ...]]:
    """The birds' boxes: {"class/name": (left, top, width, height)} in pixels.

    Raises:
        UserError: the files of CUB are missing or damaged.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; unpack CUB_200_2011.tgz there")
    images, boxes = folder / "images.txt", folder / "bounding_boxes.txt"
    names, table, found = read_table(images, 1), read_table(boxes, 4), {}
    for key, (name,) in names.items():
        try:
            box = tuple(float(word) for word in table[key])
        except KeyError:
            raise UserError(f"{boxes}: there is no box of image {key}, which {images.name} calls {name}") from None
        except ValueError:
            raise UserError(
                f"{boxes}: the box of image {key} is no four numbers: {' '.join(table[key])[:60]}"
            ) from None
        stem, dot, _ = name.rpartition(".")
        found[preprocess.clean_name(stem if dot else name, images)] = box
    return found


def square(box: Sequence[float], width: int, height: int) -> preprocess.Box:
    """The square around a bird, of half-size 0.75 x the larger side of its box, as far as the image goes.

    Args:
        box: left, top, width and height of the bird; those of the image follow.
    Raises:
        ValueError: nothing of it is in the image.
    """
    if not np.isfinite(box).all() or max(map(abs, box)) > 1e6:
        raise ValueError
    half = int(MARGIN * max(box[2], box[3]))
    x, y = int((2 * box[0] + box[2]) / 2), int((2 * box[1] + box[3]) / 2)
    left, top, right, bottom = max(0, x - half), max(0, y - half), min(width, x + half), min(height, y + half)
    if left >= right or top >= bottom:
        raise ValueError
    return left, top, right, bottom


def read_bird(folder: Path, boxes: dict[str, tuple[float, ...]], name: str) -> np.ndarray:
    """A bird cut out of its image, uint8 [304, 304, 3].

    Raises:
        UserError: the image is missing or broken, or its box lies beside it.
    """
    path = folder / "images" / f"{name}.jpg"
    if name not in boxes:
        raise UserError(
            f"{name}: is in filenames.pickle but not in {folder / 'images.txt'}; they are of different sets"
        )
    if not path.is_file():
        raise UserError(f"{path}: is missing; unpack CUB_200_2011.tgz again")
    image = decode(path)
    try:
        return preprocess.scaled(image, square(boxes[name], *image.size))
    except ValueError:
        raise UserError(
            f"{path}: its box {boxes[name]} is not in the image ({folder / 'bounding_boxes.txt'})"
        ) from None


def run(args) -> None:
    folder = args.data_path / "CUB_200_2011"
    boxes = read_boxes(folder)
    names = preprocess.split_names(args, lambda: list(boxes))
    captions = preprocess.caption_reader(args.data_path / "text_c10")
    preprocess.convert(args, names, partial(read_bird, folder, boxes), captions)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(run, preprocess.parse_args(argv, __doc__, "birds"))


if __name__ == "__main__":
    cli.leave(main())
