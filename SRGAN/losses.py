"""The objective of SRGAN (Ledig et al., 2017, section 2.2), each term a scalar; logits in, float32."""

import tensorflow as tf


def mse(target: tf.Tensor, picture: tf.Tensor) -> tf.Tensor:
    """Mean squared difference, equation 4: of pictures (SRResNet), or of features."""
    return tf.reduce_mean(tf.math.squared_difference(tf.cast(target, tf.float32), tf.cast(picture, tf.float32)))


def adversarial(fake_logits: tf.Tensor) -> tf.Tensor:
    """E[-log D(G(x))], equation 6, as a mean over the batch."""
    return tf.reduce_mean(tf.nn.softplus(-tf.cast(fake_logits, tf.float32)))


def discriminator(
    real_logits: tf.Tensor, fake_logits: tf.Tensor, real_labels: tf.Tensor, fake_labels: tf.Tensor
) -> tf.Tensor:
    """Mean cross-entropy of real and enlarged pictures against labels of their shape; log 2 where D cannot tell.

    Equation 2 has labels of 1 and 0; the page smooths them.
    """
    entropy = tf.nn.sigmoid_cross_entropy_with_logits
    real = tf.reduce_mean(entropy(real_labels, tf.cast(real_logits, tf.float32)))
    fake = tf.reduce_mean(entropy(fake_labels, tf.cast(fake_logits, tf.float32)))
    return 0.5 * (real + fake)
