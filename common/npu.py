"""The Ascend NPU, through Huawei's adapter for TensorFlow 2.6: the only file that names `npu_device`.

Importing this file imports neither TensorFlow nor the adapter. `open` replaces TensorFlow's eager context: make
variables, generators, iterators and traced functions after it, and look `tf.function` up after it.
"""

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional

from common.cli import UserError

if TYPE_CHECKING:
    import tensorflow as tf

FILE_OPTIONS = {  # our flag -> the adapter's option
    "blacklist_path": "modify_mixlist",
    "fusion_switch_file": "fusion_switch_file",
    "customize_dtypes": "customize_dtypes",
}
RANK_TABLE = ("RANK_TABLE_FILE", "RANK_ID")
CHIEF = ("CM_CHIEF_IP", "CM_CHIEF_PORT", "CM_CHIEF_DEVICE", "CM_WORKER_IP")


def available() -> bool:
    """Whether `npu_device` can be imported; it does not say that a device answers."""
    try:
        from npu_device import global_options  # noqa: F401
    except Exception:  # a half-installed adapter fails in its native libraries, with errors of many kinds
        return False
    return True


def open(config: Any) -> tuple[int, int]:
    """Opens this process' NPU with a `SessionConfig`'s options and makes it TensorFlow's default device; call once.

    Returns: this process' rank among the run's processes, one device each, and how many they are.
    Raises:
        UserError: an environment, option or file that the adapter would refuse, or a device that does not open.
    """
    check_environment(os.environ)
    wanted = settings(config)
    try:
        import npu_device as npu

        options = npu.global_options()
    except Exception as error:
        raise UserError(
            f"no NPU can be used here: npu_device does not import ({_one_line(error)}).\n"
            "Install Huawei's TensorFlow 2.6.5 adapter and source CANN's set_env.sh, or use --device=cpu"
        ) from error
    doing = "the NPU does not open"
    try:
        for name, value in wanted.items():
            doing = f"the NPU's adapter refuses {name}={value!r}"
            *groups, option = name.split(".")
            setattr(functools.reduce(getattr, groups, options), option, value)
        doing = "the NPU does not open"
        handle = npu.open().as_default()
    except Exception as error:
        raise UserError(f"{doing}: {_one_line(error)}") from error
    return handle.worker_id, handle.workers_num


def settings(config: Any) -> dict[str, Any]:
    """The adapter's options (dotted names) that a `SessionConfig` asks for; their folders are made here.

    What is not asked for keeps the adapter's default, so an older adapter refuses only what it lacks.
    """
    if config.over_dump and config.data_dump_flag:
        raise UserError("--over_dump and --data_dump_flag: an NPU collects one kind of dump in a run; drop one of them")
    chosen: dict[str, Any] = {}
    if config.precision_mode:
        chosen["precision_mode"] = config.precision_mode
    for flag, option in FILE_OPTIONS.items():
        path = getattr(config, flag)
        if path and not os.path.isfile(path):
            raise UserError(f"--{flag}={path}: there is no such file")
        if path:
            chosen[option] = os.path.abspath(path)
    if config.deterministic:
        chosen["deterministic"] = 1
    if config.data_dump_flag:
        chosen["dump_config.enable_dump"] = True
        chosen["dump_config.dump_path"] = _folder(config, "data_dump")
        chosen["dump_config.dump_step"] = config.data_dump_step
        chosen["dump_config.dump_mode"] = "all"
    if config.over_dump:
        chosen["dump_config.enable_dump_debug"] = True
        chosen["dump_config.dump_path"] = _folder(config, "overflow_dump")
        chosen["dump_config.dump_debug_mode"] = "all"
    if config.profiling:
        trace = dict.fromkeys(("training_trace", "task_trace", "aicpu", "hccl"), "on")
        trace.update(output=_folder(config, "profiling"), aic_metrics="PipeUtilization")
        chosen["profiling_config.enable_profiling"] = True
        chosen["profiling_config.profiling_options"] = json.dumps(trace)
    if config.autotune:
        chosen["aoe_config.aoe_mode"] = "2"  # operators; 1 would tune subgraphs
        chosen["aoe_config.work_path"] = _folder(config, "autotune")
    return chosen


def check_environment(environ: Mapping[str, str]) -> None:
    """Raises UserError for the environment variables that the adapter or its collectives would refuse."""
    sizes = [name for name in ("RANK_SIZE", "CM_WORKER_SIZE") if name in environ]
    for name in (*sizes, "ASCEND_DEVICE_ID", "RANK_ID"):
        if not environ.get(name, "0").isdecimal():
            raise UserError(f"{name}={environ[name]!r} in the environment is not a whole number")
    if len(sizes) == 2:
        raise UserError("RANK_SIZE and CM_WORKER_SIZE are both set in the environment: unset one of them")
    if not sizes or int(environ[sizes[0]]) <= 1:
        return
    several = f"{sizes[0]}={environ[sizes[0]]} asks for several devices"
    ways = [way for way in (RANK_TABLE, CHIEF) if way[0] in environ]
    if len(ways) != 1:
        raise UserError(f"{several}: set either {' and '.join(RANK_TABLE)}, or {', '.join(CHIEF)}, and not both")
    missing = [name for name in ways[0] if not environ.get(name)]
    if missing:
        raise UserError(f"{several}: with {ways[0][0]}, {' and '.join(missing)} must be set in the environment as well")
    if ways[0] is RANK_TABLE and not os.path.isfile(environ["RANK_TABLE_FILE"]):
        raise UserError(f"RANK_TABLE_FILE={environ['RANK_TABLE_FILE']}: there is no such file")


def place(environ: Mapping[str, str]) -> tuple[bool, bool]:
    """Whether the environment makes this process the first of the run's workers, and whether they are several.

    Raises:
        UserError: as `check_environment`.
    """
    check_environment(environ)
    if int(environ.get("RANK_SIZE", environ.get("CM_WORKER_SIZE", "1"))) <= 1:
        return True, False
    if RANK_TABLE[0] in environ:
        return int(environ["RANK_ID"]) == 0, True
    same_machine = environ["CM_WORKER_IP"] == environ["CM_CHIEF_IP"]
    return same_machine and environ.get("ASCEND_DEVICE_ID", "0") == environ["CM_CHIEF_DEVICE"], True


def all_reduce_mean(tensors: Sequence["tf.Tensor"], fusion_id: int) -> list["tf.Tensor"]:
    """The mean of each tensor (float16 or float32) over the workers.

    Args:
        fusion_id: another one for each call in a graph. The graph engine merges the all-reduces of one id without a
            look at what depends on what: the generator's gradients wait for the discriminator's, so that is a cycle.
    """
    import npu_device as npu

    return list(npu.distribute.all_reduce(list(tensors), "mean", fusion=2, fusion_id=fusion_id))


def broadcast(variables: Sequence["tf.Variable"], root_rank: int = 0) -> None:
    """Gives every worker the root's values. HCCL takes int8, int32, int64, uint64, float16 and float32."""
    import npu_device as npu

    npu.distribute.broadcast(list(variables), root_rank=root_rank)


def saturation_mode() -> bool:
    """Whether an overflow gives the largest finite value, so that only the status register tells. Ask when open."""
    import npu_device as npu

    enabled = getattr(npu, "is_inf_nan_enabled", None)  # adapters without it know the register alone
    return enabled is None or not enabled()


def clear_overflow() -> "tf.Operation":
    """Clears the status register, so that what overflowed before a step, in an evaluation say, is not the step's."""
    import npu_device as npu

    return npu.gen_npu_ops.npu_clear_float_status_v2()


def overflow_status(gradients: Sequence["tf.Tensor"], world_size: int) -> "tf.Tensor":
    """Boolean scalar: no operation overflowed, on any worker, since the register was last cleared.

    In graph order: the gradients, the register is read, it is cleared, the answer.
    """
    import npu_device as npu
    import tensorflow as tf

    with tf.control_dependencies(gradients):
        status = npu.gen_npu_ops.npu_get_float_status_v2()  # int32 [8]; all zero: no overflow
    with tf.control_dependencies([status]):
        cleared = clear_overflow()
    if world_size > 1:
        [status] = npu.distribute.all_reduce([status], "sum", fusion=0)  # on its own: not fused with the gradients
    with tf.control_dependencies([cleared]):
        return tf.reduce_all(tf.equal(status, 0))


def explain(error: Exception) -> Optional[str]:
    """A graph engine's error in one line, its code and where its log is; None where it is none."""
    code = re.search(r"\bE[0-9A-Z]\d{4}\b", str(error))
    if code is None:
        return None
    log = os.environ.get("ASCEND_PROCESS_LOG_PATH", "~/ascend/log")
    after = str(error)[code.start() :]
    return f"the NPU's graph engine failed: {_one_line(Exception(after))[:200]}; its log is in {log}"


def _folder(config: Any, name: str) -> str:
    """A folder for what the device writes; the adapter wants it to exist."""
    path = os.path.abspath(os.path.join(config.dump_path, name))
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {path} cannot be made: {error.strerror}") from error
    return path


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
