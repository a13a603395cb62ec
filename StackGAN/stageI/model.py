"""The networks of stage I of "StackGAN: Text to Photo-realistic Image Synthesis" (Zhang et al., 2017), section 3.3.

Pictures are float [batch, 64, 64, 3] in -1..1. Weights start as N(0, 0.02), the scales of batch normalisation as
N(1, 0.02). As in the original, no convolution has a bias: almost all have a normalisation behind them.
"""

import _path  # noqa: F401  (finds ../common)
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from common.layers import BatchNorm, Float32Weights

SIDE = 64  # of the pictures
START = SIDE // 16  # of the first features
DISCRIMINATOR = (1, 2, 4, 8)  # channels / df_dim, each half as large as the one before


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

    A pixel of the enlarged picture is one of four alike, so that the 3x3 kernel sees only 2x2 different ones: summing
    its weights first leaves 4 multiplications of 9. The kernel is [3, 3, channels, x's channels], upside down and
    mirrored.
    """

    def __init__(self, channels: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, shape) -> None:
        size = (3, 3, self.channels, shape[-1])
        self.kernel = self.add_weight(name="kernel", shape=size, initializer=normal())

    def call(self, x):
        padded = tf.pad(tf.convert_to_tensor(self.kernel), [[1, 1], [1, 1], [0, 0], [0, 0]])
        kernel = tf.cast(padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:], x.dtype)
        n, h, w, _ = x.shape
        size = [tf.shape(x)[0] if n is None else n, 2 * h, 2 * w, self.channels]
        return tf.nn.conv2d_transpose(x, kernel, size, strides=2, padding="SAME")


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


def over_picture(x, side: int):
    """Features [batch, n] at every place of a picture: [batch, side, side, n]."""
    return layers.Reshape((side, side, x.shape[-1]))(layers.RepeatVector(side * side)(x))


def residual(x, narrow: int, wide: int, name: str, activation):
    """x + a branch of 1x1, 3x3 and 3x3."""
    y = activation(conv_norm(x, narrow, f"{name}a", kernel=1))
    y = activation(conv_norm(y, narrow, f"{name}b"))
    return activation(layers.Add()([x, conv_norm(y, wide, f"{name}c")]))


def picture(x, name: str):
    return layers.Activation("tanh", dtype="float32", name=name)(x)


def build_generator(
    embedding_dim: int = 1024,
    condition_dim: int = 128,
    z_dim: int = 100,
    gf_dim: int = 128,
    network_type: str = "default",
    cond_augmentation: bool = True,
) -> keras.Model:
    """G_0 of equation 4.

    Args:
        embedding_dim: numbers of a sentence's embedding.
        condition_dim: numbers of the condition c.
        gf_dim: the channels are multiples of it.
        network_type: "default", or "simple": four transposed convolutions.
    Returns:
        A model of [embedding [batch, embedding_dim], eps [batch, condition_dim] from a truncated normal, z [batch,
        z_dim] from a normal] that gives float32 [picture [batch, 64, 64, 3], mean, log sigma [batch, condition_dim]].
    """
    embedding, eps, z = inputs = [
        layers.Input((size,), name=name)
        for name, size in (("embedding", embedding_dim), ("eps", condition_dim), ("z", z_dim))
    ]
    c, mean, log_sigma = condition(embedding, eps, condition_dim, cond_augmentation)
    x = layers.Concatenate()([c, z])
    x = norm(dense(x, START * START * 8 * gf_dim, "start"), "start")
    x = layers.Reshape((START, START, 8 * gf_dim))(x)  # 4 x 4
    if network_type == "simple":
        x = relu(x)
        for number, channels in enumerate((4 * gf_dim, 2 * gf_dim, gf_dim, 3), 1):
            layer = layers.Conv2DTranspose(
                channels, 4, 2, "same", use_bias=False, kernel_initializer=normal(), name=f"up_{number}"
            )
            x = layer(x) if channels == 3 else relu(norm(layer(x), f"up_{number}"))
    else:
        x = residual(x, 2 * gf_dim, 8 * gf_dim, "residual_1", relu)
        x = norm(UpConv(4 * gf_dim, name="up_1")(x), "up_1")  # 8 x 8
        x = residual(x, gf_dim, 4 * gf_dim, "residual_2", relu)
        x = relu(norm(UpConv(2 * gf_dim, name="up_2")(x), "up_2"))  # 16 x 16
        x = relu(norm(UpConv(gf_dim, name="up_3")(x), "up_3"))  # 32 x 32
        x = UpConv(3, name="up_4")(x)  # 64 x 64
    return keras.Model(inputs, [picture(x, "picture"), mean, log_sigma], name="generator")


def told_by_text(x, embedding, condition_dim: int, df_dim: int):
    """Features 4 x 4 of a picture and its text's embedding -> one float32 logit (section 3.3, the discriminator)."""
    text = over_picture(leaky(dense(embedding, condition_dim, "text")), START)
    x = leaky(conv_norm(layers.Concatenate()([x, text]), 8 * df_dim, "joined", kernel=1))
    x = layers.Flatten()(conv(x, 1, "logit", START, START, "valid"))
    return layers.Activation("linear", dtype="float32", name="logits")(x)


def normalised_as_before(discriminator: keras.Model) -> keras.Model:
    """The same model, which with training=False normalises as it did for the newest batch with training=True."""
    for layer in discriminator.layers:
        if isinstance(layer, BatchNorm):
            layer.momentum = 0.0
    return discriminator


def build_discriminator(
    embedding_dim: int = 1024, condition_dim: int = 128, df_dim: int = 64, network_type: str = "default"
) -> keras.Model:
    """D_0 of equation 3: whether a picture is real and what the text says; `normalised_as_before`.

    Returns:
        A model of [picture [batch, 64, 64, 3], embedding [batch, embedding_dim]] that gives float32 logits [batch, 1].
    """
    x = shown = layers.Input((SIDE, SIDE, 3), name="picture")
    embedding = layers.Input((embedding_dim,), name="embedding")
    for number, multiple in enumerate(DISCRIMINATOR, 1):
        x = conv(x, multiple * df_dim, f"down_{number}", kernel=4, stride=2)  # 32, 16, 8, 4 a side
        x = norm(x, f"down_{number}") if number > 1 else x
        x = leaky(x) if number < len(DISCRIMINATOR) else x
    x = leaky(x) if network_type == "simple" else residual(x, 2 * df_dim, 8 * df_dim, "residual", leaky)
    logits = told_by_text(x, embedding, condition_dim, df_dim)
    return normalised_as_before(keras.Model([shown, embedding], logits, name="discriminator"))
