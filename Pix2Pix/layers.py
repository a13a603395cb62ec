"""What the U-Net needs beyond Keras' own layers: batch normalisation that works on one image, dropout by seed."""

from typing import Optional

import tensorflow as tf
from tensorflow import keras

from common.layers import AllReduce, Float32Weights, batch_normalized

EPSILON = 1e-5  # added to a variance


class BatchNorm(Float32Weights):
    """Batch normalisation (Ioffe and Szegedy, 2015) that keeps no moving statistics, as the paper tests.

    In training the statistics are the batch's. Otherwise they are each image's own, so what is generated for an image
    does not depend on the images beside it; for one image the two are the same (instance normalisation).
    gamma starts as N(1, 0.02).

    Attributes:
        all_reduce: takes the mean of tensors over the workers, for statistics of the whole batch in training.
    """

    all_reduce: Optional[AllReduce] = None

    def build(self, shape) -> None:
        size = (shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=size, initializer=keras.initializers.RandomNormal(1.0, 0.02))
        self.beta = self.add_weight(name="beta", shape=size, initializer="zeros")

    def call(self, x, training=False):
        if training:
            y, _, _ = batch_normalized(x, self.gamma, self.beta, EPSILON, self.all_reduce)
            return y
        x32 = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(x32, [1, 2], keepdims=True)
        return tf.cast(tf.nn.batch_normalization(x32, mean, variance, self.beta, self.gamma, EPSILON), x.dtype)


class SeededDropout(keras.layers.Layer):
    """Dropout (Srivastava et al., 2014) of half the values in training, a function of a seed.

    Called on [values, seed int32 [2]]. What is dropped depends on the seed alone, so a run that was killed drops
    the same values when it continues. `number` tells the layers of one network apart.
    """

    def __init__(self, number: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.number = number

    def call(self, inputs, training=False):
        x, seed = inputs
        if not training:
            return x
        kept = tf.random.stateless_uniform(tf.shape(x), seed * 16 + [self.number, 0]) < 0.5
        return tf.where(kept, x * 2, tf.zeros_like(x))
