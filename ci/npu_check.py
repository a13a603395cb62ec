"""What to run first on an Ascend machine: `python ci/npu_check.py` says whether everything is there and computes.

One line for each thing looked at: [good]; [missing] or [bad], with what to do; [note], what is worth knowing. Then the
verdict: exit status 0 when trainings will run, 2 when something is missing, 1 when something that is there fails.
It opens the device, multiplies two matrices and trains every model for a step on a little sample data (the flags in
<Model>/test/tiny.json), in processes of their own. With RANK_SIZE above 1 start it once for each rank, as a training,
and it tries an all-reduce too.
"""

import glob
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from common import cli, npu  # noqa: E402
from common.cli import UserError  # noqa: E402
from common.test import graph_check  # noqa: E402

SOURCE = "source /usr/local/Ascend/ascend-toolkit/set_env.sh"
DRIVER, DEVICES = "/usr/local/Ascend/driver/version.info", "/dev/davinci[0-9]*"
NO_DRIVER = "install the NPU's driver; in a container, mount what the host has"
HOMES = ("/usr/local/Ascend/ascend-toolkit/latest", "/usr/local/Ascend/nnae/latest", "/usr/local/Ascend/cann")
NEEDED = ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "LD_LIBRARY_PATH")  # which set_env.sh sets
PATIENCE = 1800  # seconds for a process: the first step compiles every operator
SIZE = 256  # of the matrices


class Finding(NamedTuple):
    """A line of the report: "good", "missing", "bad" or "note"; what was looked at; what was found, and what to do."""

    state: str
    what: str
    text: str


# What can be seen without TensorFlow.


def versions() -> Iterator[Finding]:
    """Of everything that the adapter stands on."""
    python, right = platform.python_version(), sys.version_info[:2] == (3, 9)
    yield Finding("good" if right else "missing", "Python", python + ("" if right else ": use 3.9 (see README.md)"))
    found = _package("tensorflow", "tensorflow-cpu", "tensorflow-aarch64") or "not installed"
    right = found.startswith("2.6.")
    todo = "" if right else ": the adapter is for 2.6.5 (requirements-ascend.txt)"
    yield Finding("good" if right else "missing", "TensorFlow", found + todo)
    if importlib.util.find_spec("npu_device"):
        yield Finding("good", "npu_device", _package("npu-device", "npu_device") or "there, its version unknown")
    else:
        yield Finding("missing", "npu_device", "not installed: install Huawei's adapter for TensorFlow 2.6.5")
    yield driver(DRIVER, glob.glob(DEVICES))
    yield npu_smi()
    yield cann(os.environ)


def _package(*names: str) -> Optional[str]:
    """The version of the first of these distributions that is installed."""
    for name in names:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def driver(file: str, devices: list[str]) -> Finding:
    """The driver's version, from the file that its installer leaves; a container may have the devices alone."""
    found = _value(file, "Version")
    if found:
        return Finding("good", "driver", found)
    if devices:
        return Finding("note", "driver", f"{len(devices)} devices, but {file} does not tell the driver's version")
    return Finding("missing", "driver", f"neither {DEVICES} nor {file}: {NO_DRIVER}")


def npu_smi() -> Finding:
    """Whether the driver's own tool sees a device."""
    tool = shutil.which("npu-smi")
    if tool is None:
        return Finding("note", "npu-smi", f"not on the PATH: {NO_DRIVER}")
    try:
        done = subprocess.run([tool, "info"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("bad", "npu-smi", f"{error}: {NO_DRIVER}")
    told = [line.strip(" |") for line in done.stdout.splitlines() if "ersion" in line] or done.stdout.splitlines()[:1]
    if done.returncode:
        return Finding("bad", "npu-smi", f"exit status {done.returncode}, {' '.join(told)}: {NO_DRIVER}")
    return Finding("good", "npu-smi", " ".join(told))


def cann(environ: Mapping[str, str]) -> Finding:
    """CANN's version, from the file that its installer leaves."""
    for home in filter(None, (environ.get("ASCEND_HOME_PATH"), environ.get("ASCEND_TOOLKIT_HOME"), *HOMES)):
        for file in sorted(glob.glob(os.path.join(glob.escape(home), "*-linux", "ascend_*_install.info"))):
            found = _value(file, "version")
            if found:
                return Finding("good", "CANN", f"{found} ({file})")
    text = f"no {platform.machine()}-linux/ascend_*_install.info in $ASCEND_HOME_PATH or {HOMES[0]}: install CANN"
    return Finding("missing", "CANN", f"{text}, then {SOURCE}")


def _value(file: str, key: str) -> Optional[str]:
    """What `key=` says in a file of such lines."""
    try:
        with open(file, errors="replace") as text:
            lines = [line.strip().partition("=") for line in text]
    except OSError:
        return None
    return next((value for name, _, value in lines if name == key and value), None)


def environment(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The variables that matter, and the operations that CANN lists."""
    for name in NEEDED:
        found = environ.get(name)
        yield Finding("good", name, found) if found else Finding("missing", name, f"not set: {SOURCE}")
    try:
        npu.check_environment(environ)
        ranks = {name: environ[name] for name in ("ASCEND_DEVICE_ID", "RANK_SIZE", "RANK_ID") if name in environ}
        yield Finding("good", "ranks", " ".join(f"{name}={value}" for name, value in ranks.items()) or "device 0 alone")
    except UserError as error:
        yield Finding("missing", "ranks", str(error))
    listed = graph_check.listed_operations(environ)
    if listed is None:
        yield Finding("note", "operations", "$ASCEND_OPP_PATH has no npu_supported_ops.json: nothing to compare with")
    else:
        lacking = sorted(graph_check.SUPPORTED - listed)
        text = f"CANN lists {len(listed)}" + (f"; not these of ours: {' '.join(lacking)}" if lacking else "")
        yield Finding("note" if lacking else "good", "operations", text)


# What a process of its own does: it tells its findings as they are made.


def try_device(tell: Callable[..., None]) -> None:
    """Opens the device, multiplies matrices and, with several workers, reduces a number over them."""
    import numpy as np
    import tensorflow as tf

    from common.config import SessionConfig
    from common.session import open_session

    session = open_session(SessionConfig(device="npu", workers=True))
    tell("good", "device", f"open: worker {session.rank} of {session.world_size}")
    left, right = (np.random.RandomState(seed).uniform(-1, 1, [SIZE, SIZE]).astype(np.float32) for seed in (0, 1))
    off = float(np.abs(tf.function(tf.matmul)(tf.constant(left), tf.constant(right)).numpy() - left @ right).max())
    # float16 keeps 11 bits: a sum of 256 products of numbers under 1 is off by some hundredths at the very most
    text = f"{SIZE} x {SIZE}: off by {off:.2g} at most"
    tell(*(("good", "product", text) if off < 0.05 else ("bad", "product", f"{text}; look at the driver and CANN")))
    if session.world_size == 1:
        tell("note", "all-reduce", "not tried: RANK_SIZE is not above 1")
        return
    [mean] = session.all_reduce_mean([tf.constant([float(session.rank)])])
    expected, text = (session.world_size - 1) / 2, f"the mean of {session.world_size} ranks is {float(mean[0]):g}"
    same = abs(float(mean[0]) - expected) < 1e-3
    tell("good" if same else "bad", "all-reduce", text if same else f"{text}, not {expected:g}; check the rank table")


def try_model(tell: Callable[..., None], model: str, folder: str) -> None:
    """Trains a model for a step, and tells which of its operations this machine's CANN does not list."""
    sys.path.insert(0, str(REPOSITORY / model))
    import train

    tiny = json.loads((REPOSITORY / model / "test" / "tiny.json").read_text())
    size = int(os.environ.get("RANK_SIZE", os.environ.get("CM_WORKER_SIZE", "1")))
    data = [sys.executable, str(REPOSITORY / model / "sample_data.py"), f"--output_path={folder}/data"]
    # Enough samples for a batch of all ranks.
    enough = [re.sub(r"^--(train|number)=\d+$", rf"--\1={max(8, 2 * size)}", flag) for flag in tiny["sample_data"]]
    if subprocess.run([*data, *enough]).returncode:
        raise SystemExit(1)
    flags = [f"--data_path={folder}/data", f"--output_path={folder}/run", *tiny["train"], f"--batch_size={2 * size}"]
    noted = graph_check.Noted()
    status = train.main([*flags, "--device=npu", "--train_steps=1", "--evaluate=False"])
    if status:
        raise SystemExit(status)
    supported = graph_check.listed_operations() or graph_check.SUPPORTED
    lacking = sorted({fault.type for graph in noted.graphs for fault in graph_check.faults(graph, supported)})
    left = f"; the adapter may leave {' '.join(lacking)} on the host" if lacking else ""
    tell("good", model, f"trained for {len(noted.graphs)} step{'s' * (len(noted.graphs) > 1)}{left}")


def child(what: str, folder: str) -> None:
    """Leaves its findings in a file, line by line."""

    def tell(*finding: str) -> None:
        with open(os.path.join(folder, "findings"), "a") as file:
            file.write(json.dumps(finding) + "\n")

    try_device(tell) if what == "device" else try_model(tell, what, folder)


def ask(what: str) -> Iterator[Finding]:
    """What a process of its own finds; when it fails, that, and why."""
    with tempfile.TemporaryDirectory(prefix="npu_check-") as folder:
        file, log = Path(folder, "findings"), Path(folder, "log")
        with open(log, "wb") as output:
            command = [sys.executable, __file__, "--child", what, folder]
            try:
                status = subprocess.run(command, stdout=output, stderr=output, timeout=PATIENCE).returncode
                failed = f"exit status {status}" if status else ""
            except subprocess.TimeoutExpired:
                failed = f"not done after {PATIENCE} s"
        yield from (Finding(*json.loads(line)) for line in (file.read_text().splitlines() if file.exists() else []))
        if failed:
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
            first = next((number for number, line in enumerate(lines) if line.startswith("[Error]")), -2)
            yield Finding("bad", what, f"{failed}: {' '.join(lines[first:][:2])[-500:]}")


# The whole check.


def findings(models: list[str]) -> Iterator[Finding]:
    """Every line of the report, as soon as it is known."""
    missing = False
    for finding in (*versions(), *environment(os.environ)):
        missing = missing or finding.state == "missing"
        yield finding
    if missing:
        yield Finding("note", "device", "not tried, nor were the models: something is missing, see above")
        return
    bad = False
    for finding in ask("device"):
        bad = bad or finding.state == "bad"
        yield finding
    if bad:
        yield Finding("note", "models", "not tried: the device does not compute")
        return
    for model in models:
        yield from ask(model)


def check(args: Any) -> None:
    """Prints the report. Raises what gives the verdict's exit status."""
    every = sorted(path.parent.parent.name for path in REPOSITORY.glob("*/test/tiny.json"))
    strange = sorted(set(args.models or []) - set(every))
    if strange:
        raise UserError(f"--models: there is no model {', '.join(strange)}; there are {', '.join(every)}")
    states: dict[str, list[str]] = {"missing": [], "bad": [], "note": [], "good": []}
    for finding in findings(args.models or every):
        states[finding.state].append(finding.what)
        print(f"{f'[{finding.state}]':10}{finding.what}: {finding.text}", flush=True)
    if states["bad"]:
        print(f"Verdict: not good. What fails: {', '.join(states['bad'])}.")
        raise SystemExit(2 if states["missing"] else 1)
    if states["missing"]:
        print(f"Verdict: trainings cannot run on an NPU here. What is missing: {', '.join(states['missing'])}.")
        raise SystemExit(2)
    print("Verdict: good. Trainings run on this NPU: give them --device=npu.")


def main(argv: Optional[list[str]] = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["--child"]:
        return cli.run_main(child, *words[1:])
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="train these for a step; all without it")
    return cli.run_main(check, parser.parse_args(words))


if __name__ == "__main__":
    sys.exit(main())
