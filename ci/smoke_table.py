"""Prints what a smoke run came to: `smoke_table.py Model=exit_status=seconds ...`. Fails if one of the models did, or
if it is no better than its hardest trivial baseline.

The metric is the one that "Final Train Accuracy" shows, or that of a line `# metric: NAME` in <Model>/test/smoke.flags;
`# metric: -NAME` where less is better.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
HEADER = ["model", "seconds", "metric", "ours", "trivial baseline", "better"]
WIDTH = 100


def row(model: str, seconds: str, result: dict[str, Any]) -> list[str]:
    """A model's line of the table, from its result.json. Raises what reading it raises."""
    metrics, baseline = result["metrics"], result["baseline"]
    flags = REPOSITORY / model / "test" / "smoke.flags"
    named = re.search(r"^# metric: (-?)(\S+)$", flags.read_text() if flags.exists() else "", re.MULTILINE)
    less = bool(named and named[1])
    metric = named[2] if named else next(name for name in metrics if metrics[name] == result["accuracy"])
    trivial: dict[str, float] = {}  # {whose: value}; what real images get is no baseline
    for name, value in baseline.items():
        if isinstance(value, dict) and metric in value:
            trivial[name] = value[metric]
        elif name.endswith(f"_{metric}") or name.startswith(f"{metric}_"):
            trivial[name.replace(metric, "").strip("_")] = value
    trivial.pop("real", None)
    trivial.setdefault("", baseline.get(metric, next(iter(trivial.values()), None)))
    whose, hardest = (min if less else max)(trivial.items(), key=lambda item: item[1])
    better = metrics[metric] < hardest if less else metrics[metric] > hardest
    told = f"{hardest:.4g}" + f" ({whose.replace('_', ' ')})" * bool(whose)
    return [model, seconds, metric, f"{metrics[metric]:.4g}", told, "yes" if better else "NO"]


def main(argv: list[str]) -> int:
    rows, look = [HEADER], []
    for argument in argv:
        model, status, seconds = argument.split("=")
        output = REPOSITORY / "build" / "smoke" / model / "output"
        try:
            if status != "0":
                raise ValueError(f"exit status {status}")
            result = json.loads((output / "result.json").read_text())
            rows.append(row(model, seconds, result))
            pages = sorted(output.glob("**/*.html"))
            look.append((model, pages[-1] if pages else REPOSITORY / result["examples"]))
        except Exception as error:
            rows.append([model, seconds, f"FAILED: {error}"])
    whole = [line for line in rows if len(line) == len(HEADER)]
    widths = [max(len(line[i]) for line in whole) for i in range(len(HEADER))]
    print()
    for line in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()[:WIDTH])
    for model, path in look:
        print(f"{model}: look at: {str(path).replace(f'{REPOSITORY}/', '')}")
    return 1 if len(whole) < len(rows) or any(line[-1] == "NO" for line in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
