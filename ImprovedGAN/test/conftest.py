"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors of TensorFlow only


def train_toy(folder: Path, shape: tuple, *flags: str) -> SimpleNamespace:
    """A run of a few steps on toy pictures: `.folder`, `.data` (in memory) and `.data_path`."""
    import data
    import toy
    import train

    data_path = toy.write_set(folder / "toy", shape)
    argv = [f"--data_path={data_path}", f"--output_path={folder / 'run'}", "--batch_size=6", "--evaluate=False"]
    assert train.main([*argv, *flags]) == 0
    return SimpleNamespace(folder=folder / "run", data=data.load(data_path), data_path=data_path)


@pytest.fixture(scope="session")
def ssgan_run(tmp_path_factory):
    """A finished run of the page's model on grey pictures of 12 x 10."""
    return train_toy(tmp_path_factory.mktemp("ssgan"), (12, 10, 1), "--n_z=8", "--train_steps=4")


@pytest.fixture(scope="session")
def paper_run(tmp_path_factory):
    """A finished run of the paper's model on colour pictures of 8 x 8."""
    flags = ["--model=paper", "--n_labels=6", "--n_z=8", "--train_steps=3", "--average_rate=0.5"]
    return train_toy(tmp_path_factory.mktemp("paper"), (8, 8, 3), *flags)
