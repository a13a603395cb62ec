"""The collectives. Without several workers they return what they were given, as the adapter's do."""

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from npu_device import double
from npu_device.device import global_npu_ctx

REDUCE_TYPES = (tf.int8, tf.int32, tf.float16, tf.float32)  # of the Atlas training series
BROADCAST_TYPES = (*REDUCE_TYPES, tf.int64, tf.uint64)
_reductions = {"sum": np.add, "mean": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply}
_number = itertools.count()


def shard_and_rebatch_dataset(dataset: tf.data.Dataset, global_bs: int) -> tuple[tf.data.Dataset, int]:
    device = global_npu_ctx()
    workers = device.workers_num if device else 1
    double.record("shard_and_rebatch_dataset", global_bs=global_bs, workers=workers)
    if workers <= 1:
        return dataset, global_bs
    if global_bs % workers:
        raise ValueError(f"a batch of {global_bs} cannot be divided by {workers}")
    return dataset.shard(workers, device.worker_id), global_bs // workers


def all_reduce(
    values: Any, reduction: str = "mean", fusion: int = 1, fusion_id: int = -1, group: str = "hccl_world_group"
) -> Any:
    several = isinstance(values, (list, tuple))
    given = list(values) if several else [values]
    double.record("all_reduce", reduction=reduction, fusion=fusion, tensors=len(given))
    _require(reduction in _reductions and fusion in (0, 1, 2), f"reduction {reduction!r} or fusion {fusion}")
    device = global_npu_ctx()
    if device is None or not device.is_cluster_worker():
        return values
    tensors = [tf.convert_to_tensor(value) for value in given if value is not None]
    for tensor in tensors:
        _require(tensor.dtype in REDUCE_TYPES, f"HcomAllReduce does not take {tensor.dtype.name}")
    key = f"all_reduce-{reduction}-{next(_number)}"

    def reduce(*arrays: np.ndarray) -> list[np.ndarray]:
        everyone = double.exchange(key, list(arrays), device.worker_id, device.workers_num)
        return [_reductions[reduction].reduce(column, dtype=column[0].dtype) for column in zip(*everyone)]

    reduced = double.numpy_function(reduce, tensors, [tensor.dtype for tensor in tensors], name="HcomAllReduce")
    reduced = list(reduced) if isinstance(reduced, (list, tuple)) else [reduced]
    for tensor, result in zip(tensors, reduced):
        result.set_shape(tensor.shape)
    if reduction == "mean":
        reduced = [result * tf.cast(1.0 / device.workers_num, result.dtype) for result in reduced]
    results = [None if value is None else reduced.pop(0) for value in given]
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


def npu_distributed_keras_optimizer_wrapper(
    optimizer: Any,
    reduce_reduction: str = "mean",
    fusion: int = 1,
    fusion_id: int = -1,
    group: str = "hccl_world_group",
) -> Any:
    optimizer = tf.keras.optimizers.get(optimizer)
    apply_gradients = optimizer.apply_gradients

    def reduce_and_apply(grads_and_vars, *args, **kwargs):
        gradients, variables = zip(*grads_and_vars)
        reduced = all_reduce(gradients, reduce_reduction, fusion, fusion_id, group)
        return apply_gradients(zip(reduced, variables), *args, **kwargs)

    optimizer.apply_gradients = reduce_and_apply
    return optimizer


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
