"""inception_score.py and image_features.py: a network whose answers are known, and bad input."""

import image_features
import inception_score
import numpy as np
import pytest
from conftest import call_main
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """Twelve images of two plain colours and of two sizes, one of them grey, in two folders."""
    for number in range(12):
        path = tmp_path / "images" / str(number % 2) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (20, 30) if number < 6 else (40, 40)
        (Image.new("RGB", size, (250, 10, 10)) if number % 2 else Image.new("L", size, 10)).save(path)
    return tmp_path / "images"


def test_two_classes(monkeypatch, capsys, folder):
    """A classifier that is certain of two classes: the score is 2."""

    def features(images):
        red = np.array([image[..., 0].mean() > 128 for image in images], int)
        return np.eye(2)[red], np.eye(2)[red]

    monkeypatch.setattr(inception_score, "load_inception", lambda path: features)
    flags = [f"--image_folder={folder}", "--weights=x.h5"]
    status, said, _ = call_main(capsys, inception_score.main, *flags, "--splits=1")
    assert status == 0 and "12 images of" in said and "mean: 2.00 std: 0.00" in said
    assert call_main(capsys, inception_score.main, *flags, "--splits=13")[0] == 2


def test_inception_v3(monkeypatch):
    """Its shapes, and that an image is resized first."""
    network = image_features.keras.applications.InceptionV3(weights=None)
    monkeypatch.setattr(image_features.keras.applications, "InceptionV3", lambda weights: network)
    monkeypatch.setattr(image_features, "check_hdf5", lambda *_: None)
    monkeypatch.setattr(image_features, "BATCH", 2)
    values, probabilities = image_features.load_inception("x.h5")([np.zeros((64, 64, 3), np.uint8)] * 3)
    assert values.shape == (3, 2048) and probabilities.shape == (3, 1000)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-4)


def test_bad_input(capsys, tmp_path, folder):
    (tmp_path / "w.h5").write_bytes(b"no HDF5")
    for reason, *flags in (
        ("there is no folder", "--image_folder=none", "--weights=none"),
        ("there is no such file", f"--image_folder={folder}", "--weights=none"),
        ("no HDF5 file", f"--image_folder={folder}", f"--weights={tmp_path / 'w.h5'}"),
        ("no network to judge the images by", f"--image_folder={folder}"),
    ):
        status, _, error = call_main(capsys, inception_score.main, *flags)
        assert status == 2 and reason in error and error.count("\n") <= 2
