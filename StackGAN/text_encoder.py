"""The text encoder: char-CNN-RNN (Reed et al., 2016, arXiv 1605.05395), from a sentence's characters to 1024 numbers.

Beside it, a small network from pictures to as many numbers: a picture fits a sentence the better, the larger the inner
product of the two is. train_text_encoder.py trains both together, into one .h5 file.
"""

import functools
import os
from collections.abc import Sequence
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import h5py
import numpy as np
import tensorflow as tf
from tensorflow import keras

from common.cli import UserError
from common.layers import BatchNorm
from common.optimizer import named_variables
from common.pretrained import float32_layers
from common.session import notice

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{} \n"  # 70 symbols
NUMBERS = {symbol: number for number, symbol in enumerate(ALPHABET, 1)}  # 0 is no character
LENGTH = 201  # characters that are read
EMBEDDING = 1024
WIDTHS = (384, 512, 256)  # of the three convolutions; the last is also the recurrent layer's
PICTURE_WIDTHS = (32, 64, 128, 256)
SIDE = 64  # of the pictures
FILE = "text_encoder.h5"
CHUNK = 256  # captions or pictures at a time


# The networks.


class Characters(keras.layers.Layer):
    """Character numbers [n, 201] as one-hot rows [n, 201, 70]; where there is no character, a row of zeros."""

    def call(self, x):
        return tf.one_hot(tf.cast(x, tf.int32) - 1, len(ALPHABET), dtype=tf.float32)


def build_text_encoder(widths: Sequence[int] = WIDTHS, embedding: int = EMBEDDING) -> keras.Model:
    """A network of character numbers, int32 [n, 201], to float32 [n, embedding]; it computes in float32."""
    first, second, third = widths
    with float32_layers():
        numbers = keras.Input([LENGTH], dtype="int32")
        x = Characters(name="characters")(numbers)  # 201 x 70
        x = keras.layers.Conv1D(first, 4, activation="relu", name="conv1")(x)
        x = keras.layers.MaxPooling1D(3)(x)  # 66
        x = keras.layers.Conv1D(second, 4, activation="relu", name="conv2")(x)
        x = keras.layers.MaxPooling1D(3)(x)  # 21
        x = keras.layers.Conv1D(third, 4, activation="relu", name="conv3")(x)
        x = keras.layers.MaxPooling1D(3, 2)(x)  # 8
        x = keras.layers.GRU(third, return_sequences=True, unroll=True, name="recurrent")(x)
        x = keras.layers.GlobalAveragePooling1D()(x)
        x = keras.layers.Dense(embedding, name="embedding")(x)
    return keras.Model(numbers, x, name="text_encoder")


def build_picture_encoder(widths: Sequence[int] = PICTURE_WIDTHS, embedding: int = EMBEDDING) -> keras.Model:
    """A network of pictures, float32 -1..1 [n, 64, 64, 3], to float32 [n, embedding]; it computes in float32."""
    with float32_layers():
        pictures = x = keras.Input([SIDE, SIDE, 3])
        for number, width in enumerate(widths, 1):
            x = keras.layers.Conv2D(width, 4, 2, "same", use_bias=False, name=f"conv{number}")(x)
            x = BatchNorm(momentum=0.9, epsilon=1e-5, name=f"norm{number}")(x)
            x = keras.layers.LeakyReLU(0.2)(x)
        x = keras.layers.Flatten()(x)  # where something is matters: a belly is below
        x = keras.layers.Dense(embedding, name="embedding")(x)
    return keras.Model(pictures, x, name="picture_encoder")


# Captions.


def characters(caption: str) -> np.ndarray:
    """A caption as character numbers, int32 [201]: small letters, single spaces, without what is unknown."""
    words = " ".join(caption.lower().split())
    known = [NUMBERS[symbol] for symbol in words if symbol in NUMBERS][:LENGTH]
    numbers = np.zeros([LENGTH], np.int32)
    numbers[: len(known)] = known
    return numbers


def check_captions(captions: Sequence[str], named: Callable[[int], str] = lambda index: "the caption") -> np.ndarray:
    """Captions as character numbers, int32 [n, 201], with a line that tells what of them is not read.

    Args:
        named: what to call the caption of some index in an error.
    Raises:
        UserError: a caption is empty, or nothing of it is in the alphabet.
    """
    numbers = np.stack([characters(caption) for caption in captions])
    for index, row in enumerate(numbers):
        if not (row != 0).any() or not captions[index].strip():
            raise UserError(
                f"{named(index)} {captions[index][:60]!r} is empty: nothing of it is in the encoder's alphabet; "
                "write a sentence in Latin letters"
            )
    outside = sorted({symbol for caption in captions for symbol in "".join(caption.lower().split())} - set(NUMBERS))
    if outside:
        more = f" and {len(outside) - 20} more" if len(outside) > 20 else ""
        notice(f"left out, since the encoder's alphabet has no {' '.join(map(repr, outside[:20]))}{more}")
    long = [caption for caption in captions if len(" ".join(caption.split())) > LENGTH]
    if long:
        notice(f"{len(long)} captions have more than {LENGTH} characters; the rest is not read: {long[0][:60]}...")
    return numbers


def encode(encoder: keras.Model, captions: Sequence[str]) -> np.ndarray:
    """The embeddings of captions, float32 [n, embedding].

    Raises:
        UserError: a caption is empty.
    """
    return encode_numbers(encoder, check_captions(captions))


def encode_numbers(encoder: keras.Model, numbers: np.ndarray) -> np.ndarray:
    """The embeddings of character numbers [n, 201], float32 [n, embedding]."""
    return _in_chunks(encoder, numbers.astype(np.int32))


def encode_pictures(encoder: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """The features of pictures uint8 [n, side, side, 3], float32 [n, embedding].

    A side of 76 has a border that training crops: its middle is looked at. A multiple of 64 is shrunk, by means.
    """
    side = pictures.shape[1]
    chunks = []
    for start in range(0, len(pictures), CHUNK):
        chunk = np.asarray(pictures[start : start + CHUNK])
        if side % SIDE:
            edge = (side - SIDE) // 2
            chunk = chunk[:, edge : edge + SIDE, edge : edge + SIDE]
        elif side > SIDE:
            times = side // SIDE
            chunk = chunk.reshape(len(chunk), SIDE, times, SIDE, times, 3).mean((2, 4))
        chunks.append(_in_chunks(encoder, chunk.astype(np.float32) / 127.5 - 1))
    return np.concatenate(chunks)


def _in_chunks(network: keras.Model, rows: np.ndarray) -> np.ndarray:
    run = _compiled(network)
    chunks = [run(tf.constant(rows[start : start + CHUNK])).numpy() for start in range(0, len(rows), CHUNK)]
    return np.concatenate(chunks)


@functools.lru_cache(maxsize=4)
def _compiled(network: keras.Model) -> Callable:
    spec = tf.TensorSpec([None, *network.inputs[0].shape[1:]], network.inputs[0].dtype)
    return tf.function(lambda rows: network(rows, training=False), input_signature=[spec])


# Files: a data set for each variable, under text/ and pictures/.


def save(path: str, text: keras.Model, pictures: Optional[keras.Model] = None) -> None:
    """Writes a trained encoder, and the picture encoder that was trained with it; the file is whole or not there.

    Raises:
        OSError: it cannot be written.
    """
    partial = f"{path}.partial"
    with h5py.File(partial, "w") as file:
        file.attrs["network"] = text.name
        for group, network in (("text", text), ("pictures", pictures)):
            for name, variable in named_variables(network).items() if network is not None else ():
                file[f"{group}/{name}"] = variable.numpy()
    os.replace(partial, path)


def load(path: str, flag: str = "--text_encoder") -> keras.Model:
    """The text encoder in a file that train_text_encoder.py wrote.

    Raises:
        UserError: there is none, it is damaged or of something else.
    """
    return _load(path, flag, "text", build_text_encoder)


def load_picture_encoder(path: str, flag: str = "--text_encoder") -> Optional[keras.Model]:
    """The picture encoder in such a file; None where the encoder was trained without pictures.

    Raises:
        UserError: as in `load`.
    """
    return _load(path, flag, "pictures", build_picture_encoder)


def _load(path: str, flag: str, group: str, build: Callable[..., keras.Model]) -> Optional[keras.Model]:
    if not os.path.isfile(path):
        raise UserError(f"{flag} {path}: there is no such file; train_text_encoder.py makes one")
    try:
        with h5py.File(path, "r") as file:
            if str(file.attrs.get("network")) != "text_encoder":
                raise ValueError("nothing that train_text_encoder.py wrote")
            if group == "pictures" and group not in file:
                return None
            stored = file[group]
            if sum(values.size * 4 for values in stored.values()) > os.path.getsize(path):
                raise ValueError("its networks are larger than the file")
            convolutions = sorted(name for name in stored if name.startswith("conv") and name.endswith(".0"))
            widths = [int(stored[name].shape[-1]) for name in convolutions]
            network = build(widths, int(stored["embedding.0"].shape[-1]))
            for name, variable in named_variables(network).items():
                values = stored[name]
                if values.shape != tuple(variable.shape) or values.dtype.kind != "f":
                    raise ValueError(f"{group}/{name} is not of the shape that the others ask for")
                values = values[()].astype(np.float32)
                if not np.isfinite(values).all():
                    raise ValueError(f"{group}/{name} holds numbers that are not finite")
                variable.assign(values)
    except Exception as error:  # h5py raises nearly every kind on a broken file, and on one of another layout
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"{flag} {path}: a damaged .h5 file, or no text encoder ({reason})") from None
    return network
