"""Differentiable augmentation (Zhao et al., 2020, arXiv 2006.10738): what the discriminator sees, real and fake alike,
is changed at random, so that it cannot learn a few images by heart; the generator learns through the change.

Of the paper's three changes translation and cutout: the third, of colours, would hide what the sentences tell.
"""

import argparse

import tensorflow as tf

from common.session import Session
from common.stream import key

SHIFT = 0.125  # of the size, at most, either way
HOLE = 0.375  # of the size
SCALES = (1, 2, 4)  # pixels to a pixel of a piece
DRAWS, PIECE_DRAWS = 4, 3  # numbers that one image's changes, and a piece of it, need


def seen(args: argparse.Namespace, session: Session, images: tf.Tensor, purpose: str, step: tf.Tensor) -> tf.Tensor:
    """Images as the discriminator is to see them in training, [local batch, size, size, 3]."""
    if not args.diffaugment:
        return images
    random = key(f"augment_{purpose}", args.seed, step)
    return augment(images, session.shard(tf.random.stateless_uniform([args.batch_size, DRAWS], random)))


def augment(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Shifts images and cuts a square out of each.

    Args:
        images: float32 [n, size, size, 3] in -1..1.
        draws: uniform in 0..1, [n, 4].
    Returns:
        The same shape; grey (0) where there is nothing left.
    """
    draws = tf.unstack(draws[:, :, None, None, None], axis=1)  # each [n, 1, 1, 1]
    return cutout(translate(images, *draws[:2]), *draws[2:])


def translate(images: tf.Tensor, down: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Moves images by whole pixels, as a product with a shifted identity for each axis."""
    size = images.shape[1]
    most = int(size * SHIFT + 0.5)

    def shifted(draw):  # [n, size, size]
        pixels = tf.cast(tf.floor(draw[:, 0, 0] * (2 * most + 1)), tf.int32) - most
        return tf.one_hot(tf.range(size)[None] - pixels, size, dtype=images.dtype)

    images = tf.einsum("nij,njwc->niwc", shifted(down), images)
    return tf.einsum("nij,nhjc->nhic", shifted(right), images)


def cutout(images: tf.Tensor, y: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Sets a square to 0, whose middle lies anywhere in the image."""
    size = images.shape[1]
    places = tf.range(size, dtype=images.dtype)

    def inside(draw):  # [n, size]
        return tf.cast(tf.abs(places[None] + 0.5 - draw[:, 0, 0] * size) < size * HOLE / 2, images.dtype)

    return images * (1 - inside(y)[:, :, None, None] * inside(x)[:, None, :, None])


def pieces(
    args: argparse.Namespace, session: Session, images: tf.Tensor, size: int, purpose: str, step: tf.Tensor
) -> tf.Tensor:
    """A square of each image at random, float [local batch, size, size, 3]: as it is, or of the image at a half or a
    quarter of its size. The discriminator sees fine detail so, and what it is a part of, without whole images' cost."""
    random = key(f"piece_{purpose}", args.seed, step)
    return cut(images, size, session.shard(tf.random.stateless_uniform([args.batch_size, PIECE_DRAWS], random)))


def cut(images: tf.Tensor, size: int, draws: tf.Tensor) -> tf.Tensor:
    """Squares of images float32 [n, h, h, 3], as `pieces`, by draws uniform in 0..1, [n, 3]."""
    whole, (scale, down, right) = images.shape[1], tf.unstack(draws, axis=1)
    times = tf.gather(tf.constant(SCALES), tf.cast(scale * len(SCALES), tf.int32))

    def rows(draw):  # [n, size, h]: the mean of which rows becomes each row of a piece
        start = tf.cast(draw * tf.cast(whole - times * size + 1, tf.float32), tf.int32)
        first = start[:, None, None] + times[:, None, None] * tf.range(size)[None, :, None]
        beyond = tf.range(whole)[None, None] - first
        inside = (beyond >= 0) & (beyond < times[:, None, None])
        return tf.cast(inside, images.dtype) / tf.cast(times, images.dtype)[:, None, None]

    images = tf.einsum("nij,njwc->niwc", rows(down), images)
    return tf.einsum("nij,nhjc->nhic", rows(right), images)
