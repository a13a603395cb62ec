"""What preprocess_birds.py and preprocess_flowers.py share: flags, the split, and the set that data.py reads.

The archives of embeddings come as pickles, in {train,test}/: filenames.pickle, which tells the split, and
char-CNN-RNN-embeddings.pickle. They are read here once, and never again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import data
import numpy as np
from PIL import Image
from prepare import PARTS, SIZE, add_split_flags, held_out, listing, report, write_part

from common import cli
from common.cli import UserError
from common.images import on_white
from misc import pickles

PICKLES = ("char-CNN-RNN-embeddings.pickle", "skip-thought-embeddings.pickle")
Box = tuple[int, int, int, int]  # left, top, right, bottom


def parse_args(argv: Optional[Sequence[str]], description: str, name: str) -> argparse.Namespace:
    """The flags. `data_path` is, where it is not given, Data/<name> in the working directory or beside the code."""
    parser = cli.ArgumentParser(description=description)
    help = f"the archive, unpacked (Data/{name}, here or in the model's folder)"
    parser.add_argument("--data_path", type=cli.user_path, metavar="DIR", help=help)
    help = "where train/ and test/ go (--data_path)"
    parser.add_argument("--output_path", type=cli.user_path, metavar="DIR", help=help)
    group = parser.add_argument_group("where train/filenames.pickle is not there")
    add_split_flags(group, "classes", 0.25)
    args = parser.parse_args(argv)
    if args.data_path is None:
        places = [Path("Data") / name, Path(__file__).resolve().parent.parent / "Data" / name]
        args.data_path = next((place for place in places if place.is_dir()), None)
        if args.data_path is None:
            parser.error(f"--data_path is missing, and there is neither {places[0]} here nor {places[1]}")
    args.output_path = args.output_path or args.data_path
    return args


def clean_name(name: Any, where: Path) -> str:
    """Checks an image's name, which becomes part of paths."""
    parts = Path(name).parts if isinstance(name, str) and "\0" not in name else ()
    if not parts or len(parts) > 2 or ".." in parts or Path(name).is_absolute():
        raise UserError(f"{where}: {str(name)[:60]!r} is no name of an image such as 'class/name'")
    return name


def read_filenames(path: Path) -> list[str]:
    """The names "class/name" in a filenames.pickle."""
    names = pickles.load(path)
    names = names.tolist() if isinstance(names, np.ndarray) else names
    if not isinstance(names, (list, tuple)) or not names:
        raise UserError(f"{path}: should hold a list of names")
    return [clean_name(name, path) for name in names]


def split_names(args: argparse.Namespace, find: Callable[[], list[str]]) -> dict[str, list[str]]:
    """The names of the images of train/ and test/: of filenames.pickle in both, or else drawn.

    Args:
        find: gives the names "class/name" of all images.
    """
    paths = [args.data_path / part / "filenames.pickle" for part in PARTS]
    there = [path.is_file() for path in paths]
    if all(there):
        return {part: read_filenames(path) for part, path in zip(PARTS, paths)}
    if any(there):
        missing = paths[there.index(False)]
        raise UserError(f"{missing}: is missing, and the other split's is there; both come with the text embeddings")
    names = sorted(find())
    held = held_out(names, args.split, args.test, args.seed)
    return {"train": [name for name in names if name not in held], "test": [name for name in names if name in held]}


def scaled(image: Image.Image, box: Optional[Box] = None) -> np.ndarray:
    """An image, or the part in a box, at 304 x 304, bicubic: uint8 0..255 [304, 304, 3].

    (The original's own resize gave 0..1, which as integers are black images.)
    """
    image = on_white(image) if image.mode == "RGBA" else image.convert("RGB")
    return np.asarray(image.resize((SIZE, SIZE), Image.BICUBIC, box=box))


def caption_reader(folder: Path) -> Callable[[str], Optional[list[str]]]:
    """A function that reads an image's captions in text_c10/; without that folder there are none."""
    if not folder.is_dir():
        return lambda name: None

    def read(name: str) -> list[str]:
        lines = data.read_captions(folder, [name])
        return lines[0]

    return read


def convert(
    args: argparse.Namespace,
    names: dict[str, list[str]],
    read: Callable[[str], np.ndarray],
    captions: Callable[[str], Optional[list[str]]],
    new_name: Callable[[str], str] = lambda name: name,
) -> None:
    """Writes both splits, with the embeddings where there are some, and the images as training reads them.

    Args:
        names: of the images of each split.
        read: name -> uint8 [304, 304, 3]; captions: name -> lines, or None.
        new_name: "class/name" in the new set, where the archive's name tells no class.
    Raises:
        UserError: an image or its captions are missing or broken; `output_path` cannot be written.
    """
    embedded = True
    for part, chosen in names.items():
        folder, new = args.output_path / part, {new_name(name): name for name in chosen}
        if (folder / "images").is_dir():
            raise UserError(f"--output_path: {folder} has images/ already; remove them, or name another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            bad = write_part(folder, new, lambda x, of=new: read(of[x]), lambda x, of=new: captions(of[x]))
        except OSError as error:
            raise UserError(f"--output_path: {folder} cannot be written ({error.strerror})") from error
        if bad:
            raise UserError(
                f"{folder} is not whole, for what follows; mend it, remove images/ and repeat\n{listing(bad)}"
            )
        split = data.load(folder, embeddings=False)
        for size in data.LOAD_SIZES.values():
            split.images(size)
        source = next(
            (args.data_path / part / name for name in PICKLES if (args.data_path / part / name).is_file()), None
        )
        embedded &= source is not None
        if source is not None:
            rows = [list(new).index(name) for name in split.filenames]
            data.save_embeddings(folder, split.filenames, read_pickled(source, len(chosen))[rows], source.name)
    report(args.output_path, embedded)


def read_pickled(path: Path, count: int) -> np.ndarray:
    """The embeddings in an archive's pickle: an array [images, captions, size] or a list of arrays [captions, size]; of
    images with unequally many captions, as many as all have."""
    found = pickles.load(path)
    try:
        if isinstance(found, (list, tuple)):
            fewest = min(len(part) for part in found)
            found = np.stack([part[:fewest] for part in found])
    except (TypeError, ValueError):
        found = None
    found = data.check_embeddings(path, found)
    if len(found) != count:
        raise UserError(f"{path}: embeddings of {len(found)} images, but there are {count}; it is of another set")
    return found
