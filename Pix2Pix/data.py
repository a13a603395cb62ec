"""A folder of side-by-side images -> a tf.data.Dataset of (input, target).

<data_path>/train/*.jpg, <data_path>/val/*.jpg (or test/): the left half of each image is A, the right half is B.
`--which_direction AtoB` maps left to right, BtoA right to left. Any image format, size and channel count will do.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from common import images
from common.cli import UserError

MULTIPLE = 256  # of height and width: the U-Net halves them eight times
RANGE = (-1.0, 1.0)  # black and white to the networks
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
DIRECTIONS = ("AtoB", "BtoA")
MEMORY = 2 * 2**30  # bytes of decoded pairs that are kept; a larger set is decoded again in every epoch
SPLITS = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}  # the first of these that is there
THREADS = 4

# The classes of CMP facades and their colours (Tylecek and Sara, "Spatial Pattern Templates for Recognition of Objects
# with Regular Structure", 2013), as the published pairs have them.
FACADE_LABELS = {
    "background": (0, 0, 222),
    "facade": (0, 48, 255),
    "window": (0, 128, 255),
    "door": (0, 208, 255),
    "cornice": (32, 255, 224),
    "sill": (112, 255, 144),
    "balcony": (192, 255, 64),
    "blind": (255, 240, 0),
    "deco": (255, 160, 0),
    "molding": (255, 80, 0),
    "pillar": (255, 0, 0),
    "shop": (174, 0, 0),
}


def find_pairs(data_path: str, split: str) -> list[Path]:
    """The image files of a split ("train", "val" or "test"; of the last two either stands in for the other), sorted.

    Raises:
        UserError: there is none.
    """
    for folder in SPLITS[split]:
        files = images.find_images(Path(data_path) / folder)
        if files:
            return files
    raise UserError(
        f"--data_path {data_path}: no images in {'/ or '.join(SPLITS[split])}/; it takes pairs, "
        "side by side in one image, in train/ and val/ (prepare.py makes them, sample_data.py draws some)"
    )


def to_channels(image: Image.Image, channels: int) -> np.ndarray:
    """An image in mode L, RGB or RGBA as uint8 [height, width, channels]: grey for 1, on white for fewer than 4."""
    if image.mode == "RGBA" and channels < 4:
        image = images.on_white(image)
    return np.atleast_3d(np.asarray(image.convert(MODES[channels])))


def as_rgb(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w, c] as uint8 [h, w, 3]: grey repeated, the first three of more channels."""
    return np.broadcast_to(image[..., :3], (*image.shape[:2], 3))


def check_pair(path: Path, width: int, height: int) -> None:
    """Refuses an image of a size that no two halves side by side have.

    Raises:
        UserError: it is of odd width, or no wider than high.
    """
    if width % 2 or width <= height:
        raise UserError(
            f"{path}: is {width} x {height} and no pair, which is two halves of one width side by side (prepare.py)"
        )


def split_pair(pair: Image.Image, which_direction: str, path: Path) -> tuple[Image.Image, Image.Image]:
    """The two halves of a side-by-side image as (input, target).

    Raises:
        UserError: it cannot be a pair.
    """
    width, height = pair.size
    check_pair(path, width, height)
    left, right = pair.crop((0, 0, width // 2, height)), pair.crop((width // 2, 0, width, height))
    return (left, right) if which_direction == "AtoB" else (right, left)


class Pairs:
    """The pairs of a split as (input, target), by number: decoded once and kept, or each time where they are too many.

    Args:
        args: of train.py.
        size: height and width to scale each half to, by itself, so that neither bleeds into the other.
    Raises:
        UserError: a file does not decode or is no pair; of a set that is not kept only the sizes are looked at.
    """

    def __init__(self, args: argparse.Namespace, files: Sequence[Path], size: int) -> None:
        self.args, self.files, self.size = args, list(files), size
        self.channels = args.input_nc + args.output_nc
        keep = len(files) * size * size * self.channels <= MEMORY
        look = self._decode if keep else self._check
        with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes outside Python's lock
            found = list(tqdm(pool.map(look, files), "pairs", len(files), disable=None))
        self.kept = found if keep else None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Pair `index`, uint8 [size, size, input_nc] and [size, size, output_nc].

        Raises:
            UserError: the file has ceased to decode.
        """
        pair = self._decode(self.files[index]) if self.kept is None else self.kept[index]
        return pair[..., : self.args.input_nc], pair[..., self.args.input_nc :]

    def _check(self, path: Path) -> None:
        check_pair(path, *images.size(path))  # by the header: decoding a large set takes minutes

    def _decode(self, path: Path) -> np.ndarray:
        halves = split_pair(images.decode(path), self.args.which_direction, path)
        channels = (self.args.input_nc, self.args.output_nc)
        scaled = (half.resize((self.size, self.size), Image.BICUBIC) for half in halves)
        return np.concatenate([to_channels(half, count) for half, count in zip(scaled, channels)], 2)


def batches(args: argparse.Namespace, pairs: Pairs, start_step: int, session: Any) -> Iterator[tuple[Any, Any]]:
    """Endless (input, target) batches, float32 [batch, fine_size, fine_size, channels] in -1..1, jittered.

    Section 3.3's jitter: a random crop of a pair scaled to load_size, and a mirror, the same for both halves. It is a
    function of (seed, number of the sample) alone.

    Raises:
        UserError: a file has ceased to decode.
    """
    import tensorflow as tf  # which prepare.py and sample_data.py do not need

    from common.stream import key, sample_batches, shuffled_batches

    n, fine = args.batch_size, args.fine_size

    def jittered(index, number):
        pair = tf.numpy_function(lambda i: np.concatenate(pairs[i], 2), [index], tf.uint8)
        places = args.load_size - fine + 1
        corner = tf.random.stateless_uniform([2], key("crop", args.seed, number), 0, places, tf.int32)
        pair = tf.slice(pair, tf.concat([corner, [0]], 0), [fine, fine, pairs.channels])
        if args.flip:
            mirrored = tf.random.stateless_uniform([], key("mirror", args.seed, number)) < 0.5
            pair = tf.cond(mirrored, lambda: pair[:, ::-1], lambda: pair)
        pair = tf.ensure_shape(pair, [fine, fine, pairs.channels])
        pair = tf.cast(pair, tf.float32) / 127.5 - 1.0
        return pair[..., : args.input_nc], pair[..., args.input_nc :]

    if args.serial_batches:
        order = tf.data.Dataset.range(start_step * n, 2**62).map(lambda number: tf.cast(number % len(pairs), tf.int32))
    else:
        order = shuffled_batches(len(pairs), n, args.seed, start_step).unbatch()
    return sample_batches(jittered, order, n, start_step, session)
