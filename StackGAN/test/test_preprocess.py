"""The originals' archives of birds and flowers become a set that data.py reads."""

import pickle
import subprocess
import sys

import data
import numpy as np
import pytest
from conftest import MODEL, call_main
from misc import preprocess
from PIL import Image, ImageDraw

NAMES = [f"00{n // 2 + 1}.{('Auk', 'Ani', 'Jay', 'Tit')[n // 2]}/Bird_{n}" for n in range(8)]


@pytest.fixture
def birds(tmp_path):
    """CUB in small: four classes of two images with a white bird on red, and captions."""
    root = tmp_path / "Data" / "birds"
    cub = root / "CUB_200_2011"
    for number, name in enumerate(NAMES):
        for path in (cub / "images" / name, root / "text_c10" / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (100, 80), (150, 60, 70))
        ImageDraw.Draw(image).rectangle((40, 30, 59, 39), "white")
        image.save(cub / "images" / f"{name}.jpg", quality=98, subsampling=0)
        (root / "text_c10" / f"{name}.txt").write_text(f"a white bird, {number}\n" * 10)
    (cub / "images.txt").write_text("".join(f"{n} {name}.jpg\n" for n, name in enumerate(NAMES, 1)))
    (cub / "bounding_boxes.txt").write_text("".join(f"{n} 40.0 30.0 20.0 10.0\n" for n in range(1, 9)))
    return root


def run(capsys, name, *flags):
    return call_main(capsys, lambda argv: preprocess.main(name, "", argv), *flags)


def page_split(root, **parts):
    """The split and embeddings of the archive, in an order of its own."""
    for part, names in parts.items():
        (root / part).mkdir()
        (root / part / "filenames.pickle").write_bytes(pickle.dumps(names, 0))
        embeddings = [np.full((10 + number % 2, 8), number, np.float32) for number in range(len(names))]
        (root / part / "char-CNN-RNN-embeddings.pickle").write_bytes(pickle.dumps(embeddings, 2))


def test_the_crop():
    """Half-size 0.75 x 20 = 15 around (50, 35); at the rim what there is."""
    assert preprocess.square((40, 30, 20, 10), 100, 80) == (35, 20, 65, 50)
    assert preprocess.square((0, 0, 40, 20), 100, 80) == (0, 0, 50, 40)


def test_the_pages_command(birds):
    """From the folder that holds Data/birds, with no flag, with the split that is there."""
    page_split(birds, train=NAMES[:1:-1], test=NAMES[:2])  # the train split backwards
    command = [sys.executable, str(MODEL / "misc" / "preprocess_birds.py")]
    done = subprocess.run(command, cwd=birds.parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 images in train/, 2 images in test/" in done.stdout and "train_text_encoder" not in done.stdout
    split = data.Split(birds / "train")
    assert split.filenames == NAMES[2:] and split.classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert split.embeddings.shape == (6, 10, 8) and split.embeddings[:, 0, 0].tolist() == [5, 4, 3, 2, 1, 0]
    assert split.captions[0] == ["a white bird, 2"] * 10
    for size in (76, 304):
        assert (birds / "train" / f"{size}images.npy").is_file()
        image = split.images(size)[5].astype(int)  # the bird is 2/3 of the square's width and 1/3 of its height
        assert np.abs(image[size // 2, size // 2] - 255).max() < 12
        assert abs((image.min(2) > 200).mean() - 2 / 9) < 0.02
        assert np.abs(image[size // 20, size // 20] - [150, 60, 70]).max() < 6


def test_without_a_split_classes_are_held_out(capsys, birds, tmp_path):
    out = tmp_path / "out"
    status, said, _ = run(capsys, "birds", "--data_path", birds, "--output_path", out)
    assert status == 0 and "6 images in train/, 2 images in test/" in said and "train_text_encoder.py" in said
    kinds = [{name.split("/")[0] for name in data.Split(out / part, False).filenames} for part in ("train", "test")]
    assert not kinds[0] & kinds[1] and len(kinds[1]) == 1 and not (birds / "train").exists()


def test_nothing_held_out(capsys, birds, tmp_path):
    status, said, _ = run(capsys, "birds", "--data_path", birds, "--output_path", tmp_path / "out", "--test=0")
    assert status == 0 and "8 images in train/\n" in said and not (tmp_path / "out" / "test").exists()


def test_flowers(capsys, tmp_path):
    """Their classes are those of the captions' folders."""
    root = tmp_path / "flowers"
    for number in range(1, 5):
        text = root / "text_c10" / f"class_0000{number % 2}" / f"image_0000{number}.txt"
        for path in (root / "jpg" / f"image_0000{number}.jpg", text):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (50 * number, 9, 9)).save(root / "jpg" / f"image_0000{number}.jpg")
        text.write_text("a flower\n")
    assert run(capsys, "flowers", "--data_path", root, "--output_path", tmp_path / "a")[0] == 0
    split = data.Split(tmp_path / "a" / "train", False)
    assert len({name.split("/")[0] for name in split.filenames}) == 1 and split.images(76).shape == (2, 76, 76, 3)
    page_split(root, train=["jpg/image_00002", "jpg/image_00003"], test=["jpg/image_00001"])
    assert run(capsys, "flowers", "--data_path", root)[0] == 0
    split = data.Split(root / "train")
    assert split.filenames == ["class_00000/image_00002", "class_00001/image_00003"]
    assert split.classes.tolist() == [0, 1] and split.captions == [["a flower"]] * 2
    assert np.abs(split.images(304)[:, 9, 9, 0].astype(int) - [100, 150]).max() <= 3


@pytest.mark.parametrize(
    "file, content, words",
    [
        ("CUB_200_2011/images.txt", None, "images.txt: there is no such file"),
        ("CUB_200_2011/images.txt", "1\n", "images.txt and bounding_boxes.txt do not fit"),
        ("CUB_200_2011/images.txt", "1 ../../secret.jpg\n", "'../../secret' is no name of an image"),
        ("CUB_200_2011/bounding_boxes.txt", "1 1 1 one 1\n", "do not fit"),
        ("CUB_200_2011/bounding_boxes.txt", "".join(f"{n} 900 1 9 9\n" for n in range(1, 9)), "is not in the image"),
        ("CUB_200_2011/bounding_boxes.txt", "".join(f"{n} nan 1 9 inf\n" for n in range(1, 9)), "is not in the image"),
        ("CUB_200_2011/images/001.Auk/Bird_0.jpg", "no", "Bird_0.jpg"),
        ("text_c10/002.Ani/Bird_2.txt", None, "Bird_2.txt: there is no such file"),
        ("test/filenames.pickle", pickle.dumps(["a"]), "train/filenames.pickle: is no file"),
    ],
)
def test_broken_downloads(capsys, birds, file, content, words):
    path = birds / file
    path.parent.mkdir(exist_ok=True)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, _, error = run(capsys, "birds", "--data_path", birds)
    assert status == 2 and words in error and not list(birds.glob("t*/images"))


@pytest.mark.parametrize("content", [["a"] * 6, [np.zeros((2, 3))] * 5])
def test_embeddings_of_no_use(capsys, birds, content):
    page_split(birds, train=NAMES[2:], test=NAMES[:2])
    (birds / "train" / "char-CNN-RNN-embeddings.pickle").write_bytes(pickle.dumps(content, 2))
    status, _, error = run(capsys, "birds", "--data_path", birds)
    assert status == 2 and "embeddings" in error and error.count("\n") == 1


def test_nothing_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, told in (("birds", "images.txt: there is no such file"), ("flowers", "unpack")):
        status, _, error = run(capsys, name)
        assert status == 2 and "Data/" in error and told in error
