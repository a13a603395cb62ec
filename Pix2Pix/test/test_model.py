"""The networks: their parameters, shapes and receptive field, and what in them depends on the batch and on the seed."""

import argparse
import dataclasses

import model
import numpy as np
import pytest
import tensorflow as tf
from conftest import write_run
from layers import BatchNorm, SeededDropout
from tensorflow.keras import layers

from common import weights
from common.cli import UserError
from common.layers import named_variables

CURRENT = not tf.__version__.startswith("2.6.")


def random(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).uniform(-1, 1, shape), tf.float32)


@pytest.fixture(scope="module")
def paper():
    """Both networks at the paper's size."""
    tf.random.set_seed(0)
    return model.build_generator(256, 256), model.build_discriminator(256, 256)


# The paper's networks.


LAYERS = [  # of each network: height (and width) and channels of each layer's output for 256 x 256
    {
        "encoder": [(128, 64), (64, 128), (32, 256), (16, 512), (8, 512), (4, 512), (2, 512), (1, 512)],
        "decoder": [(2, 512), (4, 512), (8, 512), (16, 512), (32, 256), (64, 128), (128, 64), (256, 3)],
    },
    {"layer": [(128, 64), (64, 128), (32, 256), (31, 512), (30, 1)]},
]
BARE = [["encoder_1", "encoder_8", "decoder_8"], ["layer_1", "layer_5"]]  # a bias in place of a norm


def test_layers_and_parameters(paper):
    """All kernels are 4 x 4. No norm on the first and last layers, nor on the 1x1 bottleneck, and a bias exactly there;
    dropout in three layers of the decoder."""
    for network, table, bare, total in zip(paper, LAYERS, BARE, (54414531, 2768705)):
        variables, names = named_variables(network), []
        for part, expected in table.items():
            names += [f"{part}_{number + 1}" for number in range(len(expected))]
            shapes = [tuple(network.get_layer(name).output.shape[2:]) for name in names[-len(expected) :]]
            assert shapes == expected
        assert {tuple(variables[f"{name}.0"].shape[:2]) for name in names} == {(4, 4)}
        assert [name for name in names if f"{name}_norm.0" not in variables] == bare
        assert [name for name in names if f"{name}.1" in variables] == bare
        assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == total
        assert not network.non_trainable_variables
    dropouts = [layer.name for layer in paper[0].layers if isinstance(layer, SeededDropout)]
    assert dropouts == ["decoder_1_dropout", "decoder_2_dropout", "decoder_3_dropout"]


def test_initial_weights(paper):
    """Kernels N(0, 0.02), gamma N(1, 0.02), the rest 0."""
    for network in paper:
        kernels, gammas, rest = [], [], []
        for name, variable in named_variables(network).items():
            part = kernels if len(variable.shape) == 4 else gammas if name.endswith("_norm.0") else rest
            part.append(variable.numpy().ravel())
        for part, mean in ((kernels, 0), (gammas, 1)):
            values = np.concatenate(part)
            assert values.mean() == pytest.approx(mean, abs=0.004) and values.std() == pytest.approx(0.02, rel=0.15)
        assert not np.concatenate(rest).any()


def test_a_patch_sees_70_pixels(monkeypatch):
    """By the gradient of one logit, without the norms, whose statistics are the whole image's. Patch i starts at
    8 i - 23: its five layers' strides and margins."""
    monkeypatch.setattr(model, "BatchNorm", lambda name: layers.Activation("linear", name=name))
    discriminator = model.build_discriminator(256, 256, ndf=2)
    source, target = random(1, 256, 256, 3), random(1, 256, 256, 3, seed=1)
    with tf.GradientTape() as tape:
        tape.watch([source, target])
        logits = discriminator([source, target], training=True)
        logit = logits[0, 15, 10, 0]
    assert logits.shape == (1, 30, 30, 1)
    for gradient in tape.gradient(logit, [source, target]):
        seen = np.abs(gradient.numpy()[0]).max(-1) > 0
        assert np.flatnonzero(seen.any(1)).tolist() == list(range(97, 167))
        assert np.flatnonzero(seen.any(0)).tolist() == list(range(57, 127))


# What depends on what.


def test_generating_depends_on_the_image_alone_and_training_on_batch_and_seed():
    generator = model.build_generator(256, 256, ngf=2)

    def small(x, seed=(0, 0), training=False):
        return generator([x, tf.constant(seed)], training=training)

    images = random(2, 256, 256, 3) * [[[[1.0]]], [[[0.1]]]]  # a bright one and a dim one
    both = small(images).numpy()
    assert both.shape == (2, 256, 256, 3) and both.dtype == np.float32 and 0 < np.abs(both).max() <= 1
    np.testing.assert_allclose(small(images[1:], seed=(7, 1))[0], both[1], atol=1e-5)
    both = small(images, (4, 9), True).numpy()
    np.testing.assert_array_equal(small(images, (4, 9), True), both)
    assert np.abs(small(images, (4, 10), True) - both).max() > 1e-4
    assert np.abs(small(images[1:], (4, 9), True) - both[1:]).max() > 1e-4


def test_dropout():
    """Half the values, those that stay doubled; which ones is told by seed, step and layer."""
    x, seed = random(4, 8, 8, 32) + 2, tf.constant([3, 5])
    layer = SeededDropout(1)
    dropped = layer([x, seed], training=True).numpy()
    kept = dropped != 0
    np.testing.assert_array_equal(dropped[kept], 2 * x.numpy()[kept])
    np.testing.assert_array_equal(layer([x, seed], training=False), x)
    others = [layer([x, tf.constant(other)], training=True) for other in ([3, 6], [4, 5], [3, 21], [19, 5])]
    for other in (np.zeros(1), *others, SeededDropout(2)([x, seed], training=True)):  # as far from it as two coins
        assert ((np.asarray(other) != 0) == kept).mean() == pytest.approx(0.5, abs=0.02)


def test_batch_norm_by_hand():
    x = (3 * random(2, 4, 6, 5) + 1).numpy()
    layer = BatchNorm()
    layer(x)
    layer.set_weights([random(5, seed=2).numpy(), random(5, seed=3).numpy()])
    gamma, beta = layer.get_weights()
    for training, axes in ((True, (0, 1, 2)), (False, (1, 2))):
        normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
        np.testing.assert_allclose(layer(x, training=training), normal * gamma + beta, atol=1e-5)
        if CURRENT:
            half = layer(tf.cast(x, tf.bfloat16), training=training)
            assert half.dtype == tf.bfloat16
            np.testing.assert_allclose(tf.cast(half, tf.float32), normal * gamma + beta, atol=0.05)


def test_a_trained_generator(tmp_path):
    """Built by the file's options; sizes that it only claims are refused before anything is built by them."""
    run = write_run(tmp_path / "run", input_nc=4, output_nc=1)
    found = weights.load(run.folder, model.NETWORK, tmp_path)
    variables = named_variables(model.load_generator(found))
    assert all(np.array_equal(found.tensors[f"generator/{name}"], v) for name, v in variables.items())
    wrong = {"ngf": [10**6, "2", None], "input_nc": [2, [3]], "fine_size": [255, 2**40], "which_direction": ["", 1]}
    for name, values in wrong.items():
        for value in values:
            other = dataclasses.replace(found, options=argparse.Namespace(**{**vars(found.options), name: value}))
            with pytest.raises(UserError, match="its options are not those of its weights"):
                model.load_generator(other)
