"""A trained network as it is used, from a file of weights or an exported one (which may need no TensorFlow)."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from common.cli import UserError
from common.export import Exported
from common.images import to_float, to_uint8

BATCH = 64  # images at a time


@dataclass
class Predictor:
    """A trained network and how it is used.

    Attributes:
        about: `model.describe`'s: its images' shape and its classes, how the images show ink, what black and white are
            to it, and a latent's size and range.
        classify: (uint8 images [n, height, width, channels], rows at a time) -> probabilities float32 [n, classes].
        draw: (latents float32 [n, n_z], rows at a time) -> images in the network's range. None where there is none.
        options: of the training; `session`, `generator`: the device and a function that gives the network, both None
            with an exported file.
    """

    path: str
    about: dict[str, Any]
    classify: Optional[Callable] = None
    draw: Optional[Callable] = None
    trained_on: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    session: Any = None
    generator: Optional[Callable] = None

    def __post_init__(self) -> None:
        self.image_shape, self.values = tuple(self.about["image_shape"]), tuple(self.about["values"])
        self.class_names, self.ink = list(self.about["class_names"]), self.about["ink"]
        self.latent = tuple(self.about["latent"])

    def generate(self, count: int, seed: int) -> np.ndarray:
        """`count` generated images, uint8 [count, height, width, channels]."""
        size, low, high = self.latent
        z = np.random.default_rng(seed).uniform(low, high, (count, size)).astype(np.float32)
        return to_uint8(self.draw(z, BATCH), self.values)


def in_batches(function: Callable, rows: np.ndarray, size: int) -> np.ndarray:
    """What `function` makes of `rows`, `size` at a time; the last batch is filled up, for one shape and one graph."""
    results = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        full = np.pad(batch, [(0, size - len(batch))] + [(0, 0)] * (rows.ndim - 1))
        results.append(function(full)[: len(batch)])
    return np.concatenate(results)


def open_export(path: str) -> Predictor:
    """An exported classifier or generator, with the .json that freeze.py wrote beside it."""
    model, file = Exported(path), Path(path)
    beside = file.with_name(f"{file.name.replace('_saved_model', '') if file.is_dir() else file.stem}.json")
    try:
        predictor = Predictor(str(path), json.loads(beside.read_text())["about"])
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(f"--model {path}: needs {beside.name} beside it, as freeze.py wrote it") from None
    (name, (rows, *_)), (output, *_) = *model.inputs.items(), model.outputs

    def run(x, size):
        return in_batches(lambda batch: model.run({name: batch})[output], x, rows or size)

    if name == "images":
        predictor.classify = lambda images, size=BATCH: run(to_float(images, predictor.values), size)
    else:
        predictor.draw = run
    return predictor
