"""Kills trainings of all models with SIGKILL, again and again, and compares how they end with one that was left alone.

python ci/test/kills.py --kills=200          about 40 minutes of one core

A fifth of the kills come while a checkpoint is being written, a fifth while the run is being measured at its end, the
others at any time. After every few the run is let go to its end, and its weights have to be those of the undisturbed
run, bit for bit. Exits with 1 where they are not.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from common import cli, weights  # noqa: E402  isort:skip  (before TensorFlow, whose start-up lines it holds back)
from ci.test.test_folders import EVERY_STEP  # noqa: E402
from common.test import testing  # noqa: E402

MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/train.py"))
STEPS = 12
KILLS = 8  # of one run, before it is let go to its end
MOMENTS = ("step", "save", "step", "evaluation", "step")


def watch() -> None:
    """In a training under test: a checkpoint stays half a second under its temporary name, and says so."""
    replace = os.replace

    def slowly(source, target):
        if str(target).endswith(weights.ENDING):
            print("writing a checkpoint", flush=True)
            time.sleep(0.5)
        replace(source, target)

    os.replace = slowly


def kill(process: testing.Process, run: Path, moment: str, rng: random.Random) -> bool:
    """Waits for the moment and kills; False where the run had ended before."""
    steps = len(testing.steps_done(run))
    wanted = {"step": steps + rng.randint(1, 3), "save": 0, "evaluation": STEPS}[moment]

    def come() -> bool:
        if moment == "save":
            return "writing a checkpoint" in process.text()
        return len(testing.steps_done(run)) >= min(wanted, STEPS)

    try:
        process.until(come)
        time.sleep(rng.uniform(0, 0.3))
    except AssertionError:  # it ended
        pass
    return process.end(signal.SIGKILL) == -signal.SIGKILL


def weights_after(process: testing.Process, run: Path) -> dict:
    assert process.end() == 0, process.text()[-3000:]
    return testing.weights(run, STEPS)


def kills_of(model: str, number: int, folder: Path, rng: random.Random) -> tuple[dict[str, int], int]:
    """Kills one model's runs so many times. Returns how many kills came at which moment, and how many runs ended."""
    tiny = json.loads((REPOSITORY / model / "test" / "tiny.json").read_text())
    counts, ended = dict.fromkeys(MOMENTS, 0), 0
    with testing.spawner(REPOSITORY / model) as spawner:
        made = [f"--output_path={folder / 'data'}", *tiny["sample_data"]]
        assert testing.Process(spawner, folder, made, "sample_data").end() == 0
        flags = [f"--data_path={folder / 'data'}", *tiny["train"], *EVERY_STEP[model].split(), "--deterministic"]
        with testing.starter(spawner, folder, *flags, f"--train_steps={STEPS}") as start:
            undisturbed = weights_after(start(output=folder / "undisturbed"), folder / "undisturbed")
            while sum(counts.values()) < number:
                run = folder / f"run-{ended}"
                for _ in range(min(KILLS, number - sum(counts.values()))):
                    moment = MOMENTS[sum(counts.values()) % len(MOMENTS)]
                    hook = {"hook": "ci.test.kills"} if moment == "save" else {}
                    process = start(output=run, **hook)
                    if not kill(process, run, moment, rng):
                        break
                    counts[moment] += 1
                differing = testing.differing(undisturbed, weights_after(start(output=run), run))
                assert not differing, f"{model}: {run}: other weights: {', '.join(differing)[:300]}"
                ended += 1
                shutil.rmtree(run)
    return counts, ended


def main() -> int:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help="all, without any")
    parser.add_argument("--kills", type=cli.in_range(int, 1), default=200, help="in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args: argparse.Namespace = parser.parse_args()
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")  # one thread adds in one order
    rng, total = random.Random(args.seed), 0
    for number, model in enumerate(args.models):
        share = args.kills * (number + 1) // len(args.models) - args.kills * number // len(args.models)
        with tempfile.TemporaryDirectory() as folder:
            counts, ended = kills_of(model, share, Path(folder), rng)
        total += sum(counts.values())
        told = ", ".join(f"{count} at {'an' if moment[0] == 'e' else 'a'} {moment}" for moment, count in counts.items())
        print(f"{model}: {sum(counts.values())} kills ({told}); {ended} runs ended with the same weights", flush=True)
    print(f"{total} kills, every run bit for bit the undisturbed one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
