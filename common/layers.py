"""Layers that several models need and Keras has not, or only slowly; a network's variables by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional

import tensorflow as tf
from tensorflow import keras

AllReduce = Callable[[list], list]


class Float32Weights(keras.layers.Layer):
    """A layer that keeps its weights and statistics in float32 and computes in its input's type."""

    def __init__(self, **kwargs) -> None:
        super().__init__(dtype="float32", autocast=False, **kwargs)


@contextmanager
def float32_layers() -> Iterator[None]:
    """Layers built meanwhile compute in float32, whatever the session's precision is."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def batch_normalized(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, all_reduce: Optional[AllReduce] = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """x [n, ..., c] normalised by the batch, in its own type; and the batch's mean and variance, float32 [c].

    Images go through TensorFlow's fused kernel, of which Keras 3's layer makes several passes over memory; as there,
    their variance is the unbiased one.

    Args:
        all_reduce: takes the mean of tensors over the workers, to normalise by the batch of all of them.
    """
    gamma, beta = tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)
    if len(x.shape) > 2 and all_reduce is None:
        none = tf.constant([], tf.float32)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=none, variance=none, epsilon=epsilon, is_training=True
        )
        return y, mean, variance
    x32 = tf.cast(x, tf.float32)
    mean, variance = tf.nn.moments(x32, list(range(len(x.shape) - 1)))
    if all_reduce is not None:
        mean, square = all_reduce([mean, variance + mean**2])
        variance = tf.maximum(square - mean**2, 0.0)
    y = tf.cast(tf.nn.batch_normalization(x32, mean, variance, beta, gamma, epsilon), x.dtype)
    return y, mean, variance


class BatchNorm(Float32Weights):
    """Batch normalisation (Ioffe and Szegedy, 2015) over all axes but the last.

    Args:
        scale: whether there is a learned gamma.
        gamma_stddev: it starts as N(1, gamma_stddev).
    Attributes:
        all_reduce: set by a session with --sync_batch_norm.
    """

    all_reduce: Optional[AllReduce] = None

    def __init__(
        self, scale: bool = True, momentum: float = 0.99, epsilon: float = 1e-3, gamma_stddev: float = 0.0, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.scale, self.momentum, self.epsilon, self.gamma_stddev = scale, momentum, epsilon, gamma_stddev

    def build(self, shape) -> None:
        size = (shape[-1],)
        start = keras.initializers.RandomNormal(1.0, self.gamma_stddev) if self.gamma_stddev else "ones"
        self.gamma = self.add_weight(name="gamma", shape=size, initializer=start, trainable=self.scale)
        self.beta = self.add_weight(name="beta", shape=size, initializer="zeros")
        self.mean = self.add_weight(name="mean", shape=size, initializer="zeros", trainable=False)
        self.variance = self.add_weight(name="variance", shape=size, initializer="ones", trainable=False)

    def call(self, x, training=False):
        if training:
            y, mean, variance = batch_normalized(x, self.gamma, self.beta, self.epsilon, self.all_reduce)
            for average, new in ((self.mean, mean), (self.variance, variance)):
                # Without momentum what was there is forgotten, even if it was not finite.
                average.assign(average * self.momentum + new * (1 - self.momentum) if self.momentum else new)
            return y
        if len(x.shape) == 2:
            x32 = tf.cast(x, tf.float32)
            y = tf.nn.batch_normalization(x32, self.mean, self.variance, self.beta, self.gamma, self.epsilon)
            return tf.cast(y, x.dtype)
        return tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=tf.convert_to_tensor(self.mean),
            variance=tf.convert_to_tensor(self.variance),
            epsilon=self.epsilon,
            is_training=False,
        ).y


# A network's variables.


def named_variables(model: keras.Model, trainable_only: bool = False) -> dict[str, tf.Variable]:
    """A network's variables as {"layer name.index in the layer": tf.Variable}.

    Keras 2 and Keras 3 keep and order them differently; these names are the same on both, so a checkpoint
    written on an NPU (TensorFlow 2.6) is read on a desk (TensorFlow 2.21), and the other way round.
    """
    return {
        f"{layer.name}.{index}": _own(variable)
        for layer in model.layers
        for index, variable in enumerate(layer.weights)
        # By the layer, which may be told not to learn: Keras 2 does not pass that on to its variables.
        if not trainable_only or any(variable is learned for learned in layer.trainable_weights)
    }


def moving_statistics(model: keras.Model) -> list[tf.Variable]:
    """The variables of a network that its batch normalisation moves."""
    layers = [layer for layer in model.layers if isinstance(layer, BatchNorm)]
    return [_own(variable) for layer in layers for variable in (layer.mean, layer.variance)]


def update_average(average: keras.Model, network: keras.Model, decay: float, step: tf.Tensor) -> None:
    """Moves a network's exponential average: average = decay * average + (1 - decay) * network, for each variable.

    The decay is smaller at first, step / (step + 10): the average begins as the network and reaches back over a tenth
    of the steps so far. Else the initial weights linger: with 0.999 they are a fifth of it after 1500 steps.

    Args:
        average: a second network of the same build, of any weights.
        step: of training, from 0 on, an integer. Inside its graph, after the update.
    """
    step = tf.cast(step, tf.float32)
    decay = tf.minimum(decay, step / (step + 10.0))
    newest = named_variables(network)
    for name, variable in named_variables(average).items():
        variable.assign(decay * variable + (1 - decay) * newest[name])


def _own(variable: Any) -> tf.Variable:
    """TensorFlow's variable, which the fused kernel and the checkpoint want, of one that Keras 3 may have wrapped."""
    return variable if isinstance(variable, tf.Variable) else variable.value
