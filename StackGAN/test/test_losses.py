"""Each term against numbers worked out by hand."""

import math

import losses
import pytest
import tensorflow as tf

THREE = math.log(3.0)  # the logit of 3/4


def logits(*values):
    return tf.constant(values, tf.float32)[:, None]


def close(value, expected):
    assert value.shape == () and value.dtype == tf.float32
    assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_discriminator():
    """-log D of the real, and -log(1 - D) of the rest: the mean of wrong and drawn pictures."""
    nothing = logits(0.0, 0.0)
    close(losses.discriminator(nothing, nothing, nothing), 2 * math.log(2))
    close(losses.discriminator(logits(THREE), logits(-THREE), logits(THREE)), math.log(4 / 3) * 1.5 + math.log(4) / 2)
    close(
        losses.discriminator(logits(THREE, -THREE), nothing, nothing), (math.log(4 / 3) + math.log(4) + math.log(4)) / 2
    )
    close(losses.discriminator(logits(THREE), None, logits(THREE)), math.log(4 / 3) + math.log(4))


def test_adversarial():
    close(losses.adversarial(logits(THREE, -THREE)), (math.log(4 / 3) + math.log(4)) / 2)
    close(losses.adversarial(logits(-1e4)), 1e4)  # where log(1e-8) would stop at 18.4


def test_kl_divergence():
    """Of N(3, 2^2) from N(0, 1): -log 2 + (4 + 9 - 1) / 2. A mean over the batch and the dimensions."""
    close(losses.kl_divergence(tf.zeros([2, 3]), tf.zeros([2, 3])), 0.0)
    one = 6 - math.log(2)
    close(losses.kl_divergence(tf.constant([[3.0]]), tf.constant([[math.log(2)]])), one)
    mean, log_sigma = tf.constant([[3.0, 0.0], [0.0, 0.0]]), tf.constant([[math.log(2), 0.0], [0.0, 0.0]])
    close(losses.kl_divergence(mean, log_sigma), one / 4)
    close(losses.kl_divergence(tf.cast(mean, tf.bfloat16), tf.zeros([2, 2], tf.bfloat16)), 9 / 2 / 4)


def test_kl_divergence_by_sampling():
    """The same as E[log q(c) - log p(c)] over draws of c from q."""
    mean, log_sigma = 0.7, -0.4
    c = mean + math.exp(log_sigma) * tf.random.stateless_normal([200_000], [1, 2])
    log_q = -0.5 * ((c - mean) / math.exp(log_sigma)) ** 2 - log_sigma
    expected = float(tf.reduce_mean(log_q + 0.5 * c**2))
    found = losses.kl_divergence(tf.constant([[mean]]), tf.constant([[log_sigma]]))
    assert float(found) == pytest.approx(expected, abs=0.01)
