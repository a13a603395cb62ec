"""A folder of side-by-side pictures -> a tf.data.Dataset of (input, target).

<data_path>/train/*.jpg, <data_path>/val/*.jpg (or test/): the left half of each picture is A, the right half is B.
`--which_direction AtoB` maps left to right, BtoA right to left. Any picture format, size and channel count will do.
"""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from PIL import Image
from tqdm import tqdm

from common import pictures
from common.cli import UserError

MEMORY = 2 * 2**30  # bytes of decoded pairs that are kept; a larger set is decoded again in every epoch
GREY = 6.0  # mean difference of a grey picture's channels: JPEG does not keep them quite equal
SPLITS = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}  # the first of these that is there
THREADS = 4


def find_pairs(data_path: str, split: str) -> list[Path]:
    """The picture files of a split ("train", "val" or "test"; of the last two either stands in for the other), sorted.

    Raises:
        UserError: there is none.
    """
    for name in SPLITS[split]:
        files = pictures.picture_files(Path(data_path) / name)
        if files:
            return files
    raise UserError(
        f"--data_path {data_path}: no pictures in {' or '.join(name + '/' for name in SPLITS[split])}; it takes pairs, "
        "side by side in one picture, in train/ and val/ (prepare.py makes them, sample_data.py draws some)"
    )


def as_channels(picture: Image.Image, nc: int, flag: str, path: Any) -> np.ndarray:
    """A picture in mode L, RGB or RGBA as uint8 [height, width, nc], where that loses and invents nothing.

    Raises:
        UserError: one channel of a coloured picture, three of one with transparency, or four of one without alpha.
    """
    pixels = np.atleast_3d(np.asarray(picture))
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
    spread = np.ptp(colours, axis=2).mean() if colours.shape[2] == 3 else 0.0
    if spread > GREY:
        raise UserError(f"{path}: is in colour, but {flag}=1 asks for grey; give {flag}=3, or prepare.py --channels=1")
    return np.asarray(Image.fromarray(colours).convert("L"))[..., None] if colours.shape[2] == 3 else colours


def check_halves(path: Path, width: int, height: int) -> None:
    """Refuses a picture of a size that no two halves side by side have.

    Raises:
        UserError: it is of odd width, or no wider than high.
    """
    if width % 2:
        raise UserError(f"{path}: is {width} pixels wide, and a pair has two halves of one width; mend or remove it")
    if width <= height:
        raise UserError(
            f"{path}: is {width} x {height}, one half only; a pair stands side by side in one picture (prepare.py)"
        )


def read_pair(
    path: Path, input_nc: int, output_nc: int, which_direction: str, size: Optional[tuple[int, int]] = None
) -> tuple[np.ndarray, np.ndarray]:
    """A side-by-side picture as (input, target), uint8 [height, width, channels] each.

    Args:
        size: (height, width) to scale each half to, by itself, so that neither bleeds into the other.
    Raises:
        UserError: the file does not decode, is no pair, or has other channels.
    """
    picture = pictures.decode(path)
    width, height = picture.size
    check_halves(path, width, height)
    left, right = picture.crop((0, 0, width // 2, height)), picture.crop((width // 2, 0, width, height))
    if size:
        left, right = (half.resize(size[::-1], Image.BICUBIC) for half in (left, right))
    source, target = (left, right) if which_direction == "AtoB" else (right, left)
    return as_channels(source, input_nc, "--input_nc", path), as_channels(target, output_nc, "--output_nc", path)


class Pairs:
    """The pairs of a split: decoded once and kept, or decoded when they are asked for where they are too many.

    Args:
        args: of train.py; `size` (height, width) is what each half is scaled to.
        skip_bad: leave out files that cannot be used and count them, in place of refusing the set.
    Attributes:
        files: those in use.
        bad: what is wrong with the others.
        error: why the newest `read` failed.
    Raises:
        UserError: no pictures, or a bad one where those are not skipped.
    """

    def __init__(self, args: argparse.Namespace, files: Sequence[Path], size: tuple[int, int], skip_bad: bool) -> None:
        self.args, self.size, self.skip_bad = args, size, skip_bad
        self.files, self.bad, self.error = list(files), [], None
        self.shape = (*size, args.input_nc + args.output_nc)
        kept = len(files) * int(np.prod(self.shape)) <= MEMORY
        look = self._decode if kept else self._header
        found = []
        with ThreadPoolExecutor(THREADS) as pool:  # Pillow decodes outside Python's lock
            for path, seen in zip(files, tqdm(pool.map(_caught(look), files), "pairs", len(files), disable=None)):
                if isinstance(seen, UserError):
                    if not skip_bad:
                        raise seen
                    self.bad.append(str(seen))
                else:
                    found.append((path, seen))
        if not found:
            raise UserError(f"{files[0].parent}: not one of the {len(files)} pictures there can be used; {self.bad[0]}")
        self.files = [path for path, _ in found]
        self.kept = np.stack([pair for _, pair in found]) if kept else None

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> np.ndarray:
        """Pair `index` as uint8 [height, width, input_nc + output_nc], the input's channels first.

        Raises:
            UserError: the file does not decode; where bad ones are skipped the next one stands in for it.
        """
        if self.kept is not None:
            return self.kept[index]
        for turn in range(len(self)):
            path = self.files[(index + turn) % len(self)]
            try:
                return self._decode(path)
            except UserError as error:
                self.error = error
                if not self.skip_bad:
                    raise
                if str(error) not in self.bad:
                    self.bad.append(str(error))
        raise self.error

    def _decode(self, path: Path) -> np.ndarray:
        args = self.args
        return np.concatenate(read_pair(path, args.input_nc, args.output_nc, args.which_direction, self.size), axis=2)

    def _header(self, path: Path) -> None:
        with pictures.opened(path) as picture:
            check_halves(path, *picture.size)


def _caught(function):
    """`function` with a `UserError` as a result, not raised: the others of a thread pool go on."""

    def call(path):
        try:
            return function(path)
        except UserError as error:
            return error

    return call


def batches(args: argparse.Namespace, pairs: Pairs, start_step: int = 0) -> Iterator[tuple[Any, Any]]:
    """Endless (input, target) batches, float32 [batch, fine_size, fine_size, channels] in -1..1, jittered.

    Section 3.3's jitter: a random crop of a pair scaled to load_size, and a mirror, the same for both halves. It is a
    function of (seed, step) alone.

    Raises:
        UserError: a file has ceased to decode.
    """
    import tensorflow as tf

    from common.stream import sample_batches, shuffled_batches

    n, load, fine = args.batch_size, args.load_size, args.fine_size

    def jittered(index, number):
        pair = tf.numpy_function(lambda i: pairs.read(int(i)), [index], tf.uint8)
        key = tf.stack([tf.constant(args.seed, tf.int64), number])
        top, left = tf.unstack(tf.random.stateless_uniform([2], key, 0, load - fine + 1, tf.int32))
        pair = tf.slice(pair, [top, left, 0], [fine, fine, pairs.shape[2]])
        if args.flip:
            mirrored = tf.random.stateless_uniform([], key + [1 << 32, 0]) < 0.5
            pair = tf.cond(mirrored, lambda: pair[:, ::-1], lambda: pair)
        pair = tf.ensure_shape(pair, [fine, fine, pairs.shape[2]])
        pair = tf.cast(pair, tf.float32) / 127.5 - 1.0
        return pair[..., : args.input_nc], pair[..., args.input_nc :]

    if args.serial_batches:
        order = tf.data.Dataset.range(start_step * n, 2**62).map(lambda number: tf.cast(number % len(pairs), tf.int32))
    else:
        order = shuffled_batches(len(pairs), n, args.seed, start_step).unbatch()
    return sample_batches(order, jittered, n, start_step, pairs)
