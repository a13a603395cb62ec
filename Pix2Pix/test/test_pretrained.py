"""The weights that ship, on label maps drawn here."""

import re

import numpy as np
import predict
import pytest
from data import FACADE_LABELS
from sample_data import SIZE, draw_pair

CARD = predict.HERE / "pretrained" / "MODEL_CARD.md"


def test_the_shipped_weights_give_the_figure_of_their_card():
    """A facade has a lighter wall and darker windows, where its label map has them."""
    translator, darker = predict.load_translator(predict.parse_args(["labels.png", "--device=cpu"])), []
    for seed in range(4):
        labels = np.asarray(draw_pair(np.random.default_rng(seed)))[:, SIZE:]
        grey = translator(labels).mean(-1)
        wall, window = (grey[(labels == FACADE_LABELS[name]).all(-1)].mean() for name in ("facade", "window"))
        darker.append(wall - window)
    told = re.search(r"windows are ([\d.]+) levels darker", CARD.read_text())
    assert np.mean(darker) == pytest.approx(float(told[1]), abs=2) and min(darker) > 10
