"""Tests of what is drawn need more than the grey that networks of small random weights draw."""

from pathlib import Path

import numpy as np
import tensorflow as tf
import trained

from common.checkpoint import Record, checkpoint_record
from common.optimizer import named_variables


def strengthened(run: Path, folder: Path) -> Path:
    """Copies a run's generators into another run's folder, with kernels of about unit gain; returns that folder."""
    record, model = checkpoint_record(str(run)), trained.load(str(run))
    names = ("generator",) if model.stage2 is None else ("stage1_generator", "generator")
    state = {name: named_variables(network) for name, network in zip(names, (model.stage1, model.stage2))}
    for variables in state.values():
        for variable in variables.values():
            if len(variable.shape) > 1:
                inputs = np.prod(variable.shape[:-1])
                variable.assign(variable / tf.math.reduce_std(variable) * (2 / inputs) ** 0.5)
    values = {**record, "options": vars(record["options"])}
    tf.train.Checkpoint(record=Record(**values), **state).write(str(folder / "checkpoints" / "ckpt-7"))
    return folder
