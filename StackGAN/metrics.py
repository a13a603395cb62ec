"""How good generated images are, how well they show what their captions say, and the answers that need no learning
(no TensorFlow needed).

The share of images of the right colour is of the sample set, whose captions name what was drawn.
"""

import re
from collections.abc import Sequence
from typing import Callable, Optional

import numpy as np
import sample_data
from data import Split, resized, spread
from scipy.special import rel_entr
from skimage.color import rgb2lab

SPLITS = 10  # of the inception score
CANDIDATES = 100  # captions that an image's own one is found among
COLOUR_SIZE = 64  # at which colours are looked for, whatever an image's own size
LIGHTNESS = 0.5  # its weight beside hue and chroma in CIELAB: pale and blurred birds keep their colour
CELLS = 4  # of the grid whose mean colours are an image's simple features, each way
MEAN_OF = 2000  # training images at most, evenly from all
WORDS = ("red", "orange", "yellow", "green", "blue", "brown", "black", "white", "grey")
FEWEST = 5  # captions with a word, and without it, for it to count
# The histogram's bins in CIELAB: of lightness, of green to red and of blue to yellow.
BINS = np.array([[x, a, b] for x in (15, 40, 65, 90) for a in (-20, 0, 20, 45) for b in (-30, 0, 25, 50)], np.float64)
RIDGE = 0.01


def inception_score(probabilities: np.ndarray, splits: int = SPLITS, seed: int = 0) -> tuple[float, float]:
    """exp E KL(p(y | x) || p(y)) (Salimans et al., 2016, section 4) of each split, as the paper takes it.

    The images are shuffled first, since those of a class often stand together.

    Args:
        probabilities: p(y | x) of each image by a classifier, [n, classes], n at least `splits`.
    Returns:
        Mean and standard deviation over the splits. The mean is between 1 and the number of classes.
    """
    p = np.asarray(probabilities, np.float64)[np.random.default_rng(seed).permutation(len(probabilities))]
    scores = []
    for number in range(splits):
        part = p[number * len(p) // splits : (number + 1) * len(p) // splits]
        scores.append(np.exp(rel_entr(part, part.mean(0)).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def r_precision(images: np.ndarray, captions: np.ndarray, classes: np.ndarray) -> float:
    """The share of images whose own caption is nearest to them among 100 (Xu et al., 2018, section 4.1).

    Args:
        images, captions: in the joint embedding, [n, d] each, those of a row belonging together.
        classes: [n]; the other captions are drawn from other classes, since one of the same class may well fit too.
    Returns:
        0 to 1. A caption as near as the own one counts as nearer. Without any other caption it is 1.
    """
    rng, found = np.random.default_rng(0), 0
    units = (np.asarray(x, np.float64) for x in (images, captions))
    x, y = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in units)
    similarity = x @ y.T
    for number, row in enumerate(similarity):
        chosen = rng.permutation(np.flatnonzero(classes != classes[number]))[: CANDIDATES - 1]
        found += bool((row[chosen] < row[number]).all())
    return found / len(similarity)


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features (Heusel et al., 2017, equation 6).

    With C1 = A'A and C2 = B'B the trace of the root is the sum of AB's singular values, B transposed. That needs no
    root of a matrix, and stays right where there are fewer images than features.

    Args:
        x, y: [n, d] and [m, d], n and m at least 2.
    """

    def root(x):
        x = np.asarray(x, np.float64)
        return np.linalg.qr(x - x.mean(0), mode="r") / np.sqrt(len(x) - 1)

    a, b = root(x), root(y)
    means = np.square(x.mean(0, dtype=np.float64) - y.mean(0, dtype=np.float64)).sum()
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(0.0, means + np.square(a).sum() + np.square(b).sum() - 2 * overlap))


def pooled_colours(images: np.ndarray) -> np.ndarray:
    """Simple features that need no network: the mean colour of each of 4 x 4 cells.

    Args:
        images: uint8 [n, s, s, 3], s a multiple of 4.
    Returns:
        float64 [n, 48], on the scale where white is 1.
    """
    n, size, _, channels = images.shape
    cells = images.reshape(n, CELLS, size // CELLS, CELLS, size // CELLS, channels)
    return cells.mean((2, 4), dtype=np.float64).reshape(n, -1) / 255


def body_colours(images: np.ndarray) -> np.ndarray:
    """The colour of each bird's body, of the sample set or generated: a number in `sample_data.COLOURS`.

    Each pixel is of the colour that is nearest in CIELAB, a bird's or one of what is behind it; the body's is the
    bird's colour that most pixels have. Of real images of the set more than 99 % are told rightly.

    Args:
        images: uint8 [n, s, s, 3].
    Returns:
        int64 [n].
    """
    birds = list(sample_data.COLOURS.values())
    known = _lab([*birds, *sample_data.PLACES.values(), sample_data.BRANCH])
    nearest = [np.square(_lab(resized(x, COLOUR_SIZE))[..., None, :] - known).sum(3).argmin(2) for x in images]
    return np.array([np.bincount(x.ravel(), minlength=len(known))[: len(birds)].argmax() for x in nearest], np.int64)


def colour_histogram(images: np.ndarray) -> np.ndarray:
    """The shares of 64 colours in the middle of images, where the bird is.

    Args:
        images: uint8 [n, s, s, 3].
    Returns:
        float64 [n, 64], their roots.
    """
    shares = []
    for image in images:
        middle = resized(image, COLOUR_SIZE)[8:-8:2, 8:-8:2].reshape(-1, 3)
        near = np.exp(-np.square(rgb2lab(middle / 255.0)[:, None] - BINS).sum(2) / 200) + 1e-12
        shares.append((near / near.sum(1, keepdims=True)).mean(0))
    return np.sqrt(shares)


def named_colours(captions: Sequence[str]) -> np.ndarray:
    """Which of `WORDS` each caption has, bool [n, words]."""
    texts = [set(re.findall("[a-z]+", caption.lower().replace("gray", "grey"))) for caption in captions]
    return np.array([[word in text for word in WORDS] for text in texts])


def colour_probe(split: Split) -> Callable[[np.ndarray], np.ndarray]:
    """What tells by an image's colours how many of its captions name each of `WORDS`: ridge regression on training
    images. It gives scores [n, words] of images."""
    rows = spread(MEAN_OF, len(split))
    named = np.stack([named_colours(split.captions[row]).mean(0) for row in rows])
    histograms = colour_histogram(split.crops(COLOUR_SIZE, rows))
    mean, std = histograms.mean(0), histograms.std(0) + 1e-6

    def inputs(x):
        return np.concatenate([(x - mean) / std, np.ones([len(x), 1])], 1)

    x = inputs(histograms)
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ named)
    return lambda images: inputs(colour_histogram(images)) @ weights


def colour_auc(scores: np.ndarray, named: np.ndarray) -> Optional[float]:
    """The chance that of two images the one whose caption names a colour has the higher score, mean over colours.

    Args:
        scores: float [n, words] by a `colour_probe`; named: bool, likewise.
    Returns:
        0 to 1, 0.5 by chance; None where no colour is named by at least 5 captions and not named by as many.
    """
    areas = []
    for score, has in zip(scores.T, named.T):
        if FEWEST <= has.sum() <= len(has) - FEWEST:
            higher = np.sign(score[has][:, None] - score[~has])  # a tie is half a success
            areas.append((higher.mean() + 1) / 2)
    return float(np.mean(areas)) if areas else None


def _lab(colours: np.ndarray) -> np.ndarray:
    """Colours 0..255 [..., 3] in CIELAB, lightness by its weight."""
    return rgb2lab(np.asarray(colours, np.float64) / 255) * [LIGHTNESS, 1, 1]


def shuffled(split: Split, number: int, size: int, seed: int = 0) -> np.ndarray:
    """A real training image for each caption, whichever it says: no image looks more real, and none is less true.

    Returns: uint8 [number, size, size, 3].
    """
    rng = np.random.default_rng(seed)
    rounds = [rng.permutation(len(split)) for _ in range(-(-number // len(split)))]
    return split.crops(size, np.concatenate(rounds)[:number])


def mean_image(split: Split, size: int) -> np.ndarray:
    """The mean training image, uint8 [size, size, 3]."""
    chosen = spread(MEAN_OF, len(split))
    total = sum(split.crops(size, [index])[0].astype(np.float64) for index in chosen)
    return np.round(total / len(chosen)).astype(np.uint8)
