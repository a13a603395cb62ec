"""The networks' sizes, shapes and reach, and the pixel shuffle by hand."""

import argparse

import numpy as np
import pytest
import tensorflow as tf
from model import PixelShuffle, build_discriminator, build_generator, reach


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_parameters():
    assert trainable(build_generator()) == 1_550_659
    assert trainable(build_generator(upsampling="resize")) == 2_039_555
    assert trainable(build_discriminator(192)) == 80_188_609


@pytest.mark.parametrize("upsampling", ["shuffle", "resize"])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_generator_shapes(scale, upsampling):
    generator = build_generator(scale, upsampling, blocks=1, channels=4)
    picture = np.random.default_rng(0).uniform(-1, 1, (2, 5, 7, 3)).astype(np.float32)
    drawn = generator(picture, training=False)
    assert drawn.shape == (2, 5 * scale, 7 * scale, 3) and drawn.dtype == tf.float32
    assert float(tf.reduce_max(tf.abs(drawn))) <= 1
    # At test a picture does not depend on its neighbour in the batch.
    np.testing.assert_allclose(generator(picture[:1], training=False), drawn[:1], atol=1e-6)


def test_discriminator_shapes():
    discriminator = build_discriminator(48, channels=4)
    logits = discriminator(np.zeros((2, 48, 48, 3), np.float32), training=False)
    assert logits.shape == (2, 1) and logits.dtype == tf.float32
    sides = [
        layer.output.shape[1] for layer in discriminator.layers if layer.name in [f"layer_{i}" for i in range(1, 9)]
    ]
    assert sides == [48, 24, 24, 12, 12, 6, 6, 3]


def test_pixel_shuffle():
    x = np.arange(8, dtype=np.float32).reshape(1, 1, 1, 8)  # two channels of 2 x 2
    expected = [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]
    np.testing.assert_array_equal(PixelShuffle()(x), expected)


@pytest.mark.parametrize("scale, blocks", [(4, 3), (2, 1), (8, 2)])
def test_reach(scale, blocks):
    """No pixel beyond the reach moves an output pixel, and one not far within it does."""
    generator = build_generator(scale, blocks=blocks, channels=4)
    distance = reach(argparse.Namespace(scale=scale, blocks=blocks))
    side = 2 * distance + 5
    picture = tf.Variable(tf.random.stateless_uniform([1, side, side, 3], [1, 2], -1, 1))
    with tf.GradientTape() as tape:
        row = generator(picture, training=False)[0, side // 2 * scale : (side // 2 + 1) * scale]
        one = tf.reduce_sum(row[:, side // 2 * scale : (side // 2 + 1) * scale])
    seen = np.abs(tape.gradient(one, picture).numpy()).max((0, 2, 3)) > 0
    offsets = np.flatnonzero(seen) - side // 2
    assert -distance <= offsets.min() and offsets.max() <= distance
    assert offsets.max() >= distance - 3
