"""Features of images by a network of the user's file, for distances between sets of images.

VGG19      the mean over positions of block5_conv4's output: 512 numbers. The image in its own size.
Inception  pool_3 of the graph of 2015-12-05 that published FIDs come from: 2048 numbers. It resizes by itself.
"""

from typing import Callable

import numpy as np
import tensorflow as tf
from data import as_rgb
from tensorflow import keras

from common.cli import UserError
from common.vgg19 import build_vgg19, vgg19_input

Extractor = Callable[[np.ndarray], np.ndarray]  # uint8 [h, w, channels] -> float64 [features]


def vgg19_features(weights: str) -> Extractor:
    """By VGG19 with the weights of a file.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    vgg19 = build_vgg19(weights, ["block5_conv4"])
    model = keras.Model(vgg19.input, keras.layers.GlobalAveragePooling2D(dtype="float32")(vgg19.output))
    forward = tf.function(lambda images: model(vgg19_input(images), training=False))
    return lambda image: forward(tf.constant(as_rgb(image)[None])).numpy()[0].astype(np.float64)


def inception_features(graph: str) -> Extractor:
    """By a frozen graph that has `ExpandDims:0`, RGB images [1, h, w, 3] in 0..255, and `pool_3:0`, [1, 1, 1, 2048].

    Raises:
        UserError: the file is missing, damaged, or another graph.
    """
    try:
        with open(graph, "rb") as file:
            definition = tf.compat.v1.GraphDef.FromString(file.read())
        function = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
        pool = function.prune("ExpandDims:0", "pool_3:0")
    except OSError as error:
        raise UserError(f"--inception {graph} cannot be read ({error.strerror})") from None
    except Exception as error:  # protobuf and TensorFlow raise nearly every kind
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"--inception {graph}: not the frozen Inception graph of 2015-12-05 ({reason})") from None
    return lambda image: pool(tf.constant(as_rgb(image)[None], tf.float32)).numpy().ravel().astype(np.float64)
