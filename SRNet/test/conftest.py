"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]

import common  # noqa: E402, F401  isort: skip  (before TensorFlow, whose start-up lines it holds back)
import numpy as np  # noqa: E402
import predict  # noqa: E402
import tensorflow as tf  # noqa: E402
from data import FOLDERS, GREY  # noqa: E402
from model import build_generators  # noqa: E402
from PIL import Image  # noqa: E402

from common import weights  # noqa: E402
from common.layers import named_variables  # noqa: E402

# Of train.py: small networks and images, no file of VGG19's weights.
TINY = ["--cnum=2", "--data_shape=16,32", "--batch_size=2", "--vgg19_weights=none", "--precision_mode=force_fp32"]


def call(capsys, main, *argv) -> tuple[int, str, str]:
    """A script's exit status, and what it said on stdout and stderr."""
    try:
        status = main([str(word) for word in argv])
    except SystemExit as end:  # of the parser
        status = end.code
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return status, told.out, told.err


def write_run(folder: Path, **options) -> SimpleNamespace:
    """A run's folder with the checkpoint of a small generator with random weights: `.folder`, `.options`."""
    options = {"cnum": 2, "data_shape": [64, 128], "data_path": "nowhere", "seed": 0, **options}
    tf.random.set_seed(1)
    variables = named_variables(build_generators(Namespace(**options))[0])
    for name, variable in variables.items():
        if "_norm" in name:  # as if trained
            variable.assign(tf.random.uniform(variable.shape, 0.5, 1.5))
    tensors = {f"generator/{name}": variable.numpy() for name, variable in variables.items()}
    weights.save(folder / "checkpoints" / "ckpt-7.safetensors", "SRNet", tensors, options, {"network": "SRNet"}, 7)
    return SimpleNamespace(folder=folder, options=Namespace(**options))


def write_samples(folder: Path, count: int, height: int = 16, width: int = 32) -> Path:
    """The seven folders with samples 00.png, 01.png, ...: a dark bar as the word. Returns the folder."""
    rng = np.random.default_rng(0)
    for kind in FOLDERS:
        (folder / kind).mkdir(parents=True)
    rows, line = slice(height // 4, height // 2), slice(height // 3, height // 3 + 1)
    for number in range(count):
        ground = rng.integers(100, 256, 3)
        source, target = (
            slice(height // 4, height // 4 + length) for length in rng.integers(width // 4, width // 2, 2)
        )
        for kind, level, places, word in (
            ("i_t", 127, (rows, target), 0),
            ("i_s", ground, (rows, source), 40),
            ("t_sk", 0, (line, target), 255),
            ("t_t", 127, (rows, target), 40),
            ("t_b", ground, (rows, target), ground),
            ("t_f", ground, (rows, target), 40),
            ("mask_t", 0, (rows, target), 255),
        ):
            image = np.zeros((height, width) if kind in GREY else (height, width, 3), np.uint8) + np.uint8(level)
            image[places] = word
            Image.fromarray(image).save(folder / kind / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Of a network for 32 x 64."""
    return write_run(tmp_path_factory.mktemp("tiny") / "run", cnum=4, data_shape=[32, 64])


@pytest.fixture(scope="session")
def editor(run):
    """Its editor: all tests share one, since to trace it takes seconds."""
    return predict.load_editor(run.folder)


@pytest.fixture(scope="session")
def sample_set(tmp_path_factory):
    """Six samples to train on, three steps an epoch, and one to measure on."""
    return write_samples(tmp_path_factory.mktemp("samples") / "set", 7)
