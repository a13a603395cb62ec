"""preprocess_birds.py and preprocess_flowers.py: the crop by hand, both splits, and what is wrong with a download."""

import pickle
import subprocess
import sys
from pathlib import Path

import data
import numpy as np
import pytest
from misc import pickles, preprocess, preprocess_birds, preprocess_flowers
from PIL import Image

CODE = Path(preprocess.__file__).parent
KINDS = ("001.Auk", "002.Ani", "003.Tern", "004.Wren")


@pytest.fixture
def birds(tmp_path):
    """CUB's layout: four classes of two pictures; a white bird of 20 x 10 on its class's colour."""
    root = tmp_path / "Data" / "birds"
    cub = root / "CUB_200_2011"
    images, boxes = [], []
    for number in range(8):
        name = f"{KINDS[number // 2]}/{KINDS[number // 2][4:]}_{number}"
        picture = Image.new("RGB", (100, 80), (50 * (number // 2), 60, 70))
        picture.paste((255, 255, 255), (40, 30, 60, 40))
        for path in (cub / "images" / f"{name}.jpg", root / "text_c10" / f"{name}.txt"):
            path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(cub / "images" / f"{name}.jpg", quality=98, subsampling=0)
        (root / "text_c10" / f"{name}.txt").write_text(f"a white bird, {number}\n" * 10)
        images.append(f"{number + 1} {name}.jpg\n")
        boxes.append(f"{number + 1} 40.0 30.0 20.0 10.0\n")
    (cub / "images.txt").write_text("".join(images))
    (cub / "bounding_boxes.txt").write_text("".join(boxes))
    return root


def call(capsys, module, *argv):
    try:
        status = module.main([str(word) for word in argv])
    except SystemExit as error:
        status = error.code
    told = capsys.readouterr()
    return status, told.out, told.err


def page_split(root, train, test):
    """The split that comes with the embeddings."""
    for part, names in (("train", train), ("test", test)):
        (root / part).mkdir()
        (root / part / "filenames.pickle").write_bytes(pickle.dumps(names, 0))
        (root / part / "class_info.pickle").write_bytes(pickle.dumps(list(range(1, len(names) + 1)), 0))
        embeddings = [np.zeros((10, 8), np.float32) for _ in names]
        (root / part / "char-CNN-RNN-embeddings.pickle").write_bytes(pickle.dumps(embeddings, 2))


def test_the_crop():
    """Half-side 0.75 x 20 = 15 around (50, 35); at the rim what there is."""
    assert preprocess_birds.square((40, 30, 20, 10), 100, 80) == (35, 20, 65, 50)
    assert preprocess_birds.square((0, 0, 40, 20), 100, 80) == (0, 0, 50, 40)
    assert preprocess_birds.square((70, 60, 30, 20), 100, 80) == (63, 48, 100, 80)
    for box in ((500, 500, 10, 10), (0, 0, 0, 0), (float("nan"), 0, 1, 1), (0, 0, 1e300, 1)):
        with pytest.raises(ValueError):
            preprocess_birds.square(box, 100, 80)


def test_pictures_keep_their_brightness():
    """Not 0..1 in integers, as the original's."""
    picture = Image.effect_noise((90, 50), 60).convert("RGB")
    made = preprocess.scaled(picture, (10, 10, 40, 40))
    assert made.dtype == np.uint8 and made.shape == (304, 304, 3)
    assert abs(made.mean() - np.asarray(picture)[10:40, 10:40].mean()) < 2 and made.max() > 150


def test_the_pages_command(birds):
    """From the folder that holds Data/birds, with no flag, with the split that is there."""
    names = data_names(birds)
    page_split(birds, names[2:], names[:2])
    command = [sys.executable, str(CODE / "preprocess_birds.py")]
    done = subprocess.run(command, cwd=birds.parent.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6 pictures in train/, 2 pictures in test/" in done.stdout and "train_text_encoder" not in done.stdout
    split = data.load(birds / "train")
    assert split.filenames == names[2:] and split.classes.tolist() == [1, 2, 3, 4, 5, 6]
    assert split.captions[0] == ["a white bird, 2"] * 10 and not (birds / "train" / "filenames.txt").exists()
    for side in (76, 304):
        picture = split.pictures(side)[5].astype(int)  # the bird is 2/3 of the square's width and 1/3 of its height
        assert np.abs(picture[side // 2, side // 2] - 255).max() < 12
        white = (picture.min(2) > 200).mean()
        assert abs(white - 2 / 9) < 0.02 and np.abs(picture[side // 20, side // 20] - [150, 60, 70]).max() < 6


def data_names(birds):
    lines = (birds / "CUB_200_2011" / "images.txt").read_text().split()
    return [line[:-4] for line in lines[1::2]]


def test_without_a_split_classes_are_held_out(capsys, birds, tmp_path):
    out = tmp_path / "out"
    status, said, _ = call(capsys, preprocess_birds, "--data_path", birds, "--output_path", out)
    assert status == 0 and "6 pictures in train/, 2 pictures in test/" in said and "train_text_encoder.py" in said
    train, test = (data.load(out / part, None) for part in ("train", "test"))
    kinds = [{name.split("/")[0] for name in split.filenames} for split in (train, test)]
    assert not kinds[0] & kinds[1] and len(kinds[1]) == 1
    assert train.classes.tolist() == [0, 0, 1, 1, 2, 2] and len(train.captions[0]) == 10
    assert not (birds / "train").exists()
    status, _, _ = call(
        capsys, preprocess_birds, "--data_path", birds, "--output_path", tmp_path / "two", "--split=pictures"
    )
    assert len({name.split("/")[0] for name in data.load(tmp_path / "two" / "train", None).filenames}) == 4


def test_the_originals_pickles_as_well(capsys, birds):
    assert call(capsys, preprocess_birds, "--data_path", birds, "--pickle")[0] == 0
    for part in ("train", "test"):
        folder = birds / part
        split = data.load(folder, None)
        for side in (76, 304):
            with open(folder / f"{side}images.pickle", "rb") as file:
                made = pickle.load(file, encoding="latin1")
            np.testing.assert_array_equal(made, split.pictures(side))
        assert pickles.load(folder / "filenames.pickle") == split.filenames
        assert len(pickles.load(folder / "class_info.pickle")) == len(split)
    before = (birds / "train" / "76images.npy").stat().st_mtime_ns
    data.load(birds / "train", None).pictures(76)
    assert (birds / "train" / "76images.npy").stat().st_mtime_ns == before  # the pickle was not read again


def test_flowers(capsys, tmp_path):
    root = tmp_path / "flowers"
    for number in range(1, 5):
        text = root / "text_c10" / f"class_0000{number % 2}" / f"image_0000{number}.txt"
        for path in (root / "jpg" / f"image_0000{number}.jpg", text):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40), (50 * number, 9, 9)).save(root / "jpg" / f"image_0000{number}.jpg")
        text.write_text("a flower\n")
    assert call(capsys, preprocess_flowers, "--data_path", root, "--output_path", tmp_path / "a")[0] == 0
    split = data.load(tmp_path / "a" / "train", None)
    assert len({name.split("/")[0] for name in split.filenames}) == 1 and split.pictures(76).shape == (2, 76, 76, 3)
    page_split(root, ["jpg/image_00002", "jpg/image_00003"], ["jpg/image_00001"])
    assert call(capsys, preprocess_flowers, "--data_path", root)[0] == 0
    split = data.load(root / "train")
    assert split.classes.tolist() == [1, 2] and split.captions == [["a flower"]] * 2
    assert np.abs(split.pictures(304)[:, 9, 9, 0].astype(int) - [100, 150]).max() <= 3
    (root / "jpg" / "image_00003.jpg").unlink()
    status, _, error = call(capsys, preprocess_flowers, "--data_path", root)
    assert status == 2 and "image_00003.jpg: is missing; unpack 102flowers.tgz" in error


@pytest.mark.parametrize(
    "file, content, words",
    [
        ("CUB_200_2011/images.txt", None, "images.txt: cannot be read"),
        ("CUB_200_2011/images.txt", "1\n", "images.txt, line 1: '1' is not a number and 1 more"),
        ("CUB_200_2011/images.txt", "1 ../../secret.jpg\n", "'../../secret' is no name of a picture"),
        ("CUB_200_2011/images.txt", "1 /etc/passwd.jpg\n", "is no name of a picture"),
        ("CUB_200_2011/bounding_boxes.txt", "1 1 1 1 1\n", "there is no box of picture 2"),
        ("CUB_200_2011/bounding_boxes.txt", "1 1 1 one 1\n", "the box of picture 1 is no four numbers"),
        ("CUB_200_2011/bounding_boxes.txt", "".join(f"{n} 900 1 9 9\n" for n in range(1, 9)), "is not in the picture"),
        ("CUB_200_2011/images/001.Auk/Auk_0.jpg", None, "Auk_0.jpg: is missing"),
        ("CUB_200_2011/images/001.Auk/Auk_0.jpg", "no", "Auk_0.jpg: is no picture"),
        ("text_c10/002.Ani/Ani_2.txt", None, "Ani_2.txt: the captions of the picture 002.Ani/Ani_2 are missing"),
        ("test/filenames.pickle", pickle.dumps(["a"]), "train/filenames.pickle: is missing"),
    ],
)
def test_broken_downloads(capsys, birds, file, content, words):
    path = birds / file
    path.parent.mkdir(exist_ok=True)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    status, _, error = call(capsys, preprocess_birds, "--data_path", birds)
    assert status == 2 and words in error
    assert not list(birds.rglob("*.npy")) or "picture" in words or "missing" in words


def test_nothing_there(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for module in (preprocess_birds, preprocess_flowers):
        status, _, error = call(capsys, module)
        assert status == 2 and "--data_path is missing, and there is neither Data/" in error
        status, _, error = call(capsys, module, "--data_path", tmp_path)
        assert status == 2 and "unpack" in error
