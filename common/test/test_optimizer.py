"""Adam against the paper's algorithm written in NumPy and against Keras; names of variables on both stacks."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

from common.optimizer import Adam, named_variables
from common.session import Session, SessionConfig

SHAPES = {"kernel": (3, 4), "bias": (4,)}


def drawn(seed):
    rng = np.random.RandomState(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


def small_model():
    """A layer of each kind that holds weights, or a random generator."""
    x = inputs = layers.Input((8, 8, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(x))
    x = layers.Dropout(0.5)(layers.Flatten()(layers.LeakyReLU(0.2)(x)))
    return keras.Model(inputs, layers.Dense(2, name="dense")(x), name="small")


def one_variable(value=1.0):
    """A model that is a Dense layer with one weight, and that weight."""
    inputs = layers.Input((1,))
    model = keras.Model(inputs, layers.Dense(1, use_bias=False, name="dense")(inputs), name="one")
    weight = named_variables(model)["dense.0"]
    weight.assign([[value]])
    return model, weight


def test_adam_is_the_papers():
    variables = {name: tf.Variable(value) for name, value in drawn(0).items()}
    adam = Adam(variables, 0.01, beta_1=0.5, beta_2=0.9, epsilon=1e-3)
    step = tf.function(adam.apply)
    theta = {name: value.astype(np.float64) for name, value in drawn(0).items()}
    m, v = ({name: np.zeros(shape) for name, shape in SHAPES.items()} for _ in range(2))
    for t in range(1, 6):
        gradients = drawn(t)
        step([tf.constant(gradients[name]) for name in variables])
        for name, g in gradients.items():
            m[name] = 0.5 * m[name] + 0.5 * g
            v[name] = 0.9 * v[name] + 0.1 * g * g
            rate = 0.01 * np.sqrt(1 - 0.9**t) / (1 - 0.5**t)
            theta[name] = theta[name] - rate * m[name] / (np.sqrt(v[name]) + 1e-3)
            np.testing.assert_allclose(variables[name].numpy(), theta[name], rtol=2e-6, atol=1e-7)
            np.testing.assert_allclose(adam.m[name].numpy(), m[name], rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(adam.v[name].numpy(), v[name], rtol=1e-6, atol=1e-7)
    assert adam.iterations.numpy() == 5


def test_adam_is_keras_adam():
    ours = {name: tf.Variable(value) for name, value in drawn(0).items()}
    theirs = {name: tf.Variable(value) for name, value in drawn(0).items()}
    adam = Adam(ours, 2e-4, beta_1=0.5)
    reference = keras.optimizers.Adam(2e-4, beta_1=0.5, beta_2=0.999, epsilon=1e-8)
    for t in range(5):
        gradients = [tf.constant(value) for value in drawn(t).values()]
        adam.apply(gradients)
        reference.apply_gradients(zip(gradients, theirs.values()))
    for name in SHAPES:
        np.testing.assert_allclose(ours[name].numpy(), theirs[name].numpy(), rtol=1e-5, atol=1e-7)


def test_the_learning_rate_is_a_function_of_the_updates_done():
    weight, seen = tf.Variable([0.0]), []

    def rate(updates):
        seen.append(int(updates))
        return 0.1 / (tf.cast(updates, tf.float32) + 1.0)

    adam = Adam({"w": weight}, rate, beta_1=0.0, beta_2=0.0, epsilon=0.0)  # moves by the rate exactly
    moved = []
    for _ in range(3):
        before = weight.numpy()[0]
        adam.apply([tf.constant([2.0])])
        moved.append(before - weight.numpy()[0])
    assert seen == [0, 1, 2]
    np.testing.assert_allclose(moved, [0.1, 0.05, 0.1 / 3], rtol=1e-5)


def test_clip_norm_bounds_the_gradients_together():
    models = [one_variable()[0], one_variable()[0]]
    models[1] = keras.Model(models[1].inputs, models[1].outputs, name="other")
    session = Session(SessionConfig(), "cpu", "float32")
    for clip_norm, expected in ((None, [3.0, 4.0]), (10.0, [3.0, 4.0]), (1.0, [0.6, 0.8])):
        optimizer = session.optimizer(models, 0.1, beta_1=0.0, clip_norm=clip_norm)
        first, second = optimizer.adam.variables_by_name.values()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(3.0 * first + 4.0 * second)
        optimizer.minimize(loss, tape)
        np.testing.assert_allclose([m.numpy().item() for m in optimizer.adam.m.values()], expected, rtol=1e-6)


def test_names_are_the_same_on_both_stacks():
    model = small_model()
    expected = ["conv.0", "conv.1", "norm.0", "norm.1", "norm.2", "norm.3", "dense.0", "dense.1"]
    named = named_variables(model)
    assert list(named) == expected
    assert [tuple(v.shape) for v in named.values()] == [(3, 3, 3, 4), (4,), (4,), (4,), (4,), (4,), (144, 2), (2,)]
    assert np.all(named["norm.3"].numpy() == 1)  # the moving variance, last of the four
    assert all(isinstance(v, tf.Variable) for v in named.values())
    trainable = [name for name in expected if name not in ("norm.2", "norm.3")]
    assert list(named_variables(model, trainable_only=True)) == trainable


def test_several_models_stand_under_their_names():
    first, _ = one_variable()
    session = Session(SessionConfig(), "cpu", "float32")
    assert list(session.optimizer(first, 0.1).state["adam"]["m"]) == ["dense.0"]
    other = keras.Model(first.inputs, first.outputs, name="other")
    assert list(session.optimizer([first, other], 0.1).adam.variables_by_name) == ["one/dense.0", "other/dense.0"]


def test_a_missing_gradient_names_the_variable():
    model = small_model()
    optimizer = Session(SessionConfig(), "cpu", "float32").optimizer(model, 0.1)
    named = named_variables(model)
    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(v) for name, v in named.items() if name not in ("conv.1", "dense.0")])
    with pytest.raises(ValueError, match=r"the loss does not depend on conv\.1, dense\.0$"):
        optimizer.minimize(loss, tape)
    assert optimizer.adam.iterations.numpy() == 0
