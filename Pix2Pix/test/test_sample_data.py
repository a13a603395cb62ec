"""sample_data.py: pairs like those of CMP facades, the same ones for a seed, and nothing of the user's touched."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sample_data
from data import FACADE_LABELS, find_pairs, read_pair
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "facades"
    assert sample_data.main([f"--output_path={folder}", "--train=8", "--val=2"]) == 0
    return folder


def nearest(labels):
    """The class of each pixel of a label map [h, w, 3], and how far its colour is from the class's own."""
    distance = np.abs(labels[:, :, None].astype(int) - np.array(list(FACADE_LABELS.values()))).max(axis=3)
    return distance.argmin(axis=2), distance.min(axis=2)


def test_the_layout_is_that_of_facades(folder):
    for split, count in (("train", 8), ("val", 2)):
        files = find_pairs(str(folder), split)
        assert sorted(path.name for path in files) == [f"{number}.jpg" for number in range(1, count + 1)]
        for path in files:
            with Image.open(path) as image:
                assert (image.size, image.mode, image.format) == ((512, 256), "RGB", "JPEG")


def test_label_maps_keep_the_colours_of_the_classes(folder):
    seen = set()
    for path in find_pairs(str(folder), "train"):
        labels, _ = read_pair(path, 3, 3, "BtoA")
        classes, distance = nearest(labels)
        assert np.quantile(distance, 0.9) <= 8  # JPEG rings along edges alone
        assert 0.15 < (classes == 1).mean() < 0.9  # facade
        seen |= set(np.unique(classes[distance <= 8]).tolist())
    names = list(FACADE_LABELS)
    assert {names[number] for number in seen} >= {"background", "facade", "window", "door", "molding", "sill"}


def test_the_photograph_follows_the_labels(folder):
    """The glass of windows is darker than the wall around them, and walls differ from house to house."""
    darker, walls = [], []
    for path in find_pairs(str(folder), "train"):
        labels, photograph = read_pair(path, 3, 3, "BtoA")
        classes, _ = nearest(labels)
        wall, window = (photograph[classes == number].mean(axis=0) for number in (1, 2))
        darker.append(window.mean() < wall.mean())
        walls.append(wall)
    assert sum(darker) >= 7
    assert np.std(walls, axis=0).max() > 15


def test_a_seed_draws_the_same_pairs_and_another_seed_others(folder, tmp_path):
    for seed in (0, 1):
        assert (
            sample_data.main([f"--output_path={tmp_path / str(seed)}", "--train=1", "--val=1", f"--seed={seed}"]) == 0
        )
    for name in ("train/1.jpg", "val/1.jpg"):  # as in the fixture, whatever the number of pairs
        assert (tmp_path / "0" / name).read_bytes() == (folder / name).read_bytes()
        assert (tmp_path / "1" / name).read_bytes() != (folder / name).read_bytes()
    assert (folder / "train/1.jpg").read_bytes() != (folder / "val/1.jpg").read_bytes()


def test_drawing_and_preparing_load_no_tensorflow():
    code = "import sys, sample_data, prepare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(sample_data.__file__).parent).returncode == 0
