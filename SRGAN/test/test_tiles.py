"""tiles.py: windows over a height or width, and their shape."""

import random

from tiles import Window, cut, window_shape


def test_by_hand():
    assert cut(10, 10, 3) == cut(10, 99, 3) == [Window(0, 10, 0, 10)]
    # Two windows of 13 hold 20 pixels with an overlap of 2 x 3; they meet in its middle.
    assert cut(20, 15, 3) == [Window(0, 13, 0, 10), Window(7, 20, 10, 20)]
    # Of 15 pixels and no fewer, as an export may want them; one may reach beyond the image.
    assert cut(20, 15, 3, exact=True) == [Window(0, 15, 0, 10), Window(5, 20, 10, 20)]
    assert cut(9, 15, 3, exact=True) == [Window(0, 15, 0, 9)]
    assert window_shape(3000, 4000, 40, pixels=360 * 360) == (360, 360)
    assert window_shape(100, 4000, 40, pixels=360 * 360) == (100, 1296)
    assert window_shape(4000, 100, 40, pixels=360 * 360) == (1296, 100)
    assert window_shape(300, 400, 40, pixels=360 * 360) == (300, 400)
    assert window_shape(3000, 4000, 40, pixels=1) == (96, 96)  # 16 that are kept
    assert window_shape(3000, 150, 40, pixels=10**6, tile=100) == (180, 150)


def test_any_length_is_kept_once_and_far_enough_from_the_windows_ends():
    rng = random.Random(0)
    for _ in range(3000):
        field, length, exact = rng.randint(1, 50), rng.randint(1, 700), rng.random() < 0.5
        most = rng.randint(2 * field + 1, 800)
        windows = cut(length, most, field, exact)
        sizes = {window.end - window.start for window in windows}
        assert sizes == {most} if exact else len(sizes) == 1 and max(sizes) <= most
        assert windows[0].start == windows[0].first == 0 and windows[-1].last == length
        assert windows[-1].end == (max(length, most) if exact else length)
        for one, following in zip(windows, windows[1:]):
            assert one.first < one.last == following.first < following.last
            assert one.end - one.last >= field and following.first - following.start >= field
