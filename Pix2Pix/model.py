"""The networks of "Image-to-Image Translation with Conditional Adversarial Networks" (Isola et al., 2017), section 6.1.

Images are float [batch, height, width, channels] in -1..1. Weights start as N(0, 0.02). A convolution has a bias only
where no normalisation follows, which would take it away again.
"""

from typing import Optional

import _path  # noqa: F401  (finds ../common)
from data import DIRECTIONS, MODES, MULTIPLE
from layers import BatchNorm, SeededDropout
from tensorflow import keras
from tensorflow.keras import layers

from common.cli import UserError
from common.weights import Weights

NETWORK = "Pix2Pix"
ENCODER = (1, 2, 4, 8, 8, 8, 8, 8)  # channels / ngf: C64-C128-C256-C512-C512-C512-C512-C512
DECODER = (8, 8, 8, 8, 4, 2, 1)  # CD512-CD512-CD512-C512-C256-C128-C64
DROPOUTS = 3  # layers of the decoder
DISCRIMINATOR = ((1, 2), (2, 2), (4, 2), (8, 1))  # channels / ndf and stride: C64-C128-C256-C512


def convolution(layer, channels: int, stride: int = 2, padding: str = "same", **kwargs):
    """A 4x4 convolution, or a transposed one, as all of both networks are."""
    return layer(channels, 4, stride, padding, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.02), **kwargs)


def build_generator(
    height: Optional[int], width: Optional[int], input_nc: int = 3, output_nc: int = 3, ngf: int = 64
) -> keras.Model:
    """The U-Net: an encoder, a decoder, and skips from layer i to layer n - i.

    Args:
        height, width: multiples of 256; None for any.
    Returns:
        A model of [images [batch, height, width, input_nc], dropout's seed int32 [2]] that gives float32 images
        [batch, height, width, output_nc].
    """
    images = layers.Input((height, width, input_nc), name="images")
    seed = layers.Input((), batch_size=2, dtype="int32", name="seed")

    x, skips = images, []
    for number, multiple in enumerate(ENCODER, 1):
        innermost = number == len(ENCODER)
        if number > 1:
            x = layers.LeakyReLU(0.2)(x)
        normalised = 1 < number < len(ENCODER)  # the innermost 1x1 would become all zeros
        x = convolution(layers.Conv2D, multiple * ngf, use_bias=not normalised, name=f"encoder_{number}")(x)
        if normalised:
            x = BatchNorm(name=f"encoder_{number}_norm")(x)
        if not innermost:
            skips.append(x)  # height / 2^number

    x = layers.ReLU()(x)
    for number, multiple in enumerate(DECODER, 1):
        x = convolution(layers.Conv2DTranspose, multiple * ngf, use_bias=False, name=f"decoder_{number}")(x)
        x = BatchNorm(name=f"decoder_{number}_norm")(x)
        if number <= DROPOUTS:
            x = SeededDropout(number, name=f"decoder_{number}_dropout")([x, seed])
        x = layers.Concatenate()([x, skips.pop()])  # height / 2^(8 - number)
        x = layers.ReLU()(x)
    x = convolution(layers.Conv2DTranspose, output_nc, name="decoder_8")(x)
    return keras.Model([images, seed], layers.Activation("tanh", dtype="float32", name="output")(x), name="generator")


def build_discriminator(height: int, width: int, input_nc: int = 3, output_nc: int = 3, ndf: int = 64) -> keras.Model:
    """The 70x70 PatchGAN: whether each overlapping patch of (input, output) is real.

    Returns:
        A model of [input [batch, height, width, input_nc], output [batch, height, width, output_nc]] that gives float32
        logits [batch, patches, patches, 1], 30 x 30 of them for 256 x 256.
    """
    source = layers.Input((height, width, input_nc), name="input")
    target = layers.Input((height, width, output_nc), name="target")
    x = layers.Concatenate()([source, target])
    for number, (multiple, stride) in enumerate(DISCRIMINATOR, 1):
        x = layers.ZeroPadding2D(1)(x)
        x = convolution(layers.Conv2D, multiple * ndf, stride, "valid", use_bias=number == 1, name=f"layer_{number}")(x)
        if number > 1:
            x = BatchNorm(name=f"layer_{number}_norm")(x)
        x = layers.LeakyReLU(0.2)(x)  # height and width 128, 64, 32, 31 for 256
    x = layers.ZeroPadding2D(1)(x)
    x = convolution(layers.Conv2D, 1, 1, "valid", name="layer_5")(x)
    return keras.Model([source, target], layers.Activation("linear", dtype="float32")(x), name="discriminator")


def load_generator(weights: Weights) -> keras.Model:
    """A trained generator (its moving average where the run kept one), for images of any multiples of 256.

    Raises:
        UserError: the options beside the weights are not those of such a generator.
    """
    options, innermost = weights.options, weights.part("generator").get("encoder_8.0")
    try:  # nothing is built by numbers that the file only claims
        sound = innermost.shape == (4, 4, 8 * options.ngf, 8 * options.ngf)
        sound &= options.input_nc in MODES and options.output_nc in MODES
        sound &= options.fine_size in range(MULTIPLE, 8193, MULTIPLE) and options.which_direction in DIRECTIONS
    except (AttributeError, TypeError):
        sound = False
    if not sound:
        raise UserError(f"{weights.path}: its options are not those of its weights")
    generator = build_generator(None, None, options.input_nc, options.output_nc, options.ngf)
    return weights.restore(generator, "generator")
