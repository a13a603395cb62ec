"""The networks of "Editing Text in the Wild" (Wu et al., 2019), section 3.

Images are float [batch, height, width, 3] in -1..1, height and width multiples of 8.
"""

import argparse
from collections.abc import Sequence
from typing import Any, Callable, Optional

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from common.cli import UserError
from common.layers import BatchNorm

RESIDUAL_BLOCKS = 4
MOMENTUM = 0.9  # of the moving averages: with 0.99 they lag behind the first thousand steps, and o_t is blank
DISCRIMINATOR = (2, 4, 8, 16)  # times the channels: 64, 128, 256, 512
NO_SKIPS = (None,) * 4  # no skip connections into a decoder
COLOURS = 4  # of the source that o_t, and anew o_b, are made of


class Palette(layers.Layer):
    """[logits [n, h, w, k], image [n, h, w, 3]] -> k means of the image's pixels, float32 [n, k, 3]: attention."""

    def call(self, inputs):
        logits, image = (tf.reshape(x, [tf.shape(x)[0], -1, x.shape[-1]]) for x in inputs)
        return tf.matmul(tf.nn.softmax(logits, axis=1), image, transpose_a=True)


class Paint(layers.Layer):
    """[logits [n, h, w, 1 + k], colours [n, k, 3], image [n, h, w, 3] or nothing] -> float32 [n, h, w, 3]: each pixel a
    mixture of the colours and the image's own pixel, or of the colours and grey. And the logits of the colours' share,
    float32 [n, h, w, 1]."""

    def call(self, inputs):
        logits, colours, *image = inputs
        shares = tf.nn.softmax(logits)
        painted = tf.matmul(shares[..., 1:], colours[:, None])  # grey is 0
        share = tf.reduce_logsumexp(logits[..., 1:], -1, keepdims=True) - logits[..., :1]
        return painted + shares[..., :1] * image[0] if image else painted, share


class Network:
    """Names layers and keeps them, so that a part that is applied to other inputs again has the same weights.

    Args:
        options: of a training: `cnum`, channels of the first layers (8 times as many in the deepest), and `skips`.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.channels, self.skips = options.cnum, getattr(options, "skips", False)
        self._layers: dict[str, keras.layers.Layer] = {}

    def layer(self, kind: Callable, name: str, *args: Any, **options: Any) -> keras.layers.Layer:
        if name not in self._layers:
            self._layers[name] = kind(*args, name=name, **options)
        return self._layers[name]

    def conv(self, x, channels: int, name: str, stride: int = 1, kernel: int = 3, kind=layers.Conv2D):
        return self.layer(kind, name, channels, kernel, stride, padding="same")(x)

    def normalized(self, x, name: str):
        return self.layer(BatchNorm, f"{name}_norm", momentum=MOMENTUM)(x)

    def cbr(self, x, channels: int, name: str):
        """Convolution, normalisation, leaky ReLU."""
        return leaky(self.normalized(self.conv(x, channels, name), name))

    def image(self, x, name: str):
        return self.layer(layers.Activation, name, "tanh", dtype="float32")(self.conv(x, 3, f"{name}_last"))

    def sigmoid(self, x, name: str):
        return self.layer(layers.Activation, name, "sigmoid", dtype="float32")(x)

    def palette(self, image, features: Sequence, name: str):
        """Colours [batch, COLOURS, 3] of an image, found by features at a quarter, at a half and at all of its size."""
        where = [self.conv(x, COLOURS, f"{name}_{size}") for x, size in zip(features, ("quarter", "half", "full"))]
        where = [layers.UpSampling2D(factor)(x) for x, factor in zip(where[:2], (4, 2))] + where[2:]
        return self.layer(Palette, f"{name}_colours", dtype="float32")([layers.Add()(where), image])

    def painted(self, x, colours, name: str, image: Sequence = ()):
        """What features make of colours, and of an image if there is one; and the logits of the colours' share."""
        mixture = self.conv(x, 1 + COLOURS, f"{name}_mixture")
        return self.layer(Paint, name, dtype="float32")([mixture, colours, *image])

    def blended(self, before, x, colours, name: str):
        """An image, or what features make anew, of colours and freely: pixel by pixel one or the other, or between."""
        made, _ = self.painted(x, colours, f"{name}_painted", [self.image(x, f"{name}_made")])
        share = self.sigmoid(self.conv(x, 1, f"{name}_mask"), f"{name}_share")
        return before + share * (made - before)

    def encoder(self, x, name: str):
        """Features at an eighth of the size, of 8 * channels, and those at a quarter, at a half and at all of it."""
        channels = self.channels
        x = self.cbr(self.cbr(x, channels, f"{name}_1a"), channels, f"{name}_1b")
        features = [x]
        for level in (2, 3, 4):
            channels *= 2
            x = leaky(self.conv(x, channels, f"{name}_{level}_down", stride=2))
            x = self.cbr(self.cbr(x, channels, f"{name}_{level}a"), channels, f"{name}_{level}b")
            features.append(x)
        return x, features[2::-1]

    def residual_blocks(self, x, name: str):
        channels = x.shape[-1]
        for number in range(1, RESIDUAL_BLOCKS + 1):
            block = f"{name}_residual_{number}"
            y = leaky(self.conv(x, channels // 4, f"{block}a", kernel=1))
            y = leaky(self.conv(y, channels // 4, f"{block}b"))
            y = self.conv(y, channels, f"{block}c", kernel=1)
            x = leaky(self.normalized(layers.Add()([x, y]), block))
        return x

    def decoder(self, x, name: str, skips: Sequence = NO_SKIPS):
        """Features at the full size, of `channels`, and those at an eighth, a quarter, a half and all of it.

        Args:
            skips: joined to the features of those sizes before their convolutions, where there is one.
        """
        features = []
        for level, skip in enumerate(skips, 1):
            width = self.channels * 2 ** (4 - level)
            if level > 1:
                x = leaky(self.conv(x, width, f"{name}_{level}_up", stride=2, kind=layers.Conv2DTranspose))
            if skip is not None:
                x = layers.Concatenate()([x, skip])
            x = self.cbr(self.cbr(x, width, f"{name}_{level}a"), width, f"{name}_{level}b")
            features.append(x)
        return x, features


def leaky(x):
    return layers.LeakyReLU(0.2)(x)


def text_conversion(net: Network, i_t, i_s):
    """Section 3.1: the wanted word's skeleton, the word in the source's style on grey, the skeleton's logits, and with
    skips the colours that the word is made of and the logits of where it is painted, else None.

    Skips are U-Net's connections, which the paper has for the background alone: strokes from i_t at all sizes, and
    colours from i_s at a quarter, then need not pass through the bottleneck. At larger sizes i_s's own letters would,
    and o_t became a copy of them. And o_t's colours are means of i_s's pixels: batches of a few images, normalised,
    tell little of a colour, of which L1 then makes grey.
    """
    text, strokes = net.encoder(i_t, "text")
    style, colours = net.encoder(i_s, "style")
    both = layers.Concatenate()([net.residual_blocks(text, "text"), net.residual_blocks(style, "style")])
    skeleton, _ = net.decoder(both, "skeleton", (None, *strokes) if net.skips else NO_SKIPS)
    logits = net.conv(skeleton, 1, "o_sk_last")
    styled_skips = (None, layers.Concatenate()([strokes[0], colours[0]]), *strokes[1:]) if net.skips else NO_SKIPS
    styled, _ = net.decoder(both, "styled", styled_skips)
    x = net.cbr(layers.Concatenate()([styled, skeleton]), 2 * net.channels, "styled_joined")
    o_sk = net.sigmoid(logits, "o_sk")
    if not net.skips:
        return o_sk, net.image(x, "o_t"), logits, None, None
    palette = net.palette(i_s, colours, "o_t")
    o_t, painted = net.painted(x, palette, "o_t")
    return o_sk, o_t, logits, palette, painted


def background_inpainting(net: Network, i_s):
    """Section 3.2: the source without its word, and its decoder's features.

    With skips at the full size too, and of i_s's pixels, since what is not erased stays as it is.
    """
    x, (quarter, half, full) = net.encoder(i_s, "background")
    connections = (None, quarter, half, full if net.skips else None)
    x, features = net.decoder(net.residual_blocks(x, "background"), "filled", connections)
    if not net.skips:
        return net.image(x, "o_b"), features
    colours = net.palette(i_s, features[1:], "o_b")
    return net.blended(i_s, layers.Concatenate()([x, i_s]), colours, "o_b"), features


def fusion(net: Network, o_t, share, o_b, background: Sequence, colours):
    """Section 3.3: the styled word on the background.

    Skips are from the word's encoder in place of the background's decoder, and of o_t's and o_b's pixels: what is made
    anew stands beside o_t over o_b, as it is. What was there comes by o_b alone: that decoder knows the source's word,
    and o_f would show it again.

    Args:
        share: with skips, o_t's share of each pixel, [batch, height, width, 1] in 0..1.
        background: features of its decoder, at an eighth, a quarter, a half and all of the size.
        colours: that o_t is made of, with skips.
    """
    x, word = net.encoder(o_t, "fusion")
    connections = (None, *word) if net.skips else (*background[:3], None)
    x, _ = net.decoder(net.residual_blocks(x, "fusion"), "fused", connections)
    if not net.skips:
        return net.image(x, "o_f")
    over = o_t + (1.0 - share) * o_b  # o_t is on grey, which is 0: its colours times their share
    return net.blended(over, layers.Concatenate()([x, o_t, o_b]), colours, "o_f")


def build_generators(
    options: argparse.Namespace, size: Sequence[Optional[int]] = (None, None), teacher_forcing: bool = False
) -> tuple[keras.Model, Optional[keras.Model]]:
    """The generator, and with teacher forcing the same network whose fusion gets the true styled word, so that no
    gradient of o_f reaches text conversion.

    Args:
        options: as `Network` has them.
        size: height and width, multiples of 8, or None: any.
    Returns:
        A model of [i_t, i_s], the wanted word in a standard font and the source, that gives
        [o_sk, o_t, o_b, o_f, logits]: float32, the skeleton [batch, height, width, 1] in 0..1, the styled word on grey,
        the background and the two in one image; and for the loss what the skeleton is the sigmoid of, after which
        comes, with skips, the same of o_t's share of each pixel. And a model of [i_t, i_s, t_t], with skips also of
        that word's mask, that gives the same, or None.
    """
    net = Network(options)
    i_t, i_s = (layers.Input((*size, 3), name=name) for name in ("i_t", "i_s"))
    o_sk, o_t, logits, colours, painted = text_conversion(net, i_t, i_s)
    o_b, background = background_inpainting(net, i_s)

    def with_fusion_of(styled, share, inputs: Sequence, name: str) -> keras.Model:
        o_f = fusion(net, styled, share, o_b, background, colours)
        return keras.Model(inputs, [o_sk, o_t, o_b, o_f, logits, *([painted] if net.skips else [])], name=name)

    share = net.sigmoid(painted, "o_t_share") if net.skips else None
    generator = with_fusion_of(o_t, share, [i_t, i_s], "generator")
    if not teacher_forcing:
        return generator, None
    t_t, mask_t = (layers.Input((*size, channels), name=name) for name, channels in (("t_t", 3), ("mask_t", 1)))
    inputs = [i_t, i_s, t_t, *([mask_t] if net.skips else [])]
    return generator, with_fusion_of(t_t, mask_t, inputs, "forced_generator")


def build_discriminator(options: argparse.Namespace, size: Sequence[Optional[int]] = (None, None)) -> keras.Model:
    """Both discriminators: of a background with its source, and of a fused image with the wanted word.

    The last layer is normalised too, so images to be told apart must be in one batch.

    Returns:
        A model of [background, i_s, fused, i_t] that gives float32 logits of patches
        [batch, height / 16, width / 16, 1], for the background and for the fused image.
    """
    net = Network(options)
    inputs = [layers.Input((*size, 3), name=name) for name in ("background", "i_s", "fused", "i_t")]
    logits = []
    for name, pair in (("background", inputs[:2]), ("fused", inputs[2:])):
        x = layers.Concatenate()(pair)
        for number, multiple in enumerate(DISCRIMINATOR, 1):
            x = net.conv(x, multiple * net.channels, f"{name}_d{number}", stride=2)
            x = leaky(net.normalized(x, f"{name}_d{number}") if number > 1 else x)
        x = net.normalized(net.conv(x, 1, f"{name}_d5"), f"{name}_d5")
        logits.append(layers.Activation("linear", dtype="float32", name=f"{name}_logits")(x))
    return keras.Model(inputs, logits, name="discriminator")


def load_generator(weights: Any) -> keras.Model:
    """The trained generator, for crops of any size.

    Args:
        weights: of `common.weights.load`.
    Raises:
        UserError: its options are not SRNet's, or its values are of other shapes.
    """
    options = weights.options
    numbers = [getattr(options, "cnum", None), *(getattr(options, "data_shape", None) or [None])]
    if len(numbers) != 3 or not all(type(n) is int and 0 < n <= 4096 for n in numbers):
        raise UserError(f"{weights.path}: its options do not say which network of SRNet it is")
    return weights.restore(build_generators(options)[0], "generator")
