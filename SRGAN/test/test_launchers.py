"""The page's commands: which schedule each launcher and job entry starts, and that they run."""

import json
import os
import subprocess
import sys

import pytest
from conftest import MODEL, TINY

from common.testing import started_command

FULL = ["--train_epochs=500", "--evaluate=True"]
SHORT = ["--train_epochs=1", "--evaluate=False"]
SCRIPTS = [("train_full_1p.sh", FULL), ("train_performance_1p.sh", SHORT)]


@pytest.mark.parametrize("script, schedule", SCRIPTS)
def test_launchers(tmp_path, script, schedule):
    launcher = ["bash", MODEL / "test" / script]
    command = started_command(tmp_path, *launcher, "--data_path", "x", "--precision_mode=force_fp16")
    assert command[0] == str(MODEL / "train.py")
    assert command[1] == f"--output_path={MODEL / 'test' / 'output' / os.environ.get('ASCEND_DEVICE_ID', '0')}"
    assert command[2:] == [*schedule, "--data_path", "x", "--precision_mode=force_fp16"]
    assert "SRGAN" in "\n".join(started_command(tmp_path, *launcher, "-h"))


def test_without_data():
    done = subprocess.run(["bash", str(MODEL / "test" / "train_full_1p.sh")], capture_output=True, text=True)
    told = done.stderr.splitlines()
    assert done.returncode == 1 and told[0] == '[Error] para "data_path" must be config'
    assert told[1].endswith("SRGAN/sample_data.py --output_path DIR") and len(told) == 2


@pytest.mark.parametrize("entry, schedule", [("modelarts_entry_acc.py", FULL), ("modelarts_entry_perf.py", SHORT)])
def test_entries(tmp_path, entry, schedule):
    flags = ["--data_url", tmp_path, "--train_url=out", "--batch_size=8"]
    command = started_command(tmp_path, sys.executable, MODEL / entry, *flags)
    assert command[0] == str(MODEL / "train.py")
    assert command[2:] == [*schedule, f"--data_path={tmp_path}", "--output_path=out", "--batch_size=8"]


def test_the_pages_commands_on_sample_data(tmp_path):
    """Sample data, the page's command and launcher, then its test; small networks, all else as it comes."""
    environment = {**os.environ, "PYTHON": sys.executable}
    run = tmp_path / "a run"

    def call(*command):
        done = subprocess.run([str(word) for word in command], env=environment, cwd=str(tmp_path), capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return done.stdout.decode()

    call(sys.executable, MODEL / "sample_data.py", "--output_path=photographs", "--train=4", "--val=1", "--size=64")
    launcher = ["bash", MODEL / "test" / "train_performance_1p.sh"]
    said = call(*launcher, "--data_path=photographs", f"--output_path={run}", "--", *TINY)
    assert "--------------- Epoch 1 ---------------" in said and "Final Train Accuracy : not measured" in said
    assert json.loads((run / "result.json").read_text())["train_steps"] == 2
    flags = ["-ihr", "photographs/val", "-o", "out", "-m", run / "model" / "gen_model1.h5", "-n", "1"]
    call(sys.executable, MODEL / "test.py", *flags, "-t", "test_model")
    assert len(list((tmp_path / "out").glob("**/*.png"))) >= 1
