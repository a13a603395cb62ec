"""How near images are to their targets, one by one and as sets; and the trivial baseline (no TensorFlow needed)."""

from collections.abc import Iterable
from typing import Callable

import numpy as np
from skimage.metrics import structural_similarity

LEVELS = 16  # of each input channel: 4 bits, so that JPEG's noise around a label's colour does not matter


def l1(generated: np.ndarray, target: np.ndarray) -> float:
    """Mean absolute difference of two uint8 images [h, w, c], on the scale where white is 1."""
    return float(np.abs(generated.astype(np.float64) - target).mean() / 255)


def compare(generated: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """L1 as above; PSNR in dB, its peak white, 100 for equal images; SSIM with the Gaussian window of Wang et al.
    (2004), mean over channels.

    Args:
        generated, target: uint8 [h, w, c] of 11 x 11 at least.
    """
    error = np.square((generated.astype(np.float64) - target) / 255).mean()
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(generated, target, channel_axis=-1, data_range=255, **window)
    return {"l1": l1(generated, target), "psnr": float(-10 * np.log10(max(error, 1e-10))), "ssim": float(ssim)}


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features (Heusel et al., 2017, equation 6).

    With C1 = A'A and C2 = B'B the trace of the root is the sum of the singular values of AB', which needs no root of a
    matrix and stays right where there are fewer images than features. There it is biased upwards, so that only sets of
    equal size compare.

    Args:
        x, y: [n, d] and [m, d], n and m at least 2.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b = (np.linalg.qr(z - z.mean(0), mode="r") / np.sqrt(len(z) - 1) for z in (x, y))
    means = np.square(x.mean(0) - y.mean(0)).sum()
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(0.0, means + np.square(a).sum() + np.square(b).sum() - 2 * overlap))


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Binkowski et al., 2018, section 4).

    Taken over the whole sets. It may be a little under 0 where the sets are alike.

    Args:
        x, y: features [n, d] and [m, d], n and m at least 2.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def kernel(a, b):
        return (a @ b.T / x.shape[1] + 1) ** 3

    def within(a):  # the mean over pairs of two different images
        k = kernel(a, a)
        return (k.sum() - np.trace(k)) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def mean_colours(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> Callable[[np.ndarray], np.ndarray]:
    """A function that gives each colour of an input, uint8 [h, w, input_nc], the mean that targets have there, uint8
    [h, w, output_nc]; the overall mean where no input has that colour. It is what a network has to beat.

    Args:
        pairs: (input, target), uint8 [h, w, input_nc] and [h, w, output_nc].
    """
    sums = counts = 0
    for source, target in pairs:
        colours, size = quantise(source).ravel(), LEVELS ** source.shape[-1]
        channels = target.reshape(-1, target.shape[-1]).T
        sums = sums + np.stack([np.bincount(colours, channel, size) for channel in channels], 1)
        counts = counts + np.bincount(colours, minlength=size)
    means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], sums.sum(0) / counts.sum())
    return lambda source: np.round(means[quantise(source)]).astype(np.uint8)


def quantise(source: np.ndarray) -> np.ndarray:
    """The number of each pixel's colour, int64 [h, w]: each channel's nearest of 16 levels, as a digit."""
    levels = (source.astype(np.int64) + 8) // 17  # 0, 17, ..., 255
    return levels @ LEVELS ** np.arange(source.shape[-1])
