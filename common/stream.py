"""The order of the training data and every other random choice as a function of (seed, step), so that a run that goes
on reads and draws what it would have."""

import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

import tensorflow as tf

from common.cli import UserError

if TYPE_CHECKING:
    from common.session import Session

THREADS = 4  # that read and decode


def key(purpose: str, seed: int, step: Any) -> tf.Tensor:
    """The key of one random choice, int32 [2], for `tf.random.stateless_*`.

    Args:
        purpose: a word; no two uses of randomness share one, so that no two draw the same numbers.
        step: a step, or the number of a sample or of an epoch (a number or an integer scalar).
    """
    return tf.stack([tf.constant(zlib.crc32(f"{purpose}/{seed}".encode()) & 0x7FFFFFFF), tf.cast(step, tf.int32)])


def shuffled_batches(
    count: int, batch_size: int, seed: int, start_step: int = 0, purpose: str = "order"
) -> tf.data.Dataset:
    """Endless shuffled batches of indices, each epoch in an order of its own.

    Args:
        count: how many samples there are.
        batch_size: indices a batch; an epoch's last `count % batch_size` indices are left out of it.
        start_step: batches to begin after, skipped without being made.
        purpose: as `key` has it: orders of different purposes are independent of each other.
    Returns:
        A dataset of int32 [batch_size] index batches.
    Raises:
        UserError: the batch is larger than the data.
    """
    if batch_size > count:
        raise UserError(
            f"--batch_size: a batch of {batch_size} is larger than the data ({count} samples); choose a smaller one"
        )
    steps_per_epoch = count // batch_size
    first_epoch, skipped = divmod(start_step, steps_per_epoch)

    def epoch(number):
        ranks = tf.random.stateless_uniform([count], key(purpose, seed, number), None, None, tf.int32)
        order = tf.argsort(ranks)[: steps_per_epoch * batch_size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(order, [steps_per_epoch, batch_size]))

    return tf.data.Dataset.range(first_epoch, 2**31).flat_map(epoch).skip(skipped)


def sample_batches(
    sample: Callable, order: tf.data.Dataset, batch_size: int, start_step: int, session: "Session"
) -> Iterator[Any]:
    """Batches of the samples that an order of indices names, read and made in parallel, ahead of the training.

    Of several workers each reads its shard of every batch.

    Args:
        sample: (index, number of the sample in the run, of which its random draws are a function) -> tensors.
        order: a dataset of int32 indices, which begins at step `start_step`.
        batch_size: of all workers together.
    Raises:
        UserError: a file has ceased to decode.
    """
    numbers = tf.data.Dataset.range(start_step * batch_size, 2**62)
    own = tf.data.Dataset.zip((order, numbers)).shard(session.world_size, session.rank)
    dataset = own.map(sample, num_parallel_calls=THREADS)
    try:
        yield from dataset.batch(session.local_batch(batch_size), drop_remainder=True).prefetch(2)
    except tf.errors.OpError as error:  # TensorFlow tells a Python function's exception as text
        told = re.search(r"UserError: (.*?)(?:\nTraceback|\n\n|\Z)", str(error), re.DOTALL)
        if told:
            raise UserError(told[1].strip()) from None
        raise
