"""Each term of the objective against numbers worked out by hand, and the changes that the discriminator sees."""

import math

import augment
import losses
import numpy as np
import pytest
import tensorflow as tf

THREE = math.log(3.0)  # the logit of 3/4


def logits(*values):
    return tf.constant(values, tf.float32)[:, None]


def close(value, expected):
    assert value.shape == () and value.dtype == tf.float32
    assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_discriminator():
    """-log D of the real, and -log(1 - D) of the rest: the mean of wrong images and fakes."""
    nothing = logits(0.0, 0.0)
    close(losses.discriminator(nothing, nothing, nothing)["d_loss"], 2 * math.log(2))
    terms = losses.discriminator(logits(THREE), logits(-THREE), logits(THREE))
    close(terms["d_real"], math.log(4 / 3))
    close(terms["d_wrong"], math.log(4 / 3))
    close(terms["d_fake"], math.log(4))
    close(terms["d_loss"], math.log(4 / 3) * 1.5 + math.log(4) / 2)
    close(losses.discriminator(logits(THREE), None, logits(THREE))["d_loss"], math.log(4 / 3) + math.log(4))
    some = losses.discriminator(nothing, logits(THREE, -THREE), nothing, tf.constant([True, False]))
    close(some["d_wrong"], math.log(4))  # the second pair is none
    close(losses.discriminator(nothing, nothing, nothing, tf.constant([False, False]))["d_wrong"], 0)
    several = tf.constant([[THREE, -THREE]])  # of two discriminators: the mean
    close(losses.discriminator(several, None, several)["d_real"], (math.log(4 / 3) + math.log(4)) / 2)


def test_the_optimum_of_a_discriminator_that_understands_no_text():
    """0.955: all fakes told, and the same probability p for real and wrong pairs; p = 2/3 is the best there is."""
    found = [float(losses.discriminator(logits(x), logits(x), logits(-1e3))["d_loss"]) for x in np.linspace(0, 2, 41)]
    assert min(found) == pytest.approx(0.955, abs=5e-4) and np.argmin(found) * 0.05 == pytest.approx(0.7)  # log 2


def test_generators_terms():
    close(losses.adversarial(logits(THREE, -THREE)), (math.log(4 / 3) + math.log(4)) / 2)
    close(losses.adversarial(logits(-1e4)), 1e4)  # where log(1e-8) would stop at 18.4


def test_kl_divergence():
    """Of N(3, 2^2) from N(0, 1): -log 2 + (4 + 9 - 1) / 2. A mean over the batch and the dimensions."""
    close(losses.kl_divergence(tf.zeros([2, 3]), tf.zeros([2, 3])), 0.0)
    one = 6 - math.log(2)
    mean, log_sigma = tf.constant([[3.0, 0.0], [0.0, 0.0]]), tf.constant([[math.log(2), 0.0], [0.0, 0.0]])
    close(losses.kl_divergence(mean, log_sigma), one / 4)
    close(losses.kl_divergence(tf.cast(mean, tf.bfloat16), tf.zeros([2, 2], tf.bfloat16)), 9 / 2 / 4)


def test_contrastive():
    """Cosines by 0.1 among a batch's texts; another text of an image's own class is no wrong one."""
    images, texts = tf.constant([[2.0, 0.0], [0.0, 3.0]]), tf.constant([[1.0, 0.0], [3.0, 4.0]])
    expected = (math.log(1 + math.exp((0.6 - 1) / 0.1)) + math.log(1 + math.exp((0 - 0.8) / 0.1))) / 2
    close(losses.contrastive(images, texts, tf.constant([0, 1])), expected)
    close(losses.contrastive(images, texts, tf.constant([1, 1])), 0)
    alike = tf.ones([4, 2], tf.bfloat16)
    close(losses.contrastive(alike, alike, tf.range(4)), math.log(4))


# Augmentation


def draws(*values):
    return tf.constant([values], tf.float32)[0][:, None, None, None, None]


def test_translation():
    """By -2 to 2 of 16 pixels, all equally likely; what comes in is 0."""
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    for draw, pixels in ((0.0, -2), (0.5, 0), (0.999, 2)):
        moved = augment.translate(tf.constant(image), *draws(draw, 0.5)).numpy()
        expected = np.roll(image, pixels, 1)
        expected[:, : max(0, pixels)] = 0
        expected[:, 16 + min(0, pixels) :] = 0
        np.testing.assert_allclose(moved, expected, atol=1e-6)
        turned = augment.translate(tf.constant(image.swapaxes(1, 2)), *draws(0.5, draw)).numpy()
        np.testing.assert_allclose(turned, expected.swapaxes(1, 2), atol=1e-6)


def test_cutout_and_all_of_it():
    hole = augment.cutout(tf.ones([1, 16, 16, 3]), *draws(0.5, 0.0)).numpy()[0, :, :, 0]
    assert hole[5:11, :3].sum() == 0 and hole.sum() == 16 * 16 - 6 * 3  # half of it lies outside
    images = tf.Variable(tf.random.stateless_uniform([3, 64, 64, 3], [1, 2], -1, 1))
    with tf.GradientTape() as tape:
        changed = augment.augment(images, tf.random.stateless_uniform([3, 4], [3, 4]))
        total = tf.reduce_sum(changed)
    assert changed.shape == images.shape and (tape.gradient(total, images).numpy() != 0).mean() > 0.3


def test_shrunk():
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(losses.shrunk(images, 2), images.reshape(2, 2, 4, 2, 4, 3).mean((2, 4)), atol=1e-6)


def test_pieces():
    """Of the image as it is, of its half or its quarter, from anywhere in it."""
    image = np.random.default_rng(0).normal(0, 1, (1, 32, 32, 3)).astype(np.float32)

    def cut(*draws):
        return augment.cut(tf.constant(image), 8, tf.constant([draws], tf.float32)).numpy()

    last = 1 - 1e-6
    np.testing.assert_allclose(cut(0.0, 0.0, 0.0), image[:, :8, :8], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cut(0.33, last, 0.5), image[:, 24:, 12:20], rtol=1e-5, atol=1e-6)
    half = image.reshape(1, 16, 2, 16, 2, 3).mean((2, 4))
    np.testing.assert_allclose(cut(0.34, 0.0, last), half[:, :8, 8:], rtol=1e-5, atol=1e-6)
    quarter = image.reshape(1, 8, 4, 8, 4, 3).mean((2, 4))
    np.testing.assert_allclose(cut(last, 0.3, last), quarter, rtol=1e-5, atol=1e-6)
