"""VGG19 and other published networks, with weights from a file of the user's in Keras' HDF5 layout."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

from common.cli import UserError

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


def _text(name) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
