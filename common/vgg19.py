"""VGG19 (Simonyan and Zisserman, 2015) as a fixed measure of images, with weights from a file of the user's."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Optional

import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

from common.cli import UserError, notice
from common.layers import float32_layers

VGG19_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"  # Keras' own name for it
BGR_MEANS = (103.939, 116.779, 123.68)  # of ImageNet, as VGG19 was trained


def add_vgg19_flag(group: Any, help: str = "of the loss on features") -> None:
    """Adds `--vgg19_weights`."""
    text = f"{help}: Keras' file (default: {VGG19_FILE} in <data_path>/h5/); random: untrained; none: without"
    group.add_argument("--vgg19_weights", metavar="FILE", help=text)


def build_vgg19(weights: Optional[str], layers: Sequence[str] = ("block5_conv4",), exact: bool = True) -> keras.Model:
    """VGG19, not to be trained.

    Args:
        weights: Keras' HDF5 file, of the network with or without its classifier; None: random weights.
        exact: in float32, and not in the session's precision.
    Returns:
        A model of images as `vgg19_input` makes them [batch, h, w, 3], h and w free, that gives the named layers'
        outputs (one tensor, or a list of more).
    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    with float32_layers() if exact else nullcontext():
        if weights is not None:
            check_hdf5(weights, "--vgg19_weights")
        try:
            network = keras.applications.VGG19(include_top=False, weights=weights, input_shape=(None, None, 3))
        except Exception as error:  # Keras and h5py raise nearly every kind on a broken file
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise UserError(
                f"--vgg19_weights {weights}: not VGG19's weights ({reason}); give Keras' {VGG19_FILE}"
            ) from None
        if not all(np.isfinite(array).all() for array in network.get_weights()):
            raise UserError(f"--vgg19_weights {weights}: holds numbers that are not finite; give Keras' {VGG19_FILE}")
        outputs = [network.get_layer(name).output for name in layers]
        model = keras.Model(network.input, outputs if len(outputs) > 1 else outputs[0], name="vgg19")
    model.trainable = False
    return model


def find_vgg19(
    weights: Optional[str],
    places: Sequence[str],
    layers: Sequence[str],
    without: str,
    more: str = "",
    exact: bool = True,
) -> Optional[keras.Model]:
    """VGG19 as `--vgg19_weights` asks for it, said aloud where it is not the trained one.

    Args:
        weights: the flag: a file, "random", "none", or None: the first file there is of `places`.
        layers, exact: as `build_vgg19` takes them.
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
    if path == "random":
        notice("--vgg19_weights random: an untrained VGG19's features are compared, which say less")
    return build_vgg19(None if path == "random" else path, layers, exact)


def vgg19_input(images: tf.Tensor) -> tf.Tensor:
    """RGB images in 0..255 as VGG19 saw them in training: float32 BGR less ImageNet's means."""
    return tf.cast(images, tf.float32)[..., ::-1] - tf.constant(BGR_MEANS)


def check_hdf5(path: str, flag: str) -> None:
    """Refuses a stranger's HDF5 file that would read from other files, or that is none.

    Raises:
        UserError: it is missing, no HDF5 file, or has external links, external storage or virtual data sets.
    """

    def look(group: Any) -> None:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UserError(f"{flag} {path}: {name} lies outside the file, which is refused")
            item = group[name]
            if isinstance(item, h5py.Group):
                look(item)
            elif item.is_virtual or item.external:
                raise UserError(f"{flag} {path}: the data of {name} lie outside the file, which is refused")

    if not os.path.isfile(path):
        raise UserError(f"{flag} {path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            look(file)
    except UserError:
        raise
    except Exception as error:  # h5py raises nearly every kind on a broken file
        raise UserError(f"{flag} {path}: no HDF5 file that can be read ({str(error)[:100]})") from None
