"""The bench: FLOPs that are known, one model measured, what fails, and what is left when it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import bench
import pytest
import tensorflow as tf
from conftest import REPOSITORY

CURRENT = not tf.__version__.startswith("2.6.")


def test_flops_worked_out_by_hand():
    """A 3x3 convolution of 2x8x8x3 to 4 channels and a product of 2x5 and 5x7, each with its weight's gradient."""

    def step(x, w, m):
        with tf.GradientTape() as tape:
            tape.watch([w, m])
            loss = tf.reduce_sum(tf.nn.conv2d(x, w, 1, "SAME")) + tf.reduce_sum(tf.matmul(x[:, 0, :5, 0], m) ** 2)
        return loss, tape.gradient(loss, [w, m])  # else the forward convolution would be pruned

    shapes = [2, 8, 8, 3], [3, 3, 3, 4], [5, 7]
    graph = tf.function(step).get_concrete_function(*map(tf.TensorSpec, shapes)).graph
    assert bench.count_flops(graph) == (2 * 2 * (2 * 8 * 8 * 4) * (3 * 3 * 3) + 2 * 2 * (2 * 7 * 5), 0)
    graph = tf.function(lambda x: x @ tf.transpose(x)).get_concrete_function(tf.TensorSpec([None, 3])).graph
    assert bench.count_flops(graph) == (0, 1)  # of open size


def command(tmp_path, *flags):
    output = f"--output={tmp_path / 'rows.json'}"
    return [sys.executable, str(REPOSITORY / "ci" / "bench.py"), "--models=ImprovedGAN", output, *flags]


@pytest.mark.skipif(not CURRENT, reason="measured on the current stack")
def test_rows_ratios_and_what_fails(tmp_path):
    """Both configurations in a mode that there is, then in one that there is not; against older rows."""
    names = [name for name, _ in bench.configurations("ImprovedGAN")]
    old = [{"model": "ImprovedGAN", "configuration": name, "precision_mode": "force_fp32"} for name in names]
    (tmp_path / "old.json").write_text(json.dumps([{**row, "images_per_sec": 1.0} for row in old]))
    flags = ["--precision", "force_fp32", "fp8", "--seconds=0.1", f"--against={tmp_path / 'old.json'}"]
    done = subprocess.run(command(tmp_path, *flags), capture_output=True, text=True)
    assert done.returncode == 1
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["configuration"], row["precision_mode"]) for row in rows] == [
        (name, mode) for name in names for mode in ("force_fp32", "fp8")
    ]
    for good, bad in zip(rows[::2], rows[1::2]):
        assert 0 < good["sec_per_step"] < 60 and 0 < good["peak_share"] < 2 and 0 <= good["input_share"] < 1
        assert good["images_per_sec"] == pytest.approx(good["batch_size"] / good["sec_per_step"])
        assert good["against"] == pytest.approx(good["images_per_sec"])
        assert good["flops_per_step"] > 1e8 and good["uncounted_operations"] == 0 and good["first_step_sec"] > 0
        assert bad["error"].startswith("FAILED (exit status 2): [Error]") and "fp8" in bad["error"]
    header, *table = done.stdout.splitlines()
    assert header.split()[:4] == ["model", "precision", "batch", "s/step"] and len(table) == len(rows)
    assert max(map(len, (header, table[0]))) <= 100


@pytest.mark.skipif(not CURRENT, reason="measured on the current stack")
def test_what_is_measured_is_kept_when_it_is_stopped(tmp_path):
    process = subprocess.Popen(command(tmp_path, "--seconds=1000"), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("model")
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN else signal.SIGTERM)
    assert process.wait(60) in (130, 143)
    assert json.loads((tmp_path / "rows.json").read_text()) == []
