"""prepare.py: images and captions become a set that data.py reads, and every refusal has its words."""

import data
import numpy as np
import prepare
import pytest
from conftest import call_main
from PIL import Image


def add(path, colour=(200, 30, 40), captions="a bird.\nit is red.\n", texts=None):
    text = (texts or path.parent) / f"{path.stem}.txt"
    for folder in (path.parent, text.parent):
        folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), colour).save(path)
    text.write_text(captions)


@pytest.fixture
def classes(tmp_path):
    """Four classes of five images."""
    for kind in range(4):
        for number in range(5):
            path = tmp_path / "in" / f"class {kind}" / f"{number}.jpg"
            add(path, (60 * kind, 99, 9), f"bird {kind} {number}\n\nso\n")
    return tmp_path


def names(folder):
    return data.Split(folder, False).filenames


def test_images_in_classes(capsys, classes):
    out = classes / "my set"
    status, said, _ = call_main(capsys, prepare.main, "--images", classes / "in", "--output_path", out, "--test=0.2")
    assert status == 0 and f"[Info] {out}: 16 images in train/, 4 images in test/\n" in said
    assert f"train_text_encoder.py '--data_path={out}'\nNext:" in said and f"train.py '--data_path={out}'\n" in said
    train, test = names(out / "train"), names(out / "test")
    assert sorted(train + test) == [f"class {kind}/{number}" for kind in range(4) for number in range(5)]
    assert len(set(data.Split(out / "train", False).classes)) == 4
    split = data.Split(out / "test", False)
    for name, lines, image in zip(split.filenames, split.captions, split.images(304)):
        assert lines == [f"bird {name[6]} {name[8]}", "so"]
        assert np.abs(image.astype(int) - [60 * int(name[6]), 99, 9]).max() <= 3


def test_images_without_classes_and_captions_elsewhere(capsys, tmp_path):
    for number in range(6):
        add(tmp_path / "photos" / f"{number}.png", texts=tmp_path / "texts")
    argv = ["--images", tmp_path / "photos", "--captions", tmp_path / "texts", "--output_path", tmp_path / "out"]
    assert call_main(capsys, prepare.main, *argv, "--test=0")[0] == 0
    split = data.Split(tmp_path / "out" / "train", False)
    assert split.classes.tolist() == list(range(6)) and not (tmp_path / "out" / "test").exists()


def test_what_is_held_out():
    """All of some classes, by the seed; or some of every class, never its last."""
    every = [f"{kind}/{number}" for kind in "abc" for number in range(2)]
    held = prepare.held_out(every, "classes", 0.34, 0)
    assert len(held) == 2 and len({name[0] for name in held}) == 1
    assert held == prepare.held_out(every, "classes", 0.34, 0)
    assert len(prepare.held_out(every, "classes", 0.9, 0)) == 4
    held = prepare.held_out(every, "images", 0.9, 0)
    assert {name[0] for name in every if name not in held} == {"a", "b", "c"}
    assert len(prepare.held_out(every, "images", 0.01, 0)) == 1


def test_refusals(capsys, classes):
    root, new = classes / "in", classes / "new"
    for path in ("twice/x.png", "twice/x.bmp", "one/x.png", "bad/a.png", "bad/b.png"):
        add(classes / path)
    (classes / "bad" / "b.txt").write_text("\n \n")
    for argv, words in [
        (["--images", classes / "no"], "0 images in the folder"),
        (["--images", root, "--captions", classes / "no"], "0.txt: there is no such file"),
        (["--images", classes / "twice"], "two images share the name x"),
        (["--images", classes / "one"], "1 images in the folder"),
        (["--images", classes / "bad"], "b.txt: holds no caption"),
        (["--images", root, "--output_path", root], "is not an empty folder"),
    ]:
        where = [] if "--output_path" in argv else ["--output_path", new]
        status, _, error = call_main(capsys, prepare.main, *argv, *where)
        assert status == 2 and error.startswith("[Error] ") and words in error, error
        assert not new.exists() or not any(new.iterdir())
