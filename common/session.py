"""The device a run works on: NPU, GPU or CPU, its precision, its dumps and its workers."""

import itertools
import json
import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional, Union

import numpy as np
import tensorflow as tf
from tensorflow import keras

from common import npu
from common.cli import TrainingError, UserError, notice
from common.config import PRECISION_MODES, SessionConfig
from common.layers import moving_statistics, named_variables
from common.loss_scale import Adam, ExponentialUpdateLossScale, FixedLossScale, LearningRate, Optimizer

NPU_ONLY = ("autotune", "blacklist_path", "fusion_switch_file", "customize_dtypes")
LOST = (  # what a collective raises when another worker is gone
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Session:
    """An open device. Made by `open_session`, before anything else of TensorFlow.

    Attributes:
        device: "npu", "gpu" or "cpu".
        precision: the Keras policy in force, or the NPU's precision mode.
        rank, world_size: this worker's number and how many there are; `chief`: the first one, which alone writes files.
        optimizers: all that were made, whose skipped updates a run looks at.
        step: the training step under way, kept by the run.
        asked_to_stop: whether this worker was; the others learn it with the next step.
    """

    def __init__(
        self,
        config: SessionConfig,
        device: str,
        precision: str,
        rank: int = 0,
        world_size: int = 1,
        strategy: Optional[tf.distribute.Strategy] = None,
    ) -> None:
        self.config, self.device, self.precision = config, device, precision
        self.rank, self.world_size, self.chief = rank, world_size, rank == 0
        self.optimizers: list[Optimizer] = []
        self.step = 0
        self.asked_to_stop = False
        self._stops: list[tf.Tensor] = []
        self._strategy = strategy
        self._averaged: dict[int, tf.Variable] = {}
        self._fusion_ids = itertools.count(1)
        # Of the step that is being traced: each optimizer's "nothing overflowed", and what goes into its dump.
        self._finite: list[tf.Tensor] = []
        self._dumped: dict[str, tf.Tensor] = {}

    # Shards of the workers.

    def local_batch(self, batch_size: int) -> int:
        """How many samples of a batch are this worker's.

        Raises:
            UserError: the batch cannot be shared.
        """
        if batch_size % self.world_size:
            raise UserError(
                f"--batch_size {batch_size} cannot be split over {self.world_size} workers; "
                f"give a multiple of {self.world_size}"
            )
        return batch_size // self.world_size

    def shard(self, rows: Any) -> Any:
        """This worker's rows of a whole batch: every `world_size`-th one, so that no two workers have the same."""
        return rows if self.world_size == 1 else rows[self.rank :: self.world_size]

    def own(self, purpose: str) -> str:
        """A `stream.key`'s purpose of this worker alone, for noise too large to be drawn for the whole batch."""
        return f"{purpose}@{self.rank}" if self.rank else purpose

    # Training steps.

    @property
    def needs_loss_scale(self) -> bool:
        """Whether gradients pass through float16."""
        if self.device == "npu":
            return PRECISION_MODES[self.precision].float16_on_npu
        return self.precision == "mixed_float16"

    def optimizer(
        self,
        models: Union[keras.Model, Sequence[keras.Model]],
        learning_rate: LearningRate,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        loss_scale: Optional[dict[str, Any]] = None,
        clip_norm: Optional[float] = None,
    ) -> Optimizer:
        """Adam over the models' trainable variables.

        `loss_scale` holds the arguments of an `ExponentialUpdateLossScale` for where gradients pass through float16
        (None: its defaults); in any other precision nothing is scaled.
        """
        models = list(models) if isinstance(models, (list, tuple)) else [models]
        variables: dict[str, tf.Variable] = {}
        for model in models:
            self.average(moving_statistics(model))
            if self.config.sync_batch_norm and self.world_size > 1:
                for layer in model.layers:
                    if hasattr(layer, "all_reduce"):  # which normalises by the batch
                        layer.all_reduce = self.all_reduce_mean
            prefix = f"{model.name}/" if len(models) > 1 else ""
            variables.update({prefix + name: v for name, v in named_variables(model, trainable_only=True).items()})
        scale = ExponentialUpdateLossScale(**(loss_scale or {})) if self.needs_loss_scale else FixedLossScale()
        adam = Adam(variables, learning_rate, beta_1, beta_2, epsilon)
        dump = self._dumped.update if self._dumps else None
        self.optimizers.append(Optimizer(adam, scale, self.all_reduce_mean, self.all_finite, clip_norm, dump))
        return self.optimizers[-1]

    def average(self, variables: Iterable[tf.Variable]) -> None:
        """Names float32 variables that a forward pass moves: every step leaves in them the mean over the workers, and a
        step that overflows what was there before. Those of the optimizers' networks' batch normalisation are named
        already."""
        self._averaged.update({id(variable): variable for variable in variables})

    def compile(self, step: Callable) -> Callable:
        """A train step as a graph: `step` takes tensors and returns named scalars, of several workers the means.

        By `tf.function`'s attribute at call time, since the NPU replaces it. With `--data_dump_flag` off the NPU the
        step's inputs, its results and its gradients' norms are written to `dump_path` every so many steps.
        """

        def whole(asked, *args):
            self._finite.clear()
            self._dumped.clear()
            clear = [npu.clear_overflow()] if self._register else []
            with tf.control_dependencies(clear):
                averaged = list(self._averaged.values())
                before = [variable + 0.0 for variable in averaged] if self._skips else []
                results = dict(step(*args))
            if self._finite:
                finite = tf.reduce_all(tf.stack(self._finite))
                for variable, value in zip(averaged, before):
                    variable.assign(tf.where(finite, variable, value))
            if self.world_size > 1:  # one more all-reduce, for the results and what each worker moved by its shard
                results["stop"] = asked
                scalars = tf.stack([tf.cast(value, tf.float32) for value in results.values()])
                scalars, *means = self.all_reduce_mean([scalars, *(variable + 0.0 for variable in averaged)])
                for variable, mean in zip(averaged, means):
                    variable.assign(mean)
                results = dict(zip(results, tf.unstack(scalars)))
            return results, dict(self._dumped)

        def replica(*args):
            return self._strategy.run(whole, args) if self._strategy else whole(*args)

        replica.__name__ = step.__name__  # of its graph
        # Steps have no Python control flow on tensors; to look for it takes a quarter of the tracing.
        compiled, last = tf.function(replica, autograph=False), None

        def call(*args):
            nonlocal last
            results, dumped = compiled(tf.constant(float(self.asked_to_stop)), *args)
            if self.world_size > 1:
                self._stops.append(results.pop("stop"))
            if self._dumps and self.chief:
                number, every = self.step + 1, int(self.config.data_dump_step)
                before, last = number - 1 if last is None else last, number
                if number // every > before // every:  # steps that take turns: each in its next turn
                    tensors = {f"input/{i}": x for i, x in enumerate(tf.nest.flatten(args))}
                    tensors.update({f"output/{name}": x for name, x in results.items()}, **dumped)
                    file = os.path.join(self.config.dump_path, f"{step.__name__}_{number:08d}.npz")
                    np.savez(file, **{name: np.asarray(x) for name, x in tensors.items()})
            return results

        call.__name__ = step.__name__
        return call

    def stopping(self, last: bool) -> bool:
        """Whether to stop after this step, since some worker was asked to: all workers say the same at the same step.

        Several workers look at the step before, which is ready: nothing waits for the newest one.

        Args:
            last: no step follows, so that the newest one is looked at too.
        """
        if self.world_size == 1:
            return self.asked_to_stop
        known = len(self._stops) if last else len(self._stops) - 1
        looked_at, self._stops = self._stops[:known], self._stops[known:]
        return any(float(stop) > 0 for stop in looked_at)

    @property
    def _dumps(self) -> bool:
        return self.config.data_dump_flag and self.device != "npu"  # which dumps by itself

    @property
    def _skips(self) -> bool:
        return any(optimizer.loss_scale.checks_overflow for optimizer in self.optimizers)

    @property
    def _register(self) -> bool:
        """Whether only the NPU's status register tells an overflow."""
        return self.device == "npu" and self._skips and npu.saturation_mode()

    def all_reduce_mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """The mean of tensors of one type over the workers; inside a compiled step."""
        if self.world_size == 1:
            return tensors
        if self.device == "npu":
            return npu.all_reduce_mean(tensors, next(self._fusion_ids))
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, tensors)

    def all_finite(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """Whether the step's arithmetic did not overflow (bool scalar): by the NPU's status register in saturation
        mode, where an overflow leaves no Inf behind, else by the gradients.

        Of several updates in a compiled step, one that follows another's overflow is left out too: reading the register
        clears it, and the first reading alone saw the forward pass that they share.
        """
        if self._register:
            finite = npu.overflow_status(gradients, self.world_size)
            for earlier in self._finite:
                finite &= earlier
        else:
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        self._finite.append(finite)
        return finite

    # The workers as a whole.

    def broadcast(self, variables: list[tf.Variable]) -> None:
        """Gives all workers the first one's values; waits for all of them.

        Raises:
            TrainingError: a worker is lost.
        """
        if self.world_size == 1:
            return
        if self.device == "npu":
            npu.broadcast(variables)
            return

        def first_plus_zeros():
            for dtype in sorted({variable.dtype for variable in variables}, key=lambda dtype: dtype.name):
                same = [variable for variable in variables if variable.dtype == dtype]
                values = [tf.identity(v) if self.chief else tf.zeros_like(v) for v in same]
                sums = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)
                for variable, value in zip(same, sums):
                    variable.assign(value)

        try:
            tf.function(lambda: self._strategy.run(first_plus_zeros))()
        except LOST as error:
            raise self.explain(error) from None

    def agree(self, number: int) -> int:
        """The first worker's number, for all; so it waits for all."""
        if self.world_size == 1:
            return number
        variable = tf.Variable(number, dtype=tf.int64)
        self.broadcast([variable])
        return int(variable)

    # What its errors and flags mean.

    def explain(self, error: Exception) -> Optional[TrainingError]:
        """A device's or a collective's error in a line or two for the user; None where it is neither."""
        if self.device == "npu" and isinstance(error, tf.errors.OpError):
            told = npu.explain(error)
            return TrainingError(told) if told else None
        if self.world_size > 1 and isinstance(error, LOST):
            named = {int(number) for number in re.findall(r"/task:(\d+)", str(error))} - {self.rank}
            who = f"worker {', '.join(map(str, sorted(named)))}" if named else "another worker"
            return TrainingError(
                f"worker {self.rank} of {self.world_size}: {who} is lost, so the training ends here.\n"
                "See that worker's log for the reason. The same command continues from the last checkpoint."
            )
        found = re.search(r"!!! Detected (.+?) in output \d+ of \S+ op \"(\w+)\"", str(error))
        if not self.config.over_dump or not found:
            return None
        file = os.path.join(self.config.dump_path, f"overflow_{self.step + 1:08d}.txt")
        with open(file, "w") as text:
            text.write(str(error))
        node = re.search(r"node ([^\s}]+)/CheckNumerics", str(error))  # none where the step runs op by op
        name = f"{found[2]} ({node[1]})" if node else found[2]
        return TrainingError(
            f"step {self.step + 1}: the first operation whose output is not finite is {name}: {found[1]}.\n"
            f"What went into it and which line made it: {file}"
        )

    @property
    def precision_without_overflow(self) -> str:
        """The mode to try where something overflows."""
        return "must_keep_origin_dtype" if self.device == "npu" else "force_fp32"


def place(device: str) -> tuple[bool, bool]:
    """Whether this process is the first worker, and whether it is one of several: by the environment, before a session
    is open.

    Args:
        device: as `--device` has it.
    """
    if device == "npu" or (device == "auto" and npu.available()):
        return npu.place(os.environ)
    rank, addresses = cluster(os.environ)
    return rank == 0, len(addresses) > 1


def cluster(environ: Mapping[str, str]) -> tuple[int, list[str]]:
    """This process' rank and the addresses of all workers by TF_CONFIG; (0, []) where that names no cluster.

    Raises:
        UserError: it says no such thing.
    """
    try:
        config = json.loads(environ.get("TF_CONFIG") or "{}")
        if not config.get("cluster"):
            return 0, []
        workers, kind = config["cluster"], config["task"]["type"]
        groups = {name: workers[name] for name in ("chief", "worker") if name in workers}
        before = len(groups["chief"]) if kind == "worker" and "chief" in groups else 0
        groups[kind][config["task"]["index"]]  # this process is among them
        return before + config["task"]["index"], [address for group in groups.values() for address in group]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UserError(
            "TF_CONFIG in the environment is not of the form\n"
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}, or has no such worker'
        ) from None


def open_session(config: SessionConfig) -> Session:
    """Opens the device and sets the precision. Call it first: the NPU forgets whatever TensorFlow made before.

    Raises:
        UserError: the device asked for is not there, or a flag's value means nothing on it.
    """
    exact = config.precision_mode in ("force_fp32", "must_keep_origin_dtype")
    if config.device == "npu" or (config.device == "auto" and npu.available()):
        rank, world_size = npu.open(config)
        if exact:  # TensorFlow's TF32, which is on by default, would be HF32 on an Atlas A2
            tf.config.experimental.enable_tensor_float_32_execution(False)
        return Session(config, "npu", config.precision_mode, rank, world_size)

    rank, addresses = cluster(os.environ) if config.workers else (0, [])
    if not (config.data_dump_step.isdigit() and int(config.data_dump_step) > 0):
        raise UserError(f"--data_dump_step {config.data_dump_step} is not a whole number of at least 1")
    if rank == 0 and (config.over_dump or config.data_dump_flag or config.profiling):
        os.makedirs(config.dump_path, exist_ok=True)
    gpus = tf.config.list_physical_devices("GPU")
    if config.device == "gpu" and not gpus:
        raise UserError("--device gpu: TensorFlow sees no GPU here; install its CUDA build or use --device cpu")
    device = "gpu" if gpus and config.device != "cpu" else "cpu"
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        # Fusing an activation into the convolution before it fails in train steps, loudly, and gains nothing.
        tf.config.optimizer.set_experimental_options({"remapping": False})
    else:
        if len(addresses) > 1:
            gpus = [local_gpu(gpus, rank, addresses)]
            tf.config.set_visible_devices(gpus, "GPU")
        if exact:
            tf.config.experimental.enable_tensor_float_32_execution(False)
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    strategy = None
    if len(addresses) > 1:  # before anything is computed; variables are made outside of its scope, a copy a worker
        notice(f"one of {len(addresses)} workers: waiting for the others")
        strategy = tf.distribute.MultiWorkerMirroredStrategy()

    policy = getattr(PRECISION_MODES[config.precision_mode], device)
    if policy == "mixed_bfloat16" and device == "cpu" and not cpu_has_bfloat16():
        notice(
            f"--precision_mode {config.precision_mode}: this CPU or TensorFlow {tf.__version__} has no bfloat16 "
            "convolutions; computing in float32"
        )
        policy = "float32"
    keras.mixed_precision.set_global_policy(policy)
    if config.deterministic:
        make_deterministic()
    if config.over_dump:
        tf.debugging.enable_check_numerics()
    for flag in NPU_ONLY:
        if getattr(config, flag):
            notice(f"--{flag} tunes the NPU's graph engine; on a {device} there is nothing for it to do")
    return Session(config, device, policy, rank, max(1, len(addresses)), strategy)


def local_gpu(gpus: Sequence[Any], rank: int, addresses: Sequence[str]) -> Any:
    """The GPU of this worker: as many-th of its machine's as the worker is of the machine's workers.

    Raises:
        UserError: there are fewer GPUs than workers.
    """
    hosts = [address.rpartition(":")[0] for address in addresses]
    here, place = hosts.count(hosts[rank]), hosts[:rank].count(hosts[rank])
    if here > len(gpus):
        raise UserError(
            f"{here} workers on {hosts[rank]}, but TensorFlow sees {len(gpus)} GPUs: give --rank_size={len(gpus)}, or "
            "--device=cpu"
        )
    return gpus[place]


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 and TensorFlow has convolutions for it (2.6 has none)."""
    if tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 12):
        return False
    try:
        with open("/proc/cpuinfo") as file:
            flags = file.read()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def make_deterministic() -> None:
    """Asks TensorFlow for kernels that give the same bits in every run."""
    if hasattr(tf.config.experimental, "enable_op_determinism"):
        tf.config.experimental.enable_op_determinism()
    else:  # TensorFlow 2.6
        os.environ["TF_DETERMINISTIC_OPS"] = "1"


def set_seed(seed: int) -> None:
    """Seeds what draws initial weights: TensorFlow, NumPy and Python (from which Keras 3 takes its seeds)."""
    random.seed(seed)
    np.random.seed(seed)
    tf.random.set_seed(seed)
