"""VGG19's weights from the original's frozen graph, vgg19.pb (Keras' HDF5 file is read by common/vgg19.py)."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow import keras

from common.cli import UserError
from common.vgg19 import build_vgg19


def read_vgg19(path: str, layers: Sequence[str]) -> keras.Model:
    """`common.vgg19.build_vgg19` with the constants of a frozen graph, of the layers up to the last one named.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    if not os.path.isfile(path):
        raise UserError(f"--vgg19_weights {path}: there is no such file")
    model = build_vgg19(None, layers)
    try:
        with open(path, "rb") as file:
            graph = tf.compat.v1.GraphDef.FromString(file.read())
        constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph.node if node.op == "Const"}
        for layer in model.layers:
            arrays = []
            for kind in ("kernel", "bias")[: len(layer.weights)]:
                named = [array for name, array in constants.items() if f"{layer.name}/{kind}" in name]
                if not named or not np.isfinite(named[0]).all():
                    raise ValueError(f"no finite constant {layer.name}/{kind}")
                arrays.append(named[0])
            layer.set_weights(arrays)
    except Exception as error:  # protobuf and TensorFlow raise many kinds on a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"--vgg19_weights {path}: not a frozen graph of VGG19 ({reason})") from None
    return model
