"""Pictures cut into overlapping windows of one shape, so that memory has a bound and no seam shows (no TensorFlow)."""

import math
from typing import NamedTuple, Optional

MIN_TILE = 16  # pixels: smaller tiles are nearly all overlap


class Window(NamedTuple):
    """A stretch of one side of a picture, in pixels: what the network sees, and what of that is kept."""

    start: int
    end: int
    first: int
    last: int  # one after the last pixel that is kept


def window_shape(height: int, width: int, reach: int, pixels: int, tile: Optional[int] = None) -> tuple[int, int]:
    """The height and width of the windows for a picture: as large as can be, since overlaps are computed twice.

    Args:
        reach: how many pixels to each side what is drawn depends on.
        pixels: as many as may be in a window, though not fewer than the smallest tile has with its overlap.
        tile: the side of what is kept of a window between others; `pixels` does not count then.
    """
    if tile:
        return min(height, tile + 2 * reach), min(width, tile + 2 * reach)
    least = MIN_TILE + 2 * reach
    high = min(height, max(math.isqrt(pixels), least))
    wide = min(width, max(pixels // high, least))
    return min(height, max(pixels // wide, least)), wide


def cut(side: int, window: int, reach: int) -> list[Window]:
    """Windows over one side, all of one length and as few as there can be with at most `window` pixels each.

    What is kept of one is at least `reach` from its ends, but at the picture's edges: there the outermost windows lie,
    so that the network sees an edge as it would without windows.
    """
    count = 1 + (math.ceil((side - window) / (window - 2 * reach)) if side > window else 0)
    window = math.ceil((side + (count - 1) * 2 * reach) / count)  # as small as so many can be
    starts = [number * (side - window) // max(count - 1, 1) for number in range(count)]
    edges = [0] + [(start + window + after) // 2 for start, after in zip(starts, starts[1:])] + [side]
    return [Window(start, start + window, *kept) for start, *kept in zip(starts, edges, edges[1:])]
