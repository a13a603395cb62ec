"""Bicubic resizing as Pillow and MATLAB do it, with antialiasing, in the graph: two matrix products."""

import numpy as np
import tensorflow as tf

SHARPNESS = -0.5  # Keys' a
SUPPORT = 2.0  # the kernel ends there


def bicubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel (1981, equation 4)."""
    x, a = np.abs(x), SHARPNESS
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < SUPPORT, far, 0.0))


def bicubic_matrix(n_in: int, n_out: int) -> np.ndarray:
    """Float32 [n_out, n_in] that resizes a line of n_in pixels to n_out of them.

    Where it shrinks, the kernel is stretched by the same factor, so that nothing aliases; what would stand beyond the
    border is left out and the rest scaled to a sum of 1.
    """
    shrink = max(1.0, n_in / n_out)
    centres = (np.arange(n_out) + 0.5) * n_in / n_out
    weights = bicubic((np.arange(n_in) + 0.5 - centres[:, None]) / shrink)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def downscale(pictures: tf.Tensor, scale: int) -> tf.Tensor:
    """Float32 pictures [batch, h, w, c] of known size, shrunk by a factor that divides it.

    Not rounded to whole grey levels, which Pillow does: the two differ by that rounding alone.
    """
    height, width = pictures.shape[1:3]
    rows = tf.constant(bicubic_matrix(height, height // scale))
    columns = tf.constant(bicubic_matrix(width, width // scale))
    return tf.einsum("ij,bjkc,lk->bilc", rows, pictures, columns)
