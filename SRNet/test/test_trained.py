"""trained.py: what the network makes of crops of any size, and which checkpoints are refused."""

import numpy as np
import pytest
import tensorflow as tf
import trained
from conftest import write_run
from data import resized

from common.checkpoint import Record
from common.cli import UserError
from common.optimizer import named_variables


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("tiny") / "run", cnum=4, data_shape=[32, 64])


@pytest.fixture(scope="module")
def model(run):
    return trained.load(str(run.folder))


def patches(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3)).astype(np.uint8)
    return small.repeat(8, 0).repeat(8, 1)[:height, :width]


def test_a_crop_by_hand(model):
    """Resized, scaled, through the network, scaled back; the skeleton from 0 to 1, the others from -1 to 1."""
    i_t, i_s = patches(20, 100), patches(50, 70, seed=1)
    x = [tf.constant(resized(picture, (32, 64))[None] / 127.5 - 1, tf.float32) for picture in (i_t, i_s)]
    o_sk, *others = (y[0].numpy() for y in model.generator(x, training=False))
    drawn = trained.edit(model, i_t, i_s)
    assert list(drawn) == ["o_sk", "o_t", "o_b", "o_f"] and drawn["o_sk"].shape == (32, 64, 1)
    for result, expected in zip(drawn.values(), [o_sk * 255, *((y + 1) * 127.5 for y in others)]):
        assert result.dtype == np.uint8 and np.abs(result - expected).max() <= 0.51 and result.std() > 1


def test_the_size_that_the_network_sees(model):
    """32 x 64, as it was trained, and of long crops the nearest multiple of 8 to half of their width."""
    sizes = {(10, 10): 64, (50, 100): 64, (50, 202): 64, (10, 44): 72, (100, 2000): 320, (1, 32): 512}
    for (height, width), wide in sizes.items():
        assert trained.network_size(model.options, height, width) == (32, wide)
    assert trained.edit(model, patches(9, 9), patches(10, 44))["o_f"].shape == (32, 72, 3)
    assert trained.edit(model, patches(1, 1), patches(1, 1))["o_f"].shape == (32, 64, 3)


def test_bad_crops(model):
    good = patches(20, 40)
    for i_t, i_s, reason in (
        (good[..., :1], good, "i_t: must be uint8"),
        (good, good / 255, "i_s: must be uint8 .* is float64"),
        (good, good[:0], r"i_s: .* \[0, 40, 3\]"),
        (good, patches(2, 65), "65 x 2 is more than 32 times as wide as high"),
    ):
        with pytest.raises(UserError, match=reason):
            trained.edit(model, i_t, i_s)


def test_bad_checkpoints(tmp_path, run, model):
    options = vars(run.options)
    variables = {name: tf.Variable(values) for name, values in named_variables(model.generator).items()}

    def refused(name, reason, about="SRNet", generator=variables, **changed):
        record = Record(about={"network": about}, options={**options, **changed}, step=1, seconds=0.0)
        tf.train.Checkpoint(record=record, generator=generator).write(str(tmp_path / name / "ckpt-1"))
        with pytest.raises(UserError, match=reason):
            model = trained.load(str(tmp_path / name))
            trained.edit(model, patches(20, 40), patches(20, 40))

    with pytest.raises(UserError, match="no checkpoint in"):
        trained.load(str(tmp_path / "nowhere"))
    refused("foreign", "not a checkpoint of SRNet", about="SRGAN")
    refused("senseless", "not a checkpoint of SRNet", data_shape=[32])
    refused("wider", "of another model or of other sizes", cnum=8)
    variables["o_f_last.1"].assign([0.0, np.nan, 0.0])
    refused("diverged", "numbers that are not finite: its run diverged")
