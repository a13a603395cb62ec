"""Starts the workers of a run, one process a device, and sees to it that they end together.

python launch_workers.py SIZE COMMAND ...                          launch.sh calls it for --rank_size=SIZE

Each process learns from its environment which worker it is: on an NPU by RANK_TABLE_FILE and RANK_ID, or by the CM_
variables; elsewhere by TF_CONFIG. Of several machines (VC_WORKER_HOSTS, VC_TASK_INDEX, as ModelArts sets them) each
starts its share. The first worker here has the terminal; of the others it shows errors alone, and each keeps a log in
the run's folder.
"""

import ctypes
import importlib.util
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # not this folder: its modules have common names

from common import cli  # noqa: E402
from common.cli import UserError  # noqa: E402

PORT = "6060"  # the first of a machine's where several machines have to know it; MASTER_PORT sets another
CHIEF_PORT = "6000"  # of the NPUs' master; CM_CHIEF_PORT sets another
PATIENCE = 10  # seconds that the others have to end themselves when one has failed
SAVING = 300  # ... and when all were asked to stop, and the first one writes a checkpoint


def environments(size: int, command: Sequence[str], environ: Mapping[str, str]) -> dict[int, dict[str, str]]:
    """The workers to start on this machine for a run of `size` workers in all: {rank: its environment}.

    Raises:
        UserError: the machines cannot share them, or this machine is none of them.
    """
    hosts = [host for host in environ.get("VC_WORKER_HOSTS", "").split(",") if host] or [socket.gethostname()]
    machine = environ.get("VC_TASK_INDEX", "0")
    if size % len(hosts):
        raise UserError(f"--rank_size {size} cannot be split over the {len(hosts)} machines of VC_WORKER_HOSTS")
    if not (machine.isdecimal() and int(machine) < len(hosts)):
        raise UserError(f"VC_TASK_INDEX={machine} in the environment is the number of none of {len(hosts)} machines")
    here = size // len(hosts)
    first = int(machine) * here
    shared = {name: value for name, value in environ.items() if name not in ("RANK_SIZE", "RANK_ID", "CM_WORKER_SIZE")}
    if on_npu(command, environ):
        return {first + i: _npu(size, first + i, i, hosts, int(machine), shared) for i in range(here)}
    shared.setdefault("TF_NUM_INTRAOP_THREADS", str(max(1, (os.cpu_count() or 1) // here)))  # of a CPU that they share
    workers = _addresses(hosts, here, shared)
    configs = {
        rank: {"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}} for rank in range(size)
    }
    return {rank: {**shared, "TF_CONFIG": json.dumps(configs[rank])} for rank in range(first, first + here)}


def on_npu(command: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether the workers are NPUs: `--device=npu`, or an adapter and a cluster of them in the environment."""
    words = [part for word in command for part in word.split("=", 1)]
    devices = [value for flag, value in zip(words, words[1:]) if flag == "--device"]
    if devices and devices[-1] != "auto":
        return devices[-1] == "npu"
    cluster = "RANK_TABLE_FILE" in environ or "CM_CHIEF_IP" in environ
    return cluster and importlib.util.find_spec("npu_device") is not None


def _npu(
    size: int, rank: int, device: int, hosts: Sequence[str], machine: int, shared: Mapping[str, str]
) -> dict[str, str]:
    """The adapter's variables: of one way or the other, never both (`npu.check_environment` refuses what is mixed)."""
    own = {**shared, "ASCEND_DEVICE_ID": str(device)}
    if "RANK_TABLE_FILE" in shared:
        return {**own, "RANK_SIZE": str(size), "RANK_ID": str(rank)}
    chief = {"CM_CHIEF_IP": _ip(hosts[0]), "CM_CHIEF_PORT": CHIEF_PORT, "CM_CHIEF_DEVICE": "0"}
    return {**chief, "CM_WORKER_IP": _ip(hosts[machine]), **own, "CM_WORKER_SIZE": str(size)}


def _ip(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError:
        return "127.0.0.1" if host == socket.gethostname() else host


def _addresses(hosts: Sequence[str], here: int, environ: Mapping[str, str]) -> list[str]:
    """host:port of all workers; on one machine of ports that are free now."""
    if len(hosts) > 1:
        port = environ.get("MASTER_PORT", PORT)
        if not port.isdecimal():
            raise UserError(f"MASTER_PORT={port} in the environment is not the number of a port")
        return [f"{host}:{int(port) + number}" for host in hosts for number in range(here)]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(here)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return [f"127.0.0.1:{port}" for port in ports]


def run(size: int, command: Sequence[str]) -> int:
    """Runs the workers to their end. Returns 0, or as a shell would the status of the one that failed first."""
    workers = environments(size, command, os.environ)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, lambda number, frame: asked.append(number))

    processes: dict[int, subprocess.Popen] = {}
    for rank, environment in workers.items():
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} if processes else {}
        # Each in a session of its own: a terminal's Ctrl-C comes to them from here, once.
        processes[rank] = subprocess.Popen(
            command, env=environment, start_new_session=True, preexec_fn=_end_with_parent, **quiet
        )

    failed, passed_on, deadline = None, 0, math.inf
    while any(process.poll() is None for process in processes.values()):
        time.sleep(0.05)
        for number in asked[passed_on:]:
            _signal(processes, signal.SIGTERM if number == signal.SIGHUP else number)
            passed_on += 1
        if failed is None:
            failed = next((rank for rank, process in processes.items() if process.poll()), None)
            if failed is not None and not asked:
                _tell(failed, processes[failed].returncode, size)
                _signal(processes, signal.SIGTERM)
            if failed is not None:
                deadline = time.monotonic() + (SAVING if asked else PATIENCE)
        if time.monotonic() > deadline:
            _signal(processes, signal.SIGKILL)
    failed = (
        next((rank for rank, process in processes.items() if process.returncode), None) if failed is None else failed
    )
    status = processes[failed].returncode if failed is not None else 0
    return 128 - status if status < 0 else status


def _end_with_parent() -> None:
    """In a worker: asks Linux for a SIGTERM when the launcher is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _signal(processes: Mapping[int, subprocess.Popen], number: int) -> None:
    for process in processes.values():
        if process.poll() is None:
            process.send_signal(number)


def _tell(rank: int, status: int, size: int) -> None:
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    told = [f"[Error] worker {rank} of {size} {how}; the others are ended too (its log: train_{rank}.log)"]
    if status != 2:  # which is a mistake in flags or data
        told += ["[Info] the same command continues from the last checkpoint, if there is one"]
    print(*told, sep="\n", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    status = []

    def start() -> None:
        if not (argv[0].isdecimal() and int(argv[0]) > 0):
            raise UserError(f"--rank_size {argv[0]} is not a whole number of at least 1")
        status.append(run(int(argv[0]), argv[1:]))

    return cli.run_main(start) or status[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
