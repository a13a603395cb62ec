"""The objective of Pix2Pix (Isola et al., 2017, section 3.1), each term a scalar; logits of patches in, float32."""

import tensorflow as tf


def cross_entropy(logits: tf.Tensor, label: float) -> tf.Tensor:
    """Mean over all patches of the sigmoid's cross-entropy against one label."""
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(logits), label), logits))


def discriminator(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(x, y)] - E[log(1 - D(x, G(x)))], equation 1. 2 log 2 = 1.386 where D cannot tell."""
    return cross_entropy(real_logits, 1.0) + cross_entropy(fake_logits, 0.0)


def adversarial(fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(x, G(x))], which the generator minimises in place of log(1 - D) (section 3.3)."""
    return cross_entropy(fake_logits, 1.0)


def l1(target: tf.Tensor, generated: tf.Tensor) -> tf.Tensor:
    """E[|y - G(x)|], equation 3; images in -1..1."""
    return tf.reduce_mean(tf.abs(tf.cast(target, tf.float32) - tf.cast(generated, tf.float32)))
