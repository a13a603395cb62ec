"""evaluate.py and baseline.py: numbers known by hand or recomputed from the files written, and bad input."""

import json
from argparse import Namespace
from pathlib import Path

import baseline
import evaluate
import numpy as np
import pytest
import tensorflow as tf
from metrics import compare
from model import build_generator
from PIL import Image

from common.checkpoint import Record
from common.cli import UserError
from common.distances import frechet_distance, kernel_distance
from common.optimizer import named_variables

LABELS = np.array([[0, 0, 170], [255, 85, 0]])  # two of facades' colours
COLOURS = np.array([[60, 120, 200], [180, 150, 90]])  # what is drawn for them
OPTIONS = {"input_nc": 3, "output_nc": 3, "which_direction": "BtoA", "fine_size": 256, "ngf": 2, "seed": 0}


def write_pair(path, number, same=False):
    """A wall and a window beside their labels, both noisy, 64 x 64 each."""
    rng = np.random.default_rng(number)
    label = np.zeros((64, 64), int)
    label[16:40, 8 + number : 30 + number] = 1
    right = LABELS[label] + rng.integers(-6, 7, (64, 64, 3))
    left = right if same else COLOURS[label] + rng.integers(-20, 21, (64, 64, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.concatenate([left, right], 1), 0, 255).astype(np.uint8)).save(str(path))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder with four pairs to train on and three to measure on."""
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(4):
        write_pair(folder / "train" / f"{number}.png", number)
    for number in range(3):
        write_pair(folder / "val" / f"house {number}.png", 10 + number)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, pairs):
    """A run's folder with a checkpoint of random weights."""
    folder = tmp_path_factory.mktemp("run")
    options = {**OPTIONS, "data_path": str(pairs), "skip_bad_files": False}
    state = {"generator": named_variables(build_generator(256, 256, ngf=2))}
    record = Record(about={"network": "Pix2Pix"}, options=options, step=7, seconds=0.0)
    checkpoint = tf.train.Checkpoint(record=record, **state)
    tf.train.CheckpointManager(checkpoint, str(folder / "checkpoints"), 3, checkpoint_name="ckpt").save(7)
    return folder


def call(capsys, *argv):
    """The exit status, and what was said on stdout and stderr."""
    status = evaluate.main([str(word) for word in argv])
    told = capsys.readouterr()
    return status, told.out, told.err


def pixels(path):
    return np.asarray(Image.open(str(path)))


def targets(pairs):
    """The held-out targets in the networks' size."""
    files = sorted((pairs / "val").glob("*.png"))
    return [np.asarray(Image.open(str(f)).crop((0, 0, 64, 64)).resize((256, 256), Image.BICUBIC)) for f in files]


def test_mean_colours_by_hand():
    source = np.array([[[0, 0, 170], [0, 0, 170], [8, 3, 175], [255, 255, 255]]], np.uint8)  # the third is the first
    target = np.array([[[10, 0, 0], [20, 0, 0], [60, 3, 0], [90, 201, 80]]], np.uint8)
    table = baseline.colour_table([(source[:, :2], target[:, :2]), (source[:, 2:], target[:, 2:])])
    assert table.shape == (4096, 3)
    seen = np.array([[[1, 0, 165], [250, 255, 255], [128, 128, 128]]], np.uint8)
    overall = [45, 51, 20]
    assert baseline.mean_colours(table, seen).tolist() == [[[30, 1, 0], [90, 201, 80], overall]]
    grey = baseline.colour_table(
        [(np.array([[[0], [255]]], np.uint8), np.array([[[7, 7, 7, 9], [1, 2, 3, 4]]], np.uint8))]
    )
    assert baseline.mean_colours(grey, np.array([[[250], [5]]], np.uint8)).tolist() == [[[1, 2, 3, 4], [7, 7, 7, 9]]]


def test_a_generator_that_copies_and_pairs_that_are_copies(tmp_path):
    """Nothing is lost on the way to the network and back."""
    for split in ("train", "val"):
        write_pair(tmp_path / split / "a.png", 3, same=True)
    files = [tmp_path / "val" / "a.png"]
    args = Namespace(**OPTIONS, data_path=str(tmp_path), skip_bad_files=False)
    scores, _ = evaluate.evaluate_run(args, lambda inputs, training: inputs[0], files, files)
    assert scores == {"l1": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0), "pictures": 1}


def test_what_training_asks_for(tmp_path, capsys, pairs):
    args = Namespace(**OPTIONS, data_path=str(pairs), skip_bad_files=True)
    train_files, val_files = (sorted((pairs / split).glob("*.png")) for split in ("train", "val"))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    generator = build_generator(256, 256, ngf=2)
    (tmp_path / "evaluation").mkdir()
    scores, base = evaluate.evaluate_run(
        args, generator, train_files, [tmp_path / "broken.png", *val_files], tmp_path / "evaluation"
    )
    said = capsys.readouterr().out
    assert "1 of 4 files left out" in said and "broken.png" in said
    assert set(scores) == {"l1", "psnr", "ssim", "pictures"} and scores["pictures"] == 3
    names = ("l1", "psnr", "ssim")
    assert set(base) == {*names, *(f"untrained_{name}" for name in names)}
    assert base["l1"] < 0.06 < 0.15 < base["untrained_l1"]  # noise of 10 of 255 on average; grey for anything
    assert not any((tmp_path / "evaluation").iterdir())  # it was there already
    folder = tmp_path / "evaluation-2"
    assert {path.name for path in folder.iterdir()} == {"pictures", "evaluation.json", "gallery.html"}
    assert json.loads((folder / "evaluation.json").read_text())["metrics"]["trained"]["l1"] == scores["l1"]


def test_the_command(tmp_path, capsys, monkeypatch, run, pairs):
    before = set(run.rglob("*"))

    def mean_colour(network, weights):
        assert (network, weights) == ("vgg19", "w.h5")
        return lambda picture: picture.mean((0, 1), dtype=np.float64)

    monkeypatch.setattr(evaluate, "feature_extractor", mean_colour)
    status, said, _ = call(capsys, "--ckpt_path", run, "--features=vgg19", "--weights=w.h5")
    folder = run / "evaluation"
    result = json.loads((folder / "evaluation.json").read_text())
    assert status == 0 and result["pictures"] == 3 and result["features"] == "vgg19 by w.h5"
    assert [row["file"] for row in result["per_picture"]] == [f"house {number}.png" for number in range(3)]

    outputs = [pixels(folder / row["output"]) for row in result["per_picture"]]
    rows = [compare(output, target) for output, target in zip(outputs, targets(pairs))]
    for row, expected in zip(result["per_picture"], rows):
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    means = result["metrics"]
    assert set(means) == {"trained", "untrained", "mean_colour"}
    assert means["trained"]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in rows]))
    ours, theirs = (np.stack([p.mean((0, 1)) for p in pictures]) for pictures in (outputs, targets(pairs)))
    assert means["trained"]["frechet"] == pytest.approx(frechet_distance(ours, theirs))
    assert means["trained"]["kernel"] == pytest.approx(kernel_distance(ours, theirs))
    assert means["mean_colour"]["frechet"] < means["untrained"]["frechet"] / 10

    line = next(line for line in said.splitlines() if line.startswith("trained generator"))
    assert float(line.split()[2]) == pytest.approx(means["trained"]["l1"], rel=1e-3)
    assert "3 pictures of" in said and said.count("generator") == 2 and "mean colour per label" in said
    page = (folder / "gallery.html").read_text()
    assert page.count("<img ") == 9 and page.count("<figcaption>output</figcaption>") == 3
    assert before <= set(run.rglob("*"))  # nothing is gone

    status, _, _ = call(capsys, "--ckpt_path", run, "--max_pictures=1", "--data_path", pairs)
    alone = json.loads((run / "evaluation-2" / "evaluation.json").read_text())
    assert status == 0 and alone["per_picture"] == result["per_picture"][:1]  # whatever else is measured


def test_paper_inference_without_pairs_to_train_on(tmp_path, capsys, monkeypatch, run, pairs):
    def without_train(path, split):
        if split == "train":
            raise UserError("none")
        return [pairs / "val" / "house 0.png"]

    monkeypatch.setattr(evaluate, "find_pairs", without_train)
    results = []
    for seed in (5, 5, 6):
        flags = ["--ckpt_path", run, "--inference=paper", f"--seed={seed}", "--output_path", tmp_path / "new" / "er"]
        status, said, _ = call(capsys, *flags)
        assert status == 0 and "no mean colours" in said
        name = ("er", "er-2", "er-3")[len(results)]
        results.append(json.loads((tmp_path / "new" / name / "evaluation.json").read_text()))
    assert set(results[0]["metrics"]) == {"trained", "untrained"} and results[0]["inference"] == "paper"
    same, other = (result["per_picture"][0]["psnr"] for result in results[1:])
    assert results[0]["per_picture"][0]["psnr"] == same != other


def test_two_files_of_one_name():
    files = [Path(name) for name in ("a.jpg", "a.png", "a-2.jpg", "b.png", "A.b.jpg")]
    assert evaluate.picture_names(files) == ["a.png", "a-2.png", "a-2-2.png", "b.png", "A.b.png"]


def test_bad_input(tmp_path, capsys, run, pairs):
    def refused(reason, *argv):
        status, _, error = call(capsys, "--ckpt_path", run, "--output_path", tmp_path / "out", *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "out").exists()

    def data(name, picture):
        folder = tmp_path / name
        write_pair(folder / "val" / "0.png", 0)
        if isinstance(picture, bytes):
            (folder / "val" / "1.png").write_bytes(picture)
        else:
            Image.fromarray(picture).save(str(folder / "val" / "1.png"))
        return folder

    refused("no checkpoint in", "--ckpt_path", pairs)
    refused("no pictures in val/", "--data_path", tmp_path)
    refused("val/1.png: is no picture", "--data_path", data("broken", b"\x89PNG\r\n\x1a\n"))
    refused("val/1.png", "--data_path", data("half", np.zeros((64, 64, 3), np.uint8)))
    refused("1.png: is transparent", "--data_path", data("clear", np.zeros((64, 128, 4), np.uint8)))
    refused("there is no such file", "--features=vgg19", "--weights", tmp_path / "none.h5")
    refused("cannot be written", "--output_path", pairs / "val" / "house 0.png" / "new")
    for flags, reason in (
        (["--features=vgg19"], "--features vgg19 needs --weights FILE"),
        (["--weights=w.h5"], "--features vgg19 or inception"),
        (["--max_pictures=0"], "at least 1"),
        (["--ckpt=3"], "nearest known one"),
    ):
        with pytest.raises(SystemExit) as exit_:
            evaluate.main(["--ckpt_path", str(run), *flags])
        assert exit_.value.code == 2 and reason in capsys.readouterr().err


def test_a_distance_of_one_picture_is_refused(tmp_path, capsys, monkeypatch, run):
    monkeypatch.setattr(evaluate, "feature_extractor", lambda network, weights: np.ravel)
    flags = ["--features=vgg19", "--weights=w.h5", "--max_pictures=1", "--output_path", tmp_path / "out"]
    status, _, error = call(capsys, "--ckpt_path", run, *flags)
    assert status == 2 and "two pictures at least" in error and not (tmp_path / "out").exists()
