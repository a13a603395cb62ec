"""The networks' sizes and shapes."""

from argparse import Namespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_run
from model import Paint, Palette, build_discriminator, build_generators, load_generator

from common import weights
from common.cli import UserError


def options(cnum=2, skips=False):
    return Namespace(cnum=cnum, skips=skips)


def noise(seed, *shape):
    return tf.random.stateless_uniform([*shape, 3], [seed, 0], -1, 1)


def test_parameters():
    """As many as the original's."""
    for model, count in ((build_generators(options(32))[0], 18_930_026), (build_discriminator(options(32)), 3_118_214)):
        assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == count


def test_generator():
    """Shapes and ranges; at test an image does not depend on its neighbour in the batch. The background is made without
    the wanted word; skeleton, styled and fused word with both images."""
    generator, _ = build_generators(options())
    i_t, i_s = (tf.Variable(noise(seed, 2, 16, 32)) for seed in (1, 2))
    with tf.GradientTape(persistent=True) as tape:
        outputs = generator([i_t, i_s], training=False)[:4]
    assert [tuple(x.shape) for x in outputs] == [(2, 16, 32, 1)] + [(2, 16, 32, 3)] * 3
    assert all(x.dtype == tf.float32 and float(tf.reduce_max(tf.abs(x))) <= 1 for x in outputs)
    assert float(tf.reduce_min(outputs[0])) >= 0
    for one, two in zip(generator([i_t[:1], i_s[:1]], training=False), outputs):
        np.testing.assert_allclose(one, two[:1], atol=1e-5)
    o_sk, o_t, o_b, o_f = outputs
    assert tape.gradient(o_b, i_t) is None and tape.gradient(o_b, i_s) is not None
    for output in (o_sk, o_t, o_f):
        assert all(float(tf.reduce_max(tf.abs(tape.gradient(output, x)))) > 0 for x in (i_t, i_s))


def test_skips():
    """With --skips decoders have what the encoders have at a quarter, a half and all of the size: that of i_t, for o_t
    that of i_s at a quarter, for o_f that of o_t and not the background's. The last layer of o_b sees i_s, that of o_f
    o_t and o_b."""
    plain, joined = (build_generators(options(skips=skips))[0] for skips in (False, True))

    def more(name):
        return np.subtract(*(model.get_layer(name).weights[0].shape[2] for model in (joined, plain)))

    for name, added in (
        ("skeleton", [0, 8, 4, 2]), ("styled", [0, 16, 4, 2]), ("filled", [0, 0, 0, 2]), ("fused", [-16, 0, 0, 2])
    ):  # fmt: skip
        assert [more(f"{name}_{level}a") for level in (1, 2, 3, 4)] == added
    last = [joined.get_layer(name).weights[0].shape[2:] for name in ("o_t_mixture", "o_b_made_last", "o_f_made_last")]
    assert last == [(4, 5), (2 + 3, 3), (2 + 6, 3)]


def test_colours_are_means_of_pixels_and_pixels_mixtures_of_colours():
    rng = np.random.default_rng(0)
    image, where = rng.uniform(-1, 1, (2, 4, 6, 3)).astype("f"), np.zeros((2, 4, 6, 2), "f")
    where[:, 1, 2, 0] = 50  # the first colour is of one pixel, the second the mean of all
    colours = Palette(dtype="float32")([tf.constant(where), tf.constant(image)])
    np.testing.assert_allclose(colours[:, 0], image[:, 1, 2], atol=1e-6)
    np.testing.assert_allclose(colours[:, 1], image.mean((1, 2)), atol=1e-6)
    shares = np.log(np.full((2, 4, 6, 3), [0.5, 0.3, 0.2], "f"))
    shares[:, 0, 0] = [99, 0, 0]  # grey
    painted, where = Paint(dtype="float32")([tf.constant(shares), colours])
    np.testing.assert_allclose(tf.sigmoid([where[0, 0, 0, 0], where[0, 2, 3, 0]]), [0, 0.5], atol=1e-6)
    np.testing.assert_allclose(painted[:, 2, 3], 0.3 * colours[:, 0] + 0.2 * colours[:, 1], atol=1e-5)
    np.testing.assert_array_equal(painted[:, 0, 0], np.zeros((2, 3)))
    over, _ = Paint(dtype="float32")([tf.constant(shares), colours, tf.constant(image)])
    np.testing.assert_allclose(over[:, 2, 3] - painted[:, 2, 3], 0.5 * image[:, 2, 3], atol=1e-5)


def test_discriminator():
    """Patches of a sixteenth of the size; its last normalisation centres the logits of a batch."""
    discriminator = build_discriminator(options())
    for logits in discriminator([noise(seed, 4, 64, 128) for seed in range(4)], training=True):
        assert logits.shape == (4, 4, 8, 1) and logits.dtype == tf.float32
        assert float(tf.reduce_mean(logits)) == pytest.approx(0, abs=1e-3)
        assert float(tf.math.reduce_std(logits)) == pytest.approx(1, abs=0.1)


def test_teacher_forcing():
    """The fusion of t_t has the same weights as that of o_t, and sends no gradient into text conversion."""
    generator, forced = build_generators(options(skips=True), (16, 32), True)
    i_t, i_s = (noise(seed, 1, 16, 32) for seed in (1, 2))
    _, o_t, _, o_f, _, share = generator([i_t, i_s], training=True)
    with tf.GradientTape() as tape:
        same = forced([i_t, i_s, o_t, tf.sigmoid(share)], training=True)[3]
    np.testing.assert_allclose(same, o_f, atol=1e-6)
    text, fused = (generator.get_layer(name).weights[0] for name in ("styled_1a", "fused_1a"))
    gradients = tape.gradient(same, [text, fused])
    assert gradients[0] is None and gradients[1] is not None


def test_what_is_loaded(tmp_path):
    """The weights by their options; a file that says senseless things is refused in one line."""
    loaded = weights.load(write_run(tmp_path / "run").folder, "SRNet", tmp_path)
    layer = load_generator(loaded).get_layer("fused_1a")
    np.testing.assert_array_equal(layer.weights[0], loaded.tensors["generator/fused_1a.0"])
    loaded.options.data_shape = [64]
    with pytest.raises(UserError, match="do not say which network"):
        load_generator(loaded)
