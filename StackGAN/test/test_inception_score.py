"""inception_score.py: a judge whose answers are known, networks loaded from files, and bad input."""

import re
from pathlib import Path

import inception_score
import metrics
import numpy as np
import pytest
import tensorflow as tf
import train_classifier
from PIL import Image
from tensorflow import keras

from common.testing import call_main, write_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Fifty pictures, reds and blues and greens, some below, of several sizes, formats and modes."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    (folder / "below" / "deeper").mkdir(parents=True)
    for number in range(50):
        picture = rng.integers(0, 80, (20 + number, 30, 3))
        picture[..., number % 3] += 150
        path = folder / ["", "below", "below/deeper"][number // 20] / f"{number}.{['png', 'jpg'][number % 2]}"
        Image.fromarray(picture.astype(np.uint8)).save(path)
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("classifier") / "c.h5"
    tf.random.set_seed(0)
    model = train_classifier.build_classifier(4, width=2)
    model.layers[-1].set_weights([weight * 30 for weight in model.layers[-1].get_weights()])  # more decided
    train_classifier.save(path, model, {"classes": list("abcd"), "width": 2})
    return str(path), model


def colour_judge():
    """Says which channel is the brightest; its features are the channels' means."""
    x = keras.Input([8, 8, 3])
    mean = keras.layers.GlobalAveragePooling2D()(x)
    return inception_score.Judge("brightest", 8, keras.Model(x, [keras.layers.Softmax()(mean), mean]))


def test_a_judge_by_hand():
    """40 pictures are two batches, of which the second is filled up; none depends on the others."""
    pictures = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    probabilities, features = colour_judge()(iter(pictures), 40)
    means = pictures.mean((1, 2)) / 127.5 - 1
    np.testing.assert_allclose(features, means, atol=1e-5)
    expected = np.exp(means) / np.exp(means).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert probabilities.dtype == np.float64
    large = np.kron(pictures, np.ones((1, 4, 4, 1), np.uint8))  # each pixel as 4 x 4
    np.testing.assert_allclose(colour_judge()(large)[1], means, atol=0.03)


def test_the_command(capsys, folder, classifier):
    """The page's command, with a classifier: what it prints is what its parts give."""
    path, model = classifier
    status, said, _ = call_main(capsys, inception_score.main, "--image_folder", folder, "--classifier", path)
    assert status == 0 and "50 pictures" in said and "classifier of 4 classes by c.h5" in said
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".jpg"))
    images = [Image.open(str(file)).convert("RGB").resize((64, 64), Image.BILINEAR) for file in files]
    scaled = np.stack([np.asarray(image, np.float32) for image in images]) / 127.5 - 1
    probabilities = tf.nn.softmax(model(tf.constant(scaled), training=False)).numpy()
    mean, std = metrics.inception_score(probabilities)
    found = re.search(r"mean: (\S+) std: (\S+)", said).groups()
    assert [float(number) for number in found] == pytest.approx([mean, std], abs=0.0051) and mean > 1.02


def test_inception_with_its_classes(monkeypatch, tmp_path):
    """All weights 0 but for a shift of 3 in every normalisation and the last layer's bias: each feature is 3, and the
    probabilities are the bias's."""
    before, shapes = keras.mixed_precision.global_policy(), {}
    model = inception_score.build_inception()
    monkeypatch.setattr(inception_score, "build_inception", lambda: model)  # which takes seconds
    for layer in model.layers:
        shapes[layer.name] = [tuple(weight.shape) for weight in layer.weights]
    norms = {layer for layer, arrays in shapes.items() if len(arrays) == 3}
    last = next(layer for layer, arrays in shapes.items() if arrays and arrays[0] == (2048, 1000))
    assert len(norms) == 94 and sum(map(bool, shapes.values())) == 189  # as in the published file

    def fill(layer, index, dataset):
        if layer in norms:
            dataset[...] = 3.0 if index == 0 else float(index == 2)  # beta, mean, variance
        elif layer == last and index == 1:
            dataset[7] = np.log(999.0)

    path = write_weights(tmp_path / "w.h5", shapes, fill, names=lambda layer: f"{layer}_old")
    judge = inception_score.load_inception(path)
    assert keras.mixed_precision.global_policy() is before and judge.side == 299
    probabilities, features = (values.numpy() for values in judge.model(tf.zeros([1, 299, 299, 3]), training=False))
    np.testing.assert_allclose(features, np.full((1, 2048), 3.0), rtol=1e-5)
    assert probabilities.shape == (1, 1000) and probabilities[0, 7] == pytest.approx(0.5, rel=1e-3)


def test_bad_input(capsys, tmp_path, monkeypatch, folder, classifier):
    def refused(reason, image_folder, *flags):
        argv = ["--image_folder", image_folder, *(flags or ["--classifier", classifier[0]])]
        status, _, error = call_main(capsys, inception_score.main, *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2

    refused("there is no folder", tmp_path / "none")
    refused("0 pictures cannot be cut into 10 splits", tmp_path)
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG")
    refused("0.png: is no picture", tmp_path)
    refused("there is no such file", folder, "--weights", tmp_path / "w.h5")
    refused("damaged", folder, "--classifier", tmp_path / "0.png")
    monkeypatch.setattr(inception_score, "PLACES", (str(tmp_path / "w.h5"),))
    for flags, reason in (([], "--classifier=FILE"), (["--weights=a", "--classifier=b"], "not allowed with")):
        with pytest.raises(SystemExit) as exit_:
            inception_score.main(["--image_folder", str(folder), *flags])
        assert exit_.value.code == 2 and reason in capsys.readouterr().err


def test_weights_where_the_page_puts_them(monkeypatch, tmp_path):
    """The page's command names no file: it is looked for in the folder of the model."""
    assert all(Path(place).name == inception_score.INCEPTION_FILE for place in inception_score.PLACES)
    there = tmp_path / inception_score.INCEPTION_FILE
    there.touch()
    monkeypatch.setattr(inception_score, "PLACES", (str(tmp_path / "no.h5"), str(there)))
    assert inception_score.parse_args(["--image_folder=x"]).weights == str(there)
    assert inception_score.parse_args(["--image_folder=x", "--classifier=c.h5"]).weights is None
