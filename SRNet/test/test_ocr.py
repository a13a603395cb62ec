"""ocr.py: what is read and where it is found, on words that are known; comparing words by hand."""

import fonts
import numpy as np
import ocr
import pytest
from PIL import Image

needs_it = pytest.mark.skipif(not ocr.installed(), reason=f"optional: {ocr.HOW_TO_GET_IT}")


def test_agreement_by_hand():
    assert ocr.agreement("He-llo", "hello") == {"word_accuracy": 1.0, "ned": 1.0}
    assert ocr.agreement("kitten", "sitting") == {"word_accuracy": 0.0, "ned": pytest.approx(1 - 3 / 7)}
    assert ocr.agreement("", "abc")["ned"] == 0 and ocr.agreement("", "")["ned"] == 1


def test_the_smallest_rectangle():
    """Of a tilted bar of 60 x 10 pixels: its sides, grown by area / perimeter times 1.6 all around, and its tilt."""
    angle = np.deg2rad(20)
    across, down = np.meshgrid(np.arange(61), np.arange(11))
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    corners = ocr.rectangle(np.stack([across.ravel(), down.ravel()], 1) @ turn)
    top, right = corners[1] - corners[0], corners[2] - corners[1]
    grown = 2 * 1.6 * 61 * 11 / (2 * (61 + 11))
    assert np.linalg.norm(top) == pytest.approx(61 + grown) and np.linalg.norm(right) == pytest.approx(11 + grown)
    assert np.arctan2(top[1], top[0]) == pytest.approx(angle)


@needs_it
def test_words_are_read_and_found():
    reader = ocr.Reader()
    image = fonts.standard_image("Nordic42", fonts.standard_font("N"), (64, 200))
    assert reader.read(image) == "Nordic42" and reader.read(np.full((64, 128, 3), 127, np.uint8)) == ""
    photo = Image.new("RGB", (400, 300), (127,) * 3)
    photo.paste(Image.fromarray(image), (150, 80))
    [(corners, text)] = reader.find(photo)
    assert text == "Nordic42"
    left, top, right, bottom = *corners.min(0), *corners.max(0)
    assert 150 <= left < 180 and 320 < right <= 355 and 70 <= top < 105 and 120 < bottom <= 150
    assert reader.find(Image.new("RGB", (90, 60))) == []
