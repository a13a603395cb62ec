"""common/npu.py against the double of the adapter (npu_double), in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from common import npu
from common.cli import UserError
from common.config import PRECISION_MODES, SessionConfig
from common.test.testing import clean_environment

HERE = Path(__file__).resolve().parent
ASCEND = tf.__version__.startswith("2.6.")
ascend = pytest.mark.skipif(not ASCEND, reason="Huawei's adapter is for TensorFlow 2.6")
CHIEF = {"CM_CHIEF_IP": "127.0.0.1", "CM_CHIEF_PORT": "6000", "CM_CHIEF_DEVICE": "0", "CM_WORKER_IP": "127.0.0.1"}
TABLE = {"RANK_SIZE": "2", "RANK_TABLE_FILE": __file__}


def start(*arguments, **variables):
    environment = {**clean_environment(), "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def seen_by(process):
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


# On both stacks: nothing here needs TensorFlow.


def test_without_adapter_there_is_no_npu_and_nothing_is_imported(tmp_path):
    code = (
        f"import json, sys; sys.path.insert(0, {str(HERE)!r}); from types import SimpleNamespace\n"
        "from npu_scenarios import npu, outcome\n"
        "flags = 'precision_mode over_dump data_dump_flag profiling autotune deterministic'.split()\n"
        "config = SimpleNamespace(**dict.fromkeys([*flags, *npu.FILE_OPTIONS]))\n"
        "opened = outcome(lambda: npu.open(config))\n"
        "print(json.dumps([npu.available(), opened, 'tensorflow' in sys.modules]))"
    )
    available, opened, imported = seen_by(start("-c", code))
    assert not available and not imported
    assert opened.startswith("UserError: no NPU can be used here: npu_device does not import")
    assert opened.count("\n") == 1 and "--device=cpu" in opened


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"customize_dtypes": "/no/such.json"}, "--customize_dtypes=/no/such.json: there is no such file"),
        ({"over_dump": True, "data_dump_flag": True}, "--over_dump and --data_dump_flag"),
        ({"profiling": True, "dump_path": __file__}, "profiling cannot be made"),
    ],
)
def test_flags_that_cannot_be(flags, message):
    with pytest.raises(UserError, match=message):
        npu.settings(SessionConfig(**flags))


def test_nothing_asked_sets_nothing(tmp_path):
    assert npu.settings(SessionConfig(precision_mode="", dump_path=str(tmp_path / "dumps"))) == {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "environ, chief, several",
    [
        ({}, True, False),
        ({"RANK_SIZE": "1", "RANK_TABLE_FILE": "/none", **CHIEF}, True, False),
        ({**TABLE, "RANK_ID": "1", "ASCEND_DEVICE_ID": "0"}, False, True),
        ({"CM_WORKER_SIZE": "8", **CHIEF}, True, True),
        ({"CM_WORKER_SIZE": "8", **CHIEF, "ASCEND_DEVICE_ID": "3"}, False, True),
    ],
)
def test_environments_that_work(environ, chief, several):
    assert npu.place(environ) == (chief, several)


@pytest.mark.parametrize(
    "environ, message",
    [
        ({"RANK_SIZE": "1", "CM_WORKER_SIZE": "1"}, "RANK_SIZE and CM_WORKER_SIZE are both set"),
        ({"RANK_SIZE": "2"}, "RANK_SIZE=2 asks for several devices: set either RANK_TABLE_FILE and RANK_ID, or CM_CH"),
        ({**TABLE, "RANK_ID": "0", **CHIEF}, "and not both"),
        (TABLE, "with RANK_TABLE_FILE, RANK_ID must be set"),
        ({**TABLE, "RANK_TABLE_FILE": "/no/table", "RANK_ID": "0"}, "/no/table: there is no such file"),
        ({"CM_WORKER_SIZE": "2", **CHIEF, "CM_WORKER_IP": ""}, "CM_WORKER_IP must be set"),
        ({"RANK_SIZE": "two"}, "RANK_SIZE='two' in the environment is not a whole number"),
    ],
)
def test_environments_that_are_refused(environ, message):
    with pytest.raises(UserError) as error:
        npu.check_environment(environ)
    assert message in str(error.value) and "\n" not in str(error.value)


# On the ascend stack: against the double.


def options(calls):
    *options, opened, default = calls
    assert {call["call"] for call in options} == {"option"}
    assert [opened["call"], default["call"]] == ["open", "as_default"]
    return {call["name"]: call["value"] for call in options}, opened["device_id"]


@ascend
def test_the_double_is_as_strict_as_the_adapter(tmp_path):
    said = seen_by(start(HERE / "npu_scenarios.py", "strict", tmp_path))
    assert said["name"].startswith("ValueError") and "has no option" in said["name"]
    assert said["value"].startswith("ValueError") and said["type"].startswith("TypeError")
    assert said["modes"] == dict.fromkeys(PRECISION_MODES)  # each is taken
    assert said["both sizes"].startswith("ValueError")
    for name in ("no cluster", "no rank", "no folder", "both dumps", "late option"):
        assert said[name].startswith("RuntimeError"), name
    assert said["mode"].startswith("UserError: the NPU's adapter refuses precision_mode='fp8'")
    assert "allow_mix_precision" in said["mode"] and "\n" not in said["mode"]
    assert "the NPU does not open: TensorFlow has made tensors" in said["early"]
    assert "Could not find variable" in said["early variable"]


@ascend
def test_one_device(tmp_path):
    said = seen_by(start(HERE / "npu_scenarios.py", "one_device", tmp_path))
    arrived, device = options(said["calls"])
    assert said["opened"] == [0, 1] and device == 0
    trace = json.loads(arrived.pop("profiling_config.profiling_options"))
    assert trace.pop("output") == str(tmp_path / "npu" / "profiling")
    assert trace == {**dict.fromkeys(("training_trace", "task_trace", "aicpu", "hccl"), "on"), **trace}
    assert arrived == {
        "precision_mode": "allow_mix_precision",
        **{option: str(tmp_path / f"{flag}.json") for flag, option in npu.FILE_OPTIONS.items()},
        "deterministic": 1,
        "dump_config.enable_dump": True,
        "dump_config.dump_path": str(tmp_path / "npu" / "data_dump"),
        "dump_config.dump_step": "0|5|10",
        "dump_config.dump_mode": "all",
        "profiling_config.enable_profiling": True,
        "aoe_config.aoe_mode": "2",
        "aoe_config.work_path": str(tmp_path / "npu" / "autotune"),
    }
    assert sorted(os.listdir(tmp_path / "npu")) == ["autotune", "data_dump", "profiling"]
    assert said["jit off"] and said["nested calls"] == 0 and said["saturation"]
    assert "py_function or numpy_function inside" in said["python"] and "waits for nothing" in said["unordered"]
    order = ["clear_float_status", "kernel", "get_float_status", "clear_float_status"]
    assert said["steps"] == [[True, 0.8, order], [False, 0.8, order], [True, 0.64, order]]
    assert said["explained"].startswith("the NPU's graph engine failed: E89999: Inner Error! a b; its log is in ")


@ascend
def test_two_devices(tmp_path):
    """A broadcast, an overflow on one of them that skips the step on both, all-reduces that are not merged."""
    (tmp_path / "peers").mkdir()
    workers = []
    for rank in "01":
        variables = {**TABLE, "RANK_ID": rank, "ASCEND_DEVICE_ID": f"{4 + int(rank)}"}
        variables["NPU_DOUBLE_PEERS"] = str(tmp_path / "peers")
        workers.append(start(HERE / "npu_scenarios.py", "one_of_two", tmp_path, **variables))
    for rank, said in enumerate(map(seen_by, workers)):
        arrived, device = options(said["calls"])
        assert said["opened"] == [rank, 2] and device == rank + 4
        assert arrived["dump_config.dump_path"] == str(tmp_path / "npu" / "overflow_dump")
        assert said["after broadcast"] == [[0.0, 5.0], 7]
        after = [[1.0, 5.5], [1.0, 5.5], [1.0, 5.5], [2.0, 6.0]]  # plus the mean of [1, 0] and [1, 1]
        assert said["steps"] == [[fine, values] for fine, values in zip((True, False, False, True), after)]
        assert said["waiting"] == [] and "float64" in said["float64"]
