"""The networks' sizes, shapes and what each output depends on."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import SIZES
from stageI import model as one
from stageII import model as two

N = 2


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def numbers(seed, *shape):
    return tf.random.stateless_uniform(shape, [seed, 0], -1, 1)


@pytest.fixture(scope="module")
def inputs():
    """Embedding, eps of stage I and of stage II, z, and a picture of stage I."""
    c = SIZES["embedding_dim"]
    return [
        numbers(0, N, 1024),
        numbers(1, N, c),
        numbers(2, N, c),
        numbers(3, N, SIZES["z_dim"]),
        numbers(4, N, 64, 64, 3),
    ]


def small(build, *left_out, **more):
    sizes = {"condition_dim": SIZES["embedding_dim"], **SIZES, **more}
    return build(**{name: value for name, value in sizes.items() if name not in ("embedding_dim", *left_out)})


def test_parameters():
    """As many as the original's."""
    assert trainable(one.build_generator()) == 14_264_192
    assert trainable(one.build_discriminator()) == 4_029_824
    assert trainable(two.build_generator()) == 26_290_080
    assert trainable(two.build_discriminator()) == 48_603_520


def test_up_conv_is_nearest_and_a_convolution():
    layer, x = one.UpConv(4), numbers(0, N, 5, 6, 3)
    y = layer(x)
    enlarged = tf.repeat(tf.repeat(x, 2, 1), 2, 2)
    kernel = tf.transpose(tf.reverse(tf.convert_to_tensor(layer.kernel), [0, 1]), [0, 1, 3, 2])
    np.testing.assert_allclose(y, tf.nn.conv2d(enlarged, kernel, 1, "SAME"), atol=1e-6)


def test_augment():
    both, eps = tf.constant([[3.0, -1.0, np.log(2.0), 0.0]]), tf.constant([[1.0, 0.5]])
    c, mean, log_sigma = one.Augment()([both, eps])
    np.testing.assert_allclose(c, [[3 + 2 * 1, -1 + 0.5]], rtol=1e-6)
    np.testing.assert_allclose(mean, [[3, -1]])
    np.testing.assert_allclose(log_sigma, [[np.log(2), 0]], rtol=1e-6)
    np.testing.assert_allclose(one.Augment(False)([both, eps])[0], [[3, -1]])


@pytest.mark.parametrize("network_type", ["default", "simple"])
def test_stage1(inputs, network_type):
    embedding, eps, _, z, picture = inputs
    generator = small(one.build_generator, "df_dim", network_type=network_type)
    drawn, mean, log_sigma = generator([embedding, eps, z], training=False)
    assert drawn.shape == (N, 64, 64, 3) and mean.shape == log_sigma.shape == (N, SIZES["embedding_dim"])
    assert all(x.dtype == tf.float32 for x in (drawn, mean, log_sigma)) and float(tf.reduce_max(tf.abs(drawn))) <= 1
    # At test a picture does not depend on its neighbour in the batch.
    np.testing.assert_allclose(generator([embedding[:1], eps[:1], z[:1]], training=False)[0], drawn[:1], atol=1e-6)
    discriminator = small(one.build_discriminator, "gf_dim", "z_dim", network_type=network_type)
    logits = discriminator([picture, embedding], training=True)
    assert logits.shape == (N, 1) and logits.dtype == tf.float32


def test_stage2(inputs):
    embedding, _, eps, _, picture = inputs
    generator = small(two.build_generator, "df_dim", "z_dim")
    drawn, mean, log_sigma = generator([picture, embedding, eps], training=True)
    assert drawn.shape == (N, 256, 256, 3) and mean.shape == log_sigma.shape == (N, SIZES["embedding_dim"])
    logits = small(two.build_discriminator, "gf_dim", "z_dim")([drawn, embedding], training=True)
    assert logits.shape == (N, 1) and logits.dtype == tf.float32


def test_what_each_output_sees(inputs):
    """A picture: the sentence, eps and z or, in stage II, stage I's picture. The logits: picture and sentence."""
    embedding, eps, eps_2, z, picture = (tf.Variable(x) for x in inputs)
    with tf.GradientTape(persistent=True) as tape:
        first = small(one.build_generator, "df_dim")([embedding, eps, z], training=True)[0]
        second = small(two.build_generator, "df_dim", "z_dim")([picture, embedding, eps_2], training=True)[0]
        logits = small(one.build_discriminator, "gf_dim", "z_dim")([picture, embedding], training=True)
        # The sum of a batch's normalised logits would not move.
        logits = tf.tensordot(logits[:, 0], tf.constant([1.0, -2.0]), 1)
    for output, seen in (
        (first, (embedding, eps, z)),
        (second, (picture, embedding, eps_2)),
        (logits, (picture, embedding)),
    ):
        for x in seen:
            assert float(tf.reduce_max(tf.abs(tape.gradient(output, x)))) > 0
    assert tape.gradient(second, z) is None
