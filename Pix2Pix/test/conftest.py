"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]
import common  # noqa: E402, F401  (before TensorFlow, which it keeps quiet)

TINY = ["--ngf=2", "--ndf=2", "--precision_mode=force_fp32", "--load_size=260"]  # of train.py


def write_run(folder: Path, **options) -> SimpleNamespace:
    """A run's folder with the checkpoint of a small generator with random weights: `.folder`, `.file`, `.options`."""
    import tensorflow as tf
    from model import NETWORK, build_generator

    from common import weights
    from common.layers import named_variables

    default = {"input_nc": 3, "output_nc": 3, "ngf": 4, "ndf": 4, "fine_size": 256, "which_direction": "BtoA"}
    default.update(data_path="nowhere", seed=0)
    options = {**default, **options}
    tf.random.set_seed(1)
    generator = build_generator(256, 256, options["input_nc"], options["output_nc"], options["ngf"])
    tensors = {f"generator/{name}": variable.numpy() for name, variable in named_variables(generator).items()}
    tensors["generator/decoder_8.0"] *= 20  # for images with contrast
    file = folder / "checkpoints" / "ckpt-7.safetensors"
    weights.save(file, NETWORK, tensors, options, {"data": "facades"}, 7)
    return SimpleNamespace(folder=folder, file=file, options=Namespace(**options))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run of colour images, its generator's first layer of 4 channels."""
    return write_run(tmp_path_factory.mktemp("tiny") / "run")


def write_pairs(folder: Path, train: int, val: int) -> Path:
    """Noisy pairs in colour, 0.png, 1.png, ... of 128 x 64, in train/ and val/. Returns the folder."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        (folder / split).mkdir(parents=True)
        for number in range(count):
            patches = rng.integers(0, 256, (8, 16, 3)).astype(np.uint8)
            Image.fromarray(patches.repeat(8, 0).repeat(8, 1)).save(folder / split / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def pair_set(tmp_path_factory):
    """Six pairs to train on and two to measure on."""
    return write_pairs(tmp_path_factory.mktemp("pairs") / "set", train=6, val=2)
