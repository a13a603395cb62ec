"""How fast predict.py is, as a user has it: `ci/bench_predict.py`, of every model whose weights ship.

Each row is one model by TensorFlow in a precision, or by its ONNX export in onnxruntime. The command runs on a few
inputs and on many; the difference is the seconds that one takes, and what is left is the start: Python, the library,
the weights, and in TensorFlow the graph. Of each command the fastest of `--times` counts. Memory is the largest.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from common import session  # noqa: E402

PHOTO = (480, 640)  # height and width
BOX = "--box=200,200,360,264"  # of a word in it


def inputs(folder: Path) -> dict[str, tuple[str, list, list, int, list]]:
    """For each model its common job, the arguments for few and for many, how many more these are, and the export's."""
    rng = np.random.default_rng(0)

    def images(name: str, number: int, height: int, width: int) -> list[str]:
        coarse = rng.integers(0, 256, (number, height // 16, width // 16, 3), dtype=np.uint8)
        paths = [folder / f"{name}{i}.png" for i in range(number)]
        for path, pixels in zip(paths, coarse):
            Image.fromarray(pixels).resize((width, height), Image.BICUBIC).save(path)
        return [str(path) for path in paths]

    photos, maps = images("photo", 3, *PHOTO), images("map", 9, 256, 256)
    digits = images("digit", 100, 32, 32)
    word, size = ["--text=HELLO", BOX], ["--height=-1", "--width=-1"]
    return {
        "SRGAN": ("640 x 480 to four times as large", photos[:1], photos, 2, size),
        "Pix2Pix": ("a map of 256 x 256", maps[:1], maps, 8, []),
        "SRNet": ("a word in a photograph", [photos[0], *word], [photos[0], *word * 9], 8, []),
        "StackGAN": ("an image from a sentence", ["a red bird", "--num=1"], ["a red bird", "--num=17"], 16, []),
        "ImprovedGAN": ("a digit", digits[:1], digits, 99, []),
    }


def measured(command: list[str], times: int) -> tuple[float, int]:
    """The least seconds and the largest memory in MB of a command."""
    seconds, memory = [], 0
    for _ in range(times):
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status:
            sys.exit(f"{' '.join(command)}\n{said.decode()[-2000:]}")
        seconds.append(time.perf_counter() - started)
        memory = max(memory, usage.ru_maxrss // 1024)
    return min(seconds), memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", help="these alone")
    parser.add_argument("--times", type=int, default=2, help="runs of each command")
    args = parser.parse_args()
    print(f"{'model, job':46} {'by':20} {'start':>7} {'each':>8} {'MB':>6}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model, (job, few, many, more, export) in inputs(folder).items():
            if args.models and model not in args.models:
                continue
            if not list((REPOSITORY / model / "pretrained").glob("*.safetensors")):
                print(f"{model}: no weights ship")
                continue
            script = [sys.executable, str(REPOSITORY / model / "predict.py")]
            exported = folder / model
            freeze = [sys.executable, str(REPOSITORY / model / "freeze.py"), f"--output_path={exported}"]
            measured([*freeze, "--format=onnx", *export], 1)
            precision = [] if model == "StackGAN" else ["--precision_mode=force_fp32"]
            ways = {"TensorFlow, float32": ["--device=cpu", *precision]}
            if precision and session.cpu_has_bfloat16():
                ways["TensorFlow, bfloat16"] = ["--device=cpu", "--precision_mode=allow_mix_precision"]
            file = "classifier.onnx" if model == "ImprovedGAN" else "*.onnx"
            ways["ONNX, float32"] = [f"--model={next(exported.glob(file))}"]
            for way, flags in ways.items():
                to = f"--{'save_dir' if model == 'SRNet' else 'output_path'}={folder / 'out'}"
                (one, _), (all_, memory) = (
                    measured([*script, *given, *flags, to], args.times) for given in (few, many)
                )
                each = (all_ - one) / more
                print(f"{model + ', ' + job:46} {way:20} {one - each:7.2f} {each:8.4f} {memory:6}", flush=True)


if __name__ == "__main__":
    main()
