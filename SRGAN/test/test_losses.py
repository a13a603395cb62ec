"""Each loss worked out by hand."""

import math

import losses
import pytest
import tensorflow as tf


def test_content():
    assert float(losses.content(tf.constant([[1.0, 3.0]]), tf.constant([[0.0, 5.0]]))) == pytest.approx((1 + 4) / 2)


def test_adversarial():
    logits = tf.constant([[0.0], [2.0]])
    expected = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert float(losses.adversarial(logits)) == pytest.approx(expected, rel=1e-6)
    assert float(losses.adversarial(tf.constant([[-200.0]]))) == pytest.approx(200)  # no saturation


def test_perceptual():
    assert float(losses.perceptual(tf.constant(0.5), tf.constant(2.0))) == pytest.approx(0.502)  # equation 3's 1e-3


def test_discriminator():
    zero = tf.zeros([3, 1])
    assert float(losses.discriminator(zero, zero, zero + 0.9, zero + 0.1)) == pytest.approx(math.log(2), rel=1e-6)
    sure = losses.discriminator(zero + 1.0, zero - 1.0, zero + 0.8, zero + 0.1)
    softplus = math.log(1 + math.exp(-1))
    assert float(sure) == pytest.approx(0.5 * (softplus + 0.2 + softplus + 0.1), rel=1e-6)
