"""Trained StackGANs: which files they are in, their networks, and images made by them; and the text encoder's networks.

The networks of the two stages are built in stageI/model.py and stageII/model.py of what blocks.py has.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional, Union

import numpy as np
import tensorflow as tf
import text_encoder
from misc import config
from stageI import model as stage1
from stageI.model import build_discriminator, build_generator  # noqa: F401  (stage I's)
from stageII import model as stage2
from tensorflow import keras

from common import weights
from common.cli import UserError
from common.layers import BatchNorm, float32_layers
from common.weights import Weights

HERE = Path(__file__).resolve().parent
NETWORK = "StackGAN"
FIRST_LAST = ("stageII", "stage2", "stageI", "stage1")  # the further stage, if there are both
CHUNK = {1: 64, 2: 8}  # images at a time, by stage


def find_weights(path: Union[str, Path, None] = None, names: Sequence[str] = FIRST_LAST) -> Weights:
    """The weights of either stage that `--ckpt_path` names.

    Args:
        path: a file, a run's folder, a folder with both stages' runs (stageI/, stageII/) or both stages' files
            (stage1.safetensors, stage2.safetensors); None: pretrained/.
        names: which of both is taken.
    Raises:
        UserError: there are none, or they are of another model.
    """
    folder = HERE / "pretrained" if path is None else Path(path).expanduser()
    for place in (place for name in names for place in (folder / name, folder / f"{name}{weights.ENDING}")):
        if place.is_file() or (place / "checkpoints").is_dir():
            path = place
            break
    found = weights.load(path, NETWORK, HERE)
    if found.about.get("stage") not in (1, 2):
        raise UserError(f"{found.path}: its record tells no stage, 1 or 2")
    return found


class Generator:
    """The generators of a trained StackGAN, from embeddings and noise to the images of one stage or both.

    Attributes:
        batch: images at a time, at most; `fixed`: 0, any number will do.
        options: of the training; `path`: the file; `folder`: of the run, or where the file lies.
        sizes: of the embedding, the condition (and so of eps) and z.
        stage1, stage2: the networks; stage2 is None of a run of stage I.
    """

    def __init__(
        self, options: argparse.Namespace, stage1: keras.Model, stage2: Optional[keras.Model] = None, path: str = ""
    ) -> None:
        self.stage1, self.stage2, self.options, self.path = stage1, stage2, options, path
        self.folder = weights.run_folder(path) if path else Path(".")
        self.sizes = tuple(int(x.shape[-1]) for x in stage1.inputs)
        self.image_sizes = (64,) if stage2 is None else (64, 256)
        self.batch, self.fixed = CHUNK[len(self.image_sizes)], 0
        self._compiled = tf.function(self.function)

    def function(self, embedding: tf.Tensor, eps: tf.Tensor, z: tf.Tensor, eps_2: tf.Tensor) -> list[tf.Tensor]:
        """float32 images in -1..1 of stage I and, if there is one, of stage II; a graph's part."""
        small, *_ = self.stage1([embedding, eps, z], training=False)
        if self.stage2 is None:
            return [small]
        return [small, self.stage2([small, embedding, eps_2], training=False)[0]]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The same of arrays, all of one length, which is compiled once for each."""
        return [images.numpy() for images in self._compiled(*map(tf.constant, inputs))]


def load_generator(found: Weights, last: Optional[int] = None) -> Generator:
    """The generators of a file of weights, up to stage `last`. One of stage II alone has stage1.safetensors beside it.

    Raises:
        UserError: its options are not those of a StackGAN, or do not fit its weights.
    """
    o = argparse.Namespace(**{**config.defaults(), **vars(found.options)})
    stage, embedding = found.about.get("stage"), found.about.get("embedding_size")
    first, name = found, "stage1_generator" if stage == 2 else "generator"
    if stage == 2 and not any(key.startswith("stage1_generator/") for key in found.tensors):
        first, name = weights.load(Path(found.path).with_name(f"stage1{weights.ENDING}"), NETWORK, HERE), "generator"
    c, z, gf = sizes = o.embedding_dim, o.z_dim, o.gf_dim
    shapes = {key: value.shape for key, value in first.part(name).items()}
    # Before networks of a stranger's sizes are built: the file has to hold as much.
    if not all(type(size) is int and size > 0 for size in [embedding, *sizes]) or (
        shapes.get("condition.0") != (embedding, 2 * c) or shapes.get("start.0") != (c + z, 128 * gf)
    ):
        raise UserError(f"{first.path}: its weights are not those that its options tell of")
    generators = [first.restore(build_generator(embedding, o), name)]
    if stage == 2 and last != 1:
        generators.append(found.restore(stage2.build_generator(embedding, o), "generator"))
    return Generator(found.options, *generators, path=found.path)


# The text encoder's networks, for train_text_encoder.py; they compute in float32.


def build_text_encoder(widths: Sequence[int] = (384, 512, 256), embedding: int = text_encoder.EMBEDDING) -> keras.Model:
    """What `text_encoder.TextEncoder` computes: one-hot characters float32 [n, 201, 70] to float32 [n, embedding].

    Args:
        widths: of the three convolutions; the last is also the recurrent layer's.
    """
    with float32_layers():
        x = symbols = keras.Input([text_encoder.LENGTH, len(text_encoder.ALPHABET)])
        for number, (width, pool) in enumerate(zip(widths, text_encoder.POOLS), 1):
            x = keras.layers.Conv1D(width, text_encoder.KERNEL, activation="relu", name=f"conv{number}")(x)
            x = keras.layers.MaxPooling1D(*pool)(x)  # 66, 21, 8
        x = keras.layers.GRU(widths[-1], return_sequences=True, unroll=True, name="recurrent")(x)
        x = keras.layers.GlobalAveragePooling1D()(x)
        return keras.Model(symbols, keras.layers.Dense(embedding, name="embedding")(x), name="text_encoder")


def build_image_encoder(
    widths: Sequence[int] = (32, 64, 128, 256), embedding: int = text_encoder.EMBEDDING
) -> keras.Model:
    """A small network of images float32 [n, 64, 64, 3] in -1..1, to float32 [n, embedding]."""
    with float32_layers():
        x = images = keras.Input([stage1.SIZE, stage1.SIZE, 3])
        for number, width in enumerate(widths, 1):
            x = keras.layers.Conv2D(width, 4, 2, "same", use_bias=False, name=f"conv{number}")(x)
            x = BatchNorm(momentum=0.9, epsilon=1e-5, name=f"norm{number}")(x)
            x = keras.layers.LeakyReLU(0.2)(x)
        x = keras.layers.Flatten()(x)  # where something is matters: a belly is below
        return keras.Model(images, keras.layers.Dense(embedding, name="embedding")(x), name="image_encoder")


def build_feature_encoder(features: int, embedding: int = text_encoder.EMBEDDING) -> keras.Model:
    """Features of VGG19 float32 [n, features], each normalised, through one linear layer to float32 [n, embedding]."""
    with float32_layers():
        x = inputs = keras.Input([features])
        x = BatchNorm(momentum=0.99, epsilon=1e-5, scale=False, name="norm")(x)
        return keras.Model(inputs, keras.layers.Dense(embedding, name="embedding")(x), name="feature_encoder")


def in_chunks(network: keras.Model, size: int = 256) -> Callable[[np.ndarray], np.ndarray]:
    """A network as a function of any number of rows float32 [n, ...], which it takes some at a time."""

    @tf.function(input_signature=[tf.TensorSpec(network.inputs[0].shape, tf.float32)])
    def run(x):
        return network(x, training=False)

    def call(rows: np.ndarray) -> np.ndarray:
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        return np.concatenate([run(tf.constant(chunk)).numpy() for chunk in chunks])

    return call
