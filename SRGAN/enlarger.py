"""A trained generator, whatever runs it, and images of any size through it in overlapping tiles (no TensorFlow)."""

import argparse
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

import _path  # noqa: F401  (finds ../common)
import numpy as np
from tqdm import tqdm

from common.cli import UserError

MEMORY = 2 * 2**30  # bytes for one tile
MIN_TILE = 16  # pixels without the overlap: smaller tiles are nearly all overlap
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


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

    def enlarge(self, lr: np.ndarray, memory: int = MEMORY) -> np.ndarray:
        """An image enlarged by tiles; no seam shows between them.

        Args:
            lr: uint8 or uint16 [height, width, 3 or 1], RGB or grey.
            memory: bytes for one tile.
        Returns:
            The same kind of image, [scale height, scale width, 3 or 1].
        """
        height, width, channels = lr.shape
        scale, white = self.scale, np.iinfo(lr.dtype).max
        rows, columns = self.tiling(height, width, memory)
        lr = np.pad(lr, [(0, rows[-1].end - height), (0, columns[-1].end - width), (0, 0)], "symmetric")
        sr = np.empty([scale * height, scale * width, channels], lr.dtype)
        for high, wide in tqdm(list(itertools.product(rows, columns)), "tiles", unit="", leave=False, disable=None):
            x = lr[None, high.start : high.end, wide.start : wide.end].astype(np.float32) * (2 / white) - 1
            y = (self.run(x.repeat(3 // channels, 3))[0] + 1) / 2
            y = y if channels == 3 else y @ LUMA[:, None]
            kept = [slice(scale * (w.first - w.start), scale * (w.last - w.start)) for w in (high, wide)]
            placed = [slice(scale * w.first, scale * w.last) for w in (high, wide)]
            sr[tuple(placed)] = np.clip(np.rint(y[tuple(kept)] * white), 0, white)
        return sr


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
