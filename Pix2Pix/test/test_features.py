"""features.py: networks whose features are known by hand, loaded from files of a few kilobytes, and bad files."""

import features
import numpy as np
import pytest
from tensorflow import keras

from common.pretrained import vgg19_input
from common.testing import vgg19_shapes, write_weights


def first_channel(layer, index, dataset):
    """Each layer hands on its first channel and adds half of it as its second; the last layer's bias is 7 at 3."""
    if index == 0:
        dataset[1, 1, 0, 0], dataset[1, 1, 0, 1] = 1.0, 0.5
    elif layer == "block5_conv4":
        dataset[3] = 7.0


def test_vgg19_by_hand(tmp_path):
    """The first channel is blue less its mean; max-pooling keeps the largest of 16 x 16; block5_conv4 has no pool."""
    extract = features.feature_extractor("vgg19", write_weights(tmp_path / "w.h5", vgg19_shapes(), first_channel))
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[..., 2] = 100  # under the mean: 0 after ReLU
    picture[3, 5, 2], picture[20, 40, 2] = 200, 250  # in the first and in the last of 2 x 3 cells
    expected = np.zeros(512)
    expected[0] = (200 - 103.939 + 250 - 103.939) / 6
    expected[1], expected[3] = expected[0] / 2, 7
    found = extract(picture)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    grey = np.full((32, 32, 1), 120, np.uint8)
    assert extract(grey)[0] == pytest.approx(120 - 103.939, rel=1e-5)
    with_alpha = np.concatenate([picture, np.full((32, 48, 1), 77, np.uint8)], 2)
    np.testing.assert_array_equal(extract(with_alpha), found)


def test_inception(tmp_path):
    """Without weights but for a shift of 3 in every normalisation, each feature is 3 (and no layer is left out)."""
    shapes = {}
    for layer in features.build("inception").layers:
        shapes[layer.name] = [tuple(weight.shape) for weight in layer.weights]
    norms = {layer for layer, arrays in shapes.items() if len(arrays) == 3}
    assert len(norms) == 94 and sum(map(bool, shapes.values())) == 188  # as in the published file

    def shift(layer, index, dataset):
        if layer in norms:
            dataset[...] = 3.0 if index == 0 else float(index == 2)  # beta, mean, variance

    path = write_weights(tmp_path / "w.h5", shapes, shift, names=lambda layer: f"{layer}_old")
    before = keras.mixed_precision.global_policy()
    extract = features.feature_extractor("inception", path)
    assert keras.mixed_precision.global_policy() is before
    np.testing.assert_allclose(extract(np.zeros((30, 40, 1), np.uint8)), np.full(2048, 3.0), rtol=1e-5)


def test_inputs():
    picture = np.array([[[255, 0, 10]]], np.uint8)
    np.testing.assert_allclose(vgg19_input(picture), [[[10 - 103.939, -116.779, 255 - 123.68]]], rtol=1e-6)
    pixels = features.inception_input(picture[None])
    assert pixels.shape == (1, 299, 299, 3) and pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[0, 7, 7], [1, -1, 10 / 127.5 - 1], atol=1e-6)
