"""Gives every script that reads strangers' files spoilt ones, and says how many were answered as they should be.

python ci/test/hostile.py                    all models
python ci/test/hostile.py SRGAN --each=10    one, ten files of each kind

Spoilt are weights, images, data sets in each of their forms, exported networks, settings, fonts and words: cut short,
with bits turned or lengths that promise gigabytes, exchanged for noise, a pipe, a folder or a link to nothing. Clean is
exit status 0, or a mistake in a line or two with status 2 (1: an export that is not the checkpoint's), within 20
seconds and 2 GB. Exits with 1 where one is not.
"""

import gzip
import io
import json
import os
import pickle
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from common import cli  # noqa: E402
from common.test import testing  # noqa: E402

MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/train.py"))
SECONDS, BYTES = 20, 2 * 2**30  # what an answer may take
PATIENCE = 60  # seconds, then it is killed


def spoilt(content: bytes, number: int, rng: np.random.Generator) -> bytes:
    """A file's content, spoilt in one of eight ways."""
    changed, beginning = bytearray(content), max(1, min(len(content), 400))
    kind = number % 8
    if kind == 0:
        return content[: int(rng.integers(0, len(content) + 1))]
    if kind == 1:
        return rng.bytes(min(len(content), 4096))
    if kind == 2:
        return content + content[: rng.integers(1, len(content) + 1)]
    if kind in (3, 4):  # a length that promises more than there is
        at = int(rng.integers(0, beginning))
        changed[at : at + 4] = [b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"][kind - 3]
    else:
        for at in rng.integers(0, beginning if kind < 7 else len(content), 1 if kind == 5 else 8):
            changed[at] ^= 1 << rng.integers(0, 8)
    return bytes(changed)


def files(path: Path, each: int, rng: np.random.Generator) -> Iterator[Path]:
    """`path` itself, spoilt in one way after another; its content is put back at the end."""
    content = path.read_bytes()
    for number in range(each):
        path.write_bytes(spoilt(content, number, rng))
        yield path
    path.unlink()
    for make in (os.mkfifo, os.mkdir, lambda name: os.symlink(name.with_name("nothing"), name)):
        make(path)
        yield path
        os.rmdir(path) if path.is_dir() else path.unlink()
    path.write_bytes(content)


def answer(process: testing.Process) -> tuple[int, float, int]:
    """Exit status, seconds and bytes of memory of a process, which is killed after a while."""
    started, most = time.monotonic(), 0
    status = Path(f"/proc/{process.number}/status")
    while time.monotonic() - started < PATIENCE:
        told = status.read_text()
        if "State:\tZ" in told:
            break
        most = max([most, *(int(line.split()[1]) * 1024 for line in told.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.01)
    seconds = time.monotonic() - started
    return process.end(signal.SIGKILL), seconds, most


def wrong_with(process: testing.Process, status: int, seconds: float, most: int) -> str:
    """What is not clean about an answer; nothing where all is."""
    text = process.text()
    told = text[text.index("[Error]") :].splitlines() if "[Error]" in text else []
    faults = {
        "a traceback": "Traceback" in text,
        f"status {status}": status not in (0, 1, 2) or bool(status) != bool(told),
        "more than two lines": len(told) > 2,
        f"{seconds:.0f} s": seconds > SECONDS,
        f"{most / 2**30:.1f} GB": most > BYTES,
    }
    return ", ".join(fault for fault, there in faults.items() if there)


# Whole files to spoil, and the command that reads each: (file, script, flags).


def made(model: str, spawner, folder: Path, run: Path, data: Path) -> list[tuple[Path, str, list[str]]]:
    """What a model reads. Images are small, so that a whole one is used up in no time."""
    out, weights = f"--output_path={folder / 'written'}", f"--ckpt_path={run}"
    mine = folder / "mine.safetensors"
    mine.write_bytes(testing.checkpoint_file(run, testing.checkpoints(run)[-1]).read_bytes())
    exporting = testing.Process(spawner, folder, [weights, f"--output_path={folder / 'ex'}"], "freeze")
    assert exporting.end() == 0, exporting.text()[-2000:]
    name = {"SRNet": "final", "ImprovedGAN": "classifier"}.get(model, "generator")
    onnx = folder / "ex" / f"{name}.onnx"
    found = [(mine, "freeze", [f"--ckpt_path={mine}", out, "--format=weights"])]
    photo = folder / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(photo)
    if model == "StackGAN":
        array = folder / "embeddings.npy"
        np.save(array, np.zeros([2, 1024], np.float32))
        found.append((array, "predict", [f"--embeddings={array}", "--num=1", weights, out]))
        found.append((onnx, "predict", [f"--embeddings={folder / 'good.npy'}", "--num=1", f"--model={onnx}", out]))
        np.save(folder / "good.npy", np.zeros([2, 1024], np.float32))
        settings = folder / "mine.yml"
        settings.write_bytes((REPOSITORY / model / "stageI" / "cfg" / "birds.yml").read_bytes())
        nothing = f"--data_path={folder / 'nothing'}"
        found.append((settings, "train", [f"--cfg={settings}", nothing, f"--output_path={folder / 'o'}"]))
        return found
    use = ["--box=4,4,28,20", "--text=AB"] if model == "SRNet" else []
    for ending in (".png", ".jpg", ".gif", ".tif", ".webp", ".bmp"):
        Image.open(photo).save(photo.with_suffix(ending))
        found.append((photo.with_suffix(ending), "predict", [str(photo.with_suffix(ending)), *use, weights, out]))
    good = folder / "good.png"
    good.write_bytes(photo.read_bytes())
    found.append((onnx, "predict", [str(good), *use, f"--model={onnx}", out]))
    if model == "SRGAN":
        keras = sorted(run.glob("**/gen_model*.h5"))[-1]
        found.append((keras, "predict", [str(good), f"--ckpt_path={keras}", out]))
    if model == "SRNet":
        import matplotlib

        font, words = folder / "mine.ttf", folder / "words.txt"
        font.write_bytes((Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf").read_bytes())
        words.write_text("alpha\nbeta\ngamma\ndelta\n" * 5)
        found.append((font, "predict", [str(good), *use, f"--font={font}", weights, out]))
        found.append((words, "datagen", [f"--words={words}", "--number=1", "--processes=1", out]))
    if model == "ImprovedGAN":
        found += published(folder, out, weights)
        found.append((data / "data.npz", "evaluate", [f"--data_path={data}", "--judge_steps=0", weights, out]))
    return found


def published(folder: Path, out: str, weights: str) -> list[tuple[Path, str, list[str]]]:
    """MNIST, SVHN and CIFAR-10 in the files that they are published in, a few digits of each."""
    import scipy.io

    rng = np.random.default_rng(1)
    labels = np.arange(40, dtype=np.uint8) % 10
    mnist, svhn, cifar = folder / "mnist", folder / "svhn", folder / "cifar"
    for place in (mnist, svhn, cifar):
        place.mkdir()
    for split in ("train", "t10k"):
        digits = struct.pack(">4B3I", 0, 0, 8, 3, 40, 28, 28) + rng.bytes(40 * 784)
        (mnist / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(digits))
        (mnist / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, 40) + labels.tobytes())
    for split in ("train", "test"):
        x = rng.integers(0, 256, (32, 32, 3, 40), dtype=np.uint8)
        scipy.io.savemat(svhn / f"{split}_32x32.mat", {"X": x, "y": labels[:, None] + 1}, do_compression=True)
    with tarfile.open(cifar / "cifar-10-python.tar.gz", "w:gz") as tar:
        for name in ("data_batch_1", "test_batch"):
            batch = {b"data": rng.integers(0, 256, (40, 3072), dtype=np.uint8).tobytes(), b"labels": labels.tolist()}
            content = pickle.dumps(batch, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    read = [("MNIST", mnist, "train-images-idx3-ubyte.gz"), ("MNIST", mnist, "train-labels-idx1-ubyte")]
    read += [("SVHN", svhn, "train_32x32.mat"), ("CIFAR10", cifar, "cifar-10-python.tar.gz")]
    return [(place / file, "download", [f"--dataset={name}", f"--source={place}", out]) for name, place, file in read]


def try_model(model: str, each: int, seed: int, folder: Path) -> tuple[int, int, float, int]:
    """Returns how many files were tried, how many of them were not clean, the longest time and the most memory."""
    tiny = json.loads((REPOSITORY / model / "test" / "tiny.json").read_text())
    rng = np.random.default_rng(seed)
    tried, bad, longest, largest = 0, 0, 0.0, 0
    with testing.spawner(REPOSITORY / model) as spawner:
        data, run = folder / "data", folder / "run"
        flags = [f"--output_path={data}", *tiny["sample_data"]]
        assert testing.Process(spawner, folder, flags, "sample_data").end() == 0
        flags = [f"--data_path={data}", f"--output_path={run}", *tiny["train"], "--train_steps=4", "--evaluate=False"]
        trained = testing.Process(spawner, folder, flags)
        assert trained.end() == 0, trained.text()[-2000:]
        for whole, script, flags in made(model, spawner, folder, run, data):
            good = testing.Process(spawner, folder, flags, script)
            if answer(good)[0] and "--data_path" not in " ".join(flags):
                raise AssertionError(f"{model}: {script}: the whole file is refused: {good.text()[-500:]}")
            for file in files(whole, each, rng):
                for old in folder.glob("written*"):
                    shutil.rmtree(old)
                process = testing.Process(spawner, folder, flags, script)
                status, seconds, most = answer(process)
                wrong = wrong_with(process, status, seconds, most)
                tried, bad = tried + 1, bad + bool(wrong)
                longest, largest = max(longest, seconds), max(largest, most)
                if wrong:
                    print(
                        f"{model}: {script} {file.name} (file {tried}): {wrong}: {process.text()[-300:]!r}", flush=True
                    )
    return tried, bad, longest, largest


def main() -> int:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help="all, without any")
    parser.add_argument("--each", type=cli.in_range(int, 1), default=24, help="spoilt files of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of what is spoilt")
    args = parser.parse_args()
    results = []
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            results.append(try_model(model, args.each, args.seed, Path(folder)))
        tried, bad, longest, largest = results[-1]
        told = f"longest {longest:.1f} s, most memory {largest / 2**30:.2f} GB"
        print(f"{model}: {tried} files, {tried - bad} clean; {told}", flush=True)
    print(f"{sum(row[0] for row in results)} files, {sum(row[0] - row[1] for row in results)} clean")
    return 1 if any(row[1] for row in results) else 0


if __name__ == "__main__":
    sys.exit(main())
