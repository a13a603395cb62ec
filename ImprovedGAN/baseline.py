"""The supervised-only baseline: the same discriminator on the same labels, without a generator or unlabelled data."""

import argparse

import _path  # noqa: F401  (finds ../common)
import losses
import numpy as np
import tensorflow as tf
from layers import data_dependent_init, no_seed
from model import build_networks, picture_range
from tensorflow import keras

from common.optimizer import Adam, named_variables
from common.pictures import scale
from common.stream import shuffled_batches


def train_supervised(
    options: argparse.Namespace, images: np.ndarray, labels: np.ndarray, n_classes: int, updates: int
) -> keras.Model:
    """Trains a discriminator on labelled pictures alone.

    Args:
        images, labels: uint8 [n, height, width, channels] and int32 [n], all of them labelled.
        updates: how many.
    """
    _, discriminator = build_networks(options, images.shape[1:], n_classes)
    low, high = picture_range(options)
    optimizer = Adam(named_variables(discriminator, trainable_only=True), options.learning_rate_d, beta_1=0.5)
    variables = list(optimizer.variables_by_name.values())

    @tf.function
    def step(batch, targets, seed):
        batch = tf.cast(batch, tf.float32) * ((high - low) / 255.0) + low
        with tf.GradientTape() as tape:
            if options.model == "ssgan":
                loss = losses.real_or_class(discriminator(batch, training=True), targets)
            else:
                loss = losses.labelled(discriminator([batch, seed], training=True)[1], targets)
        optimizer.apply(tape.gradient(loss, variables))

    batch_size = min(options.batch_size, len(images))
    if options.model == "paper":
        rows = np.resize(np.arange(len(images)), min(500, len(images)))
        data_dependent_init(discriminator, [tf.constant(scale(images[rows], picture_range(options))), no_seed()])
    order = iter(shuffled_batches(len(images), batch_size, options.seed, stream=4))
    for number in range(updates):
        rows = next(order).numpy()
        step(tf.constant(images[rows]), tf.constant(labels[rows]), tf.constant([options.seed, number]))
    return discriminator
