"""Bicubic interpolation: how lr is made of an original, and the trivial answer (without TensorFlow).

It is Pillow's: antialiased as MATLAB's imresize is, which the literature uses, but what would lie beyond the border is
left out where MATLAB mirrors it, and each of the two passes rounds to whole levels.
"""

import numpy as np
from PIL import Image


def crop(image: np.ndarray, scale: int) -> np.ndarray:
    """The top left part of an image [h, w, c] whose height and width are multiples of `scale`."""
    height, width = (size // scale * scale for size in image.shape[:2])
    return image[:height, :width]


def shrink(image: np.ndarray, scale: int) -> np.ndarray:
    """A uint8 image [scale h, scale w, 3] made smaller: uint8 [h, w, 3]."""
    return resize(image, image.shape[0] // scale, image.shape[1] // scale)


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """A uint8 image [h, w, 3] made larger: uint8 [scale h, scale w, 3]."""
    return resize(image, image.shape[0] * scale, image.shape[1] * scale)


def resize(image: np.ndarray, height: int, width: int, kernel: int = Image.BICUBIC) -> np.ndarray:
    """A uint8 image [h, w, 3] as uint8 [height, width, 3], by one of Pillow's kernels, antialiased."""
    return np.asarray(Image.fromarray(image).resize((width, height), kernel))
