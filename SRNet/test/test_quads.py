"""quads.py: known answers for what is cut out and pasted back, and that nothing else changes."""

import numpy as np
import pytest
import quads
from PIL import Image

QUAD = np.array([(12.5, 9), (88, 20.25), (80, 61), (5, 40.5)])


def noise(height, width, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels)).astype(np.uint8)


def smooth(height, width):
    y, x = np.indices((height, width))
    waves = [np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)]
    return np.stack([127.5 + 120 * wave for wave in waves], 2).astype(np.uint8)


def cut(photo, corners):
    return np.asarray(quads.cut(Image.fromarray(photo), corners))


def test_a_box_is_its_very_pixels():
    photo = noise(40, 60)
    box = quads.of_box(7, 5, 47, 36)
    np.testing.assert_array_equal(cut(photo, box), photo[5:36, 7:47])
    crop = np.full((31, 40, 3), 200, np.uint8)
    result = quads.paste(np.zeros_like(photo), crop, box)
    edge = np.zeros((40, 60))  # by hand: up to 200 in 31 / 12 pixels, by the centre's distance to the nearest edge
    y, x = np.indices((31, 40)) + 0.5
    edge[5:36, 7:47] = np.minimum(np.minimum(np.minimum(x, 40 - x), np.minimum(y, 31 - y)) * 12 / 31, 1) * 200
    assert np.abs(result - edge[..., None]).max() <= 0.501 and (result == 200).sum() > 2000


def test_corners_go_where_they_are_said_to():
    """Turned by 90 degrees: the crop's top is the photograph's right side."""
    photo = noise(40, 40)
    turned = np.array([(30, 10), (30, 30), (10, 30), (10, 10)], float)
    np.testing.assert_array_equal(cut(photo, turned), np.rot90(photo[10:30, 10:30]))
    crop = noise(20, 20)
    inner = np.rot90(quads.paste(photo, crop, turned)[10:30, 10:30])[2:-2, 2:-2]
    np.testing.assert_array_equal(inner, crop[2:-2, 2:-2])


@pytest.mark.parametrize("corners", [QUAD, quads.of_box(0, 0, 100, 70)], ids=["quad", "all"])
def test_what_is_pasted_back_is_what_was_cut_out(corners):
    """And nothing outside of it changes, which test_predict.py shows of whole photographs."""
    photo = smooth(70, 100)
    crop = cut(photo, corners)
    assert crop.shape[:2] == quads.upright_size(corners)
    assert np.abs(quads.paste(photo, crop, corners).astype(int) - photo).max() <= 3
