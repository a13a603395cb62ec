"""In a training process under test: Huawei's adapter is the double, and each step's traces are written down.

A test names this file as the process's hook (see common/test/testing.py) and steers it by the environment:

REHEARSAL             the file of what is seen, a JSON object per line: one for each step, one at the end
REHEARSAL_OVERFLOWS   such as "2": the second step overflows
"""

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Callable

REPOSITORY = Path(__file__).resolve().parents[2]


def watch() -> Callable[[], None]:
    """Puts the double in place. Returns what to call when the training has ended."""
    sys.path.insert(0, str(REPOSITORY / "common" / "test" / "npu_double"))
    from npu_device import double

    from common.run import Run
    from common.test import graph_check

    noted, seen = graph_check.Noted(), open(os.environ["REHEARSAL"], "a", buffering=1)  # noqa: SIM115
    overflows = {int(step) for step in os.environ.get("REHEARSAL_OVERFLOWS", "").split(",") if step}
    enter, end_step, save = Run.__enter__, Run.end_step, Run.save
    steps, graphs_of_a_save = [0], []

    def begin(run: Run) -> None:
        """What happens between steps must not count: an overflow there, such as while examples are generated."""
        double.register[0] = 1
        double.overflow_next = steps[0] + 1 in overflows

    def watched_enter(run):
        entered = enter(run)
        seen.write(json.dumps({"start": digests(run.variables)}) + "\n")
        begin(run)
        return entered

    def watched_end(run, metrics):
        steps[0] += 1
        scales = [float(value) for name, value in run.variables.items() if name.endswith("loss_scale/scale")]
        seen.write(json.dumps({"step": steps[0], "state": digests(run.variables), "scales": scales}) + "\n")
        begin(run)
        end_step(run, metrics)

    def watched_save(run, *args, **kwargs):
        before = double.eager_graphs
        save(run, *args, **kwargs)
        graphs_of_a_save.append(double.eager_graphs - before)

    Run.__enter__, Run.end_step, Run.save = watched_enter, watched_end, watched_save

    def finish():
        faults = [str(fault) for graph in noted.graphs for fault in graph_check.faults(graph)]
        nested = [call for call in double.calls if call["call"] == "nested call"]
        seen.write(
            json.dumps({"graphs": len(noted.graphs), "faults": faults + nested, "saves": graphs_of_a_save}) + "\n"
        )

    return finish


def digests(variables: dict[str, Any]) -> dict[str, str]:
    """A word for each part of what a checkpoint holds: networks, optimizers, and all loss scales as "counters"."""
    parts: dict[str, Any] = {}
    for name, variable in variables.items():
        part = "counters" if "/loss_scale/" in name else name.partition("/")[0]
        parts.setdefault(part, hashlib.sha256()).update(name.encode() + variable.numpy().tobytes())
    return {part: digest.hexdigest()[:12] for part, digest in parts.items()}
