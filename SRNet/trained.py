"""A trained generator from its checkpoint alone, and the word in a crop of any size changed by it."""

import argparse
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from data import resized
from model import MULTIPLE, build_generator
from tensorflow import keras

from common import npu
from common.checkpoint import checkpoint_record, load_checkpoint, run_folder
from common.cli import UserError
from common.optimizer import named_variables
from common.pictures import scale, to_uint8

NETWORK = "SRNet"
OUTPUTS = ("o_sk", "o_t", "o_b", "o_f")  # skeleton, styled word on grey, background, the edited crop
RANGE = (-1.0, 1.0)  # black and white to the networks
RANGES = {name: (0.0, 1.0) if name == "o_sk" else RANGE for name in OUTPUTS}
SQUEEZED = 2  # times narrower than they were written are words in training, where all samples are brought to one size
LONGEST = 32  # heights: the width of a crop that is still taken as one line of text


@dataclass(frozen=True)
class Trained:
    """A generator with its trained weights, and the options of the run that trained it."""

    prefix: str  # the checkpoint's files, without their endings
    options: argparse.Namespace  # of the run
    generator: keras.Model  # for crops of any size

    @property
    def run_folder(self) -> Path:
        """The folder of the run that wrote the checkpoint, or the one that the checkpoint was copied to."""
        return run_folder(self.prefix)


def load(ckpt_path: str) -> Trained:
    """Reads a checkpoint: the newest whole one of a run's folder, or the one that is named.

    Raises:
        UserError: there is none, or it is of another model.
    """
    record = checkpoint_record(str(ckpt_path))
    options = record["options"]
    if record["about"].get("network") != NETWORK or not _known(options):
        raise UserError(f"{ckpt_path}: not a checkpoint of {NETWORK}")
    generator = build(options)
    return Trained(load_checkpoint(str(ckpt_path), generator=named_variables(generator)), options, generator)


def _known(options: argparse.Namespace) -> bool:
    """Whether options say what to build."""
    numbers = [getattr(options, "cnum", None), *(getattr(options, "data_shape", None) or [None])]
    return len(numbers) == 3 and all(type(n) is int and n > 0 for n in numbers)


def build(options: argparse.Namespace) -> keras.Model:
    """The generator that a run's options ask for, for crops of any size, with random weights."""
    return build_generator(channels=options.cnum)


def network_size(options: argparse.Namespace, height: int, width: int) -> tuple[int, int]:
    """The height and width at which the network sees a crop of some size: those of the training, or wider where
    letters would be narrower than in training.

    Raises:
        UserError: the crop is too long.
    """
    if width > LONGEST * height:
        raise UserError(
            f"a crop of {width} x {height} is more than {LONGEST} times as wide as high; edit it word by word"
        )
    high, wide = options.data_shape
    return high, max(wide, MULTIPLE * round(high * width / (SQUEEZED * height * MULTIPLE)))


def edit(model: Trained, i_t: np.ndarray, i_s: np.ndarray) -> dict[str, np.ndarray]:
    """Writes another word into a crop.

    Args:
        i_t: the wanted word in a standard font, uint8 [any height, any width, 3].
        i_s: the crop, likewise of any size.
    Returns:
        o_sk, the word's skeleton, uint8 [h, w, 1]; o_t, the styled word on grey, o_b, the background, and o_f, the
        edited crop, uint8 [h, w, 3]. h and w are `network_size` of the crop.
    Raises:
        UserError: one is no such picture, is too long or does not fit into memory, or the weights are of no use.
    """
    for name, picture in (("i_t", i_t), ("i_s", i_s)):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
            raise UserError(f"{name}: must be uint8 [height, width, 3], and is {picture.dtype} {list(picture.shape)}")
    size = network_size(model.options, *i_s.shape[:2])
    inputs = [tf.constant(scale(resized(picture, size)[None], RANGE)) for picture in (i_t, i_s)]
    draw = _compiled(model.generator, size if npu.available() else None)
    try:
        drawn = {name: result.numpy()[0] for name, result in zip(OUTPUTS, draw(*inputs))}
    except tf.errors.ResourceExhaustedError:
        raise UserError(f"a crop of {size[1]} x {size[0]} does not fit into memory; edit it word by word") from None
    if not all(np.isfinite(picture).all() for picture in drawn.values()):
        raise UserError(
            f"{model.prefix} draws numbers that are not finite: its run diverged; use an earlier checkpoint"
        )
    return {name: to_uint8(picture, RANGES[name]) for name, picture in drawn.items()}


@functools.lru_cache(maxsize=4)  # a caller with a crop at a time does not wait for the graph at each
def _compiled(generator: keras.Model, size: Optional[tuple[int, int]]) -> Callable:
    # One graph for crops of all sizes; only the NPU, which compiles one for each shape, gets one for each.
    spec = tf.TensorSpec([1, *(size or (None, None)), 3], tf.float32)
    return tf.function(lambda i_t, i_s: generator([i_t, i_s], training=False), input_signature=[spec, spec])
