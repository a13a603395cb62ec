"""metrics.py and baseline.py: answers worked out by hand and by published constants."""

import baseline
import metrics
import numpy as np
import pytest
from conftest import noise

SIZE = (40, 36, 3)


def flat(colour, size=20):
    return np.full((size, size, 3), colour, np.uint8)


def test_luma_of_known_colours():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert metrics.luma(colours).tolist() == [[16, 235, 81, 145, 41]]  # BT.601's bars
    assert metrics.full_luma(colours)[0] == pytest.approx([0, 255, 76.245, 149.685, 29.07])


def test_a_shift_of_a_constant_by_hand():
    """Grey 100 and 110: ten apart, and in luma 16 + 219 / 255 of them, rounded: 102 and 110."""
    found = metrics.compare(flat(100), flat(110), 4)
    assert list(found) == ["psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "psnr_y_full", "ssim_y_full"]
    assert found["psnr_rgb"] == found["psnr_y_full"] == pytest.approx(20 * np.log10(25.5))
    assert found["psnr_y"] == pytest.approx(20 * np.log10(255 / 8))
    c1 = (0.01 * 255) ** 2  # of SSIM, where there is luminance alone
    assert found["ssim_rgb"] == pytest.approx((2 * 100 * 110 + c1) / (100**2 + 110**2 + c1))
    assert found["ssim_y"] == pytest.approx((2 * 102 * 110 + c1) / (102**2 + 110**2 + c1))


def test_what_is_shaved_counts_for_y_alone():
    target = noise(*SIZE, seed=2)
    image = 255 - target
    image[4:-4, 4:-4] = target[4:-4, 4:-4]
    found = metrics.compare(image, target, 4)
    assert found["psnr_y"] == 100 and found["ssim_y"] == pytest.approx(1)  # as of equal images
    assert found["psnr_rgb"] < 20 and found["ssim_rgb"] < 0.95 and found["psnr_y_full"] < 20
    assert metrics.compare(image, target, 3)["psnr_y"] < 25


def test_ssim_where_one_window_fits():
    """Of 11 x 11 pixels: means, variances and covariance under a Gaussian of deviation 1.5."""
    x, y = (noise(11, 11, seed=seed).astype(float) for seed in (6, 7))
    line = np.exp(-np.square(np.arange(11) - 5) / 4.5)
    weights = np.outer(line, line).ravel() / line.sum() ** 2
    mx, my = weights @ x.ravel(), weights @ y.ravel()
    (vx, both), (_, vy) = np.cov(x.ravel(), y.ravel(), aweights=weights, ddof=0)
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mx * my + c1) / (mx**2 + my**2 + c1) * (2 * both + c2) / (vx + vy + c2)
    assert metrics.ssim(x[..., None], y[..., None]) == pytest.approx(expected)


def test_bicubic_is_antialiased():
    """Every other pixel white: grey when made smaller, where a kernel as narrow as when enlarging would alias."""
    board = (np.indices((33, 50)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, -1)
    assert baseline.crop(board, 4).shape == (32, 48, 3)
    small = baseline.shrink(baseline.crop(board, 4), 4)
    assert small.shape == (8, 12, 3) and np.abs(small[1:-1, 1:-1].astype(int) - 127.5).max() < 6
    assert (baseline.enlarge(flat(9, 3), 8) == flat(9, 24)).all()


def test_blur():
    sharp = noise(*SIZE).repeat(6, 0).repeat(6, 1)
    assert (
        metrics.blur(sharp) < metrics.blur(baseline.enlarge(baseline.shrink(sharp, 6), 6)) < metrics.blur(flat(7)) == 1
    )
