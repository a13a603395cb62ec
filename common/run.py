"""One training run in one folder: checkpoints and exact resume, log, TensorBoard, stop signals, result files."""

import argparse
import hashlib
import json
import math
import os
import platform
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from common import cli, run_folder, weights
from common.cli import TrainingError, UserError
from common.run_folder import Claim, claim, options_of  # noqa: F401  (a train.py takes all of a run from here)
from common.session import Session

KEPT_CHECKPOINTS = 3
PROFILED_STEPS = (2, 12)  # of the process' own, when all graphs are made
GROWN = 1e6  # times its first value: a loss that is told at the end


def add_run_flags(parser: argparse.ArgumentParser, output_path: str) -> argparse._ArgumentGroup:
    """Adds the flags that every model's run has."""
    group = parser.add_argument_group("run")
    group.add_argument("--output_path", default=output_path, metavar="DIR", help="everything the run leaves behind")
    text = "begin with the networks of this file or run's folder"
    group.add_argument("--ckpt_path", metavar="PATH", help=text)
    group.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="initial weights, order, noise")
    cli.add_boolean(group, "--evaluate", True, "measure on held-out data at the end")
    cli.add_boolean(group, "--overwrite", False, "start anew; the run in --output_path is moved aside first")
    cli.add_boolean(group, "--allow_changed_data", False, "go on although the data's files are others now")
    return group


class Run:
    """A run under way. Used as a context, in which it continues, saves, logs and answers signals.

    Of several workers the first one, the chief, writes all files; the others keep a log each, and nothing is ever `due`
    with them.

    Args:
        held: the folder, from `claim`.
        total_steps: where the run ends.
        state: what a checkpoint holds: {"generator": named variables, "d_optimizer": its state, ...}.
        cycle: how many kinds of step (a discriminator's, a generator's) take turns: their times are averaged.
        about: what else the checkpoints tell of the model, as JSON: what it takes to use it without the training data.
        data: the files that are trained on, part of what defines the run.
        start: called where the run begins and has no `--ckpt_path`: gives `state` other first values.

    Attributes:
        step: how many steps are done.
    """

    def __init__(
        self,
        held: Claim,
        session: Session,
        total_steps: int,
        state: dict[str, Any],
        cycle: int = 1,
        about: Optional[dict[str, Any]] = None,
        data: Optional[Iterable[Any]] = None,
        start: Optional[Callable[[], None]] = None,
    ) -> None:
        self.claim, self.args, self.network, self.folder = held, held.args, held.network, held.folder
        self.session, self.total_steps, self.cycle, self.chief = session, total_steps, cycle, session.chief
        self.variables = dict(_flat(state))
        self.about, self.start = dict(about or {}), start
        self.data = run_folder.fingerprint(data) if data is not None and self.chief else None
        self.checkpoints = Path(getattr(self.args, "checkpoint_dir", None) or self.path("checkpoints"))
        self.step = 0
        self._saved: Optional[int] = None
        self._signal: Optional[int] = None
        self._stopping = False
        self._metrics: dict[str, tf.Tensor] = {}
        self._history: list[dict[str, Any]] = []
        self._step_seconds: list[float] = []
        self._record: dict[str, Any] = {"seconds": 0.0}
        self._told_skipped = 0
        self._log: Any = None
        self._profiled = False
        # An NPU makes a graph of each eager operation, so all are in one; elsewhere making that graph takes seconds.
        self._at_once = tf.function if session.device == "npu" else lambda function: function
        self._read = self._at_once(lambda: [tf.identity(variable) for variable in self.variables.values()])

    def path(self, *parts: str) -> str:
        """A path in the run's folder."""
        return os.path.join(self.folder, *parts)

    def __enter__(self) -> "Run":
        if self.chief:
            self._open_log(os.environ.get("ASCEND_DEVICE_ID", "0"))
            self._restore()
        step = tf.Variable(self.step, dtype=tf.int64)
        self.session.broadcast([step, *self.variables.values()])
        self.step = int(step)  # the chief's, which alone reads checkpoints
        if not self.chief:
            self._open_log(self.session.rank)
        self._first_step = self.session.step = self.step
        if self.chief:
            self._start_tensorboard()
        self._writer = tf.summary.create_file_writer(self.path("tensorboard")) if self.chief else None
        hidden = not (self.chief and sys.stderr.isatty())
        self._bar = tqdm(total=self.total_steps, initial=self.step, unit="step", disable=hidden)
        signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        signals = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup wants it
        self._handlers = {number: signal.signal(number, self._on_signal) for number in signals}
        self._started = self._mark = time.perf_counter()
        self._earlier_seconds = self._record["seconds"]
        self._unmarked_steps = 0
        return self

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._end_profile()
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
        told = self.session.explain(error) if isinstance(error, Exception) else None
        if self._log is not None:
            if isinstance(told or error, (UserError, TrainingError)):
                self._log.write(f"[Error] {told or error}\n")
            elif isinstance(error, Exception):
                self._log.write("".join(traceback.format_exception(kind, error, trace)))
            self._log.close()
        if told:
            raise told from None

    # Checkpoints.

    def _restore(self) -> None:
        """Goes on from this folder's newest whole checkpoint, else begins with `--ckpt_path`, `start` or nothing."""
        try:
            files = weights.checkpoints(self.checkpoints)
        except UserError:
            files = []
        for file in files:
            try:
                record, arrays = weights.read(file)
            except weights.Damage as error:
                os.rename(file, file.with_name(f"damaged-{file.name}"))
                self.log(f"[Warning] {error}: set aside, trying the one before")
                continue
            if not isinstance(record.get("seconds"), float):
                raise UserError(f"{file} is no checkpoint of a run; give another --output_path to start anew")
            self._check_data(record.get("data"))
            self._assign(file, arrays, self.variables)
            self._record, self.step, self._saved = record, record["step"], record["step"]
            self._history = [row for row in self._read_history() if row["step"] <= self.step]
            run_folder.write_whole(self.path("metrics.jsonl"), "".join(json.dumps(row) + "\n" for row in self._history))
            self.log(f"[Info] continuing the unfinished run in {self.folder} from step {self.step}")
            for change in self.claim.changed:
                self.log(f"[Info] from step {self.step} on: {change}")
            return
        if files:
            self.log(f"[Warning] no checkpoint in {self.folder} is whole: starting anew")
        if os.path.exists(self.path("metrics.jsonl")):
            os.rename(self.path("metrics.jsonl"), self.path(f"metrics.{run_folder.now()}.jsonl"))
        if self.args.ckpt_path:
            file = weights.checkpoints(self.args.ckpt_path)[0]
            loaded = weights.load(file, self.network, "")
            # Without the optimizers: a new run is at the start of its own learning rate's schedule.
            networks = {k: v for k, v in self.variables.items() if not k.split("/")[0].endswith("optimizer")}
            self._assign(file, loaded.tensors, {name: v for name, v in networks.items() if name in loaded.tensors})
            lacking = {name.split("/")[0] for name in networks} - {name.split("/")[0] for name in loaded.tensors}
            lacks = ", ".join(f"no {name}" for name in sorted(lacking) if not name.startswith("ema_"))
            self.log(f"[Info] starting from {file}{lacks and f', which has {lacks}: untrained'}")
        elif self.start is not None:
            self.start()

    def _assign(self, file: Path, arrays: dict[str, np.ndarray], variables: dict[str, tf.Variable]) -> None:
        """Gives variables the arrays of their names."""
        for name, variable in variables.items():
            if name not in arrays or arrays[name].shape != tuple(variable.shape):
                raise UserError(f"{file} is of another model or of other sizes; give another --output_path")
        if not variables:
            raise UserError(f"{file} holds none of this model's networks")
        values = [tf.constant(arrays[name], variable.dtype) for name, variable in variables.items()]

        def assign(new):
            for variable, value in zip(variables.values(), new):
                variable.assign(value)

        self._at_once(assign)(values)

    def _check_data(self, before: Optional[dict[str, Any]]) -> None:
        """Refuses to go on with other data than the run began with."""
        if not before or not self.data or before == self.data:
            return
        if before["content"] == self.data["content"]:
            self.log("[Info] the data's files have other times than before, the same names and sizes")
            return
        told = (
            f"the data's files are others than this run began with ({before['files']} then, {self.data['files']} now)"
        )
        if not self.args.allow_changed_data:
            raise UserError(f"{told}.\nGive the old ones, another --output_path, or --allow_changed_data to go on.")
        self.log(f"[Warning] {told}")

    def save(self, keep: Optional[str] = None) -> None:
        """Writes a checkpoint of this step; older ones go only when it is on disk.

        Args:
            keep: also keep it for good, in a folder of this name beside the others.
        Raises:
            TrainingError: a weight is no longer a finite number.
            UserError: the checkpoint cannot be written.
        """
        if not self.chief or (self._saved == self.step and keep is None):
            return
        arrays = {name: value.numpy() for name, value in zip(self.variables, self._read())}
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise TrainingError(self._not_finite(name))
        more = {"seconds": self._seconds(), "step_seconds": self._steady() or 0.0, "data": self.data}
        options = json.loads(json.dumps(options_of(self.args)))
        try:
            for folder in (self.checkpoints, *([self.checkpoints / keep] if keep else [])):
                file = folder / f"ckpt-{self.step}{weights.ENDING}"
                weights.save(file, self.network, arrays, options, self.about, self.step, **more)
            kept = weights.checkpoints(self.checkpoints)[:KEPT_CHECKPOINTS]
            for old in run_folder.names(self.checkpoints):  # our own alone, and what kills have left
                if re.fullmatch(r"ckpt-\d+\.safetensors(\.tmp)?", old) and self.checkpoints / old not in kept:
                    os.remove(self.checkpoints / old)
        except OSError as error:
            last = "" if self._saved is None else f" It continues from step {self._saved}."
            raise UserError(
                f"--output_path {self.folder}: the checkpoint of step {self.step} cannot be written "
                f"({error.strerror}).\nMend that and repeat the command.{last}"
            ) from None
        self._saved = self.step

    # One step after another.

    def steps(self) -> Iterator[int]:
        """The numbers of the steps still to do. What the loop does after `end_step` is not counted as training time."""
        while self.step < self.total_steps:
            if not self._unmarked_steps:
                self._mark = time.perf_counter()
            self._profile()
            yield self.step
            if self._stopping:  # here, when the loop has logged and saved what was due after the step
                self._stop()
        self._end_profile()  # a profile shows steps alone
        if self.session.world_size > 1:
            self.session.agree(0)  # the last checkpoint is written when anyone goes on
            self.log(f"[Info] worker {self.session.rank}: weights {self._digest()} after step {self.step}")

    def _stop(self) -> None:
        number = self._signal or signal.SIGTERM  # or another worker got it
        self.save()
        self.log(f"[Info] stopped by signal {number:d} after step {self.step}: the same command continues from here")
        self._wait_for_chief()
        raise SystemExit(128 + number)

    def end_step(self, metrics: dict[str, tf.Tensor]) -> None:
        """Counts a step and takes its time; a signal that came meanwhile ends the loop with this step.

        Args:
            metrics: the step's named scalars; read only where the time has to be taken.
        """
        self.step += 1
        self.session.step = self.step
        self._metrics = metrics
        self._unmarked_steps += 1
        self._bar.update()
        # A CPU returns when the step is done. Other devices return at once, so their time is taken where the loop waits
        # for them anyway, as a mean over the steps since.
        if self.session.device == "cpu" or self.step - self._first_step in (1, 10):
            self._take_time()
        self._stopping = self.session.stopping(last=self.step == self.total_steps)

    def due(self, every: int) -> bool:
        """Whether something done every so many steps, and after the last one, is to be done now: by the chief alone."""
        due = self.chief and every > 0 and (self.step % every == 0 or self.step == self.total_steps)
        if due:
            self._take_time()  # so that what is done is not counted as the steps'
        return due

    def fetch(self, metrics: dict[str, tf.Tensor]) -> dict[str, float]:
        """The step's scalars as numbers; under a dynamic loss scale with it and the updates skipped so far.

        Raises:
            TrainingError: one of them is not finite, or nothing but overflows comes.
        """
        values = {name: float(value) for name, value in metrics.items()}
        self._take_time()
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        skipped = self._skipped_updates()
        if broken and not skipped.get("skipped_in_a_row"):
            raise TrainingError(self._not_finite(", ".join(broken)))
        if skipped:
            values.update(loss_scale=skipped["loss_scale"], skipped=skipped["skipped"])
            if skipped["skipped"] > self._told_skipped:
                self._told_skipped = skipped["skipped"]
                self.log(
                    f"[Info] step {self.step}: {skipped['skipped']} updates skipped so far for overflow, "
                    f"loss scale {skipped['loss_scale']:g}"
                )
        return values

    def _skipped_updates(self) -> dict[str, float]:
        """Of all dynamic loss scales: the least scale, the updates left out so far and the longest row of them.

        Raises:
            TrainingError: no scale helps any more.
        """
        states = [optimizer.loss_scale.state for optimizer in self.session.optimizers if optimizer.loss_scale.state]
        if not states:
            return {}
        found = self._at_once(lambda: [{name: tf.identity(v) for name, v in state.items()} for state in states])()
        found = [{name: value.numpy().item() for name, value in state.items()} for state in found]
        if any(state["hopeless"] for state in found):
            raise TrainingError(self._not_finite("a loss or gradient, whatever the loss scale,"))
        return {
            "loss_scale": min(state["scale"] for state in found),
            "skipped": sum(state["skipped"] for state in found),
            "skipped_in_a_row": max(state["skipped_in_a_row"] for state in found),
        }

    def _take_time(self) -> None:
        if not self._unmarked_steps:
            return
        for value in self._metrics.values():
            float(value)  # waits for the device
            break
        now = time.perf_counter()
        self._step_seconds += [(now - self._mark) / self._unmarked_steps] * self._unmarked_steps
        self._mark, self._unmarked_steps = now, 0

    def step_seconds(self) -> float:
        """Steady seconds a step: the median without the first ten steps (under twenty: without the first)."""
        return self._steady() or self._record.get("step_seconds") or math.nan  # continued from its last step

    def _steady(self) -> Optional[float]:
        times = self._step_seconds[10 if len(self._step_seconds) >= 20 else 1 :] or self._step_seconds
        if not times:
            return None
        rounds = len(times) // self.cycle
        turns = np.reshape(times[: rounds * self.cycle], [rounds, -1]).mean(1) if rounds else np.mean(times)
        return float(np.median(turns))

    def _profile(self) -> None:
        """Off the NPU, which profiles by itself: opens and closes the trace of a few steps."""
        if not (self.session.config.profiling and self.session.device != "npu" and self.chief):
            return
        own = self.step - self._first_step
        if own == PROFILED_STEPS[0]:
            tf.profiler.experimental.start(self.session.config.dump_path)
            self._profiled = True
        elif own >= PROFILED_STEPS[1]:
            self._end_profile()

    def _end_profile(self) -> None:
        if self._profiled:
            tf.profiler.experimental.stop()
            self._profiled = False

    # What it says.

    def log(self, text: str) -> None:
        """A line in this worker's log, and of the chief on stdout."""
        if self.chief:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        if self._log is not None:
            self._log.write(text + "\n")

    def scalars(self, group: str, values: dict[str, float]) -> None:
        """Numbers of this step for TensorBoard and `metrics.jsonl`; what is not finite is null there."""
        if self.chief:
            row = {"step": self.step, **{f"{group}/{name}": run_folder.finite(value) for name, value in values.items()}}
            self._history.append(row)
            with open(self.path("metrics.jsonl"), "a") as file:
                file.write(json.dumps(row) + "\n")
            with self._writer.as_default():
                for name, value in values.items():
                    tf.summary.scalar(f"{group}/{name}", value, self.step)

    def images(self, name: str, images: np.ndarray) -> None:
        """Images (uint8 [n, h, w, c]) of this step for TensorBoard."""
        if self.chief:
            with self._writer.as_default():
                tf.summary.image(name, images, self.step, max_outputs=len(images))

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file in the run's folder."""
        if self.chief:
            run_folder.write_whole(self.path(name), run_folder.to_json(value))

    # The end.

    def finish(
        self,
        losses: Sequence[str],
        metrics: dict[str, float],
        baseline: dict[str, Any],
        accuracy: Optional[float] = None,
        accuracy_name: str = "",
        examples: Optional[str] = None,
    ) -> dict[str, Any]:
        """Writes the result files, prints the final block and returns what `result.json` holds; the other workers wait.

        Args:
            losses: names in the history ("train/d_loss", ...) of the losses that the result files list.
            metrics, baseline: the held-out metrics, and the same of the trivial answers.
            accuracy: the one number that "Final Train Accuracy" shows; None where nothing was evaluated.
            accuracy_name: what that is: "SSIM on 14 held-out images".
            examples: path of the newest sheet of examples.
        Raises:
            TrainingError: every update was skipped, so nothing was trained.
        """
        args, seconds, world = self.args, self.step_seconds(), self.session.world_size
        skipped = self._skipped_updates()
        if skipped and skipped["skipped_in_a_row"] >= self.step > 0:
            raise TrainingError(self._not_finite("every gradient"))
        rows = [row for row in self._history if all(row.get(name) is not None for name in losses)]
        last = {name: rows[-1][name] if rows else None for name in losses}
        for name in losses:
            if rows and abs(rows[-1][name]) > GROWN * max(1e-3, abs(rows[0][name])):
                self.log(f"[Warning] {name} grew from {rows[0][name]:g} to {rows[-1][name]:g}: the training diverged")
        result = {
            "network": self.network,
            "device": self.session.device,
            "precision": self.session.precision,
            "batch_size": args.batch_size,
            "rank_size": world,
            "case_name": f"{self.network}_bs{args.batch_size}_{world}p_{'acc' if args.evaluate else 'perf'}",
            "train_steps": self.step,
            "sec_per_step": seconds,
            "images_per_sec": args.batch_size / seconds,
            "e2e_sec": self._seconds(),
            "loss": last,
            "skipped_updates": skipped.get("skipped", 0),
            "metrics": metrics,
            "baseline": baseline,
            "accuracy": accuracy,
            "accuracy_name": accuracy_name,
            "seed": args.seed,
            "examples": examples,
            "versions": {"python": platform.python_version(), "tensorflow": tf.__version__},
            "options": options_of(args),
        }
        result = json.loads(run_folder.to_json(result))
        if self.chief:
            self._write_zoo_files(result, rows, losses)
            run_folder.print_final(result, self.log)
            self.write_json("result.json", result)  # last: it says that the run is finished
        self._wait_for_chief()
        return result

    def _write_zoo_files(self, result: dict[str, Any], rows: list[dict], losses: Sequence[str]) -> None:
        """The files that the zoo's tools read: `<case>.log` and `<case>_loss.txt`."""
        fields = {
            "Network": self.network,
            "RankSize": result["rank_size"],
            "BatchSize": result["batch_size"],
            "DeviceType": platform.machine(),
            "CaseName": result["case_name"],
            "ActualFPS": run_folder.number(result["images_per_sec"], 2),
            "TrainingTime": run_folder.number(result["sec_per_step"], 6),
            **{f"ActualLoss{i or ''}": run_folder.number(value, 6) for i, value in enumerate(result["loss"].values())},
            "TrainAccuracy": run_folder.number(result["accuracy"], 4),
            "E2ETrainingTime": run_folder.number(result["e2e_sec"], 0),
        }
        case = self.path(result["case_name"])
        run_folder.write_whole(f"{case}.log", "".join(f"{key} = {value}\n" for key, value in fields.items()))
        run_folder.write_whole(f"{case}_loss.txt", "".join(f"{row[losses[0]]:.6f}\n" for row in rows))

    # Below: small things of its own.

    def _open_log(self, number: Any) -> None:
        if not os.environ.get("MODELARTS_MODEL_PATH"):  # there the platform keeps the log
            os.makedirs(self.folder, exist_ok=True)  # on another machine than the chief's
            self._log = open(self.path(f"train_{number}.log"), "a", buffering=1)  # noqa: SIM115

    def _wait_for_chief(self) -> None:
        """Holds the other workers until the first one comes, however long it works alone.

        Not on an NPU, whose collectives have a time limit. There the others go their way, since nothing there asks
        whether they are alive.
        """
        if self.session.device != "npu":
            self.session.agree(0)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._signal is not None or self.step >= self.total_steps:  # asked twice, or no step will end any more
            raise SystemExit(128 + number)
        self._signal, self.session.asked_to_stop = number, True
        print("[Info] stopping after this step", file=sys.stderr, flush=True)

    def _digest(self) -> str:
        """Of all weights and statistics: the same on all workers, and on no two of different ones."""
        digest = hashlib.sha256()
        for name, value in zip(self.variables, self._read()):
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()[:16]

    def _seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._started

    def _not_finite(self, what: str) -> str:
        kept = "" if self._saved is None else f"; the checkpoint of step {self._saved} stays"
        return (
            f"{what} is no longer a finite number at step {self.step}{kept}.\n"
            "The same command with a smaller learning rate or "
            f"--precision_mode={self.session.precision_without_overflow} goes on; --over_dump finds the operation."
        )

    def _read_history(self) -> list[dict[str, Any]]:
        rows = []
        if os.path.exists(self.path("metrics.jsonl")):  # else the checkpoints are of a run in another folder
            with open(self.path("metrics.jsonl")) as file:
                for line in file:
                    try:
                        rows.append(json.loads(line))
                    except ValueError:  # the line that a kill cut short
                        break
        return rows

    def _start_tensorboard(self) -> None:
        """Tells TensorBoard to forget what it saw after this step, which is trained again. Also of a new run, since it
        takes the first such mark for the begin."""
        with tf.Graph().as_default():
            writer = tf.compat.v1.summary.FileWriter(self.path("tensorboard"))
        start = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
        writer.add_session_log(start, self.step + 1)
        writer.close()


def _flat(state: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, tf.Variable]]:
    """The variables in nested dictionaries, each with its path."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
