"""One run in one folder: who may write there, checkpoints and resume, speed, signals, result files."""

import argparse
import fcntl
import glob
import json
import math
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import tensorflow as tf

from common.checkpoint import Record, checkpoint_record, find_checkpoints, load_checkpoint
from common.cli import TrainingError, UserError
from common.run import Run, claim_output
from common.session import Session, SessionConfig

CPU = SessionConfig(device="cpu", precision_mode="force_fp32")


@pytest.fixture(autouse=True)
def outside_of_jobs(monkeypatch):
    for name in ("MODELARTS_MODEL_PATH", "ASCEND_DEVICE_ID"):
        monkeypatch.delenv(name, raising=False)
    yield
    lock = claim_output.__dict__.pop("lock", None)
    if lock is not None:
        lock.close()


def options(folder, **changes):
    args = argparse.Namespace(output_path=str(folder), ckpt_path=None, seed=0, evaluate=True, batch_size=4, rate=0.1)
    vars(args).update(changes)
    return args


def state(value=0.0, size=2):
    return {"net": {"w": tf.Variable([float(value)] * size)}, "g_optimizer": {"count": tf.Variable(0, dtype=tf.int64)}}


def training(folder, until, total=6, save_every=1, session=None, held=None, at_end=None, **changes):
    """Trains to step `until` of `total`, adding 1 to each weight a step; gives the run and what it held.

    `at_end(run)` is called while the run is still open.
    """
    args, held = options(folder, **changes), held or state()
    claim_output(args)
    run = Run(session or Session(CPU, "cpu", "float32"), args, "Net", total, held)
    with run:
        for step in run.steps():
            if step == until:
                break
            held["net"]["w"].assign_add([1.0] * held["net"]["w"].shape[0])
            held["g_optimizer"]["count"].assign_add(1)
            run.end_step({"loss": tf.constant(float(step))})
            run.scalars("train", {"loss": float(step)})
            if run.due(save_every):
                run.save()
        if at_end:
            at_end(run)
    return run, held


def names(folder):
    return sorted(os.listdir(str(folder)))


def spoil(prefix, kind, how):
    """Damages a checkpoint's index, or its data (TensorFlow 2.6 has two files of it: the larger one)."""
    with open(max(glob.glob(f"{prefix}.{kind}*"), key=os.path.getsize), "r+b") as file:
        content = file.read()
        file.seek(0)
        if how == "truncated":
            file.truncate(len(content) // 2)
        elif how == "empty":
            file.truncate(0)
        else:
            file.write(bytes(byte ^ 255 for byte in content))


# The folder.


def test_a_fresh_folder_is_made(tmp_path, capsys):
    claim_output(options(tmp_path / "deep" / "er"))
    assert names(tmp_path / "deep" / "er") == ["run.lock"] and capsys.readouterr().out == ""


def test_an_unfinished_run_of_the_same_options_goes_on(tmp_path, capsys):
    training(tmp_path / "run", until=3)
    capsys.readouterr()
    run, held = training(tmp_path / "run", until=6)
    assert f"[Info] continuing the unfinished run in {tmp_path / 'run'} from step 3\n" in capsys.readouterr().out
    assert held["net"]["w"].numpy().tolist() == [6.0, 6.0] and held["g_optimizer"]["count"].numpy() == 6


def test_an_unfinished_run_of_other_options_is_refused_with_both_ways_out(tmp_path):
    training(tmp_path / "run", until=3)
    before = {
        name: os.path.getmtime(str(tmp_path / "run" / name)) for name in names(tmp_path / "run") if name != "run.lock"
    }
    with pytest.raises(UserError) as error:
        claim_output(options(tmp_path / "run", rate=0.2, seed=5))
    first, second = str(error.value).splitlines()
    assert "holds an unfinished run of other options (--rate 0.1, now 0.2; --seed 0, now 5)" in first
    assert "Repeat that run's options to continue it" in second and "another --output_path" in second
    for name, changed in before.items():
        assert os.path.getmtime(str(tmp_path / "run" / name)) == changed


def test_a_finished_run_is_moved_aside_whole(tmp_path, capsys):
    training(tmp_path / "run", until=6, at_end=lambda run: run.finish(["train/loss"], {}, {}))
    left = names(tmp_path / "run")
    claim_output(options(tmp_path / "run", rate=0.5))
    [aside] = [name for name in names(tmp_path) if name != "run"]
    assert aside.startswith("run.20") and names(tmp_path / aside) == left and names(tmp_path / "run") == ["run.lock"]
    assert f"the finished run in {tmp_path / 'run'} is now in {tmp_path / aside}" in capsys.readouterr().out


def test_a_folder_in_use_is_refused(tmp_path):
    with open(str(tmp_path / "run.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run is writing there now; choose another folder"):
            claim_output(options(tmp_path))
    claim_output(options(tmp_path))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=f"--output_path {tmp_path / 'file'}/run cannot be written: Not a directory"):
        claim_output(options(tmp_path / "file" / "run"))
    assert (tmp_path / "file").read_text() == "mine"


def test_options_that_a_kill_cut_short_are_no_run(tmp_path):
    (tmp_path / "options.json").write_text('{"seed": ')
    claim_output(options(tmp_path))


# Checkpoints.


def test_three_checkpoints_are_kept_and_found_newest_first(tmp_path):
    training(tmp_path / "run", until=5)
    folder = str(tmp_path / "run" / "checkpoints")
    expected = [os.path.join(folder, f"ckpt-{step}") for step in (5, 4, 3)]
    assert find_checkpoints(str(tmp_path / "run")) == find_checkpoints(folder) == expected
    assert find_checkpoints(expected[1]) == find_checkpoints(expected[1] + ".index") == [expected[1]]
    with pytest.raises(UserError, match="^no checkpoint in .*nowhere: give a run's output folder"):
        find_checkpoints(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("kind", ["index", "data"])
@pytest.mark.parametrize("how", ["truncated", "empty", "garbled"])
def test_a_damaged_newest_checkpoint_is_set_aside_and_the_one_before_used(tmp_path, capsys, kind, how):
    training(tmp_path / "run", until=4)
    spoil(tmp_path / "run" / "checkpoints" / "ckpt-4", kind, how)
    capsys.readouterr()
    run, held = training(tmp_path / "run", until=6)
    said = capsys.readouterr().out
    assert "ckpt-4 is damaged" in said and "set aside, trying the one before" in said and "from step 3\n" in said
    assert held["net"]["w"].numpy().tolist() == [6.0, 6.0]
    left = names(tmp_path / "run" / "checkpoints")
    assert "damaged-ckpt-4.index" in left and {"ckpt-4.index", "ckpt-5.index", "ckpt-6.index"} <= set(left)
    assert find_checkpoints(str(tmp_path / "run"))[0].endswith("ckpt-6")


def test_when_all_are_damaged_the_run_starts_anew_and_says_so(tmp_path, capsys):
    training(tmp_path / "run", until=2)
    for step in (1, 2):
        spoil(tmp_path / "run" / "checkpoints" / f"ckpt-{step}", "index", "truncated")
    _, held = training(tmp_path / "run", until=3)
    assert "is whole: starting anew" in capsys.readouterr().out
    assert held["net"]["w"].numpy().tolist() == [3.0, 3.0]
    left = names(tmp_path / "run" / "checkpoints")
    assert {"damaged-ckpt-1.index", "damaged-ckpt-2.index"} <= set(left)


def test_checkpoints_of_another_model_stop_the_run(tmp_path):
    training(tmp_path / "run", until=2)
    with pytest.raises(UserError, match="ckpt-2 is of another model or of other sizes; give another --output_path"):
        training(tmp_path / "run", until=3, held=state(size=5))
    assert not [name for name in names(tmp_path / "run" / "checkpoints") if name.startswith("damaged")]


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_weights_that_are_no_numbers_are_not_saved(tmp_path, bad):
    held = state()
    run, _ = training(tmp_path / "run", until=2, held=held)
    held["net"]["w"].assign([1.0, bad])
    with pytest.raises(TrainingError, match=r"^net/w is no longer a finite number at step 2; the last good") as error:
        run.save()
    assert "--over_dump" in str(error.value).splitlines()[1]
    assert np.isfinite(
        tf.train.load_checkpoint(find_checkpoints(str(tmp_path / "run"))[0]).get_tensor(
            "net/w/.ATTRIBUTES/VARIABLE_VALUE"
        )
    ).all()


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path):
    held = state(size=100_000)
    run, _ = training(tmp_path / "run", until=2, held=held)
    run.step = 3
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # the write fails, as on a full disk
    try:
        with pytest.raises(UserError) as error:
            run.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    first, second = str(error.value).splitlines()
    assert first.startswith(f"--output_path {tmp_path / 'run'}: the checkpoint of step 3 cannot be written (")
    assert second == "Make room there and repeat the command: it continues from the checkpoint before."
    _, continued = training(tmp_path / "run", until=3, held=state(size=100_000))
    assert continued["net"]["w"].numpy()[0] == 3.0 and continued["g_optimizer"]["count"].numpy() == 3


def test_a_run_starts_from_another_ones_weights(tmp_path, capsys):
    """The optimizers are new: a learning rate follows its schedule from the start."""
    training(tmp_path / "first", until=4)
    run, held = training(tmp_path / "second", until=1, ckpt_path=str(tmp_path / "first"))
    assert run.step == 1 and held["net"]["w"].numpy().tolist() == [5.0, 5.0]
    assert held["g_optimizer"]["count"].numpy() == 1
    assert f"[Info] starting from {tmp_path / 'first' / 'checkpoints' / 'ckpt-4'}" in capsys.readouterr().out


def test_part_of_a_checkpoint_can_be_loaded(tmp_path, capsys):
    training(tmp_path / "run", until=4)
    weight = tf.Variable([0.0, 0.0])
    assert load_checkpoint(str(tmp_path / "run"), net={"w": weight}).endswith("ckpt-4")
    assert weight.numpy().tolist() == [4.0, 4.0]
    spoil(tmp_path / "run" / "checkpoints" / "ckpt-4", "data", "garbled")
    assert load_checkpoint(str(tmp_path / "run"), net={"w": weight}).endswith("ckpt-3")
    assert "ckpt-4 is damaged; trying the one before it" in capsys.readouterr().out
    assert weight.numpy().tolist() == [3.0, 3.0]


@pytest.mark.parametrize("wrong", [{"net": {"w": [0.0] * 3}}, {"net": {"bias": [0.0]}}, {"other": {"w": [0.0, 0.0]}}])
def test_a_checkpoint_of_another_model_is_refused(tmp_path, wrong):
    training(tmp_path / "run", until=1)
    wanted = {group: {name: tf.Variable(value) for name, value in held.items()} for group, held in wrong.items()}
    with pytest.raises(UserError, match="ckpt-1 is a checkpoint of another model or of other sizes$"):
        load_checkpoint(str(tmp_path / "run"), **wanted)


def test_no_whole_checkpoint_to_load(tmp_path):
    training(tmp_path / "run", until=2)
    for step in (1, 2):
        spoil(tmp_path / "run" / "checkpoints" / f"ckpt-{step}", "index", "truncated")
    with pytest.raises(UserError, match="no whole checkpoint in"):
        load_checkpoint(str(tmp_path / "run"), **state())


def test_a_checkpoint_knows_its_options(tmp_path):
    training(tmp_path / "run", until=2, rate=0.25)
    assert checkpoint_record(str(tmp_path / "run"))["options"] == argparse.Namespace(
        ckpt_path=None, seed=0, evaluate=True, batch_size=4, rate=0.25
    )
    spoil(tmp_path / "run" / "checkpoints" / "ckpt-2", "index", "truncated")
    assert checkpoint_record(str(tmp_path / "run"))["options"].rate == 0.25
    tf.train.Checkpoint(w=tf.Variable(1.0)).write(str(tmp_path / "ckpt-1"))
    with pytest.raises(UserError, match="holds no whole checkpoint written by this model's train.py"):
        checkpoint_record(str(tmp_path / "ckpt-1"))


# Metrics and logs.


def test_metrics_end_at_the_restored_step(tmp_path):
    training(tmp_path / "run", until=5, save_every=2)
    with open(str(tmp_path / "run" / "metrics.jsonl"), "a") as file:
        file.write('{"step": 6, "tra')  # cut short by a kill
    run, _ = training(tmp_path / "run", until=6, save_every=2)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": step, "train/loss": float(step - 1)} for step in range(1, 7)]


def test_the_log_holds_what_was_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASCEND_DEVICE_ID", "3")
    training(tmp_path / "run", until=1)
    run, _ = training(tmp_path / "run", until=1)
    said = capsys.readouterr().out
    assert (tmp_path / "run" / "train_3.log").read_text() == said != ""


def test_on_modelarts_the_platform_keeps_the_log(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELARTS_MODEL_PATH", "/home/work")
    training(tmp_path / "run", until=1)
    assert not [name for name in names(tmp_path / "run") if name.startswith("train_")]


def test_an_error_is_in_the_log_and_passes_through(tmp_path):
    run = Run(Session(CPU, "cpu", "float32"), options(tmp_path), "Net", 5, state())
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError("of all things")
    assert "ZeroDivisionError: of all things" in (tmp_path / "train_0.log").read_text()


def test_all_workers_start_where_the_first_one_does(tmp_path):
    """The first worker's values, as a broadcast carries them, put another one (whose folder is empty) at its step."""
    carried = []

    class Worker(Session):
        def broadcast(self, variables):
            if self.rank == 0:
                carried.extend(v.numpy() for v in variables)
            else:
                for variable, value in zip(variables, carried):
                    variable.assign(value)

    training(tmp_path / "first", until=3)
    training(tmp_path / "first", until=3, session=Worker(CPU, "cpu", "float32", rank=0, world_size=2))
    run, held = training(tmp_path / "second", until=5, session=Worker(CPU, "cpu", "float32", rank=1, world_size=2))
    assert len(carried) == 3 and run._first_step == 3
    assert held["net"]["w"].numpy().tolist() == [5.0, 5.0] and held["g_optimizer"]["count"].numpy() == 5


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, dynamic):
    session = Session(CPU, "cpu", "float32")
    session.dynamic_loss_scale = dynamic
    with Run(session, options(tmp_path), "Net", 5, state()) as run:
        metrics = {"d_loss": tf.constant(math.nan), "g_loss": tf.constant(1.0)}
        if dynamic:
            assert run.fetch(metrics)["g_loss"] == 1.0
        else:
            with pytest.raises(TrainingError, match="^d_loss is no longer a finite number at step 0"):
                run.fetch(metrics)


def test_due():
    run = Run.__new__(Run)
    run.total_steps, run.chief = 7, True
    due = {}
    for every in (0, 1, 3, 100):
        due[every] = []
        for run.step in range(1, 8):
            if run.due(every):
                due[every].append(run.step)
    assert due == {0: [], 1: [1, 2, 3, 4, 5, 6, 7], 3: [3, 6, 7], 100: [7]}


# Speed.


def steady(seconds, cycle=1):
    run = Run.__new__(Run)
    run.cycle, run._step_seconds, run._record = cycle, list(seconds), Record()
    return run.step_seconds()


def test_steady_speed_drops_ten_steps_or_one():
    assert steady([9.0] * 10 + [1.0, 2.0, 3.0] * 5) == 2.0
    assert steady([9.0] * 11 + [1.0] * 9) == 1.0  # twenty: one slow step of ten left
    assert steady([100.0] + [1.0] * 9 + [2.0] * 9) == 1.5  # nineteen: the first alone
    assert steady([5.0, 1.0]) == 1.0 and steady([5.0]) == 5.0
    assert math.isnan(steady([]))


def test_steps_that_take_turns_are_averaged():
    assert steady([9.0] * 10 + [1.0, 3.0] * 10, cycle=2) == 2.0
    assert steady([50.0] + [1.0, 3.0] * 5, cycle=2) == 2.0
    assert steady([50.0] + [1.0, 3.0, 1.0], cycle=2) == 2.0  # the last round is not whole
    assert steady([9.0] * 10 + [1.0, 1.0, 4.0] * 6, cycle=3) == 2.0
    assert steady([7.0, 1.0], cycle=3) == 1.0


def test_what_is_done_between_steps_does_not_count(tmp_path):
    with Run(Session(CPU, "cpu", "float32"), options(tmp_path), "Net", 6, state()) as run:
        for _ in run.steps():
            time.sleep(0.002)
            run.end_step({"loss": tf.constant(0.0)})
            time.sleep(0.1)
    assert len(run._step_seconds) == 6 and 0.002 <= run.step_seconds() < 0.1


def test_off_the_cpu_time_is_taken_where_the_loop_waits(tmp_path):
    with Run(Session(CPU, "gpu", "float32"), options(tmp_path), "Net", 30, state()) as run:
        for _ in run.steps():
            run.end_step({"loss": tf.constant(0.0)})
            if run.step in (1, 10, 20):
                run.fetch({"loss": tf.constant(0.0)})
                assert len(run._step_seconds) == run.step
    assert len(run._step_seconds) == 20


# Signals.


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_step_saves_and_exits(tmp_path, capsys, number, status):
    before = signal.getsignal(number)
    held, done = state(), []
    with (
        pytest.raises(SystemExit) as stop,
        Run(Session(CPU, "cpu", "float32"), options(tmp_path), "Net", 9, held) as run,
    ):
        for step in run.steps():
            if step == 2:
                os.kill(os.getpid(), number)
            held["net"]["w"].assign_add([1.0, 1.0])
            done.append(step)
            run.end_step({"loss": tf.constant(0.0)})
    assert stop.value.code == status and done == [0, 1, 2]
    output, errors = capsys.readouterr()
    assert "[Info] stopping after this step" in errors
    assert f"[Info] stopped by signal {number.value} after step 3: the same command continues from here" in output
    assert signal.getsignal(number) is before
    run, continued = training(tmp_path, until=3)
    assert run.step == 3 and continued["net"]["w"].numpy().tolist() == [3.0, 3.0]


def test_a_second_signal_does_not_wait(tmp_path):
    with (
        pytest.raises(SystemExit) as stop,
        Run(Session(CPU, "cpu", "float32"), options(tmp_path), "Net", 9, state()) as run,
    ):
        for _ in run.steps():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("still running")
    assert stop.value.code == 143 and run.step == 0


def test_a_signal_after_the_last_step_ends_at_once(tmp_path):
    with (
        pytest.raises(SystemExit) as stop,
        Run(Session(CPU, "cpu", "float32"), options(tmp_path), "Net", 1, state()) as run,
    ):
        for _ in run.steps():
            run.end_step({"loss": tf.constant(0.0)})
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("still evaluating")
    assert stop.value.code == 130


def test_two_processes_never_share_a_folder(tmp_path):
    """A lock ends with its process, also after SIGKILL."""
    code = """
        import argparse, sys, time
        sys.path.insert(0, sys.argv[1])
        from common.run import claim_output
        claim_output(argparse.Namespace(output_path=sys.argv[2]))
        print("claimed", flush=True)
        time.sleep(60)
    """
    repository = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-c", textwrap.dedent(code), repository, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        with pytest.raises(UserError, match="another run is writing there now"):
            claim_output(options(tmp_path))
        process.kill()
    claim_output(options(tmp_path))


# The end.


def test_finish_writes_every_file_of_the_contract(tmp_path, capsys):
    results = []

    def finish(run):
        run._step_seconds = [0.5] * 30
        capsys.readouterr()
        metrics = {"accuracy": 0.9, "errors": 3}
        results.append(run.finish(["train/loss"], metrics, {"accuracy": 0.1}, 0.9, "examples/6.png"))

    training(tmp_path / "run", until=6, seed=4, at_end=finish)
    block = capsys.readouterr().out.splitlines()
    assert block[:4] == [
        "------------------ Final result ------------------",
        "Final Performance images/sec : 8.00",
        "Final Performance sec/step : 0.500000",
        "Final Train Accuracy : 0.9000",
    ]
    assert block[4].startswith("E2E Training Duration sec : ") and float(block[4].split(" : ")[1]) >= 0

    case = "Net_bs4_1p_acc"
    lines = (tmp_path / "run" / f"{case}.log").read_text().splitlines()
    fields = dict(line.split(" = ", 1) for line in lines)
    keys = (
        "Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime ActualLoss TrainAccuracy E2ETrainingTime"
    )
    assert list(fields) == keys.split() and len(lines) == 10
    assert (fields["Network"], fields["RankSize"], fields["BatchSize"], fields["CaseName"]) == ("Net", "1", "4", case)
    assert [float(fields[key]) for key in ("ActualFPS", "TrainingTime", "ActualLoss", "TrainAccuracy")] == [
        8,
        0.5,
        5,
        0.9,
    ]
    losses = (tmp_path / "run" / f"{case}_loss.txt").read_text().splitlines()
    assert [float(line) for line in losses] == [0, 1, 2, 3, 4, 5]

    written = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=pytest.fail)
    assert written == json.loads(json.dumps(results[0]))
    keys = "network device precision batch_size rank_size case_name train_steps sec_per_step images_per_sec e2e_sec"
    keys += " loss metrics baseline versions options seed examples"
    assert set(keys.split()) <= set(written)
    assert (written["device"], written["precision"], written["train_steps"], written["seed"]) == (
        "cpu",
        "float32",
        6,
        4,
    )
    assert written["loss"] == {"train/loss": 5.0} and written["metrics"] == {"accuracy": 0.9, "errors": 3}
    assert written["options"]["rate"] == 0.1 and written["versions"]["tensorflow"] == tf.__version__
    assert written["examples"] == "examples/6.png"
    assert not [name for name in names(tmp_path / "run") if name.endswith(".tmp")]


def test_two_losses_and_no_evaluation(tmp_path, capsys):
    args = options(tmp_path, evaluate=False)
    with Run(Session(CPU, "cpu", "float32"), args, "Net", 2, state()) as run:
        for _ in run.steps():
            run.end_step({})
            run.scalars("train", {"d_loss": 1.0, "g_loss": -2.0})
        run.scalars("val", {"accuracy": 0.5})  # a row without losses
        run.finish(["train/d_loss", "train/g_loss"], {}, {})
    text = (tmp_path / "Net_bs4_1p_perf.log").read_text()
    assert "ActualLoss = 1.000000\nActualLoss1 = -2.000000\nTrainAccuracy = not measured\n" in text
    assert (tmp_path / "Net_bs4_1p_perf_loss.txt").read_text() == "1.000000\n1.000000\n"


def test_a_run_killed_after_its_last_step_still_has_its_speed(tmp_path):
    training(tmp_path / "run", until=6)
    run, _ = training(tmp_path / "run", until=6, at_end=lambda run: run.finish(["train/loss"], {}, {}))
    result = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=pytest.fail)
    assert run._step_seconds == [] and 0 < result["sec_per_step"] < 10


def test_seconds_go_on_where_they_were(tmp_path):
    run, _ = training(tmp_path / "run", until=3)
    run._earlier_seconds = 1000.0
    run.save()
    run, _ = training(tmp_path / "run", until=6)
    assert 1000.0 < run._seconds() < 1100.0


def test_tensorboard_gets_the_numbers(tmp_path):
    training(tmp_path / "run", until=3)
    seen = {}
    for file in (tmp_path / "run" / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                seen[event.step] = (value.tag, float(tf.make_ndarray(value.tensor)))
    assert seen == {step: ("train/loss", float(step - 1)) for step in (1, 2, 3)}
