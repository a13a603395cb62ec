"""predict.py: classes of the user's images, grids of generated ones, exported files, and what it says to bad input."""

import csv
import json
import shutil
import subprocess
import sys

import data
import model
import numpy as np
import predict
import preprocess
import pytest
from conftest import MODEL
from PIL import Image
from test_preprocess import FIVE, SEVEN, SHAPE, drawing

from common import weights
from common.config import SessionConfig


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def images(tmp_path, ssgan_run):
    """Held-out images of the grey run as files, in one folder with a file that is none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(ssgan_run.data.test_images[:3]):
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def opened(run):
    return predict.open_checkpoint(str(run.folder), SessionConfig("cpu", "force_fp32"))


def test_the_answer_is_the_evaluations(call, tmp_path, ssgan_run, images):
    """A held-out image saved as a file gets the probabilities that evaluate.py gives it."""
    import evaluate
    import h5py

    flags = ["--ckpt_path", ssgan_run.folder, "--output_path", tmp_path / "new"]
    assert call(evaluate.main, *flags, "--dump_result", "--judge_steps=0")[0] == 0
    status, said, _ = call(predict.main, *flags, images)
    assert status == 0
    with h5py.File(str(tmp_path / "new" / "results.hdf5"), "r") as file:
        expected = file["test/probabilities"][:3]
    rows = read_csv(tmp_path / "new" / "predictions.csv")
    assert rows[0] == ["file", "class", "probability"] and len(rows) == 4
    for number, (row, probabilities) in enumerate(zip(rows[1:], expected)):
        assert row[:2] == [str(images / f"{number}.png"), ssgan_run.data.class_names[probabilities.argmax()]]
        assert abs(float(row[2]) - probabilities.max()) < 1e-3 and "  ".join(row) in said.splitlines()


def test_generates_a_grid(call, tmp_path, paper_run):
    for seed in (1, 1, 2):
        argv = ["--generate=70", f"--seed={seed}", "--output_path", tmp_path]
        assert call(predict.main, "--ckpt_path", paper_run.folder, *argv)[0] == 0
    first, same, other = (np.asarray(Image.open(tmp_path / f"generated{n}.png")) for n in ("", "-2", "-3"))
    assert first.shape == (8 * 8, 9 * 8, 3)  # 70 images: 8 rows of 9
    assert (first == same).all() and (first != other).any()
    assert (first[-8:, : 7 * 8] > 0).any() and (first[-8:, 7 * 8 :] == 0).all()  # 70 and two gaps


def test_shipped_weights(call, refused, tmp_path, monkeypatch, ssgan_run, images):
    """Without --ckpt_path: pretrained/, here what freeze.py --format=weights writes; no data and no run are needed."""
    import freeze

    monkeypatch.setattr(model, "FOLDER", tmp_path)
    assert "pretrained/ holds no weights" in refused(predict.main, images)
    flags = ["--ckpt_path", ssgan_run.folder, "--output_path", tmp_path / "pretrained", "--format=weights"]
    assert call(freeze.main, *flags)[0] == 0
    assert [path.name for path in (tmp_path / "pretrained").iterdir()] == ["ImprovedGAN.safetensors"]
    monkeypatch.setattr(data, "load", None)
    monkeypatch.chdir(tmp_path)
    status, said, _ = call(predict.main, images, "--generate=4")
    assert status == 0 and said.count(".png  ") == 3 and (tmp_path / "generated.png").exists()
    assert "generated.png: 4 generated images" in said
    rows = read_csv(tmp_path / "predictions.csv")[1:]
    expected = opened(ssgan_run).classify(ssgan_run.data.test_images[:3])
    np.testing.assert_allclose([float(row[2]) for row in rows], expected.max(1), atol=0.01)  # float16 on disk
    shipped, trained = (model.load_weights(path, "ImprovedGAN") for path in (None, ssgan_run.folder))
    assert {name.split("/")[0] for name in shipped.tensors} == {"discriminator", "generator"}  # a training's names
    for name, array in trained.part("average").items():
        np.testing.assert_allclose(shipped.part("discriminator")[name], array, atol=1e-3)


def test_the_weights_that_ship_read_drawn_digits(full_size):
    shipped = predict.open_checkpoint(None, SessionConfig("cpu", "force_fp32"))
    drawn = np.stack([preprocess.to_input(drawing(points), SHAPE, shipped.ink) for points in (FIVE, SEVEN)])
    probabilities = shipped.classify(drawn)
    assert probabilities.argmax(1).tolist() == [5, 7] and probabilities.max(1).min() > 0.9


def test_the_weights_that_ship_generate_every_digit(full_size):
    """The entropy of the classes is the card's, as far as 500 images tell, by the classifier that ships."""
    config = SessionConfig("cpu", "force_fp32")
    classifier = predict.open_checkpoint(None, config)
    images = predict.open_checkpoint(None, shipped=predict.GENERATOR, session=classifier.session).generate(500, 0)
    shares = np.bincount(classifier.classify(images).argmax(1), minlength=10) / 500
    assert -(shares * np.log(np.maximum(shares, 1e-9))).sum() == pytest.approx(2.278, abs=0.05)


def test_bad_images(refused, tmp_path, ssgan_run, images):
    (tmp_path / "broken.png").write_bytes((images / "0.png").read_bytes()[:40])
    flags = ["--ckpt_path", ssgan_run.folder, "--output_path", tmp_path / "output"]
    assert str(tmp_path / "broken.png") in refused(predict.main, *flags, images, tmp_path / "broken.png")
    assert "nothing to do" in refused(predict.main, *flags) and not (tmp_path / "output").exists()


BAD = {
    "another network's": {"network": "SRGAN"},
    "no image shape": {"about": {"class_names": ["a", "b"]}},
    "another number of classes": {"about": {"image_shape": [12, 10, 1], "class_names": ["a", "b"]}},
    "a latent that no memory holds": {"options": {"n_z": 10**9}},
    "images that no memory holds": {"about": {"image_shape": [10**6, 10**6, 1], "class_names": ["a", "b"]}},
    "options of other kinds": {"options": {"n_z": "many", "model": 3}},
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_weights(refused, tmp_path, ssgan_run, images, kind):
    loaded = weights.load(str(ssgan_run.folder), "ImprovedGAN", "")
    options, about = {**vars(loaded.options), **BAD[kind].get("options", {})}, BAD[kind].get("about", loaded.about)
    path = tmp_path / "other.safetensors"
    weights.save(path, BAD[kind].get("network", "ImprovedGAN"), loaded.tensors, options, about, 4)
    error = refused(predict.main, "--ckpt_path", path, images, "--output_path", tmp_path / "output")
    assert str(path) in error and not (tmp_path / "output").exists()


# Exported files.


@pytest.fixture(scope="module")
def exported(ssgan_run, tmp_path_factory):
    """Both networks in every format, of four rows where the format has a fixed number."""
    import freeze

    folder = tmp_path_factory.mktemp("exported") / "all"
    assert freeze.main(["--ckpt_path", str(ssgan_run.folder), "--output_path", str(folder), "--batch_size=4"]) == 0
    return folder


@pytest.mark.parametrize("ending", [".onnx", ".pb", "_saved_model"])
def test_an_export_gives_what_the_checkpoint_gives(exported, ssgan_run, ending):
    """Ten images and latents: the last batch of four is filled up."""
    here, there = opened(ssgan_run), predict.open_export(str(exported / f"classifier{ending}"))
    held_out = ssgan_run.data.test_images[:10]
    np.testing.assert_allclose(there.classify(held_out), here.classify(held_out), atol=1e-4)
    assert (there.image_shape, there.class_names, there.ink) == (here.image_shape, here.class_names, here.ink)
    drawn = predict.open_export(str(exported / f"generator{ending}")).generate(10, 3)
    assert np.abs(drawn.astype(int) - here.generate(10, 3)).max() <= 1


def test_the_command_on_an_export_needs_no_tensorflow(exported, images, tmp_path):
    code = f"import sys; sys.path.insert(0, {str(MODEL)!r}); sys.modules['tensorflow'] = None\n"
    code += "import predict; sys.exit(predict.main(sys.argv[1:]))"
    flags = ["--model", exported / "classifier.onnx", images]
    done = subprocess.run([sys.executable, "-c", code, *map(str, flags)], cwd=str(tmp_path), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert len(read_csv(tmp_path / "predictions.csv")) == 4


def test_evaluating_an_export(call, refused, exported, ssgan_run, tmp_path):
    import evaluate

    flags = ["--data_path", ssgan_run.data_path, "--output_path", tmp_path]
    assert call(evaluate.main, *flags, "--model", exported / "classifier.onnx")[0] == 0
    assert call(evaluate.main, *flags, "--ckpt_path", ssgan_run.folder, "--judge_steps=0")[0] == 0
    results = [json.loads((tmp_path / f"evaluation{n}.json").read_text()) for n in ("", "-2")]
    assert all(results[0][name] == results[1][name] for name in ("accuracy", "errors", "test_images"))
    assert "not a classifier" in refused(evaluate.main, *flags, "--model", exported / "generator.onnx")
    assert "--data_path DIR" in refused(evaluate.main, "--model", exported / "classifier.onnx")


def test_bad_exports(refused, exported, images, tmp_path):
    alone = tmp_path / "classifier.onnx"
    shutil.copy(str(exported / "classifier.onnx"), str(alone))
    assert "classifier.json beside it" in refused(predict.main, "--model", alone, images)
    for file, *given in (("generator.onnx", images), ("classifier.onnx", "--generate=3")):
        assert "exported/classifier.* takes images" in refused(predict.main, "--model", exported / file, *given)
