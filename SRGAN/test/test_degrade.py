"""degrade.py: each kind of damage by what it has to do, and the chain as a function of its key."""

import baseline
import degrade
import metrics
import numpy as np
import pytest
from conftest import noise
from skimage.data import coffee


def flat(level, size=64):
    return np.full((size, size, 3), level, np.uint8)


def test_kernels():
    """Sums of 1; as wide as sigma says along each axis; turned by the angle."""
    y, x = np.indices((degrade.KERNEL, degrade.KERNEL)) - degrade.KERNEL // 2
    kernel = degrade.gaussian_kernel(2.0, 1.0)
    assert kernel.sum() == pytest.approx(1)
    assert np.sqrt((kernel * x**2).sum()) == pytest.approx(2, rel=0.02)
    assert np.sqrt((kernel * y**2).sum()) == pytest.approx(1, rel=0.02)
    np.testing.assert_allclose(degrade.gaussian_kernel(2.0, 1.0, np.pi / 2), kernel.T, atol=1e-6)


def test_blur():
    """A dot becomes the kernel, one colour stays as it is, at the border too."""
    dot = np.zeros((31, 31, 1), np.uint8)
    dot[15, 15] = 255
    kernel = degrade.gaussian_kernel(2.0, 1.0, 0.5)
    np.testing.assert_allclose(degrade.blur(dot, kernel)[8:23, 8:23, 0], 255 * kernel, atol=0.51)
    np.testing.assert_array_equal(degrade.blur(flat(77), kernel), flat(77))


@pytest.mark.parametrize("grey", [False, True])
def test_noise(grey):
    """Of the deviation asked for."""
    image = degrade.noise(flat(128), 10.0, grey, np.random.default_rng(0))
    assert image.std() == pytest.approx(10, rel=0.05) and image.mean() == pytest.approx(128, abs=0.5)
    assert (image == image[..., :1]).all() == grey


def test_the_chain_is_a_function_of_its_key():
    """Of images of any size."""
    for height, width, scale in ((8, 8, 8), (2, 6, 2), (400, 4, 4), (96, 128, 4)):
        keys = [[seed, number] for number in range(5) for seed in (1, 1, 2)]
        results = [degrade.degrade(noise(height, width, 3), scale, np.random.default_rng(key)) for key in keys]
        assert {(x.shape, x.dtype.name) for x in results} == {((height // scale, width // scale, 3), "uint8")}
        np.testing.assert_array_equal(results[::3], results[1::3])
    assert (results[0] != results[2]).any()


def test_it_is_worse_than_shrinking_and_still_the_same_image():
    hr = coffee()[:96, :96]
    lr = baseline.shrink(hr, 4)
    results = [degrade.degrade(hr, 4, np.random.default_rng([0, number])) for number in range(60)]
    assert 1 <= sum((x == lr).all() for x in results) <= 15  # of 60, where a tenth is only shrunk
    lost = [metrics.psnr(x.astype(float), lr.astype(float)) for x in results]
    assert 18 < np.median(lost) < 35 and min(lost) > 12
