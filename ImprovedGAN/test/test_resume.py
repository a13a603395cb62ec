"""Training processes killed, stopped, damaged and starved of disk: what they say, and that they go on exactly."""

import json
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import tensorflow as tf
import toy

from common import testing
from common.testing import checkpoints, weights_file

CURRENT = not tf.__version__.startswith("2.6.")


@pytest.fixture(scope="module")
def spawner():
    with testing.spawner(Path(__file__).resolve().parent.parent) as process:
        yield process


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return toy.write_set(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def start(spawner, digits, tmp_path):
    tiny = ["--batch_size=6", "--n_labels=6", "--baseline_steps=0", "--ckpt_save_step=10", "--output_save_step=1000"]
    with testing.starter(spawner, tmp_path, f"--data_path={digits}", *tiny) as begin:
        yield begin


def steps_told(process):
    return [line["step"] for line in toy.log_lines(process.text()) if line["kind"] == "train"]


@pytest.mark.skipif(not CURRENT, reason="TensorFlow 2.6 has no deterministic kernels for all of it")
@pytest.mark.parametrize("model", ["ssgan", "paper"])
def test_killed_at_any_moment(start, tmp_path, model):
    """kill -9 before the first checkpoint, while one is written, and at a random step: the same bits at the end."""
    moments = random.Random(model)
    flags = [f"--model={model}", "--train_steps=60", "--log_step=1", "--write_summary_step=2", "--deterministic"]
    whole = start(*flags, output=tmp_path / "whole")
    assert whole.end() == 0, whole.text()

    run, killed = tmp_path / "run", []

    def killed_when(happened):
        process = start(*flags)
        process.until(lambda: happened(process))
        time.sleep(moments.uniform(0, 0.02))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        killed.append(process)
        return process

    early = moments.randint(2, 8)
    killed_when(lambda process: early in steps_told(process))
    # A checkpoint is being written while its folder holds files under temporary names.
    killed_when(lambda process: 20 in checkpoints(run) and list((run / "checkpoints").glob("*temp*")))
    later = moments.randint(max(checkpoints(run)) + 1, max(checkpoints(run)) + 9)
    process = killed_when(lambda process: later in steps_told(process))
    last = start(*flags)
    assert last.end() == 0, last.text()
    assert steps_told(killed[0])[0] == steps_told(killed[1])[0] == 1  # no checkpoint yet
    for before, after in zip(killed[1:], (process, last)):
        [told] = re.findall(r"\[Info\] continuing the unfinished run in (\S+) from step (\d+)", after.text())
        # From the newest checkpoint, or the one before where the kill cut the newest one short.
        assert told[0] == str(run) and 0 <= steps_told(before)[-1] - int(told[1]) <= 20 and int(told[1]) % 10 == 0
        assert steps_told(after)[0] == int(told[1]) + 1
    assert checkpoints(run)[-1] == checkpoints(tmp_path / "whole")[-1] == 60
    assert testing.differing(testing.weights(tmp_path / "whole", 60), testing.weights(run, 60)) == []
    # The curve and the results are the uninterrupted run's too.
    assert testing.json_lines(run / "metrics.jsonl") == testing.json_lines(tmp_path / "whole" / "metrics.jsonl")
    results = [json.loads((folder / "result.json").read_text()) for folder in (run, tmp_path / "whole")]
    for name in ("loss", "metrics", "baseline", "train_steps"):
        assert results[0][name] == results[1][name]


def test_one_run_through_everything(start, tmp_path):
    """SIGTERM, other options, a run beside it, SIGINT, a damaged checkpoint and a full disk, one after another."""
    run = tmp_path / "run"
    flags = ["--model=paper", "--train_steps=100000"]

    # SIGTERM ends the step, saves and says so.
    process = start(*flags)
    process.until(lambda: checkpoints(run))
    assert process.end(signal.SIGTERM) == 143
    stopped = max(checkpoints(run))
    last = f"[Info] stopped by signal 15 after step {stopped}: the same command continues from here"
    assert process.told()[-1] == last and last in (run / "train_0.log").read_text()

    # Another run's options are refused, and both ways out are named.
    other = start("--model=paper", "--train_steps=99", "--seed=4")
    assert other.end() == 2
    [line] = [line for line in other.told() if line.startswith("[Error]")]
    assert f"--output_path {run} holds an unfinished run of other options" in line
    assert "--seed 0, now 4" in line and "--train_steps 100000, now 99" in line
    assert "Repeat that run's options to continue it, or give another --output_path" in other.text()

    # The same command continues; meanwhile nobody else may write there. Then Ctrl-C.
    process = start(*flags)
    process.until(lambda: max(checkpoints(run)) > stopped)
    beside = start(*flags)
    assert beside.end() == 2
    assert f"[Error] --output_path {run}: another run is writing there now; choose another folder" in beside.told()
    assert process.end(signal.SIGINT) == 130
    assert f"[Info] continuing the unfinished run in {run} from step {stopped}" in process.told()
    newest, before = sorted(checkpoints(run))[::-1][:2]
    assert f"stopped by signal 2 after step {newest}" in process.told()[-1]

    # A truncated checkpoint is told and set aside, and the one before it is used.
    file = weights_file(run, newest)
    os.truncate(str(file), file.stat().st_size // 2)
    process = start(*flags)
    process.until(lambda: not file.exists() and max(checkpoints(run)) > before)
    assert process.end(signal.SIGTERM) == 143
    [warning] = [line for line in process.told() if line.startswith("[Warning]")]
    assert f"ckpt-{newest} is damaged" in warning and "trying the one before" in warning
    assert f"[Info] continuing the unfinished run in {run} from step {before}" in process.told()
    assert (file.parent / f"damaged-{file.name}").exists()

    # No room for the next checkpoint: two plain lines, and the one before it is whole.
    kept = checkpoints(run)
    size = weights_file(run, kept[-1]).stat().st_size
    process = start(*flags, largest_file=size // 2)
    assert process.end() == 2, process.text()
    error = process.text()[process.text().index("[Error]") :].splitlines()
    assert len(error) == 2, error
    assert re.match(rf"\[Error\] --output_path {run}: the checkpoint of step \d+ cannot be written \(.+\)\.", error[0])
    assert error[1] == "Make room there and repeat the command: it continues from the checkpoint before."
    assert checkpoints(run) == kept
    process = start(*flags)
    process.until(lambda: max(checkpoints(run)) > kept[-1])
    assert process.end(signal.SIGTERM) == 143
    assert f"[Info] continuing the unfinished run in {run} from step {kept[-1]}" in process.told()
