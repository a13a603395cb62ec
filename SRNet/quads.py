"""Quadrangles in a photograph: one cut out as an upright crop, and one pasted back with a soft edge (no TensorFlow
needed).

Corners are float [4, 2], x and y in pixels from the photograph's top left corner, clockwise from the text's top left.
"""

import numpy as np
from PIL import Image
from skimage.transform import EuclideanTransform, estimate_transform, warp

from common.cli import UserError

FEATHER = 1 / 12  # width of the soft edge, in sides of the crop (the shorter one)


def of_box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)


def check(corners: np.ndarray, width: int, height: int, flag: str) -> None:
    """Refuses what cannot be cut out of a photograph.

    Raises:
        UserError: a corner is outside a photograph of that size, or the corners are of no convex quadrangle.
    """
    if not ((corners >= 0) & (corners <= (width, height))).all():
        raise UserError(f"{flag}: reaches outside the photograph, which is {width} x {height}")
    sides = np.roll(corners, -1, axis=0) - corners
    following = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]  # twice the area of three corners
    if not (turns >= 1).all():
        raise UserError(f"{flag}: give left,top,right,bottom or a convex quadrangle, clockwise from its top left")


def upright_size(corners: np.ndarray) -> tuple[int, int]:
    """Height and width of a quadrangle as an upright crop: the means of opposite sides."""
    top, right, bottom, left = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    return max(1, round((left + right) / 2)), max(1, round((top + bottom) / 2))


def cut(photo: Image.Image, corners: np.ndarray) -> Image.Image:
    """The quadrangle as an upright crop; of a box, its very pixels."""
    height, width = upright_size(corners)
    to_photo = estimate_transform("projective", of_box(0, 0, width, height), corners).params.round(9)  # 7, not 6.9...
    return photo.transform((width, height), Image.PERSPECTIVE, tuple(to_photo.ravel()[:8]), Image.BICUBIC)


def paste(photo: np.ndarray, crop: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """A photograph with a crop put into a quadrangle, its edge fading into what was there.

    Args:
        photo: uint8 [height, width, c]; what is not within the quadrangle comes back as it is.
        crop: uint8 [h, w, c], of `upright_size`.
    """
    height, width = crop.shape[:2]
    (left, top), (right, bottom) = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int)
    to_crop = estimate_transform("projective", corners - (left, top), of_box(0, 0, width, height))
    y, x = np.mgrid[: bottom - top, : right - left].astype(np.float32) + 0.5  # the pixels' middles
    with np.errstate(divide="ignore", invalid="ignore"):  # on the horizon
        u, v = to_crop(np.stack([x.ravel(), y.ravel()], 1)).T.reshape(2, *x.shape)
    edge = np.minimum(np.minimum(u, width - u), np.minimum(v, height - v))  # pixels of the crop to its nearest edge
    weight = np.clip(edge / max(1.0, FEATHER * min(height, width)), 0, 1)[..., None]
    half = EuclideanTransform(translation=(0.5, 0.5))  # warp counts pixels from their middles
    inverse = half + to_crop + half.inverse
    new = warp(crop.astype(np.float32), inverse, output_shape=x.shape, order=3, mode="edge", preserve_range=True)
    result = photo.copy()
    patch = result[top:bottom, left:right]
    patch[:] = np.rint(patch + weight * (np.clip(new, 0, 255) - patch)).astype(np.uint8)
    return result
