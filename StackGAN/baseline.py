"""The answers that need no learning: training pictures whatever the caption says, and their mean (no TensorFlow)."""

import _path  # noqa: F401  (finds ../common)
import numpy as np

MEAN_OF = 2000  # training pictures at most, evenly from all


def middle(pictures: np.ndarray, side: int) -> np.ndarray:
    """The middle [n, side, side, 3] of stored pictures, of which training crops at random."""
    start = (pictures.shape[1] - side) // 2
    return np.asarray(pictures[:, start : start + side, start : start + side])


def spread(number: int, count: int) -> np.ndarray:
    """At most `number` of `count` indices, evenly over all of them, ascending."""
    number = min(number, count)
    return np.arange(number) * count // number


def shuffled(pictures: np.ndarray, number: int, side: int, seed: int = 0) -> np.ndarray:
    """A real training picture for each caption, whichever it says: no picture looks more real, and none is less true.

    Args:
        pictures: of the training set, uint8 [n, s, s, 3], maybe on disk.
    Returns:
        uint8 [number, side, side, 3].
    """
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(pictures)) for _ in range(-(-number // len(pictures)))]
    chosen = np.concatenate(rounds)[:number]
    return np.stack([middle(pictures[index : index + 1], side)[0] for index in chosen])


def mean_picture(pictures: np.ndarray, side: int) -> np.ndarray:
    """The mean training picture, uint8 [side, side, 3]."""
    total, chosen = np.zeros((side, side, 3)), spread(MEAN_OF, len(pictures))
    for index in chosen:
        total += middle(pictures[index : index + 1], side)[0]
    return np.round(total / len(chosen)).astype(np.uint8)
