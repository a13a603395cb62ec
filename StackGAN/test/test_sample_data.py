"""Drawn birds: what is drawn is what is told, test/ shows pairs that train/ never does, and seeds fix all of it."""

import json

import data
import numpy as np
import pytest
import sample_data
from sample_data import COLOURS, HELD_OUT, Bird

from common.cli import UserError

PLAIN = Bird("red", "blue", "white", "orange", "small", "sky")


def draw_set(folder, *flags):
    assert sample_data.main([f"--output_path={folder}", "--train=10", "--test=4", "--classes=5", *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    return draw_set(tmp_path_factory.mktemp("drawn") / "birds", "--test_classes=2")


def test_what_is_written(birds, capsys):
    for part, count, classes in (("train", 10, 5), ("test", 4, 2)):
        split = data.load(birds / part)
        assert len(split) == count and len(set(split.classes)) == classes
        assert split.embeddings.shape == (count, 10, 1024) and split.images(76).shape == (count, 76, 76, 3)
        assert all(len(set(lines)) == 10 for lines in split.captions)
        assert data.embeddings_made_by(birds / part) == "attributes"
        shown = sample_data.read_attributes(split)
        for name, bird, lines in zip(split.filenames, shown, split.captions):
            assert name.startswith(f"{bird['body']}_body_{bird['wing']}_wings_{bird['belly']}_belly/")
            words = sample_data.WORDS.get(bird["body"], [bird["body"]])
            assert all(any(word in line for word in words) for line in lines)  # every sentence tells the body's colour
        np.testing.assert_array_equal(
            sample_data.wanted_colours(split), [list(COLOURS).index(bird["body"]) for bird in shown]
        )
    (birds / "test" / "attributes.json").rename(birds / "aside")
    assert sample_data.wanted_colours(data.load(birds / "test")) is None
    (birds / "aside").rename(birds / "test" / "attributes.json")


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
    again = draw_set(tmp_path / "again", "--test_classes=2")
    for path in sorted((birds / "train").rglob("*.*")):
        if path.suffix != ".npy" and path.name != data.PREPARED:
            assert path.read_bytes() == (again / path.relative_to(birds)).read_bytes(), path
    other = sample_data.draw(PLAIN, np.random.default_rng(1))
    assert (
        np.abs(np.asarray(other, int) - np.asarray(sample_data.draw(PLAIN, np.random.default_rng(2)), int)).mean() > 5
    )


def test_sentences_vary_and_tell_the_truth():
    texts, told = zip(*(sample_data.sentences(np.random.default_rng(seed), PLAIN) for seed in range(20)))
    flat, keys = sum(texts, []), sum(told, [])
    assert len(set(flat)) > 100 and all("body" in named for named in keys)
    for text, named in zip(flat, keys):
        assert not {"{", "}"} & set(text) and text[-1] == "."
        for word in ("yellow", "green ", "purple", "sand", "large", "big"):
            assert word not in text
        assert ("blue" in text) == ("wing" in named or "blue sky" in text)
        assert any(word in text for word in ("white",)) == ("belly" in named)
    assert {"with blue wings" in text for text in flat} == {True, False}


def test_attribute_embeddings():
    shown = [{"body": "red", "wing": wing, "told": [["body", "wing"], ["body"]]} for wing in ("blue", "green")]
    one, two = sample_data.attribute_embeddings(shown)
    np.testing.assert_array_equal(one[1], two[1])  # of both it is told that they are red
    assert np.abs(one[0] - two[0]).mean() > 0.1 and one.dtype == np.float32 and one.shape == (2, 1024)


def test_refusals(birds, tmp_path, capsys):
    assert sample_data.main([f"--output_path={birds}"]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    for flag, words in (
        ("--train=1", "at least 2"),
        ("--test_classes=65", "at most 64"),
        ("--colour=red", "unknown flag"),
    ):
        with pytest.raises(SystemExit) as error:
            sample_data.main([f"--output_path={tmp_path / 'x'}", flag])
        assert error.value.code == 2 and words in capsys.readouterr().err
    folder = draw_set(tmp_path / "broken", "--test_classes=2") / "train"
    split = data.load(folder)
    for content in ("{", "[]", json.dumps(dict.fromkeys(split.filenames, {"body": "pink"}))):
        (folder / "attributes.json").write_text(content)
        with pytest.raises(UserError, match="attributes.json: is not what sample_data.py wrote"):
            sample_data.read_attributes(split)
