"""A data set small enough to train on in a test, and the lines of a run's log, read back."""

import re

import data
import numpy as np

LOG_LINE = re.compile(
    r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\]  \[(?P<kind>train|val  ) step (?P<step>\d+)\] "
    r"Supervised loss: (?P<supervised_loss>-?\d+\.\d{5}) D loss: (?P<d_loss>-?\d+\.\d{5}) "
    r"G loss: (?P<g_loss>-?\d+\.\d{5}) Accuracy: (?P<accuracy>[01]\.\d{5}) "
    r"\(\d+\.\d{3} sec/batch, \d+\.\d{3} instances/sec\)"
)


def write_set(folder, shape=(8, 8, 1), train=60, test=12):
    """Three classes of noisy pictures: bright above, bright in the middle, bright below. Returns the folder."""
    rng = np.random.default_rng(0)
    labels = (np.arange(train + test) % 3).astype(np.int32)
    images = rng.integers(0, 60, (train + test, *shape))
    for image, label in zip(images, labels):
        third = shape[0] // 3
        image[label * third : (label + 1) * third] += 180
    images = images.astype(np.uint8)
    names = ["above", "middle", "below"]
    data.save(data.Data(images[:train], labels[:train], images[train:], labels[train:], names, "toy"), folder)
    return folder


def log_lines(text):
    """The page's log lines in a text: [{"kind": "train", "step": 10, "d_loss": ...}, ...]."""
    found = [match.groupdict() for match in map(LOG_LINE.fullmatch, text.splitlines()) if match]
    return [{name: value.strip() if name == "kind" else float(value) for name, value in line.items()} for line in found]
