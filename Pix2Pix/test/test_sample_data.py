"""sample_data.py: pairs like those of CMP facades, and the same ones for a seed."""

import subprocess
import sys

import numpy as np
import pytest
import sample_data
from conftest import MODEL, read
from data import FACADE_LABELS, find_pairs

NAMES = list(FACADE_LABELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "facades"
    assert sample_data.main([f"--output_path={folder}", "--train=8", "--val=2"]) == 0
    return folder


def test_photographs_follow_their_label_maps(folder):
    """In the layout of facades; all twelve labels come up, JPEG keeps their colours but for rings along edges, glass is
    darker than the wall around it, and walls differ from house to house."""
    seen, walls = set(), []
    files = find_pairs(str(folder), "train")
    assert [len(files), len(find_pairs(str(folder), "val"))] == [8, 2] and {file.suffix for file in files} == {".jpg"}
    for pair in map(read, files):
        assert pair.shape == (256, 512, 3)
        photograph, labels = pair[:, :256], pair[:, 256:].astype(int)
        distance = np.abs(labels[:, :, None] - list(FACADE_LABELS.values())).max(3)
        classes, distance = distance.argmin(2), distance.min(2)
        assert np.quantile(distance, 0.9) <= 8
        seen |= set(np.unique(classes[distance <= 8]).tolist())
        wall, window = (photograph[classes == NAMES.index(name)].mean(0) for name in ("facade", "window"))
        assert window.mean() < wall.mean()
        walls.append(wall)
    assert len(seen) == 12 and np.std(walls, axis=0).max() > 15


def test_a_seed_draws_the_same_pairs_and_another_seed_others(folder, tmp_path):
    for seed in "01":
        assert sample_data.main([f"--output_path={tmp_path / seed}", "--train=1", "--val=1", f"--seed={seed}"]) == 0
    for name in ("train/1.jpg", "val/1.jpg"):  # as in the fixture, whatever the number of pairs
        assert (tmp_path / "0" / name).read_bytes() == (folder / name).read_bytes()
        assert (tmp_path / "1" / name).read_bytes() != (folder / name).read_bytes()
    assert (folder / "train/1.jpg").read_bytes() != (folder / "val/1.jpg").read_bytes()


def test_drawing_and_preparing_load_no_tensorflow():
    code = "import sys, sample_data, prepare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=str(MODEL)).returncode == 0
