"""readback.py: label maps as classes, what is read in photographs that tell their labels, and the scores by hand."""

import numpy as np
import pytest
import readback
from data import FACADE_LABELS
from PIL import Image

from common.cli import UserError

NAMES = list(FACADE_LABELS)


def label_map(seed):
    """A wall with a window and a door somewhere: uint8 [SIZE, SIZE, 3], noisy as JPEG is."""
    rng, n = np.random.default_rng(seed), readback.SIZE
    labels = np.zeros((n, n, 3), np.uint8) + np.uint8(FACADE_LABELS["facade"])
    for name in ("window", "door"):
        top, left = rng.integers(0, n // 2, 2)
        labels[top : top + 50, left : left + 40] = FACADE_LABELS[name]
    return (labels + rng.integers(-6, 7, labels.shape)).clip(0, 255).astype(np.uint8)


def photographed(labels):
    """A photograph that tells each class: bright walls, dark windows, red doors, with noise."""
    colours = np.zeros((12, 3)) + [[200, 190, 170]]
    colours[NAMES.index("window")], colours[NAMES.index("door")] = (40, 50, 60), (150, 40, 30)
    classes, _ = readback.classes_of(labels)
    noise = np.random.default_rng(0).normal(0, 12, (*classes.shape, 3))
    return (colours[classes] + noise).clip(0, 255).astype(np.uint8)


def test_classes():
    labels = np.array(list(FACADE_LABELS.values()), np.uint8)[None]
    wide = np.asarray(Image.fromarray(labels).resize((readback.SIZE, readback.SIZE), Image.NEAREST))
    for shift in (0, 20):
        classes, far = readback.classes_of(np.minimum(wide.astype(int) + shift, 255).astype(np.uint8))
        assert far == 0 and np.unique(classes).tolist() == list(range(12))
        assert (np.diff(classes[0]) >= 0).all()
    assert readback.classes_of(np.full((8, 8, 3), 128, np.uint8))[1] == 1


def test_scores_by_hand():
    """Of six pixels four are right; a class that is nowhere in the label maps counts no more than its errors."""
    counts = readback.confusion(np.array([[0, 0, 1, 1, 1, 7]]), np.array([[0, 0, 0, 1, 1, 1]]))
    assert counts.shape == (12, 12) and counts.sum() == 6 and counts[1, 7] == 1
    assert readback.scores(counts) == pytest.approx({"pixel_accuracy": 4 / 6, "class_iou": (2 / 3 + 2 / 4) / 2})


def test_reading_back():
    """After a few steps the labels are read in photographs that tell them, and not in grey."""
    pairs = [(labels, photographed(labels)) for labels in map(label_map, range(8))]
    read = readback.train_reader(iter(pairs), 0, steps=40)
    unseen = label_map(100)
    classes, _ = readback.classes_of(unseen)

    def score(photograph):
        return readback.scores(readback.confusion(read(photograph), classes))

    ours, grey = score(photographed(unseen)), score(np.full_like(unseen, 128))
    assert ours["pixel_accuracy"] > 0.85 and ours["class_iou"] > grey["class_iou"] + 0.2


def test_other_inputs_are_refused():
    photographs = [(np.full((64, 64, 3), 128, np.uint8),) * 2] * 2
    with pytest.raises(UserError, match="--readback: the inputs are not label maps"):
        readback.train_reader(photographs, 0, steps=1)
