"""The trivial baseline: each pixel becomes the mean colour that the training targets have where the input looks so.

For label maps that is the mean colour of a window, of a wall, of the sky: what a network has to beat.
"""

from collections.abc import Iterable

import _path  # noqa: F401  (finds ../common)
import numpy as np

LEVELS = 16  # of each input channel: 4 bits, so that JPEG's noise around a label's colour does not matter


def colour_table(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The mean target colour of each input colour.

    Args:
        pairs: (input, target), uint8 [h, w, input_nc] and [h, w, output_nc], one after another.
    Returns:
        float64 [16^input_nc, output_nc]; the overall mean for colours that no input has.
    """
    sums = counts = 0
    for source, target in pairs:
        colours, size = quantise(source).ravel(), LEVELS ** source.shape[-1]
        channels = target.reshape(-1, target.shape[-1]).T
        sums = sums + np.stack([np.bincount(colours, channel, size) for channel in channels], 1)
        counts = counts + np.bincount(colours, minlength=size)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], sums.sum(0) / counts.sum())


def mean_colours(table: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The baseline's image for an input uint8 [h, w, input_nc]: uint8 [h, w, output_nc]."""
    return np.round(table[quantise(source)]).astype(np.uint8)


def quantise(source: np.ndarray) -> np.ndarray:
    """The number of each pixel's colour, int64 [h, w]: each channel's nearest of 16 levels, as a digit."""
    levels = (source.astype(np.int64) + 8) // 17  # 0, 17, ..., 255
    return levels @ LEVELS ** np.arange(source.shape[-1])
