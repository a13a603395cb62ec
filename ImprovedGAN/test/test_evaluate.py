"""evaluate.py and evaler.py: their numbers, the judge, the fair baseline, files never overwritten, and bad input."""

import json
import math
import shutil
from argparse import Namespace

import evaler
import evaluate
import h5py
import metrics
import numpy as np
import preprocess
import pytest
import steps
import tensorflow as tf
import toy
from model import build_discriminator, predict_logits
from PIL import Image
from test_preprocess import FIVE, MNIST, SEVEN, SHAPE, drawing

from common.config import SessionConfig
from common.layers import named_variables, update_average
from common.session import open_session

RESULTS = {"checkpoint", "data", "accuracy", "errors", "test_images", "baseline_accuracy", "images_per_sec"}
JUDGED = {f"{kind}_{name}" for kind in ("generated", "real") for name in ("recognised", "class_entropy")}


def read(path):
    return json.loads(path.read_text())


def options(**changed):
    given = {"model": "paper", "recipe": "mnist", "n_z": 4, "norm_type": "batch", "seed": 0}
    given.update(minibatch_discrimination=False, batch_size=12, learning_rate_d=3e-3, average_rate=0.1)
    return Namespace(**{**given, **changed})


def test_the_metrics_are_those_of_the_dumped_probabilities(call, tmp_path, paper_run):
    argv = ["--ckpt_path", paper_run.folder, "--output_path", tmp_path / "new", "--dump_result", "--judge_steps=2"]
    status, said, _ = call(evaluate.main, *argv)
    result = read(tmp_path / "new" / "evaluation.json")
    assert status == 0 and set(result) == RESULTS | JUDGED
    assert result["checkpoint"].endswith("ckpt-3.safetensors")
    with h5py.File(str(tmp_path / "new" / "results.hdf5"), "r") as file:
        numbers, labels, probabilities = (file[f"test/{name}"][()] for name in ("number", "label", "probabilities"))
    assert numbers.tolist() == list(range(12)) and (labels == paper_run.data.test_labels).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    errors = int((probabilities.argmax(1) != labels).sum())
    assert result["errors"] == errors and result["accuracy"] == 1 - errors / 12 and result["test_images"] == 12
    assert result["baseline_accuracy"] == pytest.approx(1 / 3)  # four of each of three classes
    assert f"errors                 : {errors}\n" in said and result["images_per_sec"] > 0


def test_it_writes_beside_the_run_and_overwrites_nothing(call, tmp_path, paper_run):
    folder = tmp_path / "run"
    shutil.copytree(str(paper_run.folder), str(folder))
    before = set(folder.iterdir())
    flags = ["--judge_steps=0", "--ckpt_path"]
    assert call(evaluate.main, *flags, folder)[0] == 0
    assert call(evaluate.main, *flags, folder / "checkpoints" / "ckpt-3", "--batch_size=5")[0] == 0
    assert {path.name for path in set(folder.iterdir()) - before} == {"evaluation.json", "evaluation-2.json"}
    first, second = read(folder / "evaluation.json"), read(folder / "evaluation-2.json")
    first.pop("images_per_sec"), second.pop("images_per_sec")
    assert first == second  # whatever the batch


def test_chosen_images(call, refused, tmp_path, paper_run):
    argv = ["--checkpoint", paper_run.folder, "--output_path", tmp_path, "--dump_result", "--data_id", 7, 2]
    assert call(evaluate.main, *argv)[0] == 0
    with h5py.File(str(tmp_path / "results.hdf5"), "r") as file:
        assert file["test/number"][()].tolist() == [7, 2]
        assert file["test/label"][()].tolist() == paper_run.data.test_labels[[7, 2]].tolist()
    assert "the held-out images are numbered 0 to 11" in refused(evaluate.main, *argv, 12)


def test_the_originals_command_takes_what_download_wrote(call, tmp_path, monkeypatch, paper_run):
    monkeypatch.setattr(evaluate, "DATASETS", tmp_path / "datasets")
    argv = ["--checkpoint", paper_run.folder, "--dataset", "mnist", "--output_path", tmp_path, "--judge_steps=0"]

    def evaluated(number, *flags):
        assert call(evaler.main, *argv, *flags)[0] == 0
        result = read(tmp_path / f"evaluation{number}.json")
        return result["data"], result["test_images"]

    own = f"mnist in {paper_run.data_path}", 12
    assert evaluated("") == own  # nothing was downloaded: the data of the run
    downloaded = toy.write_set(tmp_path / "datasets" / "MNIST", (8, 8, 3), test=9)
    assert evaluated("-2") == (f"mnist in {downloaded}", 9)
    assert evaluated("-3", "--data_path", paper_run.data_path) == own


def test_bad_data(refused, tmp_path, paper_run):
    flags = ["--ckpt_path", paper_run.folder, "--output_path", tmp_path / "out"]
    grey = toy.write_set(tmp_path / "grey")
    assert "the network was trained on (8, 8, 3) in 3" in refused(evaluate.main, *flags, "--data_path", grey)
    assert not (tmp_path / "out").exists()


def test_image_files_are_read_as_predict_reads_them(tmp_path):
    """A folder of drawings, evaluated for a network that was trained on digits such as MNIST's."""
    for name, points in (("5", FIVE), ("7", SEVEN)):
        for split in ("train", "test"):
            (tmp_path / split / name).mkdir(parents=True)
            drawing(points, size=(400, 300)).convert("RGB").save(tmp_path / split / name / "a.png")
    network = Namespace(image_shape=SHAPE, class_names=["5", "7"], ink=MNIST, loaded=None)
    loaded, _ = evaluate.load_data(Namespace(data_path=str(tmp_path), dataset=None), network)
    for label, name in enumerate("57"):
        image = Image.open(tmp_path / "test" / name / "a.png")
        np.testing.assert_array_equal(loaded.test_images[label], preprocess.to_input(image, SHAPE, MNIST))


def test_padding_does_not_touch_minibatch_discrimination():
    """Such a network sees a batch's other images, so that none may be made up."""
    given = options(minibatch_discrimination=True, batch_size=6)
    discriminator = build_discriminator(given, (4, 4, 1), 3)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    alone = predict_logits(discriminator, given, images, 5)
    np.testing.assert_array_equal(predict_logits(discriminator, given, images, 500), alone)


def test_judge():
    sure = np.eye(4)[[0, 1, 2, 3]] * 0.96 + 0.01
    unsure = np.eye(4)[[0, 0, 0, 0]] * 0.8 + 0.05
    found = metrics.judge(sure)
    assert found["recognised"] == 1 and found["class_entropy"] == pytest.approx(math.log(4))
    assert metrics.judge(unsure) == {"recognised": 0, "class_entropy": 0}
    both = metrics.judge(np.concatenate([sure, unsure]))
    p = np.array([5, 1, 1, 1]) / 8
    assert both["recognised"] == 0.5 and both["class_entropy"] == pytest.approx(-(p * np.log(p)).sum())


def test_the_judge_knows_real_images_from_noise(paper_run):
    session = open_session(SessionConfig(device="cpu"))
    noise = tf.keras.Sequential([tf.keras.layers.Dense(192, "sigmoid"), tf.keras.layers.Reshape((8, 8, 3))])
    found = metrics.judge_generated(options(learning_rate_d=0.02), session, noise, paper_run.data, 60)
    assert found["real_recognised"] > 0.9 and found["real_class_entropy"] == pytest.approx(math.log(3), abs=0.1)
    assert found["generated_class_entropy"] < found["real_class_entropy"]


@pytest.mark.parametrize("model", ["ssgan", "paper"])
def test_the_supervised_baseline_gets_what_the_model_gets(monkeypatch, paper_run, model):
    """As many updates, the model's Adam (clipping, epsilon, rate), and what is tested is the average of the weights."""
    session, made, moved = open_session(SessionConfig(device="cpu")), [], []
    monkeypatch.setattr(metrics, "make_optimizer", lambda *x: made.append(steps.make_optimizer(*x)) or made[-1])
    monkeypatch.setattr(metrics, "update_average", lambda *given: moved.append(given[:3]) or update_average(*given))
    given = options(model=model, judge_steps=0, learning_rate_d=0.02)
    untrained = build_discriminator(given, (8, 8, 3), 3)
    parts = Namespace(session=session, tested=untrained, data=paper_run.data, labelled=np.arange(24))
    scores, found = metrics.evaluate_run(given, parts, 40)
    adam = made[0].adam
    assert int(adam.iterations) == 40 == found["supervised_only_updates"] and adam.learning_rate == 0.02
    own = {"ssgan": (0.5, 1e-8, 20.0), "paper": (0.5, 1e-4, None)}
    assert (adam.beta_1, adam.epsilon, made[0].clip_norm) == own[model]
    [(tested, discriminator, decay)] = moved  # in the traced step
    assert decay == 1 - given.average_rate
    last, mean = (named_variables(network, trainable_only=True) for network in (discriminator, tested))
    assert any(np.abs(last[name].numpy() - mean[name].numpy()).max() > 1e-5 for name in last)
    assert scores["labels"] == 24 and found["accuracy"] == pytest.approx(1 / 3)
    assert found["supervised_only_accuracy"] > 0.9
    assert found["supervised_only_errors"] == round(12 * (1 - found["supervised_only_accuracy"]))


def test_the_baseline_does_not_depend_on_what_was_drawn_before(paper_run):
    """A run that goes on ends with the baseline of one that was not stopped."""
    session, results = open_session(SessionConfig(device="cpu")), []
    seen = paper_run.data.train_images[:12], paper_run.data.train_labels[:12]
    for draws in (0, 3):
        tf.random.normal([draws])
        tested = metrics.train_supervised(options(), session, *seen, 3, "supervised")
        results.append(predict_logits(tested, options(), paper_run.data.test_images))
    np.testing.assert_allclose(*results, rtol=1e-4)
