"""Picture files, and trees of them with a folder a class -> uint8 arrays."""

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
from formats import MAX_BYTES, Parts
from tqdm import tqdm

from common.cli import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
DECODERS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]
UNLABELLED = ("unlabelled", "unlabeled")


def fit_picture(picture: Any, image_size: Optional[tuple[int, int]]) -> np.ndarray:
    """Turns a Pillow picture (L or RGB) into uint8 [h, w, 1 or 3], its middle scaled to `image_size` (h, w)."""
    from PIL import Image, ImageOps

    if image_size and picture.size != image_size[::-1]:
        picture = ImageOps.fit(picture, image_size[::-1], Image.BICUBIC)
    pixels = np.asarray(picture, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_picture(path: Path, image_size: Optional[tuple[int, int]] = None) -> np.ndarray:
    """Reads a picture file: grey [h, w, 1] or else RGB [h, w, 3], uint8, upright, what is transparent white.

    Args:
        path: PNG, JPEG, BMP, GIF (the first frame), WebP, TIFF, PPM or PGM.
        image_size: (h, w) to scale to; the longer sides are cropped equally.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=DECODERS) as picture:
                if picture.mode[0] in "IF":
                    raise UserError(f"{path}: has more than 8 bits a channel; save it with 8")
                picture = ImageOps.exif_transpose(picture)
                mode = "L" if picture.mode in ("1", "L", "LA") else "RGB"
                if picture.mode in ("LA", "RGBA", "PA") or "transparency" in picture.info:
                    picture = picture.convert("RGBA")  # what is transparent is seen on white
                    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
                return fit_picture(picture.convert(mode), image_size)
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller or remove it") from error
    except Exception as error:  # decoders raise nearly every kind on a broken file
        raise UserError(f"{path}: is no picture that can be decoded ({str(error)[:120]}); mend or remove it") from error


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
    from PIL import Image

    grey = images.shape[3] == 1
    return np.stack([fit_picture(Image.fromarray(image[..., 0] if grey else image), image_size) for image in images])


def scale(images: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """uint8 pictures as float32 for a network."""
    low, high = value_range
    return images.astype(np.float32) * ((high - low) / 255.0) + low


def to_uint8(pictures: Any, value_range: tuple[float, float]) -> np.ndarray:
    """Pictures of a network as uint8."""
    low, high = value_range
    return np.clip(np.round((np.asarray(pictures) - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)


def save_grid(pictures: np.ndarray, path: str) -> str:
    """Writes uint8 pictures [n, height, width, channels] as one nearly square picture and returns its path."""
    n, height, width, channels = pictures.shape
    columns = math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    from PIL import Image

    grid = np.zeros([rows * columns, height, width, channels], np.uint8)
    grid[:n] = pictures
    grid = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    grid = grid.reshape(rows * height, columns * width, channels)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid[..., 0] if channels == 1 else grid).save(path)
    return path


def subfolders(folder: Path) -> list[Path]:
    """The folders in `folder` that are not hidden, sorted; none where there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.is_dir() and path.name[0] != ".")


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")


def picture_files(folder: Path) -> list[Path]:
    """The picture files directly in `folder`, by their suffix, sorted."""
    return sorted(_pictures(folder))


def class_folders(folder: Path) -> list[Path]:
    """The folders in `folder` that hold pictures of a class; names that are numbers sort as numbers."""
    classes = [path for path in subfolders(folder) if path.name.lower() not in UNLABELLED and any(_pictures(path))]
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
