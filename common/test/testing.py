"""Training processes for the tests, and what a run leaves behind, read back.

`python -m common.test.testing FOLDER` imports TensorFlow and FOLDER/train.py once, then forks a process for each order
on its stdin: a line of JSON with what `Process` takes, answered by the process's number; {"wait": number} is answered
by its exit status when it has ended.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 240  # seconds for anything to happen on a busy machine


class Process:
    """A command of a model's folder, run by a process of its `spawner`.

    Args:
        folder: takes the file of what it says.
        flags: of the script.
        script: a module of the folder with a `main`.
        environment: variables to set.
        largest_file: bytes after which a file that it writes is cut short, as on a full disk.
        hook: a module whose `watch()` is called before the script; what that returns, after it.
    """

    started = 0

    def __init__(self, spawner: subprocess.Popen, folder: Path, flags: list[str], script: str = "train", **order: Any):
        Process.started += 1
        self.spawner, self.log = spawner, folder / f"output_{Process.started}.txt"
        self.log.touch()
        self.status: Optional[int] = None
        self.number = self._ask(
            {"flags": [str(flag) for flag in flags], "script": script, "log": str(self.log), **order}
        )

    def _ask(self, order: dict[str, Any]) -> int:
        self.spawner.stdin.write(json.dumps(order) + "\n")
        self.spawner.stdin.flush()
        return int(self.spawner.stdout.readline())

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def told(self, kind: str = "[") -> list[str]:
        """Its own lines: all, or those that begin with "[Info]", "[Warning]" or "[Error]"."""
        lines = [line for line in self.text().splitlines() if line.startswith(("[Info]", "[Warning]", "[Error]"))]
        return [line for line in lines if line.startswith(kind)]

    def until(self, happened: Callable[[], Any]) -> None:
        """Waits for something to happen while it works; gives up when it has ended."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            state = Path(f"/proc/{self.number}/stat").read_text().rsplit(")", 1)[1].split()[0]
            assert state != "Z" and time.monotonic() < deadline, self.text()[-2000:]
            time.sleep(0.002)

    def end(self, number: Optional[int] = None) -> int:
        """Sends it a signal, if given, and returns its exit status: -n where signal n ended it."""
        if self.status is None:
            if number is not None:
                os.kill(self.number, number)
            self.status = self._ask({"wait": self.number})
        return self.status

    def refused(self) -> list[str]:
        """What it said on a mistake: an [Error] line and at most one more after it, exit status 2."""
        assert self.end() == 2, self.text()[-3000:]
        lines = self.text().splitlines()
        errors = [number for number, line in enumerate(lines) if line.startswith("[Error]")]
        assert len(errors) == 1 and len(lines) - errors[0] <= 2 and "Traceback" not in self.text(), self.text()[-3000:]
        return lines[errors[0] :]


@contextlib.contextmanager
def spawner(model: Path) -> Iterator[subprocess.Popen]:
    """What starts training processes of the model in a folder: it has imported TensorFlow already."""
    command = [sys.executable, "-m", "common.test.testing", str(model)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=str(REPOSITORY), env=clean_environment(), text=True, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


@contextlib.contextmanager
def starter(spawner: subprocess.Popen, folder: Path, *flags: str, **order: Any) -> Iterator[Callable[..., Process]]:
    """A function that starts training with these flags and more into folder/run; what runs at the end is killed."""
    started = []

    def start(*more: str, output: Path = folder / "run", **further: Any) -> Process:
        started.append(Process(spawner, folder, [f"--output_path={output}", *flags, *more], **{**order, **further}))
        return started[-1]

    yield start
    for process in started:
        process.end(signal.SIGKILL)


def _serve(model: Path) -> None:
    sys.path[:0] = [str(model), str(REPOSITORY)]
    import train  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, status = os.waitpid(order["wait"], 0)
            print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
            continue
        process = os.fork()
        if process == 0:
            _run(**order)
        print(process, flush=True)


def hear_signals() -> None:
    """In a forked process: signals do what they do at a terminal, which `make test &` or nohup has them not."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _run(
    script: str, flags: list[str], log: str, environment: Any = (), largest_file: int = 0, hook: Optional[str] = None
) -> None:
    """In the forked process, which it ends."""
    from common import cli

    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # not the spawner's orders
    os.dup2(output, 1)
    os.dup2(output, 2)
    hear_signals()
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    os.environ.update(environment)
    status = 1
    try:
        finish = importlib.import_module(hook).watch() if hook else None
        ended = importlib.import_module(script).main(flags)
        if finish:
            finish()
        status = ended
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    cli.leave(status)


def clean_environment() -> dict[str, str]:
    """This process' environment without what makes it a worker of something."""
    ours = ("ASCEND_", "RANK_", "CM_", "VC_", "MA_", "MODELARTS_", "TF_CONFIG", "MASTER_PORT")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def started_command(folder: Path, *command: Any) -> list[str]:
    """How a launcher or job entry calls Python, told by a stand-in for it in the working folder, `folder`."""
    stand_in = folder / "python"
    stand_in.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    environment = {**clean_environment(), "PYTHON": str(stand_in)}
    printed = subprocess.check_output([str(word) for word in command], cwd=str(folder), env=environment)
    return printed.decode().splitlines()


def call_main(capsys: Any, main: Callable[[list[str]], int], *argv: Any) -> tuple[int, str, str]:
    """A command's exit status, and what it said on stdout and stderr."""
    status = main([str(word) for word in argv])
    told = capsys.readouterr()
    return status, told.out, told.err


# What a run leaves behind.


def checkpoint_file(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"ckpt-{step}.safetensors"


def checkpoints(folder: Path) -> list[int]:
    """The steps of a run's checkpoints, oldest first."""
    names = (path.stem for path in (folder / "checkpoints").glob("ckpt-*.safetensors"))
    return sorted(int(name[5:]) for name in names)


def weights(folder: Path, step: Optional[int] = None) -> dict[str, np.ndarray]:
    """All tensors of a run's newest checkpoint, or of that of a step, by name."""
    from safetensors.numpy import load_file

    return load_file(str(checkpoint_file(folder, step or checkpoints(folder)[-1])))


def differing(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """Names of the tensors that are not the same bit for bit; both hold the same names."""
    assert set(one) == set(other) and one
    return [name for name in one if one[name].tobytes() != other[name].tobytes()]


def steps_done(run: Path) -> list[int]:
    """The steps whose scalars a run has written down."""
    file = run / "metrics.jsonl"
    return [row["step"] for row in json_lines(file)] if file.exists() else []


def json_lines(path: Path) -> list[Any]:
    """The objects of a file of JSON lines; of one that is being written, without the line that is not whole yet."""
    return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
