"""What a test reads and sets. A training process under test is steered by its environment:

NPU_DOUBLE_LOG       file that gets every call and every execution on the "device", a JSON object per line
NPU_DOUBLE_INF_NAN   "1": the device is not in saturation mode
NPU_DOUBLE_PEERS     a folder shared by the RANK_SIZE processes, through which the collectives exchange their values;
                     without it each process takes its peers to hold the same values
"""

import json
import os
import time
from typing import Any

import numpy as np
import tensorflow as tf

calls: list[dict[str, Any]] = []  # calls of the adapter's functions, in order (in a tf.function: when it is traced)
executed: list[str] = []  # what ran on the "device", in order
register = np.zeros(8, np.int32)  # the overflow status register
overflow_next = False  # whether the next reading finds an overflow, as if an operation before it had set the register
eager_graphs = 0  # variables read or assigned one by one, each a graph on a device
lenient = False  # whether `open` overlooks what was made before it

numpy_function = tf.numpy_function  # as it was before `as_default`
PATIENCE = 240  # seconds that a worker waits for the others, on a busy machine
_read = False  # since the register was last cleared
_rounds: dict[str, int] = {}


def record(call: str, **details: Any) -> None:
    calls.append({"call": call, **details})
    _log(calls[-1])


def run(what: str) -> None:
    executed.append(what)
    _log({"run": what})


def read_register() -> np.ndarray:
    global _read, overflow_next
    if _read:
        raise RuntimeError("the status register is read again, and was not cleared in between")
    if overflow_next:
        register[0] = 1
    _read, overflow_next = True, False
    run("get_float_status")
    return register.copy()


def clear_register() -> list[np.ndarray]:
    global _read
    register[:] = 0
    _read = False
    run("clear_float_status")
    return []


def overflowing(x: tf.Tensor, when: Any = True) -> tf.Tensor:
    """x from a slow kernel that, `when` true, saturates: it sets the register as it runs."""

    def kernel(value, saturates):
        time.sleep(0.02)
        register[0] |= bool(saturates)
        run("kernel")
        return value

    y = numpy_function(kernel, [x, when], x.dtype)
    y.set_shape(x.shape)
    return y


def exchange(key: str, arrays: list[np.ndarray], rank: int, size: int) -> list[list[np.ndarray]]:
    """Every worker's arrays, by rank. Workers whose collectives differ in kind or order wait for each other in vain."""
    folder = os.environ.get("NPU_DOUBLE_PEERS")
    run(key)
    if not folder:
        return [arrays] * size
    turn = _rounds[key] = _rounds.get(key, 0) + 1

    def path(number, worker):
        return os.path.join(folder, f"{key}.{number}.{worker}.npz")

    with open(path(turn, rank) + ".part", "wb") as file:
        np.savez(file, *arrays)
    os.replace(path(turn, rank) + ".part", path(turn, rank))
    everyone = []
    for worker in range(size):
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(path(turn, worker)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"worker {worker} does not take part in {key}, round {turn}")
            time.sleep(0.001)
        with np.load(path(turn, worker)) as theirs:
            everyone.append([theirs[name] for name in theirs.files])
        if [(a.shape, a.dtype) for a in everyone[-1]] != [(a.shape, a.dtype) for a in arrays]:
            raise RuntimeError(f"worker {worker} brings other shapes or types to {key}")
    if turn > 1:  # everybody has written this round, so everybody has read the one before
        os.remove(path(turn - 1, rank))
    return everyone


def _log(line: dict[str, Any]) -> None:
    if os.environ.get("NPU_DOUBLE_LOG"):
        with open(os.environ["NPU_DOUBLE_LOG"], "a") as file:
            file.write(json.dumps(line) + "\n")
