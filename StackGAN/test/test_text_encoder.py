"""The text encoder: its alphabet, its files, its loss and its training."""

import shutil

import data
import h5py
import numpy as np
import pytest
import tensorflow as tf
import text_encoder
import train_text_encoder
from conftest import write_set
from text_encoder import ALPHABET, FILE, LENGTH, characters

from common.cli import UserError
from common.testing import call_main

SMALL, SMALL_PICTURES = (6, 5, 4), (2, 3, 4, 5)


@pytest.fixture(scope="module")
def encoders():
    return text_encoder.build_text_encoder(SMALL), text_encoder.build_picture_encoder(SMALL_PICTURES)


@pytest.fixture
def small(monkeypatch):
    """What train_text_encoder.py builds is small."""
    for name, widths in (("build_text_encoder", SMALL), ("build_picture_encoder", SMALL_PICTURES)):
        build = getattr(text_encoder, name)
        monkeypatch.setattr(text_encoder, name, lambda given=widths, size=1024, build=build: build(given, size))


def test_alphabet():
    assert len(ALPHABET) == len(set(ALPHABET)) == 70
    numbers = characters("  A Red\tbird!\n")
    assert numbers.dtype == np.int32 and numbers.shape == (LENGTH,) == (201,)
    assert "".join(ALPHABET[number - 1] for number in numbers[:11]) == "a red bird!" and not numbers[11:].any()
    assert characters("x" * 300).all()


def test_network(encoders):
    """8 steps of the recurrent layer, as 201 characters leave; parameters counted by hand."""
    whole = text_encoder.build_text_encoder()
    convolutions = (4 * 70 + 1 / 384 * 384) * 384 + (4 * 384 + 1) * 512 + (4 * 512 + 1) * 256
    assert whole.count_params() == convolutions + 3 * 256 * (256 + 256 + 2) + (256 + 1) * 1024
    assert tuple(whole.get_layer("recurrent").output.shape) == (None, 8, 256)
    embeddings = text_encoder.encode(encoders[0], ["a red bird", "a blue bird", "a red bird"])
    assert embeddings.shape == (3, 1024) and embeddings.dtype == np.float32
    assert np.allclose(embeddings[0], embeddings[2]) and not np.allclose(embeddings[0], embeddings[1])


def test_pictures_of_any_size(encoders):
    """A plain picture at 64, 76 or 256 pixels a side is the same picture."""
    features = [
        text_encoder.encode_pictures(encoders[1], np.full([2, side, side, 3], (200, 30, 60), np.uint8))
        for side in (64, 76, 256)
    ]
    assert features[0].shape == (2, 1024) and np.allclose(features[0], features[1]) and np.allclose(*features[1:])


def test_captions_that_are_told(encoders, capsys):
    text_encoder.encode(encoders[0], ["ein grüner Vogel — schön", "a bird " * 40])
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "[Info] left out, since the encoder's alphabet has no 'ö' 'ü' '—'"
    assert told[1].startswith("[Info] 1 captions have more than 201 characters") and len(told) == 2
    for empty in ("", " \t\n", "红色的鸟"):
        with pytest.raises(UserError, match="the caption .* is empty"):
            text_encoder.encode(encoders[0], ["a red bird", empty])


def test_file(encoders, tmp_path):
    path = str(tmp_path / FILE)
    text_encoder.save(path, *encoders)
    loaded, pictures = text_encoder.load(path), text_encoder.load_picture_encoder(path)
    captions, picture = ["a red bird"], np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    assert np.array_equal(text_encoder.encode(loaded, captions), text_encoder.encode(encoders[0], captions))
    other = text_encoder.encode_pictures(encoders[1], picture)
    assert np.array_equal(text_encoder.encode_pictures(pictures, picture), other)
    text_encoder.save(path, encoders[0])
    assert text_encoder.load_picture_encoder(path) is None


def test_broken_files(encoders, tmp_path):
    path = tmp_path / FILE
    with pytest.raises(UserError, match="--text_encoder .*: there is no such file"):
        text_encoder.load(str(path))
    text_encoder.save(str(path), encoders[0])
    whole = path.read_bytes()

    def refused(reason=""):
        with pytest.raises(UserError, match=f"text_encoder.h5: a damaged .h5 file, or no text encoder.*{reason}"):
            text_encoder.load(str(path))

    path.write_bytes(whole[: len(whole) // 2])
    refused()
    path.write_bytes(b"a red bird")
    refused()
    for name, values, reason in (
        ("conv1.0", np.zeros([4, 70, 7], np.float32), "shape"),
        ("conv2.1", np.full([5], np.nan, np.float32), "not finite"),
        ("embedding.1", None, ""),
    ):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            del file[f"text/{name}"]
            if values is not None:
                file[f"text/{name}"] = values
        refused(reason)
    with h5py.File(path, "w") as file:  # 400 GB that take no room
        file.attrs["network"] = "text_encoder"
        file.create_dataset("text/embedding.0", (10**6, 10**5), "f4", chunks=(8, 8))
    refused("larger than the file")


def test_loss_by_hand():
    """Scores [[2, 1.5], [0, 0.25]]: pictures give 0.5 + 0.75, captions 0 + 2.25, over two wrong pairs."""
    one, other = tf.eye(2), tf.constant([[2.0, 0.0], [1.5, 0.25]])
    assert float(train_text_encoder.joint_embedding_loss(one, other)) == pytest.approx((0.5 + 0.75 + 0.0 + 2.25) / 2)


def test_retrieval_by_hand():
    axes = np.eye(4, dtype=np.float32)
    right = train_text_encoder.retrieval(axes[[0, 1, 2, 3, 0, 2]], np.array([0, 1, 2, 3, 1, 2]), axes)
    assert right == (5 / 6, 1 / 4)
    assert train_text_encoder.retrieval(np.zeros([4, 4]), np.arange(4), axes)[0] == 0  # ties do not count
    captions = np.array([[0, 0], [0, 1], [5, 5], [5, 4], [5, 6], [0, 2]], np.float32)
    assert train_text_encoder.class_retrieval(captions, np.array([0, 0, 1, 1, 1, 1])) == (2 / 3, 1 / 2)


@pytest.mark.parametrize("against", ["pictures", "classes"])
def test_training(against, tmp_path, capsys, small):
    """Three plain colours are told apart within some steps, and the data set's captions embedded."""
    folder = write_set(tmp_path / "set", count=12)
    flags = [f"--data_path={folder}", "--steps=60", "--learning_rate=0.01", f"--against={against}", "--device=cpu"]
    status, out, err = call_main(capsys, train_text_encoder.main, *flags, "--write_embeddings=True")
    assert status == 2 and "embeddings.npz is of another origin; move it away first" in err  # conftest.py's
    for part in ("train", "test"):
        (folder / part / "embeddings.npz").unlink()
    status, out, err = call_main(capsys, train_text_encoder.main, *flags)
    assert status == 0, err
    losses = [float(line.split("loss ")[1].split()[0]) for line in out.splitlines() if "[Info] step" in line]
    assert losses[-1] < 1.5 and ("own picture comes first of 6" in out) == (against == "pictures")

    # Captions of a colour are alike, of two colours not; and they are what the written encoder says.
    split = data.load(folder / "train")
    assert split.embeddings.shape == (12, 3, 1024)
    assert data.embeddings_made_by(split.folder) == "train_text_encoder.py"
    assert 0.5 < np.mean(split.embeddings**2) < 2
    encoder = text_encoder.load(str(folder / FILE))
    encoded = text_encoder.encode(encoder, split.captions[3])
    assert np.allclose(encoded, split.embeddings[3], atol=1e-4)
    rows, classes = split.embeddings[:, 0], split.classes
    distance = ((rows[:, None] - rows[None]) ** 2).mean(2)
    alike = classes[:, None] == classes[None]
    assert distance[alike].max() < distance[~alike].min()

    again, _, err = call_main(capsys, train_text_encoder.main, *flags)
    assert again == 2 and "text_encoder.h5 is there already" in err


def test_order_of_training(sample_set):
    """A function of the seed; each caption beside its own picture, each picture once a batch."""
    args = train_text_encoder.parse_args([f"--data_path={sample_set}", "--batch_size=4", "--seed=3"])
    split, numbers, owner = train_text_encoder.read(args, "train")
    one, other = (train_text_encoder.batches(args, split, numbers, owner) for _ in range(2))
    for _ in range(3):
        captions, pictures = next(one)
        assert captions.shape == (4, 201) and pictures.shape == (4, 64, 64, 3) and pictures.dtype == np.float32
        assert all(np.array_equal(*arrays) for arrays in zip((captions, pictures), next(other)))
        for caption, picture in zip(captions, pictures):
            words = "".join(ALPHABET[number - 1] for number in caption if number).split()
            assert np.argmax(picture.mean((0, 1))) == ["red", "green", "blue"].index(words[1])


def test_what_cannot_be_learned_from(tmp_path, capsys, sample_set):
    folder = tmp_path / "set"
    shutil.copytree(sample_set, folder)
    flags = [f"--data_path={folder}", f"--output_path={tmp_path / 'out'}"]
    (folder / "test" / "captions" / "red" / "00.txt").write_text("\u7ea2\u8272\u7684\u9e1f\n", encoding="utf-8")
    status, _, err = call_main(capsys, train_text_encoder.main, *flags)
    assert status == 2 and "red/00: caption" in err and "is empty" in err
    shutil.rmtree(folder / "train" / "captions")
    status, _, err = call_main(capsys, train_text_encoder.main, *flags)
    assert status == 2 and "train has no captions, and they are what is learned from" in err
