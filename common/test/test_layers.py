"""Batch normalisation by hand and against Keras; a network's variables by name; its average."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from common.layers import (
    BatchNorm,
    batch_normalized,
    float32_layers,
    moving_statistics,
    named_variables,
    update_average,
)

X = np.random.RandomState(0).normal(3, 2, (4, 5, 6, 2)).astype(np.float32)


@pytest.mark.parametrize("x", [X, X[:, 0, 0]], ids=["images", "rows"])
def test_batch_norm_is_the_papers_and_its_averages_kerass(x):
    """Images go through the fused kernel, whose average is of the unbiased variance; rows do not."""
    layer = BatchNorm(momentum=0.9, epsilon=1e-3)
    y = layer(x, training=True).numpy()
    axes, count = tuple(range(x.ndim - 1)), x.size // 2
    mean, variance = x.mean(axes), x.var(axes)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-3), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(layer.mean, 0.1 * mean, rtol=1e-4)
    unbiased = variance * count / (count - 1) if x.ndim > 2 else variance
    np.testing.assert_allclose(layer.variance, 0.9 + 0.1 * unbiased, rtol=1e-4)
    reference = keras.layers.BatchNormalization(epsilon=1e-3)
    reference.build(x.shape)
    reference.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(x, training=False), reference(x, training=False), rtol=1e-4, atol=1e-4)


def test_without_momentum_what_was_not_finite_is_forgotten():
    layer = BatchNorm(momentum=0.0)
    layer.build(X.shape)
    layer.variance.assign([np.inf, np.nan])
    layer(X, training=True)
    assert np.isfinite(layer.variance.numpy()).all()


def test_normalised_by_the_batch_of_all_workers():
    """What two workers make of their halves by an all-reduce is what one makes of the whole."""
    halves = [X[:2], X[2:]]
    means = [[h.mean((0, 1, 2)), (h**2).mean((0, 1, 2))] for h in halves]

    def all_reduce(tensors):
        for ours, theirs in zip(tensors, zip(*means)):
            assert any(np.allclose(ours, one, rtol=1e-4) for one in theirs)
        return [tf.constant(np.mean(pair, 0)) for pair in zip(*means)]

    one, two = tf.ones(2), tf.zeros(2)
    parts = [batch_normalized(tf.constant(half), one, two, 1e-3, all_reduce)[0] for half in halves]
    whole, *_ = batch_normalized(tf.constant(X), one, two, 1e-3)
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-3, atol=1e-3)


def network():
    """A layer of each kind that holds weights, or a random generator."""
    inputs = keras.Input((8, 8, 3))
    x = BatchNorm(name="norm")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(2, name="dense")(x), name="small")


def test_names_are_the_same_on_both_stacks():
    model = network()
    named = named_variables(model)
    assert list(named) == ["conv.0", "conv.1", *(f"norm.{i}" for i in range(4)), "dense.0", "dense.1"]
    assert [tuple(v.shape) for v in named.values()] == [(3, 3, 3, 4), (4,), (4,), (4,), (4,), (4,), (144, 2), (2,)]
    assert all(isinstance(v, tf.Variable) for v in named.values())
    assert list(named_variables(model, trainable_only=True)) == [n for n in named if n not in ("norm.2", "norm.3")]
    model.get_layer("norm").trainable = False  # which its variables need not know
    learned = [n for n in named if not n.startswith("norm")]
    assert list(named_variables(model, trainable_only=True)) == learned and list(named_variables(model)) == list(named)
    assert [v is named[name] for v, name in zip(moving_statistics(model), ("norm.2", "norm.3"))] == [True, True]


def test_the_average_of_a_network():
    """It begins as the network, whatever was in it, and its decay grows: 0, 1 / 11, ... up to what is asked for."""
    model, average = network(), network()
    step = tf.function(lambda number: update_average(average, model, 0.75, number))
    for number, value, expected in ((0, 1.0, 1.0), (1, 12.0, 11.0), (30, 15.0, 12.0), (31, 16.0, 13.0)):
        for variable in named_variables(model).values():
            variable.assign(tf.fill(variable.shape, value))
        step(tf.constant(number))
        assert all(variable.numpy() == pytest.approx(expected) for variable in named_variables(average).values())


def test_layers_in_float32_under_any_policy():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        with float32_layers():
            assert keras.layers.Dense(1).compute_dtype == "float32"
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        norm = BatchNorm()
        assert norm(tf.cast(X[:, 0, 0], tf.bfloat16), training=True).dtype == tf.bfloat16
        assert norm.mean.dtype in (tf.float32, "float32")
    finally:
        keras.mixed_precision.set_global_policy("float32")
