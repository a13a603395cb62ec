"""Draws pairs of words in one style to train on: the seven folders of the data set, in the manner of SRNet-Datagen.

python SRNet/datagen.py --output_path=pairs --number=6000 --val=1000 --fonts=FONTS --words=LIST --backgrounds=PHOTOS
python SRNet/datagen.py --output_path=pairs --number=400              with what the installed libraries carry
python SRNet/datagen.py --output_path=look --preview=12               a sheet of 12 samples to look at, no data

Each sample shows two words of one font, size, colour, geometry and effect on one background: the one that is there and
the one that is wanted. `Recipe` in drawing.py holds every probability. A sample depends on its seed and number alone.
The same command repeated goes on where an earlier one was stopped. --val draws more samples, of words that the others
lack.
"""

import argparse
import contextlib
import errno
import hashlib
import io
import itertools
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
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import fonts
import numpy as np
import skimage.data
from data import FOLDERS
from drawing import RECIPE, Sources, draw_sample, photograph, variants
from PIL import Image, ImageDraw
from tqdm import tqdm

from common import cli, pictures
from common.cli import UserError

PHOTOGRAPHS = ["astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png",
               "motorcycle_left.png", "rocket.jpg"]  # fmt: skip
LETTERS = 24  # of a word at most; longer ones cannot be read in 128 pixels
LARGEST_LIST = 32 * 2**20  # bytes of a file of words
CHUNK = 4  # samples that a process takes at a time
MOST_PADDING = 200  # pixels
OPTIONS = "datagen.json"
BEFORE = {"--padding": [10, 20], "--plain": 0.0, "--degraded": 0.0}  # of sets that are older than these options


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
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_path", required=True, metavar="DIR", help="a new folder, or one to go on with")
    parser.add_argument("--number", type=cli.in_range(int, 1, 10**6), metavar="N", help="samples to train on")
    parser.add_argument(
        "--val", type=cli.in_range(int, 0, 10**6), default=0, metavar="N", help="and N with other words, in val/ (0)"
    )
    parser.add_argument(
        "--preview", type=cli.in_range(int, 1, 200), metavar="N", help="write a sheet of the first N as preview.png"
    )
    parser.add_argument(
        "--fonts",
        nargs="+",
        default=["matplotlib"],
        metavar="DIR",
        help="folders of .ttf, .otf, .ttc, or such files; the word matplotlib for those that it installs (matplotlib)",
    )
    parser.add_argument("--words", metavar="FILE", help="UTF-8 text, one word a line (those of Python's manual)")
    parser.add_argument("--backgrounds", metavar="DIR", help="folder of photographs (scikit-image's)")
    parser.add_argument("--standard_font", metavar="FILE", help="font of i_t (DejaVu Sans, else one that has the word)")
    parser.add_argument(
        "--shape", type=shape, metavar="HxW", help="size of every picture, such as 64x128 (none: each word's own)"
    )
    most = (RECIPE.pad_rows[1], RECIPE.pad_columns[1])
    parser.add_argument(
        "--padding",
        type=padding,
        default=most,
        metavar="ROWS,COLUMNS",
        help=f"most pixels above and below the longer word, and on its left and right ({most[0]},{most[1]})",
    )
    for name, text in (("plain", "are on a board"), ("degraded", "are small, noisy or compressed photographs")):
        share = getattr(RECIPE, name)
        text = f"of the samples {text}; 0: none, as in the original ({share})"
        parser.add_argument(f"--{name}", type=cli.in_range(float, 0, 1), default=share, metavar="SHARE", help=text)
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**63), default=0, help="other seeds, other samples (0)")
    parser.add_argument(
        "--processes", type=cli.in_range(int, 1, 256), default=cores(), metavar="N", help="(one a core)"
    )
    args = parser.parse_args(argv)
    if args.number is None and args.preview is None:
        parser.error("give --number N for samples to train on, or --preview N to look at some first")
    if args.number is None and args.val:
        parser.error("--val goes with --number N, the samples to train on")
    return args


# What samples are drawn from.


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
        if not file.is_file():
            raise UserError(f"--words {path}: is no file")
        with file.open("rb") as stream:
            content = stream.read(LARGEST_LIST + 1)
    except OSError as error:
        raise UserError(f"--words {path}: cannot be read ({error.strerror})") from error
    if len(content) > LARGEST_LIST:
        raise UserError(f"--words {path}: is larger than {LARGEST_LIST >> 20} MB; give a list of words, one a line")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"--words {path}: is no text in UTF-8; give a list of words, one a line")
    words = [word for word in dict.fromkeys(map(fonts.clean, text.splitlines())) if word]
    if not words:
        raise UserError(f"--words {path}: holds no word; give one a line")
    return words


def gather(args: argparse.Namespace) -> Sources:
    """Reads fonts and words, looks for backgrounds, and says what is left out.

    Raises:
        UserError: any of them is missing or not what it should be, or no font covers any word.
    """
    words = read_words(args.words)
    short = [word for word in words if len(word) <= LETTERS]
    if len(short) < len(words):
        say(f"{len(words) - len(short)} of {len(words)} words have more than {LETTERS} letters and are left out")
    used = {ord(sign) for word in short for variant in variants(word) for sign in variant}
    try:
        files = [path for name in args.fonts for path in fonts.font_files(None if name == "matplotlib" else name)]
    except UserError as error:
        raise UserError(f"--fonts {error}") from None
    standard = Path(args.standard_font).expanduser() if args.standard_font else None
    if standard:
        used &= fonts.characters(standard)
    faces = [(path, frozenset(map(chr, fonts.characters(path) & used))) for path in files]
    largest_first = sorted({known for _, known in faces}, key=len, reverse=True)
    drawable = [word for word in short if any(known.issuperset(fonts.signs(word)) for known in largest_first)]
    if not drawable:
        raise UserError(f"no font covers any of the {len(words)} words; name fonts of their script with --fonts")
    if len(drawable) < len(short):
        say(f"{len(short) - len(drawable)} of {len(words)} words have a character that no font has, and are left out")
    faces = [(path, known) for path, known in faces if known]
    return Sources(
        fonts=faces,
        words=split_words(drawable, args.val, args.seed),
        backgrounds=find_backgrounds(args.backgrounds),
        standard=standard,
        seed=args.seed,
        shape=args.shape,
        recipe=replace(
            RECIPE,
            pad_rows=(0, args.padding[0]),
            pad_columns=(0, args.padding[1]),
            plain=args.plain,
            degraded=args.degraded,
        ),
    )


def split_words(words: list[str], val: int, seed: int) -> dict[str, list[str]]:
    """The words of the folder itself, or those of train and, a tenth of them, of val; none in both in any case.

    Raises:
        UserError: there are too few to hold some out.
    """
    if not val:
        return {"": words}
    order = np.random.default_rng([seed, 2**31]).permutation(len(words))
    held_out = [words[index] for index in sorted(order[: max(2, len(words) // 10)])]
    lower = {word.lower() for word in held_out}
    others = [word for word in words if word.lower() not in lower]
    if len(others) < 2:
        raise UserError(f"--val: too few words ({len(words)}) to hold some out; give more with --words")
    return {"train": others, "val": held_out}


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
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in pictures.SUFFIXES and path.name[0] != ".")
    if not files:
        raise UserError(f"--backgrounds {folder}: the folder holds no picture")
    return files


# The data set on disk.


def file_name(index: int) -> str:
    return f"{index + 1:08}.png"


def write_sample(folder: Path, index: int, sample: dict[str, np.ndarray]) -> None:
    """Writes the seven files under other names, then renames them, so that none is ever half there."""
    name = file_name(index)
    for kind, picture in sample.items():
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG", compress_level=1)
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
            if re.fullmatch(r"\.\d{8,}\.png\.part", name):  # of a process that was killed
                (folder / kind / name).unlink()
        whole = names if whole is None else whole & names
    return [index for index in range(number) if file_name(index) not in whole]


def digest(items: Sequence[Any]) -> str:
    return hashlib.sha256("\n".join(map(str, items)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def options_of(args: argparse.Namespace, sources: Sources) -> dict[str, Any]:
    """All that a sample depends on, for datagen.json."""
    words = [word for part in sources.words.values() for word in part]
    return {
        "--seed": args.seed,
        "--shape": list(args.shape) if args.shape else None,
        "--padding": list(args.padding),
        "--plain": args.plain,
        "--degraded": args.degraded,
        "--val": "some" if args.val else "none",
        "--fonts": [len(sources.fonts), digest([path.name for path, _ in sources.fonts])],
        "--words": [len(words), digest(words)],
        "--backgrounds": [len(sources.backgrounds), digest([path.name for path in sources.backgrounds])],
        "--standard_font": sources.standard.name if sources.standard else None,
        "recipe": json.loads(json.dumps(asdict(RECIPE))),
    }


def open_folder(folder: Path, options: dict[str, Any]) -> None:
    """Makes the folder of a data set with its options, or checks that one that is there has the same.

    Raises:
        UserError: it holds something else, or samples of other options.
    """
    record = folder / OPTIONS
    if not record.is_file():
        if not (folder.is_dir() and all(re.fullmatch(r"preview(-\d+)?\.png", path.name) for path in folder.iterdir())):
            cli.empty_folder(folder)
        part = folder / f".{OPTIONS}.part"
        part.write_text(json.dumps(options, indent=2) + "\n")
        part.replace(record)
        return
    try:
        before = {**BEFORE, **json.loads(record.read_text())}
        before["recipe"] = {**options["recipe"], **before["recipe"]}
        other = next((name for name in options if before[name] != options[name]), None)
    except (ValueError, KeyError, TypeError, OSError):
        raise UserError(f"{record}: is damaged; name a new folder with --output_path") from None
    if other:
        was, now = (json.dumps(values[other]) for values in (before, options))
        raise UserError(
            f"--output_path: {folder} holds samples of another {other} ({shorten(was)}, now {shorten(now)});\n"
            "repeat the options that it was made with, or name a new folder"
        )


def shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def say(text: str) -> None:
    print(f"[Info] {text}", flush=True)


# Several processes.

_shared: dict[str, Any] = {}  # what a process draws from


def _start(sources: Sources, folder: Path) -> None:
    """A process begins: it leaves Ctrl-C to the first one, and ends when that one does, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _shared.update(sources=sources, folder=folder)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _check(paths: Sequence[Path]) -> int:
    for path in paths:
        photograph(path)
    return len(paths)


def _make(tasks: Sequence[tuple[str, int]]) -> int:
    for split, index in tasks:
        write_sample(_shared["folder"] / split, index, draw_sample(_shared["sources"], split, index))
    return len(tasks)


@contextlib.contextmanager
def crew(processes: int, sources: Sources, folder: Path) -> Iterator[Callable]:
    """A function that does a task for parts of a list until all are done and yields their lengths, in one process or in
    many. At the end of the block, whatever its cause, a part that was begun is finished."""
    if processes == 1:
        _shared.update(sources=sources, folder=folder)
        yield map
        return
    with ProcessPoolExecutor(processes, initializer=_start, initargs=(sources, folder)) as pool:

        def done(task: Callable, parts: Iterator) -> Iterator[int]:
            pending = {pool.submit(task, part) for part in itertools.islice(parts, 2 * processes)}
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
                pending |= {pool.submit(task, part) for part in itertools.islice(parts, len(finished))}

        try:
            yield done
        except BrokenProcessPool:
            raise UserError("a process was killed, perhaps for want of memory; repeat with fewer --processes") from None


def work(done: Callable, task: Callable, items: Sequence, title: str) -> None:
    """Does a task for all items: a bar on a terminal, a line now and then elsewhere."""
    parts = (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
    terminal, so_far = sys.stderr.isatty(), 0
    with tqdm(desc=title, total=len(items), unit="", disable=not terminal) as bar:
        for count in done(task, parts):
            bar.update(count)
            if not terminal and (so_far + count) // 1000 > so_far // 1000:
                say(f"{title}: {so_far + count} of {len(items)}")
            so_far += count


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as an exception does, with exit status 143, so that no process is left behind."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def write(args: argparse.Namespace) -> None:
    """Writes a data set, or what is missing of it, and the sheet.

    Raises:
        UserError: see `gather`, `open_folder` and `draw_sample`; or the folder cannot be written.
    """
    sources, folder = gather(args), Path(args.output_path).expanduser()
    try:
        if args.number:
            open_folder(folder, options_of(args, sources))
        if args.preview:
            path = cli.new_file(folder / "preview.png")
            sheet([draw_sample(sources, next(iter(sources.words)), index) for index in range(args.preview)]).save(path)
            say(f"{path}: {args.preview} samples to look at")
        if args.number:
            write_samples(args, sources, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise UserError(f"--output_path: {folder} cannot be written ({error.strerror})") from error


def write_samples(args: argparse.Namespace, sources: Sources, folder: Path) -> None:
    """Writes what is missing of a data set."""
    counts = dict(zip(sources.words, [args.number, args.val]))
    tasks = [(split, index) for split, number in counts.items() for index in missing(folder / split, number)]
    if len(tasks) < sum(counts.values()):
        say(f"{folder}: {sum(counts.values()) - len(tasks)} samples are there already")
    processes = min(args.processes, max(1, len(tasks) // CHUNK))
    with stopped_by_sigterm(), crew(processes, sources, folder) as done:
        if tasks:
            work(done, _check, sources.backgrounds, "backgrounds")
        work(done, _make, tasks, "samples")
    for split, number in counts.items():
        say(f"{folder / split}: {number} samples in {', '.join(FOLDERS)}")
    words = [os.path.relpath(Path(__file__).resolve().with_name("train.py")), f"--data_path={folder}"]
    print(f"Next:  python {' '.join(map(shlex.quote, words))}", flush=True)


# A sheet to look at.


def sheet(samples: list[dict[str, np.ndarray]], height: int = 64, width: int = 208) -> Image.Image:
    """A row of seven pictures for each sample, under the folders' names, each made to fit its cell."""
    gap, top = 6, 22
    widest = max(height / sample["i_t"].shape[0] * sample["i_t"].shape[1] for sample in samples)
    width = min(width, round(widest))
    page = Image.new("RGB", (len(FOLDERS) * (width + gap) + gap, len(samples) * (height + gap) + top), "white")
    draw, font = ImageDraw.Draw(page), fonts.load(fonts.standard_font("A"), 13)
    for column, kind in enumerate(FOLDERS):
        left = gap + column * (width + gap)
        draw.text((left, 3), kind, "black", font)
        for row, sample in enumerate(samples):
            picture = Image.fromarray(sample[kind])
            scale = min(height / picture.height, width / picture.width)
            picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.BICUBIC)
            page.paste(picture, (left, top + row * (height + gap) + (height - picture.height) // 2))
    return page


def main(argv: Optional[list[str]] = None) -> int:
    return cli.call(write, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
