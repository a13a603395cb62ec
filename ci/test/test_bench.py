"""The bench on a repository of small models whose FLOPs are known and whose input is slow."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# A 3x3 convolution of 2x8x8x3 to 4 channels, and by turns a product of 2x5 and 5x7, each with its weight's gradient.
FLOPS = [2 * (2 * 8 * 8 * 4) * (3 * 3 * 3) * 2, 2 * (2 * 7 * 5) * 2]
TRAIN = """
import os, sys, time
from types import SimpleNamespace
import tensorflow as tf
from common import cli
from common.session import add_session_flags, open_session, session_config


def parse_args(argv=None):
    parser = cli.ArgumentParser()
    for flag in ("--data_path", "--output_path", "--kind"):
        parser.add_argument(flag, required=True)
    add_session_flags(parser)
    args = parser.parse_args(argv)
    args.batch_size = 2
    return args


def prepare(args):
    assert os.listdir(args.data_path) == ["data"] and os.path.isdir(args.output_path)
    session = open_session(session_config(args))
    weights = [tf.Variable(tf.ones([3, 3, 3, 4])), tf.Variable(tf.ones([5, 7]))]

    def convolve(pictures):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.conv2d(pictures, weights[0], 1, "SAME"))
        weights[0].assign_sub(1e-6 * tape.gradient(loss, weights[0]))
        return {"loss": loss}

    def multiply(pictures):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.matmul(pictures[:, 0, :5, 0], weights[1]) ** 2)
        weights[1].assign_sub(1e-6 * tape.gradient(loss, weights[1]))
        return {"loss": loss}

    def batches(start_step):
        assert args.kind != "broken", "on purpose"
        while True:
            time.sleep(0.02)
            yield tf.ones([2, 8, 8, 3])

    turns = [session.compile(convolve), session.compile(multiply)]
    cycle = 2 if args.kind == "turns" else 1
    return SimpleNamespace(
        session=session, batches=batches, cycle=cycle, update=lambda batch, step: turns[step % cycle](batch)
    )
"""
SAMPLE_DATA = "import pathlib, sys; pathlib.Path(sys.argv[2], 'data').mkdir(parents=True)"
KEYS = """model configuration precision_mode device precision batch_size steps cycle sec_per_step images_per_sec
    input_wait cached_sec_per_step cached_images_per_sec flops_per_step uncounted_operations peak_flops peak_share
    peak_memory_mb first_step_sec"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A function that runs the bench in a repository with two models, from elsewhere."""
    root = tmp_path_factory.mktemp("a house")
    for source in (*(REPOSITORY / "ci").glob("*.py"), *(REPOSITORY / "common").glob("*.py")):
        (root / source.parent.name).mkdir(exist_ok=True)
        shutil.copy(str(source), str(root / source.parent.name))
    for model, flags in (
        ("One", "# both\nturns: --kind=turns\n\nalone: --kind='al one'\n"),
        ("Two", "x: --kind=broken"),
    ):
        (root / model / "test").mkdir(parents=True)
        (root / model / "train.py").write_text(TRAIN)
        (root / model / "sample_data.py").write_text(SAMPLE_DATA)
        (root / model / "test" / "bench.flags").write_text(flags)

    def run(*flags):
        command = [sys.executable, str(root / "ci" / "bench.py"), "--precision=force_fp32", "--steps=4", *flags]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}
        return root, subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)

    return run


def test_every_configuration_is_measured(bench, tmp_path):
    root, result = bench("--models", "One", "--output", str(tmp_path / "new" / "rows.json"))
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert [(row["model"], row["configuration"], row["cycle"]) for row in rows] == [
        ("One", "turns", 2),
        ("One", "alone", 1),
    ]
    assert [row["flops_per_step"] for row in rows] == [sum(FLOPS) / 2, FLOPS[0]]
    for row in rows:
        assert list(row) == KEYS.split()
        assert (row["precision_mode"], row["device"], row["precision"]) == ("force_fp32", "cpu", "float32")
        assert (row["batch_size"], row["steps"], row["uncounted_operations"]) == (2, 4 * row["cycle"], 0)
        assert 0 < row["cached_sec_per_step"] < row["sec_per_step"] and row["sec_per_step"] > 0.02
        assert 0.3 < row["input_wait"] < 1  # two hundredths of a second for a batch, next to nothing for a step
        assert row["images_per_sec"] == pytest.approx(2 / row["sec_per_step"])
        assert row["peak_share"] == pytest.approx(
            row["flops_per_step"] / row["cached_sec_per_step"] / row["peak_flops"]
        )
        assert 0 < row["peak_share"] < 1 and row["peak_flops"] > 1e8
        assert row["peak_memory_mb"] > 50 and row["first_step_sec"] > 0
    table = result.stdout.splitlines()
    assert len(table) == 3 and table[0].startswith("model") and table[1].startswith("One turns  force_fp32")
    assert (root / "build" / "sample_data" / "One" / "data").is_dir()


def test_a_failing_measurement_is_told_and_the_others_stay(bench):
    root, result = bench("--models", "Two")
    assert result.returncode == 1
    assert "Two x" in result.stdout and "FAILED with exit status 1" in result.stdout and "on purpose" in result.stderr
    [row] = json.loads((root / "build" / "bench.json").read_text())
    assert row["error"] == "FAILED with exit status 1"


def test_an_unknown_model_is_refused(bench):
    _, result = bench("--models", "Three")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "[Error] --models: there is no model Three; there are One, Two\n"
