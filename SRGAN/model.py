"""The networks of "Photo-Realistic Single Image Super-Resolution Using a GAN" (Ledig et al., 2017), figure 4.

Images are float [batch, height, width, 3] in -1..1: lr is the low resolution image, hr the high resolution original, sr
what the generator makes of lr.
"""

import argparse
import math

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from common.cli import UserError
from common.layers import BatchNorm
from common.weights import Weights

NETWORK = "SRGAN"
SCALES = (2, 4, 8)
UPSAMPLINGS = ("shuffle", "resize")
BUILD = ("scale", "upsampling", "blocks", "channels")  # the options that make a generator what it is
DISCRIMINATOR = ((64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2))  # channels and stride


class PixelShuffle(keras.layers.Layer):
    """Channels become pixels (Shi et al., 2016): [n, h, w, 4 c] -> [n, 2 h, 2 w, c]."""

    def call(self, x):
        return tf.nn.depth_to_space(x, 2)


class ICNR(keras.initializers.Initializer):
    """Initial weights of a convolution before a pixel shuffle (Aitken et al., 2017): the four pixels that come of one
    are equal, so that training does not begin with a grid."""

    def __call__(self, shape, dtype=None, **kwargs):
        quarter = keras.initializers.GlorotUniform()([*shape[:-1], shape[-1] // 4], dtype=dtype)
        return tf.tile(quarter, [1, 1, 1, 4])


def build_generator(scale: int = 4, upsampling: str = "shuffle", blocks: int = 16, channels: int = 64) -> keras.Model:
    """The generator, SRResNet: lr of any size [batch, h, w, 3] -> sr float32 [batch, scale h, scale w, 3].

    Args:
        upsampling: "shuffle", the paper's convolution to 4 times the channels, pixel shuffle and PReLU; or "resize",
            the ModelZoo code's convolution, nearest neighbours and leaky ReLU.
    """
    lr = layers.Input((None, None, 3), name="lr")

    def conv(x, filters, kernel, name, initializer="glorot_uniform"):
        return layers.Conv2D(filters, kernel, padding="same", kernel_initializer=initializer, name=name)(x)

    def prelu(x, name):
        return layers.PReLU(shared_axes=[1, 2], name=name)(x)  # one slope a channel

    x = first = prelu(conv(lr, channels, 9, "first"), "first_prelu")
    for number in range(1, blocks + 1):
        name, before = f"block_{number}", x
        x = conv(x, channels, 3, f"{name}_conv_1")
        x = prelu(BatchNorm(momentum=0.9, name=f"{name}_norm_1")(x), f"{name}_prelu")
        x = conv(x, channels, 3, f"{name}_conv_2")
        x = layers.Add()([BatchNorm(momentum=0.9, name=f"{name}_norm_2")(x), before])
    x = conv(x, channels, 3, "after_blocks")
    x = layers.Add()([BatchNorm(momentum=0.9, name="after_blocks_norm")(x), first])
    for number in range(1, int(math.log2(scale)) + 1):
        if upsampling == "shuffle":
            x = PixelShuffle(name=f"up_{number}_shuffle")(conv(x, 4 * channels, 3, f"up_{number}", ICNR()))
            x = prelu(x, f"up_{number}_prelu")
        else:
            x = layers.LeakyReLU(0.2)(layers.UpSampling2D(2)(conv(x, 4 * channels, 3, f"up_{number}")))
    x = conv(x, 3, 9, "last")
    return keras.Model(lr, layers.Activation("tanh", dtype="float32", name="sr")(x), name="generator")


def build_discriminator(size: int, channels: int = 64) -> keras.Model:
    """Whether images [batch, size, size, 3] are originals: float32 logits [batch, 1]."""
    image = layers.Input((size, size, 3), name="image")
    x = layers.LeakyReLU(0.2)(layers.Conv2D(channels, 3, padding="same", name="layer_1")(image))
    for number, (filters, stride) in enumerate(DISCRIMINATOR, 2):
        filters = filters * channels // 64
        x = layers.Conv2D(filters, 3, stride, padding="same", name=f"layer_{number}")(x)
        x = layers.LeakyReLU(0.2)(BatchNorm(momentum=0.9, name=f"layer_{number}_norm")(x))
    x = layers.LeakyReLU(0.2)(layers.Dense(16 * channels, name="dense")(layers.Flatten()(x)))
    x = layers.Dense(1, name="logit")(x)
    return keras.Model(image, layers.Activation("linear", dtype="float32")(x), name="discriminator")


def generator_for(options: argparse.Namespace) -> keras.Model:
    """The generator that a run's options ask for, with random weights."""
    return build_generator(**{name: getattr(options, name) for name in BUILD})


def load_generator(weights: Weights) -> keras.Model:
    """The generator that a file holds, its average where the training kept one.

    Raises:
        UserError: its options mean nothing, or are of another network than is in it.
    """
    values = vars(weights.options)
    whole = all(type(values.get(name)) is int and values[name] > 0 for name in ("scale", "blocks", "channels"))
    if not whole or values["scale"] not in SCALES or values.get("upsampling") not in UPSAMPLINGS:
        raise UserError(f"{weights.path}: its options are of no generator of {NETWORK}")
    # Before a network is built: a file's options may ask for any.
    if values["blocks"] * values["channels"] ** 2 * 18 > sum(array.size for array in weights.tensors.values()):
        raise UserError(f"{weights.path}: its options are of a larger network than is in it")
    return weights.restore(generator_for(weights.options))


def receptive_field(options: argparse.Namespace) -> int:
    """The generator's receptive field as a radius: how many pixels of lr, to each side, a pixel of sr depends on."""
    before = 4 + 2 * options.blocks + 1  # the first convolution, two a block, one after them
    # The upsampling convolutions and the last one, in pixels of ever larger images.
    after = sum(1 / 2**number for number in range(int(math.log2(options.scale)))) + 4 / options.scale
    return before + math.ceil(after) + 1


def bytes_per_pixel(options: argparse.Namespace) -> int:
    """About what the generator takes of memory for a pixel of lr."""
    channels = options.channels * (4 if options.upsampling == "resize" else 1)  # of the largest layer's output
    return 4 * 4 * channels * options.scale**2  # float32, four of it at a time (2.9 to 3.7 were measured)
