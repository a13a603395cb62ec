"""A folder of images of any size -> batches of lr and hr crops.

<data_path>/ and its sub-folders: .jpg, .png or any other format. Where there are train/ and val/, they are the split;
else the last of the sorted files are held out (`--train_test_ratio`). lr is made of hr (`--degradation`), or read from
files of the same names in `--lr_path`.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import baseline
import numpy as np
from degrade import degrade
from tqdm import tqdm

from common import images
from common.cli import UserError

if TYPE_CHECKING:
    from common.session import Session

MEMORY = 2 * 2**30  # bytes of decoded images that are kept; of a larger set the rest is decoded when it is needed
DEGRADATIONS = ("bicubic", "photo")


def find_images(folder: Path, flag: str = "--data_path ") -> list[Path]:
    """The image files in `folder`, which `flag` names, and below it, sorted.

    Raises:
        UserError: there is none.
    """
    inside = [folder, *(path for path in folder.rglob("*") if path.is_dir() and path.name[0] != ".")]
    files = sorted(path for place in inside for path in images.find_images(place))
    if not files:
        raise UserError(f"{flag}{folder}: no images in it or below it; sample_data.py writes some")
    return files


def split(args: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """The files to train on, at most `number_of_images` times `train_test_ratio` of them, and those held out."""
    folder = Path(args.data_path)
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return find_images(folder / "train")[: args.number_of_images], find_images(folder / "val")
    files = find_images(folder)[: args.number_of_images]
    if len(files) < 2:
        raise UserError(f"--data_path {folder}: one image only; one more is needed to be held out")
    count = min(max(1, round(len(files) * args.train_test_ratio)), len(files) - 1)
    return files[:count], files[count:]


def lr_file(args: argparse.Namespace, path: Path) -> Path:
    """The file in `--lr_path` that belongs to one of `--data_path`: of the same name, or as DIV2K has it, 0801x4.png.

    Raises:
        UserError: there is none.
    """
    inside = path.relative_to(args.data_path)
    for name in (inside.name, f"{inside.stem}x{args.scale}{inside.suffix}"):
        if (Path(args.lr_path) / inside.parent / name).is_file():
            return Path(args.lr_path) / inside.parent / name
    raise UserError(f"--lr_path {args.lr_path}: there is no {inside} for {path}")


def read_pair(args: argparse.Namespace, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """lr of `--lr_path` and hr of `--data_path`, uint8 [h, w, 3] and [scale h, scale w, 3].

    Raises:
        UserError: one does not decode, or lr is not of hr's size by the scale.
    """
    hr, small = baseline.crop(images.read_rgb(path), args.scale), lr_file(args, path)
    lr = images.read_rgb(small)
    height, width = (size // args.scale for size in hr.shape[:2])
    if lr.shape[:2] != (height, width):
        raise UserError(
            f"{small}: {lr.shape[1]} x {lr.shape[0]} pixels; by --scale {args.scale} of {path} it has to be "
            f"{width} x {height}"
        )
    return lr, hr


def low_resolution(args: argparse.Namespace, hr: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """lr of hr, uint8 [scale h, scale w, 3], as `--degradation` says."""
    return degrade(hr, args.scale, rng) if args.degradation == "photo" else baseline.shrink(hr, args.scale)


class Crops:
    """Random crops of images, each of which is decoded once to see that it can be, and kept as far as memory goes.

    Args:
        args: of train.py; `crop` is the height and width of hr.
    Attributes:
        small: how many of the files are smaller than a crop, and mirrored to its size.
    Raises:
        UserError: a file does not decode.
    """

    def __init__(self, args: argparse.Namespace, files: Sequence[Path]) -> None:
        self.args, self.files, self.small = args, files, 0
        self._kept: dict[int, tuple] = {}
        kept_bytes = 0
        for index, path in enumerate(tqdm(files, "images", unit="", disable=None)):
            pair = self._read(path)
            self.small += min(pair[1].shape[:2]) < args.crop
            if kept_bytes < MEMORY:
                self._kept[index] = pair
                kept_bytes += sum(image.nbytes for image in pair if image is not None)

    def __len__(self) -> int:
        return len(self.files)

    def _read(self, path: Path) -> tuple:
        """lr, where it is a file's, and hr."""
        return read_pair(self.args, path) if self.args.lr_path else (None, images.read_rgb(path))

    def read(self, index: int, crop_key: np.ndarray, degradation_key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A crop of image `index`: lr uint8 [crop / scale, crop / scale, 3] and hr uint8 [crop, crop, 3].

        Args:
            crop_key, degradation_key: int32 [2], of which the random choices are a function.
        """
        size, scale = self.args.crop, self.args.scale
        lr, hr = self._kept.get(index) or self._read(self.files[index])
        step = 1 if lr is None else scale  # of hr's corner, so that it is a pixel of lr
        hr = _at_least(hr, size)
        *corner, mirrored = np.random.default_rng(crop_key).random(3)
        top, left = (step * int(draw * ((length - size) // step + 1)) for draw, length in zip(corner, hr.shape))
        hr = _cut(hr, top, left, size, mirrored < 0.5)
        if lr is None:
            return low_resolution(self.args, hr, np.random.default_rng(degradation_key)), hr
        small = size // scale
        return _cut(_at_least(lr, small), top // scale, left // scale, small, mirrored < 0.5), hr


def _at_least(image: np.ndarray, size: int) -> np.ndarray:
    """An image mirrored at its bottom and right until it is of that height and width."""
    missing = [max(0, size - length) for length in image.shape[:2]]
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], "symmetric") if any(missing) else image


def _cut(image: np.ndarray, top: int, left: int, size: int, mirrored: bool) -> np.ndarray:
    crop = image[top : top + size, left : left + size]
    return np.ascontiguousarray(crop[:, ::-1] if mirrored else crop)


def batches(args: argparse.Namespace, crops: Crops, session: "Session", start_step: int = 0) -> Iterator[Any]:
    """Endless batches of crops (lr uint8 [batch, crop / scale, crop / scale, 3], hr uint8 [batch, crop, crop, 3]), a
    function of (seed, step) alone.

    Raises:
        UserError: a file has ceased to decode.
    """
    import tensorflow as tf

    from common.stream import key, sample_batches, shuffled_batches

    def crop(index, number):
        keys = [key(purpose, args.seed, number) for purpose in ("crop", "degradation")]
        lr, hr = tf.numpy_function(lambda i, *keys: crops.read(int(i), *keys), [index, *keys], (tf.uint8, tf.uint8))
        small = args.crop // args.scale
        return tf.ensure_shape(lr, [small, small, 3]), tf.ensure_shape(hr, [args.crop, args.crop, 3])

    order = shuffled_batches(len(crops), args.batch_size, args.seed, start_step).unbatch()
    return sample_batches(crop, order, args.batch_size, start_step, session)
