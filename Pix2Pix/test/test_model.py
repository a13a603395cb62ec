"""The networks: their parameters, shapes and receptive field, and what in them depends on the batch and on the seed."""

import argparse
import dataclasses

import model
import numpy as np
import pytest
import tensorflow as tf
from conftest import write_run
from layers import BatchNorm, SeededDropout
from tensorflow import keras
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


@pytest.fixture(scope="module")
def small():
    tf.random.set_seed(3)
    generator = model.build_generator(256, 256, ngf=2)
    return lambda x, seed=(0, 0), training=False: generator([x, tf.constant(seed)], training=training)


@pytest.fixture(scope="module")
def bright_and_dim():
    return random(2, 256, 256, 3) * [[[[1.0]]], [[[0.1]]]]


# The paper's networks.


GENERATOR = {  # name: kernel, size and channels of its output for 256 x 256
    "encoder_1": ((4, 4, 3, 64), 128, 64),
    "encoder_2": ((4, 4, 64, 128), 64, 128),
    "encoder_3": ((4, 4, 128, 256), 32, 256),
    "encoder_4": ((4, 4, 256, 512), 16, 512),
    "encoder_5": ((4, 4, 512, 512), 8, 512),
    "encoder_6": ((4, 4, 512, 512), 4, 512),
    "encoder_7": ((4, 4, 512, 512), 2, 512),
    "encoder_8": ((4, 4, 512, 512), 1, 512),
    "decoder_1": ((4, 4, 512, 512), 2, 512),  # a transposed one's kernel: [.., .., out, in]
    "decoder_2": ((4, 4, 512, 1024), 4, 512),  # from here on it takes a skip as well
    "decoder_3": ((4, 4, 512, 1024), 8, 512),
    "decoder_4": ((4, 4, 512, 1024), 16, 512),
    "decoder_5": ((4, 4, 256, 1024), 32, 256),
    "decoder_6": ((4, 4, 128, 512), 64, 128),
    "decoder_7": ((4, 4, 64, 256), 128, 64),
    "decoder_8": ((4, 4, 3, 128), 256, 3),
}
DISCRIMINATOR = {
    "layer_1": ((4, 4, 6, 64), 128, 64),
    "layer_2": ((4, 4, 64, 128), 64, 128),
    "layer_3": ((4, 4, 128, 256), 32, 256),
    "layer_4": ((4, 4, 256, 512), 31, 512),
    "layer_5": ((4, 4, 512, 1), 30, 1),
}


BARE = [["encoder_1", "encoder_8", "decoder_8"], ["layer_1", "layer_5"]]  # a bias in place of a norm


def test_parameters(paper):
    """Counted by hand from the tables: a kernel, and two numbers a channel or one."""
    for network, table, bare, total in zip(paper, (GENERATOR, DISCRIMINATOR), BARE, (54414531, 2768705)):
        sizes = [
            np.prod(kernel) + channels * (1 if name in bare else 2) for name, (kernel, _, channels) in table.items()
        ]
        assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == sum(sizes) == total
        assert not network.non_trainable_variables


def test_layers(paper):
    for network, table in zip(paper, (GENERATOR, DISCRIMINATOR)):
        kernels = {name[:-2]: v for name, v in named_variables(network).items() if len(v.shape) == 4}
        found = {}
        for name, kernel in kernels.items():
            _, height, width, channels = network.get_layer(name).output.shape
            assert height == width
            found[name] = (tuple(kernel.shape), height, channels)
        assert found == table


def test_which_layers_have_a_norm_a_bias_and_dropout(paper):
    """No norm on the first and last layers, nor on the 1x1 bottleneck, and a bias exactly there."""
    for network, table, bare in zip(paper, (GENERATOR, DISCRIMINATOR), BARE):
        names = {layer.name for layer in network.layers}
        variables = named_variables(network)
        assert [name for name in table if f"{name}_norm" not in names] == bare
        assert [name for name in table if f"{name}.1" in variables] == bare
    dropouts = [layer.name for layer in paper[0].layers if isinstance(layer, SeededDropout)]
    assert dropouts == ["decoder_1_dropout", "decoder_2_dropout", "decoder_3_dropout"]


def test_initial_weights(paper):
    """Kernels N(0, 0.02), gamma N(1, 0.02), the rest 0."""
    for network in paper:
        for name, variable in named_variables(network).items():
            values = variable.numpy()
            if len(values.shape) == 4:
                assert abs(values.mean()) < 6 * 0.02 / np.sqrt(values.size), name
                assert values.std() == pytest.approx(0.02, rel=6 / np.sqrt(values.size)), name
            elif not name.endswith("_norm.0"):
                assert not values.any(), name
        gamma = np.concatenate([v.numpy() for name, v in named_variables(network).items() if name.endswith("_norm.0")])
        assert gamma.mean() == pytest.approx(1, abs=0.004) and gamma.std() == pytest.approx(0.02, rel=0.15)


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


def test_generating_depends_on_the_image_alone(small, bright_and_dim):
    both = small(bright_and_dim).numpy()
    assert both.shape == (2, 256, 256, 3) and both.dtype == np.float32 and 0 < np.abs(both).max() <= 1
    for index in range(2):
        alone = small(bright_and_dim[index : index + 1], seed=(7, index))  # nor on the seed: nothing is dropped
        np.testing.assert_allclose(alone[0], both[index], atol=1e-5)


def test_training_depends_on_the_batch_and_the_seed(small, bright_and_dim):
    both = small(bright_and_dim, (4, 9), True).numpy()
    np.testing.assert_array_equal(small(bright_and_dim, (4, 9), True), both)
    for seed in ((4, 10), (5, 9), (9, 4)):
        assert np.abs(small(bright_and_dim, seed, True) - both).max() > 1e-4
    assert np.abs(small(bright_and_dim[1:], (4, 9), True) - both[1:]).max() > 1e-4


def test_dropout():
    """Half the values, those that stay doubled; which ones is told by seed, step and layer."""
    x = random(4, 8, 8, 32) + 2
    layer = SeededDropout(1)
    dropped = layer([x, tf.constant([3, 5])], training=True).numpy()
    kept = dropped != 0
    np.testing.assert_array_equal(dropped[kept], 2 * x.numpy()[kept])
    assert kept.mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(layer([x, tf.constant([3, 5])], training=False), x)
    others = [layer([x, tf.constant(seed)], training=True) for seed in ([3, 6], [4, 5], [3, 21], [19, 5])]
    others.append(SeededDropout(2)([x, tf.constant([3, 5])], training=True))
    for other in others:  # as far from it as two coins
        assert ((other.numpy() != 0) == kept).mean() == pytest.approx(0.5, abs=0.02)


def test_the_bottleneck_tells_images_apart():
    """A norm there would make it zero for one image."""
    tf.random.set_seed(0)
    generator = model.build_generator(256, 256, ngf=2)
    bottleneck = keras.Model(generator.inputs, generator.get_layer("encoder_8").output)
    one, other = (bottleneck([random(1, 256, 256, 3, seed=n), tf.constant([0, 0])], training=True) for n in range(2))
    assert one.shape == (1, 1, 1, 16) and np.abs(one).min() > 0 and np.abs(one - other).max() > 1e-3


def test_batch_norm_by_hand():
    x, weight = (3 * random(2, 4, 6, 5) + 1).numpy(), random(2, 4, 6, 5, seed=1).numpy()
    layer = BatchNorm()
    layer(x)
    layer.set_weights([random(5, seed=2).numpy(), random(5, seed=3).numpy()])
    gamma, beta = layer.get_weights()
    for training, axes in ((True, (0, 1, 2)), (False, (1, 2))):
        with tf.GradientTape() as tape:
            y = layer(tf.constant(x), training=training)
            loss = tf.reduce_sum(y * weight)
        normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
        np.testing.assert_allclose(y, normal * gamma + beta, atol=1e-5)
        by_gamma, by_beta = tape.gradient(loss, layer.trainable_variables)
        np.testing.assert_allclose(by_gamma, (weight * normal).sum((0, 1, 2)), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(by_beta, weight.sum((0, 1, 2)), rtol=1e-4, atol=1e-4)


# Sizes and precision.


@pytest.mark.parametrize("input_nc, output_nc", [(1, 4), (4, 1)])
def test_other_sizes_and_channels(input_nc, output_nc):
    generator = model.build_generator(256, 512, input_nc, output_nc, ngf=2)
    discriminator = model.build_discriminator(256, 512, input_nc, output_nc, ndf=2)
    source = random(1, 256, 512, input_nc)
    for training in (False, True):
        generated = generator([source, tf.constant([0, 1])], training=training)
        assert generated.shape == (1, 256, 512, output_nc)
        assert discriminator([source, generated], training=training).shape == (1, 30, 62, 1)


@pytest.mark.skipif(not CURRENT, reason="TensorFlow 2.6 has no bfloat16 convolutions on a CPU")
def test_bfloat16():
    """Weights, images and logits stay in float32; a norm takes and gives what the layers around it compute in."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        tf.random.set_seed(3)
        mixed, discriminator = model.build_generator(256, 256, ngf=2), model.build_discriminator(256, 256, ndf=2)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert mixed.get_layer("decoder_7").compute_dtype == "bfloat16"
    assert all(v.dtype == tf.float32 for v in named_variables(mixed).values())
    images = random(1, 256, 256, 3)
    for training in (False, True):
        generated = mixed([images, tf.constant([1, 2])], training=training)
        logits = discriminator([images, generated], training=training)
        assert generated.dtype == logits.dtype == tf.float32
        assert np.isfinite(generated).all() and np.isfinite(logits).all()
    norm = BatchNorm()
    x = random(2, 4, 4, 3)
    for training in (False, True):
        half = norm(tf.cast(x, tf.bfloat16), training=training)
        assert half.dtype == tf.bfloat16
        np.testing.assert_allclose(tf.cast(half, tf.float32), norm(x, training=training), atol=0.03)


# Trained ones.


def test_a_trained_generator(tmp_path):
    """Built by the file's options; the moving average where the run kept one; sizes that the file only claims are
    refused before anything is built by them."""
    run = write_run(tmp_path / "run", input_nc=4, output_nc=1, ngf=2)
    found = weights.load(run.folder, model.NETWORK, tmp_path)
    variables = named_variables(model.load_generator(found))
    assert all(np.array_equal(found.tensors[f"generator/{name}"], v) for name, v in variables.items())
    found.tensors.update({f"ema_generator/{name}": v.numpy() + 1 for name, v in variables.items()})
    averaged = named_variables(model.load_generator(found))
    assert all(np.array_equal(variables[name] + 1, v) for name, v in averaged.items())
    wrong = {
        "ngf": [10**6, "2", None],
        "input_nc": [2, 10**9, [3]],
        "fine_size": [255, 2**40],
        "which_direction": ["", 1],
    }
    for name, values in wrong.items():
        for value in values:
            other = dataclasses.replace(found, options=argparse.Namespace(**{**vars(found.options), name: value}))
            with pytest.raises(UserError, match="its options are not those of its weights"):
                model.load_generator(other)
