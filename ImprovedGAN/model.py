"""The networks of ImprovedGAN: the original's (SSGAN), and the paper's for MNIST and for SVHN and CIFAR-10.

Latents are [batch, n_z]; images float32 [batch, height, width, channels] in [-1, 1], or in [0, 1] for the paper's
MNIST networks. Every layer with weights has a name: checkpoints go by it.
"""

import argparse
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from data import in_batches
from layers import (
    FirstUpsampling,
    InstanceNorm,
    MinibatchDiscrimination,
    Noise,
    VirtualBatchNorm,
    WeightNorm,
    WithReference,
)
from tensorflow import keras
from tensorflow.keras import layers

from common import weights
from common.cli import UserError
from common.images import to_float
from common.layers import BatchNorm
from common.weights import Weights

NETWORK = "ImprovedGAN"
LATENT_RANGES = {"ssgan": (-1.0, 1.0), "paper": (0.0, 1.0)}
FOLDER = Path(__file__).resolve().parent
REFERENCE_BATCH = 100  # rows of virtual batch normalisation's reference batch
SIZES = {  # units of dense layers and channels of convolutions, by the original and the published code
    "ssgan_generator": 1024,
    "ssgan_discriminator": (32, 64, 128, 256, 256, 512),
    "mlp_generator": 500,
    "mlp_discriminator": (1000, 500, 250, 250, 250),
    "conv_generator": (512, 256, 128),
    "svhn": 64,  # of the convolutional discriminator's first layers
    "cifar10": 96,
}


def _float32(x):
    """Logits and images leave a network in float32, whatever it computes in."""
    return layers.Activation("linear", dtype="float32")(x)


def _resize(x, size: tuple[int, int]):
    return layers.Lambda(lambda images: tf.image.resize(images, size))(x)


def _norm(norm_type: str, name: str, scale: bool = True) -> keras.layers.Layer:
    if norm_type == "batch":
        return BatchNorm(scale=scale, name=name)
    if norm_type == "virtual":
        return VirtualBatchNorm(REFERENCE_BATCH, name=name)
    return InstanceNorm(name=name) if norm_type == "instance" else layers.Activation("linear", name=name)


# The original's model.


def ssgan_generator(z, image_shape: Sequence[int], deconv_type: str, norm_type: str):
    """z in (-1, 1) -> image in [-1, 1]. 6,420,417 parameters for MNIST.

    `deconv_type`: "bilinear" or "nn" (resize x2, then a 3x3 convolution), or "transpose" (4x4, stride 2).
    """
    height, width, channels = image_shape
    size = SIZES["ssgan_generator"]
    x = layers.LeakyReLU(0.2)(layers.Dense(size, name="dense")(z))
    if deconv_type == "transpose":
        x = layers.Reshape((1, 1, size))(x)
    for i in range(math.ceil(math.log2(max(height, width)))):  # 1x1 -> 2x2 -> ... -> 32x32
        size = max(size // 2, channels)
        if deconv_type == "transpose":
            x = layers.Conv2DTranspose(size, 4, 2, "same", name=f"deconv{i}")(x)
        elif i == 0:
            x = FirstUpsampling(size, name="deconv0")(x)
        else:
            x = layers.UpSampling2D(2, interpolation="nearest" if deconv_type == "nn" else "bilinear")(x)
            x = layers.Conv2D(size, 3, padding="same", name=f"deconv{i}")(x)
        x = _norm(norm_type, f"norm{i}")(layers.ReLU()(x))
    x = layers.Activation("tanh")(layers.Conv2D(channels, 1, name="to_image")(x))
    return _resize(x, (height, width))


def ssgan_discriminator(images, n_classes: int, norm_type: str):
    """Image in [-1, 1] -> logits [n_classes + 1], the last one "fake". 996,555 parameters for MNIST."""
    x = images
    for i in range(math.ceil(math.log2(min(images.shape[1:3])))):  # 28x28 -> 14x14 -> ... -> 1x1
        size = SIZES["ssgan_discriminator"][min(i, 5)]
        x = layers.LeakyReLU(0.2)(layers.Conv2D(size, 3, 2, "same", name=f"conv{i}")(x))
        x = _norm(norm_type, f"norm{i}")(x)
    x = layers.LeakyReLU(0.2)(layers.Conv2D(size // 4, 1, name="conv_quarter")(x))
    return layers.GlobalAveragePooling2D()(layers.Conv2D(n_classes + 1, 1, name="to_logits")(x))


# The paper's model for MNIST (section 6.1 and the published recipe): multilayer perceptrons.


def mlp_generator(z, image_shape: Sequence[int], norm_type: str):
    """z in (0, 1) -> image in [0, 1]."""
    x = z
    for i in range(2):
        x = layers.Dense(SIZES["mlp_generator"], use_bias=False, name=f"dense{i}")(x)
        x = layers.Activation("softplus")(_norm(norm_type, f"norm{i}", scale=False)(x))
    x = WeightNorm(math.prod(image_shape), train_scale=True, name="to_image")(x)
    return layers.Reshape(tuple(image_shape))(layers.Activation("sigmoid")(x))


def mlp_features(images, seed) -> tuple:
    """(Image in [0, 1], seed) -> features [250], and the same with noise."""
    x = Noise(0, stddev=0.3)([layers.Flatten()(images), seed])
    for i, size in enumerate(SIZES["mlp_discriminator"]):
        features = layers.ReLU()(WeightNorm(size, v_stdv=0.1, name=f"dense{i}")(x))
        x = Noise(i + 1, stddev=0.5)([features, seed])
    return features, x


# The paper's model for SVHN and CIFAR-10 (section 6.2 and the published recipe): convolutions.


def conv_generator(z, image_shape: Sequence[int], norm_type: str):
    """z in (0, 1) -> image in [-1, 1], in the manner of DCGAN (Radford et al., 2016)."""
    height, width, channels = image_shape
    rows, columns = -(-height // 8), -(-width // 8)
    first, *others = SIZES["conv_generator"]
    x = layers.Dense(rows * columns * first, use_bias=False, name="dense")(z)
    x = layers.Reshape((rows, columns, first))(x)  # 4x4 for 32x32
    x = layers.ReLU()(_norm(norm_type, "norm0", scale=False)(x))
    for i, size in enumerate(others):  # 8x8, 16x16
        x = layers.Conv2DTranspose(size, 5, 2, "same", use_bias=False, name=f"deconv{i}")(x)
        x = layers.ReLU()(_norm(norm_type, f"norm{i + 1}", scale=False)(x))
    last = {"kernel": 5, "strides": 2, "transpose": True, "train_scale": True, "init_stdv": 0.1}
    x = layers.Activation("tanh")(WeightNorm(channels, name="to_image", **last)(x))  # 32x32
    return x if (rows * 8, columns * 8) == (height, width) else _resize(x, (height, width))


def conv_features(images, seed, size: int):
    """(Image in [-1, 1], seed) -> features [2 size], nine layers with dropout between them."""

    def conv(x, units, kernel, strides, padding, name):
        return layers.LeakyReLU(0.2)(WeightNorm(units, kernel, strides, padding, name=name)(x))

    x = Noise(0, dropout=0.2)([images, seed])
    for block, units in enumerate((size, 2 * size)):  # 32x32 -> 16x16 -> 8x8
        for i, strides in enumerate((1, 1, 2)):
            x = conv(x, units, 3, strides, "SAME", f"conv{block}{i}")
        x = Noise(block + 1, dropout=0.5)([x, seed])
    for i, kernel in enumerate((3, 1, 1)):  # 6x6
        x = conv(x, 2 * size, kernel, 1, "VALID", f"conv2{i}")
    return layers.GlobalAveragePooling2D()(x)


# Whichever a run's options ask for.


def build_generator(options: argparse.Namespace, image_shape: Sequence[int]) -> keras.Model:
    """Latents [batch, n_z] -> images [batch, height, width, channels] in `value_range`."""
    x = z = layers.Input((options.n_z,))
    if options.norm_type == "virtual":
        x = WithReference(REFERENCE_BATCH, name="reference")(x)
    if options.model == "ssgan":
        x = ssgan_generator(x, image_shape, options.deconv_type, options.norm_type)
    else:
        x = (mlp_generator if options.recipe == "mnist" else conv_generator)(x, image_shape, options.norm_type)
    if options.norm_type == "virtual":
        x = layers.Lambda(lambda rows: rows[REFERENCE_BATCH:])(x)
    return keras.Model(z, _float32(x), name="generator")


def build_discriminator(
    options: argparse.Namespace, image_shape: Sequence[int], n_classes: int, batch_size: Optional[int] = None
) -> keras.Model:
    """Images, and for the paper's model the noise's seed -> logits, and for the paper's model features before them.

    `batch_size`: rows of a minibatch for minibatch discrimination (a worker's shard); the options' own without it.
    """
    images = layers.Input(tuple(image_shape))
    if options.model == "ssgan":
        logits = ssgan_discriminator(images, n_classes, options.norm_type)
        return keras.Model(images, _float32(logits), name="discriminator")
    seed = layers.Input((), batch_size=2, dtype="int32")
    if options.recipe == "mnist":
        (features, x), last = mlp_features(images, seed), {"v_stdv": 0.1}
    else:
        features = x = conv_features(images, seed, SIZES[options.recipe])
        last = {"init_stdv": 0.1}
    if options.minibatch_discrimination:
        x = MinibatchDiscrimination(minibatch=batch_size or options.batch_size, name="minibatch_discrimination")(x)
    logits = WeightNorm(n_classes, train_scale=True, name="to_logits", **last)(x)
    return keras.Model([images, seed], [_float32(features), _float32(logits)], name="discriminator")


def value_range(options: argparse.Namespace) -> tuple[float, float]:
    """The values that black and white have for a run's networks."""
    return (0.0, 1.0) if options.model == "paper" and options.recipe == "mnist" else (-1.0, 1.0)


def classify(discriminator: keras.Model, options: argparse.Namespace, images):
    """Class logits [batch, n_classes] of images in `value_range`, as at test: no noise, moving averages."""
    if options.model == "ssgan":
        return discriminator(images, training=False)[:, :-1]  # without "fake"
    return discriminator([images, tf.constant([0, 0])], training=False)[1]


def predict_logits(
    discriminator: keras.Model, options: argparse.Namespace, images: np.ndarray, size: int = 500
) -> np.ndarray:
    """Class logits [n, n_classes] of uint8 images [n, height, width, channels], `size` at a time."""
    if not hasattr(discriminator, "classify_graph"):  # made once for each network
        discriminator.classify_graph = tf.function(lambda rows: classify(discriminator, options, rows))

    def logits(rows):
        return discriminator.classify_graph(tf.constant(to_float(rows, value_range(options)))).numpy()

    # Minibatch discrimination sees the other images of the batch, so that none may be made up.
    return in_batches(logits, images, size, fill_up=not options.minibatch_discrimination)


# Trained ones.


def load_weights(path: Optional[str], shipped: str) -> Weights:
    """The weights that `--ckpt_path` names; without one those of this name in pretrained/, or what else is there."""
    file = FOLDER / "pretrained" / f"{shipped}{weights.ENDING}"
    return weights.load(path or (file if file.is_file() else None), NETWORK, FOLDER)


def tested_part(loaded: Weights) -> str:
    """Which part is tested: of a run its discriminator's average, which in a file for others is the discriminator."""
    return "average" if any(name.startswith("average/") for name in loaded.tensors) else "discriminator"


def load_networks(loaded: Weights) -> tuple[keras.Model, keras.Model]:
    """The trained discriminator (the average of its weights), and the generator (where there is one, its average).

    Raises:
        UserError: the file's record is none of train.py's, or its networks are of other sizes than that says.
    """
    options, about = loaded.options, loaded.about
    with suppress(LookupError, TypeError, ValueError, AttributeError, tf.errors.OpError):
        shape, classes, ink = tuple(about["image_shape"]), len(about["class_names"]), about.get("ink")
        sound = ink is None or all(0 < ink[name] < 10 for name in ("extent", "stroke"))
        values = sum(array.size for array in loaded.tensors.values())
        if sound and max(options.n_z, math.prod(shape), classes) <= values:  # else no memory might hold them
            discriminator, generator = build_discriminator(options, shape, classes), build_generator(options, shape)
            return loaded.restore(discriminator, tested_part(loaded)), loaded.restore(generator)
    raise UserError(f"{loaded.path}: does not tell its networks, images and classes as train.py does")


def describe(loaded: Weights) -> dict[str, Any]:
    """What `predict.Predictor` has to know of the networks in a file, by its attributes' names."""
    options, about = loaded.options, loaded.about
    return {
        **{name: about.get(name) for name in ("image_shape", "class_names", "dataset", "ink")},
        "values": value_range(options),
        "latent": (options.n_z, *LATENT_RANGES[options.model]),
    }
