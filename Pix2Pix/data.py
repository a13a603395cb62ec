"""A folder of side-by-side images -> a tf.data.Dataset of (input, target).

<data_path>/train/*.jpg, <data_path>/val/*.jpg (or test/): the left half of each image is A, the right half is B.
`--which_direction AtoB` maps left to right, BtoA right to left. Any image format, size and channel count will do.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from PIL import Image
from tqdm import tqdm

from common import images
from common.cli import UserError

if TYPE_CHECKING:
    from common.session import Session

MULTIPLE = 256  # of height and width: the U-Net halves them eight times
RANGE = (-1.0, 1.0)  # black and white to the networks
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
CHANNELS = tuple(MODES)
DIRECTIONS = ("AtoB", "BtoA")
MAX_PIXELS = 2**25  # of a file; some 150 MB where it is decoded
MEMORY = 2 * 2**30  # bytes of decoded pairs that are kept; a larger set is decoded again in every epoch
GREY = 6.0  # mean difference of a grey image's channels: JPEG does not keep them quite equal
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
    for name in SPLITS[split]:
        files = images.find_images(Path(data_path) / name)
        if files:
            return files
    raise UserError(
        f"--data_path {data_path}: no images in {' or '.join(name + '/' for name in SPLITS[split])}; it takes pairs, "
        "side by side in one image, in train/ and val/ (prepare.py makes them, sample_data.py draws some)"
    )


def as_channels(image: Image.Image, nc: int, flag: str, path: Any) -> np.ndarray:
    """An image in mode L, RGB or RGBA as uint8 [height, width, nc], where that loses and invents nothing.

    Raises:
        UserError: one channel of a coloured image, three of one with transparency, or four of one without alpha.
    """
    pixels = np.atleast_3d(np.asarray(image))
    alpha = pixels[..., 3:]
    if nc == 4:
        if not alpha.size:
            raise UserError(f"{path}: has no alpha channel, which {flag}=4 asks for; give {flag}=3 or mend the file")
        return pixels
    if alpha.size and alpha.min() < 255:
        raise UserError(f"{path}: is transparent in places; give {flag}=4 or save it without transparency")
    colours = pixels[..., :3]
    if nc == 3:
        return np.broadcast_to(colours, (*colours.shape[:2], 3))
    if np.ptp(colours, axis=2).mean() > GREY:
        raise UserError(f"{path}: is in colour, but {flag}=1 asks for grey; give {flag}=3, or prepare.py --channels=1")
    return np.asarray(Image.fromarray(colours).convert("L"))[..., None] if colours.shape[2] == 3 else colours


def decode(path: Path) -> Image.Image:
    """An image file in mode L, RGB or RGBA; its size is looked at before anything is decoded.

    Raises:
        UserError: it is too large, or does not decode.
    """
    width, height = images.size(path)
    if width * height > MAX_PIXELS:
        raise UserError(f"{path}: {width} x {height} is more than {MAX_PIXELS} pixels; make it smaller or remove it")
    return images.decode(path)


def check_pair(path: Path, width: int, height: int) -> None:
    """Refuses an image of a size that no two halves side by side have.

    Raises:
        UserError: it is of odd width, or no wider than high.
    """
    if width % 2:
        raise UserError(f"{path}: is {width} pixels wide, and a pair has two halves of one width; mend or remove it")
    if width <= height:
        raise UserError(
            f"{path}: is {width} x {height}, one half only; a pair stands side by side in one image (prepare.py)"
        )


def split_pair(pair: Image.Image, which_direction: str, path: Path) -> tuple[Image.Image, Image.Image]:
    """The two halves of a side-by-side image as (input, target).

    Raises:
        UserError: it cannot be a pair.
    """
    check_pair(path, *pair.size)
    middle = pair.width // 2
    left, right = pair.crop((0, 0, middle, pair.height)), pair.crop((middle, 0, pair.width, pair.height))
    return (left, right) if which_direction == "AtoB" else (right, left)


def read_pair(
    path: Path, input_nc: int, output_nc: int, which_direction: str, size: Optional[tuple[int, int]] = None
) -> tuple[np.ndarray, np.ndarray]:
    """A side-by-side image as (input, target), uint8 [height, width, channels] each.

    Args:
        size: (height, width) to scale each half to, by itself, so that neither bleeds into the other.
    Raises:
        UserError: the file does not decode, is no pair, or has other channels.
    """
    halves = split_pair(decode(path), which_direction, path)
    if size:
        halves = tuple(half.resize(size[::-1], Image.BICUBIC) for half in halves)
    source, target = halves
    return as_channels(source, input_nc, "--input_nc", path), as_channels(target, output_nc, "--output_nc", path)


class Pairs:
    """The pairs of a split: decoded once and kept, or decoded when they are asked for where they are too many.

    Args:
        args: of train.py; `size` (height, width) is what each half is scaled to.
    Raises:
        UserError: a file does not decode, is no pair, or has other channels; of a set that is not kept only the sizes
            are looked at.
    """

    def __init__(self, args: argparse.Namespace, files: Sequence[Path], size: tuple[int, int]) -> None:
        self.args, self.files, self.size = args, list(files), size
        self.shape = (*size, args.input_nc + args.output_nc)
        keep = len(files) * int(np.prod(self.shape)) <= MEMORY
        look = self._decode if keep else lambda path: check_pair(path, *images.size(path))
        with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes outside Python's lock
            found = list(tqdm(pool.map(look, files), "pairs", len(files), disable=None))
        self.kept = np.stack(found) if keep else None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> np.ndarray:
        """Pair `index` as uint8 [height, width, input_nc + output_nc], the input's channels first.

        Raises:
            UserError: the file has ceased to decode.
        """
        return self._decode(self.files[index]) if self.kept is None else self.kept[index]

    def halves(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Pair `index` as (input, target)."""
        pair = self.read(index)
        return pair[..., : self.args.input_nc], pair[..., self.args.input_nc :]

    def _decode(self, path: Path) -> np.ndarray:
        args = self.args
        return np.concatenate(read_pair(path, args.input_nc, args.output_nc, args.which_direction, self.size), axis=2)


def batches(args: argparse.Namespace, pairs: Pairs, start_step: int, session: "Session") -> Iterator[tuple[Any, Any]]:
    """Endless (input, target) batches, float32 [batch, fine_size, fine_size, channels] in -1..1, jittered.

    Section 3.3's jitter: a random crop of a pair scaled to load_size, and a mirror, the same for both halves. It is a
    function of (seed, number of the sample) alone.

    Raises:
        UserError: a file has ceased to decode.
    """
    import tensorflow as tf

    from common.stream import key, sample_batches, shuffled_batches

    n, load, fine = args.batch_size, args.load_size, args.fine_size

    def jittered(index, number):
        pair = tf.numpy_function(lambda i: pairs.read(int(i)), [index], tf.uint8)
        corner = tf.random.stateless_uniform([2], key("crop", args.seed, number), 0, load - fine + 1, tf.int32)
        pair = tf.slice(pair, tf.concat([corner, [0]], 0), [fine, fine, pairs.shape[2]])
        if args.flip:
            mirrored = tf.random.stateless_uniform([], key("mirror", args.seed, number)) < 0.5
            pair = tf.cond(mirrored, lambda: pair[:, ::-1], lambda: pair)
        pair = tf.ensure_shape(pair, [fine, fine, pairs.shape[2]])
        pair = tf.cast(pair, tf.float32) / 127.5 - 1.0
        return pair[..., : args.input_nc], pair[..., args.input_nc :]

    if args.serial_batches:
        order = tf.data.Dataset.range(start_step * n, 2**62).map(lambda number: tf.cast(number % len(pairs), tf.int32))
    else:
        order = shuffled_batches(len(pairs), n, args.seed, start_step).unbatch()
    return sample_batches(jittered, order, n, start_step, session)
