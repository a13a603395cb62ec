"""Each term against numbers worked out by hand."""

import math

import losses
import numpy as np
import pytest
import tensorflow as tf


def grid(*rows):
    """One image with one channel."""
    return tf.constant(rows, tf.float32)[None, :, :, None]


def close(value, expected):
    assert value.shape == () and value.dtype == tf.float32
    assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_dice():
    target = grid([1, 1, 0, 0])
    close(losses.dice(target, target), 0.0)
    close(losses.dice(target, grid([0, 0, 1, 1])), 1.0)
    close(losses.dice(target, grid([0, 1, 1, 1])), 1 - 2 * 1 / (2 + 3))
    both = tf.concat([target, target], 0), tf.concat([target, grid([0, 1, 1, 1])], 0)
    close(losses.dice(*both), 1 - (1 + 0.4) / 2)
    close(losses.dice(grid([0, 0]), grid([0, 0])), 1.0)  # nothing to find: no division by zero


def test_cross_entropy_and_mask():
    three = math.log(3.0)  # the logit of 3/4
    expected = (math.log(4 / 3) + math.log(4)) / 2
    close(losses.cross_entropy(grid([1, 0]), grid([three, three])), expected)
    close(losses.mask(grid([1, 0]), grid([three, three])), 1 - 2 * 0.75 / (1 + 1.5) + expected)
    logits = tf.Variable(grid([40.0]))  # quite sure, and wrong
    with tf.GradientTape() as tape:
        wrong = losses.cross_entropy(grid([0.0]), logits)
    assert tape.gradient(wrong, logits).numpy().item() == pytest.approx(1.0)


def test_masked_l1():
    """A word on one of four pixels: its difference weighs three quarters, that of the rest one."""
    target, mask = tf.zeros([1, 1, 4, 3]), grid([1, 0, 0, 0])
    close(losses.masked_l1(target, target + mask * 2.0, mask), 0.75 * 2 / 4)
    close(losses.masked_l1(target, target + (1 - mask) * 2.0, mask), 0.25 * 2 * 3 / 4)


def letters(*places):
    """An image of 16 x 32 with two white bars, each of two columns, on grey."""
    image = np.zeros((1, 16, 32, 1), np.float32)
    for place in places:
        image[0, 4:12, place : place + 2] = 1
    return tf.constant(image)


def test_letters_elsewhere_than_expected():
    """Each part of a word may stand some pixels from its place; what is blurred over several places is not forgiven."""
    target, moved = letters(6, 24), letters(8, 22)  # one to the right, the other to the left
    close(losses.shifted_l1(target, target, (0, 1)), 0.0)
    close(losses.shifted_l1(target, moved, (0, 2)), 0.0)
    close(losses.shifted_l1(target, tf.roll(moved, 1, 1), (1, 2)), 0.0)
    assert float(losses.shifted_l1(target, moved, (0, 1))) > 0.01  # too far
    blur = (target + letters(8, 26)) / 2
    close(losses.l1(target, blur), float(losses.l1(target, moved)) / 2)  # L1 likes it better
    assert float(losses.shifted_l1(target, blur, (0, 2))) > 0.01
    close(losses.shifted_l1(target, target + 0.5, (0, 0)), 0.5)


def test_a_mask_elsewhere_than_expected():
    target, moved = letters(6, 24), letters(8, 22)
    logits = tf.where(moved > 0, 3.0, -3.0)
    close(losses.shifted_cross_entropy(target, logits, (0, 2)), math.log1p(math.exp(-3.0)))
    assert float(losses.shifted_cross_entropy(target, logits, (0, 1))) > 0.1
    close(losses.shifted_cross_entropy(target, logits * 0, (0, 2)), math.log(2))


def test_adversarial_terms():
    three = math.log(3.0)  # the logit of 3/4
    close(losses.discriminator(grid([0.0]), grid([0.0])), 2 * math.log(2))
    close(losses.discriminator(grid([three, 0.0]), grid([-three, 0.0])), math.log(4 / 3) + math.log(2))
    close(losses.adversarial(grid([three, -three])), (math.log(4 / 3) + math.log(4)) / 2)
    close(losses.adversarial(grid([-1e4])), 1e4)  # where log(1e-8) would stop at 18.4


def test_perceptual_and_style():
    one, two = (np.random.default_rng(seed).normal(size=(2, 3, 4, 5)).astype(np.float32) for seed in (0, 1))
    close(losses.perceptual([one, two], [one, one]), np.abs(two - one).mean())
    grams = [np.einsum("nhwi,nhwj->nij", x, x) / (3 * 4 * 5) for x in (one, two)]
    close(
        losses.style([tf.constant(one), tf.constant(two)], [tf.constant(two)] * 2),
        np.abs(grams[0] - grams[1]).mean() / 2,
    )


def test_where_two_images_differ():
    """A tenth of the range apart counts in any channel, a camera's noise does not."""
    one = np.zeros((1, 2, 3, 3), np.float32)
    other = one.copy()
    other[0, 0, 1, 2], other[0, 1, 2] = -0.2, 0.05
    mask = losses.difference_mask(tf.constant(one), tf.constant(other)).numpy()
    assert mask.shape == (1, 2, 3, 1) and mask.sum() == 1 and mask[0, 0, 1, 0] == 1
