"""Picture files, none of them believed unchecked, and pictures as arrays (no TensorFlow needed)."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Union

import numpy as np
from PIL import Image, ImageOps

from common.cli import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
DECODERS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]
ORIENTATION = 0x0112  # Exif: which way is up
MAX_BYTES = 8 * 2**30  # a set is held in memory; what would take more than this is refused


@contextmanager
def opened(path: Union[str, Path]) -> Iterator[Image.Image]:
    """Opens a picture file of any of `DECODERS`: its first frame, upright, in the file's own mode.

    Raises:
        UserError: it is too large, has more than 8 bits a channel or does not decode, here or in the `with` block.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # all threads' filter, so not relied on
            with Image.open(path, formats=DECODERS) as picture:
                if picture.width * picture.height > Image.MAX_IMAGE_PIXELS:
                    raise Image.DecompressionBombError
                if picture.mode[0] in "IF" or _is_cut_to_8_bits(picture):
                    raise UserError(f"{path}: has more than 8 bits a channel; save it with 8")
                # Where nothing is to be turned the picture is not decoded yet.
                turned = picture.getexif().get(ORIENTATION, 1) != 1
                yield ImageOps.exif_transpose(picture) if turned else picture
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller or remove it") from error
    except Exception as error:  # decoders raise nearly every kind on a broken file
        raise UserError(f"{path}: is no picture that can be decoded ({str(error)[:120]}); mend or remove it") from error


def _is_cut_to_8_bits(picture: Image.Image) -> bool:
    """Whether Pillow keeps only the upper 8 bits of each channel, as it does unasked of more in colour."""
    layouts = [str(layout) for tile in picture.tile for layout in (tile[3] if isinstance(tile[3], tuple) else tile[3:])]
    if picture.format == "PPM":  # its layouts are followed by the value of white
        return any(layout.isdigit() and int(layout) > 255 for layout in layouts)
    return picture.format in ("PNG", "TIFF") and any(";16" in layout for layout in layouts)


def is_transparent(picture: Image.Image) -> bool:
    """Whether a picture may let something through: by an alpha channel, or by a colour that stands for nothing."""
    return picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info


def on_white(picture: Image.Image) -> Image.Image:
    """A picture as RGB on white paper."""
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def decode(path: Union[str, Path]) -> Image.Image:
    """Reads a picture file: grey as L, what may be transparent as RGBA, all else as RGB; upright, 8 bits a channel.

    Raises:
        UserError: it is too large, has more than 8 bits a channel, or does not decode.
    """
    with opened(path) as picture:
        if is_transparent(picture):
            return picture.convert("RGBA")
        return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def read_rgb(path: Union[str, Path]) -> np.ndarray:
    """A picture file as uint8 [h, w, 3]: grey repeated, palette and CMYK converted, what is transparent on white.

    Raises:
        UserError: it does not decode.
    """
    picture = decode(path)
    return np.asarray(on_white(picture) if picture.mode == "RGBA" else picture.convert("RGB"))


def find_pictures(folder: Path) -> Iterator[Path]:
    """The picture files directly in `folder`, by their suffix, in no order."""
    return (path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")


def picture_files(folder: Path) -> list[Path]:
    """The picture files directly in `folder`, by their suffix, sorted."""
    return sorted(find_pictures(folder))


def input_files(paths: Sequence[str]) -> list[Path]:
    """The picture files that `--input` names, a folder's sorted by name.

    Raises:
        UserError: no such file or folder, or no picture in it.
    """
    files = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"--input {path}: there is no such file or folder")
        inside = picture_files(path) if path.is_dir() else [path]
        if not inside:
            raise UserError(
                f"--input {path}: the folder holds no picture (those in folders below it are not looked for)"
            )
        files += inside
    return files


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
    grid = np.zeros([rows * columns, height, width, channels], np.uint8)
    grid[:n] = pictures
    grid = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    grid = grid.reshape(rows * height, columns * width, channels)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid[..., 0] if channels == 1 else grid).save(path)
    return path
