"""Drawn birds: what is drawn is what is told, test/ shows pairs that train/ never does, and seeds fix all of it."""

import json

import data
import numpy as np
import pytest
import sample_data
from sample_data import COLOURS, HELD_OUT

from common.cli import UserError

PLAIN = {"body": "red", "wing": "blue", "belly": "white", "beak": "orange", "size": "small", "place": "sky"}


def draw_set(folder):
    flags = [f"--output_path={folder}", "--train=10", "--test=4", "--classes=5", "--test_classes=2"]
    assert sample_data.main(flags) == 0
    return folder


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    return draw_set(tmp_path_factory.mktemp("drawn") / "birds")


def test_what_is_written(birds):
    for part, count, classes in (("train", 10, 5), ("test", 4, 2)):
        split = data.Split(birds / part)
        assert len(split) == count and len(set(split.classes)) == classes
        assert split.embeddings.shape == (count, 10, 1024) and split.images(76).shape == (count, 76, 76, 3)
        assert data.embeddings_made_by(birds / part) == data.BY_ATTRIBUTES
        shown, wanted = json.loads((birds / part / "attributes.json").read_text()), sample_data.wanted_colours(split)
        for name, lines, colour in zip(split.filenames, split.captions, wanted):
            bird = shown[name]
            assert name.startswith("{body}_body_{wing}_wings_{belly}_belly/".format(**bird))
            words = sample_data.WORDS.get(bird["body"], [bird["body"]])
            assert all(any(word in line for word in words) for line in lines)  # every sentence tells the body's colour
            assert len(set(lines)) == 10 and list(COLOURS)[colour] == bird["body"]


def test_held_out():
    """No pair of body and wings of test/ is in train/, either way round; each colour is in both, in each place."""
    rng = np.random.default_rng(0)
    train, test = (sample_data.choose_classes(rng, *given) for given in ((150, False), (30, True)))
    assert len(set(train)) == 150 and len(set(test)) == 30
    assert not {frozenset(kind[:2]) for kind in train} & {frozenset(kind[:2]) for kind in test}
    for classes in (train, test):
        for place in range(3):
            assert {kind[place] for kind in classes} == set(COLOURS)
    assert all(HELD_OUT[body] != body for body in COLOURS) and len(sample_data.choose_classes(rng, 448, False)) == 448


def test_the_seed_fixes_everything(birds, tmp_path):
    again = draw_set(tmp_path / "again")
    for path in sorted((birds / "train").rglob("*.*")):
        if path.suffix != ".npy" and path.name != data.PREPARED:
            assert path.read_bytes() == (again / path.relative_to(birds)).read_bytes(), path


def test_sentences_vary_and_tell_the_truth():
    texts, told = zip(*(sample_data.sentences(np.random.default_rng(seed), PLAIN) for seed in range(20)))
    flat, keys = sum(texts, []), sum(told, [])
    assert len(set(flat)) > 100 and all("body" in named for named in keys)
    for text, named in zip(flat, keys):
        assert not {"{", "}"} & set(text) and text[-1] == "."
        for word in ("yellow", "green ", "purple", "sand", "large", "big"):
            assert word not in text
        assert ("blue" in text) == ("wing" in named or "blue sky" in text)
        assert ("white" in text) == ("belly" in named)


def test_attribute_embeddings():
    told = [["body", "wing"], ["body"]]
    one, two = (sample_data.attribute_embeddings({"body": "red", "wing": wing}, told) for wing in ("blue", "green"))
    np.testing.assert_array_equal(one[1], two[1])  # of both it is told that they are red
    assert np.abs(one[0] - two[0]).mean() > 0.1 and one.dtype == np.float32 and one.shape == (2, 1024)


def test_refusals(birds, capsys):
    assert sample_data.main([f"--output_path={birds}"]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    split, path = data.Split(birds / "train"), birds / "train" / "attributes.json"
    for content in ("{", json.dumps(dict.fromkeys(split.filenames, {"body": "pink"}))):
        path.write_text(content)
        with pytest.raises(UserError, match="attributes.json: is not what sample_data.py wrote"):
            sample_data.wanted_colours(split)
    path.unlink()
    assert sample_data.wanted_colours(split) is None
