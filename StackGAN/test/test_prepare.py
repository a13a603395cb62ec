"""prepare.py: images and captions become a set that data.py reads, and every refusal has its words."""

import data
import numpy as np
import prepare
import pytest
from conftest import call_main
from PIL import Image


def call(capsys, *argv):
    """The exit status, and what was said on stdout and stderr."""
    return call_main(capsys, prepare.main, *argv)


def add(path, colour=(200, 30, 40), captions="a bird.\nit is red.\n", size=(40, 30), texts=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    if captions is not None:
        text = (texts or path.parent) / f"{path.stem}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(captions)
    return path


@pytest.fixture
def classes(tmp_path):
    """Four classes of five images."""
    for kind in range(4):
        for number in range(5):
            add(
                tmp_path / "in" / f"class {kind}" / f"{number}.jpg", (60 * kind, 99, 9), f"bird {kind} {number}\n\nso\n"
            )
    return tmp_path


def names(folder):
    return data.load(folder, False).filenames


def test_images_in_classes(capsys, classes):
    out = classes / "my set"
    status, said, _ = call(capsys, "--images", classes / "in", "--output_path", out, "--test=0.2")
    assert status == 0
    assert f"[Info] {out}: 16 images in train/, 4 images in test/\n" in said
    assert f"train_text_encoder.py '--data_path={out}'\nNext:" in said and f"train.py '--data_path={out}'\n" in said
    train, test = names(out / "train"), names(out / "test")
    assert sorted(train + test) == [f"class {kind}/{number}" for kind in range(4) for number in range(5)]
    assert len(set(data.load(out / "train", False).classes)) == 4
    split = data.load(out / "test", False)
    for name, lines, image in zip(split.filenames, split.captions, split.images(304)):
        assert lines == [f"bird {name[6]} {name[8]}", "so"]
        assert np.abs(image.astype(int) - [60 * int(name[6]), 99, 9]).max() <= 3
    assert Image.open(out / "train" / "images" / f"{train[0]}.png").size == (304, 304)
    assert len(list((classes / "in").rglob("*.jpg"))) == 20


def test_whole_classes_are_held_out(capsys, classes):
    argv = ["--images", classes / "in", "--split=classes", "--test=0.25"]
    assert call(capsys, *argv, "--output_path", classes / "a")[0] == 0
    held = {name.split("/")[0] for name in names(classes / "a" / "test")}
    assert len(held) == 1 and len(names(classes / "a" / "test")) == 5
    assert held.isdisjoint(name.split("/")[0] for name in names(classes / "a" / "train"))
    assert call(capsys, *argv, "--output_path", classes / "b")[0] == 0
    assert names(classes / "b" / "test") == names(classes / "a" / "test")  # the seed's choice


def test_images_without_classes_and_captions_elsewhere(capsys, tmp_path):
    for number in range(6):
        add(tmp_path / "photos" / f"{number}.png", texts=tmp_path / "texts")
    argv = ["--images", tmp_path / "photos", "--captions", tmp_path / "texts", "--output_path", tmp_path / "out"]
    assert call(capsys, *argv, "--test=0")[0] == 0
    split = data.load(tmp_path / "out" / "train", False)
    assert split.classes.tolist() == list(range(6)) and not (tmp_path / "out" / "test").exists()


def test_a_class_is_never_left_without_images_to_train_on():
    every = [f"{kind}/{number}" for kind in "abc" for number in range(2)]
    held = prepare.held_out(every, "images", 0.9, 0)
    assert {name[0] for name in every if name not in held} == {"a", "b", "c"}
    assert len(prepare.held_out(every, "images", 0.01, 0)) == 1
    assert len(prepare.held_out(every, "classes", 0.9, 0)) == 4


def test_bad_files_are_all_named_and_nothing_is_written(capsys, classes):
    root, out = classes / "in", classes / "out"
    (root / "class 0" / "0.jpg").write_bytes(b"no image")
    (root / "class 1" / "1.txt").write_text("\n \n")
    argv = ["--images", root, "--output_path", out]
    status, _, error = call(capsys, *argv)
    assert status == 2 and error.startswith("[Error] nothing was written, for what follows")
    assert "0.jpg" in error and "1.txt: holds no caption" in error and list(out.iterdir()) == []
    (root / "class 2" / "2.txt").unlink()
    status, _, error = call(capsys, *argv)
    assert status == 2 and "2.txt: cannot be read" in error
    status, said, error = call(capsys, *argv, "--skip_bad_files")
    assert status == 0 and "[Warning] 3 files were left out" in error and len(names(out / "train")) == 15


def test_refusals(capsys, classes):
    root, new = classes / "in", ["--output_path", classes / "new"]
    add(classes / "mixed" / "x.png")
    add(classes / "mixed" / "sub" / "x.png")
    add(classes / "twice" / "x.png")
    add(classes / "twice" / "x.bmp")
    add(classes / "one" / "x.png")
    (classes / "empty").mkdir()
    for argv, words in [
        (["--images", root], "the following arguments are required: --output_path"),
        (["--images", classes / "no", *new], "there is no such folder"),
        (["--images", root, "--captions", classes / "no", *new], "--captions"),
        (["--images", classes / "empty", *new], "no image in the folder or in its sub-folders"),
        (["--images", classes / "mixed", *new], "sub-folders are classes"),
        (["--images", classes / "twice", *new], "two images share the name x"),
        (["--images", classes / "one", *new], "1 images are left"),
        (["--images", root, "--output_path", root], "is not an empty folder"),
        (["--images", root, *new, "--test=1"], "is not a number, at least 0, at most 0.9"),
    ]:
        status, _, error = call(capsys, *argv)
        assert status == 2 and error.startswith("[Error] ") and words in error, error
