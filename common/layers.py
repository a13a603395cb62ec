"""Layers that several models need and Keras has not, or only slowly."""

import tensorflow as tf
from tensorflow import keras


class Float32Weights(keras.layers.Layer):
    """A layer that keeps its weights and statistics in float32 and computes in its input's type."""

    def __init__(self, **kwargs) -> None:
        super().__init__(dtype="float32", autocast=False, **kwargs)


class BatchNorm(Float32Weights):
    """Batch normalisation (Ioffe and Szegedy, 2015) over all axes but the last.

    Pictures go through TensorFlow's fused kernel, of which Keras 3's layer makes several passes over memory.

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
        if len(x.shape) == 2:
            x32 = tf.cast(x, tf.float32)
            mean, variance = tf.nn.moments(x32, [0]) if training else (self.mean, self.variance)
            y = tf.nn.batch_normalization(x32, mean, variance, self.beta, self.gamma, self.epsilon)
            y = tf.cast(y, x.dtype)
        else:
            none = tf.constant([], tf.float32)
            y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=tf.convert_to_tensor(self.gamma),
                offset=tf.convert_to_tensor(self.beta),
                mean=none if training else tf.convert_to_tensor(self.mean),
                variance=none if training else tf.convert_to_tensor(self.variance),
                epsilon=self.epsilon,
                is_training=bool(training),
            )
        if training:
            self.mean.assign(self.mean * self.momentum + mean * (1 - self.momentum))
            self.variance.assign(self.variance * self.momentum + variance * (1 - self.momentum))
        return y
