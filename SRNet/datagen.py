"""Writes pairs of words in one style to train on: the seven folders of the data set, in the manner of SRNet-Datagen.

python SRNet/datagen.py --output_path=pairs --number=6000 --val=1000 --fonts=FONTS --words=LIST --backgrounds=PHOTOS
python SRNet/datagen.py --output_path=pairs --number=400              with what the installed libraries carry

Each sample shows two words of one font, size, colour, geometry and effect on one background: the one that is there and
the one that is wanted. `Recipe` in drawing.py holds every probability. A sample depends on its seed and number alone.
--val writes held-out samples, whose words, fonts and photographs the others lack.
"""

import argparse
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import product
from multiprocessing import Pool
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import fonts
import numpy as np
import skimage.data
from data import FOLDERS, pair
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


def parse_args(argv: Optional[list[str]] = None, description: str = __doc__, **defaults: Any) -> argparse.Namespace:
    """The flags; `defaults`: those of sample_data.py, in place of the ones here."""
    parser = cli.ArgumentParser(description=description)
    add, share, required = parser.add_argument, cli.in_range(float, 0, 1), "number" not in defaults
    add("--output_path", required=True, metavar="DIR", help="a new folder")
    add("--number", type=cli.in_range(int, 1), required=required, metavar="N", help="samples to train on")
    add("--val", type=cli.in_range(int, 0), default=0, metavar="N", help="held-out samples, in val/")
    text = "folders of .ttf, .otf, .ttc, or such files; the word matplotlib for those that it installs"
    add("--fonts", nargs="+", default=["matplotlib"], metavar="DIR", help=text)
    add("--words", metavar="FILE", help="UTF-8 text, one word a line (without: those of Python's manual)")
    add("--backgrounds", metavar="DIR", help="folder of photographs (without: scikit-image's)")
    add("--shape", type=pair, metavar="HxW", help="size of every image, such as 64x128 (without: each word's own)")
    text = "most pixels above and below the longer word, and on its left and right"
    add("--padding", type=pair, default=RECIPE.padding, metavar="ROWS,COLUMNS", help=text)
    cli.add_boolean(parser, "--fit", RECIPE.fit, "stretch or condense the target word to the source's width")
    add("--plain", type=share, default=RECIPE.plain, metavar="SHARE", help="of samples on a board; the original's: 0")
    text = "of samples as small, noisy or compressed photographs; the original's: 0"
    add("--degraded", type=share, default=RECIPE.degraded, metavar="SHARE", help=text)
    add("--seed", type=cli.in_range(int, 0), default=0, help="other seeds, other samples")
    cores = len(os.sched_getaffinity(0))
    add("--processes", type=cli.in_range(int, 1, 256), default=cores, metavar="N", help="at a time")
    parser.set_defaults(**defaults)
    args = parser.parse_args(argv)
    if not all(0 <= pixels <= 200 for pixels in args.padding):
        parser.error("--padding: give ROWS,COLUMNS of 0 to 200, such as 10,20")
    if not all(8 <= side <= 2048 for side in args.shape or ()):
        parser.error("--shape: give HEIGHTxWIDTH, each of 8 to 2048, such as 64x128")
    return args


def read_words(path: Optional[str]) -> list[str]:
    """The words of a file, one a line, or those of Python's manual; each once, in order."""
    if path is None:
        from pydoc_data.topics import topics

        found = re.compile(r"(?<![\w.`'/\\-])[a-z]{3,14}(?![\w`'/(\\-]|\.\w)")  # words of prose, no names of functions
        counts = Counter(word for text in topics.values() for word in found.findall(text))
        return sorted(word for word, count in counts.items() if count > 1)
    file = Path(path).expanduser()
    try:
        text = file.read_text("utf-8-sig") if file.is_file() else ""  # a pipe would never end
    except (OSError, UnicodeDecodeError):
        text = ""
    words = [word for word in dict.fromkeys(map(fonts.clean, text.splitlines())) if word]
    if not words:
        raise UserError(f"--words {path}: is no file of words in UTF-8; give one with one a line")
    return words


def gather(args: argparse.Namespace) -> dict[str, Sources]:
    """What the samples of each folder are made of: {"": ...}, or with --val {"train": ..., "val": ...}. Says what is
    left out or held out."""
    words = read_words(args.words)
    used = {sign for word in words for variant in variants(word) for sign in variant}
    files = [path for name in args.fonts for path in fonts.font_files(None if name == "matplotlib" else name)]
    faces = [(path, known) for path in files if (known := fonts.characters(path) & used)]
    drawable = covered(words, faces)
    if not drawable:
        raise UserError(f"no font covers any of the {len(words)} words; name fonts of their script with --fonts")
    if len(drawable) < len(words):
        left_out = f"{len(words) - len(drawable)} of {len(words)} words"
        notice(f"{left_out} have a character that no font has, and are left out")
    given = {name: getattr(args, name) for name in ("padding", "fit", "plain", "degraded")}
    photographs = find_backgrounds(args.backgrounds)
    whole = Sources(faces, drawable, photographs, args.seed, shape=args.shape, recipe=replace(RECIPE, **given))
    return split_sources(whole) if args.val else {"": whole}


def covered(words: list[str], faces: list[tuple[Path, frozenset]]) -> list[str]:
    """The words that some font has all characters of."""
    return [word for word in words if any(known.issuperset(fonts.signs(word)) for _, known in faces)]


def split_sources(whole: Sources) -> dict[str, Sources]:
    """The sources of train/ and val/: no word in any case, no family of fonts and no photograph is in both."""

    def halves(purpose: int, items: Sequence, name: Callable, least: int = 1) -> tuple[list, list]:
        """A tenth of the groups that `name` gives the items is held out, some at least where there are two groups."""
        groups = sorted({name(item) for item in items})
        if len(groups) < 2:
            return list(items), list(items)
        order = np.random.default_rng([whole.seed, 2**31, purpose]).permutation(len(groups))
        held_out = {groups[index] for index in order[: max(least, round(HELD_OUT * len(groups)))]}
        return tuple([item for item in items if (name(item) in held_out) == out] for out in (False, True))

    split = {
        "words": halves(0, whole.words, str.lower, least=2),
        "fonts": halves(1, whole.fonts, lambda face: fonts.family(face[0])),
        "backgrounds": halves(2, whole.backgrounds, str),
    }
    parts = {}
    for number, name in enumerate(("train", "val")):
        own = {kind: both[number] for kind, both in split.items()}
        own["words"] = covered(own["words"], own["fonts"])
        parts[name] = replace(whole, part=number, **own)
        if len(own["words"]) < 2 or split["words"][0] == split["words"][1]:
            raise UserError(f"--val: too few words for {name}/ that its fonts have; give more words, or more fonts")
    told = (
        f"no {kind} (there is one group only)" if train == val else f"{len(val)} of {len(train) + len(val)} {kind}"
        for kind, (train, val) in split.items()
    )  # fmt: skip
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


_shared: dict[str, Any] = {}  # what a process makes its samples from


def _start(parts: dict[str, Sources], folder: Path) -> None:
    """A process begins: it leaves Ctrl-C to the first one, which ends it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _shared.update(parts=parts, folder=folder)


def _make(task: tuple[str, int]) -> None:
    """Writes the seven files of a sample; those of i_s and i_t bear their words."""
    part, index = task
    sample, words = draw_sample(_shared["parts"][part], index)
    for kind, image in sample.items():
        info = PngInfo()
        if kind in words:
            info.add_itxt("word", words[kind])
        path = _shared["folder"] / part / kind / f"{index + 1:08}.png"
        Image.fromarray(image).save(path, compress_level=1, pnginfo=info)


def write(args: argparse.Namespace) -> None:
    """Writes a data set, whole or not at all."""
    parts, folder = gather(args), Path(args.output_path).expanduser()
    counts = dict(zip(parts, [args.number, args.val]))
    tasks = [(part, index) for part, number in counts.items() for index in range(number)]
    with cli.new_set(folder) as work:
        for part, kind in product(parts, FOLDERS):
            (work / part / kind).mkdir(parents=True)
        (work / "datagen.json").write_text(json.dumps({**vars(args), "recipe": asdict(RECIPE)}, indent=2) + "\n")
        with Pool(args.processes, _start, (parts, work)) as pool:
            for _ in tqdm(pool.imap_unordered(_make, tasks, CHUNK), "samples", len(tasks), unit="", disable=None):
                pass
    for part, number in counts.items():
        notice(f"{folder / part}: {number} samples in {', '.join(FOLDERS)}")
    train = os.path.relpath(Path(__file__).resolve().with_name("train.py"))
    print(f"Next:  python {train} --data_path={folder}", flush=True)


def main(argv: Optional[list[str]] = None) -> int:
    return cli.run_main(write, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
