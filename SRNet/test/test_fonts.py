"""fonts.py: which font has which characters, and the standard image of a text."""

from pathlib import Path

import fonts
import matplotlib
import numpy as np
import pytest

from common.cli import UserError


def installed(name):
    return next(path for path in fonts.font_files() if path.name == name)


def test_the_installed_fonts_are_text_fonts():
    files = fonts.font_files()
    assert files == sorted(files) and len(files) >= 15 and installed(fonts.STANDARD) in files
    assert not any(fonts.lacking(path, "Typed0123") for path in files)
    # Those of formulas, and one that has a box for each character of all scripts.
    assert not {path.name for path in files} & {"cmsy10.ttf", "cmex10.ttf", "LastResortHE-Regular.ttf"}


def test_fonts_of_a_folder_and_below_it(tmp_path):
    for name in ("b.ttf", "below/a.OTF", ".hidden.ttf", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert fonts.font_files(tmp_path) == [tmp_path / "b.ttf", tmp_path / "below" / "a.OTF"]
    assert fonts.font_files(tmp_path / "b.ttf") == [tmp_path / "b.ttf"]
    (tmp_path / "none").mkdir()
    for source in ("none", "x"):
        with pytest.raises(UserError, match=f"{source}: is no font, nor a folder with one"):
            fonts.font_files(tmp_path / source)


def test_what_a_font_lacks():
    sans, roman = installed("DejaVuSans.ttf"), installed("cmr10.ttf")
    assert not fonts.lacking(sans, "Größe Привет שלום مرحبا λόγος") and fonts.lacking(sans, "a漢字") == "漢"
    assert not fonts.lacking(roman, "Word") and fonts.lacking(roman, "Слово") == "С"
    assert fonts.lacking(roman, "|")  # TeX's code has a dash there
    assert not fonts.lacking(installed("STIXGeneralBol.ttf"), "e\u0301")  # joined to é
    assert not fonts.lacking(sans, "a\u2060b")  # a mark of formatting needs no glyph


def test_a_file_that_is_no_font_is_named(tmp_path):
    (tmp_path / "cut.ttf").write_bytes(installed("cmr10.ttf").read_bytes()[:700])
    (tmp_path / "folder.ttf").mkdir()
    for name in ("cut.ttf", "folder.ttf", "missing.ttf"):
        with pytest.raises(UserError) as error:
            fonts.characters(tmp_path / name)
        told = str(error.value)
        assert told.startswith(f"{tmp_path / name}: is no font that can be used (") and "\n" not in told


def test_the_standard_font(tmp_path, monkeypatch):
    sans, roman = installed("DejaVuSans.ttf"), installed("cmr10.ttf")
    assert fonts.standard_font("Слово") == sans and fonts.standard_font("Word", roman) == roman
    with pytest.raises(UserError) as error:
        fonts.standard_font("Ab漢字", roman)
    assert str(error.value).startswith(f"{roman} has no '漢' (U+6F22) of the text 'Ab漢字'; name another font")
    # Of this machine's own fonts the first that has them, plain ones first; what is broken is passed over.
    symbols = Path(matplotlib.get_data_path(), "fonts", "ttf", "STIXNonUni.ttf")
    serif, plain = tmp_path / "NotoSerifCJK-Regular.ttc", tmp_path / "NotoSansCJK-Regular.ttc"
    (tmp_path / "ASans.ttf").write_text("no font")
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: list(map(str, tmp_path.iterdir())))
    with pytest.raises(UserError, match="no font of this machine will do: DejaVuSans.ttf has no '漢' .*--font FILE"):
        fonts.standard_font("Ab漢字")
    special = "\ue001"  # of private use
    assert special in fonts.characters(symbols)
    for copy in (serif, plain):
        copy.write_bytes(symbols.read_bytes())
        assert fonts.standard_font(special) == copy


def extent(image):
    """top, bottom, left, right of what is darker than the ground, ends included."""
    rows, columns = np.nonzero(image[..., 0] < 100)
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize("text", ["gypsy", "a", "two  words", "internationalization"])
@pytest.mark.parametrize("size", [(64, 128), (48, 301)])
def test_the_standard_image_fills_its_borders(text, size):
    image = fonts.standard_image(text, installed("DejaVuSans.ttf"), size)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert (image == image[..., :1]).all() and image.max() == 127 and image.min() < 20
    top, bottom, left, right = extent(image)
    high, wide = bottom - top + 1, right - left + 1
    assert high <= 0.8 * size[0] and wide <= 0.8 * size[1]
    assert abs(top - (size[0] - 1 - bottom)) <= 2 and abs(left - (size[1] - 1 - right)) <= 4  # centred
    if text != "a":
        assert high >= 0.74 * size[0] or wide >= 0.74 * size[1]  # and no smaller than it has to be


def test_a_full_stop_stays_small_and_nothing_is_refused():
    top, bottom, left, right = extent(fonts.standard_image(".", installed("DejaVuSans.ttf"), (64, 128)))
    assert bottom - top < 20 and right - left < 20
    with pytest.raises(UserError, match="the text is empty"):
        fonts.standard_image(" \t\n", installed("DejaVuSans.ttf"), (64, 128))


def test_families():
    """A family is one whatever its files are called: DejaVuSansMono-Bold.ttf is of DejaVu as DejaVuSerif.ttf is."""
    dejavu = [path for path in fonts.font_files() if path.name.startswith("DejaVu")]
    assert len(dejavu) > 5 and {fonts.family(path) for path in dejavu} == {"dejavu"}
    assert fonts.family(dejavu[0].with_name("STIXGeneral.ttf")) == "stixgeneral"
