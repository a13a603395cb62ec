"""The networks' shapes, ranges, sizes and names, and each layer against a calculation by hand or Keras' own."""

import argparse
import re

import model
import numpy as np
import pytest
import tensorflow as tf
from layers import (
    FirstUpsampling,
    InstanceNorm,
    MinibatchDiscrimination,
    Noise,
    VirtualBatchNorm,
    WeightNorm,
    data_dependent_init,
    gaussian,
)
from scipy import stats
from tensorflow import keras

from common.layers import BatchNorm, named_variables

NO_NOISE = tf.constant([0, 0])


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def options(**changed):
    given = {"model": "paper", "recipe": "mnist", "n_z": 16, "norm_type": "batch", "deconv_type": "bilinear"}
    return argparse.Namespace(**{**given, "minibatch_discrimination": False, "batch_size": 4, **changed})


def with_weights(layer, x, weights):
    """The layer, made for inputs such as x."""
    layer(x)
    layer.set_weights(weights)
    return layer


def count(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def build_networks(given, shape, n_classes):
    return model.build_generator(given, shape), model.build_discriminator(given, shape, n_classes)


# The networks.


def test_parameters_of_the_original(full_size):
    """The original's counts on MNIST. Batch norm's moving averages come on top: two a channel."""
    generator, discriminator = build_networks(options(model="ssgan", n_z=128), (28, 28, 1), 10)
    assert count(generator.trainable_variables) == 6420417
    assert count(discriminator.trainable_variables) == 996555
    assert count(generator.non_trainable_variables) == 2 * (512 + 256 + 128 + 64 + 32)
    assert count(discriminator.non_trainable_variables) == 2 * (32 + 64 + 128 + 256 + 256)


def test_parameters_of_the_paper(full_size):
    """The published recipe's layers for MNIST, counted by hand: v, b and (in g) a scale a unit."""
    generator, discriminator = build_networks(options(n_z=100), (28, 28, 1), 10)
    sizes = [784, 1000, 500, 250, 250, 250, 10]
    plain = sum(a * b + b for a, b in zip(sizes, sizes[1:]))
    assert count(discriminator.trainable_variables) == plain + 10  # only the last layer's scale is learned
    assert count(generator.trainable_variables) == 100 * 500 + 500 * 500 + 2 * 500 + 500 * 784 + 2 * 784


SSGAN = {"model": "ssgan"}
VARIANTS = [
    ({**SSGAN}, (28, 28, 1)),
    ({**SSGAN, "deconv_type": "nn", "norm_type": "instance"}, (30, 20, 1)),
    ({**SSGAN, "deconv_type": "transpose", "norm_type": "None"}, (32, 32, 3)),
    ({}, (30, 20, 1)),
    ({"norm_type": "virtual", "minibatch_discrimination": True}, (12, 12, 3)),
    ({"norm_type": "None"}, (12, 12, 1)),
    ({"recipe": "svhn", "norm_type": "virtual"}, (32, 32, 3)),
    ({"recipe": "cifar10", "minibatch_discrimination": True}, (30, 20, 1)),
]
NORMS = {"batch": BatchNorm, "instance": InstanceNorm, "virtual": VirtualBatchNorm, "None": keras.layers.Activation}


@pytest.mark.parametrize("changed, shape", VARIANTS, ids=str)
def test_variants(changed, shape):
    """Shapes and ranges, and names: checkpoints go by layer names of ours, the same however many networks a process has
    made, and none left out."""
    given = options(**changed)
    low, high = model.value_range(given)
    assert (low, high) == ((0, 1) if given.model == "paper" and given.recipe == "mnist" else (-1, 1))
    generator, discriminator = build_networks(given, shape, 7)
    for training in (False, True):
        images = generator(30 * random(4, 16), training=training)
        assert images.shape == (4,) + shape and images.dtype == tf.float32
        assert low <= np.min(images) < np.max(images) <= high
        if given.model == "ssgan":
            logits = discriminator(images, training=training)
        else:
            features, logits = discriminator([images, NO_NOISE], training=training)
            assert features.shape == (4, {"mnist": 16, "svhn": 16, "cifar10": 24}[given.recipe])  # the tests' sizes
        assert logits.shape == (4, 8 if given.model == "ssgan" else 7) and np.isfinite(logits).all()
    assert model.classify(discriminator, given, images).shape == (4, 7)
    norms = [layer for layer in generator.layers if layer.name.startswith("norm")]
    assert norms and all(isinstance(layer, NORMS[given.norm_type]) for layer in norms)
    for network, same in zip((generator, discriminator), build_networks(given, shape, 7)):
        named = named_variables(network)
        assert set(named) == set(named_variables(same)) and count(named.values()) == count(network.weights)
        automatic = re.compile(r"(conv2d|conv2d_transpose|weight_norm|batch_norm|virtual_batch_norm)(_\d+)?$")
        assert not [layer.name for layer in network.layers if layer.weights and automatic.match(layer.name)]


# Layers.


def test_first_upsampling_is_resize_and_convolution():
    layer = FirstUpsampling(6)
    x = random(3, 5)
    y = layer(x)
    layer.bias.assign(random(6, seed=1))
    for method in ("bilinear", "nearest"):
        resized = tf.image.resize(x[:, None, None], (2, 2), method)
        expected = tf.nn.conv2d(resized, tf.convert_to_tensor(layer.kernel), 1, "SAME") + random(6, seed=1)
        np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert y.shape == (3, 2, 2, 6)


def test_instance_norm():
    x = random(2, 3, 4, 5) * 3 + 1
    expected = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-3)
    np.testing.assert_allclose(InstanceNorm()(x), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 4), (5, 2, 3, 4)])
def test_virtual_batch_norm_by_hand(shape):
    """Three reference rows; each other row is normalised by the three and itself, whatever its neighbours are."""
    x = random(*shape) * 2 + 1
    layer = with_weights(VirtualBatchNorm(3), x, [random(4, seed=1), random(4, seed=2)])
    y = layer(x).numpy()
    axes = tuple(range(len(shape) - 1))
    for row in range(5):
        rows = x[[0, 1, 2] if row < 3 else [0, 1, 2, row]]
        expected = (x[row] - rows.mean(axes)) / np.sqrt(rows.var(axes) + 1e-3)
        np.testing.assert_allclose(y[row], expected * random(4, seed=1) + random(4, seed=2), atol=1e-4)
    np.testing.assert_allclose(layer(np.concatenate([x[:3], x[4:]]))[3], y[4], atol=1e-6)


WEIGHT_NORMS = {  # its arguments, its input, and Keras' layer
    "dense": ({}, (9, 50), keras.layers.Dense(6)),
    "convolution": ({"kernel": 3}, (4, 5, 5, 3), keras.layers.Conv2D(6, 3, padding="same")),
    "strided": ({"kernel": 3, "strides": 2, "padding": "VALID"}, (4, 9, 9, 3), keras.layers.Conv2D(6, 3, 2)),
    "transposed": (
        {"kernel": 5, "strides": 2, "transpose": True},
        (4, 4, 4, 3),
        keras.layers.Conv2DTranspose(6, 5, 2, "same"),
    ),
}


def weight_norm(arguments, x):
    """A network of one layer."""
    inputs = keras.layers.Input(x.shape[1:])
    network = keras.Model(inputs, WeightNorm(6, **arguments, name="layer")(inputs))
    return network, network.get_layer("layer")


@pytest.mark.parametrize("kind", WEIGHT_NORMS)
def test_weight_norm(kind):
    """The layer is Keras' with w = g v / |v|, where |v| is each unit's."""
    arguments, shape, same = WEIGHT_NORMS[kind]
    x = random(*shape)
    network, layer = weight_norm(arguments, x)
    g, b, v = random(6, seed=1) ** 2 + 0.5, random(6, seed=2), layer.v.numpy()
    layer.g.assign(g)
    layer.b.assign(b)
    others = tuple(axis for axis in range(v.ndim) if axis != layer.out_axis)
    w = v / np.sqrt((v**2).sum(others, keepdims=True)) * np.expand_dims(g, others)
    with_weights(same, x, [w, b])
    np.testing.assert_allclose(network(x), same(x), atol=1e-4)
    layer.v.assign(3 * v)  # the length of v is nothing, as its direction is all
    np.testing.assert_allclose(network(x), same(x), atol=1e-4)


@pytest.mark.parametrize("kind", WEIGHT_NORMS)
def test_data_dependent_init(kind):
    arguments, shape, _ = WEIGHT_NORMS[kind]
    x = random(*shape) * 3 + 2
    network, layer = weight_norm({**arguments, "init_stdv": 0.5}, x)
    data_dependent_init(network, tf.constant(x))
    y = network(x).numpy().reshape(-1, 6)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(y.std(0), 0.5, rtol=1e-3)
    network(10 * x)  # and it is over: other data changes nothing
    np.testing.assert_allclose(network(x).numpy().reshape(-1, 6), y, atol=1e-6)


def test_noise_goes_by_seed_and_place_and_is_off_at_test():
    def drawn(place, *seed, training=True):
        return Noise(place, stddev=0.5)([tf.ones([4, 6]), tf.constant(seed)], training=training).numpy() - 1

    np.testing.assert_array_equal(drawn(1, 3, 7), drawn(1, 3, 7))
    for other in (drawn(2, 3, 7), drawn(1, 3, 8), drawn(1, 4, 7)):
        assert np.abs(drawn(1, 3, 7) - other).min() > 0
    assert (drawn(1, 3, 7, training=False) == 0).all()


def test_dropout():
    x = tf.ones([100, 10, 10, 3])
    y = Noise(0, dropout=0.2)([x, NO_NOISE], training=True).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.8)} and abs((y == 0).mean() - 0.2) < 0.01
    np.testing.assert_array_equal(Noise(0, dropout=0.2)([x, NO_NOISE], training=False), x)


@pytest.mark.parametrize("columns", [500, 501])
def test_gaussian(columns):
    x = gaussian(tf.constant([400, columns]), tf.constant([5, 6])).numpy()
    assert x.shape == (400, columns) and stats.kstest(x.ravel(), "norm").statistic < 0.004
    correlations = np.corrcoef(x[:, 0], x[:, columns // 2])[0, 1], np.corrcoef(x[0], x[1])[0, 1]
    assert np.abs(correlations).max() < 0.2  # neither columns made from one angle nor rows go together


def minibatch(kernels, dimensions, rows, t):
    t = np.array(t, np.float32)
    return with_weights(MinibatchDiscrimination(kernels, dimensions, rows), random(rows, len(t)), [t])


def test_minibatch_discrimination_by_hand():
    """Features 0, 1, 3 under T = (1, 2): kernel 0 sees distances 1, 2, 3 and kernel 1 sees 2, 4, 6."""
    e, x = np.exp, np.array([[0.0], [1.0], [3.0]], np.float32)
    expected = [[0, e(-1) + e(-3), e(-2) + e(-6)], [1, e(-1) + e(-2), e(-2) + e(-4)], [3, e(-3) + e(-2), e(-6) + e(-4)]]
    np.testing.assert_allclose(minibatch(2, 1, 3, [[1, 2]])(x), expected, atol=1e-6)
    # One kernel of two dimensions takes the L1 norm: |1 - 0| + |2 - 0| = 3.
    np.testing.assert_allclose(minibatch(1, 2, 2, [[1, 2]])(x[:2])[:, 1], [e(-3)] * 2, atol=1e-6)


def test_minibatches_are_independent():
    """Labelled, unlabelled and generated images stand in one call, and each sees its own minibatch alone."""
    layer = minibatch(3, 2, 4, random(5, 6))
    x = random(12, 5, seed=1)
    alone = np.concatenate([layer(x[i : i + 4]) for i in (0, 4, 8)])
    np.testing.assert_allclose(layer(x), alone, atol=1e-6)
    assert np.abs(layer(x[:6])[:, 5:] - alone[:6, 5:]).max() > 1e-3  # no whole number of minibatches: one of six
