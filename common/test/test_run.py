"""One run in one folder: whose it is, what may change, checkpoints and resume, speed, signals, result files."""

import argparse
import errno
import fcntl
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
import toy
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from common import run_folder, weights
from common.cli import TrainingError, UserError, run_main
from common.config import SessionConfig
from common.run import Run, claim
from common.session import Session
from common.test.testing import REPOSITORY, checkpoint_file, checkpoints, differing, json_lines

LOCKS = []


@pytest.fixture(autouse=True)
def a_process_of_its_own(monkeypatch):
    """No job around it; and what a claim locks, `release` gives back as the end of its process would."""
    for name in ("MODELARTS_MODEL_PATH", "ASCEND_DEVICE_ID", "TF_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    lock = fcntl.flock
    monkeypatch.setattr(run_folder.fcntl, "flock", lambda file, how: (LOCKS.append(file), lock(file, how)))
    yield
    release()


def release():
    while LOCKS:
        os.close(LOCKS.pop())


def options(folder, **changes):
    args = argparse.Namespace(
        **{"output_path": str(folder), "ckpt_path": None, "data_path": "d", "seed": 0, "evaluate": True},
        **{"overwrite": False, "allow_changed_data": False, "batch_size": 4, "width": 8, "learning_rate": 0.1},
        **{"train_steps": 6, "save_step": 1, "log_interval": 1, "device": "cpu", "precision_mode": "force_fp32"},
        **{"over_dump": False, "profiling": False},
    )
    vars(args).update(changes)
    return args


def claimed(folder, may_change=(), **changes):
    release()
    return claim(options(folder, **changes), "Net", may_change)


def cpu(device="cpu", **flags):
    """A session; on a "gpu" as far as its loss scale and its clock can tell."""
    config = SessionConfig(device="cpu", precision_mode="force_fp32", **flags)
    return Session(config, device, "float32" if device == "cpu" else "mixed_float16")


def state(value=0.0, size=2):
    return {"net": {"w": tf.Variable([float(value)] * size)}, "g_optimizer": {"count": tf.Variable(0, dtype=tf.int64)}}


def training(folder, until=None, held=None, session=None, may_change=(), then=None, more=None, **changes):
    """Trains to the end or to step `until`, adding 1 to each weight a step; gives the run and what it held.

    `more`: arguments of the run. `then(run)` is called while it is still open; without it a run to the end finishes.
    """
    held = held or state()
    run = Run(
        claimed(folder, may_change, **changes),
        session or cpu(),
        changes.get("train_steps", 6),
        held,
        **(more or {}),
    )
    with run:
        for step in run.steps():
            if step == until:
                break
            held["net"]["w"].assign_add(tf.ones_like(held["net"]["w"]))
            held["g_optimizer"]["count"].assign_add(1)
            run.end_step({"loss": tf.constant(float(step))})
            run.scalars("train", {"loss": float(step)})
            if run.due(changes.get("save_step", 1)):
                run.save()
        if then:
            then(run)
        elif until is None:
            run.finish(["train/loss"], {}, {})
    return run, held


def weight(held):
    return held["net"]["w"].numpy()[0]


def content(folder):
    """Every file below, with what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder):
    return sorted(os.listdir(folder))


# Whose the folder is.


def test_a_fresh_folder_is_made_and_marked(tmp_path, capsys):
    held = claimed(tmp_path / "deep" / "er")
    assert held.finished is None and held.folder == str(tmp_path / "deep" / "er")
    assert names(held.folder) == ["options.json", "run.lock"] and capsys.readouterr().out == ""
    claimed(held.folder, width=9)  # where nothing is trained yet, there is nothing to go on


CHANGED = {
    "learning_rate": 0.01,
    "precision_mode": "allow_mix_precision",
    "over_dump": True,
    "profiling": True,
    "save_step": 3,
    "log_interval": 9,
    "device": "auto",
    "evaluate": False,
    "train_steps": 8,
    "data_path": "elsewhere",
}


@pytest.mark.parametrize("option", [*CHANGED, "width"])
def test_options_that_do_not_define_a_run_may_change_and_are_told(tmp_path, capsys, option):
    """What a model itself says may change (a loader's threads, say), too."""
    training(tmp_path / "run", until=3)
    capsys.readouterr()
    new = CHANGED.get(option, 9)
    _, held = training(tmp_path / "run", until=5, may_change=["width"], **{option: new})
    before = getattr(options(""), option)
    assert capsys.readouterr().out.splitlines() == [
        f"[Info] continuing the unfinished run in {tmp_path / 'run'} from step 3",
        f"[Info] from step 3 on: --{option} {before}, now {new}",
    ]
    assert weight(held) == 5 and held["g_optimizer"]["count"].numpy() == 5


def test_another_run_is_refused_and_each_way_out_works(tmp_path, capsys):
    training(tmp_path / "run", until=3)
    before = content(tmp_path / "run")
    with pytest.raises(UserError) as error:
        claimed(tmp_path / "run", width=16, seed=5, learning_rate=1.0)
    first, second = str(error.value).splitlines()
    assert first.endswith("holds an unfinished run of other options (--seed 0, now 5; --width 8, now 16).")
    assert second == "Repeat that run's options to continue it, or give another --output_path, or --overwrite."
    assert content(tmp_path / "run") == before
    assert weight(training(tmp_path / "run", until=4)[1]) == 4
    assert weight(training(tmp_path / "other", until=1, width=16, seed=5)[1]) == 1
    before = content(tmp_path / "run")
    assert weight(training(tmp_path / "run", until=1, width=16, seed=5, overwrite=True)[1]) == 1
    [aside] = [name for name in names(tmp_path) if name.startswith("run.20")]
    assert content(tmp_path / aside) == before
    assert f"[Info] what was in {tmp_path / 'run'} is now in {tmp_path / aside}\n" in capsys.readouterr().out


def test_a_finished_run_asked_again_prints_its_results(tmp_path, capsys):
    training(tmp_path / "run", then=lambda run: run.finish(["train/loss"], {}, {}, 0.9, "SSIM on 3 images"))
    before = content(tmp_path / "run")
    told = capsys.readouterr().out
    again = claimed(tmp_path / "run", learning_rate=0.5, overwrite=False)
    assert again.finished == json.loads(before["result.json"])
    said = capsys.readouterr().out
    info = f"[Info] the run in {tmp_path / 'run'} is finished: --overwrite trains anew, more steps continue it\n"
    assert said.startswith(info) and said[len(info) :] in told and "0.9000   (SSIM on 3 images)" in said
    assert content(tmp_path / "run") == before


@pytest.mark.parametrize("more", [{"train_steps": 8}, {"evaluate": False}])
def test_a_finished_run_goes_on_when_it_is_asked_for_more(tmp_path, more):
    training(tmp_path / "run")
    old = (tmp_path / "run" / "result.json").read_text()
    run, held = training(tmp_path / "run", **more)
    assert run.step == weight(held) == more.get("train_steps", 6)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["train_steps"] == run.step
    [kept] = (tmp_path / "run").glob("result.20*.json")
    assert kept.read_text() == old


def test_a_finished_run_of_another_kind_is_moved_aside_whole(tmp_path):
    training(tmp_path / "run")
    before = content(tmp_path / "run")
    assert claimed(tmp_path / "run", width=16).finished is None
    [aside] = [name for name in names(tmp_path) if name != "run"]
    assert content(tmp_path / aside) == before and names(tmp_path / "run") == ["options.json", "run.lock"]


@pytest.mark.parametrize("kind", ["working directory", "below it", "link", "mount"])
def test_what_must_stay_is_never_moved(tmp_path, monkeypatch, kind):
    """`--output_path=.` twice, the second time with another seed."""
    real = tmp_path / "real"
    training(real)
    before, given = content(real), real
    if kind in ("working directory", "below it"):
        (real / "checkpoints" / "deeper").mkdir()
        monkeypatch.chdir(real if kind == "working directory" else real / "checkpoints" / "deeper")
        given = "." if kind == "working directory" else real
    elif kind == "link":
        given = tmp_path / "link"
        given.symlink_to(real)
    else:
        monkeypatch.setattr(os.path, "ismount", lambda path: path == str(real))
    args = options(given, seed=5)
    release()
    held = claim(args, "Net")
    assert args.output_path == held.folder == str(tmp_path / ("link-2" if kind == "link" else "real-2"))
    assert content(real) == before and (kind != "link" or os.readlink(given) == str(real))
    training(held.folder, until=1, seed=5)


@pytest.mark.parametrize("name", ["notes.txt", "metrics.jsonl", "result.json", "train_0.log", "options.json", "link"])
def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path, name):
    if name == "link":
        (tmp_path / "mine").write_text("{}")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "run.lock").symlink_to(tmp_path / "mine")
    else:
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / name).write_text('{"options": {}}')
    before = content(tmp_path)
    with pytest.raises(UserError, match="cannot be written" if name == "link" else "holds other files than a run's"):
        claimed(tmp_path / "folder", overwrite=True)
    assert content(tmp_path) == before


def test_a_run_of_another_model_is_refused(tmp_path):
    training(tmp_path / "run", until=1)
    release()
    with pytest.raises(UserError, match="run holds a run of Net; name another folder$"):
        claim(options(tmp_path / "run"), "Other")


def test_two_processes_never_share_a_folder(tmp_path):
    """A lock ends with its process, also after SIGKILL."""
    code = """
        import argparse, sys, time
        from common.run import claim
        held = claim(argparse.Namespace(output_path=sys.argv[1], overwrite=False), "Net")
        print("claimed", flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "run")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        with pytest.raises(UserError, match="another run is writing there now; choose another folder$"):
            claimed(tmp_path / "run")
        process.kill()
    claimed(tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=f"^--output_path {tmp_path}/file/run cannot be written: Not a directory$"):
        claimed(tmp_path / "file" / "run")


# Checkpoints.


def test_three_are_kept_leftovers_of_kills_go_and_foreign_files_stay(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    training(tmp_path / "run", until=2)
    for name in ("ckpt-9.safetensors.tmp", "notes.txt", "best.safetensors", "ckpt-1.safetensors.bak"):
        (folder / name).write_text("x")
    training(tmp_path / "run", until=5)
    assert checkpoints(tmp_path / "run") == [3, 4, 5]
    left = [name for name in names(folder) if not name[5].isdecimal()]
    assert left == ["best.safetensors", "notes.txt"] and (folder / "ckpt-1.safetensors.bak").exists()


def test_one_can_be_kept_for_good(tmp_path):
    training(tmp_path / "run", until=2, then=lambda run: (run.save("epoch_1"), run.save()))
    training(tmp_path / "run", until=6)
    kept = tmp_path / "run" / "checkpoints" / "epoch_1" / "ckpt-2.safetensors"
    assert weights.load(kept, "Net", "").step == 2 and weights.run_folder(kept) == (tmp_path / "run").resolve()


def flipped(path):
    spoilt = bytearray(path.read_bytes())
    spoilt[-3] ^= 16
    path.write_bytes(spoilt)


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("spoil", [flipped, halved, lambda path: path.write_bytes(b"")], ids=["bit", "cut", "empty"])
def test_a_damaged_newest_one_is_set_aside_and_the_one_before_used(tmp_path, capsys, spoil):
    training(tmp_path / "run", until=4)
    spoil(checkpoint_file(tmp_path / "run", 4))
    capsys.readouterr()
    _, held = training(tmp_path / "run", until=5)  # and saving works
    said = capsys.readouterr().out
    assert "ckpt-4.safetensors is " in said and ": set aside, trying the one before\n" in said and "from step 3" in said
    assert weight(held) == 5 and checkpoints(tmp_path / "run") == [3, 4, 5]
    assert "damaged-ckpt-4.safetensors" in names(tmp_path / "run" / "checkpoints")


def test_when_all_are_damaged_the_run_starts_anew_and_says_so(tmp_path, capsys):
    training(tmp_path / "run", until=2)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    for step in (1, 2):
        halved(checkpoint_file(tmp_path / "run", step))
    _, held = training(tmp_path / "run", until=3)
    assert "is whole: starting anew" in capsys.readouterr().out and weight(held) == 3
    [aside] = (tmp_path / "run").glob("metrics.20*.jsonl")
    assert aside.read_text() == rows and len(json_lines(tmp_path / "run" / "metrics.jsonl")) == 3


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("place", ["file", "folder"])
def test_what_cannot_be_read_is_not_damage(tmp_path, monkeypatch, number, place):
    training(tmp_path / "run", until=3)
    before = content(tmp_path / "run" / "checkpoints"), (tmp_path / "run" / "metrics.jsonl").read_text()

    def failing(*_):
        raise OSError(number, os.strerror(number))

    if place == "file":
        monkeypatch.setattr(weights, "open", failing, raising=False)
    else:
        listed = os.listdir
        monkeypatch.setattr(os, "listdir", lambda path: failing() if "checkpoints" in str(path) else listed(path))
    with pytest.raises(UserError, match=f"run.* cannot be (read|written): {os.strerror(number)}$"):
        training(tmp_path / "run", until=4)
    monkeypatch.undo()
    assert (content(tmp_path / "run" / "checkpoints"), (tmp_path / "run" / "metrics.jsonl").read_text()) == before


def test_a_checkpoint_of_other_sizes_stops_the_run(tmp_path):
    training(tmp_path / "run", until=2)
    with pytest.raises(UserError, match="ckpt-2.safetensors is of another model or of other sizes; give another"):
        training(tmp_path / "run", until=3, held=state(size=5))
    weights.save(checkpoint_file(tmp_path / "run", 9), "Net", {"net/w": np.zeros(2, np.float32)}, {}, step=9)
    with pytest.raises(UserError, match="ckpt-9.safetensors is no checkpoint of a run; give another --output_path"):
        training(tmp_path / "run", until=3)
    assert not [name for name in names(tmp_path / "run" / "checkpoints") if name.startswith("damaged")]


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    def spoil(run):
        run.variables["net/w"].assign([1.0, math.nan])
        run.step = 3
        with pytest.raises(
            TrainingError, match=r"^net/w is no longer a finite number at step 3; the checkpoint of step 2"
        ):
            run.save()

    training(tmp_path / "run", until=2, then=spoil)
    assert checkpoints(tmp_path / "run") == [1, 2]


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EFBIG, errno.EACCES, errno.EROFS])
def test_a_save_that_fails_names_its_cause_and_keeps_the_one_before(tmp_path, monkeypatch, reason):
    def save(run):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        run.step = 3
        if reason == errno.EFBIG:  # truly, the others as if
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        else:
            monkeypatch.setattr(os, "fsync", lambda file: (_ for _ in ()).throw(OSError(reason, os.strerror(reason))))
        try:
            with pytest.raises(UserError) as error:
                run.save()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        first, second = str(error.value).splitlines()
        assert first.endswith(f"run: the checkpoint of step 3 cannot be written ({os.strerror(reason)}).")
        assert second == "Mend that and repeat the command. It continues from step 2."

    training(tmp_path / "run", until=2, held=state(size=100_000), then=save)
    monkeypatch.undo()
    assert names(tmp_path / "run" / "checkpoints") == ["ckpt-1.safetensors", "ckpt-2.safetensors"]
    assert weight(training(tmp_path / "run", until=3, held=state(size=100_000))[1]) == 3


def test_a_run_starts_from_another_ones_networks_alone(tmp_path, capsys):
    """The optimizers are new: a learning rate follows its schedule from the start."""
    training(tmp_path / "first", until=4)
    _, held = training(tmp_path / "second", until=1, ckpt_path=str(tmp_path / "first"))
    assert weight(held) == 5 and held["g_optimizer"]["count"].numpy() == 1
    assert f"[Info] starting from {checkpoint_file(tmp_path / 'first', 4)}\n" in capsys.readouterr().out
    more = {name: {"w": tf.Variable([0.0])} for name in ("critic", "judge", "ema_net")}  # of which averages begin anew
    _, held = training(tmp_path / "third", until=1, held={**state(), **more}, ckpt_path=str(tmp_path / "first"))
    told = f"[Info] starting from {checkpoint_file(tmp_path / 'first', 4)}, which has no critic, no judge: untrained\n"
    assert weight(held) == 5 and told in capsys.readouterr().out
    checkpoint_file(tmp_path / "first", 4).unlink()  # what it started from is not needed any more


def test_first_values_are_read_where_the_run_begins_and_only_there(tmp_path):
    held, begun = state(), []
    start = lambda: (begun.append(1), held["net"]["w"].assign([10.0, 10.0]))  # noqa: E731
    training(tmp_path / "run", until=2, held=held, more={"start": start})
    assert weight(held) == 12 and begun == [1]
    held = state()
    assert weight(training(tmp_path / "run", until=3, held=held, more={"start": start})[1]) == 13 and begun == [1]


def test_other_data_are_refused_and_a_copy_is_not(tmp_path, monkeypatch, capsys):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    files = [tmp_path / "data" / "a", tmp_path / "data" / "deep" / "b"]
    for file in files:
        file.write_text("1234")
    training(tmp_path / "run", until=1, more={"data": files})
    monkeypatch.chdir(tmp_path)
    os.utime(files[0], (1, 1))
    capsys.readouterr()
    spelled = [os.path.join("data", "..", "data", "deep", "b"), "data/a"]  # the same, in other words and order
    training(tmp_path / "run", until=2, more={"data": spelled})
    assert "[Info] the data's files have other times than before, the same names and sizes\n" in capsys.readouterr().out
    files[1].write_text("12345")
    with pytest.raises(UserError) as error:
        training(tmp_path / "run", until=3, more={"data": files})
    first, second = str(error.value).splitlines()
    assert first == "the data's files are others than this run began with (2 then, 2 now)."
    assert second.endswith("or --allow_changed_data to go on.")
    training(tmp_path / "run", until=3, more={"data": files[:1]}, allow_changed_data=True)
    assert "[Warning] the data's files are others" in capsys.readouterr().out


def test_a_run_in_two_parts_ends_with_the_weights_of_one(tmp_path):
    """A whole training: batch normalisation, average, order, noise."""
    for part in (["--train_steps=3"], ["--train_steps=7"]):
        release()
        toy.train(toy.parse_args([f"--output_path={tmp_path / 'two'}", "--device=cpu", *part]), "own")
    release()
    toy.train(toy.parse_args([f"--output_path={tmp_path / 'one'}", "--device=cpu"]), "own")
    one, two = (weights.load(tmp_path / name / "own", "Toy", "").tensors for name in ("one", "two"))
    assert differing(one, two) == [] and len(one) == 41


# What it says.


def test_metrics_end_at_the_restored_step_and_tensorboard_forgets_as_much(tmp_path):
    training(tmp_path / "run", until=5, save_step=2)
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "tra')  # cut short by a kill
    time.sleep(1.1)  # TensorBoard reads files in the order of their seconds
    training(tmp_path / "run", until=6, save_step=2, learning_rate=0.5)
    rows = [{"step": step, "train/loss": float(step - 1)} for step in range(1, 7)]
    assert json_lines(tmp_path / "run" / "metrics.jsonl") == rows
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Tensors("train/loss")
    assert [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in events] == [(s, s - 1.0) for s in range(1, 7)]


def test_all_images_are_shown(tmp_path):
    sheet = np.zeros((16, 4, 4, 3), np.uint8)
    training(tmp_path / "run", until=1, then=lambda run: run.images("examples", sheet))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Tensors("examples")
    assert len(tf.make_ndarray(events[0].tensor_proto)) == 2 + 16  # their height and width come first


def test_the_log_holds_what_was_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASCEND_DEVICE_ID", "3")
    training(tmp_path / "run", until=1, then=lambda run: run.log("something"))
    training(tmp_path / "run", until=1)
    assert (tmp_path / "run" / "train_3.log").read_text() == capsys.readouterr().out != ""
    with pytest.raises(ZeroDivisionError):
        training(tmp_path / "run", until=1, then=lambda run: 1 / 0)
    assert "ZeroDivisionError: division by zero" in (tmp_path / "run" / "train_3.log").read_text()
    monkeypatch.setenv("MODELARTS_MODEL_PATH", "/home/work")  # where the platform keeps the log
    training(tmp_path / "job", until=1)
    assert not list((tmp_path / "job").glob("train_*"))


def test_json_has_no_nan(tmp_path):
    def write(run):
        run.scalars("train", {"loss": math.nan})
        run.write_json("x.json", {"a": [math.inf, np.float32("nan"), 1.5], "b": (1, "x")})

    training(tmp_path / "run", until=0, then=write)
    assert json_lines(tmp_path / "run" / "metrics.jsonl") == [{"step": 0, "train/loss": None}]
    assert json.loads((tmp_path / "run" / "x.json").read_text()) == {"a": [None, None, 1.5], "b": [1, "x"]}


# Losses that are no numbers.


@pytest.mark.parametrize("device, advice", [("cpu", "force_fp32"), ("npu", "must_keep_origin_dtype")])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, device, advice):
    def fetch(run):
        run.session.device = device
        with pytest.raises(TrainingError) as error:
            run.fetch({"d_loss": tf.constant(math.nan), "g_loss": tf.constant(1.0)})
        first, second = str(error.value).splitlines()
        assert first == "d_loss is no longer a finite number at step 2; the checkpoint of step 2 stays."
        assert "smaller learning rate" in second and f"--precision_mode={advice} " in second and "--over_dump" in second

    training(tmp_path / "run", until=2, then=fetch)


def scaled(folder, bad, steps, every=1):
    """A training under a dynamic loss scale, whose loss is NaN in the steps of `bad`."""
    session = cpu("gpu")
    model = toy.network(False)
    optimizer = session.optimizer(model, 0.01, loss_scale={"init_scale": 2.0**8, "decr_ratio": 0.5})

    def step(factor):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(tf.ones([2, 3, 3, 2])) ** 2) * factor
        optimizer.minimize(loss, tape)
        return {"loss": loss}

    update = session.compile(step)
    held = {"g_optimizer": optimizer.state}
    with Run(claimed(folder, train_steps=steps), session, steps, held) as run:
        for number in run.steps():
            metrics = update(tf.constant(math.nan if number in bad else 1.0))
            run.end_step(metrics)
            if run.due(every):
                run.scalars("train", run.fetch(metrics))
        return run.finish(["train/loss"], {}, {})


def test_skipped_updates_are_told_and_written_down(tmp_path, capsys):
    result = scaled(tmp_path / "run", bad=(1, 2), steps=4)
    rows = json_lines(tmp_path / "run" / "metrics.jsonl")
    assert [row["train/skipped"] for row in rows] == [0, 1, 2, 2] and rows[1]["train/loss"] is None
    assert [row["train/loss_scale"] for row in rows] == [256, 256, 128, 128] and result["skipped_updates"] == 2
    assert "[Info] step 3: 2 updates skipped so far for overflow, loss scale 128\n" in capsys.readouterr().out


@pytest.mark.parametrize("steps, every", [(300, 1), (300, 0), (5, 0)])
def test_nothing_but_overflows_is_a_divergence(tmp_path, steps, every):
    """Looked at in every step, at the end, and where it ended before the scale was down."""
    with pytest.raises(TrainingError, match="is no longer a finite number at step"):
        scaled(tmp_path / "run", range(300), steps, every)
    assert not (tmp_path / "run" / "result.json").exists() and "NaN" not in str(content(tmp_path / "run"))
    assert every == 0 or len(json_lines(tmp_path / "run" / "metrics.jsonl")) < 20


def test_a_loss_that_exploded_is_told_at_the_end(tmp_path, capsys):
    def explode(run):
        run.scalars("train", {"loss": 1e7})
        run.finish(["train/loss"], {}, {})

    training(tmp_path / "run", then=explode)
    assert "[Warning] train/loss grew from 0 to 1e+07: the training diverged\n" in capsys.readouterr().out


# Speed.


def steady(seconds, cycle=1):
    run = Run.__new__(Run)
    run.cycle, run._step_seconds, run._record = cycle, list(seconds), {}
    return run.step_seconds()


def test_steady_speed_is_a_median_of_rounds_without_the_first_steps():
    assert steady([9.0] * 10 + [1.0, 2.0, 3.0] * 5) == 2.0
    assert steady([9.0] * 11 + [1.0] * 9) == 1.0  # twenty: one slow step of ten left
    assert steady([100.0] + [1.0] * 9 + [2.0] * 9) == 1.5  # nineteen: the first alone
    assert steady([5.0, 1.0]) == 1.0 and steady([5.0]) == 5.0 and math.isnan(steady([]))
    assert steady([9.0] * 10 + [1.0, 3.0] * 10, cycle=2) == 2.0  # steps that take turns
    assert steady([50.0] + [1.0, 3.0, 1.0], cycle=2) == 2.0  # the last round is not whole
    assert steady([7.0, 1.0], cycle=3) == 1.0


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_what_is_done_between_steps_does_not_count(tmp_path, device):
    """Also where log and save periods differ: off the CPU time is taken where the loop waits for the device anyway."""
    with Run(claimed(tmp_path), cpu(device), 30, state()) as run:
        for _ in run.steps():
            time.sleep(0.002)
            run.end_step({"loss": tf.constant(0.0)})
            assert device == "gpu" or len(run._step_seconds) == run.step
            if run.due(4):
                run.fetch({"loss": tf.constant(0.0)})
                assert len(run._step_seconds) == run.step
            if run.due(3):
                time.sleep(0.2)
    assert len(run._step_seconds) == 30 and 0.002 <= run.step_seconds() < 0.05  # which one in four would make it


def test_due():
    run = Run.__new__(Run)
    run.total_steps, run.chief, run._unmarked_steps = 7, True, 0
    due = {every: [] for every in (0, 1, 3, 100)}
    for run.step in range(1, 8):
        for every, steps in due.items():
            steps += [run.step] * run.due(every)
    assert due == {0: [], 1: [1, 2, 3, 4, 5, 6, 7], 3: [3, 6, 7], 100: [7]}


@pytest.mark.parametrize("steps", [4, 15])  # ends before the profile does, and after
def test_profiling_leaves_a_trace_for_tensorboard(tmp_path, steps):
    session = cpu(profiling=True, dump_path=str(tmp_path / "dumps"))
    step = session.compile(lambda x: {"loss": tf.reduce_sum(tf.matmul(x, x))})
    with Run(claimed(tmp_path / "run"), session, steps, state()) as run:
        for number in run.steps():
            assert run._profiled is (2 <= number < 12)
            run.end_step(step(tf.ones([8, 8])))
    [space] = (tmp_path / "dumps" / "plugins" / "profile").glob("*/*.xplane.pb")
    assert b"MatMul" in space.read_bytes()


# Signals.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_step_saves_and_exits(tmp_path, capsys, number):
    before, held, done = signal.signal(number, signal.SIG_DFL), state(), []

    def train():
        with Run(claimed(tmp_path / "run"), cpu(), 9, held) as run:
            for step in run.steps():
                if step == 2:
                    os.kill(os.getpid(), number)
                held["net"]["w"].assign_add([1.0, 1.0])
                done.append(step)
                run.end_step({"loss": tf.constant(0.0)})

    try:
        assert run_main(train) == 128 + number and done == [0, 1, 2]
        output, errors = capsys.readouterr()
        told = f"[Info] stopped by signal {number.value} after step 3: the same command continues from here\n"
        assert errors == "[Info] stopping after this step\n" and output == told
        assert weight(training(tmp_path / "run", until=3)[1]) == 3
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("step, ignored", [(1, False), (0, False), (1, True)])
def test_a_second_signal_or_one_after_the_last_step_does_not_wait(tmp_path, step, ignored):
    """What the parent wants ignored, as nohup and `make test &` do, is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    ended = []

    def train():
        with Run(claimed(tmp_path / "run"), cpu(), step, state()) as run:
            for _ in run.steps():
                run.end_step({"loss": tf.constant(0.0)})
            os.kill(os.getpid(), signal.SIGINT)
            ended.append(run.step)

    try:
        assert run_main(train) == (0 if ignored else 130) and ended == [1] * ignored
    finally:
        signal.signal(signal.SIGINT, before)


# The end.


def test_finish_writes_every_file_of_the_contract(tmp_path, capsys):
    results = []

    def finish(run):
        run._step_seconds = [0.5] * 30
        capsys.readouterr()
        metrics = {"accuracy": 0.9, "errors": 3}
        named = {"accuracy": 0.9, "accuracy_name": "accuracy on 10 images", "examples": "examples/6.png"}
        results.append(run.finish(["train/loss"], metrics, {"accuracy": 0.1}, **named))

    training(tmp_path / "run", seed=4, then=finish)
    block = capsys.readouterr().out.splitlines()
    assert block[:4] == [
        "------------------ Final result ------------------",
        "Final Performance images/sec : 8.00",
        "Final Performance sec/step : 0.500000",
        "Final Train Accuracy : 0.9000   (accuracy on 10 images)",
    ]
    assert block[4].startswith("E2E Training Duration sec : ") and float(block[4].split(" : ")[1]) >= 0
    case = "Net_bs4_1p_acc"
    fields = [line.split(" = ", 1) for line in (tmp_path / "run" / f"{case}.log").read_text().splitlines()]
    keys = "Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime ActualLoss TrainAccuracy"
    assert [key for key, _ in fields] == [*keys.split(), "E2ETrainingTime"]
    values = dict(fields)
    assert [values[key] for key in ("Network", "RankSize", "BatchSize", "CaseName")] == ["Net", "1", "4", case]
    measured = [float(values[key]) for key in ("ActualFPS", "TrainingTime", "ActualLoss", "TrainAccuracy")]
    assert measured == [8, 0.5, 5, 0.9]
    losses = (tmp_path / "run" / f"{case}_loss.txt").read_text().splitlines()
    assert [float(line) for line in losses] == [0, 1, 2, 3, 4, 5]
    written = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=pytest.fail)
    assert written == results[0]
    expected = {"device": "cpu", "precision": "float32", "train_steps": 6, "seed": 4, "loss": {"train/loss": 5.0}}
    expected.update(metrics={"accuracy": 0.9, "errors": 3}, baseline={"accuracy": 0.1}, examples="examples/6.png")
    assert expected.items() <= written.items()
    assert written["options"]["width"] == 8 and written["versions"]["tensorflow"] == tf.__version__


def test_two_losses_and_no_evaluation(tmp_path, capsys):
    def finish(run):
        for step in range(2):
            run.scalars("train", {"d_loss": 1.0 + step, "g_loss": -2.0})
        run.scalars("val", {"accuracy": 0.5})  # a row without losses
        run.finish(["train/d_loss", "train/g_loss"], {}, {})

    training(tmp_path, until=1, evaluate=False, then=finish)
    text = (tmp_path / "Net_bs4_1p_perf.log").read_text()
    assert "ActualLoss = 2.000000\nActualLoss1 = -2.000000\nTrainAccuracy = not measured\n" in text
    assert (tmp_path / "Net_bs4_1p_perf_loss.txt").read_text() == "1.000000\n2.000000\n"
    assert "Final Train Accuracy : not measured\n" in capsys.readouterr().out


def test_a_run_killed_after_its_last_step_has_its_speed_and_all_its_time(tmp_path):
    def age(run):
        run._earlier_seconds, run._saved = 1000.0, None
        run.save()

    training(tmp_path / "run", then=age)
    run, _ = training(tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert run._step_seconds == [] and 0 < result["sec_per_step"] < 10 and 1000 < result["e2e_sec"] < 1100


def test_all_workers_start_where_the_first_one_does(tmp_path):
    """The first worker's values, as a broadcast carries them, put another one (whose folder is empty) at its step."""
    carried = []

    class Worker(Session):
        def broadcast(self, variables):
            if self.chief:
                carried.extend(v.numpy() for v in variables)
            else:
                for variable, value in zip(variables, carried):
                    variable.assign(value)

    training(tmp_path / "first", until=3)
    for rank, name in enumerate(("first", "second")):
        session = Worker(cpu().config, "cpu", "float32", rank=rank, world_size=2)
        run, held = training(tmp_path / name, until=5 if rank else 3, session=session)
    assert run._first_step == 3 and weight(held) == 5 and held["g_optimizer"]["count"].numpy() == 5
    assert names(tmp_path / "second") == ["options.json", "run.lock", "train_1.log"]  # it writes no more
