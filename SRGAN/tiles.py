"""Images cut into overlapping windows of one shape, so that memory has a bound and no seam shows (no TensorFlow)."""

import math
from typing import NamedTuple, Optional

MIN_TILE = 16  # pixels: smaller tiles are nearly all overlap


class Window(NamedTuple):
    """A stretch of an image's height or width, in pixels: what the network sees, and what of that is kept."""

    start: int
    end: int
    first: int
    last: int  # one after the last pixel that is kept


def window_shape(
    height: int, width: int, receptive_field: int, pixels: int, tile: Optional[int] = None
) -> tuple[int, int]:
    """The height and width of the windows for an image: as large as can be, since overlaps are computed twice.

    Args:
        receptive_field: how many pixels to each side a result depends on.
        pixels: as many as may be in a window, though not fewer than the smallest tile has with its overlap.
        tile: the size of what is kept of a window between others; `pixels` does not count then.
    """
    if tile:
        return min(height, tile + 2 * receptive_field), min(width, tile + 2 * receptive_field)
    least = MIN_TILE + 2 * receptive_field
    high = min(height, max(math.isqrt(pixels), least))
    wide = min(width, max(pixels // high, least))
    return min(height, max(pixels // wide, least)), wide


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
