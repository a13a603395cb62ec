"""The objective of Pix2Pix (Isola et al., 2017, section 3.1), each term a scalar; logits of patches in, float32."""

from collections.abc import Sequence

import tensorflow as tf

LAYERS = tuple(f"block{number}_conv1" for number in range(1, 6))  # of VGG19, from fine to coarse
LAYER_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
FEATURE_SCALE = 1 / 127.5  # VGG19 sees 0..255


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


def perceptual(target: Sequence[tf.Tensor], generated: Sequence[tf.Tensor]) -> tf.Tensor:
    """How far VGG19's features at `LAYERS` are from one another: the weighted sum of their L1.

    pix2pixHD's (Wang et al., 2018, 1711.11585, section 3.3), with its authors' layers and weights. Where a label map
    does not tell where a stone is, L1 wants none; features ask for stone.
    """
    terms = [weight * l1(x, y) for weight, x, y in zip(LAYER_WEIGHTS, target, generated)]
    return FEATURE_SCALE * tf.add_n(terms)
