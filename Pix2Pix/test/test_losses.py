"""Each term against numbers worked out by hand."""

import math

import losses
import pytest
import tensorflow as tf

THREE = math.log(3.0)  # the logit of a patch that is real with probability 3/4


def patches(*logits):
    return tf.reshape(tf.constant(logits, tf.float32), [1, -1, 1, 1])


def close(value, expected):
    assert value.shape == () and value.dtype == tf.float32
    assert float(value) == pytest.approx(expected, rel=1e-6)


def test_discriminator_and_adversarial():
    close(losses.discriminator(patches(0.0), patches(0.0)), 2 * math.log(2))
    close(losses.discriminator(patches(THREE, 0.0), patches(THREE)), (math.log(4 / 3) + math.log(2)) / 2 + math.log(4))
    close(losses.adversarial(patches(THREE, -THREE)), (math.log(4 / 3) + math.log(4)) / 2)
    sure = tf.constant([[[[6e4]]]], tf.float16)
    close(losses.discriminator(-sure, sure), 2 * 6e4)


def test_l1():
    target, generated = tf.constant([[1.0, -1.0], [0.0, 0.5]]), tf.constant([[-1.0, -1.0], [0.25, 0.25]])
    close(losses.l1(target, tf.cast(generated, tf.float16)), (2 + 0 + 0.25 + 0.25) / 4)


def test_perceptual():
    """Five layers, the coarse ones weighed most, of features as VGG19 gives them for 0..255."""
    target = [tf.zeros([1, 2, 2, 1])] * 5
    for number, weight in enumerate((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)):
        generated = list(target)
        generated[number] = tf.constant([127.5, 0.0, 0.0, -127.5], tf.float16, [1, 2, 2, 1])
        close(losses.perceptual(target, generated), weight / 2)
