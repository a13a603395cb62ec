"""What preprocess_birds.py and preprocess_flowers.py share: flags, the split, and the files that data.py reads."""

import argparse
import os
import pickle
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
from PIL import Image
from prepare import held_out, report

from common import cli, pictures
from common.cli import UserError
from misc import pickles

LARGE, SMALL = data.LOAD_SIZES[256], data.LOAD_SIZES[64]
SPLITS = ("train", "test")
Box = tuple[int, int, int, int]  # left, top, right, bottom


def parse_args(argv: Optional[Sequence[str]], description: str, name: str, split: str) -> argparse.Namespace:
    """The flags. `data_path` is, where it is not given, Data/<name> in the working directory or beside the code.

    Args:
        split: the default of --split.
    """
    parser = cli.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data_path", type=cli.user_path, metavar="DIR", help=f"(Data/{name}, here or in the model's folder)"
    )
    parser.add_argument(
        "--output_path", type=cli.user_path, metavar="DIR", help="where train/ and test/ go (--data_path)"
    )
    cli.add_boolean(parser, "--pickle", False, "write the original's 76images.pickle and 304images.pickle as well")
    only = "where train/filenames.pickle is not there:"
    parser.add_argument(
        "--split",
        choices=["classes", "pictures"],
        default=split,
        help=f"{only} test/ holds all pictures of some classes, as in the paper, or some pictures of all ({split})",
    )
    parser.add_argument("--test", type=cli.in_range(float, 0.001, 0.9), default=0.25, help=f"{only} its share (0.25)")
    parser.add_argument("--seed", type=cli.in_range(int, 0), default=0, help=f"{only} draws which (0)")
    args = parser.parse_args(argv)
    if args.data_path is None:
        places = [Path("Data") / name, Path(__file__).resolve().parent.parent / "Data" / name]
        args.data_path = next((place for place in places if place.is_dir()), None)
        if args.data_path is None:
            parser.error(f"--data_path is missing, and there is neither {places[0]} here nor {places[1]}")
    args.output_path = args.output_path or args.data_path
    return args


def split_names(args: argparse.Namespace, find: Callable[[], list[str]]) -> dict[str, list[str]]:
    """The names of the pictures of train/ and test/: of filenames.pickle in both, or else drawn.

    Args:
        find: gives the names "class/name" of all pictures.
    """
    folders = [args.data_path / split for split in SPLITS]
    there = [(folder / "filenames.pickle").is_file() for folder in folders]
    if all(there):
        return {split: data.read_filenames(folder) for split, folder in zip(SPLITS, folders)}
    if any(there):
        missing = folders[there.index(False)] / "filenames.pickle"
        raise UserError(f"{missing}: is missing, and the other split's is there; both come with the text embeddings")
    names = sorted(find())
    held = held_out(names, args.split, args.test, args.seed)
    return {"train": [name for name in names if name not in held], "test": [name for name in names if name in held]}


def scaled(picture: Image.Image, box: Optional[Box] = None) -> np.ndarray:
    """A picture, or the part in a box, at 304 x 304, bicubic: uint8 0..255 [304, 304, 3].

    (The original's own resize gave 0..1, which as integers are black pictures.)
    """
    picture = pictures.on_white(picture) if picture.mode == "RGBA" else picture.convert("RGB")
    return np.asarray(picture.resize((LARGE, LARGE), Image.BICUBIC, box=box))


def write(args: argparse.Namespace, names: dict[str, list[str]], read: Callable[[str], np.ndarray]) -> None:
    """Writes the pictures of both splits, and the rest that belongs to them where `output_path` is another folder.

    Args:
        names: of the pictures of each split.
        read: name -> uint8 [304, 304, 3].
    Raises:
        UserError: a picture or its captions are missing or broken; `output_path` cannot be written.
    """
    for split, chosen in names.items():
        folder = args.output_path / split
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--output_path: {folder} cannot be written ({error.strerror})") from error
        if not os.access(folder, os.W_OK):
            raise UserError(f"--output_path: {folder} cannot be written; name another one")
        if (folder / "images").is_dir():
            raise UserError(f"--output_path: {folder} has images/, so it is of prepare.py's form; name another one")
        captions = data.read_captions(args.data_path / split, chosen)
        if args.output_path.resolve() != args.data_path.resolve():
            _bring_along(args.data_path / split, folder)
            for name, lines in zip(chosen, captions or []):
                text = args.output_path / "text_c10" / f"{name}.txt"
                text.parent.mkdir(parents=True, exist_ok=True)
                text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if not (folder / "filenames.pickle").is_file():
            (folder / "filenames.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")
        large, small = folder / f"{LARGE}images.npy", folder / f"{SMALL}images.npy"
        data.save_pictures(large, len(chosen), LARGE, data.in_threads(read, chosen, f"{split}, {LARGE} x {LARGE}"))
        made = np.load(large, mmap_mode="r")
        shrink = partial(data.smaller, side=SMALL)
        data.save_pictures(small, len(chosen), SMALL, data.in_threads(shrink, made, f"{split}, {SMALL} x {SMALL}"))
        if args.pickle:
            for side, path in ((LARGE, large), (SMALL, small)):
                pickles.save_pictures(folder / f"{side}images.pickle", np.load(path, mmap_mode="r"))
            if not (folder / "filenames.pickle").is_file():
                _, classes = np.unique([name.rpartition("/")[0] for name in chosen], return_inverse=True)
                for name, content in (("filenames", chosen), ("class_info", [int(number) + 1 for number in classes])):
                    (folder / f"{name}.pickle").write_bytes(pickle.dumps(content, 2))
        for path in (large, small):
            os.utime(path)  # newer than any pickle, so that data.py takes it
    embedded = all(data.find_embeddings(args.output_path / split) for split in SPLITS)
    report(args.output_path, {split: len(chosen) for split, chosen in names.items()}, trained=embedded)


def _bring_along(source: Path, folder: Path) -> None:
    """Copies what belongs to a split of the original's and is not made here."""
    for name in ("filenames.pickle", "class_info.pickle", "char-CNN-RNN-embeddings.pickle"):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
