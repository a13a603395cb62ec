"""Image files, none of them believed unchecked; images as arrays, as sheets and on a page (no TensorFlow needed)."""

import base64
import html
import io
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Union

import numpy as np
from PIL import Image, ImageOps

from common.cli import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
DECODERS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]
ORIENTATION = 0x0112  # Exif: which way is up
MAX_SIDE = 2**16  # pixels; Pillow bounds their product alone
MAX_PAGE = 30_000_000  # bytes of images on a page: what a mail or a phone still takes


def opened(path: Union[str, Path]) -> Image.Image:
    """Opens an image file of any of `DECODERS`: its first frame, decoded, upright, in the file's own mode.

    Raises:
        UserError: it is too large, has more than 8 bits a channel or does not decode.
    """
    try:
        if not os.path.isfile(path):  # a pipe would never end
            raise UserError(f"{path}: there is no such file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # all threads' filter, so not relied on
            image = Image.open(path, formats=DECODERS)
            if image.width * image.height > Image.MAX_IMAGE_PIXELS or max(image.size) > MAX_SIDE:
                raise Image.DecompressionBombError
            if image.mode[0] in "IF" or _is_cut_to_8_bits(image):
                raise UserError(f"{path}: has more than 8 bits a channel; save it with 8")
            image.load()
            turned = image.getexif().get(ORIENTATION, 1) != 1
            return ImageOps.exif_transpose(image) if turned else image
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels, or a side of more than {MAX_SIDE}; make it smaller"
        ) from None
    except Exception as error:  # decoders raise nearly every kind on a broken file
        raise UserError(f"{path}: is no image that can be decoded ({str(error)[:120]}); mend or remove it") from None


def size(path: Union[str, Path]) -> tuple[int, int]:
    """Width and height of an image file by its header, nothing decoded.

    Raises:
        UserError: it is no image.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=DECODERS) as image:
                return image.size
    except Exception as error:
        raise UserError(f"{path}: is no image that can be decoded ({str(error)[:120]}); mend or remove it") from None


def _is_cut_to_8_bits(image: Image.Image) -> bool:
    """Whether Pillow keeps only the upper 8 bits of each channel, as it does unasked of more in colour."""
    layouts = [str(layout) for tile in image.tile for layout in (tile[3] if isinstance(tile[3], tuple) else tile[3:])]
    if image.format == "PPM":  # its layouts are followed by the value of white
        return any(layout.isdigit() and int(layout) > 255 for layout in layouts)
    return image.format in ("PNG", "TIFF") and any(";16" in layout for layout in layouts)


def is_transparent(image: Image.Image) -> bool:
    """Whether an image may let something through: by an alpha channel, or by a colour that stands for nothing."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def on_white(image: Image.Image) -> Image.Image:
    """An image as RGB on white paper."""
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def decode(path: Union[str, Path]) -> Image.Image:
    """Reads an image file: grey as L, what may be transparent as RGBA, all else as RGB; upright, 8 bits a channel.

    Raises:
        UserError: it is too large, has more than 8 bits a channel, or does not decode.
    """
    with opened(path) as image:
        if is_transparent(image):
            return image.convert("RGBA")
        return image.convert("L" if image.mode in ("1", "L") else "RGB")


def read_rgb(path: Union[str, Path]) -> np.ndarray:
    """An image file as uint8 [h, w, 3]: grey repeated, palette and CMYK converted, what is transparent on white.

    Raises:
        UserError: it does not decode.
    """
    image = decode(path)
    return np.asarray(on_white(image) if image.mode == "RGBA" else image.convert("RGB"))


def find_images(folder: Path) -> list[Path]:
    """The image files directly in `folder`, by their suffix, sorted."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")


def input_files(paths: Sequence[Union[str, Path]]) -> list[Path]:
    """The image files that a user names, a folder's sorted by name.

    Raises:
        UserError: no such file or folder, or no image in it.
    """
    files = []
    for path in (Path(os.path.expanduser(path)) for path in paths):
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder")
        inside = find_images(path) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path}: the folder holds no image (those in folders below it are not looked for)")
        files += inside
    return files


def to_float(images: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
    """uint8 images as float32 for a network."""
    low, high = value_range
    return images.astype(np.float32) * ((high - low) / 255.0) + low


def to_uint8(images: Any, value_range: tuple[float, float]) -> np.ndarray:
    """Images of a network as uint8."""
    low, high = value_range
    return np.clip(np.round((np.asarray(images, np.float32) - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)


def save_grid(images: np.ndarray, path: str) -> str:
    """Writes uint8 images [n, height, width, channels] as one nearly square image and returns its path."""
    n, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    grid = np.zeros([rows * columns, height, width, channels], np.uint8)
    grid[:n] = images
    grid = grid.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    grid = grid.reshape(rows * height, columns * width, channels)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid[..., 0] if channels == 1 else grid).save(path)
    return path


# A page.

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 1rem auto; max-width: 80rem; padding: 0 1rem }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }}
img {{ display: block; max-width: 24rem; width: 100% }}
</style></head><body><h1>{title}</h1>
"""


def write_page(
    path: Union[str, Path],
    title: str,
    metrics: dict[str, dict[str, float]],
    rows: Iterable[tuple[str, Sequence[tuple[str, np.ndarray]], dict[str, float]]],
) -> None:
    """Writes one HTML file that refers to nothing outside itself: a table of metrics, then a row of images a sample.

    Args:
        metrics: {"ours": {"psnr": 1.0, ...}, "a baseline": ...}.
        rows: (name, [(heading, uint8 image [h, w, 1, 3 or 4]), ...], {metric: value}), read until the page is full.
    """
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    page = [PAGE.format(title=html.escape(title)), "<table>", _row("th", ["", *names])]
    page += [_row("td", [method, *(_number(values.get(name)) for name in names)]) for method, values in metrics.items()]
    page.append("</table><table>")
    room = MAX_PAGE
    for name, columns, values in rows:
        told = " &middot; ".join([html.escape(name), *(f"{html.escape(k)} {_number(v)}" for k, v in values.items())])
        cells = "".join(f"<td>{html.escape(heading)}{_img(image)}</td>" for heading, image in columns)
        row = f"<tr><td colspan={len(columns)}>{told}</td></tr><tr>{cells}</tr>"
        room -= len(row)
        if room < 0:
            page.append("<tr><td>More would make this page too large.</td></tr>")
            break
        page.append(row)
    page.append("</table></body></html>\n")
    # A file's name may hold bytes that are no text; they become question marks.
    Path(path).write_bytes("\n".join(page).encode("utf-8", "replace"))


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _img(image: np.ndarray) -> str:
    """An image as a JPEG within the page, or as a PNG where it has an alpha channel."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else np.ascontiguousarray(image))
    kind, buffer = "png" if image.shape[-1] == 4 else "jpeg", io.BytesIO()
    picture.save(buffer, kind, quality=90)
    return f'<img alt="" src="data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}">'
