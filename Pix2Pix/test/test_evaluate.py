"""evaluate.py and baseline.py: numbers known by hand or recomputed from the files written, and bad input."""

import json
from argparse import Namespace

import baseline
import evaluate
import features
import numpy as np
import pytest
import readback
from conftest import write_run
from metrics import compare, frechet_distance, kernel_distance
from model import build_generator
from PIL import Image
from predict import Translator, network_translator

from common.test.testing import call_main

LABELS = np.array([[0, 48, 255], [255, 80, 0]])  # two of facades' colours
COLOURS = np.array([[60, 120, 200], [180, 150, 90]])  # what is made of them
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
    return write_run(tmp_path_factory.mktemp("run"), ngf=2, data_path=str(pairs)).folder


def call(capsys, *argv):
    """The exit status, and what was said on stdout and stderr."""
    return call_main(capsys, evaluate.main, *argv)


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
    args = Namespace(**OPTIONS, data_path=str(tmp_path))
    scores, _ = evaluate.evaluate_run(args, Translator(lambda x: x, args, ""), files, files, tmp_path / "out")
    assert scores == {"l1": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0), "images": 1}


def test_what_training_asks_for(tmp_path, pairs):
    """An evaluation that was cut short is done again in its own place."""
    args = Namespace(**OPTIONS, data_path=str(pairs))
    train_files, val_files = (sorted((pairs / split).glob("*.png")) for split in ("train", "val"))
    translator, folder = network_translator(build_generator(256, 256, ngf=2), args), tmp_path / "evaluation"
    folder.mkdir()
    (folder / "evaluation.json").write_text("cut sh")
    scores, base = evaluate.evaluate_run(args, translator, train_files, val_files, folder)
    assert set(scores) == {"l1", "psnr", "ssim", "images"} and scores["images"] == 3
    assert base["l1"] < 0.06 < scores["l1"]  # noise of 10 of 255 on average
    assert {path.name for path in folder.iterdir()} == {"generated", "evaluation.json", "gallery.html"}
    assert json.loads((folder / "evaluation.json").read_text())["metrics"]["generated"]["l1"] == scores["l1"]


def test_the_command(tmp_path, capsys, monkeypatch, run, pairs):
    def mean_colour(weights):
        return lambda image: image.mean((0, 1), dtype=np.float64)

    def is_window(known, seed):  # a reader that knows the two colours
        assert len(list(known)) == 4
        return lambda photograph: np.where(readback.shrunk(photograph)[..., 0] > -0.1, 9, 1)

    monkeypatch.setattr(features, "vgg19_features", mean_colour)
    monkeypatch.setattr(features, "inception_features", lambda graph: lambda image: image[0, 0].astype(np.float64))
    monkeypatch.setattr(readback, "train_reader", is_window)
    before = set(run.rglob("*"))
    flags = ["--vgg19_weights=w.h5", "--inception=i.pb", "--readback"]
    status, said, _ = call(capsys, "--ckpt_path", run, *flags)
    folder = run / "evaluation"
    result = json.loads((folder / "evaluation.json").read_text())
    assert status == 0 and result["images"] == 3
    assert [row["file"] for row in result["per_image"]] == [f"house {number}.png" for number in range(3)]

    outputs = [pixels(folder / row["output"]) for row in result["per_image"]]
    rows = [compare(output, target) for output, target in zip(outputs, targets(pairs))]
    for row, expected in zip(result["per_image"], rows):
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    means = result["metrics"]
    assert set(means) == {"generated", "mean_colour", "real"} and "l1" not in means["real"]
    assert means["generated"]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in rows]))
    ours, theirs = (np.stack([p.mean((0, 1)) for p in images]) for images in (outputs, targets(pairs)))
    assert means["generated"]["frechet_vgg19"] == pytest.approx(frechet_distance(ours, theirs))
    assert means["generated"]["kernel_vgg19"] == pytest.approx(kernel_distance(ours, theirs))
    corners = [np.stack([p[0, 0] for p in images]) for images in (outputs, targets(pairs))]
    assert means["generated"]["frechet_inception"] == pytest.approx(frechet_distance(*corners))
    assert means["real"]["frechet_vgg19"] < means["generated"]["frechet_vgg19"] / 10  # the floor
    assert min(means[name]["pixel_accuracy"] for name in ("real", "mean_colour")) > 0.95
    assert means["generated"]["pixel_accuracy"] < 0.9

    cells = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
    assert float(cells["l1"][0]) == pytest.approx(means["generated"]["l1"], rel=1e-3)
    assert len(cells["class_iou"]) == 3 and "psnr and ssim reward blur" in said and "3 images of" in said
    assert max(map(len, said.splitlines()[:12])) <= 120
    page = (folder / "gallery.html").read_text()
    assert page.count("<img ") == 9
    assert before <= set(run.rglob("*"))  # nothing is gone

    status, _, _ = call(capsys, "--ckpt_path", run, "--max_images=1", "--data_path", pairs)
    alone = json.loads((run / "evaluation-2" / "evaluation.json").read_text())
    assert status == 0 and alone["per_image"] == result["per_image"][:1]  # whatever else is measured


def test_paper_inference_without_pairs_to_train_on(tmp_path, capsys):
    run = write_run(tmp_path / "run", ngf=2)
    write_pair(tmp_path / "set" / "test" / "1.png", 1)
    results = []
    for seed in (5, 5, 6):
        flags = ["--ckpt_path", run.folder, "--inference=paper", f"--seed={seed}", "--data_path", tmp_path / "set"]
        status, said, _ = call(capsys, *flags, "--output_path", tmp_path / "new" / "er")
        assert status == 0 and "no mean colours" in said
        name = ("er", "er-2", "er-3")[len(results)]
        results.append(json.loads((tmp_path / "new" / name / "evaluation.json").read_text()))
    assert set(results[0]["metrics"]) == {"generated"} and results[0]["inference"] == "paper"
    same, other = (result["per_image"][0]["psnr"] for result in results[1:])
    assert results[0]["per_image"][0]["psnr"] == same != other


def test_two_files_of_one_name(tmp_path, capsys, run):
    for name in ("a.jpg", "a.png", "b.jpg"):
        write_pair(tmp_path / "set" / "val" / name, 1)
    argv = ["--ckpt_path", run, "--data_path", tmp_path / "set", "--output_path", tmp_path / "out"]
    assert call(capsys, *argv)[0] == 0
    generated = sorted(path.name for path in (tmp_path / "out" / "generated").iterdir())
    assert generated == ["a.jpg.png", "a.png.png", "b.png"]


def test_bad_input(tmp_path, capsys, monkeypatch, run, pairs):
    def refused(reason, *argv):
        status, _, error = call(capsys, "--ckpt_path", run, "--output_path", tmp_path / "out", *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2, error
        assert not (tmp_path / "out").exists()

    (tmp_path / "broken" / "val").mkdir(parents=True)
    (tmp_path / "broken" / "val" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    refused("no weights in", "--ckpt_path", pairs)
    refused("no images in val/", "--data_path", tmp_path)
    refused("val/1.png: is no image", "--data_path", tmp_path / "broken")
    refused("there is no such file", "--vgg19_weights", tmp_path / "none.h5")
    refused("--inception", "--inception", tmp_path / "none.pb")
    refused("cannot be written", "--output_path", pairs / "val" / "house 0.png" / "new")
    monkeypatch.setattr(features, "vgg19_features", lambda weights: np.ravel)
    refused("two images at least", "--vgg19_weights=w.h5", "--max_images=1")
    status, _, error = call(capsys, "--model", run / "x.onnx")
    assert status == 2 and "there is no such file" in error
