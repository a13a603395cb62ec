"""The networks of ImprovedGAN: the original's (SSGAN), and the paper's for MNIST and for SVHN and CIFAR-10.

Latents are [batch, n_z]; images float32 [batch, height, width, channels] in [-1, 1], or in [0, 1] for the paper's
MNIST networks. Every layer with weights has a name: checkpoints go by it.
"""

import argparse
import math
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf
from layers import (
    FirstUpsampling,
    InstanceNorm,
    MinibatchDiscrimination,
    Noise,
    Resize,
    VirtualBatchNorm,
    WeightNorm,
    WithoutReference,
    WithReference,
    no_seed,
)
from predictor import BATCH, Predictor, in_batches
from tensorflow import keras
from tensorflow.keras import layers

from common import weights
from common.cli import UserError
from common.images import to_float
from common.layers import BatchNorm
from common.session import PRECISION_MODES, device_config, open_session
from common.weights import Weights

LATENT_RANGES = {"ssgan": (-1.0, 1.0), "paper": (0.0, 1.0)}
FOLDER = Path(__file__).resolve().parent
REFERENCE_BATCH = 100  # rows of virtual batch normalisation's reference batch


def _float32(x):
    """Logits and images leave a network in float32, whatever it computes in."""
    return layers.Activation("linear", dtype="float32")(x)


# The original's model.


def build_ssgan_generator(
    image_shape: Sequence[int], n_z: int = 128, deconv_type: str = "bilinear", norm_type: str = "batch"
) -> keras.Model:
    """z in (-1, 1) -> image in [-1, 1]. 6,420,417 parameters for MNIST.

    `deconv_type`: "bilinear" or "nn" (resize x2, then a 3x3 convolution), or "transpose" (4x4, stride 2).
    """
    height, width, channels = image_shape
    z = layers.Input((n_z,))
    x = layers.LeakyReLU(0.2)(layers.Dense(1024, name="dense")(z))
    if deconv_type == "transpose":
        x = layers.Reshape((1, 1, 1024))(x)
    size = 1024
    for i in range(math.ceil(math.log2(max(height, width)))):  # 1x1 -> 2x2 -> ... -> 32x32
        size = max(size // 2, channels)
        if i == 0 and deconv_type != "transpose":
            x = FirstUpsampling(size, name="deconv0")(x)
        elif deconv_type == "transpose":
            x = layers.Conv2DTranspose(size, 4, 2, "same", name=f"deconv{i}")(x)
        else:
            x = layers.UpSampling2D(2, interpolation="nearest" if deconv_type == "nn" else "bilinear")(x)
            x = layers.Conv2D(size, 3, padding="same", name=f"deconv{i}")(x)
        x = _norm(norm_type, f"norm{i}")(layers.ReLU()(x))
    x = layers.Activation("tanh")(layers.Conv2D(channels, 1, name="to_image")(x))
    return keras.Model(z, _float32(Resize((height, width))(x)), name="generator")


def build_ssgan_discriminator(image_shape: Sequence[int], n_classes: int, norm_type: str = "batch") -> keras.Model:
    """Image in [-1, 1] -> logits [n_classes + 1], the last one "fake". 996,555 parameters for MNIST."""
    x = images = layers.Input(tuple(image_shape))
    for i in range(math.ceil(math.log2(min(image_shape[:2])))):  # 28x28 -> 14x14 -> ... -> 1x1
        size = (32, 64, 128, 256, 256, 512)[min(i, 5)]
        x = layers.LeakyReLU(0.2)(layers.Conv2D(size, 3, 2, "same", name=f"conv{i}")(x))
        x = _norm(norm_type, f"norm{i}")(x)
    x = layers.LeakyReLU(0.2)(layers.Conv2D(size // 4, 1, name="conv_quarter")(x))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(n_classes + 1, 1, name="to_logits")(x))
    return keras.Model(images, _float32(x), name="discriminator")


def _norm(norm_type: str, name: str, scale: bool = True) -> keras.layers.Layer:
    if norm_type == "batch":
        return BatchNorm(scale=scale, name=name)
    if norm_type == "virtual":
        return VirtualBatchNorm(REFERENCE_BATCH, name=name)
    return InstanceNorm(name=name) if norm_type == "instance" else layers.Activation("linear", name=name)


# The paper's model for MNIST (section 6.1 and the published recipe): multilayer perceptrons.


def build_mlp_generator(image_shape: Sequence[int], n_z: int = 100, norm_type: str = "batch") -> keras.Model:
    """z in (0, 1) -> image in [0, 1]."""
    height, width, channels = image_shape
    x = z = layers.Input((n_z,))
    if norm_type == "virtual":
        x = WithReference(REFERENCE_BATCH, name="reference")(x)
    for i in range(2):
        x = layers.Dense(500, use_bias=False, name=f"dense{i}")(x)
        x = layers.Activation("softplus")(_norm(norm_type, f"norm{i}", scale=False)(x))
    x = WeightNorm(height * width * channels, train_scale=True, name="to_image")(x)
    if norm_type == "virtual":
        x = WithoutReference(REFERENCE_BATCH)(x)
    x = layers.Reshape(tuple(image_shape))(layers.Activation("sigmoid")(x))
    return keras.Model(z, _float32(x), name="generator")


def build_mlp_discriminator(
    image_shape: Sequence[int], n_classes: int, weight_norm: bool = True, minibatch: int = 0
) -> keras.Model:
    """(Image in [0, 1], seed) -> (features [250], logits [n_classes]).

    `minibatch`: rows of one minibatch for minibatch discrimination, 0 without.
    """
    images, seed = layers.Input(tuple(image_shape)), layers.Input((), batch_size=2, dtype="int32")
    x = Noise(0, stddev=0.3)([layers.Flatten()(images), seed])
    for i, size in enumerate((1000, 500, 250, 250, 250)):
        x = features = layers.ReLU()(WeightNorm(size, normalize=weight_norm, v_stdv=0.1, name=f"dense{i}")(x))
        x = Noise(i + 1, stddev=0.5)([x, seed])
    if minibatch:
        x = MinibatchDiscrimination(minibatch=minibatch, name="minibatch_discrimination")(x)
    logits = WeightNorm(n_classes, train_scale=True, normalize=weight_norm, v_stdv=0.1, name="to_logits")(x)
    return keras.Model([images, seed], [_float32(features), _float32(logits)], name="discriminator")


# The paper's model for SVHN and CIFAR-10 (section 6.2 and the published recipe): convolutions.


def build_conv_generator(image_shape: Sequence[int], n_z: int = 100, norm_type: str = "batch") -> keras.Model:
    """z in (0, 1) -> image in [-1, 1], in the manner of DCGAN (Radford et al., 2016)."""
    height, width, channels = image_shape
    x = z = layers.Input((n_z,))
    if norm_type == "virtual":
        x = WithReference(REFERENCE_BATCH, name="reference")(x)
    rows, columns = -(-height // 8), -(-width // 8)
    x = layers.Dense(rows * columns * 512, use_bias=False, name="dense")(x)
    x = layers.Reshape((rows, columns, 512))(x)  # 4x4 for 32x32
    x = layers.ReLU()(_norm(norm_type, "norm0", scale=False)(x))
    for i, size in enumerate((256, 128)):  # 8x8, 16x16
        x = layers.Conv2DTranspose(size, 5, 2, "same", use_bias=False, name=f"deconv{i}")(x)
        x = layers.ReLU()(_norm(norm_type, f"norm{i + 1}", scale=False)(x))
    last = {"kernel": 5, "strides": 2, "transpose": True, "train_scale": True, "init_stdv": 0.1}
    x = WeightNorm(channels, name="to_image", **last)(x)  # 32x32
    x = layers.Activation("tanh")(x)
    if norm_type == "virtual":
        x = WithoutReference(REFERENCE_BATCH)(x)
    if (rows * 8, columns * 8) != (height, width):
        x = Resize((height, width))(x)
    return keras.Model(z, _float32(x), name="generator")


def build_conv_discriminator(
    image_shape: Sequence[int], n_classes: int, size: int = 96, weight_norm: bool = True, minibatch: int = 0
) -> keras.Model:
    """(Image in [-1, 1], seed) -> (features [2 size], logits [n_classes]): nine layers, dropout between them.

    `size`: channels of the first layers, 96 for CIFAR-10 and 64 for SVHN.
    """
    images, seed = layers.Input(tuple(image_shape)), layers.Input((), batch_size=2, dtype="int32")

    def conv(x, units, kernel, strides, padding, name):
        x = WeightNorm(units, kernel, strides, padding, normalize=weight_norm, name=name)(x)
        return layers.LeakyReLU(0.2)(x)

    x = Noise(0, dropout=0.2)([images, seed])
    for block, units in enumerate((size, 2 * size)):  # 32x32 -> 16x16 -> 8x8
        for i, strides in enumerate((1, 1, 2)):
            x = conv(x, units, 3, strides, "SAME", f"conv{block}{i}")
        x = Noise(block + 1, dropout=0.5)([x, seed])
    for i, kernel in enumerate((3, 1, 1)):  # 6x6
        x = conv(x, 2 * size, kernel, 1, "VALID", f"conv2{i}")
    x = features = layers.GlobalAveragePooling2D()(x)
    if minibatch:
        x = MinibatchDiscrimination(minibatch=minibatch, name="minibatch_discrimination")(x)
    logits = WeightNorm(n_classes, train_scale=True, init_stdv=0.1, normalize=weight_norm, name="to_logits")(x)
    return keras.Model([images, seed], [_float32(features), _float32(logits)], name="discriminator")


# Whichever a run's options ask for.


def build_generator(options: argparse.Namespace, image_shape: Sequence[int]) -> keras.Model:
    """Latents [batch, n_z] -> images [batch, height, width, channels] in `value_range`."""
    if options.model == "ssgan":
        return build_ssgan_generator(image_shape, options.n_z, options.deconv_type, options.norm_type)
    build = build_mlp_generator if options.recipe == "mnist" else build_conv_generator
    return build(image_shape, options.n_z, options.norm_type)


def build_discriminator(
    options: argparse.Namespace, image_shape: Sequence[int], n_classes: int, batch_size: Optional[int] = None
) -> keras.Model:
    """Images, and for the paper's model the noise's seed -> logits, and for the paper's model features.

    `batch_size`: rows of a minibatch for minibatch discrimination (a worker's shard); the options' own without it.
    """
    if options.model == "ssgan":
        return build_ssgan_discriminator(image_shape, n_classes, options.norm_type)
    minibatch = (batch_size or options.batch_size) if options.minibatch_discrimination else 0
    paper = {"weight_norm": options.weight_norm, "minibatch": minibatch}
    if options.recipe == "mnist":
        return build_mlp_discriminator(image_shape, n_classes, **paper)
    return build_conv_discriminator(image_shape, n_classes, size=64 if options.recipe == "svhn" else 96, **paper)


def value_range(options: argparse.Namespace) -> tuple[float, float]:
    """The values that black and white have for a run's networks."""
    return (0.0, 1.0) if options.model == "paper" and options.recipe == "mnist" else (-1.0, 1.0)


def classify(discriminator: keras.Model, options: argparse.Namespace, images):
    """Class logits [batch, n_classes] of images in `value_range`, as at test: no noise, moving averages."""
    if options.model == "ssgan":
        return discriminator(images, training=False)[:, :-1]  # without "fake"
    _, logits = discriminator([images, no_seed()], training=False)
    return logits


def predict_logits(
    discriminator: keras.Model, options: argparse.Namespace, images: np.ndarray, size: int = 500
) -> np.ndarray:
    """Class logits [n, n_classes] of uint8 images [n, height, width, channels], `size` at a time."""
    if not hasattr(discriminator, "classify_graph"):  # made once for each network
        discriminator.classify_graph = tf.function(lambda rows: classify(discriminator, options, rows))

    def logits(rows):
        return discriminator.classify_graph(tf.constant(to_float(rows, value_range(options)))).numpy()

    if options.minibatch_discrimination:  # which sees the other images of the batch, so that none may be made up
        return np.concatenate([logits(images[start : start + size]) for start in range(0, len(images), size)])
    return in_batches(logits, images, size)


# Trained ones.


def load_generator(loaded: Weights) -> keras.Model:
    """The trained generator, or the exponential average of its weights where the file has it."""
    return _load(loaded, "generator", lambda shape, classes: build_generator(loaded.options, shape))


def load_discriminator(loaded: Weights) -> keras.Model:
    """The trained discriminator that is tested: the average of its weights."""
    return _load(loaded, "average", lambda shape, classes: build_discriminator(loaded.options, shape, classes))


def _load(loaded: Weights, part: str, build: Callable) -> keras.Model:
    """One of a file's networks, built as its record says if that is no more than the file can hold."""
    options, about, network = loaded.options, loaded.about, None
    with suppress(LookupError, TypeError, ValueError, AttributeError):  # of a record that train.py did not write
        (height, width, channels), n_z, ink = about["image_shape"], options.n_z, about.get("ink")
        pixels, classes = height * width * channels, len(about["class_names"])
        layer = n_z * 1024 if options.model == "ssgan" else n_z * height * width * 8
        if options.model == "paper" and options.recipe == "mnist":
            layer = (n_z + pixels) * 500
        fits = max(layer, pixels) <= sum(array.size for array in loaded.tensors.values())
        fits = fits and 1 < classes <= 10**4 and min(height, width, n_z) > 0 and channels in (1, 3)
        if fits and (ink is None or 0 < min(ink["extent"], ink["stroke"]) <= max(ink["extent"], ink["stroke"]) < 100):
            network = build((height, width, channels), classes)
    if network is None:
        raise UserError(f"{loaded.path}: does not tell its networks, images and classes as train.py does")
    return loaded.restore(network, part)


def describe(loaded: Weights) -> dict[str, Any]:
    """What `Predictor` has to know of the networks in a file."""
    options, about = loaded.options, loaded.about
    return {
        **{name: about.get(name) for name in ("image_shape", "class_names", "dataset", "ink")},
        "values": value_range(options),
        "latent": (options.n_z, *LATENT_RANGES[options.model]),
    }


def open_checkpoint(path: Optional[str], args: argparse.Namespace) -> Predictor:
    """The networks in a file of weights or a run's folder; without a `path` those in pretrained/.

    Args:
        args: the flags `device` and `precision_mode`.
    """
    loaded = weights.load(path, "ImprovedGAN", FOLDER)
    if args.precision_mode not in PRECISION_MODES:
        raise UserError(f"--precision_mode {args.precision_mode}: none of {', '.join(PRECISION_MODES)}")
    session, options = open_session(device_config(args)), loaded.options
    discriminator = load_discriminator(loaded)
    generator = lru_cache(None)(lambda: load_generator(loaded))  # when it is first asked for
    graph = tf.function(lambda z: generator()(z, training=False))

    def classify_images(images, size=BATCH):
        return tf.nn.softmax(predict_logits(discriminator, options, images, size)).numpy()

    def draw(z, size=BATCH):
        generator()  # is made outside of the graph
        return in_batches(lambda rows: graph(tf.constant(rows)).numpy(), z, size)

    trained_on = f"{loaded.about.get('dataset')} with {options.n_labels or 'all'} labels, {loaded.step} steps"
    own = {"trained_on": trained_on, "options": vars(options), "session": session, "generator": generator}
    return Predictor(loaded.path, describe(loaded), classify_images, draw, **own)
