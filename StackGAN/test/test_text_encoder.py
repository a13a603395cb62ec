"""The text encoder: what is read of a sentence, NumPy's pass against Keras', the loss, and the command."""

from types import SimpleNamespace

import data
import image_features
import model
import numpy as np
import pytest
import text_encoder
import train_text_encoder
from conftest import COLOURS, call_main, write_set

from common import weights
from common.cli import UserError
from common.config import device_config
from common.layers import named_variables
from common.session import open_session, set_seed


def arrays_of(network, prefix=""):
    return {f"{prefix}{name}": value.numpy() for name, value in named_variables(network).items()}


def test_characters():
    numbers = text_encoder.characters("A  red\tBird, \u00e9!")
    assert numbers.shape == (201,) and numbers[:12].tolist() == [1, 69, 18, 5, 4, 69, 2, 9, 18, 4, 38, 69]
    assert numbers[12] == 41 and not numbers[13:].any()  # what is not in the alphabet is left out
    assert text_encoder.characters("x" * 300).all()


def test_what_is_not_read(capsys):
    text_encoder.check_sentences(["a \u00e9 bird", "x" * 300])
    said = capsys.readouterr().out
    assert "the encoder's alphabet has no '\u00e9'" in said and "1 sentences have more than 201 characters" in said
    for nothing in ("  ", "\u00e9\u00e8"):
        with pytest.raises(UserError, match="is empty"):
            text_encoder.check_sentences(["a bird", nothing])


def test_numpy_computes_what_keras_does():
    network = model.build_text_encoder((6, 5, 4), 7)
    for variable in named_variables(network).values():
        variable.assign(np.random.default_rng(len(variable.shape)).normal(size=variable.shape))
    numbers = text_encoder.check_sentences(["a red bird", "this one is blue, with a long grey tail"])
    symbols = np.eye(71, dtype=np.float32)[numbers][:, :, 1:]
    found = text_encoder.TextEncoder(arrays_of(network)).encode_numbers(numbers)
    np.testing.assert_allclose(found, network(symbols), rtol=1e-4, atol=1e-4)


def test_unknown_words(stage2_run):
    encoder = text_encoder.load(text_encoder.find(stage2_run / "no", stage2_run))
    assert encoder.unknown_words("A small red PENGUIN, with a jet-black belly; penguin!") == ["penguin", "jet", "black"]
    assert text_encoder.TextEncoder(encoder.arrays).unknown_words("penguin") == []


def test_files_of_no_use(tmp_path):
    path = tmp_path / text_encoder.FILE
    with pytest.raises(UserError, match="there is no .*train_text_encoder.py makes it"):
        text_encoder.load(path)
    tensors = arrays_of(model.build_text_encoder((6, 5, 4), 7), "text/")
    for change in ({"text/conv2.0": np.zeros((4, 6, 9), np.float32)}, {"text/conv1.0": np.zeros(3, np.float32)}):
        weights.save(path, text_encoder.NETWORK, {**tensors, **change}, {})
        with pytest.raises(UserError, match="is no text encoder"):
            text_encoder.load(path)


def test_loss_by_plain_loops():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 5, 3)).astype(np.float32)
    s, terms = one @ other.T, []
    for i in range(5):
        for j in range(5):
            if i != j:
                terms += [max(0, 1 + s[i, j] - s[i, i]) + max(0, 1 + s[j, i] - s[i, i])]
    assert float(train_text_encoder.joint_embedding_loss(one, other)) == pytest.approx(np.mean(terms), rel=1e-5)


def test_retrieval():
    features = np.eye(6) * [[1], [1], [1], [1], [1], [9]]
    owner = np.repeat(np.arange(6), 2)
    assert train_text_encoder.retrieval(np.eye(6)[owner], owner, features) == (1.0, 1 / 6)
    assert train_text_encoder.retrieval(np.eye(6)[(owner + 1) % 6], owner, features)[0] == 0


@pytest.fixture
def birds(tmp_path, monkeypatch):
    """A set whose captions tell the images' colours, and small networks."""
    monkeypatch.setattr(train_text_encoder, "build_text_encoder", lambda: model.build_text_encoder((16, 16, 16), 24))
    monkeypatch.setattr(train_text_encoder, "build_image_encoder", lambda: model.build_image_encoder((4, 4, 4, 4), 24))
    feature_encoder = model.build_feature_encoder
    monkeypatch.setattr(train_text_encoder, "build_feature_encoder", lambda features: feature_encoder(features, 24))
    return write_set(tmp_path / "set", 12, size=8)


def test_the_command(birds, capsys, monkeypatch):
    """Colours are learned; the encoder's embeddings replace those that it may replace, and no others."""
    flags = [f"--data_path={birds}", "--steps=250", "--batch_size=6", "--learning_rate=0.003"]
    status, said, _ = call_main(capsys, train_text_encoder.main, *flags)
    assert status == 0 and "embeddings.npy stays" in said and "comes first of 6:" in said
    assert data.Split(birds / "train").embeddings.shape[2] == 8
    path = birds / text_encoder.FILE
    encoder, images = text_encoder.load(path), image_features.load_image_encoder(path)
    shades = np.array(list(COLOURS.values()), np.uint8)[:, None, None] * np.ones((1, 64, 64, 1), np.uint8)
    scores = encoder.encode([f"a {name} bird, number 0" for name in COLOURS]) @ images(shades).T
    assert (scores.argmax(1) == [0, 1, 2]).all() and "red" in encoder.vocabulary
    sentences = [caption for lines in data.Split(birds / "train", embeddings=False).captions for caption in lines]
    assert np.sqrt(np.mean(encoder.encode(sentences) ** 2)) == pytest.approx(1, abs=0.05)
    status, _, error = call_main(capsys, train_text_encoder.main, *flags)
    assert status == 2 and "is there already" in error
    path.unlink()
    for part in ("train", "test"):
        split = data.Split(birds / part)
        data.save_embeddings(split.folder, split.filenames, split.embeddings, data.BY_ATTRIBUTES)
    (birds / "train" / "captions" / "red" / "00.txt").write_text("a red one\na red\n")  # fewer than the others
    monkeypatch.setattr("short_sentences.FEWEST", 3)  # captions that say so: there are no more
    more = ["--steps=1", "--batch_size=3", "--short_sentences=2"]
    assert call_main(capsys, train_text_encoder.main, *flags[:1], *more)[0] == 0
    split, encoder = data.Split(birds / "train"), text_encoder.load(path)
    assert data.embeddings_made_by(split.folder) == data.BY_ENCODER
    row = split.filenames.index("red/00")
    wanted = encoder.encode(["a red one", "a red", "a red one", *split.captions[row - 1]]).reshape(2, 3, 24)
    np.testing.assert_allclose(split.embeddings[[row, row - 1], :3], wanted, atol=1e-5)
    short = train_text_encoder.short_sentences(train_text_encoder.Part(birds / "train", None), 2, 0)
    colours = [name.split("/")[0] for name in split.filenames]
    assert all(colour in sentence for colour, own in zip(colours, short) for sentence in own)
    assert {"a red bird", "the bird is blue"} <= {sentence.strip(".") for own in short for sentence in own}
    wanted = encoder.encode([sentence for own in short for sentence in own]).reshape(12, 2, 24)
    np.testing.assert_allclose(split.embeddings[:, 3:], wanted, atol=1e-5)
    assert data.Split(birds / "test").embeddings.shape[1] == 3  # what is measured are captions


def test_short_sentences_are_learned(birds):
    """They come to mean what the captions that name as much do; captions keep their meaning."""
    parts = [f"a {what} {part}" for what in ("long", "short", "thin") for part in ("tail", "bill", "crown")]
    captions = [f"a {colour} bird with {part} and a grey back" for colour in ("red", "blue") for part in parts]
    numbers = text_encoder.check_sentences(captions)
    set_seed(0)
    arrays = arrays_of(train_text_encoder.build_text_encoder())
    first = text_encoder.TextEncoder(arrays).encode_numbers(numbers)  # hardly differ, untrained
    arrays["embedding.0"] /= first.std(0)
    arrays["embedding.1"] = -first.mean(0) / first.std(0)
    flags = [f"--data_path={birds}", "--steps=1000", "--batch_size=16", "--learning_rate=0.003", "--device=cpu"]
    args, part = train_text_encoder.parse_args(flags), SimpleNamespace(texts=captions, numbers=numbers)
    made = train_text_encoder.fit_short(args, open_session(device_config(args)), arrays, part)
    before, after = text_encoder.TextEncoder(arrays), text_encoder.TextEncoder(made)
    wanted, whole = before.encode(captions), before.encode(["a red bird"])
    red = wanted[: len(captions) // 2].mean(0)
    red *= np.sqrt(np.mean(wanted**2) / np.mean(red**2))
    now = after.encode(["a red bird"])
    assert np.linalg.norm(now - red) < 0.5 * np.linalg.norm(whole - red)
    assert np.linalg.norm(after.encode(captions) - wanted) < 0.5 * np.linalg.norm(wanted - wanted.mean(0))
    one = SimpleNamespace(texts=captions[:1], numbers=numbers[:1])
    assert train_text_encoder.fit_short(args, open_session(device_config(args)), arrays, one) is arrays


def test_against_vgg19(birds, capsys):
    """One layer on VGG19's features of both halves; without VGG19 such an encoder measures nothing."""
    flags = [f"--data_path={birds}", "--steps=2", "--batch_size=3", "--vgg19_weights=random"]
    status, _, error = call_main(capsys, train_text_encoder.main, *flags)
    assert status == 0, error
    path = birds / text_encoder.FILE
    assert image_features.load_image_encoder(path) is None
    encode = image_features.load_image_encoder(path, image_features.vgg19_halves("random"))
    assert encode(np.zeros((3, 64, 64, 3), np.uint8)).shape == (3, 24)
