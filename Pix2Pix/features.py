"""Features of pictures by a network with weights from a file of yours, for distances between sets of pictures.

    vgg19       the mean over positions of block5_conv4's output: 512 numbers. The picture in its own size.
    inception   Keras' InceptionV3 without its classifier, pooled: 2048 numbers. The picture resized to 299 x 299.

The files are those that Keras publishes for its own networks, {vgg19,inception_v3}_weights_tf_dim_ordering_tf_kernels
[_notop].h5. Published FIDs come from another InceptionV3 with other weights: a distance by Keras' weights says which of
two sets is nearer to a third one, but is not comparable with those.
"""

from typing import Callable

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow import keras

from common.pretrained import VGG19_FILE, build_vgg19, float32_layers, load_weights, vgg19_input

NETWORKS = ("vgg19", "inception")
FILES = {"vgg19": VGG19_FILE, "inception": "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"}
INCEPTION_SIDE = 299


def feature_extractor(network: str, weights: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function of a uint8 picture [h, w, c] that gives its features, float64 [d].

    Grey is repeated to three channels; of four the first three are taken.

    Args:
        network: "vgg19" or "inception".
        weights: the file of its weights.
    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    with float32_layers():
        model = build(network)
    load_weights(model, weights, network, f"give Keras' {FILES[network]}")
    forward = tf.function(lambda pictures: model(pictures, training=False))
    prepare = {"vgg19": vgg19_input, "inception": inception_input}[network]
    return lambda picture: forward(prepare(as_rgb(picture)[None])).numpy()[0].astype(np.float64)


def build(network: str) -> keras.Model:
    """The network without its classifier, with random weights: pictures in its own range -> features [n, d]."""
    if network == "vgg19":
        vgg19 = build_vgg19()
        return keras.Model(vgg19.input, keras.layers.GlobalAveragePooling2D()(vgg19.output))
    shape = (INCEPTION_SIDE, INCEPTION_SIDE, 3)
    return keras.applications.InceptionV3(weights=None, include_top=False, pooling="avg", input_shape=shape)


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, c] as uint8 [h, w, 3]: grey repeated, the first three of more channels."""
    return np.repeat(picture[..., :1], 3, -1) if picture.shape[-1] < 3 else picture[..., :3]


def inception_input(pictures: np.ndarray) -> np.ndarray:
    """uint8 RGB [1, h, w, 3] as InceptionV3 saw pictures in training: float32 [1, 299, 299, 3] in -1..1."""
    picture = Image.fromarray(np.ascontiguousarray(pictures[0]))
    resized = picture.resize((INCEPTION_SIDE, INCEPTION_SIDE), Image.BICUBIC)
    return np.asarray(resized, np.float32)[None] / 127.5 - 1
