"""The order of the training data: a function of (seed, stream, step), the same on both stacks."""

import itertools

import numpy as np
import pytest

from common.cli import UserError
from common.stream import shuffled_batches


def batches(number, *args, **kwargs):
    dataset = shuffled_batches(*args, **kwargs)
    return np.array([batch.numpy() for batch in itertools.islice(dataset, number)])


def test_each_epoch_is_a_permutation_and_epochs_differ():
    epochs = batches(12, 40, 10, seed=3).reshape(3, 40)
    for epoch in epochs:
        assert sorted(epoch) == list(range(40))
    for one, other in itertools.combinations(epochs, 2):
        assert (one != other).mean() > 0.5
    assert (epochs[0] != np.arange(40)).mean() > 0.5


def test_the_last_indices_of_an_epoch_are_left_out():
    epochs = batches(6, 11, 5, seed=0).reshape(3, 10)
    assert all(len(set(epoch)) == 10 and set(epoch) < set(range(11)) for epoch in epochs)
    assert batches(2, 5, 5, seed=0).shape == (2, 5)


def test_every_place_is_equally_likely():
    first = batches(500, 5, 5, seed=1)[:, 0]  # 100 of each are expected, with a deviation of 9
    assert np.bincount(first, minlength=5).min() > 60


def test_streams_and_seeds_differ_and_repeat():
    orders = {key: batches(1, 50, 50, seed=key[0], stream=key[1])[0] for key in itertools.product((0, 1, 2), (0, 1, 2))}
    for one, other in itertools.combinations(orders.values(), 2):
        assert (one != other).mean() > 0.8
    again = batches(1, 50, 50, seed=2, stream=1)[0]
    assert (again == orders[2, 1]).all()


@pytest.mark.parametrize("start", [1, 3, 4, 9])
def test_starting_later_equals_skipping(start):
    whole = batches(14, 13, 3, seed=5, stream=2)  # four batches an epoch
    assert (batches(14 - start, 13, 3, seed=5, stream=2, start_step=start) == whole[start:]).all()


def test_starting_late_costs_nothing():
    assert batches(1, 100, 10, seed=0, start_step=10**12).shape == (1, 10)


def test_known_order():
    """Written down once: a run that moves to the other stack goes on in the same order."""
    assert batches(3, 8, 4, seed=7, stream=1).tolist() == [[3, 7, 5, 2], [4, 0, 1, 6], [2, 0, 1, 7]]
    dataset = shuffled_batches(8, 4, seed=7)
    assert (dataset.element_spec.shape, dataset.element_spec.dtype.name) == ((4,), "int32")


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match=r"--batch_size: a batch of 9 is larger than the data \(8 samples\)"):
        shuffled_batches(8, 9, seed=0)
