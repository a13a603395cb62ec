"""prepare.py: pictures and captions become a set that data.py reads, and every refusal has its words."""

import data
import numpy as np
import prepare
import pytest
from PIL import Image


def call(capsys, *argv):
    """The exit status, and what was said on stdout and stderr."""
    try:
        status = prepare.main([str(word) for word in argv])
    except SystemExit as error:
        status = error.code
    told = capsys.readouterr()
    return status, told.out, told.err


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
    """Four classes of five pictures."""
    for kind in range(4):
        for number in range(5):
            add(
                tmp_path / "in" / f"class {kind}" / f"{number}.jpg", (60 * kind, 99, 9), f"bird {kind} {number}\n\nso\n"
            )
    return tmp_path


def names(folder):
    return data.load(folder, None).filenames


def test_pictures_in_classes(capsys, classes):
    out = classes / "my set"
    status, said, _ = call(capsys, "--pictures", classes / "in", "--output_path", out, "--test=0.2")
    assert status == 0
    assert f"[Info] {out}: 16 pictures in train/, 4 pictures in test/\n" in said
    assert f"train_text_encoder.py '--data_path={out}'\nNext:" in said and f"train.py '--data_path={out}'\n" in said
    train, test = names(out / "train"), names(out / "test")
    assert sorted(train + test) == [f"class {kind}/{number}" for kind in range(4) for number in range(5)]
    assert len(set(data.load(out / "train", None).classes)) == 4
    split = data.load(out / "test", None)
    for name, lines, picture in zip(split.filenames, split.captions, split.pictures(304)):
        assert lines == [f"bird {name[6]} {name[8]}", "so"]
        assert np.abs(picture.astype(int) - [60 * int(name[6]), 99, 9]).max() <= 3
    assert Image.open(out / "train" / "images" / f"{train[0]}.png").size == (304, 304)
    status, said, _ = call(capsys, "--validate", out)
    assert status == 0 and "16 pictures of 4 classes, 32 captions, no embeddings yet" in said
    assert len(list((classes / "in").rglob("*.jpg"))) == 20


def test_whole_classes_are_held_out(capsys, classes):
    argv = ["--pictures", classes / "in", "--split=classes", "--test=0.25"]
    assert call(capsys, *argv, "--output_path", classes / "a")[0] == 0
    held = {name.split("/")[0] for name in names(classes / "a" / "test")}
    assert len(held) == 1 and len(names(classes / "a" / "test")) == 5
    assert held.isdisjoint(name.split("/")[0] for name in names(classes / "a" / "train"))
    assert call(capsys, *argv, "--output_path", classes / "b")[0] == 0
    assert names(classes / "b" / "test") == names(classes / "a" / "test")  # the seed's choice


def test_pictures_without_classes_and_captions_elsewhere(capsys, tmp_path):
    for number in range(6):
        add(tmp_path / "photos" / f"{number}.png", texts=tmp_path / "texts")
    argv = ["--pictures", tmp_path / "photos", "--captions", tmp_path / "texts", "--output_path", tmp_path / "out"]
    assert call(capsys, *argv, "--test=0")[0] == 0
    split = data.load(tmp_path / "out" / "train", None)
    assert split.classes.tolist() == list(range(6)) and not (tmp_path / "out" / "test").exists()


def test_a_class_is_never_left_without_pictures_to_train_on():
    every = [f"{kind}/{number}" for kind in "abc" for number in range(2)]
    held = prepare.held_out(every, "pictures", 0.9, 0)
    assert {name[0] for name in every if name not in held} == {"a", "b", "c"}
    assert len(prepare.held_out(every, "pictures", 0.01, 0)) == 1
    assert len(prepare.held_out(every, "classes", 0.9, 0)) == 4


def test_bad_files_are_all_named_and_nothing_is_written(capsys, classes):
    root, out = classes / "in", classes / "out"
    (root / "class 0" / "0.jpg").write_bytes(b"no picture")
    (root / "class 1" / "1.txt").write_text("\n \n")
    argv = ["--pictures", root, "--output_path", out]
    status, _, error = call(capsys, *argv)
    assert status == 2 and error.startswith("[Error] nothing was written, for what follows")
    assert "0.jpg: is no picture" in error and "1.txt: holds no caption" in error and list(out.iterdir()) == []
    (root / "class 2" / "2.txt").unlink()
    status, _, error = call(capsys, *argv)
    assert status == 2 and "2.jpg: there are no captions for it in" in error
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
        (["--pictures", root], "--output_path DIR is missing"),
        (["--pictures", root, "--validate", root], "give --pictures DIR --output_path DIR, or --validate DIR"),
        (["--pictures", classes / "no", *new], "there is no such folder"),
        (["--pictures", root, "--captions", classes / "no", *new], "--captions"),
        (["--pictures", classes / "empty", *new], "no picture in the folder or in its sub-folders"),
        (["--pictures", classes / "mixed", *new], "sub-folders are classes"),
        (["--pictures", classes / "twice", *new], "two pictures share the name x"),
        (["--pictures", classes / "one", *new], "1 pictures are left"),
        (["--pictures", root, "--output_path", root], "is not an empty folder"),
        (["--pictures", root, *new, "--test=1"], "is not a number, at least 0, at most 0.9"),
        (["--validate", root], "there is no train/ in it"),
    ]:
        status, _, error = call(capsys, *argv)
        assert status == 2 and error.startswith("[Error] ") and words in error, error


def test_validate_finds_what_is_broken(capsys, classes):
    out = classes / "out"
    assert call(capsys, "--pictures", classes / "in", "--output_path", out)[0] == 0
    file = next((out / "train" / "captions").rglob("*.txt"))
    file.unlink()
    status, _, error = call(capsys, "--validate", out)
    assert status == 2 and f"{file}: the captions of the picture" in error
