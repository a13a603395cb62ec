"""Sets of both forms: what is read, what is made once and kept, every refusal, and batches that are a function of the
step."""

import os
import pickle
import zipfile
from argparse import Namespace
from itertools import islice

import data
import numpy as np
import pytest
from conftest import write_set
from misc import pickles
from PIL import Image

from common.cli import UserError

NAMES = ["001.Auk/Auk_1", "001.Auk/Auk_2", "002.Ani/Ani_1", "002.Ani/Ani_2", "002.Ani/Ani_3"]


@pytest.fixture
def own(tmp_path):
    return write_set(tmp_path / "set", size=8) / "train"


@pytest.fixture
def page(tmp_path):
    """The original's form: pickles, as Python 2 wrote some of them, and captions in text_c10."""
    folder = tmp_path / "birds" / "train"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = "(lp0\n" + "".join(f"S'{name}'\np{number + 1}\na" for number, name in enumerate(NAMES)) + "."
    (folder / "filenames.pickle").write_text(lines)
    (folder / "class_info.pickle").write_bytes(pickle.dumps([1, 1, 2, 2, 2], 0))
    embeddings = [rng.normal(size=(10, 16)).astype(np.float32) for _ in NAMES]
    (folder / "char-CNN-RNN-embeddings.pickle").write_bytes(pickle.dumps(embeddings, 2))
    for side in (76, 304):
        made = [np.full((side, side, 3), 10 * number, np.uint8) for number in range(len(NAMES))]
        pickles.save_pictures(folder / f"{side}images.pickle", made)
    for name in NAMES:
        path = tmp_path / "birds" / "text_c10" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"a bird called {name}.\n\nit is  small.\n")
    return folder


def test_the_originals_pickles(page):
    split = data.load(page)
    assert len(split) == 5 and split.filenames == NAMES and split.classes.tolist() == [1, 1, 2, 2, 2]
    assert split.embeddings.shape == (5, 10, 16) and split.embeddings.dtype == np.float32
    np.testing.assert_array_equal(
        split.embeddings, pickle.loads((page / "char-CNN-RNN-embeddings.pickle").read_bytes())
    )
    assert split.captions[1] == ["a bird called 001.Auk/Auk_2.", "it is small."]
    for side in (76, 304):
        found = split.pictures(side)
        assert isinstance(found, np.memmap) and found.shape == (5, side, side, 3)
        assert found[:, 3, 3, 1].tolist() == [0, 10, 20, 30, 40]
    (page / "76images.pickle").unlink()  # the .npy alone is enough
    assert len(data.load(page).pictures(76)) == 5


def test_a_newer_pickle_is_read_again(page):
    data.load(page).pictures(76)
    pickles.save_pictures(page / "76images.pickle", [np.full((76, 76, 3), 9, np.uint8)] * 5)
    assert (data.load(page).pictures(76) == 9).all()


def test_flowers_captions_are_in_folders_of_their_own(page):
    (page / "filenames.pickle").write_bytes(pickle.dumps([f"jpg/{name.split('/')[1]}" for name in NAMES]))
    assert data.load(page).captions[4][0] == "a bird called 002.Ani/Ani_3."


def test_our_own_form(own):
    split = data.load(own)
    assert split.filenames == ["blue/02", "blue/05", "green/01", "green/04", "red/00", "red/03"]
    assert split.classes.tolist() == [0, 0, 1, 1, 2, 2] and split.embeddings.shape == (6, 3, 8)
    assert split.captions[4] == ["a red bird, number 0", "a red bird, number 1", "a red bird, number 2"]
    for side in (76, 304):
        found = split.pictures(side)
        assert found.shape == (6, side, side, 3) and found[4, 0, 0, 0] > 180 > found[0, 0, 0, 0]
    assert sorted(path.name for path in own.glob("*.np*")) == ["304images.npy", "76images.npy", "embeddings.npz"]


def test_pictures_are_made_once_and_again_when_they_change(own, monkeypatch):
    data.load(own).pictures(76)
    seen, decode = [], data.pictures.decode
    monkeypatch.setattr(data.pictures, "decode", lambda path: seen.append(path.name) or decode(path))
    data.load(own).pictures(76)
    assert seen == []
    Image.new("RGB", (50, 40), (1, 2, 3)).save(own / "images" / "blue" / "02.png")
    assert (data.load(own).pictures(76)[0] == [1, 2, 3]).all() and len(seen) == 6
    (own / "images" / "red" / "03.png").unlink()
    assert len(data.load(own, None).pictures(76)) == 5  # without embeddings, whose count no longer fits
    with pytest.raises(UserError, match="embeddings.npz: was made for other pictures"):
        data.load(own)


def test_a_folder_that_cannot_be_written_to(own, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    split = data.load(own)
    assert split.pictures(76).shape == (6, 76, 76, 3)
    assert data.load(own).pictures(76).filename == split.pictures(76).filename  # made once a run
    assert not list(own.glob("*.npy")) and "cannot be written to" in capsys.readouterr().err


def test_what_stops_half_way_leaves_nothing(tmp_path):
    def two():
        yield np.zeros((4, 4, 3), np.uint8)
        raise UserError("broken")

    with pytest.raises(UserError):
        data.save_pictures(tmp_path / "x.npy", 2, 4, two())
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_picture(tmp_path):
    glass = Image.new("RGBA", (30, 20), (200, 0, 0, 0))
    assert (data.square(glass, 8) == 255).all()  # on white
    wide = Image.new("RGB", (60, 20), (255, 0, 0))
    wide.paste((0, 0, 255), (20, 0, 40, 20))
    assert (data.square(wide, 20)[:, 2:-2] == [0, 0, 255]).all()  # the middle
    assert data.square(Image.new("L", (5, 5), 7), 304).shape == (304, 304, 3)


def test_captions_in_other_encodings(tmp_path):
    (tmp_path / "x.txt").write_bytes("this\u00a0bird  is\tred\r\n\n caf\u00e9 \n".encode())
    assert data.read_lines(tmp_path / "x.txt") == ["this bird is red", "caf\u00e9"]
    (tmp_path / "y.txt").write_bytes(b"caf\xe9")
    assert data.read_lines(tmp_path / "y.txt") == ["caf\u00e9"]


def test_embeddings_of_captions(own):
    def encode(captions):
        assert len(captions) == len(set(captions))
        return np.array([[len(caption), ord(caption[2])] for caption in captions], float)

    (own / "captions" / "red" / "00.txt").write_text("a red one\na r\n")  # fewer than the others
    data.write_embeddings(own, encode)
    split = data.load(own)
    assert split.embeddings.shape == (6, 3, 2)
    assert split.embeddings[4].tolist() == [[9, ord("r")], [3, ord("r")], [9, ord("r")]]
    assert data.embeddings_made_by(own) == "train_text_encoder.py"
    assert [path.name for path in own.glob(".*")] == []


def test_embeddings_of_every_file(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.savez(tmp_path / "x.npz", embeddings=array)
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(list(array), 2))
    for ending in ("npz", "npy", "pickle"):
        np.testing.assert_array_equal(data.read_embeddings(tmp_path / f"x.{ending}"), array)
    np.save(tmp_path / "x.npy", array[0])
    np.testing.assert_array_equal(data.read_embeddings(tmp_path / "x.npy"), array[0][:, None])


def hostile_npz(path, header, numbers=b""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        text = (header + " " * (117 - len(header)) + "\n").encode()
        archive.writestr("embeddings.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + numbers)


def spoil(page, name, content):
    (page / name).write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, 2))


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("filenames.pickle", {"a": 1}, "filenames.pickle: should hold a list of names"),
        ("filenames.pickle", [1, 2], "'1' is no name of a picture"),
        ("filenames.pickle", ["../../etc/passwd"], "is no name of a picture"),
        ("filenames.pickle", ["/etc/passwd"], "is no name of a picture"),
        ("filenames.pickle", [], "there are no pictures in it"),
        ("filenames.pickle", b"cos\nsystem\n(S'true'\ntR.", "filenames.pickle: holds os.system, which may do harm"),
        ("class_info.pickle", [1, 2], "2 classes for 5 pictures"),
        ("class_info.pickle", ["a"] * 5, "whole numbers"),
        ("class_info.pickle", [1, [2]], "whole numbers"),
        ("char-CNN-RNN-embeddings.pickle", np.zeros((4, 2, 3)), "embeddings of 4 pictures, but there are 5"),
        ("char-CNN-RNN-embeddings.pickle", ["a"] * 5, "holds no embeddings"),
        ("char-CNN-RNN-embeddings.pickle", [np.zeros((2, 3)), np.zeros((2, 4))] * 2, "holds no embeddings"),
        ("char-CNN-RNN-embeddings.pickle", np.full((5, 2, 3), np.nan), "not finite"),
        ("char-CNN-RNN-embeddings.pickle", b"", "is no pickle"),
        ("76images.pickle", [np.zeros((76, 76, 3), np.uint8)] * 4, "4 pictures for 5 names"),
        ("76images.pickle", [np.zeros((76, 76, 3))] * 5, "holds float64, not uint8"),
        ("76images.pickle", [np.zeros((76, 76), np.uint8)] * 5, "pictures 76 x 76 x 3"),
        ("76images.pickle", 5, "pictures 76 x 76 x 3"),
        ("76images.npy", b"\x93NUMPY", "is no .npy that can be read"),
        ("embeddings.npz", b"PK", "is no .npz that can be read"),
    ],
)
def test_refusals_of_pickles(page, name, content, words):
    if name.endswith(".npy"):
        (page / "76images.pickle").unlink()
    spoil(page, name, content)
    with pytest.raises(UserError, match=words):
        data.load(page).pictures(76)
    assert not list(page.glob(".unfinished*"))


def test_more_refusals(page, own, tmp_path):
    (page / "embeddings.npz").unlink(missing_ok=True)
    with pytest.raises(UserError, match="there are no embeddings .skip-thought-embeddings.pickle"):
        data.load(page, "skip-thought")
    with pytest.raises(UserError, match="no folder nowhere in it; misc/preprocess_birds.py, prepare.py"):
        data.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds neither images/ nor filenames.pickle"):
        data.load(tmp_path)
    for shape, size in [("(9999999999, 9999, 9999)", 0), ("(5, 2, 3)", 100), ("(-5, 2, 3)", 0), ("(5, 2**9, 3)", 0)]:
        hostile_npz(
            page / "embeddings.npz", f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}", b"\0" * size
        )
        with pytest.raises(UserError, match="is no .npz that can be read"):
            data.load(page)
    hostile_npz(page / "embeddings.npz", "{'descr': '|O', 'fortran_order': False, 'shape': (5,)}", b"\0" * 90)
    with pytest.raises(UserError, match="is of type object"):
        data.load(page)
    path = own / "captions" / "red" / "00.txt"
    path.write_text(" \n\n")
    with pytest.raises(UserError, match="00.txt: holds no caption"):
        _ = data.load(own).captions
    path.unlink()
    with pytest.raises(UserError, match="00.txt: the captions of the picture red/00 are missing"):
        _ = data.load(own).captions
    (own / "images" / "red" / "00.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="00.png: is no picture that can be decoded"):
        data.load(own).pictures(76)
    Image.new("RGB", (4, 4)).save(own / "images" / "red" / "03.jpg")
    with pytest.raises(UserError, match="two pictures share the name red/03"):
        data.load(own)


# Batches


def options(**changed):
    return Namespace(**{"batch_size": 3, "seed": 5, "num_embedding": 4, **changed})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Five pictures, whose pixels tell which picture, row and column they are of, and embeddings likewise."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "filenames.txt").write_text("\n".join(NAMES))
    for side in (76, 304):
        pixels = np.zeros((5, side, side, 3), np.uint8)
        pixels[..., 0] = np.arange(5)[:, None, None] * 40
        pixels[..., 1], pixels[..., 2] = np.arange(side)[:, None] % 256, np.arange(side) % 256
        np.save(folder / f"{side}images.npy", pixels)
    embeddings = np.arange(5)[:, None, None] * 100.0 + 2.0 ** np.arange(6)[:, None] + np.zeros(7)
    data.save_embeddings(folder, NAMES, embeddings, "test")
    return data.load(folder)


@pytest.mark.parametrize("side", [64, 256])
def test_batches(drawn, side):
    batches = [[x.numpy() for x in batch] for batch in islice(data.training_batches(options(), drawn, side), 16)]
    tops, mirrored, wrongs, sums = set(), set(), set(), set()
    for real, wrong, embedding in batches:
        assert real.shape == wrong.shape == (3, side, side, 3) and embedding.shape == (3, 7)
        assert real.dtype == wrong.dtype == embedding.dtype == np.float32 and np.abs(real).max() <= 1
        for pictures in (real, wrong):
            pixels = np.round((pictures + 1) * 127.5).astype(int)
            assert (np.diff(pixels[..., 1], axis=1) % 256 == 1).all()  # a crop, rows in their order
            turned = np.diff(pixels[..., 2], axis=2) % 256
            assert (turned == turned[:, :1, :1]).all() and set(turned[:, 0, 0]) <= {1, 255}
            tops.update(pixels[:, 0, 0, 1])
            mirrored.update(turned[:, 0, 0])
        which, other = (np.round((pictures[:, 0, 0, 0] + 1) * 127.5 / 40).astype(int) for pictures in (real, wrong))
        assert (drawn.classes[which] != drawn.classes[other]).all()
        wrongs.update(other)
        np.testing.assert_array_equal(embedding[:, 0] // 100, which)
        means = (embedding[:, 0] % 100) * 4
        assert all(bin(int(mean)).count("1") == 4 and mean == int(mean) for mean in means)  # four different captions
        sums.update(means)
    assert len(tops) > 5 and mirrored == {1, 255} and wrongs == set(range(5)) and len(sums) > 5


def test_batches_are_a_function_of_seed_and_step(drawn):
    def some(count, start=0, **changed):
        found = islice(data.training_batches(options(**changed), drawn, 64, start), count)
        return [[x.numpy() for x in batch] for batch in found]

    all_, later, other = some(5), some(2, start=3), some(2, seed=6)
    for one, two in zip(all_[3:], later):
        for x, y in zip(one, two):
            np.testing.assert_array_equal(x, y)
    assert not np.array_equal(all_[0][0], other[0][0])


def test_where_there_are_no_classes_every_picture_is_one(tmp_path):
    (tmp_path / "filenames.txt").write_text("a\nb\nc\n")
    np.save(tmp_path / "76images.npy", np.zeros((3, 76, 76, 3), np.uint8))
    data.save_embeddings(tmp_path, ["a", "b", "c"], np.zeros((3, 1, 4)), "test")
    split = data.load(tmp_path)
    assert split.classes.tolist() == [0, 1, 2] and split.captions is None
    samples = data.Samples(split, 64, 4, 0)
    assert samples.read(1, 0)[2].shape == (4,)  # the one caption there is
    with pytest.raises(UserError, match="batch of 8 is larger than the data"):
        next(data.training_batches(options(batch_size=8), split, 64))
