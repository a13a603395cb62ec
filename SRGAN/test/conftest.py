"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]

# Of train.py: small networks and crops, no file of VGG19's weights.
TINY = ["--blocks=1", "--channels=4", "--crop=16", "--batch_size=2", "--vgg19_weights=none"]
TINY += ["--precision_mode=force_fp32"]


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
    import tensorflow as tf
    from model import generator_for

    from common import weights
    from common.layers import named_variables

    default = {"scale": 4, "upsampling": "shuffle", "blocks": 2, "channels": 8, "crop": 96, "data_path": "nowhere"}
    options = {**default, "seed": 0, "degradation": "bicubic", "lr_path": None, **options}
    tf.random.set_seed(1)
    generator = generator_for(Namespace(**options))
    variables = named_variables(generator)
    for name, variable in variables.items():
        if "_norm" in name or "_prelu" in name:  # as if trained
            variable.assign(tf.random.uniform(variable.shape, 0.5, 1.5))
    variables["last.0"].assign(variables["last.0"] * 0.5)  # for images with contrast, not black and white alone
    arrays = {f"generator/{name}": variable.numpy() for name, variable in variables.items()}
    weights.save(folder / "checkpoints" / "ckpt-7.safetensors", "SRGAN", arrays, options, {}, 7)
    return SimpleNamespace(folder=folder, options=Namespace(**options))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run that enlarges 4 times with two residual blocks of 8 channels."""
    return write_run(tmp_path_factory.mktemp("tiny") / "run")


@pytest.fixture(scope="session")
def network(tiny_run):
    """Its generator, to enlarge with."""
    import checkpoint

    return checkpoint.load(str(tiny_run.folder))


def noise(*shape, dtype="uint8", seed=0):
    """Random levels of all values that the type has."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True, dtype=dtype)


@pytest.fixture(scope="session")
def image_set(tmp_path_factory):
    """Images of coloured patches: six to train on, three steps an epoch, and two to measure on."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images") / "set"
    for split, count in (("train", 6), ("val", 2)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            patches = noise(10, 10, 3, seed=number).repeat(4, 0).repeat(4, 1)
            Image.fromarray(patches).save(folder / split / f"{number}.png")
    return folder
