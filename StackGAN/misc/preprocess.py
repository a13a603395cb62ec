"""Makes the set that data.py reads of the archive of CUB-200-2011's birds or of that of Oxford-102's flowers.

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
from PIL import Image
from prepare import PARTS, add_split_flags, held_out, report, write_part

from common import cli
from common.cli import UserError
from common.images import read_rgb
from misc import pickles

PICKLES = ("char-CNN-RNN-embeddings.pickle", "skip-thought-embeddings.pickle")
MARGIN = 0.75  # of a box's larger side: half the size of the square that is cut out
MODEL = Path(__file__).resolve().parent.parent

Box = tuple[float, ...]  # left, top, width and height in pixels


def read_boxes(folder: Path) -> dict[str, Box]:
    """The birds' boxes by "class/name".

    Raises:
        UserError: the files of CUB are missing or damaged.
    """
    names, boxes = (
        [line.split() for line in data.read_lines(folder / f"{n}.txt")] for n in ("images", "bounding_boxes")
    )
    try:
        by_key = {key: tuple(map(float, (left, top, width, height))) for key, left, top, width, height in boxes}
        return {name.rpartition(".")[0]: by_key[key] for key, name in names}
    except (ValueError, KeyError) as error:
        raise UserError(f"{folder}: images.txt and bounding_boxes.txt do not fit ({error}); unpack again") from None


def square(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The square around a bird, of half-size 0.75 x the larger side of its box, as far as the image goes.

    Args:
        width, height: of the image.
    Returns:
        Left, top, right and bottom; nothing of it may be in the image.
    """
    half = int(MARGIN * max(box[2], box[3]))
    x, y = int((2 * box[0] + box[2]) / 2), int((2 * box[1] + box[3]) / 2)
    return max(0, x - half), max(0, y - half), min(width, x + half), min(height, y + half)


def birds(args: argparse.Namespace) -> None:
    """Cuts the birds out of their photographs."""
    cub = args.data_path / "CUB_200_2011"
    boxes = read_boxes(cub)

    def read(name: str) -> np.ndarray:
        if name not in boxes:
            raise UserError(f"{name}: is in filenames.pickle but not in images.txt; they are of different sets")
        image = Image.fromarray(read_rgb(cub / "images" / f"{name}.jpg"))
        try:
            box = square(boxes[name], *image.size)
            return np.asarray(image.resize((data.SIZE, data.SIZE), Image.BICUBIC, box))
        except (ValueError, OverflowError):
            raise UserError(f"{cub / 'bounding_boxes.txt'}: the box of {name} is not in the image") from None

    convert(args, split_names(args, list(boxes)), read)


def flowers(args: argparse.Namespace) -> None:
    """Scales the images of flowers, whose classes are the folders of their captions."""
    texts = args.data_path / "text_c10"
    classes = {path.stem: path.parent.name for path in sorted(texts.glob("class_*/image_*.txt"))}
    if not classes:
        raise UserError(f"{texts}: there are no captions, whose folders tell the classes; unpack them there")

    def read(name: str) -> np.ndarray:
        return data.resized(read_rgb(args.data_path / "jpg" / f"{Path(name).name}.jpg"), data.SIZE)

    def full_name(name: str) -> str:  # jpg/image_00001 -> class_00077/image_00001
        stem = Path(name).name
        if stem not in classes:
            raise UserError(f"{texts}: the captions of the image {name} are missing")
        return f"{classes[stem]}/{stem}"

    found = split_names(args, [f"{kind}/{stem}" for stem, kind in classes.items()])
    convert(args, {part: list(map(full_name, names)) for part, names in found.items()}, read)


def split_names(args: argparse.Namespace, every: Sequence[str]) -> dict[str, list[str]]:
    """The names of the images of train/ and test/: of filenames.pickle in both, or else drawn from `every`."""
    paths = [args.data_path / part / "filenames.pickle" for part in PARTS]
    if not any(path.is_file() for path in paths):
        held = held_out(sorted(every), args.split, args.test, args.seed)
        drawn = {"train": sorted(set(every) - held), "test": sorted(held)}
        return {part: names for part, names in drawn.items() if names}  # --test=0: no test/
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


def main(name: str, description: str, argv: Optional[Sequence[str]] = None) -> int:
    """Runs the script of an archive, which is by default in Data/<name> in the working directory or beside the code."""
    places = [Path("Data") / name, MODEL / "Data" / name]
    default = next(filter(Path.is_dir, places), places[0])
    parser = cli.ArgumentParser(description=description)
    parser.add_argument("--data_path", type=cli.user_path, default=default, metavar="DIR", help="the archive, unpacked")
    help = "where train/ and test/ go (--data_path)"
    parser.add_argument("--output_path", type=cli.user_path, metavar="DIR", help=help)
    add_split_flags(parser.add_argument_group("where train/filenames.pickle is not there"), "classes", 0.25)
    args = parser.parse_args(argv)
    args.output_path = args.output_path or args.data_path
    return cli.run_main({"birds": birds, "flowers": flowers}[name], args)
