"""Words in images, found and read by PaddleOCR's networks as the package rapidocr-onnxruntime carries them.

Only its files are used, by onnxruntime: neither OpenCV nor the package's other requirements are needed. (No TensorFlow
either.)
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import quads
from PIL import Image
from scipy.ndimage import binary_dilation
from scipy.spatial import ConvexHull
from skimage.measure import label, regionprops

from common.cli import UserError

PACKAGE = "rapidocr_onnxruntime"
HOW_TO_GET_IT = "pip install --no-deps rapidocr-onnxruntime==1.4.4"
READ_HEIGHT, READ_WIDTH = 48, 320  # that the recognition network was trained at; longer words are wider
FOUND_SIDE = 736, 2000  # pixels of a photograph's shorter side at least, and of its longer one at most
TEXT, SURE = 0.3, 0.5  # probabilities: of a pixel, and of a word on the mean
GROWN = 1.6  # the detector marks the middle of a word; its box is larger by area / perimeter times this
LEAST = 3  # pixels of the detector's map that a word is high


def installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


class Reader:
    """Finds and reads words.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or importlib.util.find_spec("onnxruntime") is None:
            raise UserError(f"what finds and reads words is not installed: {HOW_TO_GET_IT}; pip install onnxruntime")
        import onnxruntime

        options, run_by = onnxruntime.SessionOptions(), ["CPUExecutionProvider"]
        options.log_severity_level = 3
        files = [Path(spec.origin).parent / "models" / f"ch_PP-OCRv4_{kind}_infer.onnx" for kind in ("det", "rec")]
        self._finder, self._reader = (onnxruntime.InferenceSession(str(file), options, run_by) for file in files)
        characters = self._reader.get_modelmeta().custom_metadata_map["character"]
        self._characters = ["", *characters.splitlines(), " "]  # the first one is the gap between two

    def _run(self, session: Any, image: Image.Image, width: int = 0) -> np.ndarray:
        """A network's output for an image, which is padded on the right to a width."""
        x = np.asarray(image, np.float32)[..., ::-1].transpose(2, 0, 1) / 127.5 - 1
        x = np.pad(x, [(0, 0), (0, 0), (0, max(0, width - x.shape[2]))])
        return session.run(None, {session.get_inputs()[0].name: x[None]})[0][0]

    def read(self, image: np.ndarray) -> str:
        """The text in a crop of one line, uint8 [h, w, 3]; "" where there is none."""
        height, width = image.shape[:2]
        size = (max(8, min(16 * READ_WIDTH, round(READ_HEIGHT * width / height))), READ_HEIGHT)
        places = self._run(self._reader, Image.fromarray(image).resize(size, Image.BICUBIC), READ_WIDTH).argmax(1)
        kept = [place for place, before in zip(places, [0, *places]) if place and place != before]
        return "".join(self._characters[place] for place in kept)

    def find(self, photo: Image.Image) -> list[tuple[np.ndarray, str]]:
        """The words in a photograph, or lines of them, from top to bottom: (corners as quads.py has them, text)."""
        photo, (least, most) = photo.convert("RGB"), FOUND_SIDE
        scale = min(max(1.0, least / min(photo.size)), most / max(photo.size))
        size = [max(32, round(side * scale / 32) * 32) for side in photo.size]
        probability = self._run(self._finder, photo.resize(size, Image.BICUBIC))[0]
        marked = binary_dilation(probability > TEXT, np.ones((2, 2), bool))
        words = []
        for region in regionprops(label(marked, connectivity=1)):
            if min(region.image.shape) < LEAST or probability[tuple(region.coords.T)].mean() < SURE:
                continue
            corners = np.clip(rectangle(region.coords[:, ::-1]) / size * photo.size, 0, photo.size)
            text = self.read(np.asarray(quads.cut(photo, corners))).strip()
            if text:
                words.append((corners, text))
        return sorted(words, key=lambda word: word[0][0, 1])


def rectangle(points: np.ndarray) -> np.ndarray:
    """The smallest rectangle round points [n, 2] in any direction, grown by `GROWN`: its corners [4, 2], clockwise from
    the top left of what reads from left to right."""
    hull, boxes = points[ConvexHull(points).vertices].astype(float), []
    for x, y in np.roll(hull, -1, 0) - hull:
        angle = (np.arctan2(y, x) + np.pi / 4) % (np.pi / 2) - np.pi / 4  # the side that goes to the right
        axes = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        along = hull @ axes.T
        boxes.append((axes, along.min(0), along.max(0) + 1))
    axes, low, high = min(boxes, key=lambda box: np.prod(box[2] - box[1]))
    width, height = high - low
    grown = GROWN * width * height / (2 * (width + height))
    return quads.of_box(*(low - grown), *(high + grown)) @ axes


def agreement(read: str, wanted: str) -> dict[str, float]:
    """{"word_accuracy": 1 where the two are the same, else 0, "ned": 1 less their edit distance over the longer one's
    length}, of letters and digits in any case."""
    a, b = ("".join(filter(str.isalnum, text)).casefold() for text in (read, wanted))
    row = list(range(len(b) + 1))
    for i, sign in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (sign != other))
    return {"word_accuracy": float(a == b), "ned": 1 - row[-1] / max(len(a), len(b), 1)}
