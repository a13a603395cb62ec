"""VGG19 and other published networks, with weights from a file of the user's in Keras' HDF5 layout."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Optional

import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

from common.cli import UserError
from common.session import notice

VGG19_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
BGR_MEANS = (103.939, 116.779, 123.68)  # of ImageNet, as VGG19 was trained


def build_vgg19(layers: Sequence[str] = ("block5_conv4",)) -> keras.Model:
    """VGG19 (Simonyan and Zisserman, 2015) with random weights, not to be trained.

    Returns:
        A model of pictures as `vgg19_input` makes them [batch, h, w, 3], h and w free, that gives the named layers'
        outputs (one tensor, or a list of more).
    """
    network = keras.applications.VGG19(weights=None, include_top=False, input_shape=(None, None, 3))
    outputs = [network.get_layer(name).output for name in layers]
    model = keras.Model(network.input, outputs if len(outputs) > 1 else outputs[0], name="vgg19")
    model.trainable = False
    return model


def find_vgg19(
    weights: Optional[str], places: Sequence[str], layers: Sequence[str], without: str, more: str = ""
) -> Optional[keras.Model]:
    """VGG19 as `--vgg19_weights` asks for it, said aloud where it is not the trained one.

    Args:
        weights: the flag: a file, "random", "none", or None: the first file there is of `places`.
        layers: whose outputs are wanted.
        without, more: for the messages: what the loss does without VGG19, and another way out.
    Returns:
        The model, or None for "none".
    Raises:
        UserError: there is no file of weights, and neither random nor none was asked for; or it cannot be used.
    """
    path = weights or next(filter(os.path.isfile, places), None)
    if path is None:
        raise UserError(
            f"no weights of VGG19 in {' or '.join(places)}: put the file there, or name it by --vgg19_weights.\n"
            f"Without it: --vgg19_weights=random (an untrained VGG19, weaker) or none ({without}){more}"
        )
    if path == "none":
        notice(f"--vgg19_weights none: {without}")
        return None
    vgg19 = build_vgg19(layers)
    if path == "random":
        notice("--vgg19_weights random: an untrained VGG19's features are compared, which say less")
    else:
        load_weights(vgg19, path, "VGG19", f"give Keras' {VGG19_FILE}", "--vgg19_weights")
    return vgg19


def vgg19_input(pictures: tf.Tensor) -> tf.Tensor:
    """RGB pictures in 0..255 as VGG19 saw them in training: float32 BGR less ImageNet's means."""
    return tf.cast(pictures, tf.float32)[..., ::-1] - tf.constant(BGR_MEANS)


def load_weights(model: keras.Model, path: str, network: str, advice: str, flag: str = "--weights") -> None:
    """Gives a network the weights of a file, layer by layer in their order, as Keras does with its own files.

    (Their layers' names are those of old versions. A classifier's weights, which come last, are left out.)

    Args:
        network, advice, flag: for the errors: what the file should hold, what to give instead, and as what.
    Raises:
        UserError: it is missing, damaged, or of another network.
    """
    layers = [layer for layer in model.layers if layer.weights]
    wanted = [tuple(weight.shape) for layer in layers for weight in layer.weights]
    if str(path).endswith(".pb"):
        names = [f"{layer.name}/{kind}" for layer in layers for kind in ("kernel", "bias")]
        arrays = iter(read_frozen(path, dict(zip(names, wanted)), network, advice, flag))
    else:
        arrays = iter(read_weights(path, wanted, network, advice, flag))
    for layer in layers:
        layer.set_weights([next(arrays) for _ in layer.weights])


@contextmanager
def float32_layers() -> Iterator[None]:
    """Layers built meanwhile compute in float32, whatever the session's precision is."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def read_weights(
    path: str, wanted: list[tuple[int, ...]], network: str, advice: str, flag: str = "--weights"
) -> list[np.ndarray]:
    """The first arrays of a file of weights in Keras' older HDF5 layout, after a look at all their shapes.

    Raises:
        UserError: it is missing, damaged, of another layout, or its shapes are not those `wanted`.
    """
    if not os.path.isfile(path):
        raise UserError(f"{flag} {path}: there is no such file; {advice}")
    try:
        with h5py.File(path, "r") as file:
            datasets = [
                file[_text(layer)][_text(name)]
                for layer in file.attrs["layer_names"]
                for name in file[_text(layer)].attrs["weight_names"]
            ][: len(wanted)]
            if [dataset.shape for dataset in datasets] != wanted or any(x.dtype.kind != "f" for x in datasets):
                raise UserError(f"{flag} {path}: not the weights of {network}; {advice}")
            arrays = [dataset[()].astype(np.float32) for dataset in datasets]
    except UserError:
        raise
    except Exception as error:  # h5py raises nearly every kind on a broken file, and on one of another layout
        raise UserError(f"{flag} {path}: damaged, or not in Keras' HDF5 layout ({_line(error)}); {advice}") from None
    if not all(np.isfinite(array).all() for array in arrays):
        raise UserError(f"{flag} {path}: holds numbers that are not finite; {advice}")
    return arrays


def read_frozen(
    path: str, wanted: dict[str, tuple[int, ...]], network: str, advice: str, flag: str = "--weights"
) -> list[np.ndarray]:
    """The named constants of a frozen graph, a .pb file; a name may stand within a longer one.

    Raises:
        UserError: it is missing, damaged, or lacks one of them in its shape.
    """
    if not os.path.isfile(path):
        raise UserError(f"{flag} {path}: there is no such file; {advice}")
    try:
        with open(path, "rb") as file:
            graph = tf.compat.v1.GraphDef.FromString(file.read())
        constants = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}
        arrays = []
        for name, shape in wanted.items():
            found = next((tensor for other, tensor in constants.items() if name in other), None)
            if found is None:
                raise ValueError(f"no constant {name}")
            arrays.append(tf.make_ndarray(found).astype(np.float32))
            if arrays[-1].shape != shape or not np.isfinite(arrays[-1]).all():
                raise ValueError(f"{name} is not of the shape {list(shape)}, or not finite")
    except Exception as error:  # protobuf and TensorFlow raise many kinds on a broken file
        raise UserError(f"{flag} {path}: not a frozen graph of {network} ({_line(error)}); {advice}") from None
    return arrays


def _text(name) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
