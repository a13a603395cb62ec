"""The weights that ship, on a few words drawn here."""

import re

import fonts
import matplotlib
import numpy as np
import ocr
import predict
import pytest
import skimage.data
from metrics import psnr
from PIL import Image, ImageDraw, ImageFont

from common.cli import UserError

CARD = predict.HERE / "pretrained" / "MODEL_CARD.md"
PAIRS = {"harbor": "window", "Station": "Orchard", "coffee": "garden", "MARKET": "BRIDGE"}  # old word: new word
COLOURS = ((250, 240, 200), (40, 200, 230), (240, 210, 60), (250, 250, 250))
BOLD = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf"


def written(word, colour, background, font=BOLD):
    """The word over nearly all of a background of 64 x 128, uint8."""
    font = ImageFont.truetype(str(font), 60)
    mask = Image.new("L", (600, 120))
    ImageDraw.Draw(mask).text((20, 10), word, 255, font)
    mask = mask.crop(mask.getbbox()).resize((116, 44), Image.BICUBIC)
    image = Image.fromarray(background)
    image.paste(colour, (6, 10), mask)
    return np.asarray(image)


def test_the_shipped_weights_give_the_figure_of_their_card():
    editor = predict.load_editor(None)
    photograph, figures, reader = skimage.data.coffee(), [], ocr.Reader() if ocr.installed() else None
    for number, ((old, new), colour) in enumerate(zip(PAIRS.items(), COLOURS)):
        background = photograph[64 * number : 64 * number + 64, :128]
        i_t = written(new, (0, 0, 0), np.full_like(background, 127))
        source, wanted = (written(word, colour, background) for word in (old, new))
        o_f = editor.edit(i_t, source)["o_f"]
        figures.append([psnr(image, wanted) for image in (o_f, source)])
        if reader is not None:  # a word that nobody can read is no result
            assert reader.read(o_f).lower() == new.lower()
    told = re.search(r"o_f ([\d.]+) dB \(source ([\d.]+) dB\)", CARD.read_text())
    assert np.mean(figures, 0) == pytest.approx([float(told[1]), float(told[2])], abs=0.2)
    assert float(told[1]) > float(told[2]) + 1


def test_a_chinese_word():
    try:
        font = fonts.standard_font("港口窗户")
    except UserError:
        pytest.skip("this machine has no font with Chinese")
    background = skimage.data.coffee()[:64, :128]
    i_t = written("窗户", (0, 0, 0), np.full_like(background, 127), font)
    source, wanted = (written(word, COLOURS[0], background, font) for word in ("港口", "窗户"))
    o_f = predict.load_editor(None).edit(i_t, source)["o_f"]
    assert psnr(o_f, wanted) > psnr(source, wanted) + 2
    if ocr.installed():
        assert ocr.Reader().read(o_f) == "窗户"
