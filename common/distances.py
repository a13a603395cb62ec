"""How near two sets of pictures are to each other, by their features (no TensorFlow needed)."""

import numpy as np


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features (Heusel et al., 2017, equation 6).

    With C1 = A'A and C2 = B'B the trace of the root is the sum of AB's singular values, B transposed. That needs no
    root of a matrix, and stays right where there are fewer pictures than features.

    Args:
        x, y: [n, d] and [m, d], n and m at least 2.
    """
    a, b = _root(x), _root(y)
    means = np.square(x.mean(0, dtype=np.float64) - y.mean(0, dtype=np.float64)).sum()
    overlap = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(0.0, means + np.square(a).sum() + np.square(b).sum() - 2 * overlap))


def _root(x: np.ndarray) -> np.ndarray:
    """A matrix of at most d rows whose product with itself, the first one transposed, is x's covariance [d, d]."""
    x = np.asarray(x, np.float64)
    return np.linalg.qr(x - x.mean(0), mode="r") / np.sqrt(len(x) - 1)


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Binkowski et al., 2018, section 4).

    Taken over the whole sets. It may be a little under 0 where the sets are alike.

    Args:
        x, y: features [n, d] and [m, d], n and m at least 2.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def kernel(a, b):
        return (a @ b.T / x.shape[1] + 1) ** 3

    def within(a):  # the mean over pairs of two different pictures
        k = kernel(a, a)
        return (k.sum() - np.trace(k)) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())
