"""Layers that several models need and Keras has not, or only slowly."""

import tensorflow as tf
from tensorflow import keras

_synchronised = False


class Float32Weights(keras.layers.Layer):
    """A layer that keeps its weights and statistics in float32 and computes in its input's type."""

    def __init__(self, **kwargs) -> None:
        super().__init__(dtype="float32", autocast=False, **kwargs)


def synchronise(on: bool) -> None:
    """Whether batch normalisation takes the statistics of the whole batch, or each worker those of its part."""
    global _synchronised
    _synchronised = on


def batch_normalized(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tuple:
    """x [n, ..., c] normalised by the batch, in its own type; and the batch's mean and variance, float32 [c].

    Pictures go through TensorFlow's fused kernel, of which Keras 3's layer makes several passes over memory; as there,
    their variance is the unbiased one.
    """
    workers = tf.distribute.get_replica_context()
    gamma, beta = tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)
    if len(x.shape) > 2 and not (_synchronised and workers.num_replicas_in_sync > 1):
        none = tf.constant([], tf.float32)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=none, variance=none, epsilon=epsilon, is_training=True
        )
        return y, mean, variance
    x32 = tf.cast(x, tf.float32)
    mean, variance = tf.nn.moments(x32, list(range(len(x.shape) - 1)))
    if _synchronised and workers.num_replicas_in_sync > 1:
        mean, square = workers.all_reduce(tf.distribute.ReduceOp.MEAN, [mean, variance + mean**2])
        variance = tf.maximum(square - mean**2, 0.0)
    y = tf.cast(tf.nn.batch_normalization(x32, mean, variance, beta, gamma, epsilon), x.dtype)
    if len(x.shape) > 2:
        n = tf.cast(tf.size(x) // x.shape[-1] * workers.num_replicas_in_sync, tf.float32)
        variance *= n / (n - 1)
    return y, mean, variance


class BatchNorm(Float32Weights):
    """Batch normalisation (Ioffe and Szegedy, 2015) over all axes but the last.

    Args:
        scale: whether there is a learned gamma.
        gamma_stddev: it starts as N(1, gamma_stddev).
    """

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
            y, mean, variance = batch_normalized(x, self.gamma, self.beta, self.epsilon)
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
