"""A trained generator from its checkpoint or .h5 file alone, and pictures of any size through it, tile by tile."""

import argparse
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import h5py
import numpy as np
import tensorflow as tf
from model import SCALES, UPSAMPLINGS, build_generator, reach
from tensorflow import keras
from tiles import Window, cut, window_shape

from common import npu
from common.checkpoint import checkpoint_record, load_checkpoint, run_folder
from common.cli import UserError
from common.optimizer import named_variables

NETWORK = "SRGAN"
MEMORY = 2 * 2**30  # bytes for one tile
COPIES = 4  # of the largest layer's output, in memory at a time (2.9 to 3.7 were measured)
BUILD = ("scale", "upsampling", "blocks", "channels")  # the options that make a generator what it is


@dataclass(frozen=True)
class Trained:
    """A generator with its trained weights, and the options of the run that trained it."""

    prefix: str  # the checkpoint's files without their endings, or the .h5 file
    options: argparse.Namespace  # of the run; an .h5 file's are only those of `BUILD`
    generator: keras.Model

    @property
    def run_folder(self) -> Path:
        """The folder of the run that wrote the checkpoint, or the one that it was copied to."""
        return run_folder(self.prefix)


def load(path: str) -> Trained:
    """Reads a checkpoint, the newest whole one of a run's folder or the one that is named, or one .h5 file.

    Raises:
        UserError: there is none, or it is of another model.
    """
    if str(path).endswith((".h5", ".hdf5")):
        return _load_h5(str(path))
    record = checkpoint_record(path)
    options = record["options"]
    if record["about"].get("network") != NETWORK:
        raise UserError(f"{path}: not a checkpoint of {NETWORK}")
    generator = build(options)
    return Trained(load_checkpoint(path, generator=named_variables(generator)), options, generator)


def build(options: argparse.Namespace) -> keras.Model:
    """The generator that a run's options ask for, with random weights."""
    return build_generator(**{name: getattr(options, name) for name in BUILD})


# .h5 files: a data set for each variable, and the options as JSON.


def save_h5(path: str, generator: keras.Model, options: argparse.Namespace) -> None:
    """Writes a generator alone, in float32, as `load` and h5py read it on either stack; the file is whole or not there.

    Raises:
        OSError: it cannot be written.
    """
    partial = f"{path}.partial"
    with h5py.File(partial, "w") as file:
        file.attrs["network"] = NETWORK
        file.attrs["options"] = json.dumps({name: getattr(options, name) for name in BUILD})
        for name, variable in named_variables(generator).items():
            file[name] = variable.numpy()
    os.replace(partial, path)


def _load_h5(path: str) -> Trained:
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            if str(file.attrs.get("network")) != NETWORK:
                raise UserError(f"{path}: not a generator that SRGAN/train.py saved")
            options = _checked(json.loads(file.attrs["options"]), os.path.getsize(path))
            generator = build(options)
            for name, variable in named_variables(generator).items():
                stored = file[name]
                if stored.shape != tuple(variable.shape) or stored.dtype.kind != "f":
                    raise ValueError(f"{name} is not of the shape that its options say")
                values = stored[()].astype(np.float32)
                if not np.isfinite(values).all():
                    raise ValueError(f"{name} holds numbers that are not finite")
                variable.assign(values)
    except UserError:
        raise
    except Exception as error:  # h5py raises nearly every kind on a broken file, and on one of another layout
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{path}: a damaged .h5 file, or one of another model ({reason})") from None
    return Trained(path, options, generator)


def _checked(values: dict[str, Any], size: int) -> argparse.Namespace:
    """Options that a file of `size` bytes gives, if they can be of a network that is in it."""
    options = argparse.Namespace(**{name: values[name] for name in BUILD})
    whole = all(type(number) is int and number > 0 for number in (options.scale, options.blocks, options.channels))
    if not whole or options.scale not in SCALES or options.upsampling not in UPSAMPLINGS:
        raise ValueError("its options mean nothing")
    if options.blocks * options.channels**2 * 9 * 2 * 4 > size:  # the residual blocks' weights
        raise ValueError("its options are of a larger network than is in it")
    return options


# Pictures.


def tiling(
    options: argparse.Namespace, height: int, width: int, tile: Optional[int] = None, memory: int = MEMORY
) -> tuple[list[Window], list[Window]]:
    """The windows over a picture's height and those over its width; each pair of them is a tile.

    Args:
        tile: a tile's side without its overlap, in pixels of the small picture; none: the largest within `memory`.
        memory: bytes for one tile. The smallest tile may take more: `tile_bytes` tells.
    """
    overlap = reach(options)
    high, wide = window_shape(height, width, overlap, memory // _bytes_per_pixel(options), tile)
    return cut(height, high, overlap), cut(width, wide, overlap)


def tile_bytes(options: argparse.Namespace, rows: list[Window], columns: list[Window]) -> int:
    """About what the network takes for a tile."""
    return (rows[0].end - rows[0].start) * (columns[0].end - columns[0].start) * _bytes_per_pixel(options)


def _bytes_per_pixel(options: argparse.Namespace) -> int:
    channels = options.channels * (4 if options.upsampling == "resize" else 1)
    return COPIES * 4 * channels * options.scale**2


def enlarged_rows(
    model: Trained,
    picture: np.ndarray,
    rows: list[Window],
    columns: list[Window],
    finish: Callable[[np.ndarray], np.ndarray] = lambda tile: tile,
    progress: Callable[[], Any] = lambda: None,
) -> Iterator[np.ndarray]:
    """A picture enlarged from the top down, the rows of a row of tiles at a time; no seam shows between tiles.

    Args:
        picture: uint8 or uint16 [height, width, 3].
        rows, columns: what `tiling` gave for it.
        finish: makes of a tile, float32 [n, m, 3] with black 0 and white 1, what is kept of it, [n, m, any].
        progress: called after each tile.
    Yields:
        [n, scale width, any].
    Raises:
        UserError: a tile does not fit into memory.
    """
    scale, white = model.options.scale, np.iinfo(picture.dtype).max
    window = rows[0].end - rows[0].start, columns[0].end - columns[0].start
    draw = _compiled(model.generator, window if npu.available() else (None, None))
    for high in rows:
        drawn = []
        for wide in columns:
            x = picture[None, high.start : high.end, wide.start : wide.end].astype(np.float32) * (2 / white) - 1
            try:
                y = draw(tf.constant(x)).numpy()[0]
            except tf.errors.ResourceExhaustedError:
                raise UserError(f"a tile of {window[0]} x {window[1]} does not fit into memory; set --tile") from None
            top, left = (high.first - high.start) * scale, (wide.first - wide.start) * scale
            kept = y[top : top + (high.last - high.first) * scale, left : left + (wide.last - wide.first) * scale]
            drawn.append(finish((kept + 1) / 2))
            progress()
        yield np.concatenate(drawn, 1)


def enlarge(model: Trained, picture: np.ndarray, tile: Optional[int] = None) -> np.ndarray:
    """A picture enlarged.

    Args:
        picture: uint8 or uint16 [height, width, 3].
        tile: the tiles' side; none: the largest within 2 GiB.
    Returns:
        float32 [scale height, scale width, 3], black 0, white 1.
    Raises:
        UserError: it does not fit into memory.
    """
    return np.concatenate(list(enlarged_rows(model, picture, *tiling(model.options, *picture.shape[:2], tile))))


def quantised(picture: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A picture in 0..1 as uint8 or uint16."""
    white = np.iinfo(dtype).max
    scaled = picture * white
    return np.clip(np.rint(scaled, out=scaled), 0, white, out=scaled).astype(dtype)


@functools.lru_cache(maxsize=4)  # a caller with a picture at a time does not wait for the graph at each
def _compiled(generator: keras.Model, window: tuple[Optional[int], Optional[int]]) -> Callable:
    # One graph for pictures of all sizes; only the NPU, which compiles one for each shape, gets one for each.
    signature = [tf.TensorSpec([1, *window, 3], tf.float32)]
    return tf.function(lambda pictures: generator(pictures, training=False), input_signature=signature)
