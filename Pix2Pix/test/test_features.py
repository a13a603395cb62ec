"""features.py: features known by hand, of networks of a few bytes in place of the published ones, and bad files."""

import features
import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from common.cli import UserError


def test_vgg19(monkeypatch):
    """The mean over positions of what the network gives; it sees blue, green, red less ImageNet's means."""

    def identity(weights, layers):
        assert (weights, layers) == ("w.h5", ["block5_conv4"])
        x = keras.layers.Input((None, None, 3))
        return keras.Model(x, keras.layers.Activation("linear")(x))

    monkeypatch.setattr(features, "build_vgg19", identity)
    extract = features.vgg19_features("w.h5")
    image = np.zeros((2, 3, 4), np.uint8)  # its alpha channel is not looked at
    image[0, 0] = (60, 0, 12, 77)
    np.testing.assert_allclose(extract(image), [2 - 103.939, -116.779, 10 - 123.68], rtol=1e-5)
    grey = extract(np.full((4, 4, 1), 50, np.uint8))
    np.testing.assert_allclose(grey, 50 - np.array([103.939, 116.779, 123.68]), rtol=1e-5)


def test_inception(tmp_path):
    """A graph with the published one's input and output names is fed 0..255 and read at pool_3."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [1, None, None, 3], "ExpandDims")
        tf.reduce_mean(x, [1, 2], keepdims=True, name="pool_3")
    path = tmp_path / "inception.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    image = np.array([[[255, 0, 10], [1, 0, 20]]], np.uint8)
    np.testing.assert_allclose(features.inception_features(str(path))(image), [128, 0, 15])
    for content in (b"", b"no graph", bytes(range(256))):
        path.write_bytes(content)
        with pytest.raises(UserError, match="^--inception .*inception.pb: not the frozen Inception graph.*$"):
            features.inception_features(str(path))
