"""A trained generator from its weights alone, of a checkpoint, an .h5 model or the file that is shipped."""

import argparse
from pathlib import Path
from typing import Optional, Union

import h5
import numpy as np
import tensorflow as tf
from enlarger import Enlarger
from model import NETWORK, bytes_per_pixel, load_generator, receptive_field
from tensorflow import keras

from common import weights
from common.cli import UserError
from common.session import SessionConfig, open_session

HERE = Path(__file__).resolve().parent


def load_weights(path: Optional[str]) -> weights.Weights:
    """What `--ckpt_path` names: a weights file, a run, an .h5 model, or None: pretrained/.

    Raises:
        UserError: there are none, or they cannot be used.
    """
    return h5.read(path) if str(path).endswith(h5.SUFFIXES) else weights.load(path, NETWORK, HERE)


def load(path: Optional[str] = None, config: Optional[SessionConfig] = None) -> Enlarger:
    """The generator of such weights, on a device that is opened for it.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    loaded = load_weights(path)
    session = open_session(config or SessionConfig())
    return from_generator(load_generator(loaded), loaded.options, loaded.path, session.device)


def from_generator(
    generator: keras.Model, options: argparse.Namespace, path: Union[str, Path], device: str
) -> Enlarger:
    """A Keras generator built of a training's options, on a session's device."""
    # One graph for images of all sizes; only the NPU, which compiles one for each shape, gets one for each.
    signature = None if device == "npu" else [tf.TensorSpec([1, None, None, 3], tf.float32)]
    compiled = tf.function(lambda lr: generator(lr, training=False), input_signature=signature)

    def run(x: np.ndarray) -> np.ndarray:
        try:
            return compiled(tf.constant(x)).numpy()
        except tf.errors.ResourceExhaustedError:
            raise UserError(f"a tile of {x.shape[1]} x {x.shape[2]} does not fit into memory; set --tile") from None

    return Enlarger(Path(path), run, options.scale, receptive_field(options), bytes_per_pixel(options), options=options)
