"""The order of the training data and every random key: functions of (purpose, seed, step), the same on both stacks."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from common.cli import UserError
from common.stream import key, sample_batches, shuffled_batches


def batches(number, *args, **kwargs):
    return np.array([batch.numpy() for batch in itertools.islice(shuffled_batches(*args, **kwargs), number)])


def test_each_epoch_is_a_permutation_of_its_own_without_the_rest():
    epochs = batches(12, 43, 10, seed=3).reshape(3, 40)
    assert all(len(set(epoch)) == 40 and set(epoch) < set(range(43)) for epoch in epochs)
    for one, other in itertools.combinations(epochs, 2):
        assert (one != other).mean() > 0.5


def test_every_place_is_equally_likely():
    first = batches(500, 5, 5, seed=1)[:, 0]  # 100 of each are expected, with a deviation of 9
    assert np.bincount(first, minlength=5).min() > 60


@pytest.mark.parametrize("start", [1, 4, 9])
def test_starting_later_equals_skipping(start):
    whole = batches(14, 13, 3, seed=5, purpose="test")  # four batches an epoch
    assert (batches(14 - start, 13, 3, seed=5, purpose="test", start_step=start) == whole[start:]).all()


def test_starting_late_costs_nothing():
    assert batches(1, 100, 10, seed=0, start_step=10**9).shape == (1, 10)


def test_no_two_purposes_seeds_or_steps_share_a_key():
    """Nor do they draw alike: what a step's noise is, another purpose's sample of that number is not."""
    purposes = ["order", "crop", "label_noise", "dropout", "dropout@1", "z", "flip"]
    uses = list(itertools.product(purposes, (0, 1, 2), (0, 1, 7, 10**6)))
    keys = [tuple(key(*use).numpy()) for use in uses]
    assert len(set(keys)) == len(uses) and key("crop", 0, 1).dtype == tf.int32
    drawn = [tf.random.stateless_uniform([4], k).numpy().tolist() for k in keys[: 3 * 12]]
    assert len({number for numbers in drawn for number in numbers}) == 4 * len(drawn)
    orders = [batches(1, 50, 50, seed=seed, purpose=purpose)[0] for purpose in ("order", "crop") for seed in (0, 1)]
    assert all((one != other).mean() > 0.8 for one, other in itertools.combinations(orders, 2))


def test_known_numbers():
    """Written down once: a run that moves to the other stack goes on in the same order with the same noise."""
    assert batches(3, 8, 4, seed=7).tolist() == [[0, 7, 3, 4], [1, 2, 6, 5], [6, 7, 3, 0]]
    assert key("crop", 3, tf.constant(5, tf.int64)).numpy().tolist() == [650688902, 5]
    spec = shuffled_batches(8, 4, seed=7).element_spec
    assert (spec.shape, spec.dtype.name) == ((4,), "int32")


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match=r"--batch_size: a batch of 9 is larger than the data \(8 samples\)"):
        shuffled_batches(8, 9, seed=0)


def session(rank=0, world_size=1):
    return SimpleNamespace(rank=rank, world_size=world_size, local_batch=lambda size: size // world_size)


def read(start, number, **place):
    order = shuffled_batches(9, 4, 0, start).unbatch()
    stream = sample_batches(lambda index, n: (index, n), order, 4, start, session(**place))
    return [[x.numpy().tolist() for x in batch] for batch in itertools.islice(stream, number)]


def test_samples_are_numbered_and_each_worker_has_its_shard():
    alone = read(0, 5)
    assert [numbers for _, numbers in alone] == [[4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3] for i in range(5)]
    assert [index for index, _ in alone] == batches(5, 9, 4, seed=0).tolist()
    assert read(3, 2) == alone[3:]
    parts = [read(3, 2, rank=rank, world_size=2) for rank in range(2)]
    for batch, first, second in zip(alone[3:], *parts):
        for whole, even, odd in zip(batch, first, second):
            assert (whole[::2], whole[1::2]) == (even, odd)


@pytest.mark.parametrize("error", [UserError("a.png: is no image\nMend it."), ZeroDivisionError("of all things")])
def test_a_readers_error_is_told_and_no_other_one_is_taken_for_it(error):
    def failing(index):
        raise error

    def sample(index, number):
        return tf.numpy_function(failing, [index], tf.float32)

    stream = sample_batches(sample, shuffled_batches(9, 4, 0).unbatch(), 4, 0, session())
    with pytest.raises(UserError if isinstance(error, UserError) else tf.errors.OpError) as told:
        next(stream)
    assert str(told.value) == str(error) if isinstance(error, UserError) else "of all things" in str(told.value)
