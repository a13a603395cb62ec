"""The trivial answer, bicubic interpolation, and how the literature makes the small picture (without TensorFlow)."""

import numpy as np
from PIL import Image


def crop(picture: np.ndarray, scale: int) -> np.ndarray:
    """The top left part of a picture [h, w, c] whose sides are multiples of `scale`."""
    height, width = (side // scale * scale for side in picture.shape[:2])
    return picture[:height, :width]


def shrink(picture: np.ndarray, scale: int) -> np.ndarray:
    """A uint8 picture [scale h, scale w, 3] made smaller: uint8 [h, w, 3]; antialiased bicubic, as in MATLAB."""
    return _resize(picture, picture.shape[0] // scale, picture.shape[1] // scale)


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """A uint8 picture [h, w, 3] made larger by bicubic interpolation: uint8 [scale h, scale w, 3]."""
    return _resize(picture, picture.shape[0] * scale, picture.shape[1] * scale)


def _resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.BICUBIC))
