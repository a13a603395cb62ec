"""The objective of StackGAN (Zhang et al., 2017, section 3), each term a scalar; logits [batch, 1] in, float32."""

from typing import Optional

import tensorflow as tf


def cross_entropy(logits: tf.Tensor, label: float) -> tf.Tensor:
    """Mean of the sigmoid's cross-entropy against one label."""
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(logits), label), logits))


def discriminator(real_logits: tf.Tensor, wrong_logits: Optional[tf.Tensor], fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(I, t)] - E[log(1 - D(G(z, c), t))], equations 3 and 5; 2 log 2 = 1.386 where D cannot tell.

    Args:
        wrong_logits: of real pictures that the text is not about, which count as half of what is to be refused
            (section 3.5.1, and Reed et al., 2016); None: the drawn ones are all of it.
    """
    refused = cross_entropy(fake_logits, 0.0)
    if wrong_logits is not None:
        refused = 0.5 * (cross_entropy(wrong_logits, 0.0) + refused)
    return cross_entropy(real_logits, 1.0) + refused


def adversarial(fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(G(z, c), t)], which the generator minimises in place of log(1 - D) of equations 4 and 6."""
    return cross_entropy(fake_logits, 1.0)


def kl_divergence(mean: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """KL(N(mean, sigma^2) || N(0, 1)), equation 2: mean over the batch and, as the original has it, the dimensions."""
    mean, log_sigma = tf.cast(mean, tf.float32), tf.cast(log_sigma, tf.float32)
    return tf.reduce_mean(-log_sigma + 0.5 * (-1.0 + tf.exp(2.0 * log_sigma) + tf.square(mean)))
