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
GREY = {"t_sk", "mask_t"}  # one channel, the others have three
CHANNELS = sum(1 if folder in GREY else 3 for folder in FOLDERS)
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
    names = {}
    for name in FOLDERS:
        inside = folder / name
        if not inside.is_dir():
            raise UserError(f"--data_path {folder}: there is no folder {name} in it; datagen.py writes all seven")
        names[name] = {path.name for path in images.find_images(inside)}
    every = set.union(*names.values())
    if not every:
        raise UserError(f"--data_path {folder}: no images in {', '.join(FOLDERS)}; datagen.py writes some")
    for name in FOLDERS:
        missing = every - names[name]
        if missing:
            raise UserError(
                f"--data_path {folder}: {name} lacks {len(missing)} of the names in the other folders, first "
                f"{min(missing)}; the seven must hold the same names"
            )
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
        height, width = sample[kind].shape[:2]
        if sample[kind].shape[:2] != sample["i_t"].shape[:2]:
            high, wide = sample["i_t"].shape[:2]
            raise UserError(
                f"{path}: is {width} x {height}, and its i_t is {wide} x {high}; the seven must be of one size"
            )
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
        height: that all are scaled to.
        widths: each sample is scaled to the one that keeps its aspect best; a width that fewer than `batch_size`
            samples fit is left out, so that every batch is of one width.
        tight: as in `read_sample`.
    Attributes:
        widths: of the samples, int [count].
    Raises:
        UserError: a batch is larger than the data, or an image's size cannot be read.
    """

    def __init__(
        self, samples: Sequence[Sample], height: int, widths: Sequence[int], batch_size: int, tight: bool = False
    ) -> None:
        if batch_size > len(samples):
            raise UserError(
                f"--batch_size: a batch of {batch_size} is larger than the data ({len(samples)} samples); "
                "give a smaller one"
            )
        self.samples, self.height, self.batch_size, self._kept = list(samples), height, batch_size, {}
        self.tight = tight
        widths, sizes = sorted(widths), [(1, 1)] * len(samples)
        if len(widths) > 1:
            sizes = [images.size(folder / "i_t" / name)[::-1] for folder, name in samples]
        while True:
            self.widths = np.array([nearest_width(size, height, widths) for size in sizes])
            few = [width for width in widths if 0 < (self.widths == width).sum() < batch_size]
            if not few or len(widths) == 1:
                break
            widths.remove(few[0])
        self._most = MEMORY // (height * int(self.widths.mean()) * CHANNELS)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def steps_per_epoch(self) -> int:
        return sum(int((self.widths == width).sum()) // self.batch_size for width in np.unique(self.widths))

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The indices of an epoch's batches, int32 [steps_per_epoch, batch_size]: in each samples of one width."""
        rng = np.random.default_rng([zlib.crc32(b"order"), seed, epoch])
        batches = []
        for width in np.unique(self.widths):
            own = rng.permutation(np.flatnonzero(self.widths == width))
            batches.append(own[: len(own) // self.batch_size * self.batch_size].reshape(-1, self.batch_size))
        return rng.permutation(np.concatenate(batches)).astype(np.int32)

    def read(self, index: int) -> np.ndarray:
        """Sample `index`: its images in the order of `FOLDERS`, uint8 [height, its width, CHANNELS].

        Raises:
            UserError: it cannot be used.
        """
        if index in self._kept:
            return self._kept[index]
        sample = read_sample(*self.samples[index], self.tight)
        size = (self.height, int(self.widths[index]))
        stacked = np.concatenate([resized(sample[kind], size) for kind in FOLDERS], 2)
        if len(self._kept) < self._most:
            self._kept[index] = stacked
        return stacked


def wanted_word(folder: Path, name: str) -> Optional[str]:
    """What is written in a sample's i_t, where datagen.py noted it in the file; else None."""
    with images.opened(folder / "i_t" / name) as image:
        return image.info.get("word")


def unstack(stacked: Any) -> dict[str, Any]:
    """Images in the order of `FOLDERS` along the last axis as {folder: [..., 3 or 1]}."""
    parts, at = {}, 0
    for kind in FOLDERS:
        channels = 1 if kind in GREY else 3
        parts[kind] = stacked[..., at : at + channels]
        at += channels
    return parts


def batches(args: argparse.Namespace, samples: Samples, session: "Session", start_step: int = 0) -> Iterator[Any]:
    """Endless shuffled batches, uint8 [batch, height, width, CHANNELS], a function of (seed, step) alone.

    Raises:
        UserError: a sample cannot be used.
    """
    import tensorflow as tf

    from common.stream import sample_batches

    count = samples.steps_per_epoch * args.batch_size
    widths = np.unique(samples.widths)
    shape = (samples.height, int(widths[0]) if len(widths) == 1 else None, CHANNELS)

    def epoch(number):
        order = tf.numpy_function(lambda n: samples.order(args.seed, int(n)).ravel(), [number], tf.int32)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(order, [count]))

    def sample(index, number):
        return tf.ensure_shape(tf.numpy_function(lambda n: samples.read(int(n)), [index], tf.uint8), shape)

    first, skipped = divmod(start_step, samples.steps_per_epoch)
    order = tf.data.Dataset.range(first, 2**31).flat_map(epoch).skip(skipped * args.batch_size)
    return sample_batches(sample, order, args.batch_size, start_step, session)
