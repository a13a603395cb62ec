"""A user's image -> what a network was trained on: the same for a file that is predicted and one that is evaluated.

A set of digits shows ink of one kind on an empty ground: `ink_of` measures it, and a drawing or a photograph of one
digit is made to look like it, as MNIST was made of scans: thresholded, cropped, scaled to a box, centred by mass.
"""

from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from PIL import Image
from scipy import ndimage

from common.images import decode, on_white

WORK = 256  # pixels of the longer side while ink is looked for
CONTRAST = 24  # grey levels that ink differs from its ground by, at least
Ink = dict[str, Any]


def read_image(path: Union[str, Path]) -> Image.Image:
    """An image file, L or RGB: what is transparent on white."""
    image = decode(path)
    return on_white(image) if image.mode == "RGBA" else image


def to_input(
    image: Image.Image, image_shape: tuple[int, int, int], ink: Optional[Ink] = None, invert: Optional[bool] = None
) -> np.ndarray:
    """An image (L or RGB) of any size as uint8 of `image_shape`: nothing is cropped away but empty paper.

    Args:
        ink: how the training data shows ink (`ink_of`); None where it is of another kind.
        invert: whether light and dark change places; None finds it out, where there is ink.
    """
    height, width, channels = image_shape
    if ink is None:
        pixels = fit(image if channels == 3 else image.convert("L"), (height, width))
        return np.array(np.broadcast_to(255 - pixels if invert else pixels, image_shape))
    grey = image.convert("L")
    if grey.size == (width, height):  # of the set's own size: taken as it is
        pixels = np.atleast_3d(grey)
        invert = (np.median(_border(pixels[..., 0])) > 127) != ink["dark"] if invert is None else invert
        return 255 - pixels if invert else pixels
    return draw_like(grey, (height, width), ink, invert)[..., None]


def fit(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An image (L or RGB), all of it, scaled into (h, w); what is left over has its border's colour."""
    height, width = size
    inner = np.atleast_3d(_scaled(image, min(width / image.width, height / image.height)))
    whole = np.tile(np.median(_border(inner), 0).astype(np.uint8), (height, width, 1))
    y, x = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    whole[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
    return whole


def resize(rows: np.ndarray, size: Optional[tuple[int, int]]) -> np.ndarray:
    """uint8 [n, h, w, 1 or 3] scaled to (h, w) as `fit` does; unchanged where that is None or their size."""
    if size is None or rows.shape[1:3] == tuple(size):
        return rows
    return np.stack([fit(Image.fromarray(row[..., 0] if row.shape[2] == 1 else row), size) for row in rows])


def ink_of(rows: np.ndarray) -> Optional[Ink]:
    """How a set of images uint8 [n, h, w, c] shows ink; None where it does not: colour, or no empty ground.

    Returns: `dark`: on a light ground; `extent`: the larger side of a digit; `stroke`: how wide its lines are, both as
        fractions of the image's smaller side.
    """
    if rows.shape[3] != 1:
        return None
    rows = rows[:500, ..., 0]
    ground = np.array([np.median(_border(row)) for row in rows])
    dark = bool(np.median(ground) > 127)
    masks = [mask for mask in (rows < 128 if dark else rows > 127) if mask.any()]
    if np.mean(ground >= 224 if dark else ground <= 31) < 0.9 or len(masks) < len(rows) / 2:
        return None
    length = min(rows.shape[1:])
    extents, strokes = zip(*[(max(mask[_box(mask)].shape), _stroke(mask)) for mask in masks])
    return {"dark": dark, "extent": float(np.median(extents)) / length, "stroke": float(np.median(strokes)) / length}


def draw_like(
    grey: Image.Image, size: tuple[int, int], ink: Ink, invert: Optional[bool] = None, nearer: bool = False
) -> np.ndarray:
    """A drawing or a photograph of one digit as uint8 of `size` (h, w) that shows ink as the training data does."""
    drawn = np.full(size, 255 if ink["dark"] else 0, np.uint8)
    scale = WORK / max(grey.size)
    pixels = np.asarray(_scaled(grey, scale), np.float32)
    signal = pixels - _ground(pixels)
    low, high = np.percentile(signal, (0.2, 99.8))
    dark = -low > high if invert is None else ink["dark"] != invert
    signal = np.maximum(0, -signal if dark else signal)
    peak = np.percentile(signal, 99.8)
    if peak < CONTRAST:  # nothing is drawn here
        return drawn
    mask = _digit(signal > 0.45 * peak)
    box = _box(mask)
    mask = mask[box]
    if 8 < max(mask.shape) < 0.4 * WORK and not nearer:  # small in its frame: looked at again
        margin = 0.4 * max(mask.shape)
        starts = [max(0, round((part.start - margin) / scale)) for part in box[::-1]]
        stops = [min(round((part.stop + margin) / scale), end) for part, end in zip(box[::-1], grey.size)]
        return draw_like(grey.crop((*starts, *stops)), size, ink, dark != ink["dark"], nearer=True)
    # A thin pen is made as thick as the training data's, or nothing would be left of it at this size.
    grow = (ink["stroke"] / ink["extent"] * max(mask.shape) - _stroke(mask)) / 2
    if grow >= 1:
        mask = np.pad(mask, int(grow))
        mask = ndimage.distance_transform_edt(~mask) <= grow
    scale = ink["extent"] * min(size) / max(mask.shape)
    inner = np.asarray(_scaled(Image.fromarray(mask.astype(np.uint8) * 255), scale))[: size[0], : size[1]]
    places = []
    for length, own, middle in zip(size, inner.shape, ndimage.center_of_mass(inner.astype(np.float32))):
        start = min(max(0, round(length / 2 - 0.5 - middle)), length - own)
        places.append(slice(start, start + own))
    drawn[tuple(places)] = 255 - inner if ink["dark"] else inner
    return drawn


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    return image.resize([max(1, round(length * scale)) for length in image.size], Image.BICUBIC)


def _border(pixels: np.ndarray) -> np.ndarray:
    """The outermost pixels [n] or [n, c] of an image [h, w] or [h, w, c]."""
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    return ndimage.find_objects(mask.astype(np.int32))[0]


def _stroke(mask: np.ndarray) -> float:
    """How wide the lines of a drawing are in pixels: of a line w wide, pixels lie w / 4 + 1 / 2 from its edge."""
    mask = np.pad(mask, 1)
    return max(1.0, 4 * float(ndimage.distance_transform_edt(mask)[mask].mean()) - 2)


def _ground(pixels: np.ndarray) -> np.ndarray:
    """The paper without ink: the smooth surface (of second degree) that the border and what is like it lie on."""
    height, width = pixels.shape
    y, x = (axis.reshape(-1) for axis in np.meshgrid(*(np.linspace(-1, 1, n) for n in pixels.shape), indexing="ij"))
    terms, values = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], 1), pixels.reshape(-1).astype(np.float64)
    ring = (np.maximum(abs(x), abs(y)) > 0.8) | (min(height, width) < 8)
    surface, inside = np.full_like(values, np.median(values[ring])), ring
    for _ in range(4):
        error = abs(values - surface)
        paper = error <= 3 * np.median(error[inside]) + 8
        surface, inside = terms @ np.linalg.lstsq(terms[paper], values[paper], rcond=None)[0], paper
    return surface.reshape(pixels.shape)


def _digit(mask: np.ndarray) -> np.ndarray:
    """The parts of a mask that are a digit: no specks, and no shadows or edges of paper that leave the image."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    boxes = ndimage.find_objects(labels)
    sizes = np.array([0, *(max(part.stop - part.start for part in box) for box in boxes)])  # by label; 0: no part
    inside = sizes.copy()
    inside[_border(labels)] = 0
    if inside.max() >= 0.15 * max(mask.shape):
        sizes = inside
    return (sizes >= 0.2 * sizes.max())[labels]
