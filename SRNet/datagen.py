"""Writes pairs of words in one style to train on: the seven folders of the data set, in the manner of SRNet-Datagen.

python SRNet/datagen.py --output_path=pairs --number=6000 --val=1000 --fonts=FONTS --words=LIST --backgrounds=PHOTOS
python SRNet/datagen.py --output_path=pairs --number=400              with what the installed libraries carry

Each sample shows two words of one font, size, colour, geometry and effect on one background: the one that is there and
the one that is wanted. `Recipe` in drawing.py holds every probability. A sample depends on its seed and number alone.
The same command repeated goes on where an earlier one was stopped. --val writes held-out samples, whose words, fonts
and photographs the others lack.
"""

import argparse
import contextlib
import fcntl
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from multiprocessing import Pool
from pathlib import Path
from typing import Any, Callable, Optional

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
CHUNK = 8  # samples that a process takes at a time
HELD_OUT = 0.1  # share of the words, fonts and photographs that --val's samples are made of
OPTIONS = "datagen.json"  # in the data set: what it was made with; locked while it is written
FREE = ("output_path", "number", "val", "processes")  # flags that a sample does not depend on


def pair(low: int, high: int) -> Callable[[str], tuple[int, int]]:
    """A flag's `type`: two whole numbers, with a comma or an x between them."""

    def parse(text: str) -> tuple[int, int]:
        values = tuple(int(word) if word.isdecimal() else -1 for word in re.split("[,x]", text))
        if len(values) != 2 or not all(low <= value <= high for value in values):
            raise argparse.ArgumentTypeError(
                f"{text!r} is not two numbers from {low} to {high}, such as 64x128 or 10,20"
            )
        return values

    return parse


def parse_args(argv: Optional[list[str]] = None, description: str = __doc__, **defaults: Any) -> argparse.Namespace:
    """The flags; `defaults`: those of sample_data.py, in place of the ones here."""
    parser = cli.ArgumentParser(description=description)
    add, required = parser.add_argument, "number" not in defaults
    add("--output_path", required=True, metavar="DIR", help="a new folder, or one to go on with")
    add("--number", type=cli.in_range(int, 1, 10**6), required=required, metavar="N", help="samples to train on")
    add("--val", type=cli.in_range(int, 0, 10**6), default=0, metavar="N", help="held-out samples, in val/")
    text = "folders of .ttf, .otf, .ttc, or such files; the word matplotlib for those that it installs"
    add("--fonts", nargs="+", default=["matplotlib"], metavar="DIR", help=text)
    add("--words", metavar="FILE", help="UTF-8 text, one word a line (without: those of Python's manual)")
    add("--backgrounds", metavar="DIR", help="folder of photographs (without: scikit-image's)")
    add("--standard_font", metavar="FILE", help="font of i_t (without: DejaVu Sans, or one that has the word)")
    text = "size of every image, such as 64x128 (without: each word's own)"
    add("--shape", type=pair(8, 2048), metavar="HxW", help=text)
    text = "most pixels above and below the longer word, and on its left and right"
    add("--padding", type=pair(0, 200), default="10,20", metavar="ROWS,COLUMNS", help=text)
    text = "stretch or condense the target word to the source's width, as a word that takes another one's place"
    cli.add_boolean(parser, "--fit", False, text)
    share = {"type": cli.in_range(float, 0, 1), "metavar": "SHARE"}
    text = "of the samples are on a board; 0: none, as in the original"
    add("--plain", default=RECIPE.plain, help=text, **share)
    text = "of the samples are small, noisy or compressed photographs; 0: none, as in the original"
    add("--degraded", default=RECIPE.degraded, help=text, **share)
    text = "pixels that the lines of t_sk are wide; 1: as in the original"
    add("--skeleton", type=int, choices=(1, 3, 5), default=RECIPE.skeleton, help=text)
    add("--seed", type=cli.in_range(int, 0, 2**63), default=0, help="other seeds, other samples")
    cores = len(os.sched_getaffinity(0))
    add("--processes", type=cli.in_range(int, 1, 256), default=cores, metavar="N", help="at a time")
    parser.set_defaults(**defaults)
    return parser.parse_args(argv)


# What samples are made from.


def read_words(path: Optional[str]) -> list[str]:
    """The words of a file, one a line, or those of Python's manual; each once, in order."""
    if path is None:
        from pydoc_data.topics import topics

        found = re.compile(r"(?<![\w.`'/\\-])[a-z]{3,14}(?![\w`'/(\\-]|\.\w)")  # words of prose, no names of functions
        counts = Counter(word for text in topics.values() for word in found.findall(text))
        return sorted(word for word, count in counts.items() if count > 1)
    file = Path(path).expanduser()
    if not file.is_file():  # a pipe would never end
        raise UserError(f"--words {path}: there is no such file")
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"--words {path}: cannot be read as UTF-8; give a list of words, one a line") from None
    words = [word for word in dict.fromkeys(map(fonts.clean, text.splitlines())) if word]
    if not words:
        raise UserError(f"--words {path}: holds no word; give one a line")
    return words


def gather(args: argparse.Namespace) -> dict[str, Sources]:
    """Reads fonts and words, looks for backgrounds, splits all three, and says what is left out or held out.

    Returns: the sources of each folder of the data set: {"": ...}, or with --val {"train": ..., "val": ...}.
    """
    words = read_words(args.words)
    used = {ord(sign) for word in words for variant in variants(word) for sign in variant}
    files = [path for name in args.fonts for path in fonts.font_files(None if name == "matplotlib" else name)]
    standard = Path(args.standard_font).expanduser() if args.standard_font else None
    if standard:
        used &= fonts.characters(standard)
    faces = [(path, frozenset(map(chr, fonts.characters(path) & used))) for path in files]
    faces = [(path, known) for path, known in faces if known]
    drawable = covered(words, faces)
    if not drawable:
        raise UserError(f"no font covers any of the {len(words)} words; name fonts of their script with --fonts")
    if len(drawable) < len(words):
        lacking = len(words) - len(drawable)
        notice(f"{lacking} of {len(words)} words have a character that no font has, and are left out")
    recipe = replace(
        RECIPE,
        pad_rows=(0, args.padding[0]),
        pad_columns=(0, args.padding[1]),
        plain=args.plain,
        degraded=args.degraded,
        skeleton=args.skeleton,
        fit=args.fit,
    )
    photographs = find_backgrounds(args.backgrounds)
    whole = Sources(faces, drawable, photographs, standard, args.seed, shape=args.shape, recipe=recipe)
    return split_sources(whole) if args.val else {"": whole}


def covered(words: list[str], faces: list[tuple[Path, frozenset]]) -> list[str]:
    """The words that some font has all characters of."""
    largest_first = sorted({known for _, known in faces}, key=len, reverse=True)
    return [word for word in words if any(known.issuperset(fonts.signs(word)) for known in largest_first)]


def split_sources(whole: Sources) -> dict[str, Sources]:
    """The sources of train/ and val/: no word in any case, no family of fonts and no photograph is in both."""

    def halves(purpose: int, items: Sequence, name: Any, least: int = 1) -> tuple[list, list]:
        """A tenth of the groups that `name` gives the items is held out, some at least where there are two groups."""
        groups = sorted({name(item) for item in items})
        if len(groups) < 2:
            return list(items), list(items)
        order = np.random.default_rng([whole.seed, 2**31, purpose]).permutation(len(groups))
        held_out = {groups[index] for index in order[: max(least, round(HELD_OUT * len(groups)))]}
        return tuple([item for item in items if (name(item) in held_out) == out] for out in (False, True))

    split = {
        "words": halves(0, whole.words, str.lower, least=2),
        "fonts": halves(1, whole.fonts, lambda face: face[0].stem.split("-")[0].lower()),  # Family-Style.ttf
        "backgrounds": halves(2, whole.backgrounds, str),
    }
    parts, told = {}, []
    for number, name in enumerate(("train", "val")):
        own = {kind: both[number] for kind, both in split.items()}
        own["words"] = covered(own["words"], own["fonts"])
        parts[name] = replace(whole, part=number, **own)
        if len(own["words"]) < 2 or split["words"][0] == split["words"][1]:
            raise UserError(f"--val: too few words for {name}/ that its fonts have; give more words, or more fonts")
    for kind, (train, val) in split.items():
        one = f"no {kind} (there is one group only)"
        told.append(one if train == val else f"{len(val)} of {len(train) + len(val)} {kind}")
    notice(f"held out for val/: {', '.join(told)}")
    return parts


def find_backgrounds(folder: Optional[str]) -> list[Path]:
    """The photographs in a folder and those below it, sorted, or those that scikit-image installs."""
    if folder is None:
        installed = Path(skimage.data.__file__).parent
        return [installed / name for name in PHOTOGRAPHS if (installed / name).is_file()]
    files = sorted(Path(folder).expanduser().rglob("*"))
    files = [path for path in files if path.suffix.lower() in images.SUFFIXES and path.name[0] != "."]
    if not files:
        raise UserError(f"--backgrounds {folder}: there is no image in such a folder, or below it")
    return files


# The data set on disk.


def file_name(index: int) -> str:
    return f"{index + 1:08}.png"


def write_sample(folder: Path, index: int, sample: dict[str, np.ndarray], words: dict[str, str]) -> None:
    """Writes the seven files; those of i_s and i_t bear their words."""
    name = file_name(index)
    for kind, image in sample.items():
        info = PngInfo()
        if kind in words:
            info.add_itxt("word", words[kind])
        part = folder / kind / f".{name}.part"
        Image.fromarray(image).save(part, "PNG", compress_level=1, pnginfo=info)
        part.replace(folder / kind / name)  # so that no file is ever half there


def missing(folder: Path, number: int) -> list[int]:
    """Which of the first `number` samples are not whole in a folder; makes the seven folders."""
    whole = {file_name(index) for index in range(number)}
    for kind in FOLDERS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        whole &= set(os.listdir(folder / kind))
    return [index for index in range(number) if file_name(index) not in whole]


def options_of(args: argparse.Namespace, parts: dict[str, Sources]) -> str:
    """All that a sample depends on, as datagen.json holds it; of what the flags name, how much was found."""
    options = {name: value for name, value in vars(args).items() if name not in FREE}
    options["found"] = {name: [len(p.words), len(p.fonts), len(p.backgrounds)] for name, p in parts.items()}
    return json.dumps({**options, "recipe": asdict(RECIPE)}, indent=2) + "\n"


@contextlib.contextmanager
def locked(folder: Path, options: str) -> Iterator[None]:
    """The folder of a data set for this process alone: a new one, or one that was made with the same options.

    Raises:
        UserError: it holds something else or samples of other options, or another process writes into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / OPTIONS).is_file():
        raise UserError(f"--output_path: {folder} is not an empty folder; name another one")
    with open(folder / OPTIONS, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"--output_path: another datagen.py is writing into {folder}; wait until it ends") from None
        file.seek(0)
        before = file.read()
        if before not in ("", options):
            raise UserError(
                f"--output_path: {folder} holds samples of other options, which {folder / OPTIONS} tells;\n"
                "repeat those, or name a new folder"
            )
        if not before:  # new, or of a process that was killed before it wrote a sample
            file.write(options)
            file.flush()
        yield


_shared: dict[str, Any] = {}  # what a process makes its samples from


def _start(parts: dict[str, Sources], folder: Path) -> None:
    """A process begins: it leaves Ctrl-C to the first one, which ends it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _shared.update(parts=parts, folder=folder)


def _make(task: tuple[str, int]) -> None:
    part, index = task
    sample = draw_sample(_shared["parts"][part], index)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # a sample is written whole or not at all
    write_sample(_shared["folder"] / part, index, *sample)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def write(args: argparse.Namespace) -> None:
    """Writes a data set, or what is missing of it: a bar on a terminal, a line now and then elsewhere."""
    parts, folder = gather(args), Path(args.output_path).expanduser()
    counts = dict(zip(parts, [args.number, args.val]))
    terminal = sys.stderr.isatty()
    try:
        with locked(folder, options_of(args, parts)):
            tasks = [(part, index) for part, number in counts.items() for index in missing(folder / part, number)]
            if len(tasks) < sum(counts.values()):
                notice(f"{folder}: {sum(counts.values()) - len(tasks)} samples are there already")
            with Pool(args.processes, _start, (parts, folder)) as pool:
                done = pool.imap_unordered(_make, tasks, CHUNK)
                for number, _ in enumerate(tqdm(done, "samples", len(tasks), unit="", disable=not terminal), 1):
                    if not terminal and number % 1000 == 0:
                        notice(f"{number} of {len(tasks)} samples")
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--output_path: {folder} cannot be written ({error.strerror})") from error
    for part, number in counts.items():
        notice(f"{folder / part}: {number} samples in {', '.join(FOLDERS)}")
    train = os.path.relpath(Path(__file__).resolve().with_name("train.py"))
    print(f"Next:  python {train} --data_path={folder}", flush=True)


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
