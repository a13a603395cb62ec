"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]
import common  # noqa: E402, F401  (before TensorFlow, which it keeps quiet)

OPTIONS = {"input_nc": 3, "output_nc": 3, "ngf": 2, "ndf": 2, "fine_size": 256, "which_direction": "BtoA", "seed": 0}


def patches(height, width, channels=3, seed=0):
    """An image of flat patches, 8 x 8 each, uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), channels)).astype(np.uint8)
    return small.repeat(8, 0).repeat(8, 1)[:height, :width]


def save(path, *images):
    """Writes an image, or images side by side, uint8 [h, w, channels]. Returns the path."""
    pixels = np.concatenate(images, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


def read(path):
    return np.asarray(Image.open(path))


def write_run(folder: Path, **changed) -> SimpleNamespace:
    """A run's folder with the checkpoint of a small generator with random weights: `.folder`, `.file`."""
    import tensorflow as tf
    from model import NETWORK, build_generator

    from common import weights
    from common.layers import named_variables

    options = Namespace(**{**OPTIONS, "data_path": "nowhere", **changed})
    tf.random.set_seed(1)
    generator = build_generator(256, 256, options.input_nc, options.output_nc, options.ngf)
    tensors = {f"generator/{name}": variable.numpy() for name, variable in named_variables(generator).items()}
    tensors["generator/decoder_8.0"] *= 20  # for images with contrast
    file = folder / "checkpoints" / "ckpt-7.safetensors"
    weights.save(file, NETWORK, tensors, vars(options), {"data": "facades"}, 7)
    return SimpleNamespace(folder=folder, file=file)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run of colour images, its generator's first layer of 4 channels."""
    return write_run(tmp_path_factory.mktemp("tiny") / "run", ngf=4)


@pytest.fixture(scope="session")
def pair_set(tmp_path_factory):
    """Pairs in colour, 128 x 64, 0.png, 1.png, ...: six to train on and two to measure on."""
    folder = tmp_path_factory.mktemp("pairs") / "set"
    for split, count in (("train", 6), ("val", 2)):
        for number in range(count):
            save(folder / split / f"{number}.png", patches(64, 128, seed=10 * count + number))
    return folder
