"""Checkpoints on disk: finding them, reading them, and what they say of the run that wrote them."""

import argparse
import glob
import json
import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from common.cli import UserError

# What TensorFlow raises for a checkpoint that does not fit the variables, and for one that was cut short.
MISMATCH = (ValueError, AssertionError)
DAMAGE = (tf.errors.OpError, LookupError, RuntimeError, OSError)


class Record(tf.train.experimental.PythonState):
    """A checkpoint's part that is no tensor: what it is about, options, step and seconds so far, as JSON."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def serialize(self) -> str:
        return json.dumps(self.values)

    def deserialize(self, text: str) -> None:
        self.values.update(json.loads(text))


def find_checkpoints(path: str) -> list[str]:
    """The checkpoints that `path` names, newest first: one file's prefix, a `checkpoints` folder, or a run's folder.

    Raises:
        UserError: there is none.
    """
    if os.path.exists(path + ".index"):
        return [path]
    if path.endswith(".index"):
        return [path[: -len(".index")]]
    for folder in (path, os.path.join(path, "checkpoints")):
        found = [file[: -len(".index")] for file in glob.glob(os.path.join(glob.escape(folder), "ckpt-*.index"))]
        found = [prefix for prefix in found if prefix.rsplit("-", 1)[1].isdigit()]
        if found:
            return sorted(found, key=lambda prefix: int(prefix.rsplit("-", 1)[1]), reverse=True)
    raise UserError(f"no checkpoint in {path}: give a run's output folder, or a file such as checkpoints/ckpt-1000")


def load_checkpoint(path: str, **state: Any) -> str:
    """Restores `state` from the newest whole checkpoint that `path` names, whatever else that checkpoint holds.

    Returns: the checkpoint's prefix.
    Raises:
        UserError: there is none, it is damaged, or it is of another model or of other shapes.
    """
    prefixes = find_checkpoints(path)
    for prefix in prefixes:
        try:
            tf.train.Checkpoint(**state).read(prefix).assert_existing_objects_matched().expect_partial()
            return prefix
        except MISMATCH:
            raise UserError(f"{prefix} is a checkpoint of another model or of other sizes") from None
        except DAMAGE:
            print(f"[Warning] the checkpoint {prefix} is damaged; trying the one before it", flush=True)
    raise UserError(f"no whole checkpoint in {path}")


def without_optimizers(state: dict[str, Any]) -> dict[str, Any]:
    """A run's state without its optimizers: what another run begins with, at the start of its own learning rate's
    schedule."""
    return {name: part for name, part in state.items() if not name.endswith("optimizer")}


def run_folder(prefix: str) -> Path:
    """The folder of the run that wrote a checkpoint, or the one that the checkpoint was copied to."""
    folder = Path(prefix).resolve().parent
    for place in (folder, folder.parent):  # checkpoints/, or checkpoints/epoch_100/
        if place.name == "checkpoints":
            return place.parent
    return folder


def checkpoint_record(path: str) -> dict[str, Any]:
    """What a checkpoint says of the run that wrote it: its `options`, and where train.py gave them its `about`.

    Raises:
        UserError: no checkpoint there, or none of ours.
    """
    for prefix in find_checkpoints(path):
        try:
            record = json.loads(tf.train.load_checkpoint(prefix).get_tensor("record/.ATTRIBUTES/py_state"))
            return {"about": {}, **record, "options": argparse.Namespace(**record["options"])}
        except (*MISMATCH, *DAMAGE):
            continue
    raise UserError(f"{path} holds no whole checkpoint written by this model's train.py")
