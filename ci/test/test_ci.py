"""The scripts behind make, on a small repository of models that only pretend, with a space in its path."""

import json
import os
import shutil
import subprocess
import sys

import demo
import pytest
from conftest import REPOSITORY

RESULT = {
    "metrics": {"accuracy": 0.91, "loss": 1.0},
    "baseline": {
        "accuracy": 0.1,
        "accuracy_without_the_generator": 0.8,
        "real_accuracy": 1.0,
        "chance": {"accuracy": 0.5, "loss": 2.0},
    },
    "accuracy": 0.91,
    "examples": "examples/20.png",
}
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
    shutil.copytree(str(REPOSITORY / "ci"), str(root / "ci"), ignore=shutil.ignore_patterns("test*", "__pycache__"))
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


def add_model(root, name, train, flags=""):
    (root / name / "test").mkdir(parents=True)
    (root / name / "train.py").write_text(train)
    (root / name / "sample_data.py").write_text("import os, sys\nos.makedirs(sys.argv[2])")
    (root / name / "test" / "smoke.flags").write_text(flags)
    (root / name / "test" / "train_performance_1p.sh").write_text(
        'source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh"\n'
        'launch "" "" --train_steps=500 --evaluate=False -- "$@"\n'
    )


def run(*command, **environment):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    words = [str(word) for word in command]
    return subprocess.run(words, env={**os.environ, "CI": "", **environment}, cwd="/", **streams)


def test_smoke_ends_with_a_table_and_where_to_look(root):
    add_model(root, "Broken", TRAIN % (RESULT, 3))
    add_model(root, "Good", TRAIN % (RESULT, 0), "# twenty are enough\n\n--train_steps=20\n--prefix=a b\n")
    add_model(root, "Less", TRAIN % (RESULT, 0), "# metric: -loss\n")
    for _ in range(2):  # the second run takes the place of the first
        done = run("bash", root / "ci" / "smoke.sh", PYTHON=sys.executable)
        assert done.returncode == 1
        *_, header, broken, good, less, look, _ = [" ".join(line.split()) for line in done.stdout.splitlines()]
        assert header == "model seconds metric ours trivial baseline better"
        assert broken.startswith("Broken ") and broken.endswith("FAILED: exit status 3")
        assert good.startswith("Good ") and good.endswith("accuracy 0.91 0.8 (without the generator) yes")
        assert less.endswith("loss 1 2 (chance) yes")
        assert look == "Good: look at: examples/20.png"
        assert max(map(len, done.stdout.splitlines())) <= 100
    result = json.loads((root / "build" / "smoke" / "Good" / "output" / "result.json").read_text())
    assert result["train_steps"] == 20


def test_smoke_fails_where_a_baseline_wins(root):
    add_model(root, "Bad", TRAIN % ({**RESULT, "metrics": {"accuracy": 0.7}, "accuracy": 0.7}, 0))
    done = run("bash", root / "ci" / "smoke.sh", "Bad", PYTHON=sys.executable)
    assert done.returncode == 1 and " NO\n" in done.stdout
    assert run("bash", root / "ci" / "smoke.sh", "Nowhere", PYTHON=sys.executable).returncode == 1


def test_all_tests_run_and_the_last_line_counts_them(root):
    for name in (".venv", ".venv-ascend"):
        add_environment(root, name)
    texts = {
        "Good/test/test_good.py": "import pytest\ndef test_a(): 0\ndef test_b(): 0\ndef test_c(): pytest.skip()\n",
        "Bad/test/test_bad.py": "def test_a(): assert 0, 'on purpose'\ndef test_b(missing): pass\ndef test_c(): pass\n",
        "Crash/test/test_crash.py": "import os\ndef test_z(): os._exit(9)\n",
        # What a shell leaves ignored for `make test &` is not ignored in the tests.
        "Signal/test/test_signal.py": "import signal\ndef test_a():\n    assert signal.getsignal(2) != 1\n",
    }
    for file, text in texts.items():
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text(text)
    command = f'trap "" INT; exec "{sys.executable}" "{root}/ci/run_tests.py"'
    done = run("bash", "-c", command)
    *_, header, bad, crash, good, signals, _, last = done.stdout.splitlines()
    assert done.returncode == 1 and last == "8 passed, 6 failed, 2 skipped"  # twice: on two stacks
    assert header.split() == ["folder", "current", "ascend"]
    assert bad.count("1 passed, 2 failed, 0 skipped") == 2 and crash.count("0 passed, 1 failed, 0 skipped") == 2
    assert good.count("2 passed, 0 failed, 1 skipped") == 2 and signals.count("1 passed, 0 failed") == 2
    assert "on purpose" in done.stdout and "on purpose" in (root / "build" / "test" / "Bad-ascend.log").read_text()
    one = run(sys.executable, root / "ci" / "run_tests.py", "Good")
    assert one.returncode == 0 and one.stdout.splitlines()[-1] == "4 passed, 0 failed, 2 skipped"


def test_the_linter_and_a_missing_stack_count(root):
    add_environment(root, ".venv")
    (root / "Good" / "test").mkdir(parents=True)
    (root / "Good" / "test" / "test_good.py").write_text("def test_a(): pass\n")
    script = root / "ci" / "run_tests.py"
    done = run(sys.executable, script)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed, 0 skipped")
    assert "The ascend stack was skipped" in done.stdout
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
    done = run(*setup, "requirements.txt", **environment)
    assert done.returncode == 0, done.stdout
    assert (root / "the venv" / ".ready").exists()
    assert asked.read_text().splitlines()[-1].endswith("--requirement requirements.txt")

    (root / "the venv" / ".ready").unlink()
    assert run(*setup, "broken.txt", **environment).returncode == 1
    assert not (root / "the venv" / ".ready").exists()
    assert asked.read_text().count("-m venv") == 1  # what there is, is used


def test_setup_without_the_python_it_needs(root, tmp_path):
    setup = ["bash", root / "ci" / "setup.sh", ".venv-ascend", "9.8", "requirements.txt"]
    for words, ci, status in ((["optional"], "", 0), (["optional"], "true", 1), ([], "", 1)):
        done = run(*setup, *words, CI=ci, PYENV_ROOT=str(tmp_path))
        assert (done.returncode, len(done.stdout.splitlines())) == (status, 1) and "ython 9.8" in done.stdout
        assert not (root / ".venv-ascend").exists()


def test_apps_of_two_folders_are_loaded_apart(tmp_path):
    """Both have a model.py, and a function of the first one that runs after the second is loaded has its own."""
    for name in ("One", "Two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.py").write_text(f"NAME = {name!r}")
        app = (
            "import model\ndef build(ckpt):\n    import model as late\n    ckpt.append(lambda: (model.NAME, late.NAME))"
        )
        (tmp_path / name / "app.py").write_text(app)
    built: list = []
    for name in ("One", "Two"):
        demo.add_app(tmp_path / name, built)
    assert [call() for call in built] == [("One", "One"), ("Two", "Two")]
    assert "model" not in sys.modules and "app" not in sys.modules and str(tmp_path / "One") not in sys.path
