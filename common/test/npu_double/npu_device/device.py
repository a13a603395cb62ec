"""Opening the device, and what `as_default` changes in TensorFlow."""

import gc
import os
import threading
from typing import Any, Optional

import tensorflow as tf
from tensorflow.python.eager import context, def_function
from tensorflow.python.framework import op_callbacks

from npu_device import double, options

_function, _call = def_function.function, def_function.Function.__call__
_instances: dict[int, "NpuDeviceHandle"] = {}
_default: Optional["NpuDeviceHandle"] = None
_local = threading.local()


def global_npu_ctx() -> Optional["NpuDeviceHandle"]:
    """The device that is TensorFlow's default, or None."""
    return _default


def is_inf_nan_enabled() -> bool:
    if not _instances:
        raise RuntimeError("the overflow mode is the device's: open it first")
    return os.environ.get("NPU_DOUBLE_INF_NAN") == "1"


def open(device_id: Optional[int] = None) -> "NpuDeviceHandle":
    if device_id is None:
        device_id = int(os.getenv("ASCEND_DEVICE_ID", "0"))
    size = _workers()
    if device_id in _instances:
        return _instances[device_id]
    if _instances:
        raise RuntimeError(f"device {device_id} cannot be opened beside device {[*_instances]}: one for each process")
    options.check()
    _refuse_what_is_made_early()
    double.record("open", device_id=device_id)
    options.Options.opened = True
    fresh = context.Context()  # what was made in the context before is gone, as with the adapter
    fresh.ensure_initialized()
    context._set_context(fresh)
    rank = int(os.getenv("RANK_ID") or device_id) if size > 1 else 0  # without rank table: one server
    _instances[device_id] = NpuDeviceHandle(size, rank)
    return _instances[device_id]


def _refuse_what_is_made_early() -> None:
    """Nothing of TensorFlow may have run, and no function may be waiting to be traced: `open` would lose it."""
    if double.lenient:
        return
    if context.context()._initialized:
        raise RuntimeError("TensorFlow has made tensors, variables or iterators before open(): they would be lost")
    early = [item for item in gc.get_objects() if isinstance(item, def_function.Function) and not _frameworks(item)]
    if early:
        raise RuntimeError(f"a tf.function is made before open(): {early[0]._python_function}")


def _frameworks(function: Any) -> bool:
    """Whether a function is TensorFlow's or Keras' own, of which their modules hold a few."""
    return getattr(function._python_function, "__module__", "").startswith(("tensorflow.", "keras."))


def _workers() -> int:
    """How many workers the environment asks for; refuses it as the adapter does."""
    env = os.environ
    if "CM_WORKER_SIZE" in env and "RANK_SIZE" in env:
        raise ValueError("RANK_SIZE and CM_WORKER_SIZE are both configured")
    size = int(env.get("RANK_SIZE", env.get("CM_WORKER_SIZE", "1")))
    if size > 1:
        if ("CM_CHIEF_IP" in env) == ("RANK_TABLE_FILE" in env):
            raise RuntimeError("one of CM_CHIEF_IP and RANK_TABLE_FILE has to be configured, and not both")
        needed = ("CM_CHIEF_PORT", "CM_CHIEF_DEVICE", "CM_CHIEF_IP") if "CM_CHIEF_IP" in env else ("RANK_ID",)
        for name in needed:
            if not env.get(name):
                raise RuntimeError(f"{name} is needed in distribution mode")
        if "CM_CHIEF_IP" in env and "CM_WORKER_IP" not in env:
            raise TypeError("incompatible function arguments: CM_WORKER_IP is None")
    return size


class NpuDeviceHandle:
    def __init__(self, workers_num: int, worker_id: int) -> None:
        self.workers_num, self.worker_id = workers_num, worker_id

    def is_cluster_worker(self) -> bool:
        return self.workers_num > 1 and 0 <= self.worker_id < self.workers_num

    def as_default(self) -> "NpuDeviceHandle":
        global _default
        double.record("as_default")
        _default = self
        def_function.Function.__call__ = _inline_nested
        def_function.function = tf.function = npu_compat_function
        tf.py_function = _refuse_in_function(tf.py_function)
        tf.numpy_function = _refuse_in_function(tf.numpy_function)
        op_callbacks.add_op_callback(_count_graphs)
        return self


def _count_graphs(op_type: str, inputs: Any, attrs: Any, outputs: Any, op_name: Any = None, graph: Any = None) -> None:
    """Each operation outside of a tf.function is a graph of its own that the device is given, runs and drops."""
    if graph is None and op_type in ("ReadVariableOp", "AssignVariableOp"):
        double.eager_graphs += 1


def npu_compat_function(func: Any = None, *args: Any, **kwargs: Any) -> Any:
    """tf.function, never compiled by XLA."""
    for name in ("jit_compile", "experimental_compile"):
        if kwargs.get(name):
            double.record("jit_compile turned off")
            kwargs[name] = False

    def decorate(function):
        made = _function(*args, **kwargs)(function)
        made._by_the_adapter = True
        return made

    return decorate if func is None else decorate(func)


def _inline_nested(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a tf.function; one that is called inside another becomes part of it."""
    if not (getattr(self, "_by_the_adapter", False) or _frameworks(self)):
        raise RuntimeError(f"{self._python_function} was not made by the tf.function that as_default() puts in place")
    if getattr(_local, "inside", False):
        try:
            return self._python_function(*args, **kwargs)
        except Exception as error:  # such as Python control flow on tensors: the adapter makes a nested call then
            double.record("nested call", function=str(self._python_function), because=str(error))
            return _call(self, *args, **kwargs)
    _local.inside = True
    try:
        return _call(self, *args, **kwargs)
    finally:
        _local.inside = False


def _refuse_in_function(python_op: Any) -> Any:
    """Python cannot run on the device; a dataset's map runs on the host and is traced outside of a step."""

    def checked(*args: Any, **kwargs: Any) -> Any:
        if getattr(_local, "inside", False):
            raise RuntimeError("py_function or numpy_function inside a tf.function that runs on the NPU")
        return python_op(*args, **kwargs)

    return checked
