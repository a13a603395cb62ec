"""The device a run gets, its precision, its shards, and what each flag leaves behind off the NPU."""

import argparse
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from common import npu, session
from common.cli import TrainingError, UserError
from common.config import (
    PRECISION_MODES,
    SessionConfig,
    add_device_flags,
    add_session_flags,
    device_config,
    session_config,
)
from common.session import Session, open_session
from common.test.testing import clean_environment

CPU = {"device": "cpu", "precision_mode": "force_fp32"}


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def gpus(monkeypatch):
    """A machine with one GPU, as far as TensorFlow's lists go; what was set on them."""
    done = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["GPU:0"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: done.append(("visible", devices, kind)))
    growth = lambda gpu, on: done.append(("growth", gpu, on))  # noqa: E731
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", growth)
    tf32 = lambda on: done.append(("tf32", on))  # noqa: E731
    monkeypatch.setattr(tf.config.experimental, "enable_tensor_float_32_execution", tf32)
    return done


# Flags and devices.


def test_flags_become_the_config():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output_path")
    add_session_flags(parser, precision_mode="force_fp32")
    config = session_config(parser.parse_args(["--output_path=out"]))
    assert config == SessionConfig(precision_mode="force_fp32", dump_path=os.path.join("out", "dumps"), workers=True)
    words = "--output_path=o --device=cpu --precision_mode=force_fp16 --over_dump --data_dump_flag=True --profiling"
    words += " --data_dump_step=5 --autotune --blacklist_path=b --fusion_switch_file=f --customize_dtypes=c"
    config = session_config(parser.parse_args([*words.split(), "--deterministic", "--sync_batch_norm"]))
    flags = "cpu", "force_fp16", True, True, "5", True, True, "b", "f", "c", True, True, "o/dumps", True
    assert config == SessionConfig(*flags)
    parser = argparse.ArgumentParser()
    add_device_flags(parser)
    assert device_config(parser.parse_args(["--device=gpu"])) == SessionConfig("gpu")  # and no worker


def test_auto_takes_an_npu_then_a_gpu_then_the_cpu(monkeypatch, gpus):
    monkeypatch.setattr(npu, "open", lambda config: (3, 8))
    monkeypatch.setattr(npu, "available", lambda: True)
    opened = open_session(SessionConfig(precision_mode="allow_mix_precision", data_dump_step="0|5|10"))
    assert (opened.device, opened.precision, opened.rank, opened.world_size) == ("npu", "allow_mix_precision", 3, 8)
    assert gpus == [] and not opened.chief
    monkeypatch.setattr(npu, "available", lambda: False)
    assert open_session(SessionConfig(precision_mode="force_fp32")).device == "gpu"
    assert gpus == [("tf32", False), ("growth", "GPU:0", True)]
    gpus.clear()
    opened = open_session(SessionConfig(**CPU))
    assert (opened.device, opened.precision, opened.rank, opened.world_size) == ("cpu", "float32", 0, 1)
    assert gpus == [("visible", [], "GPU")] and opened.chief


@pytest.mark.parametrize(
    "flags, told",
    [
        ({"device": "gpu"}, "--device gpu: TensorFlow sees no GPU here; install its CUDA build or use --device cpu"),
        ({"device": "npu"}, "no NPU can be used here: npu_device does not import"),
        *(
            ({"device": "cpu", "data_dump_step": step}, f"--data_dump_step {step} is not a whole number of at least 1")
            for step in ("0", "-1", "0|5", "")
        ),
    ],
)
def test_what_cannot_be_is_refused(flags, told):
    with pytest.raises(UserError) as error:
        open_session(SessionConfig(**flags))
    assert str(error.value).startswith(told)


def test_each_worker_takes_a_gpu_of_its_machine_whatever_is_visible(monkeypatch):
    addresses = ["a:1", "a:2", "b:1", "b:2"]
    taken = [session.local_gpu(["GPU:0", "GPU:1", "GPU:2"], rank, addresses) for rank in range(4)]
    assert taken == ["GPU:0", "GPU:1", "GPU:0", "GPU:1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # the user's own: two workers do not share it
    with pytest.raises(UserError, match="^2 workers on b, but TensorFlow sees 1 GPUs: give --rank_size=1, or --device"):
        session.local_gpu(["GPU:0"], 3, addresses)


def test_shards_are_the_batch():
    parts = [Session(SessionConfig(), "cpu", "float32", rank, 3) for rank in range(3)]
    assert [part.shard(np.arange(6)).tolist() for part in parts] == [[0, 3], [1, 4], [2, 5]]
    assert parts[0].local_batch(12) == 4 and len({part.own("noise") for part in parts}) == 3
    assert Session(SessionConfig(), "cpu", "float32").own("noise") == parts[0].own("noise") == "noise"
    with pytest.raises(UserError, match="^--batch_size 8 cannot be split over 3 workers; give a multiple of 3$"):
        parts[0].local_batch(8)


def config(kind, index, **groups):
    return {"TF_CONFIG": json.dumps({"cluster": groups, "task": {"type": kind, "index": index}})}


def test_tf_config_tells_the_rank(monkeypatch):
    assert session.cluster({}) == session.cluster({"TF_CONFIG": '{"environment": "cloud"}'}) == (0, [])
    assert session.cluster(config("worker", 1, worker=["a:1", "b:2"])) == (1, ["a:1", "b:2"])
    two = {"worker": ["b:2", "c:3"], "chief": ["a:1"]}
    assert session.cluster(config("worker", 1, **two)) == (2, ["a:1", "b:2", "c:3"])
    assert session.cluster(config("chief", 0, **two)) == (0, ["a:1", "b:2", "c:3"])
    for name, value in config("worker", 1, worker=["a:1", "b:2"]).items():
        monkeypatch.setenv(name, value)
    assert session.place("cpu") == (False, True)
    assert open_session(SessionConfig(**CPU)).world_size == 1  # not a training


@pytest.mark.parametrize(
    "variables",
    [{"TF_CONFIG": "{"}, {"TF_CONFIG": "[]"}, config("worker", 2, worker=["a:1"]), config("ps", 0, ps=["a:1"])],
)
def test_a_tf_config_that_says_something_else_is_refused(variables):
    with pytest.raises(UserError, match="^TF_CONFIG in the environment is not of the form\n"):
        session.cluster(variables)


# Precision.

TABLE = {  # mode: policy on a GPU, on a CPU that multiplies bfloat16, a loss scale on an NPU
    "force_fp32": ("float32", "float32", True),  # CANN takes it for cube_fp16in_fp32out
    "must_keep_origin_dtype": ("float32", "float32", False),
    "allow_fp32_to_fp16": ("float32", "float32", True),
    "allow_fp32_to_bf16": ("float32", "float32", False),
    "force_fp16": ("mixed_float16", "mixed_bfloat16", True),
    "cube_fp16in_fp32out": ("mixed_float16", "mixed_bfloat16", True),
    "allow_mix_precision": ("mixed_float16", "mixed_bfloat16", True),
    "allow_mix_precision_fp16": ("mixed_float16", "mixed_bfloat16", True),
    "allow_mix_precision_bf16": ("mixed_bfloat16", "mixed_bfloat16", False),
}


def test_every_mode_is_in_the_table():
    assert set(TABLE) == set(PRECISION_MODES)


@pytest.mark.parametrize("mode", TABLE)
def test_modes(monkeypatch, gpus, capsys, mode):
    on_gpu, on_cpu, scale_on_npu = TABLE[mode]
    for device, bfloat16, expected in (("gpu", False, on_gpu), ("cpu", True, on_cpu), ("cpu", False, "float32")):
        monkeypatch.setattr(session, "cpu_has_bfloat16", lambda known=bfloat16: known)
        opened = open_session(SessionConfig(device=device, precision_mode=mode))
        assert opened.precision == keras.mixed_precision.global_policy().name == expected
        assert opened.needs_loss_scale is (expected == "mixed_float16")
        assert opened.precision_without_overflow == "force_fp32"
        told = f"[Info] --precision_mode {mode}: this CPU or TensorFlow {tf.__version__} has no bfloat16"
        said = capsys.readouterr().out
        assert said.startswith(told) if expected == "float32" and on_cpu != "float32" else said == ""
    monkeypatch.setattr(npu, "open", lambda config: (0, 1))
    opened = open_session(SessionConfig(device="npu", precision_mode=mode))
    assert opened.needs_loss_scale is scale_on_npu and opened.precision_without_overflow == "must_keep_origin_dtype"
    assert (("tf32", False) in gpus) is (mode in ("force_fp32", "must_keep_origin_dtype"))  # HF32 on an A2


def test_bfloat16_needs_the_cpu_and_tensorflow(monkeypatch):
    for version, flags, expected in (
        ("2.21.0", "flags : fpu avx512_bf16 sse", True),
        ("2.21.0", "flags : amx_bf16", True),
        ("2.21.0", "flags : avx512f", False),
        ("2.6.5", "flags : avx512_bf16", False),
    ):
        monkeypatch.setattr(tf, "__version__", version)
        monkeypatch.setattr(session, "open", lambda path, flags=flags: io.StringIO(flags), raising=False)
        assert session.cpu_has_bfloat16() is expected


# What the NPU's flags do elsewhere.


@pytest.mark.parametrize("flag", [None, "autotune", "blacklist_path", "fusion_switch_file", "customize_dtypes"])
def test_what_only_an_npu_has_says_so_and_leaves_nothing(tmp_path, capsys, flag):
    asked = {flag: True if flag == "autotune" else "some.json"} if flag else {}
    open_session(SessionConfig(**CPU, dump_path=str(tmp_path / "dumps"), **asked))
    told = f"[Info] --{flag} tunes the NPU's graph engine; on a cpu there is nothing for it to do\n"
    assert capsys.readouterr().out == (told if flag else "") and os.listdir(tmp_path) == []


def test_over_dump_names_the_first_overflowing_operation(tmp_path):
    """In a process of its own, since TensorFlow's check stays on; which also says nothing of its own accord."""
    toy = [sys.executable, str(Path(__file__).with_name("toy.py")), f"--output_path={tmp_path}", "--device=cpu"]
    command = [*toy, "--over_dump", "--divide_by_zero_at=2", "--save_step=1"]
    environment = {k: v for k, v in clean_environment().items() if not k.startswith("TF_")}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    error, where = result.stderr.splitlines()
    assert error.startswith("[Error] step 3: the first operation whose output is not finite is ")
    assert "(toy/ratio): Infinity or NaN." in error
    file = tmp_path / "none" / "dumps" / "overflow_00000003.txt"
    assert where == f"What went into it and which line made it: {file}" and result.stdout == ""
    assert "Detected Infinity or NaN" in file.read_text() and "toy.py" in file.read_text()
    assert [path.name for path in (tmp_path / "none" / "checkpoints").iterdir()] == [
        "ckpt-1.safetensors",
        "ckpt-2.safetensors",
    ]


def test_other_errors_are_left_as_they_are(tmp_path):
    text = '\n\n!!! Detected Infinity or NaN in output 0 of eagerly-executing op "Log" (# of outputs: 1) !!!\n'
    error = tf.errors.InvalidArgumentError(None, None, text)
    assert Session(SessionConfig(**CPU), "cpu", "float32").explain(error) is None
    opened = Session(SessionConfig(over_dump=True, dump_path=str(tmp_path)), "cpu", "float32")
    assert opened.explain(ValueError("shapes do not match")) is None
    told = opened.explain(error)  # without a graph
    assert isinstance(told, TrainingError) and "not finite is Log: Infinity or NaN." in str(told)
    at_npu = Session(SessionConfig(), "npu", "force_fp32")
    failed = tf.errors.InternalError(None, None, "GeOp3_0 run failed\nEZ9999: Inner Error!\n\tTraceKey 3\n" * 12)
    told = str(at_npu.explain(failed))
    assert told.startswith("the NPU's graph engine failed: EZ9999: Inner Error! TraceKey 3") and "\n" not in told
    assert "; its log is in " in told and at_npu.explain(ValueError("EZ9999")) is None


def test_data_dump_holds_inputs_results_and_gradient_norms(tmp_path):
    folder = tmp_path / "dumps"
    opened = open_session(SessionConfig(**CPU, data_dump_flag=True, data_dump_step="4", dump_path=str(folder)))
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, name="dense")(inputs))
    model.layers[-1].set_weights([np.array([[1.0], [1.0]])])
    optimizer = opened.optimizer(model, 0.0)

    def d_step(x, number):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x))
        optimizer.minimize(loss, tape)
        return {"d_loss": loss}

    turns = [opened.compile(d_step), opened.compile(lambda x, number: {"g_loss": tf.reduce_sum(x)})]
    for opened.step in range(10):
        turns[opened.step % 2](tf.constant([[3.0, 4.0]]), tf.constant(opened.step))
    names = [f"{name}_{n:08d}.npz" for name, n in (("<lambda>", 4), ("<lambda>", 8), ("d_step", 5), ("d_step", 9))]
    assert sorted(os.listdir(folder)) == names  # steps that take turns: each in its next turn
    with np.load(folder / names[3]) as dump:
        assert {name: dump[name].tolist() for name in dump.files} == {
            "input/0": [[3.0, 4.0]],
            "input/1": 8,
            "output/d_loss": 7.0,
            "gradient_norm/dense.0": 5.0,
        }


def test_deterministic_reaches_tensorflow(monkeypatch):
    asked = []
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "0")
    if hasattr(tf.config.experimental, "enable_op_determinism"):
        monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(True))
    open_session(SessionConfig(**CPU, deterministic=True))
    assert asked == [True] or os.environ["TF_DETERMINISTIC_OPS"] == "1"


def test_a_seed_gives_the_same_weights():
    drawn = []
    for seed in (1, 1, 2):
        session.set_seed(seed)
        layer = keras.layers.Dense(3)
        layer.build((None, 4))
        drawn.append(layer.get_weights()[0])
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()


def test_onednn_is_taken_where_it_works():
    """By TensorFlow 2.9 and later on x86, unless the user says otherwise; 2.6 divides by zero without AVX-512."""
    code = "import common, os; import tensorflow; print(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))"
    environment = {key: value for key, value in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"}
    taken = tuple(map(int, tf.__version__.split(".")[:2])) >= (2, 9) and os.uname().machine == "x86_64"
    for given, expected in (({}, "1" if taken else "None"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")):
        run = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(session.__file__).parents[1],
            env={**environment, **given},
            capture_output=True,
            text=True,
        )
        assert run.stdout.strip() == expected, run.stderr
