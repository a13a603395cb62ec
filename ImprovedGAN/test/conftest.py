"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]

import common  # noqa: E402, F401  isort:skip  (before TensorFlow, whose start-up lines it holds back)
import model  # noqa: E402

FULL_SIZE = dict(model.SIZES)
SMALL = {"ssgan_generator": 64, "ssgan_discriminator": (8, 8, 16, 16, 16, 16), "conv_generator": (16, 8, 8)}
SMALL.update(mlp_generator=32, mlp_discriminator=(64, 32, 16, 16, 16), svhn=8, cifar10=12)
model.SIZES.update(SMALL)  # networks of a few thousand weights in place of millions


@pytest.fixture
def full_size(monkeypatch):
    """The networks have their real sizes."""
    monkeypatch.setattr(model, "SIZES", FULL_SIZE)


def train_toy(folder: Path, shape: tuple, *flags: str) -> SimpleNamespace:
    """A run of a few steps on toy images: `.folder`, `.data` (in memory) and `.data_path`."""
    import data
    import toy
    import train

    data_path = toy.write_set(folder / "toy", shape)
    argv = [f"--data_path={data_path}", f"--output_path={folder / 'run'}", "--batch_size=6", "--evaluate=False"]
    assert train.main([*argv, *flags]) == 0
    return SimpleNamespace(folder=folder / "run", data=data.load(data_path), data_path=data_path)


@pytest.fixture(scope="session")
def ssgan_run(tmp_path_factory):
    """A finished run of the ModelZoo's model on grey images of 12 x 10, with an average of its generator."""
    flags = ["--n_z=8", "--train_steps=4", "--ema=0.5"]
    return train_toy(tmp_path_factory.mktemp("ssgan"), (12, 10, 1), *flags)


@pytest.fixture(scope="session")
def paper_run(tmp_path_factory):
    """A finished run of the paper's model on colour images of 8 x 8."""
    flags = ["--model=paper", "--n_labels=6", "--n_z=8", "--train_steps=3", "--average_rate=0.5"]
    return train_toy(tmp_path_factory.mktemp("paper"), (8, 8, 3), *flags)


@pytest.fixture
def call(capsys):
    """Runs a script's main and returns its exit status and what it said on stdout and stderr."""

    def run(main, *argv):
        capsys.readouterr()
        try:
            status = main([str(word) for word in argv])
        except SystemExit as leaving:  # argparse
            status = leaving.code
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def refused(call):
    """Runs a script's main, which must refuse in one or two lines with status 2; they are returned."""

    def run(main, *argv):
        status, _, error = call(main, *argv)
        assert status == 2 and error.startswith("[Error]") and len(error.splitlines()) <= 2, error
        return error

    return run
