"""Sentences made of what captions name, and their embeddings."""

import numpy as np
import pytest
from short_sentences import FEWEST, ShortSentences, article, named


@pytest.mark.parametrize(
    "caption, whole, found",
    [
        (
            "this small bird is blue and has a long grey bill, black legs and a blue crown.",
            "bird",
            {"bird": ["small", "blue"], "bill": ["long", "grey"], "legs": ["black"], "crown": ["blue"]},
        ),
        ("A flower", "flower", {"flower": []}),
        ("the black footed albatross with a crest", "albatross", {"albatross": ["black", "footed"]}),
        ("a big bird in the sky with black wings", "bird", {"bird": ["big"], "wings": ["black"]}),
        ("is", "", {}),
        ("", "", {}),
    ],
)
def test_what_a_caption_names(caption, whole, found):
    noun, names = named(caption)
    assert noun == whole and {key: names[key] for key in found} == found


def test_articles():
    assert [article(x.split()) for x in ("red bird", "orange bill", "black wings")] == [
        "a red bird",
        "an orange bill",
        "black wings",
    ]


@pytest.fixture
def short():
    """Captions of two colours and two parts, embedded as what they name; and one that is by itself."""
    captions, rows = [], []
    for number in range(4 * FEWEST):
        colour, part = number % 2, number // 2 % 2
        captions.append(f"a {['red', 'blue'][colour]} bird with a {['long', 'short'][part]} tail")
        rows.append([2.0 * colour, 2.0 * part, number % 3])
    captions.append("a green bird with a pink tail")
    return ShortSentences(captions, np.array([*rows, [9, 9, 9]], np.float32))


def test_an_embedding_is_the_mean_of_captions_that_name_as_much(short):
    rng, seen = np.random.default_rng(0), set()
    for sentence, embedding in zip(*short.batch(rng, 400)):
        seen.add(sentence.strip("."))
        assert np.sqrt(np.mean(embedding**2)) == pytest.approx(short.length, rel=1e-4)
        wanted = np.array([0.0, 0.0, 0.0])
        rows = [
            row
            for row in range(4 * FEWEST)
            if all(
                word not in sentence or held
                for word, held in (
                    ("red", row % 2 == 0),
                    ("blue", row % 2 == 1),
                    ("long", row // 2 % 2 == 0),
                    ("short", row // 2 % 2 == 1),
                )
            )
        ]
        wanted = short.embeddings[rows].mean(0)
        np.testing.assert_allclose(embedding / np.linalg.norm(embedding), wanted / np.linalg.norm(wanted), atol=1e-5)
    assert {
        "a red bird",
        "blue bird",
        "the bird is red",
        "this bird has a long tail",
        "a blue bird with a short tail",
    } <= seen
    assert not any("green" in sentence or "pink" in sentence for sentence in seen)


def test_no_more_is_drawn_than_asked_for(short, monkeypatch):
    draws, draw = [], short.draw
    monkeypatch.setattr(short, "draw", lambda rng: draws.append(draw(rng)) or draws[-1])
    assert len(short.batch(np.random.default_rng(0), 10)[0]) == 10 == sum(pair is not None for pair in draws)


def test_captions_without_anything_in_common():
    short = ShortSentences([f"a {word} bird" for word in ("red", "blue", "green")], np.eye(3, dtype=np.float32))
    sentences, embeddings = short.batch(np.random.default_rng(0), 4)
    assert sentences == [] and embeddings.shape == (0, 3)
    nothing = ShortSentences(["1 2", "3"], np.eye(2, dtype=np.float32))  # no word at all
    assert nothing.batch(np.random.default_rng(0), 4)[0] == []
