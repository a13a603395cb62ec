"""The ModelZoo README's .h5 models: a data set for each variable, and the options that built the network as JSON."""

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Union

import h5py
import numpy as np
from model import BUILD, NETWORK
from tensorflow import keras

from common.cli import UserError
from common.layers import named_variables
from common.vgg19 import check_hdf5
from common.weights import Weights

SUFFIXES = (".h5", ".hdf5")


def save(path: Union[str, Path], network: keras.Model, options: Namespace) -> None:
    """Writes a network alone, in float32, as `read` and h5py read it on either stack; the file is whole or not there.

    Raises:
        OSError: it cannot be written.
    """
    partial = f"{path}.partial"
    with h5py.File(partial, "w") as file:
        file.attrs["network"] = NETWORK
        file.attrs["options"] = json.dumps({name: getattr(options, name) for name in BUILD})
        for name, variable in named_variables(network).items():
            file[name] = variable.numpy()
    os.replace(partial, path)


def read(path: Union[str, Path]) -> Weights:
    """Reads a generator that `save` wrote.

    Raises:
        UserError: it is missing, damaged, of another kind, or does not hold all its numbers itself.
    """
    check_hdf5(str(path), "--ckpt_path")
    try:
        with h5py.File(path, "r") as file:
            if str(file.attrs.get("network")) != NETWORK:
                raise ValueError(f"not a generator that {NETWORK}'s train.py saved")
            options = json.loads(file.attrs["options"])
            options = Namespace(**{name: options[name] for name in BUILD})
            if any(file[name].dtype.kind != "f" or file[name].nbytes > os.path.getsize(path) for name in file):
                raise ValueError("it promises more than it holds, or other things than numbers")
            tensors = {f"generator/{name}": file[name][()].astype(np.float32) for name in file}
    except Exception as error:  # h5py raises nearly every kind on a broken file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(f"--ckpt_path {path}: a damaged .h5 file, or one of another model ({reason})") from None
    if not all(np.isfinite(values).all() for values in tensors.values()):
        raise UserError(f"--ckpt_path {path}: holds numbers that are not finite")
    return Weights(str(path), NETWORK, options, {}, 0, tensors)
