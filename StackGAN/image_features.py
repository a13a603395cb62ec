"""Networks that look at images: VGG19 and InceptionV3, whose weights are a user's file, and the image encoders that
train_text_encoder.py trains beside the text encoder."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Optional, Union

import data
import numpy as np
import tensorflow as tf
import text_encoder
from model import build_feature_encoder, build_image_encoder, in_chunks
from PIL import Image
from tensorflow import keras
from tqdm import tqdm

from common import weights
from common.cli import UserError
from common.images import to_float
from common.layers import float32_layers
from common.vgg19 import VGG19_FILE, check_hdf5, find_vgg19, vgg19_input

INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
INCEPTION_SIZE = 299
VGG19_SIZE = 128  # at which it sees images: a bird's parts fill a few of its places
VGG19_LAYERS = ("block3_conv4", "block4_conv4", "block5_conv4")
VGG19_LAST = 512  # channels of the last of them
BATCH = 32  # images at a time

Images = Iterable[np.ndarray]  # uint8 [h, w, 3] each
Features = Callable[[Images], tuple[np.ndarray, Optional[np.ndarray]]]  # -> features [n, d], probabilities [n, k]


def _look(network: Callable, images: Images, size: int, how: int = Image.BICUBIC) -> list[np.ndarray]:
    """The outputs of a graph of uint8 images [n, size, size, 3] for images of any sizes."""
    rest, parts = iter(tqdm(images, "features", unit="", disable=None)), []
    while batch := list(islice(rest, BATCH)):
        rows = np.stack([data.resized(image, size, how) for image in batch])
        parts.append([x.numpy() for x in network(tf.constant(rows))])
    return [np.concatenate(x) for x in zip(*parts)]


def vgg19_halves(path: Optional[str], data_path: Union[str, Path] = "") -> Optional[Callable[[Images], np.ndarray]]:
    """Images -> float32 [n, 2, 1280], the means of VGG19's features over the upper and the lower half of each, by the
    weights that `--vgg19_weights` names, or those in <data_path>/h5/; None without.

    Raises:
        UserError: the file cannot be used.
    """
    place = Path(data_path) / "h5" / VGG19_FILE
    path = path or (str(place) if place.is_file() else None)
    network = path and find_vgg19(path, [], VGG19_LAYERS, "its features are not used")
    if not network:
        return None

    @tf.function(input_signature=[tf.TensorSpec([None, VGG19_SIZE, VGG19_SIZE, 3], tf.uint8)])
    def halves(images):
        found = network(vgg19_input(images), training=False)
        rows = [tf.reshape(x, [-1, 2, x.shape[1] // 2 * x.shape[2], x.shape[3]]) for x in found]
        return [tf.concat([tf.reduce_mean(x, 2) for x in rows], 2)]

    return lambda images: _look(halves, images, VGG19_SIZE)[0]


def load_inception(path: str) -> Features:
    """InceptionV3 with the weights of a file of Keras': features [n, 2048] before its last layer, and probabilities
    [n, 1000] after it, float64.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    check_hdf5(path, "--weights")
    try:
        with float32_layers():
            network = keras.applications.InceptionV3(weights=path)
        if not all(np.isfinite(array).all() for array in network.get_weights()):
            raise ValueError("numbers that are not finite")
    except Exception as error:  # Keras and h5py raise nearly every kind on a broken file, and on one of another layout
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"--weights {path}: not Keras' {INCEPTION_FILE} ({reason})") from None
    both = keras.Model(network.input, [network.layers[-1].input, network.output])

    @tf.function(input_signature=[tf.TensorSpec([None, INCEPTION_SIZE, INCEPTION_SIZE, 3], tf.uint8)])
    def run(images):
        return both(tf.cast(images, tf.float32) * (2 / 255) - 1, training=False)

    def features(images: Images) -> tuple[np.ndarray, np.ndarray]:
        first, second = _look(run, images, INCEPTION_SIZE, Image.BILINEAR)  # as the original resizes
        return first.astype(np.float64), second.astype(np.float64)

    return features


def load_image_encoder(
    path: Union[str, Path], vgg19: Optional[Callable] = None
) -> Optional[Callable[[Any], np.ndarray]]:
    """The image encoder beside a text encoder: uint8 [n, s, s, 3] -> float32 [n, d] in the sentences' space.

    Args:
        vgg19: `vgg19_halves`.
    Returns: None where the file holds none, or VGG19 is missing for it.
    Raises:
        UserError: the file is damaged or of something else.
    """
    found = weights.load(path, text_encoder.NETWORK, "")
    if "image/embedding.0" not in found.tensors or (found.about.get("vgg19") and vgg19 is None):
        return None
    inputs, size = found.tensors["image/embedding.0"].shape
    if found.about.get("vgg19"):
        network = in_chunks(found.restore(build_feature_encoder(inputs, size), "image"))
        return lambda images: network(vgg19(images).reshape(len(images), -1))
    kernels = sorted(name for name in found.tensors if name.startswith("image/conv"))
    widths = [found.tensors[name].shape[-1] for name in kernels]
    network = in_chunks(found.restore(build_image_encoder(widths, size), "image"))
    return lambda images: network(to_float(np.stack([data.resized(image, 64) for image in images]), (-1.0, 1.0)))
