"""A house for the launchers' tests: a copy of the real scripts, and a model whose train.py tells how it was called."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]

LAUNCHER = """#!/bin/bash
source "$(dirname -- "${BASH_SOURCE[0]}")/../../common/launch.sh" || exit 1
launch "Trains nothing." "sample_data.py --output_path DIR" %s --evaluate=False -- "$@"
"""

TRAIN = """
import json, os, signal, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from common import cli

parser = cli.ArgumentParser()
for flag in ("--data_path", "--output_path", "--train_steps", "--train_epochs", "--prefix", "--obs_url"):
    parser.add_argument(flag)
parser.add_argument("--status", type=int, default=0)
cli.add_boolean(parser, "--wait", False, "until SIGTERM")
cli.add_boolean(parser, "--evaluate", True, "")
args = parser.parse_args()

output = Path(args.output_path)
output.mkdir(parents=True, exist_ok=True)

def stop(number, frame):
    (output / "saved").write_text("at SIGTERM")
    sys.exit(143)

signal.signal(signal.SIGTERM, stop)
called = {"args": vars(args), "argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "pid": os.getpid()}
called["data"] = sorted(path.name for path in Path(args.data_path).iterdir())
(output / "called.part").write_text(json.dumps(called))
(output / "called.part").rename(output / "called.json")
if args.wait:
    time.sleep(60)
sys.exit(args.status)
"""

ENTRY = """
import sys
from pathlib import Path

model = Path(__file__).resolve().parent
sys.path.insert(0, str(model.parent))
from common import modelarts

sys.exit(modelarts.main(model / "test" / "train_full_1p.sh"))
"""


class House:
    """Folders, all with a space in their names: `root` (common/ and Model/), `data` with one file, `elsewhere`."""

    def __init__(self, tmp_path: Path) -> None:
        self.root, self.data, self.elsewhere = tmp_path / "the house", tmp_path / "the data", tmp_path / "else where"
        self.model = self.root / "Model"
        for folder in (self.root / "common", self.model / "test", self.data, self.elsewhere):
            folder.mkdir(parents=True)
        for name in ("__init__.py", "cli.py", "launch.sh", "modelarts.py"):
            shutil.copy(str(REPOSITORY / "common" / name), str(self.root / "common" / name))
        (self.model / "train.py").write_text(TRAIN)
        (self.model / "entry.py").write_text(ENTRY)
        (self.model / "test" / "train_full_1p.sh").write_text(LAUNCHER % "--train_steps=45000")
        (self.model / "test" / "train_by_epoch.sh").write_text(LAUNCHER % "--train_epochs=200")
        (self.data / "pictures.bin").write_text("real")

    def start(self, *command: Any, **environment: str) -> subprocess.Popen:
        """Starts a command in `elsewhere`, with nothing of the tester's own job in its environment."""
        ours = ("ASCEND_", "RANK_", "MODELARTS_", "CDPATH", "PYTHON")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return subprocess.Popen(
            [str(word) for word in command],
            cwd=str(self.elsewhere),
            env={**clean, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that a test can send a signal to all of it, as a terminal does
        )

    def run(self, *command: Any, **environment: str) -> subprocess.CompletedProcess:
        """Runs a command to its end: `.returncode`, `.stdout`, `.stderr`."""
        process = self.start(*command, **environment)
        stdout, stderr = process.communicate(timeout=30)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    def launch(self, *flags: Any, script: str = "train_full_1p.sh", **environment: str) -> subprocess.CompletedProcess:
        """Runs one of the model's launchers with the tests' own Python."""
        return self.run("bash", self.model / "test" / script, *flags, **{"PYTHON": sys.executable, **environment})


def called(output: Path) -> dict:
    """How train.py was called that writes into `output`."""
    return json.loads((output / "called.json").read_text())


def wait_for(path: Path) -> None:
    """Returns when `path` is there."""
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
