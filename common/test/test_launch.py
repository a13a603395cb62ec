"""The launcher contract, by calling a model's script as users do: from another folder, with spaces in paths."""

import signal
import sys
from pathlib import Path

import pytest
from house import House, called, wait_for


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "the results"


def test_defaults(house):
    result = house.launch(f"--data_path={house.data}")
    assert (result.returncode, result.stderr) == (0, "")
    call = called(house.model / "test" / "output" / "0")
    assert call["args"]["data_path"] == str(house.data)
    assert call["args"]["train_steps"] == "45000"
    assert call["args"]["evaluate"] is False
    assert call["cwd"] == str(house.elsewhere)  # so a relative --data_path is the user's
    environment = {name: call["env"][name] for name in ("ASCEND_DEVICE_ID", "RANK_SIZE", "PYTHONUNBUFFERED")}
    assert environment == {"ASCEND_DEVICE_ID": "0", "RANK_SIZE": "1", "PYTHONUNBUFFERED": "1"}


def test_device_id_and_rank_size_come_from_the_environment(house):
    assert house.launch(f"--data_path={house.data}", ASCEND_DEVICE_ID="3", RANK_SIZE="8").returncode == 0
    environment = called(house.model / "test" / "output" / "3")["env"]
    assert (environment["ASCEND_DEVICE_ID"], environment["RANK_SIZE"]) == ("3", "8")


def test_relative_script_and_data_paths_and_a_cdpath(house):
    data = house.elsewhere / "near by"
    data.mkdir()
    (house.elsewhere / "link").symlink_to(house.root)
    environment = {"CDPATH": f".:{house.root}", "PYTHON": sys.executable}
    result = house.run("bash", "link/Model/test/train_full_1p.sh", "--data_path", "near by", **environment)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert called(house.model / "test" / "output" / "0")["args"]["data_path"] == "near by"


@pytest.mark.parametrize("separator", ["=", " "])
def test_both_ways_to_write_a_flag_and_the_users_one_wins(house, output, separator):
    flags = {
        "--data_path": str(house.data),
        "--output_path": str(output),
        "--train_steps": "7",
        "--evaluate": "True",
        "--prefix": """it's "two  words" $HOME * \\ """,
        "--obs_url": "obs://bucket/a b",
    }
    words = [f"{flag}={value}" for flag, value in flags.items()]
    if separator == " ":
        words = [word for pair in flags.items() for word in pair]
    result = house.launch(*words)
    assert (result.returncode, result.stderr) == (0, "")
    args = called(output)["args"]
    assert {flag: str(args[flag[2:]]) for flag in flags} == flags
    assert not (house.model / "test" / "output").exists()


@pytest.mark.parametrize("flag", ["--train_steps=3", "--train_epochs=3"])
@pytest.mark.parametrize("script", ["train_full_1p.sh", "train_by_epoch.sh"])
def test_an_own_schedule_replaces_the_default_one(house, output, script, flag):
    words = [f"--data_path={house.data}", f"--output_path={output}", *flag.split("=")]
    assert house.launch(*words, script=script).returncode == 0
    args = called(output)["args"]
    given, other = ("train_steps", "train_epochs") if "steps" in flag else ("train_epochs", "train_steps")
    assert (args[given], args[other]) == ("3", None)


def test_flags_after_two_dashes_reach_the_training(house, output):
    result = house.launch("--data_path", house.data, "--output_path", output, "--", "--prefix", "own")
    assert (result.returncode, result.stderr) == (0, "")
    assert called(output)["args"]["prefix"] == "own"


@pytest.mark.parametrize("flags", [[], ["--data_path="], ["--data_path"], ["--data_path", ""], ["--train_steps=3"]])
def test_without_data(house, flags):
    result = house.launch(*flags)
    assert (result.returncode, result.stdout) == (1, "")
    error, hint = result.stderr.splitlines()
    assert error == '[Error] para "data_path" must be config'
    command = f"python3 {str(house.model.resolve()).replace(' ', chr(92) + ' ')}/sample_data.py --output_path DIR"
    assert hint == f"[Info] sample data: {command}"  # to be pasted into a shell, so its spaces are escaped


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(house, flag):
    result = house.launch("--train_steps=1", flag)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: bash {house.model}/test/train_full_1p.sh --data_path=DIR")
    contract = """--data_path --output_path --train_steps --train_epochs --batch_size --precision_mode --over_dump
        --profiling --data_dump_flag --data_dump_step --autotune --ckpt_path --obs_url --help"""
    assert [flag for flag in contract.split() if flag not in result.stdout] == []
    assert str(house.model / "test" / "output" / "0") in result.stdout


def test_unknown_flag_names_the_nearest(house, output):
    result = house.launch(f"--data_path={house.data}", f"--output_path={output}", "--trian_steps=5")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("[Error] unknown flag --trian_steps; the nearest known one is --train_steps ")


def test_python_names_the_interpreter(house, tmp_path):
    (tmp_path / "py thon").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "py thon").chmod(0o755)
    result = house.launch("--data_path=x", PYTHON=str(tmp_path / "py thon"))
    output = f"--output_path={house.model}/test/output/0"
    expected = [f"{house.model}/train.py", output, "--train_steps=45000", "--evaluate=False", "--data_path=x"]
    assert result.stdout.splitlines() == expected


def test_failing_training_passes_its_status_on(house, output):
    assert house.launch(f"--data_path={house.data}", f"--output_path={output}", "--status=7").returncode == 7


def test_sigterm_reaches_the_training(house, output):
    script = house.model / "test" / "train_full_1p.sh"
    flags = [f"--data_path={house.data}", f"--output_path={output}", "--wait"]
    process = house.start("bash", script, *flags, PYTHON=sys.executable)
    wait_for(output / "called.json")
    assert called(output)["pid"] == process.pid  # the shell has become the training
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert (output / "saved").exists()


def test_a_model_without_its_repository_says_so(house):
    (house.root / "common" / "launch.sh").unlink()
    result = house.launch(f"--data_path={house.data}")
    assert result.returncode == 1
    assert str(Path("common") / "launch.sh") in result.stderr
