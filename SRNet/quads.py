"""Quadrangles in a photograph: one cut out as an upright crop, and one pasted back with a soft edge (no TensorFlow
needed).

Corners are float [4, 2], x and y in pixels from the photograph's top left corner, clockwise from the text's top left.
"""

import _path  # noqa: F401  (finds ../common)
import numpy as np
from PIL import Image
from scipy import ndimage

from common.cli import UserError

FEATHER = 1 / 12  # width of the soft edge, in sides of the crop (the shorter one)
BAND = 256  # rows that are pasted at a time, so that memory has a bound


def of_box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


def check(corners: np.ndarray, width: int, height: int, flag: str) -> None:
    """Raises:
    UserError: a corner is outside a photograph of that size, or the corners are of nothing that can be cut out.
    """
    if not ((corners >= 0) & (corners <= (width, height))).all():
        raise UserError(f"{flag}: reaches outside the photograph, which is {width} x {height}")
    sides = np.roll(corners, -1, axis=0) - corners
    following = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]  # twice the area of three corners
    if (turns <= -1).all():
        raise UserError(f"{flag}: goes round anticlockwise; give the corners clockwise from the text's top left")
    if not (turns >= 1).all():
        raise UserError(
            f"{flag}: crosses itself, is dented or flat; give four corners clockwise from the text's top left"
        )


def upright_size(corners: np.ndarray) -> tuple[int, int]:
    """Height and width of a quadrangle as an upright crop: the means of opposite sides."""
    top, right, bottom, left = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    return max(1, round((left + right) / 2)), max(1, round((top + bottom) / 2))


def homography(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """The 3 x 3 matrix that takes points of an upright crop to points of the quadrangle."""
    crop = of_box(0, 0, width, height)
    rows, values = [], []
    for (x, y), (to_x, to_y) in zip(crop, corners):
        rows += [(x, y, 1, 0, 0, 0, -x * to_x, -y * to_x), (0, 0, 0, x, y, 1, -x * to_y, -y * to_y)]
        values += [to_x, to_y]
    return np.append(np.linalg.solve(rows, values), 1).reshape(3, 3)


def cut(photo: Image.Image, corners: np.ndarray) -> Image.Image:
    """The quadrangle as an upright crop; of a box, its very pixels."""
    height, width = upright_size(corners)
    coefficients = homography(corners, height, width).ravel()[:8]
    return photo.transform((width, height), Image.PERSPECTIVE, tuple(coefficients), Image.BICUBIC)


def paste(photo: np.ndarray, crop: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """A photograph with a crop put into a quadrangle, its edge fading into what was there.

    Args:
        photo: uint8 [height, width, c]; what is not within the quadrangle comes back as it is.
        crop: uint8 [h, w, c], of `upright_size`.
    """
    height, width = crop.shape[:2]
    to_crop = np.linalg.inv(homography(corners, height, width))
    (left, top), (right, bottom) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    feather = max(1.0, FEATHER * min(height, width))
    planes = [ndimage.spline_filter(crop[..., c].astype(np.float32), output=np.float32) for c in range(crop.shape[2])]
    result = photo.copy()
    for first in range(top, bottom, BAND):
        patch = result[first : min(first + BAND, bottom), left:right]
        y, x = np.mgrid[first : first + len(patch), left:right] + 0.5  # the pixels' centres
        with np.errstate(divide="ignore", invalid="ignore"):  # on the horizon
            u, v, depth = (row[0] * x + row[1] * y + row[2] for row in to_crop)
            u, v = u / depth, v / depth
            weight = np.minimum(np.minimum(u, width - u), np.minimum(v, height - v)) / feather
        within = weight > 0
        weight = np.minimum(weight[within], 1)
        points = v[within] - 0.5, u[within] - 0.5
        for channel, plane in enumerate(planes):
            drawn = np.clip(ndimage.map_coordinates(plane, points, order=3, mode="mirror", prefilter=False), 0, 255)
            there = patch[within, channel]
            patch[within, channel] = np.rint(there + weight * (drawn - there)).astype(np.uint8)
    return result
