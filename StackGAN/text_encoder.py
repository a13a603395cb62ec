"""The text encoder: char-CNN-RNN (Reed et al., 2016, arXiv 1605.05395), a sentence's characters to a vector of 1024.

This is what reads sentences once it is trained, in NumPy (no TensorFlow needed). `model.build_text_encoder` is the same
network for train_text_encoder.py, which writes the file that is loaded here.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional, Union

import numpy as np

from common import weights
from common.cli import UserError, notice

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+=<>()[]{} \n"  # 70 symbols
NUMBERS = {symbol: number for number, symbol in enumerate(ALPHABET, 1)}  # 0 is no character
LENGTH = 201  # characters that are read
EMBEDDING = 1024
KERNEL = 4  # of the convolutions, in characters
POOLS = ((3, 3), (3, 3), (3, 2))  # size and stride after each convolution
NETWORK = "StackGAN text encoder"
FILE = "text_encoder.safetensors"
CHUNK = 128  # sentences at a time


def characters(sentence: str) -> np.ndarray:
    """A sentence as character numbers, int32 [201]: small letters, single spaces, without what is unknown."""
    known = [NUMBERS[symbol] for symbol in " ".join(sentence.lower().split()) if symbol in NUMBERS][:LENGTH]
    numbers = np.zeros([LENGTH], np.int32)
    numbers[: len(known)] = known
    return numbers


def words(sentence: str) -> list[str]:
    """The words of a sentence, in small letters."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?", sentence.lower())


def check_sentences(sentences: Sequence[str], tell: Callable = notice) -> np.ndarray:
    """Sentences as character numbers, int32 [n, 201], with a line to `tell` of what is not read.

    Raises:
        UserError: nothing of a sentence is in the alphabet.
    """
    numbers = np.stack([characters(sentence) for sentence in sentences])
    for sentence, row in zip(sentences, numbers):
        if not sentence.strip() or not row.any():
            raise UserError(f"{sentence[:60]!r} is empty to the text encoder; write a sentence in Latin letters")
    outside = sorted({symbol for sentence in sentences for symbol in "".join(sentence.lower().split())} - set(NUMBERS))
    if outside:
        tell(f"left out, since the encoder's alphabet has no {' '.join(map(repr, outside[:20]))}")
    long = [sentence for sentence in sentences if len(" ".join(sentence.split())) > LENGTH]
    if long:
        tell(f"{len(long)} sentences have more than {LENGTH} characters; the rest is not read: {long[0][:60]}...")
    return numbers


class TextEncoder:
    """A trained text encoder.

    Args:
        arrays: its weights by the names of `model.build_text_encoder`'s variables.
        vocabulary: the words of the captions that it was trained on.
    """

    def __init__(self, arrays: dict[str, np.ndarray], vocabulary: Sequence[str] = ()) -> None:
        self.arrays, self.vocabulary = arrays, frozenset(vocabulary)
        no_character = np.zeros([KERNEL, 1, arrays["conv1.0"].shape[2]], np.float32)
        self._first = np.concatenate([no_character, arrays["conv1.0"]], 1)

    def unknown_words(self, sentence: str) -> list[str]:
        """The words of a sentence that were in no caption of the training, each once."""
        return [word for word in dict.fromkeys(words(sentence)) if self.vocabulary and word not in self.vocabulary]

    def encode(self, sentences: Sequence[str], tell: Callable = notice) -> np.ndarray:
        """The embeddings of sentences, float32 [n, size].

        Raises:
            UserError: nothing of a sentence can be read.
        """
        return self.encode_numbers(check_sentences(sentences, tell))

    def encode_numbers(self, numbers: np.ndarray) -> np.ndarray:
        """The embeddings of character numbers [n, 201], float32 [n, size]."""
        return np.concatenate([self._forward(numbers[i : i + CHUNK]) for i in range(0, len(numbers), CHUNK)])

    def _forward(self, numbers: np.ndarray) -> np.ndarray:
        arrays, steps = self.arrays, LENGTH - KERNEL + 1
        x = sum(self._first[i][numbers[:, i : i + steps]] for i in range(KERNEL)) + arrays["conv1.1"]
        x = pooled(np.maximum(x, 0), *POOLS[0])  # 201 -> 198 -> 66
        for number in (2, 3):  # -> 63 -> 21 -> 18 -> 8
            kernel, steps = arrays[f"conv{number}.0"], x.shape[1] - KERNEL + 1
            x = sum(x[:, i : i + steps] @ kernel[i] for i in range(KERNEL)) + arrays[f"conv{number}.1"]
            x = pooled(np.maximum(x, 0), *POOLS[number - 1])
        kernel, recurrent, (bias, recurrent_bias) = (arrays[f"recurrent.{i}"] for i in range(3))
        h = np.zeros([len(x), recurrent.shape[0]], np.float32)
        total = np.zeros_like(h)
        for step in range(x.shape[1]):  # a gated recurrent unit (Cho et al., 2014), the reset after the product
            update, reset, new = np.split(x[:, step] @ kernel + bias, 3, 1)
            h_update, h_reset, h_new = np.split(h @ recurrent + recurrent_bias, 3, 1)
            z = sigmoid(update + h_update)
            h = z * h + (1 - z) * np.tanh(new + sigmoid(reset + h_reset) * h_new)
            total += h
        return total / x.shape[1] @ arrays["embedding.0"] + arrays["embedding.1"]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


def pooled(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """The maxima of `size` steps each, [n, steps, channels]."""
    steps = (x.shape[1] - size) // stride + 1
    return np.max([x[:, i : i + stride * steps : stride][:, :steps] for i in range(size)], 0)


def load(path: Union[str, Path]) -> TextEncoder:
    """The text encoder in a file of train_text_encoder.py.

    Raises:
        UserError: there is none, it is damaged or of something else.
    """
    if not Path(path).is_file():
        how = "train_text_encoder.py makes it; or give --embeddings that something else made"
        raise UserError(f"there is no {path}: {how}")
    found = weights.load(path, NETWORK, "")
    arrays = found.part("text")
    try:
        encoder = TextEncoder(arrays, found.about["words"])
        encoder.encode(["a bird"])
    except (LookupError, TypeError, ValueError, MemoryError) as error:
        raise UserError(f"{path}: is no text encoder that train_text_encoder.py wrote ({error})") from None
    return encoder


def find(*places: Union[str, Path]) -> Optional[Path]:
    """The first text encoder in these folders, or None."""
    return next((file for file in (Path(place, FILE) for place in places) if file.is_file()), None)
