"""Trees of picture files, with a folder a class -> uint8 arrays."""

from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from formats import Parts
from PIL import Image, ImageOps
from tqdm import tqdm

from common.cli import UserError
from common.pictures import MAX_BYTES, find_pictures, is_transparent, on_white, opened, picture_files

UNLABELLED = ("unlabelled", "unlabeled")


def fit_picture(picture: Image.Image, image_size: Optional[tuple[int, int]]) -> np.ndarray:
    """Turns a Pillow picture (L or RGB) into uint8 [h, w, 1 or 3], its middle scaled to `image_size` (h, w)."""
    if image_size and picture.size != image_size[::-1]:
        picture = ImageOps.fit(picture, image_size[::-1], Image.BICUBIC)
    pixels = np.asarray(picture, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_picture(path: Path, image_size: Optional[tuple[int, int]] = None) -> np.ndarray:
    """Reads a picture file: grey [h, w, 1] or else RGB [h, w, 3], uint8, upright, what is transparent white.

    Args:
        path: PNG, JPEG, BMP, GIF (the first frame), WebP, TIFF, PPM or PGM.
        image_size: (h, w) to scale to; the longer sides are cropped equally.
    Raises:
        UserError: it is too large, has more than 8 bits a channel, or does not decode.
    """
    with opened(path) as picture:
        mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
        if is_transparent(picture):
            picture = on_white(picture)
        return fit_picture(picture.convert(mode), image_size)


def read_pictures(paths: list[Path], image_size: Optional[tuple[int, int]] = None) -> np.ndarray:
    """Reads picture files to uint8 [n, h, w, c]: RGB if one of them is, else grey. Sizes must agree or be given."""
    rows: list[np.ndarray] = []
    for path in tqdm(paths, "pictures", unit="", disable=None):
        rows.append(read_picture(path, image_size))
        (height, width), first = rows[-1].shape[:2], rows[0].shape[:2]
        if (height, width) != first:
            raise UserError(
                f"{path}: {height} x {width}, but {paths[0].name} is {first[0]} x {first[1]}; "
                "give --image_size=N to scale every picture to N x N"
            )
        if 3 * height * width * len(paths) > MAX_BYTES:
            raise UserError(
                f"{len(paths)} pictures of {height} x {width} do not fit into memory; give a smaller --image_size"
            )
    channels = max(row.shape[2] for row in rows)
    return np.stack([np.broadcast_to(row, row.shape[:2] + (channels,)) for row in rows])


def resize(images: np.ndarray, image_size: Optional[tuple[int, int]]) -> np.ndarray:
    """Scales uint8 [n, h, w, 1 or 3] to `image_size` (h, w), bicubic; returns them as they are where that is None."""
    if image_size is None or images.shape[1:3] == tuple(image_size):
        return images
    grey = images.shape[3] == 1
    return np.stack([fit_picture(Image.fromarray(image[..., 0] if grey else image), image_size) for image in images])


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, sorted; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and path.name[0] != ".")


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold pictures of a class; names that are numbers sort as numbers."""
    classes = [path for path in subfolders(folder) if path.name.lower() not in UNLABELLED and any(find_pictures(path))]
    return sorted(classes, key=lambda path: int(path.name)) if all(p.name.isdecimal() for p in classes) else classes


def is_split(folder: Path) -> bool:
    """Whether `folder` holds pictures in train/ and test/."""
    train = folder / "train"
    return train.is_dir() and (folder / "test").is_dir() and bool(class_folders(train) or picture_files(train))


def is_flat(folder: Path) -> bool:
    """Whether `folder` holds pictures a class and no split."""
    return not is_split(folder) and len(class_folders(folder)) > 1


def read_class_folders(folder: Path, image_size: Optional[tuple[int, int]]) -> tuple[Parts, list[str]]:
    """Reads a tree of pictures, split or flat. Returns them and the classes' names."""
    root = folder / "train" if is_split(folder) else folder
    names = [path.name for path in class_folders(root)]
    for path in subfolders(root):
        if path.name not in names and path.name.lower() not in UNLABELLED:
            raise UserError(f"{path}: this class holds no picture; add some or remove the folder")
    files = [[(path, label) for path in picture_files(root / name)] for label, name in enumerate(names)]
    if root == folder:
        train, test = hold_out(files, str(folder))
    else:
        strange = [path.name for path in class_folders(folder / "test") if path.name not in names]
        if strange or picture_files(folder / "test") or picture_files(root):
            what = (
                f"test/{strange[0]} has no fellow in train/"
                if strange
                else "train/ or test/ holds pictures of no class"
            )
            raise UserError(f"{folder}: {what}; both hold a folder a class, with the same names")
        train = sum(files, [])
        test = [(path, label) for label, name in enumerate(names) for path in picture_files(folder / "test" / name)]
    train += [(path, -1) for sub in subfolders(root) if sub.name.lower() in UNLABELLED for path in picture_files(sub)]
    cut = len(train)
    order = np.random.default_rng(0)  # mixes the classes, so that the first so many pictures hold them all
    files = [train[i] for i in order.permutation(cut)] + [test[i] for i in order.permutation(len(test))]
    images = read_pictures([path for path, _ in files], image_size)
    labels = np.array([label for _, label in files], np.int32)
    return Parts(images[:cut], labels[:cut], images[cut:], labels[cut:]), names


def hold_out(files: list[list[tuple[Path, int]]], where: str) -> tuple[list, list]:
    """Splits each class's files into nine tenths and one tenth, drawn with seed 0, and says so."""
    rng, train, test = np.random.default_rng(0), [], []
    for own in files:
        if len(own) < 2:
            raise UserError(f"{own[0][0].parent}: a class needs two pictures at least, one of them to test on")
        held = set(rng.permutation(len(own))[: max(1, round(len(own) / 10))].tolist())
        train += [item for index, item in enumerate(own) if index not in held]
        test += [item for index, item in enumerate(own) if index in held]
    print(f"[Info] {where}: no train/ and test/, so a tenth of each class ({len(test)} of {len(train + test)})")
    print("       is held out to test on, drawn with seed 0", flush=True)
    return train, test
