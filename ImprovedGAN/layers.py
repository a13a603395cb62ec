"""The layers that "Improved Techniques for Training GANs" (Salimans et al., 2016) adds to Keras' own."""

import math
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf
from tensorflow import keras

from common.layers import Float32Weights

EPSILON = 1e-3  # added to a variance


class _Norm(Float32Weights):
    """A normalisation with a learned scale and shift of each channel."""

    def build(self, shape) -> None:
        self.gamma = self.add_weight(name="gamma", shape=(shape[-1],), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(shape[-1],), initializer="zeros")


class InstanceNorm(_Norm):
    """Instance normalisation (Ulyanov et al., 2016): each image's channels by their own mean and variance."""

    def call(self, x):
        x32 = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(x32, [1, 2], keepdims=True)
        return tf.cast(tf.nn.batch_normalization(x32, mean, variance, self.beta, self.gamma, EPSILON), x.dtype)


class VirtualBatchNorm(_Norm):
    """Virtual batch normalisation (section 3.5): each sample by the statistics of a fixed reference batch and itself.

    The batch holds the reference batch in its first `reference` rows (see `WithReference`).
    """

    def __init__(self, reference: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.reference = reference

    def call(self, x):
        x32 = tf.cast(x, tf.float32)
        within = list(range(1, len(x.shape) - 1))  # the axes of one sample
        mean = tf.reduce_mean(x32, within, keepdims=True) if within else x32
        square = tf.reduce_mean(x32**2, within, keepdims=True) if within else x32**2
        reference_mean = tf.reduce_mean(mean[: self.reference], 0, keepdims=True)
        reference_square = tf.reduce_mean(square[: self.reference], 0, keepdims=True)
        # A sample counts as one more row of the reference batch; the reference rows are in it already.
        rows = tf.shape(x32)[0]
        weight = tf.cast(tf.range(rows) >= self.reference, tf.float32) / (self.reference + 1.0)
        weight = tf.reshape(weight, [rows] + [1] * (len(x.shape) - 1))
        mean = weight * mean + (1 - weight) * reference_mean
        variance = weight * square + (1 - weight) * reference_square - mean**2
        y = (x32 - mean) * tf.math.rsqrt(variance + EPSILON)
        return tf.cast(y * self.gamma + self.beta, x.dtype)


class WithReference(Float32Weights):
    """Puts the reference batch, drawn once and kept with the weights, before the latent batch."""

    def __init__(self, reference: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.reference = reference

    def build(self, shape) -> None:
        uniform = keras.initializers.RandomUniform(0.0, 1.0)
        self.z = self.add_weight(name="z", shape=(self.reference, shape[-1]), initializer=uniform, trainable=False)

    def call(self, z):
        return tf.concat([tf.cast(self.z, z.dtype), z], 0)


class WeightNorm(Float32Weights):
    """A dense or convolutional layer with weight normalisation (Salimans and Kingma, 2016): w = g v / |v|.

    Args:
        units: outputs, or channels.
        kernel: size of the convolution's kernel; None for a dense layer.
        transpose: a transposed convolution.
        train_scale: whether g is learned, as the published recipes do only in a network's last layer.
        init_stdv: standard deviation of the outputs after data-dependent initialisation.
        v_stdv: standard deviation of the first v. Its length sets how far an update turns the weights.
    """

    def __init__(
        self,
        units: int,
        kernel: Optional[int] = None,
        strides: int = 1,
        padding: str = "SAME",
        transpose: bool = False,
        train_scale: bool = False,
        init_stdv: float = 1.0,
        v_stdv: float = 0.05,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.units, self.kernel, self.strides, self.padding = units, kernel, strides, padding
        self.transpose, self.train_scale, self.init_stdv, self.v_stdv = transpose, train_scale, init_stdv, v_stdv
        self.initializing = False

    def build(self, shape) -> None:
        shape = (shape[-1], self.units)
        if self.kernel:
            shape = (self.kernel, self.kernel) + (shape[::-1] if self.transpose else shape)
        initializer = keras.initializers.RandomNormal(0.0, self.v_stdv)
        self.v = self.add_weight(name="v", shape=shape, initializer=initializer)
        self.b = self.add_weight(name="b", shape=(self.units,), initializer="zeros")
        self.g = self.add_weight(name="g", shape=(self.units,), initializer="ones", trainable=self.train_scale)
        self.out_axis = len(shape) - (2 if self.transpose else 1)

    def call(self, x):
        v = tf.convert_to_tensor(self.v)
        axes = [axis for axis in range(len(v.shape)) if axis != self.out_axis]
        g = tf.reshape(self.g, [-1] + [1] * (len(v.shape) - 1 - self.out_axis))
        v = v * (g * tf.math.rsqrt(tf.reduce_sum(v**2, axes, keepdims=True) + 1e-6))
        w, b = tf.cast(v, x.dtype), tf.cast(self.b, x.dtype)
        if self.kernel is None:
            y = tf.matmul(x, w)
        elif self.transpose:
            size = [tf.shape(x)[0], x.shape[1] * self.strides, x.shape[2] * self.strides, self.units]
            y = tf.nn.conv2d_transpose(x, w, size, self.strides, self.padding)
        else:
            y = tf.nn.conv2d(x, w, self.strides, self.padding)
        if not self.initializing:
            return y + b
        # Data-dependent initialisation (their section 3): outputs of mean 0 and `init_stdv` on this batch.
        mean, variance = tf.nn.moments(tf.cast(y, tf.float32), list(range(len(y.shape) - 1)))
        scale = self.init_stdv * tf.math.rsqrt(variance + 1e-10)
        self.g.assign(scale)
        self.b.assign(-mean * scale)
        return y * tf.cast(scale, y.dtype) - tf.cast(mean * scale, y.dtype)


def data_dependent_init(network: keras.Model, inputs: Sequence) -> None:
    """Initialises a network's weight-normalised layers on one batch, first to last."""
    layers = [layer for layer in network.layers if isinstance(layer, WeightNorm)]
    for layer in layers:
        layer.initializing = True
    network(inputs, training=True)
    for layer in layers:
        layer.initializing = False


class Noise(keras.layers.Layer):
    """Gaussian noise or dropout, from (seed, place) alone: the network's inputs are [x, seed], seed a `stream.key`.

    Args:
        place: the layer's number in the network, so that no two draw the same.
        stddev: of the noise added; or
        dropout: the part of the values set to 0, the others scaled up.
    """

    def __init__(self, place: int, stddev: float = 0.0, dropout: float = 0.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.place, self.stddev, self.dropout = place, stddev, dropout

    def call(self, inputs, training=False):
        x, seed = inputs
        if not training:
            return tf.identity(x)
        seed = tf.stack([seed[0] + self.place * 7919, seed[1]])
        if self.dropout:
            keep = tf.random.stateless_uniform(tf.shape(x), seed) >= self.dropout
            return tf.where(keep, x / (1 - self.dropout), tf.zeros_like(x))
        return x + tf.cast(self.stddev * gaussian(tf.shape(x), seed), x.dtype)


def gaussian(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal float32 [n, size] from a seed, by the transform of Box and Muller (1958).

    On a CPU a third of the time of `tf.random.stateless_normal`, whose sampler is not vectorised.
    """
    half = (shape[1] + 1) // 2
    uniform = tf.random.stateless_uniform([2, shape[0], half], seed, 2.0**-24)
    radius, angle = tf.sqrt(-2.0 * tf.math.log(uniform[0])), 2 * math.pi * uniform[1]
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], 1)[:, : shape[1]]


class MinibatchDiscrimination(Float32Weights):
    """Minibatch discrimination (section 3.2): appends to each sample how close it is to the others of its minibatch.

    Args:
        kernels, dimensions: B and C of the paper.
        minibatch: rows of one minibatch; a call may hold several after one another (labelled, unlabelled, generated).
    """

    def __init__(self, kernels: int = 50, dimensions: int = 5, minibatch: int = 100, **kwargs) -> None:
        super().__init__(**kwargs)
        self.kernels, self.dimensions, self.minibatch = kernels, dimensions, minibatch

    def build(self, shape) -> None:
        initializer = keras.initializers.RandomNormal(0.0, 0.05)
        self.t = self.add_weight(name="t", shape=(shape[-1], self.kernels * self.dimensions), initializer=initializer)

    def call(self, features):
        m = tf.cast(tf.matmul(features, tf.cast(self.t, features.dtype)), tf.float32)
        rows = tf.shape(m)[0]
        group = tf.where(rows % self.minibatch == 0, self.minibatch, rows)
        m = tf.reshape(m, [-1, group, self.kernels, self.dimensions])
        distance = tf.reduce_sum(tf.abs(m[:, :, None] - m[:, None]), -1)  # [minibatches, group, group, kernels]
        closeness = tf.reduce_sum(tf.exp(-distance), 2) - 1.0  # without itself
        return tf.concat([features, tf.cast(tf.reshape(closeness, [rows, self.kernels]), features.dtype)], -1)


class FirstUpsampling(Float32Weights):
    """A 1x1 map resized to 2x2 and convolved by 3x3 with zero padding: [batch, c] -> [batch, 2, 2, units].

    The four pixels of the resized map are equal, so each output pixel is one dense layer whose kernel is the sum of the
    four taps that fall inside: a ninth of the convolution's arithmetic, and the same result.
    """

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(3, 3, shape[-1], self.units), initializer="glorot_uniform")
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x):
        # Rows first, then columns: so no tap's gradient is a sum of more than two, whose order TensorFlow leaves open.
        above, middle, below = tf.unstack(self.kernel)
        rows = [tf.unstack(middle + below), tf.unstack(above + middle)]
        pixels = [pixel for left, centre, right in rows for pixel in (centre + right, left + centre)]
        y = tf.matmul(x, tf.cast(tf.concat(pixels, -1), x.dtype))
        return tf.reshape(y, [-1, 2, 2, self.units]) + tf.cast(self.bias, x.dtype)
