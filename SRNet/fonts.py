"""Fonts, and the standard image of a word, which tells the network what to write: black on grey, in one plain font
whatever the style of the photograph (no TensorFlow needed)."""

import re
import string
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Union

import matplotlib
import numpy as np
from fontTools.ttLib import TTFont
from matplotlib.font_manager import findSystemFonts
from PIL import Image, ImageDraw, ImageFont

from common.cli import UserError

SUFFIXES = {".ttf", ".otf", ".ttc"}
STANDARD = "DejaVuSans.ttf"  # comes with matplotlib; Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian, ...
TEXT_FONTS = [  # of matplotlib's; the others hold the signs of formulas
    "DejaVuSans", "DejaVuSans-*", "DejaVuSansMono*", "DejaVuSerif", "DejaVuSerif-*", "STIXGeneral*",
    "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10",
]  # fmt: skip
TEX_FONT = re.compile("cm[a-z]+10[.]ttf")  # of matplotlib's, with TeX's code: a dash for |, a quotation mark for \\
SANS = re.compile("sans|gothic|hei|msyh|pingfang")  # in the names of files with Chinese, Japanese or Korean ...
OTHER_THAN_PLAIN = re.compile("serif|mono|bold|black|medium|demi|light|thin|italic|oblique")  # ... but for these
GREY = 127
BORDER = 0.1  # of the height above and below a standard word, and of the width on its left and right
LARGEST = 1.5  # font size in heights of the image, so that a full stop does not fill it


def font_files(source: Union[str, Path, None] = None) -> list[Path]:
    """The fonts in a folder and those below it, sorted, or one file; without a source matplotlib's."""
    if source is None:
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        return sorted({path for name in TEXT_FONTS for path in folder.glob(f"{name}.ttf")})
    source = Path(source).expanduser()
    if source.is_file():
        return [source]
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not files:
        raise UserError(f"{source}: is no font, nor a folder with one ({', '.join(sorted(SUFFIXES))})")
    return files


def system_fonts() -> list[Path]:
    """The fonts that this machine has besides, plain sans serifs first."""

    def fancy(path: Path) -> tuple[bool, bool, str]:
        name = path.stem.lower()
        return not SANS.search(name), bool(OTHER_THAN_PLAIN.search(name)), str(path)

    return sorted(map(Path, findSystemFonts()), key=fancy)


def clean(text: str) -> str:
    """A text in one line: any white space becomes one space, none at the ends; accents joined to their letters."""
    return " ".join(unicodedata.normalize("NFC", text).split())


@lru_cache(maxsize=64)
def characters(path: Path) -> frozenset:
    """The characters that a font has a glyph for (of a collection, its first font).

    Raises:
        UserError: it is no font.
    """
    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with TTFont(str(path), fontNumber=0, lazy=True) as font:
            known = frozenset(map(chr, font.getBestCmap() or ()))
        if not known:
            raise ValueError("it maps no characters")
        if TEX_FONT.fullmatch(path.name):
            known &= frozenset(string.ascii_letters + string.digits)
        load(path, 40)
    except Exception as error:  # fontTools and FreeType raise nearly every kind on a broken file
        raise UserError(f"{path}: is no font that can be used ({str(error)[:120]}); mend or remove it") from error
    return known


@lru_cache(maxsize=256)
def load(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """A font to draw with, `size` pixels high; right-to-left and joined scripts are set right where Pillow has raqm."""
    return ImageFont.truetype(str(path), size)


def family(path: Path) -> str:
    """The first word of the name of a font's family: one for all of Roboto, Roboto Condensed and Roboto Slab.

    Files' names do not tell: LinLibertine_R, LinLibertine_RB; Courier Prime, Courier Prime Bold.
    """
    words = (load(path, 40).getname()[0] or "").split()  # a font need not have a name
    return (words or [path.stem])[0].lower()


def signs(text: str) -> list[str]:
    """The characters of a text that need a glyph: all but marks of formatting."""
    return [sign for sign in clean(text) if unicodedata.category(sign) != "Cf"]


def lacking(path: Path, text: str) -> str:
    """The first character of a text that a font has no glyph for, or ""."""
    known = characters(path)
    return next((sign for sign in signs(text) if sign not in known), "")


def standard_font(text: str, font: Union[str, Path, None] = None, more: Sequence[Path] = ()) -> Path:
    """The font of a text's standard image: `font`, or else the first that has all its characters: of DejaVu Sans,
    `more`, matplotlib's other fonts, and this machine's, as for Chinese.

    Raises:
        UserError: none has them, or `font` is none.
    """
    installed = font_files()
    usual = [path for path in installed if path.name == STANDARD]
    candidates = [*usual, *more, *installed] if font is None else [Path(font).expanduser()]
    for path in candidates:
        if not lacking(path, text):
            return path
    for path in system_fonts() if font is None else ():
        with suppress(UserError):  # one that is broken is nothing that the user named
            if not lacking(path, text):
                return path
    sign = lacking(candidates[0], text)
    told = f"no font of this machine will do: {STANDARD}" if font is None else str(font)
    raise UserError(f"{told} has no {sign!r} (U+{ord(sign):04X}) of the text {text!r}; name another font (--font FILE)")


def standard_image(text: str, font: Union[str, Path], size: tuple[int, int]) -> np.ndarray:
    """i_t: a text in black on grey, centred in one line, as large as the borders let it be.

    Args:
        size: height and width in pixels.
    Returns: uint8 [height, width, 3].
    Raises:
        UserError: there is nothing to draw.
    """
    text, font, (height, width) = clean(text), Path(font), size
    if not text:
        raise UserError("the text is empty: give at least one letter")
    room = (width * (1 - 2 * BORDER), height * (1 - 2 * BORDER))
    left, top, right, bottom = load(font, 100).getbbox(text)
    if right <= left or bottom <= top:
        raise UserError(f"{font}: draws nothing for the text {text!r}; name another font")
    most = int(100 * min(room[0] / (right - left), room[1] / (bottom - top), LARGEST * height / 100))
    for points in range(most + 2, 0, -1):  # hinting moves the box by a pixel or so
        left, top, right, bottom = load(font, points).getbbox(text)
        if right - left <= room[0] and bottom - top <= room[1] and points <= LARGEST * height:
            break
    image = Image.new("L", (width, height), GREY)
    corner = (round((width - (right - left)) / 2) - left, round((height - (bottom - top)) / 2) - top)
    ImageDraw.Draw(image).text(corner, text, 0, load(font, points))
    return np.repeat(np.asarray(image)[..., None], 3, axis=2)
