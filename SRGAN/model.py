"""The networks of "Photo-Realistic Single Image Super-Resolution Using a GAN" (Ledig et al., 2017), figure 4.

Pictures are float [batch, height, width, 3] in -1..1, small ones and large ones.
"""

import argparse
import math

import _path  # noqa: F401  (finds ../common)
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from common.layers import BatchNorm

SCALES = (2, 4, 8)
UPSAMPLINGS = ("shuffle", "resize")
DISCRIMINATOR = ((64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2))  # channels and stride


class PixelShuffle(keras.layers.Layer):
    """Channels become pixels (Shi et al., 2016): [n, h, w, 4 c] -> [n, 2 h, 2 w, c]."""

    def call(self, x):
        return tf.nn.depth_to_space(x, 2)


def build_generator(scale: int = 4, upsampling: str = "shuffle", blocks: int = 16, channels: int = 64) -> keras.Model:
    """The generator, SRResNet: any picture [batch, h, w, 3] -> float32 [batch, scale h, scale w, 3].

    Args:
        upsampling: "shuffle", the paper's convolution to 4 times the channels, pixel shuffle and PReLU; or "resize",
            the page's convolution, nearest neighbours and leaky ReLU.
    """
    picture = layers.Input((None, None, 3), name="picture")

    def conv(x, filters, kernel, name):
        return layers.Conv2D(filters, kernel, padding="same", name=name)(x)

    def prelu(x, name):
        return layers.PReLU(shared_axes=[1, 2], name=name)(x)  # one slope a channel

    x = first = prelu(conv(picture, channels, 9, "first"), "first_prelu")
    for number in range(1, blocks + 1):
        name, before = f"block_{number}", x
        x = conv(x, channels, 3, f"{name}_conv_1")
        x = prelu(BatchNorm(momentum=0.9, name=f"{name}_norm_1")(x), f"{name}_prelu")
        x = conv(x, channels, 3, f"{name}_conv_2")
        x = layers.Add()([BatchNorm(momentum=0.9, name=f"{name}_norm_2")(x), before])
    x = conv(x, channels, 3, "after_blocks")
    x = layers.Add()([BatchNorm(momentum=0.9, name="after_blocks_norm")(x), first])
    for number in range(1, int(math.log2(scale)) + 1):
        x = conv(x, 4 * channels, 3, f"up_{number}")
        if upsampling == "shuffle":
            x = prelu(PixelShuffle(name=f"up_{number}_shuffle")(x), f"up_{number}_prelu")
        else:
            x = layers.LeakyReLU(0.2)(layers.UpSampling2D(2)(x))
    x = conv(x, 3, 9, "last")
    return keras.Model(picture, layers.Activation("tanh", dtype="float32", name="output")(x), name="generator")


def build_discriminator(side: int, channels: int = 64) -> keras.Model:
    """Whether pictures [batch, side, side, 3] are real ones: float32 logits [batch, 1]."""
    picture = layers.Input((side, side, 3), name="picture")
    x = layers.LeakyReLU(0.2)(layers.Conv2D(channels, 3, padding="same", name="layer_1")(picture))
    for number, (filters, stride) in enumerate(DISCRIMINATOR, 2):
        filters = filters * channels // 64
        x = layers.Conv2D(filters, 3, stride, padding="same", name=f"layer_{number}")(x)
        x = layers.LeakyReLU(0.2)(BatchNorm(momentum=0.9, name=f"layer_{number}_norm")(x))
    x = layers.LeakyReLU(0.2)(layers.Dense(16 * channels, name="dense")(layers.Flatten()(x)))
    x = layers.Dense(1, name="logit")(x)
    return keras.Model(picture, layers.Activation("linear", dtype="float32")(x), name="discriminator")


def reach(options: argparse.Namespace) -> int:
    """How many pixels of the small picture, to each side, one pixel of the large picture is drawn from."""
    small = 4 + 2 * options.blocks + 1  # the first convolution, two a block, one after them
    enlarged = 0.0  # the upsampling convolutions and the last one, in pixels of ever larger pictures
    for number in range(int(math.log2(options.scale))):
        enlarged += 1 / 2**number
    return small + math.ceil(enlarged + 4 / options.scale) + 1
