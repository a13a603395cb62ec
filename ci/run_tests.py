"""Runs the linter, then every folder's tests on both stacks, each in a process of its own, and sums them up.

As many run at a time as there are cores and stacks, since most of what tests do keeps one core busy.

`python ci/run_tests.py` is what `make test` does; `python ci/run_tests.py ImprovedGAN` runs one folder's tests.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LOGS = REPOSITORY / "build" / "test"
STACKS = {"current": ".venv", "ascend": ".venv-ascend"}


def run(name: str, command: list) -> int:
    """Runs a command in the repository, its output to a log and whole to the terminal. Returns its exit status."""
    log = LOGS / f"{name.replace(' ', '-')}.log"
    with open(log, "wb") as file:
        status = subprocess.run(command, cwd=REPOSITORY, stdout=file, stderr=subprocess.STDOUT).returncode
    print(f"\n==== {name} ====\n{log.read_text(errors='replace')}", end="", flush=True)
    return status


def lint() -> bool:
    """Whether ruff finds neither a mistake nor a file to format."""
    ruff = [str(REPOSITORY / STACKS["current"] / "bin" / "python"), "-m", "ruff"]
    return run("lint", [*ruff, "check", "."]) == 0 and run("lint format", [*ruff, "format", "--check", "."]) == 0


def test(folder: str, stack: str) -> tuple:
    """Runs a folder's tests on a stack.

    Returns: the number passed, failed and skipped, where a crash counts as one failed; and the seconds it took.
    """
    started = time.monotonic()
    report = LOGS / f"{folder}-{stack}.xml"
    if report.exists():
        report.unlink()
    python = REPOSITORY / STACKS[stack] / "bin" / "python"
    status = run(f"{folder} {stack}", [str(python), "-m", "pytest", f"{folder}/test", "-q", f"--junitxml={report}"])
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if report.exists():
        for suite in ElementTree.parse(str(report)).getroot().iter("testsuite"):
            failed = int(suite.get("failures")) + int(suite.get("errors"))
            skipped = int(suite.get("skipped"))
            counts["failed"] += failed
            counts["skipped"] += skipped
            counts["passed"] += max(0, int(suite.get("tests")) - failed - skipped)
    if status and not counts["failed"]:
        counts["failed"] = 1
    return counts, time.monotonic() - started


def told(counts: dict) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in counts.items())


def main(argv: list) -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    os.chdir(str(REPOSITORY))
    tested = sorted(path.parent.name for path in REPOSITORY.glob("*/test") if list(path.glob("test_*.py")))
    summary, total, good = [], {"passed": 0, "failed": 0, "skipped": 0}, True
    if not argv:
        good = lint()
        summary.append(f"{'lint':24}{'passed' if good else 'FAILED'}")
    ready = [stack for stack, venv in STACKS.items() if (REPOSITORY / venv / ".ready").exists()]
    jobs = [(folder, stack) for folder in argv or tested for stack in ready]
    with ThreadPoolExecutor(max(1, min(len(ready), os.cpu_count() or 1))) as pool:
        for (folder, stack), (counts, seconds) in zip(jobs, pool.map(lambda job: test(*job), jobs)):
            summary.append(f"{folder + ' ' + stack:24}{told(counts)} in {seconds:.0f} s")
            total = {outcome: total[outcome] + counts[outcome] for outcome in total}
    for stack, venv in STACKS.items():
        if not (REPOSITORY / venv / ".ready").exists():
            summary.append(f"The {stack} stack was skipped: there is no {venv} (make setup says why).")
            good = good and os.environ.get("CI") != "true"
    print("\n==== summary (logs: build/test/) ====", *summary, told(total), sep="\n")
    return 0 if good and not total["failed"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
