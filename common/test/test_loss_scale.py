"""Adam against its formula; loss scaling against its rule in plain Python, and what a skipped step leaves alone."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from common.cli import UserError
from common.config import SessionConfig
from common.layers import BatchNorm, named_variables
from common.loss_scale import HOPELESS, Adam, ExponentialUpdateLossScale, FixedLossScale, Optimizer
from common.session import Session

PIX2PIX = {"init_scale": 2.0**32, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.8}
SRGAN = {"init_scale": 2.0**16, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.5}


def drawn(seed):
    rng = np.random.RandomState(seed)
    return {"kernel": rng.standard_normal((3, 4)), "bias": rng.standard_normal(4)}


def as_float32(arrays):
    return {name: array.astype(np.float32) for name, array in arrays.items()}


# Adam.


def test_adam_is_the_epsilon_hat_form():
    variables = {name: tf.Variable(value) for name, value in as_float32(drawn(0)).items()}
    adam = Adam(variables, 0.01, beta_1=0.5, beta_2=0.9, epsilon=1e-3)
    step, theta = tf.function(adam.apply), drawn(0)
    m, v = ({name: np.zeros_like(value) for name, value in theta.items()} for _ in range(2))
    for t in range(1, 6):
        gradients = drawn(t)
        step([tf.constant(as_float32(gradients)[name]) for name in variables])
        for name, g in gradients.items():
            m[name] = 0.5 * m[name] + 0.5 * g
            v[name] = 0.9 * v[name] + 0.1 * g * g
            rate = 0.01 * np.sqrt(1 - 0.9**t) / (1 - 0.5**t)
            theta[name] = theta[name] - rate * m[name] / (np.sqrt(v[name]) + 1e-3)
            np.testing.assert_allclose(variables[name].numpy(), theta[name], rtol=1e-5, atol=1e-6)
    assert adam.iterations.numpy() == 5
    # Algorithm 1 would move by 9.1e-5 here: its epsilon stands beside the corrected root.
    weight = tf.Variable([0.0])
    Adam({"w": weight}, 1e-3).apply([tf.constant([1e-9])])
    np.testing.assert_allclose(weight.numpy(), [-3.15e-6], rtol=1e-2)


def test_the_learning_rate_is_a_function_of_the_updates_done():
    weight = tf.Variable([0.0])
    rate = lambda updates: 0.1 / (tf.cast(updates, tf.float32) + 1.0)  # noqa: E731
    adam = Adam({"w": weight}, rate, beta_1=0.0, beta_2=0.0, epsilon=0.0)  # moves by the rate exactly
    for moved in (0.1, 0.15, 0.15 + 0.1 / 3):
        adam.apply([tf.constant([2.0])])
        np.testing.assert_allclose(weight.numpy(), [-moved], rtol=1e-5)


def test_clip_norm_bounds_the_gradients_of_several_models_together():
    session = Session(SessionConfig(), "cpu", "float32")
    models = [network(name=name, size=1) for name in ("one", "two")]
    for clip_norm, expected in ((None, [3.0, 4.0]), (10.0, [3.0, 4.0]), (1.0, [0.6, 0.8])):
        optimizer = session.optimizer(models, 0.1, beta_1=0.0, clip_norm=clip_norm)
        variables = optimizer.adam.variables_by_name
        assert list(variables) == ["one/dense.0", "two/dense.0"] == list(optimizer.state["adam"]["m"])
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(3.0 * variables["one/dense.0"] + 4.0 * variables["two/dense.0"])
        optimizer.minimize(loss, tape)
        np.testing.assert_allclose([m.numpy().item() for m in optimizer.adam.m.values()], expected, rtol=1e-6)


def test_a_missing_gradient_names_the_variable():
    optimizer = Session(SessionConfig(), "cpu", "float32").optimizer(network(), 0.1)
    with tf.GradientTape() as tape:
        loss = tf.constant(1.0)
    with pytest.raises(ValueError, match=r"the loss does not depend on dense\.0$"):
        optimizer.minimize(loss, tape)


# The rule.


def rule(outcomes, init_scale, incr_every_n_steps, decr_every_n_nan_or_inf, decr_ratio, incr_ratio=2.0):
    """The managers' rule as Huawei's documentation has it: scale, good and bad steps after each outcome."""
    scale, good, bad = np.float32(init_scale), 0, 0
    for finite in outcomes:
        if finite:
            good += 1
            if good >= incr_every_n_steps:
                grown = np.float64(scale) * incr_ratio
                scale, good, bad = np.float32(grown) if grown <= 3.4e38 else scale, 0, 0
        else:
            good, bad = 0, bad + 1
            if bad >= decr_every_n_nan_or_inf:
                scale, bad = np.maximum(np.float32(1), scale * np.float32(decr_ratio)), 0
        yield scale, good, bad


@pytest.mark.parametrize(
    "settings, overflows, low, high",
    [
        (PIX2PIX, 0.001, 2.0**31, 2.0**34),
        (SRGAN, 0.001, 2.0**14, 2.0**18),
        ({**PIX2PIX, "incr_every_n_steps": 7}, 0.03, 2.0**32, 3.4e38),  # up to the cap, and along it
        ({**SRGAN, "init_scale": 3.0, "incr_every_n_steps": 20}, 0.4, 1.0, 8.0),  # down to the floor, and along it
    ],
    ids=["pix2pix", "srgan", "cap", "floor"],
)
def test_a_long_sequence_follows_the_rule(settings, overflows, low, high):
    outcomes = np.random.RandomState(1).uniform(size=4000) >= overflows
    scale = ExponentialUpdateLossScale(**settings)
    names = ("good_steps", "bad_steps", "skipped")

    @tf.function
    def replay(outcomes):
        scales, counters = tf.TensorArray(tf.float32, len(outcomes)), tf.TensorArray(tf.int32, len(outcomes))
        for i in tf.range(len(outcomes)):
            scale.update(outcomes[i])
            scales = scales.write(i, scale.scale.read_value())
            counters = counters.write(i, tf.stack([scale.state[name].read_value() for name in names]))
        return scales.stack(), counters.stack()

    scales, counters = (tensor.numpy() for tensor in replay(tf.constant(outcomes)))
    expected = np.array(list(rule(outcomes, **settings)))
    np.testing.assert_array_equal(scales, expected[:, 0].astype(np.float32))
    np.testing.assert_array_equal(counters, np.c_[expected[:, 1:], np.cumsum(~outcomes)])
    assert low <= scales.min() and scales.max() <= high
    assert {0.4: scales.min() == 1.0, 0.03: scales.max() > 3e38}.get(overflows, True)
    assert scale.state["hopeless"].numpy() == (overflows == 0.4)  # an overflow at a scale of 1


def test_a_hundred_overflows_in_a_row_are_hopeless_and_not_one_less():
    scale = ExponentialUpdateLossScale(init_scale=2.0**100, decr_ratio=0.99)
    update = tf.function(scale.update)
    for finite in [False] * (HOPELESS - 1) + [True] + [False] * (HOPELESS - 1):
        update(tf.constant(finite))
        assert scale.state["hopeless"].numpy() == 0
    update(tf.constant(False))
    update(tf.constant(True))
    assert scale.state["hopeless"].numpy() == 1 and scale.state["skipped_in_a_row"].numpy() == 0


def test_defaults_are_the_managers_and_a_fixed_scale_under_one_is_refused():
    scale = ExponentialUpdateLossScale()
    assert (scale.scale.numpy(), scale.incr_every_n_steps, scale.decr_every_n_nan_or_inf) == (2.0**32, 1000, 2)
    assert (scale.incr_ratio, scale.decr_ratio) == (2.0, 0.8)
    assert not FixedLossScale().checks_overflow and FixedLossScale(128.0).checks_overflow
    with pytest.raises(UserError, match="a loss scale of 0.999 is under 1; give 1"):
        FixedLossScale(0.999)


# Steps.


def network(name="network", size=3):
    inputs = keras.Input((size,))
    model = keras.Model(inputs, keras.layers.Dense(size, use_bias=False, name="dense")(inputs), name=name)
    model.set_weights([np.random.RandomState(0).standard_normal((size, size))])
    return model


def float16_session():
    """A session in which gradients pass through float16, as far as the optimizer can tell."""
    return Session(SessionConfig(precision_mode="allow_mix_precision"), "gpu", "mixed_float16")


def everything(optimizer):
    adam = optimizer.adam
    return [v.numpy().copy() for v in (*adam.variables_by_name.values(), *adam.m.values(), *adam.v.values())]


def stepper(model, optimizer):
    @tf.function
    def step(factor):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(tf.constant([[1.0, -2.0, 0.5]])) ** 2) * factor
        optimizer.minimize(loss, tape)

    return lambda factor: step(tf.constant(factor))


@pytest.mark.parametrize("bad", [float("inf"), float("nan"), 1e30])  # the last overflows through the scale alone
def test_an_overflow_changes_no_weight_no_slot_no_count(bad):
    model = network()
    optimizer = float16_session().optimizer(model, 1e-2, loss_scale=PIX2PIX, clip_norm=1.0)
    step = stepper(model, optimizer)
    step(1.0)
    before = everything(optimizer)
    for skipped, scale in ((1, 2.0**32), (2, np.float32(2.0**32) * np.float32(0.8))):
        step(bad)
        assert all((one == other).all() for one, other in zip(before, everything(optimizer)))
        assert optimizer.adam.iterations.numpy() == 1
        state = optimizer.loss_scale.state
        assert (state["skipped"].numpy(), state["scale"].numpy()) == (skipped, scale)
    step(1.0)
    assert optimizer.adam.iterations.numpy() == 2
    assert any((one != other).any() for one, other in zip(before, everything(optimizer)))


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_good_step_is_the_unscaled_step(clip_norm):
    after = []
    for session in (float16_session(), Session(SessionConfig(), "cpu", "float32")):
        model = network()
        optimizer = session.optimizer(model, 1e-2, loss_scale=PIX2PIX, clip_norm=clip_norm)
        step = stepper(model, optimizer)
        for _ in range(4):
            step(0.3)
        after.append(everything(optimizer))
    for one, other in zip(*after):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_fixed_scale_skips_overflows_and_stays():
    model, session = network(), float16_session()
    adam = Adam(named_variables(model), 1e-2)
    optimizer = Optimizer(adam, FixedLossScale(1024.0), session.all_reduce_mean, session.all_finite)
    step, before = stepper(model, optimizer), everything(optimizer)
    step(float("inf"))
    assert all((one == other).all() for one, other in zip(before, everything(optimizer)))
    step(1.0)
    assert (adam.iterations.numpy(), optimizer.loss_scale.scale) == (1, 1024.0)


def test_two_optimizers_have_two_scales():
    session, models = float16_session(), [network(name) for name in ("one", "two")]
    optimizers = [session.optimizer(model, 1e-2, loss_scale=SRGAN) for model in models]
    for model, optimizer, factor in zip(models, optimizers, (float("inf"), 1.0)):
        stepper(model, optimizer)(factor)
    counted = [{name: v.numpy().item() for name, v in o.loss_scale.state.items() if v.numpy()} for o in optimizers]
    assert counted == [
        {"scale": 2.0**16, "bad_steps": 1, "skipped": 1, "skipped_in_a_row": 1},
        {"scale": 2.0**16, "good_steps": 1},
    ]
    assert session.optimizers == optimizers


def test_batch_norms_averages_are_unmoved_by_a_skipped_step():
    """One Inf activation would else leave Inf in them for good."""
    inputs = keras.Input((3,))
    norm = BatchNorm(name="norm")
    model, session = keras.Model(inputs, norm(keras.layers.Dense(2)(inputs))), float16_session()
    optimizer = session.optimizer(model, 1e-2)
    other = tf.Variable([1.0])
    session.average([other])

    def step(x):
        other.assign(other + tf.reduce_sum(x))
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, training=True) ** 2)
        optimizer.minimize(loss, tape)
        return {"loss": loss}

    train_step = session.compile(step)
    good, bad = np.eye(3, dtype=np.float32), np.full((3, 3), np.inf, np.float32)
    train_step(good)
    before = [v.numpy() for v in (norm.mean, norm.variance, other)]
    assert before[0].any() and before[2] == [4.0]
    train_step(bad)
    assert [v.numpy().tolist() for v in (norm.mean, norm.variance, other)] == [v.tolist() for v in before]
    train_step(good)
    assert other.numpy() == [7.0] and (norm.mean.numpy() != before[0]).any()
