"""Every folder's train.py against the double of Huawei's adapter: on one device and on two, loss scale or none."""

import json
from types import SimpleNamespace

import pytest
import tensorflow as tf

from common.test import testing

pytestmark = pytest.mark.skipif(not tf.__version__.startswith("2.6."), reason="the adapter is for TensorFlow 2.6")
STEPS, OVERFLOW = 3, 2
TRAIN = ("--device=npu", "--evaluate=False")
FLAGS = {"StackGAN": ["--stage=1"]}


def rehearse(start, folder, *flags, workers=1, **variables):
    """Trains on `workers` devices. Returns for each what was seen of its steps, at the end, and the adapter's log."""
    (folder / "peers").mkdir()
    (folder / "ranks.json").write_text("{}")
    processes = []
    for rank in range(workers):
        environment = {**variables, "REHEARSAL": f"{folder}/seen{rank}", "NPU_DOUBLE_LOG": f"{folder}/log{rank}"}
        if workers > 1:
            environment.update(RANK_SIZE=str(workers), RANK_ID=str(rank), RANK_TABLE_FILE=f"{folder}/ranks.json")
            environment.update(ASCEND_DEVICE_ID=str(rank), NPU_DOUBLE_PEERS=f"{folder}/peers")
        output = folder / ("run" if rank == 0 else f"run{rank}")
        processes.append(start(*TRAIN, *flags, output=output, environment=environment, hook="ci.test.rehearsal"))
    for process in processes:
        assert process.end() == 0, process.text()[-3000:]
    devices = []
    for rank in range(workers):
        first, *steps, end = testing.json_lines(folder / f"seen{rank}")
        assert end["graphs"] and end["faults"] == []
        log = testing.json_lines(folder / f"log{rank}")
        devices.append(SimpleNamespace(states=[first["start"], *(s["state"] for s in steps)], end=end, log=log))
        devices[-1].scales = [step["scales"] for step in steps]
    return devices


def options(log):
    """The adapter's options that were set before the device was opened."""
    names = [line.get("call") for line in log]
    assert names.count("open") == 1 and names[names.index("open") + 1] == "as_default"
    assert "option" not in names[names.index("open") :]
    return {line["name"]: line["value"] for line in log if line.get("call") == "option"}


def test_one_device(model, start, tmp_path):
    """An overflow in the second step moves nothing but the counters; one before a step does not count."""
    flags = ["--precision_mode=allow_mix_precision", "--profiling", "--data_dump_flag", "--data_dump_step=0|2"]
    flags += [f"--train_steps={STEPS}", *FLAGS.get(model.name, [])]
    [device] = rehearse(start, tmp_path, *flags, REHEARSAL_OVERFLOWS=str(OVERFLOW))
    assert len(device.states) == STEPS + 1
    for step in range(1, STEPS + 1):
        before, after = device.states[step - 1 : step + 1]
        moved = {part for part in after if after[part] != before[part]}
        assert (moved == {"counters"}) == (step == OVERFLOW), (step, moved)
        assert step == OVERFLOW or "generator" in moved or "discriminator" in moved
    assert max(device.end["saves"]) < 10  # not one graph for each variable

    arrived = options(device.log)
    trace = json.loads(arrived["profiling_config.profiling_options"])
    dumps = tmp_path / "run" / "dumps"
    assert trace["output"] == str(dumps / "profiling") and arrived["profiling_config.enable_profiling"] is True
    assert arrived["precision_mode"] == "allow_mix_precision" and arrived["dump_config.dump_step"] == "0|2"
    assert sorted(path.name for path in dumps.iterdir()) == ["data_dump", "profiling"]


# A folder's own share in it, which rows are whose, is tested in test_folders.py with TensorFlow's workers.
@pytest.mark.parametrize("model", ["ImprovedGAN", "Pix2Pix"], indirect=True)
def test_two_devices(model, start, tiny, tmp_path):
    """In the mode of newer devices, where an overflow leaves Inf behind: no register, the same weights on both."""
    batch = [] if any(flag == "--batch_size=2" for flag in tiny["train"]) else ["--batch_size=2"]
    flags = ["--precision_mode=allow_mix_precision", "--over_dump", f"--train_steps={STEPS}", *batch]
    devices = rehearse(start, tmp_path, *flags, *FLAGS.get(model.name, []), workers=2, NPU_DOUBLE_INF_NAN="1")
    assert devices[0].states == devices[1].states and devices[0].scales == devices[1].scales
    collectives = [[line for line in device.log if "run" in line] for device in devices]
    assert collectives[0] == collectives[1] and collectives[0]
    assert not [line for line in devices[0].log if "float_status" in line.get("call", "")]
    assert options(devices[1].log)["dump_config.dump_debug_mode"] == "all"


# The table of all modes is tested in common/test/test_session.py, that the adapter takes them in test_npu.py.
@pytest.mark.parametrize("model", ["ImprovedGAN"], indirect=True)
@pytest.mark.parametrize("mode, scaled", [("force_fp32", True), ("allow_mix_precision_bf16", False)])
def test_a_loss_scale_where_gradients_pass_through_float16(model, start, tmp_path, mode, scaled):
    [device] = rehearse(start, tmp_path, f"--precision_mode={mode}", "--train_steps=2")
    assert options(device.log)["precision_mode"] == mode
    assert bool(device.scales[-1]) == scaled
    assert scaled == any("float_status" in line.get("call", "") for line in device.log)
