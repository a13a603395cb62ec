"""Writes pairs of words in one style to train on: the seven folders of the data set, in the manner of SRNet-Datagen.

python SRNet/datagen.py --output_path=pairs --number=6000 --val=1000 --fonts=FONTS --words=LIST --backgrounds=PHOTOS
python SRNet/datagen.py --output_path=pairs --number=400              with what the installed libraries carry
python SRNet/datagen.py --output_path=look --preview=12               a page of 12 samples to look at, no data

Each sample shows two words of one font, size, colour, geometry and effect on one background: the one that is there and
the one that is wanted. `Recipe` in drawing.py holds every probability. A sample depends on its seed and number alone.
The same command repeated goes on where an earlier one was stopped. --val writes held-out samples, whose words, fonts
and photographs the others lack.
"""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import re
import shlex
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import fonts
import numpy as np
import skimage.data
from data import FOLDERS
from drawing import RECIPE, Sources, draw_sample, variants
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from common import cli, images
from common.cli import UserError, notice

PHOTOGRAPHS = ["astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png",
               "motorcycle_left.png", "rocket.jpg"]  # fmt: skip
LETTERS = 24  # of a word at most; longer ones cannot be read in 128 pixels
LARGEST_LIST = 32 * 2**20  # bytes of a file of words
CHUNK = 8  # samples that a process takes at a time
MOST_PADDING = 200  # pixels
HELD_OUT = 0.1  # share of the words, fonts and photographs that --val's samples are made of
OPTIONS = "datagen.json"  # in the data set: what it was made with; locked while it is written


def shape(text: str) -> Optional[tuple[int, int]]:
    """A flag's `type`: HEIGHTxWIDTH, or none."""
    if text.strip().lower() == "none":
        return None
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip().lower())
    size = tuple(map(int, match.groups())) if match else (0, 0)
    if not all(8 <= side <= 2048 for side in size):
        raise argparse.ArgumentTypeError(f"{text!r} is neither HEIGHTxWIDTH, such as 64x128 (8 to 2048), nor none")
    return size


def padding(text: str) -> tuple[int, int]:
    """A flag's `type`: ROWS,COLUMNS."""
    match = re.fullmatch(r"(\d+),(\d+)", text.strip())
    most = tuple(map(int, match.groups())) if match else (MOST_PADDING + 1,)
    if max(most) > MOST_PADDING:
        raise argparse.ArgumentTypeError(f"{text!r} is not ROWS,COLUMNS, such as 10,20 (0 to {MOST_PADDING})")
    return most


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    add, count = parser.add_argument, cli.in_range(int, 1, 10**6)
    add("--output_path", required=True, metavar="DIR", help="a new folder, or one to go on with")
    add("--number", type=count, metavar="N", help="samples to train on")
    add("--val", type=cli.in_range(int, 0, 10**6), default=0, metavar="N", help="held-out samples, in val/")
    add("--preview", type=cli.in_range(int, 1, 200), metavar="N", help="write preview.html of the first N")
    text = "folders of .ttf, .otf, .ttc, or such files; the word matplotlib for those that it installs"
    add("--fonts", nargs="+", default=["matplotlib"], metavar="DIR", help=text)
    add("--words", metavar="FILE", help="UTF-8 text, one word a line (without: those of Python's manual)")
    add("--backgrounds", metavar="DIR", help="folder of photographs (without: scikit-image's)")
    add("--standard_font", metavar="FILE", help="font of i_t (without: DejaVu Sans, or one that has the word)")
    add("--shape", type=shape, metavar="HxW", help="size of every image, such as 64x128 (without: each word's own)")
    text = "most pixels above and below the longer word, and on its left and right"
    add("--padding", type=padding, default="10,20", metavar="ROWS,COLUMNS", help=text)
    for name, text in (("plain", "are on a board"), ("degraded", "are small, noisy or compressed photographs")):
        text = f"of the samples {text}; 0: none, as in the original"
        share = getattr(RECIPE, name)
        add(f"--{name}", type=cli.in_range(float, 0, 1), default=share, metavar="SHARE", help=text)
    text = "pixels that the lines of t_sk are wide; 1: as in the original"
    add("--skeleton", type=int, choices=(1, 3, 5), default=RECIPE.skeleton, help=text)
    add("--seed", type=cli.in_range(int, 0, 2**63), default=0, help="other seeds, other samples")
    add("--processes", type=cli.in_range(int, 1, 256), default=cores(), metavar="N", help="at a time")
    args = parser.parse_args(argv)
    if args.number is None and args.preview is None:
        parser.error("give --number N for samples to train on, or --preview N to look at some first")
    if args.number is None and args.val:
        parser.error("--val goes with --number N, the samples to train on")
    return args


# What samples are made from.


def read_words(path: Optional[str]) -> list[str]:
    """The words of a file, one a line, or those of Python's manual; each once, in order.

    Raises:
        UserError: it is no text, too large or holds no word.
    """
    if path is None:
        from pydoc_data.topics import topics

        found = re.compile(r"(?<![\w.`'/\\-])[a-z]{3,14}(?![\w`'/(\\-]|\.\w)")  # words of prose, no names of functions
        counts = Counter(word for text in topics.values() for word in found.findall(text))
        return sorted(word for word, count in counts.items() if count > 1)
    file = Path(path).expanduser()
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_LIST:
            raise UserError(f"--words {path}: is no file, or larger than {LARGEST_LIST >> 20} MB")
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"--words {path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"--words {path}: is no text in UTF-8; give a list of words, one a line")
    words = [word for word in dict.fromkeys(map(fonts.clean, text.splitlines())) if word]
    if not words:
        raise UserError(f"--words {path}: holds no word; give one a line")
    return words


def gather(args: argparse.Namespace) -> dict[str, Sources]:
    """Reads fonts and words, looks for backgrounds, splits all three, and says what is left out or held out.

    Returns: the sources of each folder of the data set: {"": ...}, or with --val {"train": ..., "val": ...}.
    Raises:
        UserError: any of them is missing or not what it should be, or no font covers any word.
    """
    words = read_words(args.words)
    short = [word for word in words if len(word) <= LETTERS]
    if len(short) < len(words):
        notice(f"{len(words) - len(short)} of {len(words)} words have more than {LETTERS} letters and are left out")
    used = {ord(sign) for word in short for variant in variants(word) for sign in variant}
    try:
        files = [path for name in args.fonts for path in fonts.font_files(None if name == "matplotlib" else name)]
    except UserError as error:
        raise UserError(f"--fonts {error}") from None
    standard = Path(args.standard_font).expanduser() if args.standard_font else None
    if standard:
        used &= fonts.characters(standard)
    faces = [(path, frozenset(map(chr, fonts.characters(path) & used))) for path in files]
    faces = [(path, known) for path, known in faces if known]
    drawable = covered(short, faces)
    if not drawable:
        raise UserError(f"no font covers any of the {len(words)} words; name fonts of their script with --fonts")
    if len(drawable) < len(short):
        lacking = len(short) - len(drawable)
        notice(f"{lacking} of {len(words)} words have a character that no font has, and are left out")
    recipe = replace(
        RECIPE,
        pad_rows=(0, args.padding[0]),
        pad_columns=(0, args.padding[1]),
        plain=args.plain,
        degraded=args.degraded,
        skeleton=args.skeleton,
    )
    photographs = find_backgrounds(args.backgrounds)
    whole = Sources(faces, drawable, photographs, standard, args.seed, shape=args.shape, recipe=recipe)
    return split_sources(whole) if args.val else {"": whole}


def covered(words: list[str], faces: list[tuple[Path, frozenset]]) -> list[str]:
    """The words that some font has all characters of."""
    largest_first = sorted({known for _, known in faces}, key=len, reverse=True)
    return [word for word in words if any(known.issuperset(fonts.signs(word)) for known in largest_first)]


def split_sources(whole: Sources) -> dict[str, Sources]:
    """The sources of train/ and val/: no word in any case, no family of fonts and no photograph is in both.

    Raises:
        UserError: there are too few words to hold some out.
    """

    def halves(purpose: int, items: Sequence, name: Any, least: int = 1) -> tuple[list, list]:
        """A tenth of the groups that `name` gives the items is held out, some at least where there are two groups."""
        groups = sorted({name(item) for item in items})
        if len(groups) < 2:
            return list(items), list(items)
        order = np.random.default_rng([whole.seed, 2**31, purpose]).permutation(len(groups))
        held_out = {groups[index] for index in order[: max(least, round(HELD_OUT * len(groups)))]}
        return tuple([item for item in items if (name(item) in held_out) == out] for out in (False, True))

    words = halves(0, whole.words, str.lower, least=2)
    faces = halves(1, whole.fonts, lambda face: face[0].stem.split("-")[0].lower())  # Family-Style.ttf
    photographs = halves(2, whole.backgrounds, str)
    parts = {}
    for number, name in enumerate(("train", "val")):
        parts[name] = replace(
            whole,
            words=covered(words[number], faces[number]),
            fonts=faces[number],
            backgrounds=photographs[number],
            part=number,
        )
        if len(parts[name].words) < 2 or words[0] == words[1]:
            raise UserError(f"--val: too few words for {name}/ that its fonts have; give more words, or more fonts")
    told = []
    for what, kind in (("words", words), ("fonts", faces), ("photographs", photographs)):
        count = f"{len(kind[1])} of {sum(map(len, kind))} {what}"
        told.append(f"no {what} (there is one group only)" if kind[0] == kind[1] else count)
    notice(f"held out for val/: {', '.join(told)}")
    return parts


def find_backgrounds(folder: Optional[str]) -> list[Path]:
    """The photographs in a folder and those below it, sorted, or those that scikit-image installs.

    Raises:
        UserError: there are none.
    """
    if folder is None:
        installed = Path(skimage.data.__file__).parent
        files = [installed / name for name in PHOTOGRAPHS if (installed / name).is_file()]
        if not files:
            raise UserError(f"{installed} holds no photographs; name a folder with --backgrounds DIR")
        return files
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"--backgrounds {folder}: there is no such folder")
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in images.SUFFIXES and path.name[0] != ".")
    if not files:
        raise UserError(f"--backgrounds {folder}: the folder holds no image")
    return files


# The data set on disk.


def file_name(index: int) -> str:
    return f"{index + 1:08}.png"


def write_sample(folder: Path, index: int, sample: dict[str, np.ndarray], words: dict[str, str]) -> None:
    """Writes the seven files under other names, then renames them, so that none is ever half there. Those of i_s and
    i_t bear their words."""
    name = file_name(index)
    for kind, image in sample.items():
        png, info = io.BytesIO(), PngInfo()
        if kind in words:
            info.add_itxt("word", words[kind])
        Image.fromarray(image).save(png, "PNG", compress_level=1, pnginfo=info)
        (folder / kind / f".{name}.part").write_bytes(png.getvalue())
    for kind in sample:
        (folder / kind / f".{name}.part").replace(folder / kind / name)


def missing(folder: Path, number: int) -> list[int]:
    """Which of the first `number` samples are not whole in a folder; makes the seven folders."""
    whole = None
    for kind in FOLDERS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in os.scandir(folder / kind)}
        for name in names:
            if re.fullmatch(r"\.\d{8,}\.png\.part", name):  # of a process that was killed: we hold the lock
                (folder / kind / name).unlink()
        whole = names if whole is None else whole & names
    return [index for index in range(number) if file_name(index) not in whole]


def digest(items: Sequence[Any]) -> str:
    return hashlib.sha256("\n".join(map(str, items)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def options_of(args: argparse.Namespace, parts: dict[str, Sources]) -> dict[str, Any]:
    """All that a sample depends on, for datagen.json."""

    def told(what: str, name: Any) -> list[list]:
        return [[len(getattr(part, what)), digest(map(name, getattr(part, what)))] for part in parts.values()]

    standard = next(iter(parts.values())).standard
    return {
        "--seed": args.seed,
        "--shape": list(args.shape) if args.shape else None,
        "--padding": list(args.padding),
        "--plain": args.plain,
        "--degraded": args.degraded,
        "--skeleton": args.skeleton,
        "--val": "some" if args.val else "none",
        "--fonts": told("fonts", lambda face: face[0].name),
        "--words": told("words", str),
        "--backgrounds": told("backgrounds", lambda path: path.name),
        "--standard_font": standard.name if standard else None,
        "recipe": json.loads(json.dumps(asdict(RECIPE))),
    }


@contextlib.contextmanager
def locked(folder: Path, options: dict[str, Any]) -> Iterator[None]:
    """The folder of a data set for this process alone: made with its options, or one that was made with the same.

    Raises:
        UserError: it holds something else or samples of other options, or another process writes into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ours = (folder / OPTIONS).is_file()
    if not ours and any(not re.fullmatch(r"preview(-\d+)?\.html", path.name) for path in folder.iterdir()):
        raise UserError(f"--output_path: {folder} is not an empty folder; name another one")
    with open(folder / OPTIONS, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"--output_path: another datagen.py is writing into {folder}; wait until it ends") from None
        file.seek(0)
        text = file.read()
        if text:
            check_options(folder, text, options)
        else:  # new, or of a process that was killed before it wrote a sample
            file.write(json.dumps(options, indent=2) + "\n")
            file.flush()
        yield


def check_options(folder: Path, text: str, options: dict[str, Any]) -> None:
    try:
        before = json.loads(text)
        other = next((name for name in options if before[name] != options[name]), None)
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / OPTIONS}: is damaged, or of another version; name a new folder") from None
    if other:
        was, now = (json.dumps(values[other])[:40] for values in (before, options))
        raise UserError(
            f"--output_path: {folder} holds samples of another {other} ({was}, now {now});\n"
            "repeat the options that it was made with, or name a new folder"
        )


# Several processes.

_shared: dict[str, Any] = {}  # what a process makes its samples from


def _start(parts: dict[str, Sources], folder: Path) -> None:
    """A process begins: it leaves Ctrl-C to the first one, and ends when that one does, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _shared.update(parts=parts, folder=folder)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _make(task: tuple[str, int]) -> None:
    part, index = task
    write_sample(_shared["folder"] / part, index, *draw_sample(_shared["parts"][part], index))


@contextlib.contextmanager
def made(processes: int, parts: dict[str, Sources], folder: Path, tasks: Sequence) -> Iterator[Iterator[None]]:
    """An iterator that makes the samples of all tasks, in one process or in many. Whatever ends the block, a sample
    that was begun is finished. (Not multiprocessing.Pool, which waits for ever where one of its processes is killed.)
    """
    if processes == 1:
        _shared.update(parts=parts, folder=folder)
        yield map(_make, tasks)
        return
    pool = ProcessPoolExecutor(processes, initializer=_start, initargs=(parts, folder))
    try:
        yield pool.map(_make, tasks, chunksize=CHUNK)
    except BrokenProcessPool:
        raise UserError("a process was killed, perhaps for want of memory; repeat with fewer --processes") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def write(args: argparse.Namespace) -> None:
    """Writes a data set, or what is missing of it, and the preview.

    Raises:
        UserError: see `gather`, `locked` and `draw_sample`; or the folder cannot be written.
    """
    parts, folder = gather(args), Path(args.output_path).expanduser()
    try:
        if args.preview:
            write_preview(next(iter(parts.values())), cli.new_file(folder / "preview.html"), args.preview)
        if args.number:
            with locked(folder, options_of(args, parts)):
                write_samples(args, parts, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(f"--output_path: {folder} cannot be written ({error.strerror})") from error


def write_samples(args: argparse.Namespace, parts: dict[str, Sources], folder: Path) -> None:
    """Writes what is missing of a data set: a bar on a terminal, a line now and then elsewhere."""
    counts = dict(zip(parts, [args.number, args.val]))
    tasks = [(part, index) for part, number in counts.items() for index in missing(folder / part, number)]
    if len(tasks) < sum(counts.values()):
        notice(f"{folder}: {sum(counts.values()) - len(tasks)} samples are there already")
    terminal = sys.stderr.isatty()
    with made(min(args.processes, max(1, len(tasks) // CHUNK)), parts, folder, tasks) as done:
        for number, _ in enumerate(tqdm(done, "samples", len(tasks), unit="", disable=not terminal), 1):
            if not terminal and number % 1000 == 0:
                notice(f"{number} of {len(tasks)} samples")
    for part, number in counts.items():
        notice(f"{folder / part}: {number} samples in {', '.join(FOLDERS)}")
    words = [os.path.relpath(Path(__file__).resolve().with_name("train.py")), f"--data_path={folder}"]
    print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


def write_preview(sources: Sources, path: Path, number: int) -> None:
    """A page of the first samples to look at: a row of seven images each."""

    def rgb(image: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(image).convert("RGB"))

    samples = (draw_sample(sources, index) for index in range(number))
    rows = ((words["i_t"], [(kind, rgb(image)) for kind, image in sample.items()], {}) for sample, words in samples)
    images.write_page(path, f"{number} samples", {}, rows)
    notice(f"{path}: {number} samples to look at")


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
