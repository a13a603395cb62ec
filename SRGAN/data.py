"""A folder of pictures of any size -> a tf.data.Dataset of crops. (Small pictures are made of them in the train step.)

<data_path>/ and its sub-folders: .jpg, .png or any other format. Where there are train/ and val/, they are the split;
else the last of the sorted files are held out (`--train_test_ratio`).
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import _path  # noqa: F401  (finds ../common)
import numpy as np
from tqdm import tqdm

from common import pictures
from common.cli import UserError
from common.pictures import read_rgb

MEMORY = 2 * 2**30  # bytes of decoded pictures that are kept; of a larger set the rest is decoded when it is needed


def find_pictures(folder: Path) -> list[Path]:
    """The picture files in `folder` and below it, sorted.

    Raises:
        UserError: there is none.
    """
    folder = Path(folder)
    inside = [folder, *(path for path in folder.rglob("*") if path.is_dir() and path.name[0] != ".")]
    files = sorted(path for place in inside for path in pictures.find_pictures(place))
    if not files:
        raise UserError(f"--data_path {folder}: no pictures in it or below it; sample_data.py writes some")
    return files


def split(args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """The files to train on, at most `number_of_images` times `train_test_ratio` of them, and those held out."""
    folder = Path(args.data_path)
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return find_pictures(folder / "train")[: args.number_of_images], find_pictures(folder / "val")
    files = find_pictures(folder)[: args.number_of_images]
    if len(files) < 2:
        raise UserError(f"--data_path {folder}: one picture only; one more is needed to be held out")
    count = min(max(1, round(len(files) * args.train_test_ratio)), len(files) - 1)
    return files[:count], files[count:]


class Crops:
    """Random crops of pictures that are decoded once and kept, as far as memory goes.

    Args:
        args: of train.py; `crop` is the side.
    Attributes:
        files: those in use.
        bad, small: files that --skip_bad_files left out; pictures smaller than a crop, which are mirrored to its size,
            or left out with --small_pictures=skip.
    Raises:
        UserError: a file does not decode and is not to be skipped, or none can be used.
    """

    def __init__(self, args: argparse.Namespace, files: Sequence[Path]) -> None:
        self.args, self.files, self.bad, self.small = args, [], [], []
        self.error, self._kept, kept_bytes = None, {}, 0
        for path in tqdm(files, "pictures", disable=None):
            try:
                if kept_bytes < MEMORY:
                    picture = read_rgb(path)
                    height, width = picture.shape[:2]
                else:  # the header alone
                    with pictures.opened(path) as header:
                        picture, (width, height) = None, header.size
            except UserError as error:
                if not args.skip_bad_files:
                    raise
                self.bad.append(str(error))
                continue
            if min(height, width) < args.crop:
                self.small.append(path)
                if args.small_pictures == "skip":
                    continue
            if picture is not None:
                self._kept[len(self.files)] = picture
                kept_bytes += picture.nbytes
            self.files.append(path)
        if not self.files:
            reason = self.bad[0] if self.bad else f"all are smaller than --crop {args.crop}; give a smaller one"
            raise UserError(f"{files[0].parent}: not one of the {len(files)} pictures there can be used; {reason}")

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int, draws: np.ndarray) -> np.ndarray:
        """A crop of picture `index`, uint8 [crop, crop, 3].

        Args:
            draws: three uniform numbers in 0..1: top, left, mirrored.
        """
        picture = self._kept.get(index)
        if picture is None:
            try:
                picture = read_rgb(self.files[index])
            except UserError as error:  # it was a picture when the run began
                self.error = error
                raise
        side = self.args.crop
        missing = [max(0, side - size) for size in picture.shape[:2]]
        if any(missing):
            picture = np.pad(picture, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric")
        top, left = (int(draw * (size - side + 1)) for draw, size in zip(draws, picture.shape[:2]))
        crop = picture[top : top + side, left : left + side]
        return np.ascontiguousarray(crop[:, ::-1] if draws[2] < 0.5 else crop)


def batches(args: argparse.Namespace, crops: Crops, start_step: int = 0) -> Iterator[Any]:
    """Endless batches of crops, uint8 [batch, crop, crop, 3], a function of (seed, step) alone.

    Raises:
        UserError: a file has ceased to decode.
    """
    import tensorflow as tf

    from common.stream import sample_batches, shuffled_batches

    def crop(index, number):
        draws = tf.random.stateless_uniform([3], tf.stack([tf.constant(args.seed, tf.int64), number]))
        picture = tf.numpy_function(lambda i, d: crops.read(int(i), d), [index, draws], tf.uint8)
        return tf.ensure_shape(picture, [args.crop, args.crop, 3])

    order = shuffled_batches(len(crops), args.batch_size, args.seed, start_step).unbatch()
    return sample_batches(order, crop, args.batch_size, start_step, crops)
