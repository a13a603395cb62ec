"""Seven folders of images with the same names -> batches of samples.

<data_path>/{i_t,i_s,t_sk,t_t,t_b,t_f,mask_t}/NAME.png, or the same below <data_path>/v1; datagen.py writes them. Where
there are train/ and val/, each with the seven, they are the split; else the last of the sorted names are held out.
"""

import argparse
import math
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Optional

import numpy as np
from PIL import Image

from common import images
from common.cli import UserError

FOLDERS = ("i_t", "i_s", "t_sk", "t_t", "t_b", "t_f", "mask_t")
OUTPUTS = ("o_sk", "o_t", "o_b", "o_f")  # skeleton, styled word on grey, background, the edited crop
RANGE = (-1.0, 1.0)  # black and white to the networks
MULTIPLE = 8  # of the sides of a network's images: an encoder halves them three times
GREY = {"t_sk", "mask_t"}  # one channel, the others have three
CHANNELS = [1 if folder in GREY else 3 for folder in FOLDERS]
HELD_OUT, HELD_OUT_SHARE = 1000, 0.1  # at most, where there is no val/
INK = 40  # levels between what is written in i_t and its ground
BORDERS = 0.08, 0.025  # above and below a word that fills i_t, in its height, and on its left and right, in its width
MEMORY = 2 * 2**30  # bytes of decoded samples that are kept; the rest is decoded when it is needed

Sample = tuple[Path, str]  # the folder with the seven, the file's name in each


def pair(text: str) -> tuple[int, int]:
    """A flag's `type`: two whole numbers, "64x128" or "64,128"."""
    first, second = (int(number) for number in text.replace("x", ",").split(","))
    return first, second


def root(data_path: str) -> Path:
    """Where the seven folders, or train/ and val/, are: <data_path>/v1 where that exists, as in the original."""
    folder = Path(data_path)
    return folder / "v1" if (folder / "v1").is_dir() else folder


def find_samples(folder: Path) -> list[str]:
    """The sorted names of the images, which are the same in all seven folders."""
    names = {name: {path.name for path in images.find_images(folder / name)} for name in FOLDERS}
    every = set.union(*names.values())
    if not every:
        raise UserError(f"--data_path {folder}: no images in {', '.join(FOLDERS)}; datagen.py writes some")
    for name in FOLDERS:
        missing = every - names[name]
        if missing:
            told = f"{name} lacks {len(missing)} of the names in the other folders, first {min(missing)}"
            raise UserError(f"--data_path {folder}: {told}; the seven must hold the same names")
    return sorted(every)


def split(data_path: str) -> tuple[list[Sample], list[Sample]]:
    """The samples to train on and those held out."""
    folder = root(data_path)
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return tuple([(folder / part, name) for name in find_samples(folder / part)] for part in ("train", "val"))
    samples = [(folder, name) for name in find_samples(folder)]
    held_out = min(HELD_OUT, max(1, round(len(samples) * HELD_OUT_SHARE)))
    return samples[:-held_out], samples[-held_out:]


def read_sample(folder: Path, name: str, tight: bool = False) -> dict[str, np.ndarray]:
    """The seven images of a sample by their folders' names, uint8 [h, w, 3], or [h, w, 1] of `GREY`; with `tight` i_t
    is what `tightened` cuts out of it.

    Raises:
        UserError: one does not decode, or they are not all of one size.
    """
    sample = {}
    for kind in FOLDERS:
        path = folder / kind / name
        image = np.asarray(images.decode(path).convert("L"))[..., None] if kind in GREY else images.read_rgb(path)
        sample[kind] = image
        (height, width), (high, wide) = image.shape[:2], sample["i_t"].shape[:2]
        if (height, width) != (high, wide):
            told = f"is {width} x {height}, and its i_t is {wide} x {high}; the seven must be of one size"
            raise UserError(f"{path}: {told}")
    if tight:
        sample["i_t"] = tightened(sample["i_t"])
    return sample


def tightened(i_t: np.ndarray) -> np.ndarray:
    """What is written in a standard image uint8 [h, w, 3], with narrow borders. Brought back to the image's size, its
    letters stand about where those of a word stand that fills its crop."""
    ink = np.abs(i_t.astype(int) - i_t[0, 0]).max(-1) > INK
    if not ink.any():
        return i_t
    box = []
    for axis, border in enumerate(BORDERS):
        first, last = np.flatnonzero(ink.any(1 - axis))[[0, -1]]
        room = round((last + 1 - first) * border)
        box.append(slice(max(0, first - room), last + 1 + room))
    return i_t[tuple(box)]


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A uint8 image [h, w, 1 or 3] at another size (height, width), antialiased bicubic."""
    if image.shape[:2] == tuple(size):
        return image
    squeezed = image[..., 0] if image.shape[2] == 1 else image
    scaled = np.asarray(Image.fromarray(squeezed).resize(size[::-1], Image.BICUBIC))
    return scaled.reshape(*size, image.shape[2])


def wanted_word(folder: Path, name: str) -> Optional[str]:
    """What is written in a sample's i_t, where datagen.py noted it in the file; else None."""
    with images.opened(folder / "i_t" / name) as image:
        return image.info.get("word")


def batches(samples: Sequence[Sample], args: argparse.Namespace, session: Any, start_step: int = 0) -> Iterator[Any]:
    """Endless shuffled batches of samples at `args.data_shape`, uint8 [batch, height, width, channels], their images in
    the order of `FOLDERS`; a function of (seed, step) alone. What is decoded is kept as far as memory goes.

    Raises:
        UserError: a batch is larger than the data, or a sample cannot be used.
    """
    import tensorflow as tf

    from common.stream import sample_batches

    batch_size = args.batch_size
    if batch_size > len(samples):
        told = f"a batch of {batch_size} is larger than the data ({len(samples)} samples)"
        raise UserError(f"--batch_size: {told}; give a smaller one")
    steps = len(samples) // batch_size
    shape = (*args.data_shape, sum(CHANNELS))

    def indices():
        for epoch in count(start_step // steps):
            rng = np.random.default_rng([zlib.crc32(b"order"), args.seed, epoch])
            own = rng.permutation(len(samples))[: steps * batch_size].reshape(steps, batch_size)
            yield from rng.permutation(own).ravel()

    @lru_cache(maxsize=MEMORY // math.prod(shape))
    def read(index):
        sample = read_sample(*samples[index], args.tight_text)
        return np.concatenate([resized(sample[kind], args.data_shape) for kind in FOLDERS], 2)

    def sample(index, number):
        return tf.ensure_shape(tf.numpy_function(lambda n: read(int(n)), [index], tf.uint8), shape)

    order = tf.data.Dataset.from_generator(indices, output_signature=tf.TensorSpec([], tf.int32))
    order = order.skip(start_step % steps * batch_size)
    return sample_batches(sample, order, batch_size, start_step, session)
