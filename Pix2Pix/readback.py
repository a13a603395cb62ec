"""How much of a facade's label map can be read back from an image: the idea of the paper's FCN-score (section 4.1).

A small segmentation network is trained on the real photographs and label maps of train/. What it then reads in a
generated photograph is compared with the label map that this was generated from. What it reads in real photographs is
what can be reached.
"""

from collections.abc import Iterable
from typing import Callable

import numpy as np
import tensorflow as tf
from data import FACADE_LABELS, RANGE
from PIL import Image
from tensorflow import keras
from tensorflow.keras import layers
from tqdm import tqdm

from common import images
from common.cli import UserError
from common.layers import float32_layers
from common.stream import key

SIZE = 128  # pixels: a window is some ten of them wide
COLOURS = np.array(list(FACADE_LABELS.values()))
NEAR = 40  # in each channel, to a class's colour: JPEG blurs the edges
STEPS, BATCH_SIZE, LEARNING_RATE = 500, 8, 4e-3


def classes_of(labels: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """A label map uint8 [h, w, 3] -> the class of each pixel by the nearest of the twelve colours, int [size, size];
    and the share of the pixels that are far from all twelve."""
    small = np.asarray(Image.fromarray(labels).resize((size, size), Image.NEAREST), np.int64)
    distance = np.abs(small[:, :, None] - COLOURS).max(3)
    return distance.argmin(2), float((distance.min(2) > NEAR).mean())


def shrunk(photograph: np.ndarray) -> np.ndarray:
    """A uint8 photograph [h, w, 3] as the network takes it: float32 [SIZE, SIZE, 3] in -1..1."""
    return images.to_float(np.asarray(Image.fromarray(photograph).resize((SIZE, SIZE), Image.BOX)), RANGE)


def build_reader() -> keras.Model:
    """A small U-Net: photographs [n, SIZE, SIZE, 3] -> logits of the classes [n, SIZE, SIZE, 12]."""

    def convolution(x, channels, stride=1):
        x = layers.Conv2D(channels, 3, stride, "same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    x = photographs = layers.Input((SIZE, SIZE, 3))
    skips = []
    for channels in (24, 48, 64, 96):
        x = convolution(x, channels, 2)
        skips.append(x)
    x = convolution(skips.pop(), 96)
    for channels in (64, 48, 24):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skips.pop()])
        x = convolution(x, channels)
    x = layers.Conv2D(len(COLOURS), 3, padding="same")(x)
    return keras.Model(photographs, layers.UpSampling2D(interpolation="bilinear")(x))


def train_reader(pairs: Iterable[tuple[np.ndarray, np.ndarray]], seed: int, steps: int = STEPS) -> Callable:
    """Trains the network on real pairs (label map, photograph), uint8 [h, w, 3] each: a minute or two on a CPU.

    Returns: a function of a uint8 photograph [h, w, 3]: the class of each pixel, int [SIZE, SIZE].
    Raises:
        UserError: the pairs are not of facades.
    """
    examples = [(shrunk(photograph), *classes_of(labels, SIZE)) for labels, photograph in pairs]
    photographs, classes, far = (np.stack(part) for part in zip(*examples))
    if far.mean() > 0.5:
        raise UserError("--readback: the inputs are not label maps in the colours of CMP facades; leave it out")
    photographs, classes = tf.constant(photographs), tf.constant(classes)
    with float32_layers():
        network = build_reader()
    optimizer = keras.optimizers.Adam(LEARNING_RATE)

    @tf.function
    def train_step(step):
        chosen = tf.random.stateless_uniform([BATCH_SIZE], key("readback", seed, step), 0, len(examples), tf.int32)
        x, labels = tf.gather(photographs, chosen), tf.gather(classes, chosen)
        # Mirrored, and in another light: brightness and tint tell nothing of a class.
        mirror, light = tf.split(tf.random.stateless_uniform([BATCH_SIZE, 4], key("light", seed, step)), [1, 3], 1)
        x = tf.where(mirror[:, :, None, None] < 0.5, x[:, :, ::-1], x)
        labels = tf.where(mirror[:, :, None] < 0.5, labels[:, :, ::-1], labels)
        x *= 0.7 + 0.6 * light[:, None, None]
        with tf.GradientTape() as tape:
            logits = network(x, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    for step in tqdm(range(steps), "label reader", disable=None):
        optimizer.learning_rate = LEARNING_RATE * (1 - step / steps)
        train_step(tf.constant(step))
    read = tf.function(lambda x: tf.argmax(network(x, training=False), 3))
    return lambda photograph: read(tf.constant(shrunk(photograph)[None])).numpy()[0]


def scores(read: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    """Share of the pixels that were read right, and the mean over the classes that occur of intersection over union.

    Args:
        read, classes: int [n, h, w], what was read and what is right, all images together.
    """
    n = len(COLOURS)
    counts = np.bincount((classes * n + read).ravel(), minlength=n * n).reshape(n, n)
    right, union = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
    there = counts.sum(1) > 0
    return {
        "pixel_accuracy": float(right.sum() / counts.sum()),
        "class_iou": float((right[there] / union[there]).mean()),
    }
