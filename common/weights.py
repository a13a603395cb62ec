"""Trained weights in one file: safetensors, arrays and nothing that runs, with a JSON record of what they are.

A run's checkpoints and the weights in <Model>/pretrained/ are files of this one kind. Arrays bear the names that both
stacks share ("generator/block_1_conv_1.0"), so a file of one stack is read by the other. (No TensorFlow needed here.)
"""

import argparse
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as read_arrays
from safetensors.numpy import save as write_arrays

from common.cli import UserError

FORMAT = "ascend-gans-1"
ENDING = ".safetensors"
MAX_BYTES = 4 * 2**30  # of a file: four times what the largest of the five models' checkpoints takes
PLACES = re.compile(r".*_(path|dir|url|file|weights)|cfg|(test_)?pretrained(_model)?|customize_dtypes")  # of a machine
MAX_RECORD = 2**20  # bytes of JSON


class Damage(Exception):
    """A file that was whole once, or never: cut short, or with bits turned."""


@dataclass
class Weights:
    """What a file holds.

    Attributes:
        options: the flags of the training, of which the networks are built; `about`: what else it takes to use them.
        tensors: {"generator/<variable>": array, "g_optimizer/...": array, ...}; what was float16 on disk is float32.
    """

    path: str
    network: str
    options: argparse.Namespace
    about: dict[str, Any]
    step: int
    tensors: dict[str, np.ndarray]

    def part(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of one network; of "generator" its exponential average, where there is one."""
        for prefix in (f"ema_{name}/", f"{name}/"):
            found = {key[len(prefix) :]: value for key, value in self.tensors.items() if key.startswith(prefix)}
            if found:
                return found
        raise UserError(f"{self.path}: holds no {name}")

    def restore(self, model: Any, name: str = "generator") -> Any:
        """Gives a Keras model the weights of one network, and returns it.

        Raises:
            UserError: they are of other names or shapes than the model's.
        """
        from common.layers import named_variables  # which needs TensorFlow

        arrays, variables = self.part(name), named_variables(model)
        wanted = {key: tuple(variable.shape) for key, variable in variables.items()}
        if {key: array.shape for key, array in arrays.items()} != wanted:
            raise UserError(f"{self.path}: its {name} is of another size than its options say")
        for key, variable in variables.items():
            variable.assign(arrays[key])
        return model


def save(
    path: Union[str, Path],
    network: str,
    tensors: Mapping[str, np.ndarray],
    options: Mapping[str, Any],
    about: Optional[Mapping[str, Any]] = None,
    step: int = 0,
    half: bool = False,
    **more: Any,
) -> str:
    """Writes a file, whole or not at all, and returns its path.

    Args:
        half: for others: float32 arrays are stored as float16, and no option that names a place on this machine.
        more: further entries of the record.
    Raises:
        OSError: it cannot be written.
        UserError: a number is not finite, or too large for float16.
    """
    if half:
        options = {name: value for name, value in options.items() if not PLACES.fullmatch(name)}
    arrays = {}
    for name, array in tensors.items():
        array = np.ascontiguousarray(array).reshape(np.shape(array))  # of a scalar too
        with np.errstate(over="ignore"):  # told below
            arrays[name] = array.astype(np.float16) if half and array.dtype == np.float32 else array
        if array.dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise UserError(f"{path}: {name} holds numbers that are not finite, or too large for float16")
    record = {"format": FORMAT, "network": network, "step": int(step), "sha256": _digest(arrays)}
    record.update(options=dict(options), about=dict(about or {}), **more)
    content = write_arrays(arrays, {"record": json.dumps(record, sort_keys=True)})
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    partial = f"{path}.tmp"
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)  # so that the name is on disk before an older file goes
    finally:
        os.close(folder)
    return str(path)


def read(path: Union[str, Path]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A file's record and its arrays.

    Raises:
        Damage: it is not whole.
        UserError: it is of another kind, holds numbers that are not finite, or cannot be read.
    """
    try:
        if not os.path.isfile(path):  # a folder, a pipe or nothing
            raise UserError(f"{path}: there is no such file")
        if os.path.getsize(path) > MAX_BYTES:
            raise UserError(f"{path}: more than {MAX_BYTES >> 30} GiB, so none of our files of weights")
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    try:
        length = int.from_bytes(content[:8], "little")
        if length > min(len(content) - 8, MAX_RECORD * 4):
            raise Damage(f"{path} is cut short, or no file of weights")
        header = json.loads(content[8 : 8 + length])
        text = header.get("__metadata__", {}).get("record", "{}")
        record = json.loads(text) if len(text) <= MAX_RECORD else {}
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise UserError(f"{path}: not a file of weights that this repository wrote")
        arrays = read_arrays(content)
    except UserError:
        raise
    except (SafetensorError, ValueError, AttributeError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise Damage(f"{path} is damaged ({str(error).splitlines()[0][:100] if str(error) else 'no reason'})") from None
    if record.get("sha256") != _digest(arrays):
        raise Damage(f"{path} is damaged: its content is not what was written")
    types = {"network": str, "step": int, "options": dict, "about": dict}
    wrong = [name for name, kind in types.items() if type(record.get(name)) is not kind]
    if wrong:
        raise UserError(f"{path}: its record's {wrong[0]} is not of the kind that is written")
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds numbers that are not finite")
        if array.dtype == np.float16:
            arrays[name] = array.astype(np.float32)
    return record, arrays


def load(path: Union[str, Path, None], network: str, folder: Union[str, Path]) -> Weights:
    """The weights that a script's `--ckpt_path` names: a file, a run's folder, or without one those that are shipped.

    Args:
        network: the model's name, whose files alone are taken.
        folder: the model's own; `pretrained/` in it holds what is shipped.
    Raises:
        UserError: there are none, or they cannot be used.
    """
    if path is None:
        files = sorted(Path(folder).glob(f"pretrained/*{ENDING}"))
        if not files:
            raise UserError(f"{Path(folder).name}/pretrained/ holds no weights: train some and give --ckpt_path=RUN")
    else:
        files = checkpoints(path)
    for file in files:
        try:
            record, tensors = read(file)
        except Damage as error:
            if file == files[-1]:
                raise UserError(str(error)) from None
            print(f"[Warning] {error}; trying the one before it", flush=True)
            continue
        if record["network"] != network:
            raise UserError(f"{file}: weights of {record['network']}, not of {network}")
        options = argparse.Namespace(**record["options"])
        return Weights(str(file), network, options, record["about"], record["step"], tensors)
    raise AssertionError


def checkpoints(path: Union[str, Path]) -> list[Path]:
    """The files that `path` names, newest first: one file (its ending may lack), a `checkpoints` folder, or a run's.

    Raises:
        UserError: there is none.
    """
    path = Path(os.path.expanduser(path))
    for file in (path, Path(f"{path}{ENDING}")):
        if file.is_file():
            return [file]
    for folder in (path, path / "checkpoints"):
        found = {int(file.stem[5:]): file for file in folder.glob(f"ckpt-*{ENDING}") if file.stem[5:].isdecimal()}
        if found:
            return [found[step] for step in sorted(found, reverse=True)]
    raise UserError(
        f"no weights in {path}: give a run's output folder, or a file such as checkpoints/ckpt-1000{ENDING}"
    )


def run_folder(path: Union[str, Path]) -> Path:
    """The folder of the run that wrote a checkpoint, or the one that the file was copied to."""
    folder = Path(path).resolve().parent
    for place in (folder, folder.parent):  # checkpoints/, or checkpoints/epoch_100/
        if place.name == "checkpoints":
            return place.parent
    return folder


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape} ".encode())
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
