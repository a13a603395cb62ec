"""A trained generator from its weights: of a run, the file that is shipped, or one of the ModelZoo README's .h5 models.

An .h5 model holds a data set for each variable, and the options that built the network as JSON.
"""

import json
import math
import os
from argparse import Namespace
from pathlib import Path
from typing import Optional, Union

import h5py
import numpy as np
import tensorflow as tf
from enlarger import Enlarger, cut
from model import BUILD, NETWORK, bytes_per_pixel, load_generator, receptive_field
from tensorflow import keras

from common import weights
from common.cli import UserError
from common.config import SessionConfig
from common.layers import named_variables
from common.session import cpu_has_bfloat16, open_session
from common.vgg19 import check_hdf5

HERE = Path(__file__).resolve().parent
DEFAULT = HERE / "pretrained" / "photo.safetensors"  # of those that ship


def load_weights(path: Optional[str]) -> weights.Weights:
    """What `--ckpt_path` names: a weights file, a run, an .h5 model, or None: pretrained/photo.safetensors.

    Raises:
        UserError: there are none, or they cannot be used.
    """
    path = DEFAULT if path is None and DEFAULT.is_file() else path
    return read_h5(path) if str(path).endswith((".h5", ".hdf5")) else weights.load(path, NETWORK, HERE)


def load(path: Optional[str], device: str = "auto", precision_mode: Optional[str] = "force_fp32") -> Enlarger:
    """The generator of such weights, on a device that is opened for it.

    Args:
        precision_mode: None: as `common.config` has it, but bfloat16 on a CPU that has it: 1.6 times as fast, and the
            same image to 58 dB.
    Raises:
        UserError: there is none, or it cannot be used.
    """
    loaded = load_weights(path)
    session = open_session(SessionConfig(device, precision_mode or SessionConfig.precision_mode))
    if precision_mode is None and session.device == "cpu" and cpu_has_bfloat16():
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    return from_generator(load_generator(loaded), loaded.options, loaded.path, session.device)


def from_generator(generator: keras.Model, options: Namespace, path: Union[str, Path], device: str) -> Enlarger:
    """A Keras generator built of a training's options, on a session's device."""
    # One graph for images of all sizes; only the NPU, which compiles one for each shape, gets one for each.
    signature = None if device == "npu" else [tf.TensorSpec([None, None, None, 3], tf.float32)]
    compiled = tf.function(lambda lr: generator(lr, training=False), input_signature=signature)
    scale, field = options.scale, receptive_field(options)

    def run(x: np.ndarray) -> np.ndarray:
        # On a CPU in two halves: oneDNN without AVX-512 may take 40 times as long for one image as for two.
        height = x.shape[1]
        halves = cut(height, math.ceil(height / 2) + field if device == "cpu" else height, field)
        try:
            y = compiled(tf.constant(np.concatenate([x[:, half.start : half.end] for half in halves]))).numpy()
        except tf.errors.ResourceExhaustedError:
            raise UserError(f"a tile of {x.shape[1]} x {x.shape[2]} does not fit into memory; lower --memory") from None
        kept = [slice(scale * (half.first - half.start), scale * (half.last - half.start)) for half in halves]
        return np.concatenate([sr[rows] for sr, rows in zip(y, kept)])[None]

    memory = bytes_per_pixel(options) * (5 if device == "cpu" else 4) // 4  # the halves of a large tile overlap
    return Enlarger(Path(path), run, scale, field, memory, options=options)


def save_h5(path: Path, network: keras.Model, options: Namespace) -> None:
    """Writes a network alone, in float32, as `read_h5` and h5py read it on either stack; whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(f"{path}.partial", "w") as file:
            file.attrs["options"] = json.dumps({name: getattr(options, name) for name in BUILD})
            for name, variable in named_variables(network).items():
                file[name] = variable.numpy()
        os.replace(f"{path}.partial", path)
    except OSError as error:
        raise UserError(f"--model_save_dir: {path} cannot be written ({error.strerror or error})") from None


def read_h5(path: Union[str, Path]) -> weights.Weights:
    """Reads a generator that `save_h5` wrote.

    Raises:
        UserError: it is missing, damaged, of another kind, or does not hold all its numbers itself.
    """
    check_hdf5(str(path), "--ckpt_path")
    try:
        with h5py.File(path, "r") as file:
            options = json.loads(file.attrs["options"])
            options = Namespace(**{name: options[name] for name in BUILD})
            if any(file[name].dtype.kind != "f" or file[name].nbytes > os.path.getsize(path) for name in file):
                raise ValueError("it promises more than it holds, or other things than numbers")
            tensors = {f"generator/{name}": file[name][()].astype(np.float32) for name in file}
        if not all(np.isfinite(values).all() for values in tensors.values()):
            raise ValueError("numbers that are not finite")
    except Exception as error:  # h5py raises nearly every kind on a broken file
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"--ckpt_path {path}: a damaged .h5 file, or one of another model ({reason})") from None
    return weights.Weights(str(path), NETWORK, options, {}, 0, tensors)
