"""The weights that ship, on a few sentences."""

import re

import numpy as np
import predict
import pytest
import text_encoder
from skimage.color import rgb2lab

CARD = predict.HERE / "pretrained" / "MODEL_CARD.md"
# A sentence, and what its images have more of than the others': of L, a (red) and b (yellow) in CIELAB.
SENTENCES = {
    "a red bird": (0, 1, 0),
    "a yellow bird": (0, 0, 1),
    "a black bird": (-1, 0, 0),
    "a white bird": (1, 0, 0),
    "a blue bird": (0, 0, -1),
}


def test_the_shipped_weights_give_the_figure_of_their_card():
    generator = predict.open_generator()
    encoder, colours = text_encoder.load(generator.folder / text_encoder.FILE), []
    for sentence in SENTENCES:
        (small, images), told = predict.sentence_images(generator, encoder, sentence, num=8)
        assert images.shape == (8, 256, 256, 3) and not told
        assert images.std(0).mean() > 10  # they are not one image
        shrunk = images.reshape(8, 64, 4, 64, 4, 3).mean((2, 4))
        assert 1 < np.abs(shrunk - small).mean() < 12  # stage II keeps to stage I, and is not the same
        colours.append(np.array([rgb2lab(image)[64:-64, 64:-64].mean((0, 1)) for image in images]))
    shares = []
    for number, direction in enumerate(SENTENCES.values()):
        own, *others = (colours[i] @ direction for i in sorted(range(len(SENTENCES)), key=lambda i: i != number))
        shares.append((own[:, None] > np.concatenate(others)).mean())
    told = float(re.search(r"([\d.]+) % \(chance: 50 %\)", CARD.read_text())[1])
    assert 100 * np.mean(shares) == pytest.approx(told, abs=2) and told > 60
