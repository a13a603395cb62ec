"""Seven folders of images with the same names -> batches of samples.

<data_path>/{i_t,i_s,t_sk,t_t,t_b,t_f,mask_t}/NAME.png, or the same below <data_path>/v1; datagen.py writes them. Where
there are train/ and val/, each with the seven, they are the split; else the last of the sorted names are held out.
"""

import argparse
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
from PIL import Image

from common import images
from common.cli import UserError

if TYPE_CHECKING:
    from common.session import Session

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
    if len(samples) < 2:
        raise UserError(f"--data_path {folder}: one sample only; one more is needed to be held out")
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
        grey = kind in GREY
        sample[kind] = np.asarray(images.decode(path).convert("L"))[..., None] if grey else images.read_rgb(path)
        (height, width), (high, wide) = sample[kind].shape[:2], sample["i_t"].shape[:2]
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


def nearest_width(size: tuple[int, int], height: int, widths: Sequence[int]) -> int:
    """Of some widths the one at which an image of `size` (height, width) keeps its aspect best at a height."""
    wanted = height * size[1] / size[0]
    return min(widths, key=lambda width: max(width / wanted, wanted / width))


class Samples:
    """The samples to train on, each decoded once and kept as far as memory goes.

    Args:
        args: of train.py: all are scaled to the height of `data_shape`, and to its width or to that one of `widths`
            that keeps a sample's aspect best; one of them that fewer samples than a batch's fit is left out.
    Attributes:
        widths: of the samples, int [count].
        steps_per_epoch: batches, each of one width.
    Raises:
        UserError: a batch is larger than the data, or an image's size cannot be read.
    """

    def __init__(self, samples: Sequence[Sample], args: argparse.Namespace) -> None:
        if args.batch_size > len(samples):
            told = f"a batch of {args.batch_size} is larger than the data ({len(samples)} samples)"
            raise UserError(f"--batch_size: {told}; give a smaller one")
        self.samples, self.args, self.height, self._kept = samples, args, args.data_shape[0], {}
        widths, sizes = sorted(args.widths or args.data_shape[1:]), [(1, 1)] * len(samples)
        if len(widths) > 1:
            sizes = [images.size(folder / "i_t" / name)[::-1] for folder, name in samples]
        while True:
            self.widths = np.array([nearest_width(size, self.height, widths) for size in sizes])
            few = [width for width in widths if 0 < (self.widths == width).sum() < args.batch_size]
            if not few or len(widths) == 1:
                break
            widths.remove(few[0])
        self._most = MEMORY // (self.height * int(self.widths.mean()) * sum(CHANNELS))
        self.steps_per_epoch = len(self.order(0))

    def order(self, epoch: int) -> np.ndarray:
        """The indices of an epoch's batches, int32 [steps_per_epoch, batch_size]."""
        rng, batch_size = np.random.default_rng([zlib.crc32(b"order"), self.args.seed, epoch]), self.args.batch_size
        batches = []
        for width in np.unique(self.widths):
            own = rng.permutation(np.flatnonzero(self.widths == width))
            batches.append(own[: len(own) // batch_size * batch_size].reshape(-1, batch_size))
        return rng.permutation(np.concatenate(batches)).astype(np.int32)

    def read(self, index: int) -> np.ndarray:
        """Sample `index`: its images in the order of `FOLDERS`, uint8 [height, its width, channels].

        Raises:
            UserError: it cannot be used.
        """
        if index in self._kept:
            return self._kept[index]
        sample = read_sample(*self.samples[index], self.args.tight_text)
        size = (self.height, int(self.widths[index]))
        stacked = np.concatenate([resized(sample[kind], size) for kind in FOLDERS], 2)
        if len(self._kept) < self._most:
            self._kept[index] = stacked
        return stacked


def wanted_word(folder: Path, name: str) -> Optional[str]:
    """What is written in a sample's i_t, where datagen.py noted it in the file; else None."""
    with images.opened(folder / "i_t" / name) as image:
        return image.info.get("word")


def batches(samples: Samples, session: "Session", start_step: int = 0) -> Iterator[Any]:
    """Endless shuffled batches, uint8 [batch, height, width, channels], a function of (seed, step) alone.

    Raises:
        UserError: a sample cannot be used.
    """
    import tensorflow as tf

    from common.stream import sample_batches

    widths, batch_size = np.unique(samples.widths), samples.args.batch_size
    shape = (samples.height, int(widths[0]) if len(widths) == 1 else None, sum(CHANNELS))

    def epoch(number):
        order = tf.numpy_function(lambda n: samples.order(int(n)).ravel(), [number], tf.int32)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, [samples.steps_per_epoch * batch_size]))

    def sample(index, number):
        return tf.ensure_shape(tf.numpy_function(lambda n: samples.read(int(n)), [index], tf.uint8), shape)

    first, skipped = divmod(start_step, samples.steps_per_epoch)
    order = tf.data.Dataset.range(first, 2**31).flat_map(epoch).skip(skipped * batch_size)
    return sample_batches(sample, order, batch_size, start_step, session)
