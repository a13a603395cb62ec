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
    "a small red bird with a red breast and black wings": (0, 1, 0),
    "a yellow bird with a yellow breast and a yellow belly": (0, 0, 1),
    "this bird is black with black wings and a black bill": (-1, 0, 0),
    "a white bird with a white belly and a grey back": (1, 0, 0),
}


def test_the_shipped_weights_give_the_figure_of_their_card():
    generator = predict.open_generator()
    encoder, colours = text_encoder.load(generator.folder / text_encoder.FILE), []
    for sentence in SENTENCES:
        (images,), told = predict.sentence_images(generator, encoder, sentence, num=8)
        assert images.shape == (8, 64, 64, 3) and not told
        assert images.std(0).mean() > 10  # they are not one image
        colours.append(np.array([rgb2lab(image)[16:-16, 16:-16].mean((0, 1)) for image in images]))
    shares = []
    for number, direction in enumerate(SENTENCES.values()):
        own, *others = (colours[i] @ direction for i in sorted(range(4), key=lambda i: i != number))
        shares.append((own[:, None] > np.concatenate(others)).mean())
    told = float(re.search(r"([\d.]+) % \(chance: 50 %\)", CARD.read_text())[1])
    assert 100 * np.mean(shares) == pytest.approx(told, abs=2) and told > 60
