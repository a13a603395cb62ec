"""sample_data.py: pairs like those of CMP facades, and the same ones for a seed."""

import subprocess
import sys

import numpy as np
import pytest
import sample_data
from conftest import MODEL, read
from data import FACADE_LABELS, find_pairs

COLOURS = np.array(list(FACADE_LABELS.values()))


def draw(folder, *flags):
    assert sample_data.main([f"--output_path={folder}", "--val=1", *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("sample") / "facades", "--train=8")


def test_photographs_follow_their_label_maps(folder):
    """In the layout of facades; all twelve labels come up, JPEG keeps their colours but for rings along edges, glass is
    darker than the wall around it, and walls differ from house to house."""
    seen, walls = set(), []
    files = find_pairs(str(folder), "train")
    assert len(files) == 8 and len(find_pairs(str(folder), "val")) == 1
    for pair in map(read, files):
        photograph, labels = pair[:, :256], pair[:, 256:].astype(int)
        distance = np.abs(labels[:, :, None] - COLOURS).max(3)
        classes, distance = distance.argmin(2), distance.min(2)
        assert classes.shape == (256, 256) and np.quantile(distance, 0.9) <= 8
        seen |= set(np.unique(classes[distance <= 8]).tolist())
        wall, window = (photograph[classes == number].mean(0) for number in (1, 2))
        assert window.mean() < wall.mean()
        walls.append(wall)
    assert len(seen) == 12 and np.std(walls, axis=0).max() > 15


def test_a_seed_draws_the_same_pairs_and_another_seed_others(folder, tmp_path):
    same, other = draw(tmp_path / "0", "--train=1"), draw(tmp_path / "1", "--train=1", "--seed=1")
    for name in ("train/1.jpg", "val/1.jpg"):  # whatever the number of pairs
        assert (same / name).read_bytes() == (folder / name).read_bytes() != (other / name).read_bytes()
    assert (folder / "train/1.jpg").read_bytes() != (folder / "val/1.jpg").read_bytes()


def test_drawing_and_preparing_load_no_tensorflow():
    code = "import sys, sample_data, prepare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=str(MODEL)).returncode == 0
