"""What every folder promises: launchers, job entries, a run from its start to its result files, and its life between.

Two runs are shared: `whole` is what a launcher starts, `story` the same when it is stopped, damaged and made longer.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from common.test import om_double, testing
from common.test.testing import started_command

STEPS, STOPPED = 10, 5  # and one step more changes no schedule of theirs before it
CURRENT = not tf.__version__.startswith("2.6.")
SCHEDULES = {  # of train_full and train_performance
    "ImprovedGAN": ("--train_steps=45000", "--train_steps=500"),
    "Pix2Pix": ("--train_epochs=200", "--train_epochs=2"),
    "SRGAN": ("--train_epochs=500", "--train_epochs=1"),
    "SRNet": ("--train_steps=20000", "--train_steps=500"),
    "StackGAN": ("--train_epochs=600", "--train_epochs=2"),
}
EVERY_STEP = {  # log every step, save every other
    "ImprovedGAN": "--log_step=1 --write_summary_step=1 --ckpt_save_step=2",
    "Pix2Pix": "--print_freq=1 --save_latest_freq=2",
    "SRGAN": "--log_step=1 --save_step=2",
    "SRNet": "--show_loss_interval=1 --write_log_interval=1 --save_latest_interval=2",
    "StackGAN": "--log_interval=1 --snapshot_interval=2",
}
STEP_LINES = {  # the originals' own wording, which people have tools for
    "ImprovedGAN": [
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\]  \[train step +\d+\] Supervised loss: -?\d+\.\d{5} D loss: "
        r"-?\d+\.\d{5} G loss: -?\d+\.\d{5} Accuracy: \d\.\d{5} \(\d+\.\d{3} sec/batch, \d+\.\d{3} instances/sec\)"
    ],
    "Pix2Pix": [r"Epoch: \[ *\d+\] \[ *\d+/ *\d+\] time: \d+\.\d{4}, d_loss: \d+\.\d{8}, g_loss: \d+\.\d{8}"],
    "SRGAN": [
        r"-{15} Epoch \d+ -{15}",
        r"discriminator_loss : \d+\.\d+",
        r"gan_loss : \[\d\S*, \d\S*, \d\S*\]",
    ],
    "SRNet": [r"step: +\d+   d_loss: +\d+\.\d{5}   g_loss: +\d+\.\d{5}   time: \d+\.\d{4}"],
    "StackGAN": [r"step: \d+ perf: \d+\.\d+ fps: \d+\.\d+", r"Epoch \d+ \| g_loss: -?\d+\.\d+; d_loss: -?\d+\.\d+"],
}
LAUNCHER_FLAGS = """data_path output_path train_steps train_epochs batch_size precision_mode over_dump data_dump_flag
    data_dump_step profiling autotune ckpt_path"""
MORE_FLAGS = "evaluate overwrite seed device deterministic"
CASE_LOG = """Network RankSize BatchSize DeviceType CaseName ActualFPS TrainingTime ActualLoss TrainAccuracy
    E2ETrainingTime"""
RESULT = """network device precision batch_size rank_size case_name train_steps sec_per_step images_per_sec e2e_sec loss
    metrics baseline accuracy seed examples versions options"""


# Launchers and job entries, with a stand-in for Python that tells how it is called.


def schedules(model):
    return zip(("full", "performance"), SCHEDULES[model.name], ("--evaluate=True", "--evaluate=False"))


def test_launchers_start_the_originals_schedules(model, tmp_path):
    output = f"--output_path={model / 'test' / 'output' / '0'}"
    given = ["--data_path", "a folder", "--precision_mode=force_fp16"]
    for kind, schedule, evaluate in schedules(model):
        schedule = [*schedule.split(), evaluate]
        launcher = ["bash", model / "test" / f"train_{kind}_1p.sh"]
        assert started_command(tmp_path, *launcher, *given) == [str(model / "train.py"), output, *schedule, *given]
        several = ["bash", model / "test" / f"train_{kind}_8p.sh", *given]
        for flags, size in ((["--rank_size=2"], "2"), (["--rank_size", "3"], "3"), ([], "8")):
            command = started_command(tmp_path, *several, *flags)
            assert command[0].endswith("/common/launch_workers.py") and command[1:3] == [size, str(tmp_path / "python")]
            assert command[3:] == [str(model / "train.py"), output, *schedule, *given]
        help_text = "\n".join(started_command(tmp_path, *launcher, "--help"))
        for flag in LAUNCHER_FLAGS.split():
            assert f"--{flag}" in help_text
        assert model.name in help_text


def test_launchers_without_data(model):
    done = subprocess.run(["bash", str(model / "test" / "train_full_1p.sh")], capture_output=True, text=True)
    error, hint = done.stderr.splitlines()
    assert done.returncode == 1 and error == '[Error] para "data_path" must be config'
    assert f"{model.name}/sample_data.py --output_path DIR" in hint


def test_job_entries_start_the_same_schedules(model, tmp_path):
    entries = [model / f"modelarts_entry_{kind}.py" for kind in ("acc", "perf")]
    for entry, (_, schedule, evaluate) in zip(entries, schedules(model)):
        flags = ["--data_url", tmp_path, "--train_url=out", "--batch_size=8"]
        command = started_command(tmp_path, sys.executable, entry, *flags)
        given = [f"--data_path={tmp_path}", "--output_path=out", "--batch_size=8"]
        assert command[:1] + command[2:] == [str(model / "train.py"), *schedule.split(), evaluate, *given]


def test_every_flag_of_the_contract(spawner, tmp_path):
    shown = testing.Process(spawner, tmp_path, ["--help"])
    assert shown.end() == 0
    for flag in (*LAUNCHER_FLAGS.split(), *MORE_FLAGS.split()):
        assert f"--{flag} " in shown.text().replace("\n", " "), flag


# A whole run.


@pytest.fixture(scope="session")
def whole(model, data, start, tmp_path_factory):
    """What the launcher starts, with a few steps and an evaluation: `.run`, `.process` and its `.flags`."""
    folder = tmp_path_factory.mktemp("whole")
    launcher = ["bash", model / "test" / "train_performance_1p.sh", f"--data_path={data}"]
    command = started_command(folder, *launcher, f"--train_steps={STEPS}", "--evaluate=True")
    flags = [*EVERY_STEP[model.name].split(), *command[2:]]
    process = start(*flags, output=folder / "run")
    assert process.end() == 0, process.text()[-3000:]
    return SimpleNamespace(run=folder / "run", process=process, flags=flags)


def test_the_log_has_the_originals_lines(model, whole):
    text = whole.process.text()
    log = next(whole.run.glob("**/train_0.log")).read_text()
    for line in STEP_LINES[model.name]:
        assert re.search(rf"^{line}$", text, re.MULTILINE), line
        assert re.search(rf"^{line}$", log, re.MULTILINE), line
    assert "Traceback" not in text and "Warning: " not in text


def test_the_final_block(whole):
    lines = whole.process.text().splitlines()
    at = lines.index("------------------ Final result ------------------")
    number = r"\d+(\.\d+)?"
    for line, expected in zip(
        lines[at + 1 :],
        (
            f"Final Performance images/sec : {number}",
            f"Final Performance sec/step : {number}",
            rf"Final Train Accuracy : {number}   \(.+\)",
            f"E2E Training Duration sec : {number}",
        ),
    ):
        assert re.fullmatch(expected, line), line


def test_result_files(model, whole):
    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    result = json.loads((whole.run / "result.json").read_text(), parse_constant=refuse)
    assert set(RESULT.split()) <= set(result)
    assert (result["network"], result["device"], result["rank_size"]) == (model.name, "cpu", 1)
    assert result["train_steps"] == STEPS and result["versions"]["tensorflow"] == tf.__version__
    assert result["metrics"] and set(result["baseline"]) and result["options"]["data_path"]
    assert abs(result["images_per_sec"] * result["sec_per_step"] - result["batch_size"]) < 1e-3
    case = result["case_name"]
    assert case == f"{model.name}_bs{result['batch_size']}_1p_acc"
    fields = dict(line.split(" = ") for line in (whole.run / f"{case}.log").read_text().splitlines())
    assert set(CASE_LOG.split()) <= set(fields) and fields["CaseName"] == case
    assert all(float(line) == float(line) for line in (whole.run / f"{case}_loss.txt").read_text().split())
    assert list(whole.run.glob("**/events.out.tfevents.*")) and list(whole.run.glob("**/checkpoints/ckpt-*"))
    assert result["examples"] is None or (whole.run / result["examples"]).exists()


# A run that is stopped, damaged and made longer. (That one killed with SIGKILL goes on is tested in common/test/.)


@pytest.fixture(scope="session")
def story(model, start, tmp_path_factory):
    """The processes of one run after another, and what they were asked to do."""
    run = tmp_path_factory.mktemp("story") / "run"
    told = SimpleNamespace(run=run)

    def go_on(*flags, **order):
        flags = [*EVERY_STEP[model.name].split(), f"--train_steps={STEPS}", "--evaluate=False", *flags]
        return start(*flags, output=run, **order)

    told.stopped = go_on(hook="ci.test.pause", environment={"PAUSE_AT": str(STOPPED)})
    told.stopped.until(lambda: "paused" in told.stopped.text())
    told.beside = go_on()
    told.beside.end()
    told.stopped_status = told.stopped.end(signal.SIGTERM)
    told.other_seed = go_on("--seed=4")
    told.other_seed.end()

    newest = testing.checkpoint_file(run, STOPPED)
    newest.rename(run / "kept")
    newest.mkdir()  # cannot be read, like a file on a failing disk: this is no damage
    told.unreadable = go_on()
    told.unreadable.end()
    told.left_alone = newest.is_dir() and not list(run.glob("checkpoints/damaged*"))
    newest.rmdir()
    content = bytearray((run / "kept").read_bytes())
    content[len(content) // 2] ^= 4  # one bit
    newest.write_bytes(content)

    longer = (f"--train_steps={STEPS + 1}", "--data_dump_flag", "--data_dump_step=1")
    told.finished = go_on(*longer)
    assert told.finished.end() == 0, told.finished.text()[-3000:]
    told.again = go_on(*longer)
    told.again.end()
    return told


def test_sigterm_saves_and_says_so(story):
    assert story.stopped_status == 143
    assert story.stopped.told()[-1].startswith(f"[Info] stopped by signal 15 after step {STOPPED}: ")
    assert story.stopped.told("[Warning]") == []


def test_another_seed_is_another_run(story):
    said = "\n".join(story.other_seed.refused())
    assert "--seed" in said and "--output_path" in said


def test_what_cannot_be_read_is_an_error_and_no_damage(story):
    assert f"ckpt-{STOPPED}" in story.unreadable.refused()[0] and story.left_alone


def test_two_runs_never_write_into_one_folder(story):
    assert "another run is writing there now" in story.beside.refused()[0]


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(story):
    assert f"ckpt-{STOPPED}" in story.finished.told("[Warning]")[0]
    assert story.finished.told("[Info] continuing")[0].endswith(f"from step {STOPPED - 1}")


def test_stopped_and_damaged_it_goes_on_like_the_whole_run(whole, story):
    """Bit for bit, and with the same numbers in each step."""
    one, other = (testing.weights(run, STEPS) for run in (whole.run, story.run))
    assert testing.differing(one, other) == []
    rows = [testing.json_lines(run / "metrics.jsonl") for run in (whole.run, story.run)]
    rows = [[row for row in part if any("train/" in name for name in row)] for part in rows]  # Pix2Pix validates too
    assert rows[0] == rows[1][:-1] and [row["step"] for row in rows[1]] == list(range(1, STEPS + 2))


def test_it_is_made_longer_with_what_may_change(story):
    assert f"--train_steps {STEPS}, now {STEPS + 1}" in story.finished.text()
    result = json.loads((story.run / "result.json").read_text())
    assert result["train_steps"] == STEPS + 1 and result["case_name"].endswith("_perf")
    assert list((story.run / "dumps").glob("*.npz"))


def test_a_finished_run_says_so_and_is_not_trained_again(story):
    assert story.again.end() == 0 and story.again.told()[0].startswith("[Info] the run in ")
    assert "is finished" in story.again.told()[0] and "Final Performance sec/step" in story.again.text()
    assert not [line for line in story.again.told() if "continuing" in line]


# From a checkpoint to an .om and to what it predicts, with doubles of ATC and pyACL.

FREEZE = {"SRGAN": ["--height=24", "--width=24"], "StackGAN": ["--batch_size=4"]}
OM = {"ImprovedGAN": "classifier.om", "SRNet": "final.om", "StackGAN": "model.om"}  # else generator.om


@pytest.fixture(scope="session")
def om_file(model, spawner, whole, tmp_path_factory):
    """What `freeze.py --atc` makes of the whole run, and how to run a script beside the doubles."""
    folder = tmp_path_factory.mktemp("om")
    (folder / "atc").write_text(om_double.ATC)
    (folder / "atc").chmod(0o755)

    def command(script, *flags):
        environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
        return testing.Process(spawner, folder, list(flags), script, hook="ci.test.ascend", environment=environment)

    to = f"--output_path={folder / 'exported'}"
    made = command("freeze", f"--ckpt_path={whole.run}", to, "--format=pb", "--atc", *FREEZE.get(model.name, []))
    assert made.end() == 0, made.text()[-3000:]
    assert "--soc_version=Ascend310P3" in made.text() and "--precision_mode=force_fp16" in made.text()
    return SimpleNamespace(path=folder / "exported" / OM.get(model.name, "generator.om"), command=command)


def test_an_om_is_checked(whole, om_file, tmp_path):
    """It is the checkpoint's; one with a weight less is not."""
    checked = om_file.command("freeze", f"--ckpt_path={whole.run}", f"--check={om_file.path}")
    assert checked.end() == 0 and "cosine 1.000000" in checked.text(), checked.text()[-3000:]
    graph = tf.compat.v1.GraphDef.FromString(om_file.path.with_suffix(".pb").read_bytes())
    for node in graph.node:
        values = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else np.zeros(0)
        if values.ndim == 4:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values * (np.arange(values.shape[3]) > 0)))
    (tmp_path / "wrong.pb").write_bytes(graph.SerializeToString())
    (tmp_path / "wrong.om").write_text(json.dumps({"pb": str(tmp_path / "wrong.pb")}))
    wrong = om_file.command("freeze", f"--ckpt_path={whole.run}", f"--check={tmp_path / 'wrong.om'}")
    assert wrong.end() == 1 and "is not the checkpoint's" in wrong.text(), wrong.text()[-3000:]


def test_an_om_predicts_what_the_checkpoint_predicts(model, whole, data, om_file, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    np.save(tmp_path / "embeddings.npy", rng.standard_normal([2, 1024]).astype(np.float32))
    words = sorted((data / "val" / "i_s").glob("*.png")) if model.name == "SRNet" else [None]
    given = {
        "Pix2Pix": [*data.glob("val/*"), "--pairs"],
        "SRNet": [f"--i_s={words[0]}", f"--i_t={data / 'val' / 'i_t' / words[0].name}"] if words[0] else [],
        "StackGAN": [f"--embeddings={tmp_path / 'embeddings.npy'}", "--num=1"],
    }.get(model.name, [tmp_path / "photo.png"])
    results = []
    for name, weights in (("om", f"--model={om_file.path}"), ("checkpoint", f"--ckpt_path={whole.run}")):
        flags = [weights, f"--output_path={tmp_path / name}", "--precision_mode=force_fp32"]
        predicted = om_file.command("predict", *given, *flags)
        assert predicted.end() == 0, predicted.text()[-3000:]
        numbers = [float(number) for number in re.findall(r"\d+\.\d+", predicted.text().replace(str(tmp_path), ""))]
        files = sorted((tmp_path / name).glob("*.png")) if (tmp_path / name).is_dir() else []
        results.append((numbers, [np.asarray(Image.open(file), float) for file in files]))
    (numbers, images), (expected_numbers, expected_images) = results
    if model.name == "ImprovedGAN":  # which prints a probability
        assert numbers and not images
        np.testing.assert_allclose(numbers, expected_numbers, atol=1e-3)
    assert len(images) == len(expected_images) and (images or model.name == "ImprovedGAN")
    for image, expected in zip(images, expected_images):
        np.testing.assert_allclose(image, expected, atol=1)


# Several workers; mistakes.


@pytest.mark.skipif(not CURRENT, reason="on the ascend stack a rehearsal trains on two devices")
def test_two_workers_end_with_the_same_weights(model, start, tmp_path):
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(f"127.0.0.1:{free.getsockname()[1]}")
    workers = []
    for rank in range(2):
        task = {"cluster": {"worker": ports}, "task": {"type": "worker", "index": rank}}
        flags = [*EVERY_STEP[model.name].split(), "--train_steps=2", "--batch_size=2", "--evaluate=False"]
        workers.append(start(*flags, output=tmp_path / "run", environment={"TF_CONFIG": json.dumps(task)}))
    assert [worker.end() for worker in workers] == [0, 0], workers[0].text()[-3000:] + workers[1].text()[-3000:]
    logs = [(tmp_path / "run" / f"train_{rank}.log").read_text() for rank in range(2)]
    digests = [re.findall(rf"worker {rank}: weights (\w+)", log) for rank, log in enumerate(logs)]
    assert digests[0] == digests[1] and digests[0]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["rank_size"], result["case_name"]) == (2, f"{model.name}_bs2_2p_perf")


@pytest.mark.parametrize("kind", ["missing", "empty", "a file"])
def test_data_that_is_none(start, tmp_path, kind):
    path = tmp_path / "data"
    if kind == "empty":
        path.mkdir()
    elif kind == "a file":
        path.write_text("no folder")
    refused = start(f"--data_path={path}", output=tmp_path / "run").refused()
    assert str(path) in refused[0]


def test_a_damaged_file_of_the_data(model, data, start, tmp_path):
    """The first file to train on is cut short: the answer names it."""
    shutil.copytree(data, tmp_path / "set")
    files = [path for kind in ("png", "jpg", "npz", "gz") for path in sorted((tmp_path / "set").rglob(f"*.{kind}"))]
    files = [path for path in files if not {"val", "test"} & set(path.parts) and path.stat().st_size > 400]
    os.truncate(files[0], 300)
    refused = start(f"--data_path={tmp_path / 'set'}", "--train_steps=2", output=tmp_path / "run").refused()
    assert files[0].name in " ".join(refused)


@pytest.mark.parametrize("script", ["train", "evaluate", "predict", "freeze"])
def test_scripts_refuse_in_a_line(spawner, data, tmp_path, script):
    helped = testing.Process(spawner, tmp_path, ["--help"], script)
    assert helped.end() == 0 and "usage: " in helped.text()
    misspelt = testing.Process(spawner, tmp_path, ["--ckpt_pth=x"], script).refused()
    assert "--ckpt_path" in misspelt[0] or "required" in misspelt[0]
    (tmp_path / "ckpt-1.safetensors").write_bytes(b"\x10" * 300)
    where = f"--output_path={tmp_path / 'out'}"
    flags = [f"--ckpt_path={tmp_path / 'ckpt-1.safetensors'}", where]
    if script in ("train", "evaluate"):
        flags.append(f"--data_path={data}")
    testing.Process(spawner, tmp_path, flags, script).refused()
