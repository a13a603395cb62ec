"""How fast every model trains on this machine: `make bench`, or `ci/bench.py --models SRGAN --seconds 20`.

Each row is one configuration (<Model>/test/bench.flags, one a line: `name: --flag=value ...`) in one precision, trained
for some seconds on the model's sample data in a process of its own. The median step is told; "input" is the share of
it outside of the step's graphs, most of it waiting for the batch. FLOPs are the multiplications and additions of the
convolutions and matrix products (COUNTED) in the graphs; the peak that they are compared with is the best of some plain
convolutions, tried between the steps, because a machine is not equally fast all the time.
"""

import contextlib
import functools
import json
import math
import multiprocessing
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Optional

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from common import cli  # noqa: E402
from common.cli import TrainingError, UserError  # noqa: E402

PRECISIONS = ("force_fp32", "allow_mix_precision")
WARM_UP, LEAST, MOST = 1, 3, 200  # rounds that do not count, and how many do
COUNTED = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "MatMul", "BatchMatMulV2")
PEAK_SHAPES = (  # batch, size, channels, kernel, strides
    (8, 64, 64, 3, 1),
    (8, 32, 128, 3, 1),
    (2, 32, 256, 3, 1),
    (8, 32, 128, 4, 2),
    (4, 32, 256, 4, 2),
)
COLUMNS = {  # heading, its width -> how a row's cell is made
    ("model", 22): lambda row: f"{row['model']} {row['configuration']}",
    ("precision", 9): lambda row: row["precision"].replace("mixed_", ""),
    ("batch", 5): lambda row: row["batch_size"],
    ("s/step", 8): lambda row: f"{row['sec_per_step']:.4f}",
    ("images/s", 8): lambda row: f"{row['images_per_sec']:.1f}",
    ("input", 5): lambda row: f"{row['input_share']:.0%}",
    ("GFLOP", 7): lambda row: f"{row['flops_per_step'] / 1e9:.1f}" + "+" * bool(row["uncounted_operations"]),
    ("of peak", 7): lambda row: f"{row['peak_share']:.0%}",
    ("MB", 5): lambda row: f"{row['peak_memory_mb']:.0f}",
    ("first", 5): lambda row: f"{row['first_step_sec']:.1f}",
    ("against", 7): lambda row: f"{row['against']:.2f}" if "against" in row else "",
}


class Measured(Exception):
    """Ends the training when enough was seen."""


# In the process of one measurement.


def measure(model: str, flags: list[str], seconds: float) -> dict[str, Any]:
    """Trains one configuration of a model for `seconds` after its first step. Returns what its row needs."""
    begun = time.perf_counter()
    sys.path.insert(0, str(REPOSITORY / model))
    import train

    from common.run import Run
    from common.test.graph_check import Noted

    noted = Noted()
    seen: dict[str, Any] = {"times": [], "graphs": [], "peak": 0.0, "waited": 0.0}

    def end_step(run: Run, metrics: dict[str, Any]) -> None:
        asked = time.perf_counter()
        float(next(iter(metrics.values())))  # waits for the device
        now = time.perf_counter()
        seen["waited"] += now - asked
        in_graphs = sum(noted.seconds) + seen["waited"]
        if run.step == 0:
            seen.update(first=now - begun, end=now + seconds)
        else:
            seen["times"].append(now - seen["mark"])
            seen["graphs"].append(in_graphs - seen["before"])
        run.step += 1
        rounds = len(seen["times"]) / run.cycle - WARM_UP
        if rounds >= LEAST and (now > seen["end"] or rounds >= MOST):
            seen.update(run=run, calls=list(noted.calls))
            raise Measured
        if rounds in (1, 2, 3) or rounds % 16 == 0:
            seen["peak"] = max(seen["peak"], convolution_peak(run.session.precision))
        seen.update(mark=time.perf_counter(), before=in_graphs)

    Run.end_step = end_step
    with tempfile.TemporaryDirectory() as output:
        args = train.parse_args([f"--output_path={output}/run", "--evaluate=False", "--train_steps=100000", *flags])
        with contextlib.suppress(Measured):
            train.train(args)
    run, cycle = seen["run"], seen["run"].cycle
    whole, graphs = (_rounds(seen[name], cycle) for name in ("times", "graphs"))
    step = statistics.median(whole)
    counts = [count_flops(graph) for graph in noted.graphs]
    flops = sum(calls * count for calls, (count, _) in zip(seen["calls"], counts)) / run.step
    return {
        "device": run.session.device,
        "precision": run.session.precision,
        "batch_size": args.batch_size,
        "steps": len(whole) * cycle,
        "sec_per_step": step,
        "images_per_sec": args.batch_size / step,
        "input_share": max(0.0, 1 - sum(graphs) / sum(whole)),
        "flops_per_step": flops,
        "uncounted_operations": sum(unknown for _, unknown in counts),
        "peak_flops": seen["peak"],
        "peak_share": flops / statistics.median(graphs) / seen["peak"],
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "first_step_sec": seen["first"],
    }


def _rounds(times: list[float], cycle: int) -> list[float]:
    """Means over each round of the kinds of step that take turns, without the first rounds."""
    return [statistics.mean(times[i : i + cycle]) for i in range(WARM_UP * cycle, len(times) - cycle + 1, cycle)]


def count_flops(graph: Any) -> tuple[int, int]:
    """The FLOPs of a graph's COUNTED operations, and how many of them cannot be counted, not being of static shapes."""
    from common.test.graph_check import all_operations

    counts = [_flops(op) for op in all_operations(graph) if op.type in COUNTED]
    return sum(count or 0 for count in counts), counts.count(None)


def _flops(op: Any) -> Optional[int]:
    """Two for each product of a convolution, either of its gradients, or a matrix product; None if sizes are open."""
    if op.type.endswith("MatMul") or op.type == "BatchMatMulV2":
        turned = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        wide, summed = op.outputs[0].shape, [op.inputs[0].shape[-2 if turned else -1]]
    else:  # the wide end of a convolution is its output, of both gradients the output's gradient
        wide = op.outputs[0].shape if op.type == "Conv2D" else op.inputs[2].shape
        summed = (op.outputs[0] if op.type == "Conv2DBackpropFilter" else op.inputs[1]).shape.as_list()[:3]
    if wide.num_elements() is None or None in summed:
        return None
    return 2 * wide.num_elements() * math.prod(summed)


def convolution_peak(precision: str) -> float:
    """FLOPs a second of the fastest of some convolutions, forward and backward, in a policy's compute type."""
    best = 0.0
    for function, tensors, flops in _convolutions(precision):
        for _ in range(2):
            begun = time.perf_counter()
            for value in function(*tensors):
                float(value)
            best = max(best, flops / (time.perf_counter() - begun))
    return best


@functools.lru_cache(None)
def _convolutions(precision: str) -> list[tuple[Callable, list, int]]:
    """Functions, what they take and their FLOPs."""
    import tensorflow as tf

    def forward_and_backward(strides, x, w, dy):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.nn.conv2d(x, w, strides, "SAME")
        return [tf.reduce_max(value) for value in (y, *tape.gradient(y, [x, w], dy))]

    dtype = {"mixed_float16": tf.float16, "mixed_bfloat16": tf.bfloat16}.get(precision, tf.float32)
    made = []
    for batch, size, channels, kernel, strides in PEAK_SHAPES:
        out = size // strides
        shapes = [batch, size, size, channels], [kernel, kernel, channels, channels], [batch, out, out, channels]
        tensors = [tf.cast(tf.random.stateless_normal(shape, [0, i]), dtype) for i, shape in enumerate(shapes)]
        flops = 3 * 2 * math.prod(shapes[2]) * kernel * kernel * channels
        made.append((tf.function(functools.partial(forward_and_backward, strides)), tensors, flops))
    return made


# The whole bench.


def configurations(model: str) -> list[tuple[str, list[str]]]:
    """A model's configurations: names and flags."""
    lines = (REPOSITORY / model / "test" / "bench.flags").read_text().splitlines()
    named = [line.partition(":") for line in lines if line.strip() and not line.startswith("#")]
    return [(name.strip(), shlex.split(flags)) for name, _, flags in named]


def sample_data(model: str) -> Path:
    """The folder of a model's sample data, written if it is not there."""
    folder = REPOSITORY / "build" / "sample_data" / model
    if not folder.exists():
        command = [sys.executable, str(REPOSITORY / model / "sample_data.py"), "--output_path", str(folder)]
        if subprocess.run(command, stdout=sys.stderr).returncode:
            raise UserError(f"{model}/sample_data.py failed")
    return folder


def in_a_process(function: Callable, *args: Any) -> dict[str, Any]:
    """What a function returns, in a process that is forked from here; {"error": its last words} where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        log, result = Path(folder, "log"), Path(folder, "result.json")

        def work() -> None:
            with open(log, "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            status = cli.run_main(lambda: result.write_text(json.dumps(function(*args))) and None)
            cli.leave(status)

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        try:
            process.join()
        finally:
            process.kill()
        if result.exists():
            return json.loads(result.read_text())
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("[Error]")] or lines[-1:] or ["it said nothing"]
        return {"error": f"FAILED (exit status {process.exitcode}): {told[-1]}"}


def bench(args: Any) -> None:
    models = sorted(path.parent.parent.name for path in REPOSITORY.glob("*/test/bench.flags"))
    strange = sorted(set(args.models or []) - set(models))
    if strange:
        raise UserError(f"--models: there is no model {', '.join(strange)}; there are {', '.join(models)}")
    before = {_name(row): row for row in json.loads(args.against.read_text())} if args.against else {}
    data = {model: sample_data(model) for model in args.models or models}
    import tensorflow  # noqa: F401  (once for all processes, which are forked)

    rows: list[dict[str, Any]] = []
    _print([heading for heading, _ in COLUMNS])
    try:
        for model in data:
            for configuration, flags in configurations(model):
                for mode in args.precision:
                    row = {"model": model, "configuration": configuration, "precision_mode": mode}
                    words = [f"--data_path={data[model]}", f"--precision_mode={mode}", *flags]
                    row.update(in_a_process(measure, model, words, args.seconds))
                    rows.append(row)
                    if "error" in row:
                        print(f"{model} {configuration} {mode}: {row['error']}", flush=True)
                        continue
                    old = before.get(_name(row), {}).get("images_per_sec")
                    row.update({"against": row["images_per_sec"] / old} if old else {})
                    _print([str(cell(row)) for cell in COLUMNS.values()])
    finally:  # also when it is stopped
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(rows, indent=2) + "\n")
        print(f"[Info] the same as JSON: {args.output}", file=sys.stderr, flush=True)
    if any("error" in row for row in rows):
        raise TrainingError("some measurements failed; what they said stands above")


def _name(row: dict[str, Any]) -> tuple:
    return row["model"], row["configuration"], row["precision_mode"]


def _print(cells: list[str]) -> None:
    print(" ".join(cell.ljust(width) for cell, (_, width) in zip(cells, COLUMNS)).rstrip(), flush=True)


def parse_args(argv: Optional[list[str]] = None) -> Any:
    parser = cli.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="folders to measure; all without it")
    parser.add_argument("--precision", nargs="+", default=PRECISIONS, metavar="MODE", help="precision modes")
    parser.add_argument("--seconds", type=cli.in_range(float, 0), default=6.0, help="of steps for each row")
    parser.add_argument("--against", type=Path, metavar="FILE", help="an earlier bench.json: ratios of the images/s")
    output = REPOSITORY / "build" / "bench.json"
    parser.add_argument("--output", type=Path, default=output, metavar="FILE", help="the rows as JSON")
    return parser.parse_args(argv)


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(bench, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
