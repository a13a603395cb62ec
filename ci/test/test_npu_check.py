"""ci/npu_check.py off an NPU, and against the double of Huawei's adapter in a CANN that is only pretended."""

import json
import os
import shutil
import subprocess
import sys

import npu_check
import pytest
import tensorflow as tf
from conftest import REPOSITORY

from common.test.testing import clean_environment

ASCEND = tf.__version__.startswith("2.6.")
ascend = pytest.mark.skipif(not ASCEND, reason="Huawei's adapter is for TensorFlow 2.6")


@pytest.fixture
def machine(tmp_path):
    """The environment of a machine with CANN, in which the double is the adapter."""
    home, opp = tmp_path / "cann", tmp_path / "opp" / "built-in" / "framework" / "tensorflow"
    (home / "x86_64-linux").mkdir(parents=True)
    (home / "x86_64-linux" / "ascend_toolkit_install.info").write_text("package_name=toolkit\nversion=6.3.RC2\n")
    opp.mkdir(parents=True)
    listed = dict.fromkeys(npu_check.graph_check.SUPPORTED - {"Cos"} | {"PyFunc"}, {"isGray": False})
    (opp / "npu_supported_ops.json").write_text(json.dumps(listed))
    (tmp_path / "version.info").write_text("Version=23.0.rc2\n")
    (tmp_path / "npu-smi").write_text("#!/bin/bash\necho '| npu-smi 23.0.rc2     Version: 23.0.rc2 |'\n")
    (tmp_path / "npu-smi").chmod(0o755)
    (tmp_path / "ranks").write_text("{}")
    return {
        **clean_environment(),
        "ASCEND_HOME_PATH": str(home),
        "ASCEND_OPP_PATH": str(tmp_path / "opp"),
        "LD_LIBRARY_PATH": str(home),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY / "common" / "test" / "npu_double"),
    }


def start(tmp_path, environ, *flags, script=REPOSITORY / "ci" / "npu_check.py"):
    """The check, to whom the driver's file is where the test has it."""
    code = f"import sys; sys.path.insert(0, {str(script.parent)!r}); import npu_check\n"
    code += f"npu_check.DRIVER = {str(tmp_path / 'version.info')!r}; sys.exit(npu_check.main(sys.argv[1:]))"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *flags], env=environ, **streams)


def ended(process):
    lines = process.communicate()[0].splitlines()
    told = {line.split()[1].rstrip(":"): (line.split()[0], line.split(": ", 1)[1]) for line in lines[:-1]}
    return process.returncode, told, lines[-1]


def test_off_an_npu(tmp_path):
    environ = {name: value for name, value in clean_environment().items() if name != "LD_LIBRARY_PATH"}
    status, told, verdict = ended(start(tmp_path, environ))
    assert status == 2
    for name in ("npu_device", "driver", "CANN", *npu_check.NEEDED):
        assert told[name][0] == "[missing]"
    assert told["TensorFlow"][0] == ("[good]" if ASCEND else "[missing]")
    assert told["device"][0] == "[note]" and told["ranks"][0] == "[good]"
    assert verdict.startswith("Verdict: trainings cannot run on an NPU here. What is missing: ")
    assert start(tmp_path, environ, "--models", "Pix3Pix").wait() == 2


def test_versions_are_read_where_their_installers_leave_them(tmp_path):
    file = tmp_path / "version.info"
    assert npu_check.driver(str(file), []).state == "missing"
    assert npu_check.driver(str(file), ["/dev/davinci0"]).state == "note"
    file.write_text("Innerversion=V100\nVersion=23.0.rc2\n")
    assert npu_check.driver(str(file), []) == ("good", "driver", "23.0.rc2")
    (tmp_path / "aarch64-linux").mkdir()
    info = tmp_path / "aarch64-linux" / "ascend_nnae_install.info"
    info.write_text("version=\n")
    assert npu_check.cann({"ASCEND_HOME_PATH": str(tmp_path)}).state == "missing"
    info.write_text("package_name=nnae\nversion=6.3.RC2\n")
    assert npu_check.cann({"ASCEND_HOME_PATH": str(tmp_path)}).text == f"6.3.RC2 ({info})"


@ascend
def test_good_on_two_ranks_also_with_a_batch_of_one(machine, tmp_path):
    """Pix2Pix, whose batch is of one pair where nothing is said."""
    ranks = []
    (tmp_path / "peers").mkdir()
    for rank in "01":
        variables = {
            "RANK_SIZE": "2",
            "RANK_ID": rank,
            "RANK_TABLE_FILE": f"{tmp_path}/ranks",
            "ASCEND_DEVICE_ID": rank,
        }
        environ = {**machine, **variables, "NPU_DOUBLE_PEERS": f"{tmp_path}/peers"}
        ranks.append(start(tmp_path, environ, "--models", "Pix2Pix"))
    for rank in ranks:
        status, told, verdict = ended(rank)
        assert status == 0 and verdict == "Verdict: good. Trainings run on this NPU: give them --device=npu.", str(told)
        assert told["driver"] == ("[good]", "23.0.rc2") and told["CANN"][1].startswith("6.3.RC2 (")
        assert told["npu-smi"] == ("[good]", "npu-smi 23.0.rc2     Version: 23.0.rc2")
        assert told["operations"] == ("[note]", told["operations"][1]) and told["operations"][1].endswith("ours: Cos")
        assert told["product"][0] == "[good]" and told["all-reduce"] == ("[good]", "the mean of 2 ranks is 0.5")
        assert told["Pix2Pix"][0] == "[good]" and "trained for 1 step" in told["Pix2Pix"][1]


@ascend
def test_an_all_reduce_that_gives_something_else(machine, tmp_path):
    """Alone, the double takes the other worker to hold the same number. After that, no model is tried."""
    machine.update(RANK_SIZE="2", RANK_ID="0", RANK_TABLE_FILE=str(tmp_path / "ranks"))
    status, told, verdict = ended(start(tmp_path, machine))
    assert status == 1 and verdict == "Verdict: not good. What fails: all-reduce."
    assert told["all-reduce"][1].startswith("the mean of 2 ranks is 0, not 0.5") and told["models"][0] == "[note]"


@ascend
def test_the_reason_of_a_failure_is_told(machine, tmp_path):
    """A model that ends with two lines for the user, in a repository of its own."""
    root = tmp_path / "house"
    (root / "ci").mkdir(parents=True)
    (root / "Toy" / "test").mkdir(parents=True)
    shutil.copy(str(REPOSITORY / "ci" / "npu_check.py"), str(root / "ci"))
    (root / "common").symlink_to(REPOSITORY / "common")
    (root / "Toy" / "test" / "tiny.json").write_text('{"sample_data": [], "train": []}')
    (root / "Toy" / "sample_data.py").write_text("")
    told = "print('a line')\nprint('[Error] no room\\nmake some')\nprint('and more')"
    (root / "Toy" / "train.py").write_text(f"def main(flags):\n    exec({told!r})\n    return 2\n")
    status, told, verdict = ended(start(tmp_path, machine, script=root / "ci" / "npu_check.py"))
    assert status == 1 and verdict == "Verdict: not good. What fails: Toy."
    assert told["Toy"] == ("[bad]", "exit status 2: [Error] no room make some")
