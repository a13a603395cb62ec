"""The networks' sizes and shapes."""

import numpy as np
import pytest
import tensorflow as tf
from model import build_discriminator, build_generator


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_parameters():
    assert trainable(build_generator()) == 18_930_026
    assert trainable(build_discriminator()) == 3_118_214


@pytest.mark.parametrize("height, width", [(16, 32), (64, 24)])
def test_generator(height, width):
    generator = build_generator(channels=2)
    rng = np.random.default_rng(0)
    i_t, i_s = (rng.uniform(-1, 1, (2, height, width, 3)).astype(np.float32) for _ in range(2))
    outputs = generator([i_t, i_s], training=False)
    assert [tuple(x.shape) for x in outputs] == [(2, height, width, 1)] + [(2, height, width, 3)] * 3
    assert all(x.dtype == tf.float32 and float(tf.reduce_max(tf.abs(x))) <= 1 for x in outputs)
    assert float(tf.reduce_min(outputs[0])) >= 0
    # At test a picture does not depend on its neighbour in the batch.
    for one, two in zip(generator([i_t[:1], i_s[:1]], training=False), outputs):
        np.testing.assert_allclose(one, two[:1], atol=1e-5)


def test_what_each_output_sees():
    """The background is drawn without the wanted word; skeleton, styled and fused word with both pictures."""
    generator = build_generator(16, 32, channels=2)
    i_t, i_s = (tf.Variable(tf.random.stateless_uniform([1, 16, 32, 3], [seed, 0], -1, 1)) for seed in (1, 2))
    with tf.GradientTape(persistent=True) as tape:
        o_sk, o_t, o_b, o_f = generator([i_t, i_s], training=True)
    assert tape.gradient(o_b, i_t) is None and tape.gradient(o_b, i_s) is not None
    for output in (o_sk, o_t, o_f):
        assert all(float(tf.reduce_max(tf.abs(tape.gradient(output, x)))) > 0 for x in (i_t, i_s))


def test_discriminator():
    """Patches of a sixteenth of the size; its last normalisation centres the logits of a batch."""
    discriminator = build_discriminator(channels=2)
    pictures = [tf.random.stateless_uniform([4, 64, 128, 3], [seed, 0], -1, 1) for seed in range(4)]
    for logits in discriminator(pictures, training=True):
        assert logits.shape == (4, 4, 8, 1) and logits.dtype == tf.float32
        assert float(tf.reduce_mean(logits)) == pytest.approx(0, abs=1e-3)
        assert float(tf.math.reduce_std(logits)) == pytest.approx(1, abs=0.1)
