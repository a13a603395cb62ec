"""Runs the linter, then every folder's tests on both stacks, and sums them up.

`python ci/run_tests.py` is what `make test` does; `python ci/run_tests.py ImprovedGAN` runs one folder's tests. As
many folders are tested at a time as there are cores, each on a core of its own: most of what tests do keeps one busy.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LOGS = REPOSITORY / "build" / "test"
STACKS = {"current": ".venv", "ascend": ".venv-ascend"}
FIRST = ("ci", "common")  # the longest ones, so that no core waits at the end
OUTCOMES = ("passed", "failed", "skipped")


def lint() -> int:
    """Prints what ruff finds: mistakes and files to format. Returns its exit status."""
    ruff = [str(REPOSITORY / STACKS["current"] / "bin" / "python"), "-m", "ruff"]
    commands = [[*ruff, "check", "."], [*ruff, "format", "--check", "."]]
    return max([subprocess.run(command, cwd=str(REPOSITORY)).returncode for command in commands])


def test(folder: str, stack: str, core: int) -> dict:
    """Runs a folder's tests on a stack: how many passed, failed and were skipped, where a crash counts as one failed;
    and the seconds it took. Prints them, and the whole log where something failed."""

    def alone() -> None:
        os.sched_setaffinity(0, {core})
        signal.signal(signal.SIGINT, signal.default_int_handler)  # `make test &` ignores it, and nohup SIGHUP ...
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ... and so would the tests

    started = time.monotonic()
    log, report = LOGS / f"{folder}-{stack}.log", LOGS / f"{folder}-{stack}.xml"
    report.unlink(missing_ok=True)
    command = [str(REPOSITORY / STACKS[stack] / "bin" / "python"), "-m", "pytest", f"{folder}/test", "-q"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}", "--durations=8"]
    with open(log, "wb") as file:
        streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
        status = subprocess.run(command, cwd=str(REPOSITORY), preexec_fn=alone, **streams).returncode
    counts = dict.fromkeys(OUTCOMES, 0)
    if report.exists():
        for suite in ElementTree.parse(str(report)).getroot().iter("testsuite"):
            failed, skipped = int(suite.get("failures")) + int(suite.get("errors")), int(suite.get("skipped"))
            counts["failed"] += failed
            counts["skipped"] += skipped
            counts["passed"] += max(0, int(suite.get("tests")) - failed - skipped)
    if status < 0 and report.exists() and not counts["failed"]:  # the report is written when all tests have ended
        print(f"[Warning] {folder}, {stack}: signal {-status} ended Python after the last test", flush=True)
    elif status and not counts["failed"]:
        counts["failed"] = 1
    seconds = time.monotonic() - started
    text = log.read_text(errors="replace") if counts["failed"] else ""
    print(f"{text}==== {folder}, {stack}: {told(counts)} in {seconds:.0f} s ====", flush=True)
    return {**counts, "folder": folder, "stack": stack, "seconds": seconds}


def told(counts: dict) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)


def main(argv: list) -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    tested = sorted(path.parent.name for path in REPOSITORY.glob("*/test") if list(path.glob("test_*.py")))
    tested.sort(key=lambda folder: (*FIRST, folder).index(folder))
    linted = 0 if argv else lint()
    ready = [stack for stack, venv in STACKS.items() if (REPOSITORY / venv / ".ready").exists()]
    jobs: queue.Queue = queue.Queue()
    for folder in argv or tested:
        for stack in ready:
            jobs.put((folder, stack))
    done: list = []

    def work(core: int) -> None:
        while True:
            try:
                done.append(test(*jobs.get_nowait(), core))
            except queue.Empty:
                return

    started = time.monotonic()
    workers = [threading.Thread(target=work, args=[core], daemon=True) for core in sorted(os.sched_getaffinity(0))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    total = {outcome: sum(counts[outcome] for counts in done) for outcome in OUTCOMES}
    print(f"\n{'folder':14}" + "".join(f"{stack:>44}" for stack in ready))
    for folder in argv or tested:
        cells = {counts["stack"]: counts for counts in done if counts["folder"] == folder}
        texts = [f"{told(cells[stack])}, {cells[stack]['seconds']:4.0f} s" for stack in ready if stack in cells]
        print(f"{folder:14}" + "".join(f"{text:>44}" for text in texts))
    print(f"all together: {time.monotonic() - started:.0f} s; logs: build/test/")
    missing = [stack for stack in STACKS if stack not in ready]
    for stack in missing:
        print(f"The {stack} stack was skipped: there is no {STACKS[stack]} (make setup says why).")
    if linted:
        print("ruff has found something: see the top, or `make lint`")
    print(told(total))
    failed = total["failed"] or linted or (missing and os.environ.get("CI") == "true")
    return 1 if failed or len(done) < len(argv or tested) * len(ready) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
