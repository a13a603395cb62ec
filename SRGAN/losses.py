"""The objective of SRGAN (Ledig et al., 2017, section 2.2): one equation a function; logits in, float32 scalars out."""

import tensorflow as tf
from tensorflow import keras

from common.vgg19 import vgg19_input

FEATURE_SCALE = 1 / 12.75  # section 3.2


def features(vgg19: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """What equation 5 compares: VGG19's features of RGB images [n, h, w, 3] in 0..255, scaled."""
    return vgg19(vgg19_input(images), training=False) * FEATURE_SCALE


def content(hr: tf.Tensor, sr: tf.Tensor) -> tf.Tensor:
    """Mean squared difference: of images, equation 4 (SRResNet), or of their VGG19 features, equation 5."""
    return tf.reduce_mean(tf.math.squared_difference(tf.cast(hr, tf.float32), tf.cast(sr, tf.float32)))


def adversarial(sr_logits: tf.Tensor) -> tf.Tensor:
    """E[-log D(G(lr))], equation 6, as a mean over the batch."""
    return tf.reduce_mean(tf.nn.softplus(-tf.cast(sr_logits, tf.float32)))


def perceptual(content: tf.Tensor, adversarial: tf.Tensor, weight: float = 1e-3) -> tf.Tensor:
    """What the generator minimises, equation 3."""
    return content + weight * adversarial


def discriminator(hr_logits: tf.Tensor, sr_logits: tf.Tensor, hr_labels: tf.Tensor, sr_labels: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of originals and generated images against labels of their shape; log 2 where D cannot tell.

    Equation 2 has labels of 1 and 0; the ModelZoo code smooths them.
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits
    hr = tf.reduce_mean(entropy(hr_labels, tf.cast(hr_logits, tf.float32)))
    sr = tf.reduce_mean(entropy(sr_labels, tf.cast(sr_logits, tf.float32)))
    return 0.5 * (hr + sr)
