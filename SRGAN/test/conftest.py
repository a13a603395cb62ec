"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors of TensorFlow only

# Of train.py: small networks and crops, no file of VGG19's weights.
TINY = [
    "--blocks=1",
    "--channels=4",
    "--crop=16",
    "--batch_size=2",
    "--vgg19_weights=none",
    "--precision_mode=force_fp32",
]


def write_run(folder: Path, **options) -> SimpleNamespace:
    """A run's folder with the checkpoint of a small generator with random weights: `.folder`, `.options`."""
    import tensorflow as tf
    from model import build_generator

    from common.checkpoint import Record
    from common.optimizer import named_variables

    default = {"scale": 4, "upsampling": "shuffle", "blocks": 2, "channels": 8, "crop": 96, "data_path": "nowhere"}
    options = {**default, "seed": 0, "skip_bad_files": False, **options}
    tf.random.set_seed(1)
    generator = build_generator(options["scale"], options["upsampling"], options["blocks"], options["channels"])
    variables = named_variables(generator)
    for name, variable in variables.items():
        if "_norm" in name or "_prelu" in name:  # as if trained
            variable.assign(tf.random.uniform(variable.shape, 0.5, 1.5))
    variables["last.0"].assign(variables["last.0"] * 0.5)  # for pictures with contrast, not black and white alone
    record = Record(about={"network": "SRGAN"}, options=options, step=7, seconds=1.0)
    prefix = str(folder / "checkpoints" / "ckpt-7")
    tf.train.Checkpoint(record=record, generator=variables).write(prefix)
    return SimpleNamespace(folder=folder, options=Namespace(**options))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run that enlarges 4 times with two residual blocks of 8 channels."""
    return write_run(tmp_path_factory.mktemp("tiny") / "run")


def write_pictures(folder: Path, train: int, val: int, side: int = 40) -> Path:
    """Pictures of coloured patches, 0.png, 1.png, ... in train/ and val/. Returns the folder."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            patches = rng.integers(0, 256, (side // 4, side // 4, 3)).astype(np.uint8)
            Image.fromarray(patches.repeat(4, 0).repeat(4, 1)).save(folder / split / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def picture_set(tmp_path_factory):
    """Six pictures to train on, three steps an epoch, and two to measure on."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "set", train=6, val=2)
