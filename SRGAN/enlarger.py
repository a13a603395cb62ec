"""A trained generator, whatever runs it, and images of any size through it in overlapping tiles (no TensorFlow)."""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

import _path  # noqa: F401  (finds ../common)
import numpy as np
from PIL import Image
from tqdm import tqdm

from common.cli import UserError

MEMORY = 2 * 2**30  # bytes for one tile
MIN_TILE = 16  # pixels without the overlap: smaller tiles are nearly all overlap
ROWS = 64  # that are handed on at a time
LANCZOS = 3  # pixels that its kernel reaches to each side


class Window(NamedTuple):
    """A stretch of an image's height or width, in pixels: what the network sees, and what of that is kept."""

    start: int
    end: int
    first: int
    last: int  # one after the last pixel that is kept


def cut(length: int, window: int, receptive_field: int, exact: bool = False) -> list[Window]:
    """Windows over a height or width, all of one length and as few as there can be with at most `window` pixels each.

    What is kept of one is at least the receptive field from its ends, but at the image's edges: there the outermost
    windows lie, so that the network sees an edge as it would without windows.

    Args:
        exact: of `window` pixels, neither fewer nor more; of a shorter image the one window reaches beyond its end.
    """
    count = 1 + (math.ceil((length - window) / (window - 2 * receptive_field)) if length > window else 0)
    if not exact:
        window = math.ceil((length + (count - 1) * 2 * receptive_field) / count)  # as small as so many can be
    starts = [number * (length - window) // max(count - 1, 1) for number in range(count)]
    edges = [0] + [(start + window + after) // 2 for start, after in zip(starts, starts[1:])] + [length]
    return [Window(start, start + window, *kept) for start, *kept in zip(starts, edges, edges[1:])]


@dataclass(frozen=True)
class Enlarger:
    """A generator as a function, and what has to be known of it to use it by tiles."""

    path: Path  # where it comes from
    run: Callable[[np.ndarray], np.ndarray]  # float32 [1, h, w, 3] in -1..1 -> [1, scale h, scale w, 3]
    scale: int
    receptive_field: int  # pixels of lr to each side
    bytes_per_pixel: int  # of memory, for a pixel of lr
    size: Optional[tuple[int, int]] = None  # the only height and width that it takes
    options: Optional[argparse.Namespace] = None  # of its training

    def tiling(self, height: int, width: int, memory: int = MEMORY) -> tuple[list[Window], list[Window]]:
        """The windows over an image's height and those over its width; each pair of them is a tile, of at most `memory`
        bytes but for the smallest. They are as large as can be, since overlaps are computed twice.

        Raises:
            UserError: an export's one size is too small for an image that is larger.
        """
        field, exact = self.receptive_field, self.size is not None
        least = MIN_TILE + 2 * field
        side = max(math.isqrt(memory // self.bytes_per_pixel), least)
        high, wide = self.size or (min(height, side), min(width, side))
        if (height > high <= 2 * field) or (width > wide <= 2 * field):
            raise UserError(
                f"{self.path}: takes {high} x {wide} pixels alone, too few for overlaps of {field} to each side of a "
                f"tile;\nexport it with --height and --width of at least {least}"
            )
        return cut(height, high, field, exact), cut(width, wide, field, exact)

    def rows(self, lr: np.ndarray, memory: int = MEMORY) -> Iterator[np.ndarray]:
        """An image enlarged from the top down, some rows at a time; no seam shows between tiles.

        Args:
            lr: uint8 or uint16 [height, width, 3].
            memory: bytes for one tile.
        Yields:
            float32 [n, scale width, 3], black 0 and white 1.
        """
        scale, white = self.scale, np.iinfo(lr.dtype).max
        rows, columns = self.tiling(*lr.shape[:2], memory)
        beyond = [(0, max(0, windows[-1].end - length)) for windows, length in zip((rows, columns), lr.shape)]
        lr = np.pad(lr, [*beyond, (0, 0)], "symmetric")
        with tqdm(total=len(rows) * len(columns), desc="tiles", leave=False, disable=None) as bar:
            for high in rows:
                band = np.empty([(high.last - high.first) * scale, columns[-1].last * scale, 3], np.float32)
                for wide in columns:
                    x = lr[None, high.start : high.end, wide.start : wide.end].astype(np.float32) * (2 / white) - 1
                    y = self.run(x)[0, (high.first - high.start) * scale :, (wide.first - wide.start) * scale :]
                    kept = y[: len(band), : (wide.last - wide.first) * scale]
                    band[:, wide.first * scale : wide.last * scale] = (kept + 1) / 2
                    bar.update()
                for start in range(0, len(band), ROWS):
                    yield band[start : start + ROWS]

    def enlarge(self, lr: np.ndarray, memory: int = MEMORY) -> np.ndarray:
        """What `rows` gives in one array: float32 [scale height, scale width, 3] in 0..1."""
        return np.concatenate(list(self.rows(lr, memory)))


def resampled(rows: Iterator[np.ndarray], source: tuple[int, int], target: tuple[int, int]) -> Iterator[np.ndarray]:
    """An image of the height and width `source`, given from the top down, in another size; by Lanczos' kernel.

    Args:
        rows: float32 [n, width, 3].
    Yields:
        float32 [n, target width, 3].
    """
    ratio = source[0] / target[0]
    margin = LANCZOS * max(1.0, ratio) + 1
    held = np.empty([0, source[1], 3], np.float32)  # the rows that are still needed
    first, done = 0, 0  # the number of the first of them; how many rows were given out
    for new in rows:
        held = np.concatenate([held, new])
        known = first + len(held)
        ready = target[0] if known == source[0] else math.floor((known - margin) / ratio)
        if ready <= done:
            continue
        box = (0, done * ratio - first, source[1], min(ready * ratio - first, len(held)))
        size = (target[1], ready - done)
        channels = [Image.fromarray(np.ascontiguousarray(held[..., i])) for i in range(3)]
        yield np.dstack([np.asarray(channel.resize(size, Image.LANCZOS, box)) for channel in channels])
        done, start = ready, max(first, math.floor(ready * ratio - margin))
        held, first = held[start - first :], start


def from_export(path: Union[str, Path]) -> Enlarger:
    """An .onnx, .pb, .om or SavedModel that freeze.py wrote, with the generator.json that it wrote beside it.

    Raises:
        UserError: it cannot be run, or what it takes to use it by tiles is not told.
    """
    from common.export import Exported

    exported = Exported(path)
    about = Path(path).with_name(f"{Path(path).stem.replace('_saved_model', '')}.json")
    try:
        told = json.loads(about.read_text())
        numbers = [told[name] for name in ("scale", "receptive_field", "bytes_per_pixel")]
        if not all(type(number) is int and number > 0 for number in numbers):
            raise ValueError("numbers that mean nothing")
        (lr, (batch, height, width, _)), (sr, _) = *exported.inputs.items(), *exported.outputs.items()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--model {path}: {about} is not what freeze.py writes beside it ({error})") from None

    def run(x):
        return exported.run({lr: np.repeat(x, batch or 1, 0)})[sr][:1]

    return Enlarger(Path(path), run, *numbers, size=(height, width) if height and width else None)
