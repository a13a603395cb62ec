"""The two operations on the overflow status register, in the adapter's second version."""

from typing import Any, Optional

import tensorflow as tf

from npu_device import double

READ, CLEAR = "NpuGetFloatStatusV2", "NpuClearFloatStatusV2"


def npu_get_float_status_v2(name: Optional[str] = None) -> tf.Tensor:
    double.record("npu_get_float_status_v2")
    status = double.numpy_function(double.read_register, [], tf.int32, name=name or READ)
    status.set_shape([8])
    if not tf.executing_eagerly() and not status.op.control_inputs:
        raise RuntimeError("npu_get_float_status_v2 waits for nothing: it may run before the gradients are there")
    return status


def npu_clear_float_status_v2(name: Optional[str] = None) -> Any:
    """An operation without output in a graph; None in eager mode."""
    double.record("npu_clear_float_status_v2")
    if tf.executing_eagerly():
        double.numpy_function(double.clear_register, [], [], name=name or CLEAR)
        return None
    readings = [op for op in tf.compat.v1.get_default_graph().get_operations() if READ in op.name]
    done = double.numpy_function(double.clear_register, [], [], name=name or CLEAR)
    if readings and not any(READ in op.name for op in done.control_inputs):  # the first one of a step follows nothing
        raise RuntimeError("npu_clear_float_status_v2 does not wait for the register to be read")
    return done
