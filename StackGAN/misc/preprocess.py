"""What preprocess_birds.py and preprocess_flowers.py share: flags, the split, and the set that data.py reads.

The archives of embeddings come as pickles, in {train,test}/: filenames.pickle, which tells the split, and
char-CNN-RNN-embeddings.pickle. They are read here once, and never again.
"""

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Callable, Optional

import data
import numpy as np
from prepare import PARTS, add_split_flags, held_out, report, write_part

from common import cli
from common.cli import UserError
from misc import pickles

PICKLES = ("char-CNN-RNN-embeddings.pickle", "skip-thought-embeddings.pickle")
MODEL = Path(__file__).resolve().parent.parent


def parse_args(argv: Optional[Sequence[str]], description: str, name: str) -> argparse.Namespace:
    """The flags. `data_path` is, where it is not given, Data/<name> in the working directory or beside the code."""
    places = [Path("Data") / name, MODEL / "Data" / name]
    default = next(filter(Path.is_dir, places), places[0])
    parser = cli.ArgumentParser(description=description)
    parser.add_argument("--data_path", type=cli.user_path, default=default, metavar="DIR", help="the archive, unpacked")
    help = "where train/ and test/ go (--data_path)"
    parser.add_argument("--output_path", type=cli.user_path, metavar="DIR", help=help)
    add_split_flags(parser.add_argument_group("where train/filenames.pickle is not there"), "classes", 0.25)
    args = parser.parse_args(argv)
    args.output_path = args.output_path or args.data_path
    return args


def split_names(args: argparse.Namespace, every: Sequence[str]) -> dict[str, list[str]]:
    """The names of the images of train/ and test/: of filenames.pickle in both, or else drawn from `every`."""
    paths = [args.data_path / part / "filenames.pickle" for part in PARTS]
    if not any(path.is_file() for path in paths):
        held = held_out(sorted(every), args.split, args.test, args.seed)
        return {"train": sorted(set(every) - held), "test": sorted(held)}
    found = {part: pickles.load(path) for part, path in zip(PARTS, paths)}
    for path, names in zip(paths, found.values()):
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: should hold a list of names")
    return found


def convert(args: argparse.Namespace, names: dict[str, list[str]], read: Callable[[str], np.ndarray]) -> None:
    """Writes both splits, with the captions and embeddings where there are some, and the images as training reads them.

    Args:
        names: "class/name" of the images of each split, in the order of the archive's embeddings.
        read: such a name -> uint8 [304, 304, 3].
    Raises:
        UserError: an image or its captions are missing or broken; `output_path` cannot be written.
    """
    out, texts = args.output_path, args.data_path / "text_c10"
    embeddings = {part: read_embeddings(args.data_path / part, len(chosen)) for part, chosen in names.items()}
    captions = partial(data.read_captions, texts) if texts.is_dir() else None
    for part, chosen in names.items():
        for name in chosen:
            if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
                raise UserError(f"{args.data_path}: {name[:60]!r} is no name of an image such as 'class/name'")
        if (out / part / "images").is_dir():
            raise UserError(f"--output_path: {out / part} has images/ already; remove them, or name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=out) as work:
            for part, chosen in names.items():
                write_part(Path(work, part), chosen, read, captions)
            for made in Path(work).glob("*/*"):
                (out / made.parent.name).mkdir(exist_ok=True)
                made.rename(out / made.parent.name / made.name)
    except OSError as error:
        raise UserError(f"--output_path: {out} cannot be written ({error.strerror})") from error
    for part, chosen in names.items():
        split = data.Split(out / part, embeddings=False)
        for size in data.LOAD_SIZES.values():
            split.images(size)
        if embeddings[part] is not None:
            rows = [chosen.index(name) for name in split.filenames]
            data.save_embeddings(split.folder, split.filenames, embeddings[part][rows], "the archive")
    report(out, all(found is not None for found in embeddings.values()))


def read_embeddings(folder: Path, count: int) -> Optional[np.ndarray]:
    """The embeddings in an archive's pickle, if there is one: an array [images, captions, size] or a list of arrays
    [captions, size]; of images with unequally many captions, as many as all have.

    Raises:
        UserError: there are none, or they are broken or of other images.
    """
    path = next(filter(Path.is_file, (folder / name for name in PICKLES)), None)
    if path is None:
        return None
    found = pickles.load(path)
    if isinstance(found, list) and all(isinstance(part, np.ndarray) and part.ndim == 2 for part in found):
        fewest = min(map(len, found), default=0)
        found = np.stack([part[:fewest] for part in found]) if len({part.shape[1] for part in found}) == 1 else None
    found = data.check_embeddings(path, found)
    if len(found) != count:
        raise UserError(f"{path}: embeddings of {len(found)} images, but there are {count}; it is of another set")
    return found
