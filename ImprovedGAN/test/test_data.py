"""Every form of a data set: round trips, known answers, and every refusal with its words."""

import dataclasses
import gzip
import re
import struct
from pathlib import Path

import data
import formats
import numpy as np
import pictures
import pytest
import sample_data
from PIL import Image

from common import cli
from common.cli import UserError


def toy(shape=(6, 6, 1), train=12, test=6, classes=3, unlabelled=0, seed=0):
    """A small random data set; every class is in both splits."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (train + test,) + shape).astype(np.uint8)
    labels = (np.arange(train + test) % classes).astype(np.int32)
    labels[train - unlabelled : train] = -1
    names = [f"class {number}" for number in range(classes)]
    return data.Data(images[:train], labels[:train], images[train:], labels[train:], names, "toy")


def same(one, other):
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        left, right = getattr(one, field), getattr(other, field)
        assert left.dtype == right.dtype == (np.uint8 if "images" in field else np.int32)
        np.testing.assert_array_equal(left, right)


def write_idx(path, array):
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def idx_set(folder, suffix="", mark="-", toy_set=None):
    """Writes the four files of a small MNIST."""
    made = toy_set or toy()
    folder.mkdir(parents=True, exist_ok=True)
    for split, images, labels in (
        ("train", made.train_images, made.train_labels),
        ("t10k", made.test_images, made.test_labels),
    ):
        write_idx(folder / f"{split}-images{mark}idx3-ubyte{suffix}", images[..., 0])
        write_idx(folder / f"{split}-labels{mark}idx1-ubyte{suffix}", labels.astype(np.uint8))
    return made


def save_pictures(folder, count, size=(6, 5), colour=None, mode="L", suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new(mode, size, colour or index).save(folder / f"{index:02d}{suffix}")


def refused(call, *words):
    """The call is refused in one or two lines that hold the words, with exit status 2."""
    with pytest.raises(UserError) as caught:
        call()
    text = str(caught.value)
    assert len(text.splitlines()) <= 2 and len(text) < 500, text
    for word in words:
        assert str(word) in text, text
    assert cli.call(call) == 2


# round trips and known answers


@pytest.mark.parametrize("shape", [(6, 6, 1), (5, 7, 3)])
@pytest.mark.parametrize("form", ["tfrecord", "hdf5"])
def test_round_trip(tmp_path, form, shape):
    made = toy(shape, unlabelled=3)
    data.save(made, tmp_path / "toy", form)
    read = data.load(tmp_path / "toy")
    same(made, read)
    assert (read.class_names, read.name) == (made.class_names, "toy")
    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == sorted(
        ["classes.txt", *data.FILES[form]]
    )  # no .part stays
    assert "12 pictures to train on (3 unlabelled), 6 to test on" in str(read)


@pytest.mark.parametrize("suffix, mark", [("", "-"), (".gz", "-"), (".gz", ".")])
def test_idx(tmp_path, suffix, mark):
    made = idx_set(tmp_path / "mine", suffix, mark)
    read = data.load(tmp_path / "mine")
    same(made, read)
    assert read.class_names == ["0", "1", "2"]


def test_saving_overwrites_nothing(tmp_path):
    data.save(toy(), tmp_path)
    before = (tmp_path / "train.tfrecord").read_bytes()
    refused(lambda: data.save(toy(seed=1), tmp_path), tmp_path, "another data set", "nothing is overwritten")
    (tmp_path / "test.tfrecord").rename(tmp_path / "kept")
    refused(lambda: data.save(toy(seed=1), tmp_path), "but not test.tfrecord", "nothing is overwritten")
    assert (tmp_path / "train.tfrecord").read_bytes() == before
    (tmp_path / "file").write_text("")
    refused(lambda: data.save(toy(), tmp_path / "file" / "set"), "--output_path", "cannot be written")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "classes.txt").write_text("my own\nnames\n")
    refused(lambda: data.save(toy(), tmp_path / "other"), "another data set", "nothing is overwritten")
    assert (tmp_path / "other" / "classes.txt").read_text() == "my own\nnames\n"


def test_a_failed_save_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        Path(args[0]).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "write_tfrecord", full)
    refused(lambda: data.save(toy(), tmp_path), "No space left on device")
    assert not list(tmp_path.iterdir())


def write_examples(path, rows):
    """Writes records whose features are given as lists of bytes, ints or floats."""
    tf = formats.import_tensorflow()
    kinds = {bytes: ("bytes_list", "BytesList"), int: ("int64_list", "Int64List"), float: ("float_list", "FloatList")}

    def feature(values):
        field, kind = kinds[type(values[0])]
        return tf.train.Feature(**{field: getattr(tf.train, kind)(value=values)})

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            features = tf.train.Features(feature={key: feature(values) for key, values in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())


@pytest.mark.parametrize("number", [int, float])
def test_tfrecord_without_sides_and_one_hot(tmp_path, number):
    made = toy((4, 4, 3))
    one_hot = np.eye(3)
    for split, images, labels in (
        ("train", made.train_images, made.train_labels),
        ("test", made.test_images, made.test_labels),
    ):
        rows = [
            {"image": [image.tobytes()], "label": [number(value) for value in one_hot[label]], "id": [b"7"]}
            for image, label in zip(images, labels)
        ]
        write_examples(tmp_path / f"{split}.tfrecord", rows)
    read = data.load(tmp_path)
    same(made, read)
    assert read.class_names == ["0", "1", "2"]


def test_tfrecord_of_the_original(tmp_path):
    """Its pictures are floats from -1 to 1: value / 255 * 2 - 1."""
    made = toy((4, 4, 1))
    rows = [
        {"image": (image.ravel() / 255.0 * 2 - 1).tolist(), "label": np.eye(3)[label].tolist(), "id": [b"7"]}
        for image, label in zip(made.train_images, made.train_labels)
    ]
    write_examples(tmp_path / "train.tfrecord", rows)
    images, labels, classes = formats.read_tfrecord(tmp_path / "train.tfrecord")
    np.testing.assert_array_equal(images, made.train_images)
    np.testing.assert_array_equal(labels, made.train_labels)
    assert classes == 3


def original_hdf5(folder, ids, shape=(6, 6, 1), classes=2, order=None):
    """Writes data.hdf5 and id.txt as the original does; picture i holds the number i."""
    import h5py

    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "data.hdf5", "w") as file:
        for index, name in enumerate(ids):
            group = file.create_group(name)
            group["image"] = np.full(shape, index, np.uint8)
            group["label"] = np.eye(classes)[index % classes].astype(bool)
    (folder / "id.txt").write_text("".join(f"{name}\n" for name in (order or ids)))


def test_hdf5_of_the_original(tmp_path, capsys):
    """Ten ids, shuffled by RandomState(123) as the original does (worked out with it), 8 to train and 2 to test."""
    original_hdf5(tmp_path, [str(index) for index in range(10)], (6, 6))
    read = data.load(tmp_path)
    assert read.train_images.shape == (8, 6, 6, 1)
    assert read.train_images[:, 0, 0, 0].tolist() == [4, 0, 7, 5, 8, 3, 1, 6]
    assert read.test_images[:, 0, 0, 0].tolist() == [9, 2]
    assert read.test_labels.tolist() == [1, 0]
    assert "80 % (8) train and the rest (2) test" in capsys.readouterr().out


def test_hdf5_ids_that_name_their_split(tmp_path, capsys):
    original_hdf5(tmp_path, ["test_0", "train_0", "train_1", "test_1"])
    read = data.load(tmp_path)
    assert read.train_images[:, 0, 0, 0].tolist() == [1, 2]
    assert read.test_images[:, 0, 0, 0].tolist() == [0, 3]
    assert capsys.readouterr().out == ""


def test_class_folders_with_a_split(tmp_path):
    for name, colour in (("10", 200), ("9", 100)):
        save_pictures(tmp_path / "train" / name, 3, colour=colour)
        save_pictures(tmp_path / "test" / name, 2, colour=colour + 1, suffix=".bmp")
    save_pictures(tmp_path / "train" / "unlabelled", 4, colour=50)
    (tmp_path / "train" / "9" / "notes.txt").write_text("not a picture")
    read = data.load(tmp_path)
    assert read.class_names == ["9", "10"]  # as numbers
    assert read.train_images.shape == (10, 5, 6, 1) and read.test_images.shape == (4, 5, 6, 1)
    colours = {0: 100, 1: 200, -1: 50}
    for image, label in zip(read.train_images, read.train_labels):
        assert (image == colours[label]).all()
    for image, label in zip(read.test_images, read.test_labels):
        assert (image == colours[label] + 1).all()
    assert sorted(read.train_labels) == [-1] * 4 + [0] * 3 + [1] * 3


def test_class_folders_without_a_split(tmp_path, capsys):
    save_pictures(tmp_path / "cat", 20)
    save_pictures(tmp_path / "dog", 6)
    save_pictures(tmp_path / "unlabelled", 2)
    first, second = data.load(tmp_path), data.load(tmp_path)
    same(first, second)
    assert np.bincount(first.test_labels).tolist() == [2, 1]
    assert np.bincount(first.train_labels + 1).tolist() == [2, 18, 5]
    assert "a tenth of each class (3 of 26)" in capsys.readouterr().out
    cats = np.concatenate([first.train_images[first.train_labels == 0], first.test_images[first.test_labels == 0]])
    assert sorted(cats[:, 0, 0, 0]) == list(range(20))  # each picture once


def test_grey_and_colour_pictures_become_colour(tmp_path):
    save_pictures(tmp_path / "a", 2, colour=9)
    save_pictures(tmp_path / "b", 2, colour=(1, 2, 3), mode="RGB")
    read = data.load(tmp_path)
    assert read.train_images.shape[1:] == (5, 6, 3)
    assert read.train_images[read.train_labels == 0][0, 0, 0].tolist() == [9, 9, 9]
    assert read.train_images[read.train_labels == 1][0, 0, 0].tolist() == [1, 2, 3]


def test_image_size(tmp_path):
    """A wide picture keeps its middle: left and right thirds are cropped away."""
    wide = np.repeat(np.array([[0] * 8 + [200] * 8 + [0] * 8], np.uint8), 8, axis=0)
    for name in ("a", "b"):
        save_pictures(tmp_path / name, 2, colour=200)
        Image.fromarray(wide).save(tmp_path / name / "wide.png")
    refused(lambda: data.load(tmp_path), "wide.png", "8 x 24", "00.png is 5 x 6", "--image_size=N")
    read = data.load(tmp_path, image_size=4)
    assert read.train_images.shape == (4, 4, 4, 1) and (read.train_images == 200).all()
    idx_set(tmp_path / "mnist")
    assert data.load(tmp_path / "mnist", image_size=8).test_images.shape == (6, 8, 8, 1)
    assert data.load(tmp_path / "mnist", image_size=(4, 8)).train_images.shape == (12, 4, 8, 1)


# where the set is


@pytest.mark.parametrize("below", [".", "datasets", "datasets/datasets"])
def test_the_folder_above(tmp_path, below):
    made = idx_set(tmp_path / below / "MNIST")
    for path in {tmp_path, tmp_path / below, tmp_path / below / "MNIST"}:
        for name in (None, "MNIST", "mnist"):
            read = data.load(path, name)
            same(made, read)
            assert read.name == (name or "MNIST")


def test_several_sets(tmp_path):
    idx_set(tmp_path / "datasets" / "MNIST")
    data.save(toy((4, 4, 3)), tmp_path / "datasets" / "svhn")
    refused(lambda: data.load(tmp_path), "several data sets: MNIST, svhn", "--dataset")
    refused(lambda: data.load(tmp_path, "CIFAR10"), "--dataset=CIFAR10", "MNIST, svhn")
    refused(lambda: data.load(tmp_path / "datasets" / "MNIST", "SVHN"), "--dataset=SVHN", "another set")
    assert data.load(tmp_path, "SVHN").train_images.shape == (12, 4, 4, 3)
    assert data.load(str(tmp_path / "datasets"), "mnist").train_images.shape == (12, 6, 6, 1)


def test_no_set(tmp_path):
    refused(lambda: data.load(tmp_path / "none"), "--data_path", tmp_path / "none", "sample_data.py")
    refused(lambda: data.load(tmp_path), "no data set", tmp_path, "download.py")
    (tmp_path / "file").write_text("")
    refused(lambda: data.load(tmp_path / "file"), "there is no folder")


# damaged and hostile files


def test_damaged_idx(tmp_path):
    idx_set(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for content, word in (
        (whole[:-5], "fewer bytes"),
        (whole + b"x", "more bytes"),
        (whole[:9], "cut short|requires"),
        (b"", "first four bytes"),
        (b"\x89PNG" + whole[4:], "not an idx file"),
        (whole[:4] + struct.pack(">3I", 2**20, 2**20, 1) + whole[16:], "promises"),
        (whole[:4] + struct.pack(">3I", 2**10, 2**10, 2**10) + whole[16:], "fewer bytes"),
    ):
        path.write_bytes(content)
        refused(lambda: data.load(tmp_path), path)
        with pytest.raises(UserError, match=word):
            data.load(tmp_path)
    path.unlink()
    refused(lambda: data.load(tmp_path), "train-images-idx3-ubyte", "missing")


def test_damaged_gz(tmp_path):
    idx_set(tmp_path, ".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    wrong_sum = whole[:-8] + bytes(4) + whole[-4:]
    for content in (whole[:-12], whole[: len(whole) // 2], b"not gzip", wrong_sum, b""):
        path.write_bytes(content)
        refused(lambda: data.load(tmp_path), path)
    # 8 GB of zeros would fit into a few MB: the header's promise is compared with what the file can hold
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1000, 1000, 1000) + bytes(1000)))
    refused(lambda: data.load(tmp_path), path, "fewer bytes")


def test_idx_that_do_not_fit_each_other(tmp_path):
    idx_set(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(11, np.uint8))
    refused(lambda: data.load(tmp_path), "12 pictures", "11 labels")
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([0, 1, 2, 200] * 3, np.uint8))
    refused(lambda: data.load(tmp_path), "label 200", "out of range")
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([0, 1] * 6, np.uint8))
    refused(lambda: data.load(tmp_path), "label 2 of the test set is out of range for 2 classes")
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(12, np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(6, np.uint8))
    refused(lambda: data.load(tmp_path), "one class only")
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((6, 5, 5), np.uint8))
    refused(lambda: data.load(tmp_path), "(6, 6, 1)", "(5, 5, 1)")
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((0, 6, 6), np.uint8))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(0, np.uint8))
    refused(lambda: data.load(tmp_path), "no picture to test on")


def test_class_names_that_do_not_fit(tmp_path):
    idx_set(tmp_path)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    refused(lambda: data.load(tmp_path), "label 2", "out of range for 2 classes")
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\n")
    refused(lambda: data.load(tmp_path), "no labelled picture of class 3")
    (tmp_path / "classes.txt").write_text("a\nb\nb\n")
    refused(lambda: data.load(tmp_path), "classes.txt")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    refused(lambda: data.load(tmp_path), "classes.txt", "UTF-8")


def test_damaged_tfrecord(tmp_path):
    data.save(toy(), tmp_path)
    path = tmp_path / "train.tfrecord"
    whole = path.read_bytes()
    flipped = whole[:100] + bytes([whole[100] ^ 255]) + whole[101:]
    for content, word in (
        (whole[:-3], "cut short in record 11"),
        (whole[:5], "cut short in record 0"),
        (b"", "holds no record"),
        (b"not a TFRecord file at all", "not a TFRecord file"),
        (struct.pack("<Q", 2**40) + whole[8:], "cut short in record 0"),  # a length that leads out of the file
        (flipped, "damaged"),
    ):
        path.write_bytes(content)
        refused(lambda: data.load(tmp_path), path, word)
    path.unlink()
    refused(lambda: data.load(tmp_path), tmp_path, "train.tfrecord is missing")


GOOD = {"image": [bytes(16)], "label": [0], "height": [4], "width": [4], "channels": [1]}


@pytest.mark.parametrize(
    "rows, word",
    [
        ([{"label": [0]}], "lack image"),
        ([{"image": [bytes(16)]}], "lack image"),
        ([{"image": [bytes(16)], "label": [b"cat"]}], "lack image"),
        ([{"image": [bytes(16)], "label": [0]}, {"image": [bytes(15)], "label": [1]}], "picture 1 has 15 bytes"),
        ([{"image": [bytes(15)], "label": [0]}], "15 values are no square"),
        ([{**GOOD, "width": [5]}], "16 values cannot be 4 x 5 x 1"),
        ([{**GOOD, "width": [-4], "height": [-4]}], "cannot be"),
        ([GOOD, {**GOOD, "width": [2], "height": [8]}], "not all of the size of the first"),
        ([{**GOOD, "image": [bytes(16 * 4096)], "height": [1024], "width": [64]}, *[GOOD] * 99], "not all of the size"),
        ([GOOD, {"label": [0], "height": [4], "width": [4], "channels": [1]}], "damaged, or without"),
        ([{**GOOD, "label": [-2]}], "label -2 of picture 0"),
        ([GOOD, {**GOOD, "label": [2**40]}], "of picture 1 is not a class number"),
        ([{**GOOD, "label": [0.5]}], "label 0.5"),
        ([{**GOOD, "label": [float("nan")]}], "label nan"),
        ([{**GOOD, "label": [1, 1]}], "neither a class number nor one-hot"),
        ([{**GOOD, "label": [0, 2]}], "neither a class number nor one-hot"),
        ([{"image": [0.5] * 8 + [7.0] * 8, "label": [0]}], "leave the range"),
        ([{"image": [float("nan")] * 16, "label": [0]}], "leave the range"),
    ],
)
def test_records_that_are_refused(tmp_path, rows, word):
    write_examples(tmp_path / "train.tfrecord", rows)
    refused(lambda: formats.read_tfrecord(tmp_path / "train.tfrecord"), tmp_path / "train.tfrecord", word)


def test_a_record_that_is_no_example(tmp_path):
    tf = formats.import_tensorflow()
    with tf.io.TFRecordWriter(str(tmp_path / "train.tfrecord")) as writer:
        writer.write(b"\xff" * 40)
    refused(lambda: formats.read_tfrecord(tmp_path / "train.tfrecord"), "damaged, or without the features")


def test_labels_that_tfrecord_and_names_disagree_on(tmp_path):
    made = toy()
    data.save(made, tmp_path / "set")
    (tmp_path / "set" / "classes.txt").write_text("a\nb\n")
    refused(lambda: data.load(tmp_path / "set"), "label 2", "out of range")
    labels = made.test_labels.copy()
    labels[0] = -1
    data.save(dataclasses.replace(made, test_labels=labels), tmp_path / "t")
    refused(lambda: data.load(tmp_path / "t"), "test set has no label")
    data.save(toy((6, 6, 2)), tmp_path / "channels")
    refused(lambda: data.load(tmp_path / "channels"), "[h, w, 1 or 3]")


def test_damaged_hdf5(tmp_path):
    import h5py

    ids = [f"train_{index}" for index in range(20)] + [f"test_{index}" for index in range(4)]
    original_hdf5(tmp_path, ids)
    path = tmp_path / "data.hdf5"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-100], b"", b"no HDF5 at all"):
        path.write_bytes(content)
        refused(lambda: data.load(tmp_path), path, "cannot be read")
    path.write_bytes(whole)
    listings = (("train_0\nmissing\n", "'missing' of id.txt"), ("train_0\ntrain_0\n", "twice"), ("\n", "no id"))
    for lines, word in listings:
        (tmp_path / "id.txt").write_text(lines)
        refused(lambda: data.load(tmp_path), tmp_path, word)
    (tmp_path / "id.txt").unlink()
    refused(lambda: data.load(tmp_path), "id.txt", "cannot be read")
    (tmp_path / "id.txt").write_text("".join(f"{name}\n" for name in ids))
    for key, value, word in (
        ("image", np.zeros((6, 7, 1), np.uint8), "train_1 holds uint8 (6, 7, 1)"),
        ("image", np.zeros((6, 6, 1), np.float32), "train_1 holds float32"),
        ("label", np.ones(3, bool), "with a label bool (3,)"),
        ("label", np.ones(2, bool), "neither a class number nor one-hot"),
        ("label", np.array([b"a", b"b"]), "with a label |S1"),
        ("label", None, "train_1"),
    ):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            del file[f"train_1/{key}"]
            if value is not None:
                file[f"train_1/{key}"] = value
        refused(lambda: data.load(tmp_path), path, word)
    with h5py.File(path, "w") as file:  # a few bytes that promise a hundred terabytes
        file.create_dataset("train_0/image", (10**7, 10**7, 1), np.uint8, chunks=(64, 64, 1))
        file["train_0/label"] = np.ones(2, bool)
    refused(lambda: data.load(tmp_path), path, "cannot be read")


def test_damaged_pictures(tmp_path):
    for name in ("a", "b"):
        save_pictures(tmp_path / name, 3, size=(40, 40), suffix=".jpg")
    path = tmp_path / "b" / "01.jpg"
    path.write_bytes(path.read_bytes()[:200])
    refused(lambda: data.load(tmp_path), path, "no picture that can be decoded")


def test_class_folders_that_do_not_fit(tmp_path):
    for split in ("train", "test"):
        for name in ("a", "b"):
            save_pictures(tmp_path / split / name, 2)
    save_pictures(tmp_path / "test" / "c", 1)
    refused(lambda: data.load(tmp_path), "test/c has no fellow in train/")
    (tmp_path / "test" / "c").rename(tmp_path / "test" / "unlabelled")
    data.load(tmp_path)
    (tmp_path / "train" / "empty").mkdir()
    refused(lambda: data.load(tmp_path), tmp_path / "train" / "empty", "holds no picture")
    (tmp_path / "train" / "empty").rmdir()
    save_pictures(tmp_path / "train", 1)
    refused(lambda: data.load(tmp_path), "pictures of no class")
    save_pictures(tmp_path / "flat" / "a", 1)
    save_pictures(tmp_path / "flat" / "b", 2)
    refused(lambda: data.load(tmp_path / "flat"), tmp_path / "flat" / "a", "two pictures at least")


# the label budget


def test_choose_labels():
    labels = np.array([0, 1, 2, -1] * 50, np.int32)
    chosen = data.choose_labels(labels, 30, 7)
    assert chosen.dtype == np.int64 and chosen.shape == (30,) and len(set(chosen.tolist())) == 30
    assert np.bincount(labels[chosen]).tolist() == [10, 10, 10]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, data.choose_labels(labels, 30, 7))
    assert not np.array_equal(chosen, data.choose_labels(labels, 30, 8))
    assert set(data.choose_labels(labels, 9, 7)) <= set(chosen)
    assert len(data.choose_labels(labels, 150, 0)) == 150


def test_choose_labels_is_the_same_on_every_stack():
    """numpy's PCG64 drew these on numpy 1.19 and 2.4."""
    assert data.choose_labels(np.arange(40) % 4, 8, 1).tolist() == [1, 3, 5, 6, 14, 16, 31, 32]


def test_choose_labels_refuses():
    labels = np.array([0] * 5 + [1] * 9 + [-1] * 40)
    refused(lambda: data.choose_labels(labels, 7, 0), "--n_labels=7", "2 classes", "multiple of 2")
    refused(lambda: data.choose_labels(labels, 0, 0), "--n_labels=0")
    refused(lambda: data.choose_labels(labels, 12, 0), "--n_labels=12", "class 0 has 5", "at most 10")
    refused(lambda: data.choose_labels(np.full(4, -1), 2, 0), "--n_labels=2")


# sample data


def test_sample_data(tmp_path, capsys):
    folder = tmp_path / "a b"
    assert sample_data.main(["--output_path", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "1438 pictures to train on, 359 to test on, 28 x 28 x 1" in out
    assert re.search(r"Next:  python \S*train.py --data_path='.*a b'", out)
    assert sorted(path.name for path in folder.iterdir()) == ["classes.txt", *data.FILES["tfrecord"]]
    read = data.load(folder)
    assert read.train_images.shape == (1438, 28, 28, 1) and read.test_images.shape == (359, 28, 28, 1)
    assert read.class_names == [str(digit) for digit in range(10)]
    assert set(np.bincount(read.test_labels)) <= {35, 36, 37}  # a fifth of each class
    assert read.train_images.max() > 200 and read.train_images.min() == 0
    before = (folder / "train.tfrecord").read_bytes()
    assert sample_data.main(["--output_path", str(folder)]) == 0
    assert "nothing was done" in capsys.readouterr().out
    assert sample_data.main(["--output_path", str(folder), "--seed", "1"]) == 2
    assert "holds another data set" in capsys.readouterr().err
    assert (folder / "train.tfrecord").read_bytes() == before


def test_sample_data_refuses(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert sample_data.main(["--output_path", str(tmp_path)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert sample_data.main(["--output_path", str(tmp_path / "thesis.txt")]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(SystemExit) as caught:
        sample_data.main(["--output_path", str(tmp_path), "--size", "0"])
    assert caught.value.code == 2 and "--size" in capsys.readouterr().err


def test_sample_data_size(tmp_path):
    digits = sample_data.digits(16, 0)
    assert digits.train_images.shape == (1438, 16, 16, 1)
    again = sample_data.digits(16, 0)
    same(digits, again)
    assert not np.array_equal(sample_data.digits(16, 1).test_labels, digits.test_labels)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pictures_are_seen_on_white(tmp_path, mode):
    """A black stroke on nothing, in each of the modes that know nothing."""
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((1, 2), (0, 0, 0, 255))
    if mode == "P":
        picture = picture.quantize(4)
    picture.convert(mode).save(tmp_path / "stroke.png")
    pixels = pictures.read_picture(tmp_path / "stroke.png")
    assert pixels[2, 1].max() == 0 and pixels.sum() == 255 * (pixels.size - pixels.shape[2])
