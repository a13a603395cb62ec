"""The scripts behind make, on a small repository of models that only pretend, with a space in its path."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

RESULT = {
    "device": "cpu",
    "precision": "float32",
    "train_steps": 20,
    "sec_per_step": 0.05,
    "images_per_sec": 640.0,
    "metrics": {"accuracy": 0.91, "loss": 1.0},
    "baseline": {"accuracy": 0.1, "accuracy_without_the_generator": 0.8},
    "examples": "examples/20.png",
}
SAMPLE_DATA = "import pathlib, sys; pathlib.Path(sys.argv[2]).mkdir(parents=True)"
TRAIN = """
import json, pathlib, sys
flags = dict(word.split("=", 1) for word in sys.argv[1:])
assert flags["--evaluate"] == "True" and pathlib.Path(flags["--data_path"]).is_dir()
output = pathlib.Path(flags["--output_path"])
output.mkdir()
(output / "result.json").write_text(json.dumps({**%r, "train_steps": int(flags["--train_steps"])}))
sys.exit(%d)
"""


@pytest.fixture
def root(tmp_path):
    """A repository with the real ci/ and launch.sh, whose environments are this Python."""
    root = tmp_path / "a house"
    shutil.copytree(str(REPOSITORY / "ci"), str(root / "ci"), ignore=shutil.ignore_patterns("test", "__pycache__"))
    (root / "common").mkdir()
    shutil.copy(str(REPOSITORY / "common" / "launch.sh"), str(root / "common"))
    return root


def add_environment(root, name, ruff_status=0):
    """An environment whose python is this one, and whose ruff is pretended."""
    (root / name / "bin").mkdir(parents=True)
    (root / name / ".ready").write_text("")
    python = root / name / "bin" / "python"
    python.write_text(f'#!/bin/bash\n[[ "$1 $2" == "-m ruff" ]] && exit {ruff_status}\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)


def add_model(root, name, train):
    (root / name / "test").mkdir(parents=True)
    (root / name / "train.py").write_text(train)
    (root / name / "sample_data.py").write_text(SAMPLE_DATA)
    (root / name / "test" / "train_performance_1p.sh").write_text(
        'source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh"\n'
        'launch "" "" --train_steps=500 --evaluate=False -- "$@"\n'
    )


def run(*command, **environment):
    environment = {**os.environ, "CI": "", **environment}
    return subprocess.run(
        [str(word) for word in command],
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_smoke_runs_every_model_and_ends_with_a_table(root):
    add_model(root, "Broken", TRAIN % (RESULT, 3))
    add_model(root, "Good", TRAIN % (RESULT, 0))
    (root / "Good" / "test" / "smoke.flags").write_text("# twenty are enough\n\n--train_steps=20\n--prefix=a b\n")
    add_model(root, "Silent", "")
    for _ in range(2):  # the second run takes the place of the first
        result = run("bash", root / "ci" / "smoke.sh", PYTHON=sys.executable)
        assert result.returncode == 1
        table = [line.split(maxsplit=7) for line in result.stdout.splitlines()[-4:]]
        assert table[0][:6] == ["model", "device", "precision", "steps", "s/step", "images/s"]
        assert " ".join(table[1]) == "Broken FAILED with exit status 3"
        good = "Good cpu float32 20 0.050 640.0 accuracy 0.91 (0.1) examples/20.png"
        assert " ".join(" ".join(table[2]).split()) == good
        assert " ".join(table[3]).startswith("Silent FAILED to leave a whole result.json")


def test_smoke_of_one_model(root):
    add_model(root, "Broken", TRAIN % (RESULT, 3))
    add_model(root, "Good", TRAIN % (RESULT, 0))
    result = run("bash", root / "ci" / "smoke.sh", "Good", PYTHON=sys.executable)
    assert result.returncode == 0
    assert "Broken" not in result.stdout
    assert json.loads((root / "build" / "smoke" / "Good" / "output" / "result.json").read_text())["train_steps"] == 500
    assert run("bash", root / "ci" / "smoke.sh", "Nowhere", PYTHON=sys.executable).returncode == 1


def add_tests(root):
    """Two folders: one whose tests pass or are skipped, one with a failure, an error and a test that crashes."""
    for name in ("Good", "Bad"):
        (root / name / "test").mkdir(parents=True)
    skipped = "import pytest\ndef test_a(): pass\ndef test_b(): pass\ndef test_c(): pytest.skip('no')\n"
    (root / "Good" / "test" / "test_good.py").write_text(skipped)
    error = "import pytest\ndef test_a(): assert 0\ndef test_b(missing): pass\ndef test_c(): pass\n"
    (root / "Bad" / "test" / "test_bad.py").write_text(error)
    (root / "Bad" / "test" / "test_crash.py").write_text("import os\ndef test_z(): os._exit(9)\n")


def test_all_tests_run_and_the_last_line_counts_them(root):
    add_environment(root, ".venv")
    add_environment(root, ".venv-ascend")
    add_tests(root)
    (root / "Bad" / "test" / "test_crash.py").unlink()
    result = run(sys.executable, root / "ci" / "run_tests.py")
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "6 passed, 4 failed, 2 skipped"  # twice: on two stacks
    summary = [" ".join(line.split()) for line in result.stdout.splitlines()[-6:-1]]
    assert summary[0] == "lint passed"
    assert [line.rsplit(" in ", 1)[0] for line in summary[1:]] == [
        "Bad current 1 passed, 2 failed, 0 skipped",
        "Bad ascend 1 passed, 2 failed, 0 skipped",
        "Good current 2 passed, 0 failed, 1 skipped",
        "Good ascend 2 passed, 0 failed, 1 skipped",
    ]
    assert "assert 0" in (root / "build" / "test" / "Bad-ascend.log").read_text()


def test_one_folder_is_run_without_the_linter(root):
    add_environment(root, ".venv", ruff_status=1)
    add_environment(root, ".venv-ascend")
    add_tests(root)
    result = run(sys.executable, root / "ci" / "run_tests.py", "Good")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "4 passed, 0 failed, 2 skipped")


def test_a_crash_of_the_tests_is_a_failure(root):
    add_environment(root, ".venv")
    add_tests(root)
    result = run(sys.executable, root / "ci" / "run_tests.py", "Bad")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (1, "0 passed, 1 failed, 0 skipped")


def test_the_linter_and_a_missing_stack_count(root):
    add_environment(root, ".venv")
    (root / "Good" / "test").mkdir(parents=True)
    (root / "Good" / "test" / "test_good.py").write_text("def test_a(): pass\n")
    script = root / "ci" / "run_tests.py"
    result = run(sys.executable, script)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed, 0 skipped")
    assert "The ascend stack was skipped" in result.stdout
    assert run(sys.executable, script, CI="true").returncode == 1
    shutil.rmtree(str(root / ".venv"))
    add_environment(root, ".venv", ruff_status=1)
    assert run(sys.executable, script).returncode == 1


# A Python that knows what setup.sh asks of one; it says so in the file `asked`.
PRETENDED_PYTHON = """#!/bin/bash
echo "$*" >> "$ASKED"
[[ "$1 $2" == "-m venv" ]] && mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
[[ "$1 $2" != "-m pip" || "$*" != *broken* ]]
"""


def test_setup_looks_past_a_shim_that_does_not_run(root, tmp_path):
    asked, shims, version = tmp_path / "asked", tmp_path / "shims", tmp_path / "pyenv" / "versions" / "9.9.1" / "bin"
    for folder, text in ((shims, "#!/bin/bash\nexit 127\n"), (version, PRETENDED_PYTHON)):
        folder.mkdir(parents=True)
        for name in ("python9.9", "python"):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
    environment = {"PYENV_ROOT": str(tmp_path / "pyenv"), "PATH": f"{shims}:{os.environ['PATH']}", "ASKED": str(asked)}
    setup = ["bash", root / "ci" / "setup.sh", "the venv", "9.9"]
    result = run(*setup, "requirements.txt", **environment)
    assert result.returncode == 0, result.stdout
    assert (root / "the venv" / ".ready").exists()
    assert asked.read_text().splitlines()[-1].endswith("--requirement requirements.txt")

    (root / "the venv" / ".ready").unlink()
    assert run(*setup, "broken.txt", **environment).returncode == 1
    assert not (root / "the venv" / ".ready").exists()
    assert asked.read_text().count("-m venv") == 1  # what there is, is used


def test_setup_without_the_python_it_needs(root, tmp_path):
    setup = ["bash", root / "ci" / "setup.sh", ".venv-ascend", "9.8", "requirements.txt"]
    for words, ci, status in ((["optional"], "", 0), (["optional"], "true", 1), ([], "", 1)):
        result = run(*setup, *words, CI=ci, PYENV_ROOT=str(tmp_path))
        assert (result.returncode, len(result.stdout.splitlines())) == (status, 1)
        assert "Python 9.8" in result.stdout or "python 9.8" in result.stdout
        assert not (root / ".venv-ascend").exists()
