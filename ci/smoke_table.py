"""Prints what a smoke run came to: `smoke_table.py Model=exit_status ...`. Fails if one of the models did."""

import json
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
HEADER = ["model", "device", "precision", "steps", "s/step", "images/s", "metric (trivial baseline)", "pictures"]


def row(model: str) -> list:
    """A model's line of the table, from its result.json. Raises what reading it raises."""
    result = json.loads((REPOSITORY / "build" / "smoke" / model / "output" / "result.json").read_text())
    metrics, baseline = result["metrics"], result["baseline"]
    compared = [
        f"{name} {metrics[name]:.4g} ({baseline[name]:.4g})"
        for name in metrics
        if name in baseline and name != "pictures"
    ]
    return [
        model,
        result["device"],
        result["precision"],
        result["train_steps"],
        f"{result['sec_per_step']:.3f}",
        f"{result['images_per_sec']:.1f}",
        ", ".join(compared) or "-",
        (result["examples"] or "-").replace(f"{REPOSITORY}/", ""),
    ]


def main(argv: list) -> int:
    rows = [HEADER]
    for argument in argv:
        model, _, status = argument.rpartition("=")
        try:
            rows.append(row(model) if status == "0" else [model, f"FAILED with exit status {status}"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            rows.append([model, f"FAILED to leave a whole result.json: {error!r}"])
    failed = [line for line in rows if len(line) != len(HEADER)]
    widths = [max(len(str(line[i])) for line in rows if len(line) == len(HEADER)) for i in range(len(HEADER))]
    print()
    for line in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
