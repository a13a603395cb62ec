"""The graph's bicubic against Pillow's, and a kernel by hand."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from resize import bicubic, bicubic_matrix, downscale


def test_kernel():
    """Keys' kernel with a = -1/2: 1 at 0, 0 at whole numbers, 9/16 at a half, -1/16 at one and a half."""
    np.testing.assert_allclose(bicubic(np.array([0, 1, 2, 3, 0.5, -0.5, 1.5])), [1, 0, 0, 0, 9 / 16, 9 / 16, -1 / 16])


@pytest.mark.parametrize("n_in, n_out", [(8, 2), (12, 6), (64, 8), (4, 16), (7, 7)])
def test_matrix(n_in, n_out):
    matrix = bicubic_matrix(n_in, n_out)
    assert matrix.shape == (n_out, n_in) and matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-6)  # left and right alike


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_against_pillow(scale):
    """Pillow rounds to grey levels after each of its two passes: 1 level at most, and hardly any pixel is off by more
    than a half. (It also clips after each, hence no extreme greys here.)"""
    picture = np.random.default_rng(scale).integers(64, 192, (64, 96, 3)).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(picture).resize((96 // scale, 64 // scale), Image.BICUBIC), np.float32)
    ours = downscale(tf.constant(picture[None], tf.float32), scale).numpy()[0].clip(0, 255)
    difference = np.abs(ours - theirs)
    assert difference.max() <= 1.01 and (difference > 0.75).mean() < 0.02
    assert np.abs(ours.round() - theirs).max() <= 1
