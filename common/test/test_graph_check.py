"""What the check of a step's graph finds, on small graphs that break each of its rules, and on one that breaks none."""

import json

import pytest
import tensorflow as tf
from tensorflow import keras

from common.config import SessionConfig
from common.layers import named_variables
from common.loss_scale import Adam
from common.session import Session
from common.test import graph_check


def graph_of(step, *shape):
    return tf.function(step).get_concrete_function(tf.TensorSpec(shape)).graph


def a_branch(x):
    return tf.cond(tf.reduce_all(tf.equal(x, 1.0)), lambda: tf.linalg.det(x, name="inside"), lambda: x[0, 0])


@pytest.mark.parametrize(
    "step, name, kind, why",
    [
        (lambda x: tf.numpy_function(lambda y: y, [x], tf.float32, name="numpy"), "numpy", "PyFunc", "it calls Python"),
        (lambda x: tf.py_function(lambda y: y, [x], tf.float32), "EagerPyFunc", "EagerPyFunc", "it calls Python"),
        (lambda x: tf.strings.length(tf.strings.as_string(x)), "AsString", "AsString", "handles a string"),
        (lambda x: tf.raw_ops.OptionalFromValue(components=[x]), "OptionalFromValue", "OptionalFromValue", "a variant"),
        (lambda x: tf.where(tf.equal(x, 1.0)), "Where", "Where", "its shape (None, 2) is not known"),
        (lambda x: tf.while_loop(lambda y: y[0, 0] < 1, lambda y: [y + 1], [x]), "while", "StatelessWhile", "a loop"),
        (lambda x: tf.linalg.det(x, name="layer/det"), "layer/det", "MatrixDeterminant", "not among the operations"),
        (a_branch, "cond/inside", "MatrixDeterminant", "not among the operations"),
    ],
)
def test_each_rule(step, name, kind, why):
    fault = {fault.name: fault for fault in graph_check.faults(graph_of(step, 2, 2))}[name]
    assert fault.type == kind and why in fault.why
    assert str(fault) == f"{name} ({kind}): {fault.why}"


def test_a_batch_of_any_size_is_found():
    [first, *_] = graph_check.faults(graph_of(lambda x: tf.nn.relu(x), None, 2))
    assert first.type == "Placeholder" and "(None, 2)" in first.why


def test_what_nothing_depends_on_does_not_run():
    def step(x):
        tf.linalg.det(x)
        return x + 1.0

    assert graph_check.faults(graph_of(step, 2, 2)) == []


@pytest.mark.parametrize(
    "groups, waiting",
    [
        ("1_0 1_0", 1),  # HCCL's default merges all there are
        ("2_1 2_2", 0),
        ("2_1 2_2 2_1", 1),  # the third waits for the first by way of the second
        ("0_0 0_0", 0),  # never merged
        ("1_0 2_1", 0),
    ],
)
def test_all_reduces_that_wait_for_one_of_their_group(groups, waiting):
    """The double's, each of which takes the result of the one before; a last one in parallel waits for none."""

    def step(x):
        y = z = x
        for group in groups.split():
            y = tf.numpy_function(lambda value: value, [2.0 * y], tf.float32, name=f"HcomAllReduce_{group}")
            y.set_shape(x.shape)
        z = tf.numpy_function(lambda value: value, [x], tf.float32, name="HcomAllReduce_2_9")
        z.set_shape(x.shape)
        return y + z

    found = graph_check.faults(graph_of(step, 2))
    assert [fault.why[:35] for fault in found] == ["waits for another all-reduce of its"] * waiting


def test_a_training_step_has_no_fault():
    """A convolution, a batch normalisation, broadcasting and an update in a branch."""
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, padding="same")(inputs)
    x = keras.layers.BatchNormalization()(x)
    model = keras.Model(inputs, keras.layers.LeakyReLU(0.2)(x))
    adam = Adam(named_variables(model, trainable_only=True), 1e-3)

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, training=True) - tf.constant([1.0, 2.0])) ** 2)
        gradients = tape.gradient(loss, list(adam.variables_by_name.values()))
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        tf.cond(finite, lambda: adam.apply(gradients), lambda: None)
        return loss

    graph = graph_of(step, 2, 4, 4, 1)
    types = {op.type for op in graph_check.all_operations(graph)}
    assert {"Conv2DBackpropFilter", "If", "ResourceApplyAdam"} <= types  # the branch is looked into
    # Keras 3 normalises by other operations than the Keras 2 that runs on an NPU.
    assert graph_check.faults(graph, graph_check.SUPPORTED | types) == []
    if tf.__version__.startswith("2.6."):
        assert graph_check.faults(graph) == []


def test_the_list_of_this_machine(tmp_path):
    assert graph_check.listed_operations({}) is None
    for place in ("framework/built-in/tensorflow", "built-in/framework/tensorflow"):
        opp = tmp_path / place.replace("/", "-")
        (opp / place).mkdir(parents=True)
        (opp / place / "npu_supported_ops.json").write_text(json.dumps({"Abs": {"isGray": False}}))
        assert graph_check.listed_operations({"ASCEND_OPP_PATH": str(opp)}) == {"Abs", "Placeholder"}


def test_compiled_steps_are_noted(monkeypatch):
    monkeypatch.setattr(Session, "compile", Session.compile)  # put back afterwards
    noted = graph_check.Noted()
    session = Session(SessionConfig(), "cpu", "float32")
    step = session.compile(lambda x: {"loss": x + 1.0})
    session.compile(lambda x: {"loss": x})  # never called
    assert [float(step(tf.constant(value))["loss"]) for value in (1.0, 2.0)] == [2.0, 3.0]
    assert noted.calls == [2]
    assert "AddV2" in {op.type for op in graph_check.operations(noted.graphs[0])}
