"""evaluate.py and evaler.py: the numbers they print, the files they write and never overwrite, and bad input."""

import json
import shutil
from argparse import Namespace

import evaler
import evaluate
import h5py
import numpy as np
import pytest
import toy
from model import build_networks

RESULTS = {"checkpoint", "data", "accuracy", "errors", "test_pictures", "baseline_accuracy", "images_per_sec"}


def call(capsys, *argv, main=evaluate.main):
    """The exit status, and what was said on stdout and stderr."""
    status = main([str(word) for word in argv])
    told = capsys.readouterr()
    return status, told.out, told.err


def read(path):
    return json.loads(path.read_text())


def test_the_metrics_are_those_of_the_dumped_probabilities(capsys, tmp_path, paper_run):
    argv = ["--ckpt_path", paper_run.folder, "--output_path", tmp_path / "new", "--dump_result"]
    status, said, _ = call(capsys, *argv)
    result = read(tmp_path / "new" / "evaluation.json")
    assert status == 0 and set(result) == RESULTS
    assert result["checkpoint"] == str(paper_run.folder / "checkpoints" / "ckpt-3")
    with h5py.File(str(tmp_path / "new" / "results.hdf5"), "r") as file:
        numbers, labels, probabilities = (file[f"test/{name}"][()] for name in ("number", "label", "probabilities"))
    assert numbers.tolist() == list(range(12)) and (labels == paper_run.data.test_labels).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    errors = int((probabilities.argmax(1) != labels).sum())
    assert result["errors"] == errors and result["accuracy"] == 1 - errors / 12 and result["test_pictures"] == 12
    assert result["baseline_accuracy"] == pytest.approx(1 / 3)  # four of each of three classes
    assert f"errors            : {errors}\n" in said and result["images_per_sec"] > 0


def test_it_writes_beside_the_run_and_overwrites_nothing(capsys, tmp_path, paper_run):
    folder = tmp_path / "run"
    shutil.copytree(str(paper_run.folder), str(folder))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert call(capsys, "--ckpt_path", folder)[0] == 0
    assert call(capsys, "--ckpt_path", folder / "checkpoints" / "ckpt-3", "--dump_result", "--batch_size=5")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    new = {path.name for path in folder.rglob("*") if path.is_file() and path not in before}
    assert new == {"evaluation.json", "evaluation-2.json", "results.hdf5"}
    first, second = read(folder / "evaluation.json"), read(folder / "evaluation-2.json")
    first.pop("images_per_sec"), second.pop("images_per_sec")
    assert first == second  # whatever the batch


def test_chosen_pictures(capsys, tmp_path, paper_run):
    argv = ["--checkpoint", paper_run.folder, "--output_path", tmp_path, "--dump_result", "--data_id", 7, 2]
    assert call(capsys, *argv, main=evaler.main)[0] == 0
    assert read(tmp_path / "evaluation.json")["test_pictures"] == 2
    with h5py.File(str(tmp_path / "results.hdf5"), "r") as file:
        assert file["test/number"][()].tolist() == [7, 2]
        assert file["test/label"][()].tolist() == paper_run.data.test_labels[[7, 2]].tolist()
    status, _, error = call(capsys, *argv, 12, main=evaler.main)
    assert status == 2 and error == "[Error] --data_id 12: the held-out pictures are numbered 0 to 11\n"


def test_the_pages_command_takes_what_download_wrote(capsys, tmp_path, monkeypatch, paper_run):
    monkeypatch.setattr(evaler, "DATASETS", tmp_path / "datasets")
    argv = ["--checkpoint", paper_run.folder, "--dataset", "MNIST", "--output_path", tmp_path]

    def evaluated(number, *flags):
        assert call(capsys, *argv, *flags, main=evaler.main)[0] == 0
        result = read(tmp_path / f"evaluation{number}.json")
        return result["data"], result["test_pictures"]

    own = f"MNIST in {paper_run.data_path}", 12
    assert (
        evaluated(
            "",
        )
        == own
    )  # nothing was downloaded: the data of the run
    downloaded = toy.write_set(tmp_path / "datasets" / "mnist", (8, 8, 3), test=9)
    assert evaluated("-2") == (f"MNIST in {downloaded}", 9)
    assert evaluated("-3", "--data_path", paper_run.data_path) == own


def test_bad_data(capsys, tmp_path, paper_run):
    def refused(reason, *argv):
        status, _, error = call(capsys, "--ckpt_path", paper_run.folder, "--output_path", tmp_path / "out", *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "out").exists()

    refused("there is no folder", "--data_path", tmp_path / "nowhere")
    grey = toy.write_set(tmp_path / "grey")
    refused("the checkpoint was trained on (8, 8, 3) in 3", "--data_path", grey)
    status, _, error = call(capsys, "--ckpt_path", grey)
    assert status == 2 and "no checkpoint in" in error
    status, _, error = call(capsys, "--ckpt_path", paper_run.folder, "--output_path", grey / "train.tfrecord" / "new")
    assert status == 2 and "cannot be written" in error
    with pytest.raises(SystemExit) as exit_:
        evaler.main(["--dataset", "MNIST"])
    assert exit_.value.code == 2 and "--checkpoint" in capsys.readouterr().err


def test_padding_does_not_touch_minibatch_discrimination():
    """Such a network sees a batch's other pictures, so that none may be made up."""
    options = Namespace(
        model="paper", recipe="mnist", n_z=4, norm_type="batch", weight_norm=True, minibatch_discrimination=True
    )
    options.batch_size = 6
    _, discriminator = build_networks(options, (4, 4, 1), 3)
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1)).astype(np.uint8)
    alone = evaluate.predict_logits(discriminator, options, images, batch_size=5)
    np.testing.assert_array_equal(evaluate.predict_logits(discriminator, options, images, batch_size=500), alone)


def test_the_supervised_baseline_learns(paper_run):
    options = Namespace(
        model="paper", recipe="mnist", n_z=4, norm_type="batch", weight_norm=True, minibatch_discrimination=False
    )
    options.batch_size, options.learning_rate_d, options.seed = 12, 3e-3, 0
    pictures = paper_run.data
    _, untrained = build_networks(options, (8, 8, 3), 3)
    metrics, baseline = evaluate.evaluate_run(options, untrained, pictures, np.arange(24), 30)
    assert metrics["labels"] == 24 and metrics["test_pictures"] == 12
    assert baseline["accuracy"] == pytest.approx(1 / 3) and baseline["supervised_only_accuracy"] > 0.9
