"""The objective of StackGAN (Zhang et al., 2017, section 3), each term a scalar; logits [batch, k] of k
discriminators in, float32."""

import argparse
from typing import Optional

import tensorflow as tf
from blocks import Discriminator

from common.stream import key

Terms = dict[str, tf.Tensor]
TEMPERATURE = 0.1  # of `contrastive`


def cross_entropy(logits: tf.Tensor, label: float) -> tf.Tensor:
    """The sigmoid's cross-entropy against one label, the mean of each row's logits [batch]."""
    logits = tf.cast(logits, tf.float32)
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(tf.fill(tf.shape(logits), label), logits), 1)


def discriminator(
    real_logits: tf.Tensor, wrong_logits: Optional[tf.Tensor], fake_logits: tf.Tensor, wrong: Optional[tf.Tensor] = None
) -> Terms:
    """-E[log D(I, t)] - E[log(1 - D(G(z, c), t))], equations 3 and 5.

    2 log 2 = 1.386 where D tells nothing; 0.955 (`d_real` 0.405, `d_wrong` 1.099, `d_fake` 0) where it knows all fakes
    and understands no text. Less than that on training images and more on held-out ones: it knows the pairs by heart.

    Args:
        wrong_logits: of real images that the text is not about, which count as half of what is to be refused (section
            3.5.1, and Reed et al., 2016); None: the fakes are all of it.
        wrong: bool [batch], which rows of `wrong_logits` are; None: all.
    Returns:
        The loss as `d_loss`, and its terms, before they are weighted, as `d_real`, `d_wrong` and `d_fake`.
    """
    terms = {"d_real": tf.reduce_mean(cross_entropy(real_logits, 1.0))}
    terms["d_fake"] = refused = tf.reduce_mean(cross_entropy(fake_logits, 0.0))
    if wrong_logits is not None:
        weights = tf.ones_like(wrong_logits[:, 0], tf.float32) if wrong is None else tf.cast(wrong, tf.float32)
        total = tf.reduce_sum(weights * cross_entropy(wrong_logits, 0.0))
        terms["d_wrong"] = total / tf.maximum(tf.reduce_sum(weights), 1.0)
        refused = 0.5 * (terms["d_wrong"] + refused)
    return {"d_loss": terms["d_real"] + refused, **terms}


def adversarial(fake_logits: tf.Tensor) -> tf.Tensor:
    """-E[log D(G(z, c), t)], which the generator minimises in place of log(1 - D) of equations 4 and 6."""
    return tf.reduce_mean(cross_entropy(fake_logits, 1.0))


def kl_divergence(mean: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """KL(N(mean, sigma^2) || N(0, 1)), equation 2: mean over the batch and, as the original has it, the dimensions."""
    mean, log_sigma = tf.cast(mean, tf.float32), tf.cast(log_sigma, tf.float32)
    return tf.reduce_mean(-log_sigma + 0.5 * (-1.0 + tf.exp(2.0 * log_sigma) + tf.square(mean)))


def contrastive(images: tf.Tensor, texts: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
    """-log softmax of the cosine of an image and its own text among those of the batch's texts, by a temperature of
    0.1: XMC-GAN's of sentences (Zhang et al., 2021, arXiv 2101.04702, section 4.1). log n where it knows nothing.

    Args:
        images, texts: vectors [n, d] each, of whatever length. classes: int [n]; other texts of an image's own class,
            which might fit it too, do not count.
    """
    images, texts = (tf.math.l2_normalize(tf.cast(x, tf.float32), 1) for x in (images, texts))
    own = tf.eye(tf.shape(images)[0], dtype=tf.bool)
    others = classes[:, None] != classes[None]
    scores = tf.where(own | others, tf.matmul(images, texts, transpose_b=True) / TEMPERATURE, -1e4)
    return tf.reduce_mean(tf.reduce_logsumexp(scores, 1) - tf.linalg.diag_part(scores))


def shrunk(images: tf.Tensor, size: int) -> tf.Tensor:
    """Images [n, h, h, 3] at [n, size, size, 3]: the means of their squares."""
    times = images.shape[1] // size
    return tf.nn.avg_pool2d(images, times, times, "VALID")


# The same of networks and images, as the options weigh them.


def wrong_rows(classes: tf.Tensor, random: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For each image's text a row of the batch with an image of another class, int [n], and whether there is one."""
    different = classes[:, None] != classes[None]
    scores = tf.where(different, tf.random.stateless_uniform(different.shape, random), -1.0)
    return tf.argmax(scores, 1), tf.reduce_any(different, 1)


def discriminator_loss(
    args: argparse.Namespace, d: Discriminator, real, fake, embedding, classes, step, training: bool = True
) -> Terms:
    """Equations 3 and 5, negated; `real` and `fake` are what `d.look` gives, and `fake` is taken as it is.

    All images are in one batch: normalised by themselves, fakes could be of any brightness and contrast. The wrong
    image of a text is another one of the batch, whose features are there already.
    """
    both = tf.nest.map_structure(lambda x, y: tf.concat([x, tf.stop_gradient(y)], 0), real, fake)
    features = d.image(both, training=training)
    real_features, fake_features = tf.split(features, 2)
    shown, wrong = [real_features, fake_features], None
    if args.b_wrong:
        rows, wrong = wrong_rows(classes, key("wrong", args.seed, step))
        shown.append(tf.gather(real_features, rows))
    texts = tf.concat([embedding] * len(shown), 0)
    logits = tf.split(d.text([tf.concat(shown, 0), texts], training=training), len(shown))
    terms = discriminator(logits[0], logits[2] if args.b_wrong else None, logits[1], wrong)
    if args.unconditional:  # -E[log D(I)] - E[log(1 - D(G(z, c)))], without a text (StackGAN-v2, 2018, section 4.2)
        real_logits, fake_logits = tf.split(d.alone(features, training=training), 2)
        terms["d_alone"] = discriminator(real_logits, None, fake_logits)["d_loss"]
        terms["d_loss"] += args.unconditional * terms["d_alone"]
    if args.contrastive:  # learned of real images alone, so that the generator cannot agree with it on signs of its own
        terms["d_match"] = contrastive(*d.match([real_features, embedding], training=training), classes)
        terms["d_loss"] += args.contrastive * terms["d_match"]
    return terms


def generator_loss(args: argparse.Namespace, d: Discriminator, fake, embedding, classes, mean, log_sigma) -> Terms:
    """Equations 4 and 6: `g_loss`, and of it the KL divergence's part, `kl`, and how well texts fit, `match`.

    The discriminator normalises as it did in `discriminator_loss`: fakes are judged as among real images, though no
    others have to pass it here.
    """
    features = d.image(fake, training=False)
    total = adversarial(d.text([features, embedding], training=False))
    if args.unconditional:
        total += args.unconditional * adversarial(d.alone(features, training=False))
    terms = {"kl": weighted_kl(args, mean, log_sigma)}
    if args.contrastive:
        terms["match"] = contrastive(*d.match([features, embedding], training=False), classes)
        total += args.contrastive * terms["match"]
    return {"g_loss": total + terms["kl"], **terms}


def weighted_kl(args: argparse.Namespace, mean: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """The condition's KL divergence by its weight; 0 where nothing is sampled."""
    return args.coeff_kl * kl_divergence(mean, log_sigma) if args.cond_augmentation else tf.zeros([])
