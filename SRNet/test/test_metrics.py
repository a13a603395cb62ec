"""metrics.py: answers worked out by hand."""

import metrics
import numpy as np
import pytest


def flat(level, side=16, channels=3):
    return np.full((side, side, channels), level, np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_two_greys_by_hand(channels):
    """200 and 149: a fifth of white apart, and of SSIM there is luminance alone."""
    a, b, c1 = 200, 149, (0.01 * 255) ** 2
    expected = {"mse": 0.04, "psnr": 20 * np.log10(5), "ssim": (2 * a * b + c1) / (a * a + b * b + c1)}
    for pair in ((a, b), (b, a)):
        assert metrics.compare(*(flat(level, channels=channels) for level in pair)) == pytest.approx(expected)
    equal = {"mse": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0)}
    assert metrics.compare(flat(a, channels=channels), flat(a, channels=channels)) == equal


def test_dice_by_hand():
    x, y = (np.zeros((16, 16, 1), np.uint8) for _ in range(2))
    assert metrics.dice(x, y) == 1
    x[3, 0:8], y[3, 2:10] = 255, 255  # 8 pixels each, 6 of them in both
    assert metrics.dice(x, y) == metrics.dice(y, x) == pytest.approx(0.75)
    assert metrics.dice(x, x) == 1 and metrics.dice(x, np.zeros_like(x)) == 0
    assert metrics.dice(x // 5, y) == pytest.approx(2 * 6 * 0.2 / (8 * 0.2 + 8))  # a fifth of white counts a fifth
    assert metrics.compare(x // 2, y, skeletons=True)["dice_thresholded"] == 0  # under half of white is black
    assert metrics.compare(x, y, skeletons=True)["dice_thresholded"] == pytest.approx(0.75)


def test_inpainting_continues_a_slope():
    """A slope is biharmonic, so nothing of it is lost; a difference that is no text stays as it is."""
    slope = (np.arange(40) * 5 + 20 + np.zeros((24, 1)))[..., None].repeat(3, -1).astype(np.uint8)
    written = slope.copy()
    written[8:16, 10:13], written[12:14, 20:30] = 250, (0, 0, 99)
    written[20, 30, 1] += metrics.DIFFERENT - 1
    filled = metrics.inpainted(written, slope).astype(int)
    assert np.abs(filled - slope)[:18].max() <= 1 and (filled[20] == written[20]).all()
    assert (metrics.inpainted(slope, slope) == slope).all()
    assert (metrics.inpainted(slope, slope ^ 64) == slope).all()  # all of it is text


def test_the_skeleton_of_a_standard_image():
    i_t = flat(127, 24)
    i_t[10:15, 4:20] = 0
    bar = metrics.skeleton(i_t)
    assert bar.shape == (24, 24, 1) and bar.dtype == np.uint8 and set(np.unique(bar)) == {0, 255}
    assert (bar[11:14, 7:17] == 255).all() and not bar[[10, 14], 9:15].any()  # around the middle of five rows
