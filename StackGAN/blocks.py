"""The building blocks of both stages (Zhang et al., 2017, sections 3.2 to 3.4), and the discriminators, which differ
in little.

Weights start as N(0, 0.02), the scales of batch normalisation as N(1, 0.02). As in the original, no convolution has a
bias: almost all have a normalisation behind them.
"""

import argparse
from collections.abc import Iterator, Sequence
from typing import Optional, Union

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from common.layers import BatchNorm, Float32Weights, named_variables
from common.vgg19 import vgg19_input

START = 4  # size of the generators' first and the discriminators' last features


def normal() -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(0.0, 0.02)


def relu(x):
    return layers.ReLU()(x)


def leaky(x):
    return layers.LeakyReLU(0.2)(x)


def norm(x, name: str):
    return BatchNorm(momentum=0.9, epsilon=1e-5, gamma_stddev=0.02, name=f"{name}_norm")(x)


def dense(x, units: int, name: str):
    return layers.Dense(units, kernel_initializer=normal(), name=name)(x)


def conv(x, channels: int, name: str, kernel: int = 3, stride: int = 1, padding: str = "same"):
    return layers.Conv2D(
        channels, kernel, stride, padding, use_bias=False, kernel_initializer=normal(), name=name
    )(x)  # fmt: skip


def conv_norm(x, channels: int, name: str, kernel: int = 3, stride: int = 1):
    return norm(conv(x, channels, name, kernel, stride), name)


class UpConv(Float32Weights):
    """Nearest x2, then a 3x3 convolution, as one transposed 4x4 convolution of stride 2.

    A pixel of the enlarged image is one of four alike, so that the 3x3 kernel sees only 2x2 different ones: summing its
    weights first leaves 4 multiplications of 9. The kernel is [3, 3, channels, x's channels], upside down and mirrored.
    """

    SUMS = [[1.0, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]  # 3 weights of one axis -> 4

    def __init__(self, channels: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, shape) -> None:
        size = (3, 3, self.channels, shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=size, initializer=normal())

    def call(self, x):
        # Matrix products and not slices that are added up, whose gradients took a fifth of a step.
        sums, size = tf.constant(self.SUMS), self.channels * x.shape[-1]
        kernel = tf.matmul(sums, tf.reshape(tf.convert_to_tensor(self.kernel), [3, 3 * size]))
        kernel = tf.matmul(tf.stack([sums] * 4), tf.reshape(kernel, [4, 3, size]))
        kernel = tf.cast(tf.reshape(kernel, [4, 4, self.channels, x.shape[-1]]), x.dtype)
        n, h, w, _ = x.shape
        shape = [tf.shape(x)[0] if n is None else n, 2 * h, 2 * w, self.channels]
        return tf.nn.conv2d_transpose(x, kernel, shape, strides=2, padding="SAME")


class Augment(layers.Layer):
    """Conditioning augmentation (section 3.2): [(mean, log sigma), eps] -> c = mean + sigma eps, mean, log sigma."""

    def __init__(self, augment: bool = True, **kwargs) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.augment = augment

    def call(self, inputs):
        both, eps = inputs
        mean, log_sigma = tf.split(both, 2, axis=-1)
        c = mean + tf.exp(log_sigma) * eps if self.augment else mean
        return c, mean, log_sigma


def condition(embedding, eps, condition_dim: int, augment: bool):
    """c, mean and log sigma, float32 [batch, condition_dim] each; without augmentation c is the mean."""
    both = leaky(dense(embedding, 2 * condition_dim, "condition"))
    return Augment(augment, name="augment")([both, eps])


def up(x, channels: int, name: str):
    """Twice the size, with batch normalisation."""
    return norm(UpConv(channels, name=name)(x), name)


def tile(x, size: int):
    """Features [batch, n] at every place of an image: [batch, size, size, n]."""
    return layers.Reshape((size, size, x.shape[-1]))(layers.RepeatVector(size * size)(x))


def bottleneck(x, narrow: int, wide: int, name: str, activation):
    """x + a branch of 1x1, 3x3 and 3x3 convolutions."""
    y = activation(conv_norm(x, narrow, f"{name}a", kernel=1))
    y = activation(conv_norm(y, narrow, f"{name}b"))
    return activation(layers.Add()([x, conv_norm(y, wide, f"{name}c")]))


def as_image(x):
    return layers.Activation("tanh", dtype="float32", name="image")(x)


class Discriminator:
    """Whether an image is real and is what a text says, in two networks, so that an image that stands beside several
    texts is looked at once.

    With VGG19 it is several discriminators, which share nothing but the text: one of the image itself and one of each
    scale of VGG19's features (`projected`).

    Attributes:
        look: images float32 [batch, h, h, 3] in -1..1 -> what `image` takes: they, or with VGG19 [they, its features];
            which are those of `pieces` of them, if there are any.
        image: -> features [batch, 4, 4, k 8 df_dim] of the k discriminators.
        text: [features, embedding [batch, d]] -> float32 logits [batch, k].
        alone: features -> float32 logits [batch, k] of the image without a text; None: it has none.
        match: [features, embedding] -> float32 [batch, embedding_dim] of the image and of the text, which are to be
            alike where they fit; None: it has none.
    """

    def __init__(
        self, image: keras.Model, embedding_size: int, o: argparse.Namespace, vgg19: Optional[keras.Model] = None
    ) -> None:
        scales = ["", *(f"vgg19_{number}_" for number in range(len(vgg19.outputs) if vgg19 else 0))]
        channels = image.output.shape[-1] // len(scales)
        features = layers.Input(image.output.shape[1:], name="features", dtype=image.output.dtype)
        embedding = layers.Input((embedding_size,), name="embedding")
        text = tile(leaky(dense(embedding, o.embedding_dim, "text")), START)
        parts = [features[..., start : start + channels] for start in range(0, features.shape[-1], channels)]

        def joined(x, scale: str):
            x = leaky(conv_norm(layers.Concatenate()([x, text]), channels, f"{scale}joined", kernel=1))
            return logits(x, f"{scale}logit")

        self.image, self.vgg19, self.alone, self.match = image, vgg19, None, None
        given = beside([joined(x, scale) for x, scale in zip(parts, scales)])
        self.text = keras.Model([features, embedding], given, name="discriminator_text")
        if o.unconditional:
            alone = beside([logits(x, f"{scale}alone") for x, scale in zip(parts, scales)])
            self.alone = keras.Model(features, alone, name="discriminator_alone")
        if o.contrastive:
            pooled = layers.GlobalAveragePooling2D()(features)
            both = [dense(pooled, o.embedding_dim, "match_image"), dense(embedding, o.embedding_dim, "match_text")]
            both = [layers.Activation("linear", dtype="float32")(x) for x in both]
            self.match = keras.Model([features, embedding], both, name="discriminator_match")
        # With training=False it normalises as it did for the newest batch with training=True.
        for layer in [layer for network in self for layer in network.layers if isinstance(layer, BatchNorm)]:
            layer.momentum = 0.0

    def look(self, images: tf.Tensor, pieces: Optional[tf.Tensor] = None) -> Union[tf.Tensor, list[tf.Tensor]]:
        if self.vgg19 is None:
            return images
        near = images if pieces is None else pieces
        return [images, *self.vgg19(vgg19_input((near + 1.0) * 127.5), training=False)]

    def __iter__(self) -> Iterator[keras.Model]:
        return iter(network for network in (self.image, self.text, self.alone, self.match) if network is not None)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """By names, as `named_variables` of each network gives them."""
        return {name: variable for network in self for name, variable in named_variables(network).items()}


def logits(x, name: str):
    x = layers.Flatten()(conv(x, 1, name, START, START, "valid"))
    return layers.Activation("linear", dtype="float32", name=f"{name}s")(x)


def beside(xs: list):
    """Tensors, joined along their last axis."""
    return layers.Concatenate()(xs) if len(xs) > 1 else xs[0]


def halvings(x, multiples: Sequence[int], df_dim: int):
    """4x4 convolutions of stride 2, their channels multiples of `df_dim`; no activation at the end."""
    for number, multiple in enumerate(multiples, 1):
        x = conv(x, multiple * df_dim, f"down_{number}", kernel=4, stride=2)
        x = norm(x, f"down_{number}") if number > 1 else x
        x = leaky(x) if number < len(multiples) else x
    return x
