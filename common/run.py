"""One training run in one folder: checkpoints and exact resume, log, TensorBoard, stop signals, result files."""

import argparse
import datetime
import fcntl
import glob
import hashlib
import json
import math
import os
import platform
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from common import cli, workers
from common.checkpoint import DAMAGE, MISMATCH, Record, find_checkpoints, load_checkpoint, without_optimizers
from common.cli import TrainingError, UserError
from common.session import Session

KEPT_CHECKPOINTS = 3


def add_run_flags(parser: argparse.ArgumentParser, output_path: str) -> argparse._ArgumentGroup:
    """Adds the flags that every model's run has."""
    group = parser.add_argument_group("run")
    group.add_argument("--output_path", default=output_path, metavar="DIR", help="everything the run leaves behind")
    text = "begin with the networks of this checkpoint (a file, or a run's folder)"
    group.add_argument("--ckpt_path", metavar="PATH", help=text)
    group.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="initial weights, order, noise")
    cli.add_boolean(group, "--evaluate", True, "measure on held-out data at the end")
    return group


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options that make a run what it is: all but where it is written and how it goes on."""
    return {name: value for name, value in sorted(vars(args).items()) if name not in ("output_path", "continue_train")}


def claim_output(args: argparse.Namespace) -> None:
    """Makes `--output_path` this run's folder; call it before the session, whose dumps go there too.

    A finished run there is moved aside to `<folder>.<time>`; an unfinished one of the same options will be continued.
    A model that has `--continue_train` may ask for another thing: True continues also a finished run and one of other
    options, False moves either aside. Checkpoints in a `--checkpoint_dir` of their own go where their run goes. Of
    several workers the first one does all this.

    Raises:
        UserError: the folder cannot be written, is in use, or holds an unfinished run of other options; or
            `--checkpoint_dir` holds another run's checkpoints.
    """
    claim_output.lock = None
    if not workers.is_chief(getattr(args, "device", "auto")):
        return
    folder = os.path.abspath(args.output_path)
    go_on, checkpoint_dir = getattr(args, "continue_train", None), getattr(args, "checkpoint_dir", None)
    finished, begun = (os.path.join(folder, name) for name in ("result.json", "options.json"))
    now = f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
    try:
        _lock(folder)
        if os.path.exists(finished) and go_on:
            os.rename(finished, os.path.join(folder, f"result.{now}.json"))
        elif os.path.exists(finished) or (os.path.exists(begun) and go_on is False):
            which = "finished" if os.path.exists(finished) else "unfinished"
            its_own = _read_options(begun).get("checkpoint_dir") == checkpoint_dir
            os.rename(folder, f"{folder}.{now}")
            print(f"[Info] the {which} run in {folder} is now in {folder}.{now}", flush=True)
            if checkpoint_dir and its_own and os.path.isdir(checkpoint_dir):
                aside = f"{os.path.abspath(checkpoint_dir)}.{now}"
                os.rename(checkpoint_dir, aside)
                print(f"[Info] its checkpoints in {checkpoint_dir} are now in {aside}", flush=True)
            _lock(folder)
    except BlockingIOError:
        raise UserError(f"--output_path {folder}: another run is writing there now; choose another folder") from None
    except OSError as error:
        raise UserError(f"--output_path {folder} cannot be written: {error.strerror}") from None

    if go_on:
        return
    before = _read_options(begun)
    if not before and checkpoint_dir and glob.glob(os.path.join(glob.escape(checkpoint_dir), "ckpt-*.index")):
        raise UserError(
            f"--checkpoint_dir {checkpoint_dir} holds the checkpoints of another run.\n"
            "Give another folder, or --continue_train=True to go on from the newest of them."
        )
    asked = json.loads(json.dumps(options_of(args)))
    known = [name for name in asked if name in before]  # an option that is newer than the run changes nothing
    changed = [f"--{name} {before[name]}, now {asked[name]}" for name in known if before[name] != asked[name]]
    if before and changed:
        raise UserError(
            f"--output_path {folder} holds an unfinished run of other options ({'; '.join(changed)}).\n"
            "Repeat that run's options to continue it, or give another --output_path to start a new one."
        )


def _lock(folder: str) -> None:
    """Makes a folder and holds it until the process ends, however it ends: two runs never write into one."""
    os.makedirs(folder, exist_ok=True)
    claim_output.lock = open(os.path.join(folder, "run.lock"), "w")  # noqa: SIM115
    fcntl.flock(claim_output.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _read_options(file: str) -> dict[str, Any]:
    """A run's options.json; empty where there is none, or none whole: nothing was trained yet when a kill cut it."""
    try:
        with open(file) as text:
            return json.load(text)
    except (FileNotFoundError, ValueError):
        return {}


class Run:
    """A run under way. Used as a context, in which it continues, saves, logs and answers signals.

    Of several workers the first one, the chief, writes all files; the others keep a log each, and nothing is ever `due`
    with them.

    Args:
        network: the model's name, for the result files.
        total_steps: where the run ends.
        state: what a checkpoint holds: {"generator": named variables, "d_optimizer": its state, ...}.
        cycle: how many kinds of step (a discriminator's, a generator's) take turns: their times are averaged.
        about: what else the checkpoints tell of the model, as JSON: what it takes to use it without the training data.

    Attributes:
        step: how many steps are done.
    """

    def __init__(
        self,
        session: Session,
        args: argparse.Namespace,
        network: str,
        total_steps: int,
        state: dict[str, Any],
        cycle: int = 1,
        about: Optional[dict[str, Any]] = None,
    ) -> None:
        self.cycle = cycle
        self.session, self.args, self.network, self.total_steps, self.state = session, args, network, total_steps, state
        self.folder = os.path.abspath(args.output_path)
        self.checkpoints = getattr(args, "checkpoint_dir", None) or self.path("checkpoints")
        self.chief = session.chief
        self.step = 0
        self._record = Record(about=about or {}, options=options_of(args), step=0, seconds=0.0)
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(record=self._record, **state),
            self.checkpoints,
            KEPT_CHECKPOINTS,
            checkpoint_name="ckpt",
        )
        self._signal: Optional[int] = None
        self._history: list[dict[str, float]] = []
        self._step_seconds: list[float] = []
        self._log: Any = None

    def path(self, *parts: str) -> str:
        """A path in the run's folder."""
        return os.path.join(self.folder, *parts)

    def __enter__(self) -> "Run":
        if self.chief:
            self._open_log(os.environ.get("ASCEND_DEVICE_ID", "0"))
            self._restore()
        step = tf.Variable(self.step, dtype=tf.int64)
        self.session.broadcast([step, *(variable for _, variable in _flat(self.state))])
        self.step = int(step)  # the chief's, which alone reads checkpoints
        if not self.chief:
            self._open_log(self.session.rank)
        self._first_step = self.step
        self.write_json("options.json", options_of(self.args))
        self._writer = tf.summary.create_file_writer(self.path("tensorboard")) if self.chief else None
        hidden = not (self.chief and sys.stderr.isatty())
        self._bar = tqdm(total=self.total_steps, initial=self.step, unit="step", disable=hidden)
        self._handlers = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        self._started = self._mark = time.perf_counter()
        self._earlier_seconds = self._record.values["seconds"]
        self._unmarked_steps = 0
        self.session.begin_step(self.step, self._first_step)
        return self

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self.session.close()
        self._bar.close()
        if self._writer is not None:
            self._writer.close()
        found = error and (self.session.overflow(error) or self.session.lost_worker(error))
        error = found or error
        if self._log is not None:
            if isinstance(error, (UserError, TrainingError)):
                self._log.write(f"[Error] {error}\n")
            elif isinstance(error, Exception):
                self._log.write("".join(traceback.format_exception(kind, error, trace)))
            self._log.close()
        if found:
            raise found from None

    # Checkpoints.

    def _restore(self) -> None:
        """Continues from this folder's newest whole checkpoint, else starts from `--ckpt_path`, else from nothing."""
        try:
            prefixes = find_checkpoints(self.checkpoints)
        except UserError:
            prefixes = []
        for prefix in prefixes:
            try:
                self._manager.checkpoint.read(prefix).assert_existing_objects_matched().expect_partial()
            except MISMATCH:
                raise UserError(
                    f"{prefix} is of another model or of other sizes; give another --output_path to start anew"
                ) from None
            except DAMAGE as error:
                for file in glob.glob(glob.escape(prefix) + ".*"):
                    os.rename(file, os.path.join(os.path.dirname(file), "damaged-" + os.path.basename(file)))
                self.log(f"[Warning] {prefix} is damaged ({type(error).__name__}): set aside, trying the one before")
                continue
            self.step = self._record.values["step"]
            self._history = [row for row in self._read_history() if row["step"] <= self.step]
            self._write_text("metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self._history))
            self.log(f"[Info] continuing the unfinished run in {self.folder} from step {self.step}")
            return
        if prefixes:
            self.log(f"[Warning] no checkpoint in {self.folder} is whole: starting anew")
        self._write_text("metrics.jsonl", "")
        if self.args.ckpt_path:
            self.log(f"[Info] starting from {load_checkpoint(self.args.ckpt_path, **without_optimizers(self.state))}")

    def save(self, keep: Optional[str] = None) -> None:
        """Writes a checkpoint of this step; older ones go only when it is whole.

        Args:
            keep: also keep it for good, in a folder of this name beside the others.
        Raises:
            TrainingError: a weight is no longer a finite number; the last good checkpoint stays.
            UserError: the disk is full or cannot be written; the last good checkpoint stays.
        """
        if not self.chief:
            return
        for name, variable in _flat(self.state):
            if variable.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(variable))):
                raise TrainingError(self._not_finite(name))
        self._record.values.update(step=self.step, seconds=self._seconds(), step_seconds=self.step_seconds())
        try:
            prefix = self._manager.save(checkpoint_number=self.step)
            for file in sorted(glob.glob(glob.escape(prefix) + ".*")) if keep else []:  # .index last
                os.makedirs(os.path.join(self.checkpoints, keep), exist_ok=True)
                shutil.copy(file, os.path.join(self.checkpoints, keep))
        except (tf.errors.OpError, OSError) as error:
            reason = str(getattr(error, "message", error)).splitlines()[0]
            raise UserError(
                f"--output_path {self.folder}: the checkpoint of step {self.step} cannot be written ({reason}).\n"
                "Make room there and repeat the command: it continues from the checkpoint before."
            ) from None

    # One step after another.

    def steps(self) -> Iterator[int]:
        """The numbers of the steps still to do. What the loop does after `end_step` is not counted as training time."""
        while self.step < self.total_steps:
            if not self._unmarked_steps:
                self._mark = time.perf_counter()
            yield self.step
        self.session.close()  # a profile shows steps alone
        if self.session.world_size > 1:
            self.session.chiefs(0)  # the last checkpoint is written when anyone goes on
            self.log(f"[Info] worker {self.session.rank}: weights {self._digest()} after step {self.step}")

    def end_step(self, metrics: dict[str, tf.Tensor]) -> None:
        """Counts a step, takes its time, and stops here when a signal asked for it.

        Args:
            metrics: the step's named scalars; read only where the time has to be taken.
        """
        self.step += 1
        self._unmarked_steps += 1
        self._bar.update()
        # A CPU returns when the step is done. Other devices return at once, so their time is taken where the loop waits
        # for them anyway, as a mean over the steps since.
        warm_up = self.step - self._first_step in (1, 10)
        if self.session.device == "cpu" or warm_up:
            self._take_time(metrics)
        if self.session.stopping(last=self.step == self.total_steps):
            number = self._signal or signal.SIGTERM  # or another worker got it
            self.save()
            self.log(
                f"[Info] stopped by signal {number:d} after step {self.step}: the same command continues from here"
            )
            self.session.wait_for_chief()
            raise SystemExit(128 + number)
        self.session.begin_step(self.step, self._first_step)

    def due(self, every: int) -> bool:
        """Whether something done every so many steps, and after the last one, is to be done now: by the chief alone."""
        return self.chief and every > 0 and (self.step % every == 0 or self.step == self.total_steps)

    def fetch(self, metrics: dict[str, tf.Tensor]) -> dict[str, float]:
        """The step's scalars as numbers.

        Raises:
            TrainingError: one of them is not finite. (An overflow under a dynamic loss scale is skipped and counted.)
        """
        values = {name: float(value) for name, value in metrics.items()}
        self._take_time(metrics)
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken and not self.session.dynamic_loss_scale:
            raise TrainingError(self._not_finite(", ".join(broken)))
        return values

    def _take_time(self, metrics: dict[str, tf.Tensor]) -> None:
        for value in metrics.values():
            float(value)  # waits for the device
            break
        now = time.perf_counter()
        if self._unmarked_steps:
            self._step_seconds += [(now - self._mark) / self._unmarked_steps] * self._unmarked_steps
        self._mark, self._unmarked_steps = now, 0

    def step_seconds(self) -> float:
        """Steady seconds a step: the median without the first ten steps (under twenty: without the first)."""
        times = self._step_seconds[10 if len(self._step_seconds) >= 20 else 1 :] or self._step_seconds
        if not times:  # continued from its last step
            return self._record.values.get("step_seconds", math.nan)
        rounds = len(times) // self.cycle
        turns = np.reshape(times[: rounds * self.cycle], [rounds, -1]).mean(1) if rounds else np.mean(times)
        return float(np.median(turns))

    # What it says.

    def log(self, text: str) -> None:
        """A line in this worker's log, and of the chief on stdout."""
        if self.chief:
            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        if self._log is not None:
            self._log.write(text + "\n")

    def scalars(self, group: str, values: dict[str, float]) -> None:
        """Numbers of this step for TensorBoard and `metrics.jsonl`."""
        if self.chief:
            row = {"step": self.step, **{f"{group}/{name}": value for name, value in values.items()}}
            self._history.append(row)
            with open(self.path("metrics.jsonl"), "a") as file:
                file.write(json.dumps(row) + "\n")
            with self._writer.as_default():
                for name, value in values.items():
                    tf.summary.scalar(f"{group}/{name}", value, self.step)

    def images(self, name: str, pictures: Any) -> None:
        """Pictures (uint8 [n, h, w, c]) of this step for TensorBoard."""
        if self.chief:
            with self._writer.as_default():
                tf.summary.image(name, pictures, self.step)

    def write_json(self, name: str, value: Any) -> None:
        """A JSON file in the run's folder."""
        self._write_text(name, json.dumps(value, indent=2, sort_keys=True) + "\n")

    # The end.

    def finish(
        self,
        losses: Sequence[str],
        metrics: dict[str, float],
        baseline: dict[str, float],
        accuracy: Optional[float] = None,
        examples: Optional[str] = None,
    ) -> dict[str, Any]:
        """Writes the result files, prints the final block and returns what `result.json` holds; the other workers wait.

        Args:
            losses: names in the history ("train/d_loss", ...) of the losses that the result files list.
            metrics, baseline: the held-out metrics, and the same of the trivial answer.
            accuracy: the one number that "Final Train Accuracy" names; None where nothing was evaluated.
            examples: path of the newest picture.
        """
        args, seconds = self.args, self.step_seconds()
        world = self.session.world_size
        case = f"{self.network}_bs{args.batch_size}_{world}p_{'acc' if args.evaluate else 'perf'}"
        rows = [row for row in self._history if all(name in row for name in losses)]
        last = {name: rows[-1][name] if rows else math.nan for name in losses}
        result = {
            "network": self.network,
            "device": self.session.device,
            "precision": self.session.precision,
            "batch_size": args.batch_size,
            "rank_size": world,
            "case_name": case,
            "train_steps": self.step,
            "sec_per_step": seconds,
            "images_per_sec": args.batch_size / seconds,
            "e2e_sec": self._seconds(),
            "loss": last,
            "metrics": metrics,
            "baseline": baseline,
            "accuracy": accuracy,
            "seed": args.seed,
            "examples": examples,
            "versions": {"python": platform.python_version(), "tensorflow": tf.__version__},
            "options": options_of(args),
        }
        fields = {
            "Network": self.network,
            "RankSize": world,
            "BatchSize": args.batch_size,
            "DeviceType": platform.machine(),
            "CaseName": case,
            "ActualFPS": f"{result['images_per_sec']:.2f}",
            "TrainingTime": f"{seconds:.6f}",
            **{f"ActualLoss{i or ''}": f"{value:.6f}" for i, value in enumerate(last.values())},
            "TrainAccuracy": "not measured" if accuracy is None else f"{accuracy:.4f}",
            "E2ETrainingTime": f"{result['e2e_sec']:.0f}",
        }
        if self.chief:
            self._write_text(f"{case}.log", "".join(f"{key} = {value}\n" for key, value in fields.items()))
            self._write_text(f"{case}_loss.txt", "".join(f"{row[losses[0]]:.6f}\n" for row in rows))
            self.log("------------------ Final result ------------------")
            self.log(f"Final Performance images/sec : {fields['ActualFPS']}")
            self.log(f"Final Performance sec/step : {fields['TrainingTime']}")
            self.log(f"Final Train Accuracy : {fields['TrainAccuracy']}")
            self.log(f"E2E Training Duration sec : {fields['E2ETrainingTime']}")
            self.write_json("result.json", result)  # last: it says that the run is finished
        self.session.wait_for_chief()
        return result

    # Below: small things of its own.

    def _open_log(self, number: Any) -> None:
        if not os.environ.get("MODELARTS_MODEL_PATH"):  # there the platform keeps the log
            os.makedirs(self.folder, exist_ok=True)  # on another machine than the chief's
            self._log = open(self.path(f"train_{number}.log"), "a", buffering=1)  # noqa: SIM115

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._signal is not None or self.step >= self.total_steps:  # asked twice, or no step will end any more
            raise SystemExit(128 + number)
        self._signal, self.session.asked_to_stop = number, True
        print("[Info] stopping after this step", file=sys.stderr, flush=True)

    def _digest(self) -> str:
        """Of all weights and statistics: the same on all workers, and on no two of different ones."""
        digest = hashlib.sha256()
        for name, variable in sorted(_flat(self.state)):
            digest.update(name.encode() + variable.numpy().tobytes())
        return digest.hexdigest()[:16]

    def _seconds(self) -> float:
        return self._earlier_seconds + time.perf_counter() - self._started

    def _not_finite(self, what: str) -> str:
        return (
            f"{what} is no longer a finite number at step {self.step}; the last good checkpoint stays.\n"
            "Try a smaller learning rate, --precision_mode=force_fp32, or --over_dump to find the operation."
        )

    def _read_history(self) -> list[dict[str, float]]:
        rows = []
        if not os.path.exists(self.path("metrics.jsonl")):  # the checkpoints are of a run in another folder
            return rows
        with open(self.path("metrics.jsonl")) as file:
            for line in file:
                try:
                    rows.append(json.loads(line))
                except ValueError:  # the line that a kill cut short
                    break
        return rows

    def _write_text(self, name: str, text: str) -> None:
        """Whole or not at all: under a temporary name first."""
        if self.chief:
            with open(self.path(name + ".tmp"), "w") as file:
                file.write(text)
            os.replace(self.path(name + ".tmp"), self.path(name))


def _flat(state: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, tf.Variable]]:
    """The variables in nested dictionaries, each with its path."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
