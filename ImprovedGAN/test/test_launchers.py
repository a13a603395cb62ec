"""Which schedule each launcher, job entry and boot file starts: a stand-in for Python prints its command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = Path(__file__).resolve().parent.parent
FULL = ["--train_steps=45000", "--evaluate=True"]
SHORT = ["--train_steps=500", "--evaluate=False"]


@pytest.fixture
def command_of(tmp_path):
    """The command that a script starts, called from another folder."""
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)

    def run(*command):
        environment = {**os.environ, "PYTHON": str(stand_in)}
        printed = subprocess.check_output([str(word) for word in command], cwd=str(tmp_path), env=environment)
        return printed.decode().splitlines()

    return run


@pytest.mark.parametrize("script, schedule", [("train_full_1p.sh", FULL), ("train_performance_1p.sh", SHORT)])
def test_launchers(command_of, script, schedule):
    command = command_of("bash", MODEL / "test" / script, "--data_path", "x", "--obs_url=obs://b")
    assert command[0] == str(MODEL / "train.py")
    assert command[2:] == [*schedule, "--data_path", "x", "--obs_url=obs://b"]
    assert "ImprovedGAN" in "\n".join(command_of("bash", MODEL / "test" / script, "--help"))


@pytest.mark.parametrize(
    "entry, schedule", [("modelarts_entry_acc.py", FULL), ("modelarts_entry_perf.py", SHORT), ("trainer.py", FULL)]
)
def test_entries(command_of, tmp_path, entry, schedule):
    command = command_of(sys.executable, MODEL / entry, "--data_url", tmp_path, "--train_url=out", "--batch_size=8")
    paths = [f"--data_path={tmp_path}", "--output_path=out"]
    assert command[0] == str(MODEL / "train.py")
    assert command[2:] == [*schedule, *paths, "--batch_size=8"]
