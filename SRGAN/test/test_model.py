"""The networks' sizes, shapes and receptive field, and the pixel shuffle by hand."""

import argparse

import numpy as np
import pytest
import tensorflow as tf
from model import ICNR, PixelShuffle, build_discriminator, build_generator, receptive_field


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_parameters():
    assert trainable(build_generator()) == 1_550_659
    assert trainable(build_generator(upsampling="resize")) == 2_039_555


@pytest.mark.parametrize("upsampling", ["shuffle", "resize"])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_generator_shapes(scale, upsampling):
    generator = build_generator(scale, upsampling, blocks=1, channels=4)
    lr = np.random.default_rng(0).uniform(-1, 1, (2, 5, 7, 3)).astype(np.float32)
    sr = generator(lr, training=False)
    assert sr.shape == (2, 5 * scale, 7 * scale, 3) and sr.dtype == tf.float32
    assert float(tf.reduce_max(tf.abs(sr))) <= 1


def test_discriminator():
    """48 pixels become 3 by four strides, 4 channels 32; of these the dense layer makes 64."""
    discriminator = build_discriminator(48, channels=4)
    logits = discriminator(np.zeros((2, 48, 48, 3), np.float32), training=False)
    assert logits.shape == (2, 1) and logits.dtype == tf.float32
    sizes = [discriminator.get_layer(f"layer_{number}").output.shape[1] for number in range(1, 9)]
    assert sizes == [48, 24, 24, 12, 12, 6, 6, 3]
    assert discriminator.get_layer("dense").get_weights()[0].shape == (3 * 3 * 32, 64)


def test_training_does_not_begin_with_a_grid():
    """The four pixels that a pixel shuffle makes of one are equal at first."""
    x = np.random.default_rng(0).uniform(-1, 1, (1, 6, 5, 3)).astype(np.float32)
    kernel = ICNR()([3, 3, 3, 8], dtype=tf.float32)
    shuffled = PixelShuffle()(tf.nn.conv2d(x, kernel, 1, "SAME")).numpy()
    np.testing.assert_array_equal(shuffled, shuffled[:, ::2, ::2].repeat(2, 1).repeat(2, 2))
    assert np.ptp(shuffled) > 0


@pytest.mark.parametrize("scale, blocks", [(4, 3), (2, 1), (8, 2)])
def test_receptive_field(scale, blocks):
    """No pixel beyond it moves an output pixel, and one not far within it does."""
    generator = build_generator(scale, blocks=blocks, channels=4)
    distance = receptive_field(argparse.Namespace(scale=scale, blocks=blocks))
    size = 2 * distance + 5
    lr = tf.Variable(tf.random.stateless_uniform([1, size, size, 3], [1, 2], -1, 1))
    with tf.GradientTape() as tape:
        row = generator(lr, training=False)[0, size // 2 * scale : (size // 2 + 1) * scale]
        one = tf.reduce_sum(row[:, size // 2 * scale : (size // 2 + 1) * scale])
    seen = np.abs(tape.gradient(one, lr).numpy()).max((0, 2, 3)) > 0
    offsets = np.flatnonzero(seen) - size // 2
    assert -distance <= offsets.min() and offsets.max() <= distance
    assert offsets.max() >= distance - 3
