"""The collectives. Without several workers they return what they were given, as the adapter's do."""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from npu_device import double
from npu_device.device import global_npu_ctx

REDUCE_TYPES = (tf.int8, tf.int32, tf.float16, tf.float32)  # of the Atlas training series
BROADCAST_TYPES = (*REDUCE_TYPES, tf.int64, tf.uint64)
_number = itertools.count()


def all_reduce(
    values: Any, reduction: str = "mean", fusion: int = 1, fusion_id: int = -1, group: str = "hccl_world_group"
) -> Any:
    """Its operations' name tells how it may be merged: HcomAllReduce_<fusion>_<fusion_id> (see graph_check.py)."""
    several = isinstance(values, (list, tuple))
    given = list(values) if several else [values]
    double.record("all_reduce", reduction=reduction, fusion=fusion, fusion_id=fusion_id, tensors=len(given))
    _require(reduction in ("sum", "mean") and fusion in (0, 1, 2), f"reduction {reduction!r} or fusion {fusion}")
    _require(fusion != 2 or fusion_id >= 0, f"fusion=2 wants a fusion_id, not {fusion_id}")
    device = global_npu_ctx()
    if device is None or not device.is_cluster_worker():
        return values
    tensors = [tf.convert_to_tensor(value) for value in given if value is not None]
    for tensor in tensors:
        _require(tensor.dtype in REDUCE_TYPES, f"HcomAllReduce does not take {tensor.dtype.name}")
    key = f"all_reduce-{next(_number)}"
    name = f"HcomAllReduce_{fusion}_{fusion_id if fusion == 2 else 0}"

    def reduce(*arrays: np.ndarray) -> list[np.ndarray]:
        everyone = double.exchange(key, list(arrays), device.worker_id, device.workers_num)
        return [np.add.reduce(column, dtype=column[0].dtype) for column in zip(*everyone)]

    @tf.custom_gradient
    def reduced(*tensors):
        sums = double.numpy_function(reduce, tensors, [tensor.dtype for tensor in tensors], name=name)
        sums = list(sums) if isinstance(sums, (list, tuple)) else [sums]
        for tensor, result in zip(tensors, sums):
            result.set_shape(tensor.shape)
        if reduction == "mean":
            sums = [result * tf.cast(1.0 / device.workers_num, result.dtype) for result in sums]
        return sums, lambda *gradients: all_reduce(list(gradients), reduction, fusion=0)

    with tf.name_scope(name):  # also what TensorFlow adds for the gradient
        results = reduced(*tensors)
    results = list(results) if isinstance(results, (list, tuple)) else [results]
    results = [None if value is None else results.pop(0) for value in given]
    return results if several else results[0]


def broadcast(
    values: Any, root_rank: int = 0, fusion: int = 2, fusion_id: int = 0, group: str = "hccl_world_group"
) -> None:
    variables = list(values) if isinstance(values, (list, tuple)) else [values]
    double.record("broadcast", root_rank=root_rank, variables=len(variables))
    device = global_npu_ctx()
    if device is None or not device.is_cluster_worker():
        return
    _require(0 <= root_rank < device.workers_num and fusion in (0, 2), f"root_rank {root_rank} or fusion {fusion}")
    for variable in variables:
        _require(variable.dtype in BROADCAST_TYPES, f"HcomBroadcast does not take {variable.dtype.name}")
    key = f"broadcast-{root_rank}-{next(_number)}"

    def take(*arrays: np.ndarray) -> list[np.ndarray]:
        return double.exchange(key, list(arrays), device.worker_id, device.workers_num)[root_rank]

    taken = double.numpy_function(take, [v.read_value() for v in variables], [v.dtype for v in variables])
    for variable, value in zip(variables, taken if isinstance(taken, (list, tuple)) else [taken]):
        value.set_shape(variable.shape)
        variable.assign(value)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
