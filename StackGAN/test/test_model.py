"""The networks' sizes, shapes and what each output depends on; trained ones read from files."""

import shutil
from argparse import Namespace

import model
import numpy as np
import pytest
import tensorflow as tf
from augment import cut
from blocks import Augment, UpConv
from conftest import SIZES
from misc import config
from stageI import model as one
from stageII import model as two

from common import weights
from common.cli import UserError
from common.layers import named_variables
from common.vgg19 import build_vgg19, vgg19_input

N = 2


def trainable(networks):
    return sum(int(np.prod(weight.shape)) for network in networks for weight in network.trainable_weights)


def uniform(seed, *shape):
    return tf.random.stateless_uniform(shape, [seed, 0], -1, 1)


def small(build, **more):
    return build(1024, Namespace(**{**config.defaults(), **SIZES, **more}))


def test_parameters():
    """As many as the original's."""
    options = Namespace(**config.defaults())
    assert trainable([one.build_generator(1024, options)]) == 14_264_192
    assert trainable(one.build_discriminator(1024, options)) == 4_029_824
    assert trainable([two.build_generator(1024, options)]) == 26_290_080
    assert trainable(two.build_discriminator(1024, options)) == 48_603_520


def test_up_conv_is_nearest_and_a_convolution():
    layer, x = UpConv(4), uniform(0, N, 5, 6, 3)
    y = layer(x)
    enlarged = tf.repeat(tf.repeat(x, 2, 1), 2, 2)
    turned = tf.transpose(tf.reverse(tf.convert_to_tensor(layer.kernel), [0, 1]), [0, 1, 3, 2])
    np.testing.assert_allclose(y, tf.nn.conv2d(enlarged, turned, 1, "SAME"), atol=1e-6)


def test_augment():
    both, eps = tf.constant([[3.0, -1.0, np.log(2.0), 0.0]]), tf.constant([[1.0, 0.5]])
    c, mean, log_sigma = Augment()([both, eps])
    np.testing.assert_allclose(c, [[3 + 2 * 1, -1 + 0.5]], rtol=1e-6)
    np.testing.assert_allclose(mean, [[3, -1]])
    np.testing.assert_allclose(log_sigma, [[np.log(2), 0]], rtol=1e-6)
    np.testing.assert_allclose(Augment(False)([both, eps])[0], [[3, -1]])


def test_skips_add_to_stage_1s_image():
    """Where the last convolution gives nothing, the image is stage I's, enlarged; the paper's has no such path."""
    c = SIZES["embedding_dim"]
    image, inputs = uniform(2, N, 64, 64, 3), [uniform(0, N, 1024), uniform(1, N, c)]
    for skips in (True, False):
        generator = small(two.build_generator, skips=skips)
        last = generator.get_layer("last")
        last.set_weights([np.zeros_like(weight) for weight in last.get_weights()])
        expected = tf.image.resize(image, [256, 256]) if skips else tf.zeros([N, 256, 256, 3])
        np.testing.assert_allclose(generator([image, *inputs])[0], expected, atol=1e-5)


def test_discriminators_of_vgg19s_features():
    """Three beside the image's: the generator learns through them, and neither VGG19 nor the projections learn."""
    vgg19 = build_vgg19(None, list(one.VGG19_LAYERS))
    options = Namespace(**{**config.defaults(), **SIZES, "unconditional": 1.0})
    discriminator = one.build_discriminator(1024, options, vgg19)
    images, text = tf.Variable(uniform(0, N, 64, 64, 3)), uniform(1, N, 1024)
    seen = discriminator.look(images)
    assert [tuple(x.shape) for x in seen[1:]] == [(N, 32, 32, 128), (N, 16, 16, 256), (N, 8, 8, 512)]
    np.testing.assert_allclose(seen[1], vgg19(vgg19_input((images + 1) * 127.5))[0], rtol=1e-4)
    learned = [name for network in discriminator for name in named_variables(network, trainable_only=True)]
    projections = [name for name in discriminator.variables if "_channels." in name or "_scales." in name]
    assert len(projections) == 5 and not set(projections) & set(learned) and "vgg19_0_down_2.0" in learned
    assert not any(name.startswith("block") for name in discriminator.variables)
    with tf.GradientTape(persistent=True) as tape:
        features = discriminator.image(discriminator.look(images), training=False)
        logits, alone = discriminator.text([features, text], training=False), discriminator.alone(features)
        first, rest = logits[:, 0], tf.reduce_sum(logits[:, 1:])
    assert logits.shape == alone.shape == (N, 4) and logits.dtype == tf.float32
    assert float(tf.reduce_max(tf.abs(tape.gradient(rest, images)))) > 0
    blind = [seen[0], *map(tf.zeros_like, seen[1:])]  # the first looks at the image alone, the others do not look at it
    again = discriminator.text([discriminator.image(blind, training=False), text], training=False)
    np.testing.assert_allclose(again[:, 0], first, rtol=1e-4)
    assert np.abs(again - logits)[:, 1:].min() > 0


def test_stage_2s_discriminators_of_vgg19s_features():
    """VGG19 is shown pieces, in which the generator's image has a gradient; the first discriminator sees all of it."""
    vgg19 = build_vgg19(None, list(one.VGG19_LAYERS))
    discriminator = two.build_discriminator(1024, Namespace(**{**config.defaults(), **SIZES}), vgg19)
    images, text = tf.Variable(uniform(0, N, 256, 256, 3)), uniform(1, N, 1024)
    draws = tf.constant([[0.5, 0.0, 1 - 1e-6]] * N)  # half the size, at the top on the right
    with tf.GradientTape() as tape:
        seen = discriminator.look(images, cut(images, 64, draws))
        logits = discriminator.text([discriminator.image(seen, training=False), text], training=False)
        rest = tf.reduce_sum(logits[:, 1:])
    assert logits.shape == (N, 4) and seen[1].shape == (N, 32, 32, 128)
    found = tape.gradient(rest, images).numpy()
    assert np.abs(found[:, :128, 128:]).max() > 0
    assert not found[:, 128:].any() and not found[:, :, :128].any()


@pytest.mark.parametrize("stage, network_type", [(1, "default"), (1, "simple"), (2, "default")])
def test_shapes_and_what_each_output_sees(stage, network_type):
    """An image: the sentence, eps and z or, in stage II, stage I's image. The logits: image and sentence; those without
    a text: the image alone."""
    c = SIZES["embedding_dim"]
    embedding, eps, z, image = (
        tf.Variable(uniform(i, N, *shape)) for i, shape in enumerate([(1024,), (c,), (3,), (64, 64, 3)])
    )
    if stage == 1:
        generator = small(one.build_generator, network_type=network_type)
        inputs = [embedding, eps, z]
        discriminator = small(one.build_discriminator, network_type=network_type, unconditional=True)
    else:
        generator, inputs = small(two.build_generator), [image, embedding, eps]
        discriminator = small(two.build_discriminator, unconditional=True)
    size = {1: 64, 2: 256}[stage]
    with tf.GradientTape(persistent=True) as tape:
        made, mean, log_sigma = generator(inputs, training=True)
        features = discriminator.image(made, training=True)
        logits, alone = discriminator.text([features, embedding], training=True), discriminator.alone(features)
        # The sum of a batch's normalised logits would not move.
        sums = [tf.tensordot(x[:, 0], tf.constant([1.0, -2.0]), 1) for x in (logits, alone)]
    assert made.shape == (N, size, size, 3) and mean.shape == log_sigma.shape == (N, c)
    assert logits.shape == alone.shape == (N, 1) and float(tf.reduce_max(tf.abs(made))) <= 1
    assert all(x.dtype == tf.float32 for x in (made, mean, log_sigma, logits, alone))
    for output, seen in ((made, inputs), (sums[0], [made, embedding]), (sums[1], [made])):
        for x in seen:
            assert float(tf.reduce_max(tf.abs(tape.gradient(output, x)))) > 0
    # At test an image does not depend on its neighbour in the batch.
    alone, both = generator([x[:1] for x in inputs], training=False)[0], generator(inputs, training=False)[0]
    np.testing.assert_allclose(alone, both[:1], atol=1e-5)


def test_in_chunks():
    """The rows in their order, some at a time, all by one graph."""
    traced = []

    def network(x, training):
        traced.append(x)
        return x + 1

    network.inputs = [tf.TensorSpec([None, 3])]
    call, rows = model.in_chunks(network, 3), np.arange(21, dtype=np.float32).reshape(7, 3)
    np.testing.assert_array_equal(call(rows), rows + 1)
    assert len(call(rows[:2])) == 2 and len(traced) == 1


def test_trained_networks(stage1_run, stage2_run, tmp_path):
    """Of a run, of one file, of a folder with both stages' runs; with an exponential average that one is taken."""
    first = model.load_generator(model.find_weights(stage1_run))
    assert (first.stage2, first.folder, first.sizes) == (None, stage1_run, (1024, 4, 3))
    for stage, run in (("stageI", stage1_run), ("stageII", stage2_run)):
        shutil.copytree(run, tmp_path / stage)
    both = model.load_generator(model.find_weights(tmp_path))
    assert both.image_sizes == (64, 256) and both.folder == tmp_path / "stageII"
    found = model.find_weights(stage1_run)
    average = {f"ema_{name}": 0 * array for name, array in found.tensors.items() if name.startswith("generator/")}
    file = tmp_path / "ema.safetensors"
    weights.save(file, "StackGAN", {**found.tensors, **average}, vars(found.options), found.about)
    assert not np.any(model.load_generator(model.find_weights(file)).stage1.get_layer("start").get_weights()[0])


def test_options_that_do_not_fit_the_weights(stage1_run, tmp_path):
    """No network is built of them."""
    found = model.find_weights(stage1_run)
    for broken in ({"gf_dim": -4}, {"gf_dim": "wide"}, {"gf_dim": 10**6}, {"z_dim": None}):
        options = {**vars(found.options), **broken}
        file = weights.save(tmp_path / "x.safetensors", "StackGAN", found.tensors, options, found.about)
        with pytest.raises(UserError, match="not those that its options tell of"):
            model.load_generator(model.find_weights(file))
    with pytest.raises(UserError, match="tells no stage"):
        model.find_weights(weights.save(tmp_path / "y.safetensors", "StackGAN", found.tensors, {}, {"stage": 3}))
