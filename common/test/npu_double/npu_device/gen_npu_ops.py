"""The two operations on the overflow status register, in the adapter's second version."""

from typing import Any, Optional

import tensorflow as tf

from npu_device import double


def npu_get_float_status_v2(name: Optional[str] = None) -> tf.Tensor:
    double.record("npu_get_float_status_v2")
    status = double.numpy_function(double.read_register, [], tf.int32, name=name or "NpuGetFloatStatusV2")
    status.set_shape([8])
    return status


def npu_clear_float_status_v2(name: Optional[str] = None) -> Any:
    """An operation without output in a graph; None in eager mode."""
    double.record("npu_clear_float_status_v2")
    done = double.numpy_function(double.clear_register, [], [], name=name or "NpuClearFloatStatusV2")
    return None if tf.executing_eagerly() else done
