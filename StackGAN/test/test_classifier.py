"""train_classifier.py: learns classes that colours tell, and does not believe a file."""

import json

import h5py
import numpy as np
import pytest
import train_classifier
from PIL import Image

from common.cli import UserError
from common.testing import call_main

COLOURS = {"red": (220, 40, 30), "blue": (30, 60, 210)}


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Noisy pictures of two classes, ten of each to train on; one class alone is in test/, and a third."""
    folder, rng = tmp_path_factory.mktemp("birds"), np.random.default_rng(0)

    def write(part, name, colour, count):
        (folder / part / "images" / name).mkdir(parents=True)
        for number in range(count):
            picture = np.clip(np.array(colour) + rng.integers(-30, 31, (76, 76, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / part / "images" / name / f"{number}.png")

    for name, colour in COLOURS.items():
        write("train", name, colour, 10)
    write("test", "blue", COLOURS["blue"], 5)
    write("test", "grey", (120, 120, 120), 5)
    return folder


@pytest.fixture(scope="module")
def classifier(birds):
    return train_classifier.build_classifier(3, width=2)


def test_pictures_and_what_is_held_out(birds):
    images, labels, classes = train_classifier.labelled_pictures(str(birds))
    assert classes == ["blue", "grey", "red"] and images.shape == (30, 76, 76, 3)
    assert np.bincount(labels).tolist() == [15, 5, 10]
    aside = train_classifier.held_out(labels)
    assert np.bincount(labels[aside]).tolist() == [3, 1, 2]


def test_the_command(capsys, birds):
    flags = ["--data_path", birds, "--train_steps=40", "--width=2", "--seed=1"]
    status, said, _ = call_main(capsys, train_classifier.main, *flags)
    assert status == 0 and "24 pictures of 3 classes, 6 held out" in said
    right = float(said.split("accuracy on held-out pictures: ")[1].split()[0])
    assert right == 1 and "the commonest class alone: 0.5000" in said
    model = train_classifier.load(str(birds / "classifier.h5"))
    images, labels, _ = train_classifier.labelled_pictures(str(birds))
    assert train_classifier.accuracy(model, images, labels) == 1
    status, said, _ = call_main(capsys, train_classifier.main, *flags, "--train_steps=1")
    assert status == 0 and str(birds / "classifier-2.h5") in said  # the first one stays


def test_bad_files(tmp_path, classifier):
    def refused(reason, path):
        with pytest.raises(UserError) as error:
            train_classifier.load(str(path))
        text = str(error.value)
        assert reason in text and str(path) in text and "train_classifier.py" in text and "\n" not in text

    refused("there is no such file", tmp_path / "none.h5")
    good = tmp_path / "good.h5"
    about = {"classes": ["a", "b", "c"], "width": 2}
    train_classifier.save(good, classifier, about)
    train_classifier.load(str(good))
    whole = good.read_bytes()
    for number, content in enumerate((whole[: len(whole) // 2], b"", b"no HDF5 at all" * 99)):
        (tmp_path / f"{number}.h5").write_bytes(content)
        refused("damaged", tmp_path / f"{number}.h5")

    def changed(name, change):
        (tmp_path / name).write_bytes(whole)
        with h5py.File(str(tmp_path / name), "r+") as file:
            change(file)
        return tmp_path / name

    def told(**values):
        def change(file):
            del file["about"]
            file["about"] = json.dumps({**about, **values})

        return change

    for number, values in enumerate(({"classes": 3}, {"width": 10**9}, {"width": True}, {"classes": ["a"] * 10**5})):
        refused("do not fit", changed(f"about_{number}.h5", told(**values)))

    def not_a_number(file):
        file["norm_1"]["0"][0] = np.nan

    refused("not finite", changed("nan.h5", not_a_number))

    def other_shape(file):
        del file["conv_2"]["0"]
        file["conv_2"]["0"] = np.zeros((4, 4, 4, 9), np.float32)

    refused("not the weights of a classifier", changed("shape.h5", other_shape))


def test_bad_data(capsys, tmp_path, birds):
    def refused(reason, *flags):
        status, _, error = call_main(capsys, train_classifier.main, "--data_path", tmp_path, *flags)
        assert status == 2 and reason in error and error.count("\n") <= 2

    refused("there is no folder train")
    for part in ("train", "test"):
        (tmp_path / part / "images" / "one").mkdir(parents=True)
        Image.new("RGB", (76, 76)).save(tmp_path / part / "images" / "one" / "a.png")
    refused("one class")
    with pytest.raises(SystemExit) as exit_:
        train_classifier.main(["--data_path", str(birds), "--width=0"])
    assert exit_.value.code == 2
