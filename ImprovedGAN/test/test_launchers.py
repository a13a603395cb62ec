"""Which schedule each launcher, job entry and boot file starts: a stand-in for Python prints its command."""

import sys
from pathlib import Path

import pytest

from common.testing import started_command

MODEL = Path(__file__).resolve().parent.parent
FULL = ["--train_steps=45000", "--evaluate=True"]
SHORT = ["--train_steps=500", "--evaluate=False"]


@pytest.mark.parametrize("script, schedule", [("train_full_1p.sh", FULL), ("train_performance_1p.sh", SHORT)])
def test_launchers(tmp_path, script, schedule):
    command = started_command(tmp_path, "bash", MODEL / "test" / script, "--data_path", "x", "--obs_url=obs://b")
    assert command[0] == str(MODEL / "train.py")
    assert command[2:] == [*schedule, "--data_path", "x", "--obs_url=obs://b"]
    assert "ImprovedGAN" in "\n".join(started_command(tmp_path, "bash", MODEL / "test" / script, "--help"))


@pytest.mark.parametrize(
    "entry, schedule", [("modelarts_entry_acc.py", FULL), ("modelarts_entry_perf.py", SHORT), ("trainer.py", FULL)]
)
def test_entries(tmp_path, entry, schedule):
    command = started_command(
        tmp_path, sys.executable, MODEL / entry, "--data_url", tmp_path, "--train_url=out", "--batch_size=8"
    )
    paths = [f"--data_path={tmp_path}", "--output_path=out"]
    assert command[0] == str(MODEL / "train.py")
    assert command[2:] == [*schedule, *paths, "--batch_size=8"]
