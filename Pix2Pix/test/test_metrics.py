"""metrics.py: known answers by hand and by scikit-image."""

import metrics
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio


def random_picture(seed, shape=(24, 20, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_pictures_of_one_colour_each():
    grey, darker = np.full((16, 16, 1), 200, np.uint8), np.full((16, 16, 1), 149, np.uint8)  # a fifth of white apart
    assert metrics.l1(grey, darker) == metrics.l1(darker, grey) == pytest.approx(0.2)
    assert metrics.psnr(grey, darker) == pytest.approx(20 * np.log10(5))
    a, b, c1 = 200, 149, (0.01 * 255) ** 2
    assert metrics.ssim(grey, darker) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1))  # luminance alone
    assert metrics.compare(grey, grey) == {"l1": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0)}


def test_psnr_and_l1_of_noise():
    x, y = random_picture(0), random_picture(1)
    assert metrics.psnr(x, y) == pytest.approx(peak_signal_noise_ratio(x, y))
    assert metrics.l1(x, y) == pytest.approx(np.abs(x / 255 - y / 255).mean())


def test_ssim_by_its_definition():
    """At one pixel: a Gaussian window of 11 x 11 with sigma 1.5, by hand."""
    x, y = random_picture(2, (11, 11, 1)), random_picture(3, (11, 11, 1))
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    a, b = x[..., 0] / 1.0, y[..., 0] / 1.0
    ma, mb = (window * a).sum(), (window * b).sum()
    va, vb, vab = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2, (window * a * b).sum() - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert metrics.ssim(x, y) == pytest.approx(expected)  # its border, five pixels wide, is left out
