"""Training processes killed and stopped: what they say, and that they go on exactly, dropout and jitter included."""

import os
import random
import re
import signal
import time

import pytest
import tensorflow as tf
from conftest import MODEL, TINY, log_lines

from common import testing
from common.testing import checkpoints, weights_file

CURRENT = not tf.__version__.startswith("2.6.")


@pytest.fixture(scope="module")
def spawner():
    with testing.spawner(MODEL) as process:
        yield process


@pytest.fixture
def start(spawner, pair_set, tmp_path):
    flags = [f"--data_path={pair_set}", "--evaluate=False", "--print_freq=1", "--save_latest_freq=6", *TINY]
    with testing.starter(spawner, tmp_path, *flags) as begin:
        yield begin


def steps_told(process):
    """Six of them are an epoch."""
    return [int(6 * line["epoch"] + line["number"]) for line in log_lines(process.text())]


@pytest.mark.skipif(not CURRENT, reason="TensorFlow 2.6 has no deterministic kernels for all of it")
def test_killed_at_any_moment(start, tmp_path):
    """kill -9 while a checkpoint is written and at a random step: the same bits at the end."""
    moments = random.Random(0)
    flags = ["--train_steps=26", "--niter=2", "--deterministic"]
    whole = start(*flags, output=tmp_path / "whole")
    run, killed = tmp_path / "run", []

    def killed_when(happened):
        process = start(*flags)
        process.until(lambda: happened(process))
        time.sleep(moments.uniform(0, 0.02))
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
        killed.append(process)

    # A checkpoint is being written while its folder holds files under temporary names.
    killed_when(lambda process: 6 in checkpoints(run) and list((run / "checkpoints").glob("*temp*")))
    later = moments.randint(max(checkpoints(run)) + 2, 24)
    killed_when(lambda process: later in steps_told(process))
    last = start(*flags)
    assert last.end() == 0, last.text()
    assert whole.end() == 0, whole.text()
    assert steps_told(whole) == list(range(1, 27))
    for before, after in zip(killed, (*killed[1:], last)):
        [told] = re.findall(r"\[Info\] continuing the unfinished run in (\S+) from step (\d+)", after.text())
        # From the newest checkpoint, or the one before where the kill cut the newest one short.
        assert told[0] == str(run) and 0 <= steps_told(before)[-1] - int(told[1]) <= 12 and int(told[1]) % 6 == 0
        assert steps_told(after)[0] == int(told[1]) + 1
    assert checkpoints(run)[-1] == 26
    assert testing.differing(testing.weights(tmp_path / "whole", 26), testing.weights(run, 26)) == []
    assert testing.json_lines(run / "metrics.jsonl") == testing.json_lines(tmp_path / "whole" / "metrics.jsonl")
    for sheet in (tmp_path / "whole" / "examples").iterdir():
        assert sheet.read_bytes() == (run / "examples" / sheet.name).read_bytes()


def test_one_run_through_everything(start, tmp_path):
    """SIGTERM, other options, a damaged checkpoint, a run beside it and Ctrl-C, one after another."""
    run, flags = tmp_path / "run", ["--train_steps=100000"]

    # SIGTERM ends the step, saves and says so.
    process = start(*flags)
    process.until(lambda: checkpoints(run))
    assert process.end(signal.SIGTERM) == 143
    before, stopped = checkpoints(run)[-2:]
    last = f"[Info] stopped by signal 15 after step {stopped}: the same command continues from here"
    assert process.told()[-1] == last

    # Another run's options are refused.
    other = start(*flags, "--which_direction=AtoB")
    assert other.end() == 2
    told = f"--output_path {run} holds an unfinished run of other options (--which_direction BtoA, now AtoB)"
    assert told in other.text()

    # The same command continues; a truncated checkpoint is told and set aside, and the one before it is used.
    file = weights_file(run, stopped)
    os.truncate(str(file), file.stat().st_size // 2)
    process = start(*flags)
    process.until(lambda: not file.exists() and max(checkpoints(run)) > before)
    [warning] = [line for line in process.told() if line.startswith("[Warning]")]
    assert f"ckpt-{stopped} is damaged" in warning and "trying the one before" in warning
    assert f"[Info] continuing the unfinished run in {run} from step {before}" in process.told()
    assert (file.parent / f"damaged-{file.name}").exists() and steps_told(process)[0] == before + 1

    # Meanwhile nobody else may write there, nor move it aside. Then Ctrl-C.
    for asked in ([], ["--continue_train=True"], ["--continue_train=False"]):
        beside = start(*flags, *asked)
        assert beside.end() == 2
        assert f"[Error] --output_path {run}: another run is writing there now; choose another folder" in beside.told()
    assert process.end(signal.SIGINT) == 130
