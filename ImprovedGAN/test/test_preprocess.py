"""A user's image made like the training data: drawn or photographed, dark or light, of any size and kind of file."""

import numpy as np
import preprocess
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

MNIST = {"dark": False, "extent": 20 / 28, "stroke": 0.095}
SHAPE = (28, 28, 1)
SEVEN = [(110, 80), (190, 80), (135, 220)]
FIVE = [(185, 80), (115, 80), (112, 140), (175, 140), (190, 180), (160, 220), (110, 210)]


def drawing(points, width=18, size=(300, 300), dark=True):
    """A digit as a line on white paper, or in chalk on black."""
    image = Image.new("L", size, 255 if dark else 0)
    ImageDraw.Draw(image).line(points, fill=0 if dark else 255, width=width, joint="curve")
    return image


def photograph(image, seed=0):
    """A drawing as a camera sees it: uneven light, a shadow at the edge, noise, blur, turned a little, in colour."""
    rng = np.random.default_rng(seed)
    paper = np.asarray(image.rotate(4, fillcolor=255, resample=Image.BICUBIC), np.float32) / 255
    y, x = np.mgrid[: paper.shape[0], : paper.shape[1]] / max(paper.shape)
    light = 190 - 60 * x - 20 * y - 40 * (x - 0.5) ** 2
    light[:, :12] *= 0.4
    grey = light * (0.25 + 0.75 * paper) + rng.normal(0, 5, paper.shape)
    colour = np.clip(grey[..., None] * [1.0, 0.95, 0.85], 0, 255).astype(np.uint8)
    return Image.fromarray(colour).filter(ImageFilter.GaussianBlur(1))


def alike(one, other):
    """The correlation of two drawings, a little out of focus."""
    one, other = (ndimage.gaussian_filter(x[..., 0].astype(np.float32), 1).ravel() for x in (one, other))
    return np.corrcoef(one, other)[0, 1]


def test_a_drawing_is_made_as_mnist_was():
    """Light on black, in a box of 20 x 20, its mass at the centre, lines as thick as the training data's."""
    digit = preprocess.to_input(drawing(SEVEN), SHAPE, MNIST)
    assert digit.shape == SHAPE and digit.dtype == np.uint8 and digit.max() == 255
    assert digit[0].max() == 0 and digit[:, 0].max() == 0
    y, x = (np.average(axis, weights=digit[..., 0]) for axis in np.mgrid[:28, :28])
    assert abs(y - 13.5) < 1 and abs(x - 13.5) < 1
    rows = np.flatnonzero(digit[..., 0].max(1) > 127)
    assert 19 <= rows[-1] - rows[0] + 1 <= 21


@pytest.mark.parametrize("points", [SEVEN, FIVE], ids=["seven", "five"])
def test_however_it_is_drawn_it_looks_the_same(points):
    """Dark or light, large or small in its frame, a thin pen, a photograph, or cut out tightly."""
    plain = preprocess.to_input(drawing(points), SHAPE, MNIST)
    small = [(x / 2 + 200, y / 2 + 100) for x, y in points]
    others = {
        "light on dark": drawing(points, dark=False),
        "small in its frame": drawing(small, width=9, size=(600, 400)),
        "a thin pen": drawing(points, width=5),
        "a photograph": photograph(drawing(points)),
        "a photograph of a thin pen": photograph(drawing(points, width=6), seed=1),
        "cut out": drawing(points).crop((100, 70, 200, 230)),
    }
    for name, image in others.items():
        assert alike(plain, preprocess.to_input(image, SHAPE, MNIST)) > 0.85, name


def test_an_image_of_the_sets_own_size_is_taken_as_it_is():
    digit = Image.fromarray(preprocess.to_input(drawing(FIVE), SHAPE, MNIST)[..., 0]).rotate(90)
    np.testing.assert_array_equal(preprocess.to_input(digit, SHAPE, MNIST)[..., 0], digit)
    dark = Image.fromarray(255 - np.asarray(digit))
    np.testing.assert_array_equal(preprocess.to_input(dark, SHAPE, MNIST)[..., 0], digit)
    np.testing.assert_array_equal(preprocess.to_input(dark, SHAPE, MNIST, invert=False)[..., 0], dark)
    np.testing.assert_array_equal(preprocess.to_input(digit, SHAPE, {**MNIST, "dark": True})[..., 0], dark)


def test_ink_of():
    digits = np.stack(
        [preprocess.to_input(drawing(points, width), SHAPE, MNIST) for points in (SEVEN, FIVE) for width in (18, 21)]
    )
    found = preprocess.ink_of(digits)
    assert not found["dark"] and found["extent"] == pytest.approx(20 / 28, abs=0.04)
    assert found["stroke"] == pytest.approx(2.6 / 28, rel=0.3)
    assert preprocess.ink_of(255 - digits) == {**found, "dark": True}
    assert preprocess.ink_of(np.repeat(digits, 3, 3)) is None  # colour
    assert preprocess.ink_of(np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1)).astype(np.uint8)) is None
    assert preprocess.ink_of(np.zeros((9, 8, 8, 1), np.uint8)) is None


def test_other_images_are_padded_not_cropped():
    wide = Image.new("RGB", (60, 20), (10, 20, 30))
    wide.paste((200, 0, 0), (20, 5, 40, 15))
    fitted = preprocess.to_input(wide, (32, 32, 3))
    assert fitted.shape == (32, 32, 3) and (fitted[:9] == (10, 20, 30)).all() and fitted[16, 16].tolist() == [200, 0, 0]
    assert preprocess.to_input(wide, (32, 32, 1)).shape == (32, 32, 1)
    assert (preprocess.to_input(Image.new("L", (9, 3), 7), (8, 8, 3), invert=True) == 248).all()


@pytest.mark.parametrize("size", [(1, 1), (900, 2), (300, 200)], ids=str)
def test_images_of_nothing(size):
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1]).astype(np.uint8)
    for image in (Image.fromarray(pixels), Image.new("RGB", size)):
        for shape, ink in ((SHAPE, MNIST), (SHAPE, None), ((8, 8, 3), None)):
            assert preprocess.to_input(image, shape, ink).shape == shape
