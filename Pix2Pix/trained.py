"""A trained generator from its checkpoint alone, and pictures of any size through it."""

import argparse
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from model import MULTIPLE, build_generator
from tensorflow import keras

from common.checkpoint import checkpoint_record, load_checkpoint, run_folder
from common.cli import UserError
from common.optimizer import named_variables
from common.pictures import scale, to_uint8

NETWORK = "Pix2Pix"
INFERENCE = ("deterministic", "paper")
RANGE = (-1.0, 1.0)  # black and white to the networks


@dataclass(frozen=True)
class Trained:
    """A generator with its trained weights, and the options of the run that trained it."""

    prefix: str  # the checkpoint's files, without their endings
    options: argparse.Namespace  # of the run
    network: keras.Model  # for pictures of any multiple of 256

    def generator(self, height: int, width: int) -> keras.Model:
        """The generator for pictures of a size, multiples of 256: one network is for them all."""
        return self.network

    @property
    def run_folder(self) -> Path:
        """The folder of the run that wrote the checkpoint, or the one that the checkpoint was copied to."""
        return run_folder(self.prefix)


def load(ckpt_path: str) -> Trained:
    """Reads a checkpoint: the newest whole one of a run's folder, or the one that is named.

    Raises:
        UserError: there is none, or it is of another model.
    """
    record = checkpoint_record(ckpt_path)
    options = record["options"]
    if record["about"].get("network") != NETWORK:
        raise UserError(f"{ckpt_path}: not a checkpoint of {NETWORK}")
    network = build_generator(None, None, options.input_nc, options.output_nc, options.ngf)
    return Trained(load_checkpoint(ckpt_path, generator=named_variables(network)), options, network)


def translate(
    model: Any, pictures: np.ndarray, inference: str = "deterministic", seed: int = 0, raw: bool = False
) -> np.ndarray:
    """What a generator draws for each picture by itself, whatever pictures are beside it.

    Args:
        model: a `Trained`, or anything else whose `generator(height, width)` is one for multiples of 256.
        pictures: uint8 [n, height, width, input_nc], of any height and width.
        inference: "deterministic", or "paper": with dropout, as section 3.4 tests.
        seed: of that dropout, the same one for each picture.
        raw: leave the pictures as the generator gives them.
    Returns:
        uint8 [n, height, width, output_nc]; `raw`: float32, -1 to 1.
    Raises:
        UserError: a picture does not fit into memory.
    """
    height, width = pictures.shape[1:3]
    (top, bottom), (left, right) = _margins(height), _margins(width)
    # The margin mirrors the picture, so that the statistics of all of it are near the picture's own.
    padded = np.pad(pictures, ((0, 0), (top, bottom), (left, right), (0, 0)), "symmetric")
    draw = _compiled(model.generator(*padded.shape[1:3]), inference == "paper")
    key = tf.constant([seed, 0])
    try:
        drawn = np.concatenate([draw(tf.constant(scale(picture[None], RANGE)), key).numpy() for picture in padded])
    except tf.errors.ResourceExhaustedError:
        raise UserError(f"a picture of {height} x {width} does not fit into memory; make it smaller") from None
    drawn = drawn[:, top : top + height, left : left + width]
    return drawn if raw else to_uint8(drawn, RANGE)


def _margins(side: int) -> tuple[int, int]:
    """What to add before and after a side for a multiple of 256."""
    missing = -side % MULTIPLE
    return missing // 2, missing - missing // 2


@functools.lru_cache(maxsize=4)  # a caller with a picture at a time does not wait for the graph at each
def _compiled(generator: keras.Model, dropout: bool) -> Callable:
    # Of one picture the statistics in training are its own too, so `training` turns on nothing but dropout.
    return tf.function(lambda pictures, seed: generator([pictures, seed], training=dropout))
