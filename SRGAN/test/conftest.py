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
