"""readback.py: label maps as classes, what is read in photographs that tell their labels, and the scores by hand."""

import numpy as np
import pytest
import readback
from data import FACADE_LABELS

from common.cli import UserError

WINDOW, DOOR = (list(FACADE_LABELS).index(name) for name in ("window", "door"))


def pair(seed):
    """A wall with a window and a door somewhere, noisy as JPEG is, and a photograph that tells each class."""
    rng, n = np.random.default_rng(seed), readback.SIZE
    classes = np.ones((n, n), int)
    for label in (WINDOW, DOOR):
        top, left = rng.integers(0, n // 2, 2)
        classes[top : top + 2 * n // 5, left : left + n // 3] = label
    looks = np.zeros((12, 3)) + [200, 190, 170]
    looks[WINDOW], looks[DOOR] = (40, 50, 60), (150, 40, 30)
    noisy = (readback.COLOURS[classes] + rng.integers(-6, 7, (n, n, 3)), looks[classes] + rng.normal(0, 12, (n, n, 3)))
    return tuple(image.clip(0, 255).astype(np.uint8) for image in noisy)


def test_classes():
    for shift in (0, 20):
        wide = np.clip(readback.COLOURS + shift, 0, 255).astype(np.uint8)[None].repeat(128, 0).repeat(16, 1)
        classes, far = readback.classes_of(wide, 128)
        assert far == 0 and np.unique(classes).tolist() == list(range(12)) and (np.diff(classes[0]) >= 0).all()
    grey = np.full((8, 8, 3), 128, np.uint8)
    assert readback.classes_of(grey, 8)[1] == 1
    with pytest.raises(UserError, match="--readback: the inputs are not label maps"):
        readback.train_reader([(grey, grey)], 0, steps=1)


def test_scores_by_hand():
    """Of six pixels four are right; a class that is nowhere in the label maps counts no more than its errors."""
    found = readback.scores(np.array([[[0, 0, 1, 1, 1, 7]]]), np.array([[[0, 0, 0, 1, 1, 1]]]))
    assert found == pytest.approx({"pixel_accuracy": 4 / 6, "class_iou": (2 / 3 + 2 / 4) / 2})


def test_reading_back(monkeypatch):
    """After a few steps the labels are read in photographs that tell them, and not in grey."""
    monkeypatch.setattr(readback, "SIZE", 64)
    read = readback.train_reader(map(pair, range(8)), 0, steps=30)
    labels, photograph = pair(100)
    classes, _ = readback.classes_of(labels, 64)
    ours, grey = (readback.scores(read(image), classes) for image in (photograph, np.full_like(labels, 128)))
    assert ours["pixel_accuracy"] > 0.8 and ours["class_iou"] > grey["class_iou"] + 0.2
