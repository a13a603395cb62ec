"""A folder of images of any size -> batches of lr and hr crops.

<data_path>/ and its sub-folders: .jpg, .png or any other format. Where there are train/ and val/, they are the split;
else the last of the sorted files are held out (`--train_test_ratio`). lr is made of hr (`--degradation`), or read from
files of the same names in `--lr_path`.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import baseline
import numpy as np
from degrade import degrade
from tqdm import tqdm

from common import images
from common.cli import UserError

MEMORY = 2 * 2**30  # bytes of decoded images that are kept; of a larger set the rest is decoded when it is needed
DEGRADATIONS = ("bicubic", "photo")


def find_images(folder: Path, flag: str = "--data_path ") -> list[Path]:
    """The image files in `folder`, which `flag` names, and below it, sorted.

    Raises:
        UserError: there is none.
    """
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and path.name[0] != ".")]
    files = sorted(path for place in folders for path in images.find_images(place))
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
    """The file in `--lr_path` that belongs to one of `--data_path`: the same name, or DIV2K's, 0801x4.png.

    Raises:
        UserError: there is none.
    """
    inside = path.relative_to(args.data_path)
    for name in (inside.name, f"{inside.stem}x{args.scale}{inside.suffix}"):
        if (Path(args.lr_path) / inside.parent / name).is_file():
            return Path(args.lr_path) / inside.parent / name
    raise UserError(f"--lr_path {args.lr_path}: there is no {inside} for {path}")


def read_lr(args: argparse.Namespace, path: Path, hr: np.ndarray) -> np.ndarray:
    """`--lr_path`'s uint8 [h, w, 3] of the file `path`, which is hr, uint8 [scale h, scale w, 3]."""
    file, height, width = lr_file(args, path), *(size // args.scale for size in hr.shape[:2])
    lr = images.read_rgb(file)
    if lr.shape[:2] != (height, width):
        found = f"{lr.shape[1]} x {lr.shape[0]} pixels"
        raise UserError(f"{file}: {found}; by --scale {args.scale} of {path} it has to be {width} x {height}")
    return lr


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
            lr, hr = self._read(path)
            self.small += min(hr.shape[:2]) < args.crop
            if kept_bytes < MEMORY:
                self._kept[index] = lr, hr
                kept_bytes += hr.nbytes

    def _read(self, path: Path) -> tuple[Optional[np.ndarray], np.ndarray]:
        """lr, where it is a file's, and hr."""
        hr = images.read_rgb(path)
        if not self.args.lr_path:
            return None, hr
        hr = baseline.crop(hr, self.args.scale)
        return read_lr(self.args, path, hr), hr

    def read(self, index: int, crop_key: np.ndarray, degradation_key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A crop of image `index`: lr uint8 [crop / scale, crop / scale, 3] and hr uint8 [crop, crop, 3].

        Args:
            crop_key, degradation_key: int32 [2], of which the random choices are a function.
        Raises:
            UserError: it has ceased to decode.
        """
        size, scale = self.args.crop, self.args.scale
        lr, hr = self._kept.get(index) or self._read(self.files[index])
        step = 1 if lr is None else scale  # of hr's corner, so that it is a pixel of lr
        *corner, mirrored = np.random.default_rng(crop_key).random(3)
        top, left = (step * int(draw * (max(0, length - size) // step + 1)) for draw, length in zip(corner, hr.shape))
        hr = _cut(hr, top, left, size, mirrored < 0.5)
        if lr is None:
            return low_resolution(self.args, hr, np.random.default_rng(degradation_key)), hr
        return _cut(lr, top // scale, left // scale, size // scale, mirrored < 0.5), hr


def _cut(image: np.ndarray, top: int, left: int, size: int, mirrored: bool) -> np.ndarray:
    """A crop; where the image is smaller it goes on mirrored at its bottom and right."""
    crop = image[top : top + size, left : left + size]
    missing = [(0, size - length) for length in crop.shape[:2]]
    crop = np.pad(crop, [*missing, (0, 0)], "symmetric")
    return np.ascontiguousarray(crop[:, ::-1] if mirrored else crop)


def batches(args: argparse.Namespace, crops: Crops, session: Any, start_step: int = 0) -> Iterator[Any]:
    """Endless batches of crops (lr uint8 [batch, crop / scale, crop / scale, 3], hr uint8 [batch, crop, crop, 3]), a
    function of (seed, step) alone.

    Raises:
        UserError: a batch is larger than the data, or a file has ceased to decode.
    """
    import tensorflow as tf

    from common.stream import key, sample_batches, shuffled_batches

    def crop(index, number):
        keys = [key(purpose, args.seed, number) for purpose in ("crop", "degradation")]
        lr, hr = tf.numpy_function(lambda i, *keys: crops.read(int(i), *keys), [index, *keys], (tf.uint8, tf.uint8))
        small = args.crop // args.scale
        return tf.ensure_shape(lr, [small, small, 3]), tf.ensure_shape(hr, [args.crop, args.crop, 3])

    order = shuffled_batches(len(crops.files), args.batch_size, args.seed, start_step).unbatch()
    return sample_batches(crop, order, args.batch_size, start_step, session)
