"""Each objective against numbers worked out by hand or by NumPy."""

import math

import losses
import numpy as np
import pytest
import tensorflow as tf

LABELS = tf.constant([0, 2, -1, 1])


@pytest.fixture
def logits():
    """[4, 4]: three classes and a last one."""
    return np.random.default_rng(0).normal(0, 2, (4, 4)).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def close(value, expected, **tolerance):
    assert value.shape == () and value.dtype == tf.float32
    np.testing.assert_allclose(value.numpy(), expected, **{"rtol": 1e-5, **tolerance})


def test_real_or_class(logits):
    p = softmax(logits)
    expected = -np.mean(np.log([p[0, 0], p[1, 2], p[2, :3].sum(), p[3, 1]]))  # the third image is unlabelled
    close(losses.real_or_class(tf.constant(logits), LABELS), expected)
    close(losses.real_or_class(tf.zeros([2, 4]), tf.constant([1, 1])), math.log(4))
    close(losses.real_or_class(tf.zeros([2, 4]), tf.constant([-1, -1])), math.log(4 / 3))


def test_fake_smoothed(logits):
    log_p = np.log(softmax(logits))
    close(losses.fake_smoothed(tf.constant(logits)), -(np.array([0.1 / 3] * 3 + [0.9]) * log_p).sum(-1).mean())
    close(losses.fake_smoothed(tf.constant(logits), smoothing=0.0), -log_p[:, 3].mean())


def test_the_generators_losses(logits):
    close(losses.log_p_fake(tf.constant(logits)), np.log(softmax(logits)[:, 3]).mean())
    close(losses.log_p_fake(tf.zeros([5, 4])), -math.log(4))
    close(losses.not_fake(tf.constant(logits)), -np.log(1 - softmax(logits)[:, 3]).mean())


def test_huber():
    # errors 0, 0.5, 1, 3: 0, 0.125, 0.5, 2.5
    close(losses.huber(tf.constant([0.0, 1.0, 2.0, -3.0]), tf.constant([0.0, 0.5, 1.0, 0.0])), 3.125 / 4)


def test_supervised():
    # probabilities (1/4, 1/4, 1/4) beside the one-hot label: (0.75^2 + 2 * 0.25^2) / 2 / 3
    close(losses.supervised(tf.zeros([1, 4]), tf.constant([1])), (0.5625 + 0.125) / 6)
    close(losses.supervised(tf.constant([[0.0, 99.0, 0.0, 0.0]]), tf.constant([1])), 0.0, atol=1e-6)


def with_fake(logits):
    """The paper's K + 1 classes written out: a logit of 0 appended for "fake"."""
    return softmax(np.concatenate([logits, np.zeros((len(logits), 1), np.float32)], 1))


def test_fake_logit_fixed_at_zero(logits):
    fakes = logits[::-1] * 1.5
    p_real, p_fake = with_fake(logits), with_fake(fakes)
    labels = np.array([0, 3, 1, 2])
    given_real = p_real[range(4), labels] / (1 - p_real[:, -1])  # p(y | x, y < K + 1)
    close(losses.labelled(tf.constant(logits), tf.constant(labels, tf.int32)), -np.log(given_real).mean())
    expected = -0.5 * np.log(1 - p_real[:, -1]).mean() - 0.5 * np.log(p_fake[:, -1]).mean()
    close(losses.unlabelled(tf.constant(logits), tf.constant(fakes)), expected)
    close(losses.adversarial(tf.constant(fakes)), -np.log(1 - p_fake[:, -1]).mean())


def test_one_sided_label_smoothing(logits):
    """The real images' target becomes 1 - s; that of the generated ones stays 0."""
    fakes = logits[::-1] * 1.5
    p_real, p_fake = with_fake(logits)[:, -1], with_fake(fakes)[:, -1]
    real = 0.9 * np.log(1 - p_real) + 0.1 * np.log(p_real)
    expected = -0.5 * real.mean() - 0.5 * np.log(p_fake).mean()
    close(losses.unlabelled(tf.constant(logits), tf.constant(fakes), 0.1), expected)


def test_feature_matching():
    real = tf.constant([[1.0, 0.0], [3.0, 2.0]])  # means 2, 1
    fake = tf.constant([[0.0, 0.0], [0.0, 0.0], [0.0, 12.0]])  # means 0, 4
    close(losses.feature_matching(real, fake), (4 + 9) / 2)
    close(losses.feature_matching(real, fake, squared=False), (2 + 3) / 2)
    close(losses.feature_matching(real, real), 0.0)


def test_historical_averaging():
    now = {"a": tf.Variable([1.0, 2.0]), "b": tf.Variable(5.0), "other": tf.Variable(9.0)}
    past = {"a": tf.Variable([0.0, 4.0]), "b": tf.Variable(2.0)}
    close(losses.historical_averaging(now, past), 1 + 4 + 9)
