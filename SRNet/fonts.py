"""Fonts, and the standard image of a word: what the network is told to write (no TensorFlow needed).

The standard image is black on grey, in one and the same plain font whatever the style of the photograph.
"""

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Optional, Union

import matplotlib
import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont

from common.cli import UserError

SUFFIXES = {".ttf", ".otf", ".ttc"}
STANDARD = "DejaVuSans.ttf"  # comes with matplotlib; Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian, ...
TEXT_FONTS = [  # of matplotlib's; the others hold the signs of formulas
    "DejaVuSans", "DejaVuSans-*", "DejaVuSansMono*", "DejaVuSerif", "DejaVuSerif-*", "STIXGeneral*",
    "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10",
]  # fmt: skip
TEX_FONT = re.compile("cm[a-z]+10[.]ttf")  # of matplotlib's, with TeX's code: a dash for |, a quotation mark for \\
GREY = 127
BORDER = 0.1  # of the height above and below a standard word, and of the width on its left and right
LARGEST = 1.5  # font size in heights of the image, so that a full stop does not fill it
LONGEST = 200  # characters in a line of text


def font_files(source: Union[str, Path, None] = None) -> list[Path]:
    """The fonts in a folder and those below it, sorted, or one file; without a source those that matplotlib installs.

    Raises:
        UserError: there is no such file or folder, or no font in it. The files themselves are not read.
    """
    if source is None:
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        files = sorted({path for name in TEXT_FONTS for path in folder.glob(f"{name}.ttf")})
        if folder / STANDARD not in files:
            raise UserError(f"{folder} lacks {STANDARD}: install matplotlib from a wheel, or name fonts of your own")
        return files
    source = Path(source).expanduser()
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"{source}: there is no such font file or folder")
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not files:
        raise UserError(f"{source}: the folder holds no font ({', '.join(sorted(SUFFIXES))})")
    return files


def clean(text: str) -> str:
    """A text in one line: any white space becomes one space, none at the ends; accents joined to their letters."""
    return " ".join(unicodedata.normalize("NFC", text).split())


@lru_cache(maxsize=64)
def characters(path: Path) -> frozenset:
    """The numbers of all characters that a font has a glyph for (of a collection, its first font).

    Raises:
        UserError: it is no font.
    """
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with TTFont(str(path), fontNumber=0, lazy=True) as font:
            known = frozenset(font.getBestCmap() or ())
        if not known:
            raise ValueError("it maps no characters")
        if TEX_FONT.fullmatch(path.name):
            known &= frozenset(map(ord, string.ascii_letters + string.digits))
        load(path, 40)
    except Exception as error:  # fontTools and FreeType raise nearly every kind on a broken file
        raise UserError(f"{path}: is no font that can be used ({str(error)[:120]}); mend or remove it") from error
    return known


@lru_cache(maxsize=256)
def load(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """A font to draw with, `size` pixels high; right-to-left and joined scripts are set right where Pillow has raqm."""
    return ImageFont.truetype(str(path), size)


def signs(text: str) -> list[str]:
    """The characters of a text that need a glyph: all but marks of formatting."""
    return [sign for sign in clean(text) if unicodedata.category(sign) != "Cf"]


def lacking(path: Path, text: str) -> str:
    """The first character of a text that a font has no glyph for, or ""."""
    known = characters(Path(path))
    return next((sign for sign in signs(text) if ord(sign) not in known), "")


def covers(path: Path, text: str) -> bool:
    """Whether a font has a glyph for every character of a text."""
    return not lacking(path, text)


def standard_font(text: str, font: Union[str, Path, None] = None, more: Sequence[Path] = ()) -> Path:
    """The font of a text's standard image: `font`, or else the first that covers it of DejaVu Sans, `more` and
    matplotlib's other fonts.

    Raises:
        UserError: none covers it, or `font` is none.
    """
    if font is not None:
        font = Path(font).expanduser()
        sign = lacking(font, text)
        if sign:
            raise UserError(f"{font}: has no {named(sign)} of the text {text!r}; name another font")
        return font
    installed = font_files()
    standard = next(path for path in installed if path.name == STANDARD)
    candidates = [standard, *more, *installed]
    for path in candidates:
        if covers(path, text):
            return path
    sign = next((sign for sign in clean(text) if not any(covers(path, sign) for path in candidates)), "")
    what = named(sign) if sign else "all characters at once"
    raise UserError(f"no font at hand has {what} of the text {text!r}; name a font that has (--font FILE)")


def named(sign: str) -> str:
    """A character in a message."""
    return f"{sign!r} (U+{ord(sign):04X})"


def ink(text: str, font: ImageFont.FreeTypeFont) -> Optional[tuple[int, int, int, int]]:
    """The box that a line of text blackens: left, top, right, bottom from the drawing point; None if nothing."""
    left, top, right, bottom = font.getbbox(text)
    return (left, top, right, bottom) if right > left and bottom > top else None


def standard_image(text: str, font: Union[str, Path], size: tuple[int, int]) -> np.ndarray:
    """i_t: a text in black on grey, centred in one line, as large as the borders let it be.

    Args:
        size: height and width in pixels.
    Returns: uint8 [height, width, 3].
    Raises:
        UserError: there is nothing to draw, or more than one line holds.
    """
    text = clean(text)
    if not text:
        raise UserError("the text is empty: give at least one letter")
    if len(text) > LONGEST:
        raise UserError(f"the text has {len(text)} characters: give at most {LONGEST}")
    font, (height, width) = Path(font), size
    characters(font)  # it is a font
    room = (width * (1 - 2 * BORDER), height * (1 - 2 * BORDER))
    box = ink(text, load(font, 100))
    if box is None:
        raise UserError(f"{font}: draws nothing for the text {text!r}; name another font")
    points = int(100 * min(room[0] / (box[2] - box[0]), room[1] / (box[3] - box[1]), LARGEST * height / 100))
    points += 2  # hinting moves the box by a pixel or so
    while points > 1:
        box = ink(text, load(font, points)) or (0, 0, 1, 1)
        if box[2] - box[0] <= room[0] and box[3] - box[1] <= room[1] and points <= LARGEST * height:
            break
        points -= 1
    image = Image.new("L", (width, height), GREY)
    left, top, right, bottom = box
    corner = (round((width - (right - left)) / 2) - left, round((height - (bottom - top)) / 2) - top)
    ImageDraw.Draw(image).text(corner, text, 0, load(font, max(1, points)))
    return np.repeat(np.asarray(image)[..., None], 3, axis=2)
