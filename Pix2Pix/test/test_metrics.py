"""metrics.py: known answers by hand, by scikit-image, by SciPy and by a plain double loop."""

import metrics
import numpy as np
import pytest
from metrics import frechet_distance, kernel_distance
from scipy import linalg
from skimage.metrics import peak_signal_noise_ratio


def test_compare():
    """SSIM's window is a Gaussian of 11 x 11 with sigma 1.5: of an image of that size it is the one by hand."""
    x, y = np.random.default_rng(0).integers(0, 256, (2, 11, 11, 1)).astype(np.uint8)
    found = metrics.compare(x, y)
    assert found["l1"] == metrics.l1(y, x) == pytest.approx(np.abs(x / 255 - y / 255).mean())
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(x, y))
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    a, b = x[..., 0] / 1.0, y[..., 0] / 1.0
    ma, mb = (window * a).sum(), (window * b).sum()
    va, vb, vab = (window * a * a).sum() - ma**2, (window * b * b).sum() - mb**2, (window * a * b).sum() - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert found["ssim"] == pytest.approx(expected)
    assert metrics.compare(x, x) == {"l1": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0)}


def test_frechet_distance_by_scipys_root_of_a_matrix():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 8)), rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8)) + 1
    c1, c2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(c1 + c2 - 2 * linalg.sqrtm(c1 @ c2).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_fewer_images_than_features():
    """Turned into 40 dimensions, five images of three features are as far from each other as before."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(40, 40)))[0][:3]
    x, y = rng.normal(size=(5, 3)), 2 * rng.normal(size=(6, 3)) + 3
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    wide = rng.normal(size=(5, 40)).astype(np.float32)
    assert frechet_distance(wide, wide) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_by_a_double_loop():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(7, 4)) + 0.5

    def kernel(a, b):
        return (sum(a * b) / 4 + 1) ** 3

    within_x = sum(kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / (5 * 4)
    within_y = sum(kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / (7 * 6)
    across = sum(kernel(a, b) for a in x for b in y) / (5 * 7)
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * across)


def test_mean_colours():
    """Of a colour its mean target, of colours within JPEG's noise as well, and the overall mean of one never seen."""
    source = np.array([[[0, 0, 170], [0, 0, 170], [8, 3, 175], [255, 255, 255]]], np.uint8)  # the third is the first
    target = np.array([[[10, 0, 0], [20, 0, 0], [60, 3, 0], [90, 201, 80]]], np.uint8)
    answer = metrics.mean_colours([(source[:, :2], target[:, :2]), (source[:, 2:], target[:, 2:])])
    seen = np.array([[[1, 0, 165], [250, 255, 255], [128, 128, 128]]], np.uint8)
    assert answer(seen).tolist() == [[[30, 1, 0], [90, 201, 80], [45, 51, 20]]]
    grey, colours = np.array([[[0], [255]]], np.uint8), np.array([[[7, 7, 7, 9], [1, 2, 3, 4]]], np.uint8)
    assert metrics.mean_colours([(grey, colours)])(grey[:, ::-1]).tolist() == [[[1, 2, 3, 4], [7, 7, 7, 9]]]
