"""The supervised-only baseline: the same discriminator on labelled images alone, with all else that the model gets."""

import argparse

import losses
import numpy as np
import tensorflow as tf
from layers import data_dependent_init
from model import build_discriminator, value_range
from steps import begin_average, make_optimizer, move_tested, noise
from tensorflow import keras
from tqdm import tqdm

from common.images import to_float
from common.layers import moving_statistics
from common.session import Session, set_seed
from common.stream import shuffled_batches


def train_supervised(
    options: argparse.Namespace,
    session: Session,
    images: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    updates: int,
    name: str = "supervised",
) -> keras.Model:
    """Trains a discriminator on labelled images alone: rate, clipping, noise and average are the model's.

    Of several workers each takes its shard of a batch, as in the training of the model.

    Args:
        images, labels: uint8 [n, height, width, channels] and int32 [n], all of them labelled.
        updates: how many.
        name: a word of its own, from which its order and noise come.
    Returns:
        The average of its weights, which is what is tested.
    """
    set_seed(options.seed + 1)  # whatever was drawn before, as where a run goes on
    batch_size, shape = (
        min(options.batch_size, len(images) // session.world_size * session.world_size),
        images.shape[1:],
    )
    rows = session.local_batch(batch_size)
    discriminator, tested = (build_discriminator(options, shape, n_classes, rows) for _ in range(2))
    optimizer = make_optimizer(options, session, discriminator, options.learning_rate_d, updates)
    low, high = value_range(options)

    def supervised_step(batch, targets, step):
        """min_D  CE(D(x), y)"""
        batch = tf.cast(batch, tf.float32) * ((high - low) / 255.0) + low
        with tf.GradientTape() as tape:
            if options.model == "ssgan":
                loss = losses.real_or_class(discriminator(batch, training=True), targets)
            else:
                seed = noise(options, session, f"{name}_noise", step)
                loss = losses.labelled(discriminator([batch, seed], training=True)[1], targets)
        optimizer.minimize(loss, tape)
        move_tested(options, tested, discriminator, step)
        return {"loss": loss}

    if options.model == "paper":
        first = tf.constant(to_float(images[:500], (low, high)))
        data_dependent_init(discriminator, [first, noise(options, session, f"{name}_init", 0)])
    session.average(moving_statistics(tested))
    begin_average(tested, discriminator)
    supervised_step = session.compile(supervised_step)
    order = iter(shuffled_batches(len(images), batch_size, options.seed, purpose=f"{name}_order"))
    for step in tqdm(range(updates), name, unit="step", disable=None):
        chosen = session.shard(next(order).numpy())
        supervised_step(tf.constant(images[chosen]), tf.constant(labels[chosen]), tf.constant(step))
    return tested
