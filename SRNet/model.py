"""The networks of "Editing Text in the Wild" (Wu et al., 2019), section 3.

Pictures are float [batch, height, width, 3] in -1..1, both sides multiples of 8.
"""

from collections.abc import Sequence
from typing import Optional

import _path  # noqa: F401  (finds ../common)
from tensorflow import keras
from tensorflow.keras import layers

from common.layers import BatchNorm

MULTIPLE = 8  # of a side: an encoder halves it three times
RESIDUAL_BLOCKS = 4
MOMENTUM = 0.9  # of the moving averages: with 0.99 they lag behind the first thousand steps, and o_t is drawn blank
DISCRIMINATOR = (2, 4, 8, 16)  # times the channels: 64, 128, 256, 512


def leaky(x):
    return layers.LeakyReLU(0.2)(x)


def conv(x, channels: int, name: str, stride: int = 1, kernel: int = 3, layer=layers.Conv2D):
    return layer(channels, kernel, stride, padding="same", name=name)(x)


def cbr(x, channels: int, name: str):
    """Convolution, batch normalisation, leaky ReLU."""
    return leaky(BatchNorm(momentum=MOMENTUM, name=f"{name}_norm")(conv(x, channels, name)))


def encoder(x, channels: int, name: str):
    """Features at an eighth of the size, of 8 * channels, and those at a half and at a quarter of it."""
    x = cbr(cbr(x, channels, f"{name}_1a"), channels, f"{name}_1b")
    features = []
    for level in (2, 3, 4):
        channels *= 2
        x = leaky(conv(x, channels, f"{name}_{level}_down", stride=2))
        x = cbr(cbr(x, channels, f"{name}_{level}a"), channels, f"{name}_{level}b")
        features.append(x)
    return x, features[:2]


def residual_blocks(x, name: str):
    channels = x.shape[-1]
    for number in range(1, RESIDUAL_BLOCKS + 1):
        block = f"{name}_residual_{number}"
        y = leaky(conv(x, channels // 4, f"{block}a", kernel=1))
        y = leaky(conv(y, channels // 4, f"{block}b"))
        y = conv(y, channels, f"{block}c", kernel=1)
        x = leaky(BatchNorm(momentum=MOMENTUM, name=f"{block}_norm")(layers.Add()([x, y])))
    return x


def decoder(x, channels: int, name: str, skips: Sequence = (None, None, None)):
    """Features at the full size, of `channels`, and those at an eighth, a quarter and a half of it.

    Args:
        skips: joined to the features of those three sizes before their convolutions, where there is one.
    """
    features = []
    for level, skip in enumerate((*skips, None), 1):
        width = channels * 2 ** (4 - level)
        if level > 1:
            x = leaky(conv(x, width, f"{name}_{level}_up", stride=2, layer=layers.Conv2DTranspose))
        if skip is not None:
            x = layers.Concatenate()([x, skip])
        x = cbr(cbr(x, width, f"{name}_{level}a"), width, f"{name}_{level}b")
        features.append(x)
    return x, features[:3]


def picture(x, name: str, channels: int = 3, activation: str = "tanh"):
    return layers.Activation(activation, dtype="float32", name=name)(conv(x, channels, f"{name}_last"))


def text_conversion(i_t, i_s, channels: int):
    """Section 3.1: the wanted word in the source's style, on grey, and its skeleton."""
    text, _ = encoder(i_t, channels, "text")
    style, _ = encoder(i_s, channels, "style")
    both = layers.Concatenate()([residual_blocks(text, "text"), residual_blocks(style, "style")])
    skeleton, _ = decoder(both, channels, "skeleton")
    o_sk = picture(skeleton, "o_sk", 1, "sigmoid")
    styled, _ = decoder(both, channels, "styled")
    joined = layers.Concatenate()([styled, skeleton])
    return o_sk, picture(cbr(joined, 2 * channels, "styled_joined"), "o_t")


def background_inpainting(i_s, channels: int):
    """Section 3.2: the source without its word, and its decoder's features."""
    x, (half, quarter) = encoder(i_s, channels, "background")
    x, features = decoder(residual_blocks(x, "background"), channels, "filled", (None, quarter, half))
    return picture(x, "o_b"), features


def fusion(o_t, background: Sequence, channels: int):
    """Section 3.3: the styled word on the background."""
    x, _ = encoder(o_t, channels, "fusion")
    x, _ = decoder(residual_blocks(x, "fusion"), channels, "fused", background)
    return picture(x, "o_f")


def build_generator(height: Optional[int] = None, width: Optional[int] = None, channels: int = 32) -> keras.Model:
    """All three parts of the generator.

    Args:
        height, width: multiples of 8, or None: any.
        channels: of the first layers, 8 times as many in the deepest.
    Returns:
        A model of [i_t, i_s], the wanted word in a standard font and the source, that gives float32
        [o_sk, o_t, o_b, o_f]: the skeleton [batch, height, width, 1] in 0..1, the styled word on grey, the background
        and the two in one picture.
    """
    i_t, i_s = (layers.Input((height, width, 3), name=name) for name in ("i_t", "i_s"))
    o_sk, o_t = text_conversion(i_t, i_s, channels)
    o_b, background = background_inpainting(i_s, channels)
    o_f = fusion(o_t, background, channels)
    return keras.Model([i_t, i_s], [o_sk, o_t, o_b, o_f], name="generator")


def build_discriminator(height: Optional[int] = None, width: Optional[int] = None, channels: int = 32) -> keras.Model:
    """Both discriminators: of a background with its source, and of a fused picture with the wanted word.

    Their last layer is a batch normalisation, so pictures to be told apart must be in one batch.

    Returns:
        A model of [background, i_s, fused, i_t] that gives float32 logits of patches
        [batch, height / 16, width / 16, 1], for the background and for the fused picture.
    """
    inputs = [layers.Input((height, width, 3), name=name) for name in ("background", "i_s", "fused", "i_t")]
    logits = []
    for name, pair in (("background", inputs[:2]), ("fused", inputs[2:])):
        x = layers.Concatenate()(pair)
        for number, multiple in enumerate(DISCRIMINATOR, 1):
            x = conv(x, multiple * channels, f"{name}_d{number}", stride=2)
            x = leaky(BatchNorm(momentum=MOMENTUM, name=f"{name}_d{number}_norm")(x) if number > 1 else x)
        x = BatchNorm(momentum=MOMENTUM, name=f"{name}_d5_norm")(conv(x, 1, f"{name}_d5"))
        logits.append(layers.Activation("linear", dtype="float32", name=f"{name}_logits")(x))
    return keras.Model(inputs, logits, name="discriminator")
