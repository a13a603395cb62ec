"""Networks that look at images: VGG19 and InceptionV3, whose weights are a user's file, and the image encoders that
train_text_encoder.py trains beside the text encoder."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, Optional, Union

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
LAST = 512  # channels of the last of them
BATCH = 32  # images at a time

Images = Iterable[np.ndarray]  # uint8 [h, w, 3] each
Features = Callable[[Images], tuple[np.ndarray, Optional[np.ndarray]]]  # -> features [n, d], probabilities [n, k]


def resized(image: np.ndarray, size: int, how: int = Image.BICUBIC) -> np.ndarray:
    """uint8 [h, w, 3] at [size, size, 3], antialiased."""
    return image if image.shape[:2] == (size, size) else np.asarray(Image.fromarray(image).resize((size, size), how))


def _batches(images: Images, total: Optional[int] = None) -> Iterator[list[np.ndarray]]:
    batch = []
    for image in tqdm(images, "features", total, unit="", disable=None):
        batch.append(image)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class VGG19:
    """The means of VGG19's features over the upper and the lower half of an image."""

    def __init__(self, network: keras.Model) -> None:
        def means(images):
            found = []
            for x in network(vgg19_input(images), training=False):
                rows = tf.reshape(x, [-1, 2, x.shape[1] // 2 * x.shape[2], x.shape[3]])
                found.append(tf.reduce_mean(rows, 2))
            return tf.concat(found, 2)  # [n, 2, 1280]

        self._means = tf.function(means, input_signature=[tf.TensorSpec([None, VGG19_SIZE, VGG19_SIZE, 3], tf.uint8)])

    def halves(self, images: Images) -> np.ndarray:
        """float32 [n, 2, 1280] of uint8 images."""
        parts = (np.stack([resized(image, VGG19_SIZE) for image in batch]) for batch in _batches(images))
        return np.concatenate([self._means(tf.constant(part)).numpy() for part in parts])

    def __call__(self, images: Images) -> tuple[np.ndarray, None]:
        """The means of the last layer, float32 [n, 512]."""
        return self.halves(images).mean(1)[:, -LAST:], None


def vgg19_features(path: Optional[str], data_path: Union[str, Path] = "") -> Optional[VGG19]:
    """VGG19 with the weights that `--vgg19_weights` names, or with those in <data_path>/h5/; None without.

    Raises:
        UserError: the file cannot be used.
    """
    place = Path(data_path) / "h5" / VGG19_FILE
    path = path or (str(place) if place.is_file() else None)
    network = path and find_vgg19(path, [], VGG19_LAYERS, "its features are not used")
    return VGG19(network) if network else None


def load_inception(path: str) -> Features:
    """InceptionV3 with the weights of a file of Keras': features [n, 2048] and probabilities [n, 1000].

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    check_hdf5(path, "--weights")
    try:
        with float32_layers():
            network = keras.applications.InceptionV3(weights=path)
    except Exception as error:  # Keras and h5py raise nearly every kind on a broken file, and on one of another layout
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(
            f"--weights {path}: not InceptionV3's weights ({reason}); give Keras' {INCEPTION_FILE}"
        ) from None
    if not all(np.isfinite(array).all() for array in network.get_weights()):
        raise UserError(f"--weights {path}: holds numbers that are not finite; give Keras' {INCEPTION_FILE}")
    return inception_features(network)


def inception_features(network: keras.Model) -> Features:
    """What stands before the last layer, and after it, as float64."""
    both = keras.Model(network.input, [network.layers[-1].input, network.output])
    spec = tf.TensorSpec([None, INCEPTION_SIZE, INCEPTION_SIZE, 3], tf.float32)
    run = tf.function(lambda x: both(x, training=False), input_signature=[spec])

    def features(images: Images) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for batch in _batches(images):
            rows = np.stack([resized(image, INCEPTION_SIZE, Image.BILINEAR) for image in batch])  # as the original
            parts.append([values.numpy() for values in run(tf.constant(to_float(rows, (-1.0, 1.0))))])
        first, second = (np.concatenate(values).astype(np.float64) for values in zip(*parts))
        return first, second

    return features


def load_image_encoder(path: Union[str, Path], vgg19: Optional[VGG19] = None) -> Optional[Callable[[Any], np.ndarray]]:
    """The image encoder beside a text encoder: uint8 [n, s, s, 3] -> float32 [n, d] in the sentences' space.

    Returns: None where the file holds none, or VGG19 is missing for it.
    Raises:
        UserError: the file is damaged or of something else.
    """
    found = weights.load(path, text_encoder.NETWORK, "")
    arrays = {name: value for name, value in found.tensors.items() if name.startswith("image/")}
    if not arrays or "image/embedding.0" not in arrays or (found.about.get("vgg19") and vgg19 is None):
        return None
    inputs, size = arrays["image/embedding.0"].shape
    if found.about.get("vgg19"):
        network = found.restore(build_feature_encoder(inputs, size), "image")
        return lambda images: in_chunks(network, vgg19.halves(images).reshape(len(images), -1))
    kernels = sorted(name for name in arrays if name.startswith("image/conv"))
    network = found.restore(build_image_encoder([arrays[name].shape[-1] for name in kernels], size), "image")

    def encode(images: np.ndarray) -> np.ndarray:
        rows = np.stack([resized(image, 64) for image in images])
        return in_chunks(network, to_float(rows, (-1.0, 1.0)))

    return encode
