"""evaluate.py: numbers recomputed from the files written, and bad input."""

import json
from argparse import Namespace

import evaluate
import features
import numpy as np
import pytest
import readback
from conftest import OPTIONS, read, save, write_run
from data import Pairs
from metrics import compare, frechet_distance, kernel_distance
from predict import Translator

from common.test.testing import call_main

LABELS = np.array([[0, 48, 255], [255, 80, 0]])  # two of facades' colours
COLOURS = np.array([[60, 120, 200], [180, 150, 90]])  # what is made of them


def write_pair(path, number):
    """A wall and a window beside their labels, both noisy, 256 x 256 each."""
    rng = np.random.default_rng(number)
    label = np.zeros((256, 256), int)
    label[64:160, 32 + 4 * number : 120 + 4 * number] = 1
    halves = (COLOURS[label] + rng.integers(-20, 21, (256, 256, 3)), LABELS[label] + rng.integers(-6, 7, (256, 256, 3)))
    return save(path, *(np.clip(half, 0, 255).astype(np.uint8) for half in halves))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A folder with four pairs to train on and three to measure on."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, start, count in (("train", 0, 4), ("val", 10, 3)):
        for number in range(start, start + count):
            write_pair(folder / split / f"house {number}.png", number)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, pairs):
    """A run's folder with a checkpoint of random weights."""
    return write_run(tmp_path_factory.mktemp("run"), data_path=str(pairs)).folder


def test_a_generator_that_copies_and_pairs_that_are_copies(tmp_path):
    """Nothing is lost on the way to the network and back. Files of one name each have an image of their own."""
    half = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    files = [save(tmp_path / name, half, half) for name in ("a.bmp", "a.png")]
    pairs = Pairs(Namespace(**OPTIONS), files, 256)
    copy = Translator(lambda x: x, pairs.args, "")
    means = evaluate.measure(copy, files, pairs, tmp_path / "out", {"data": "copies"}, {})
    assert means["generated"] == {"l1": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0)}
    assert sorted(path.name for path in (tmp_path / "out" / "generated").iterdir()) == ["a-2.png", "a.png"]


def test_the_command(capsys, monkeypatch, run, pairs):
    def is_window(known, seed):  # a reader that knows the two colours
        assert len(known) == 4
        return lambda photograph: np.where(readback.shrunk(photograph)[..., 0] > -0.1, 9, 1)

    monkeypatch.setattr(features, "vgg19_features", lambda file: lambda image: image.mean((0, 1), dtype=np.float64))
    monkeypatch.setattr(readback, "train_reader", is_window)
    status, said, _ = call_main(capsys, evaluate.main, "--ckpt_path", run, "--vgg19_weights=w.h5", "--readback")
    folder = run / "evaluation"
    result = json.loads((folder / "evaluation.json").read_text())
    assert status == 0 and result["images"] == 3
    assert [row["file"] for row in result["per_image"]] == [f"house {number}.png" for number in range(10, 13)]

    outputs = [read(folder / row["output"]) for row in result["per_image"]]
    targets = [read(file)[:, :256] for file in sorted((pairs / "val").iterdir())]
    rows = [compare(output, target) for output, target in zip(outputs, targets)]
    for row, expected in zip(result["per_image"], rows):
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    means = result["metrics"]
    assert set(means) == {"generated", "mean_colour", "real"} and "l1" not in means["real"]
    assert means["generated"]["psnr"] == pytest.approx(np.mean([row["psnr"] for row in rows]))
    assert means["mean_colour"]["l1"] < 0.06 < means["generated"]["l1"]  # noise of 10 of 255 on average
    ours, theirs = (np.stack([p.mean((0, 1)) for p in images]) for images in (outputs, targets))
    assert means["generated"]["frechet_vgg19"] == pytest.approx(frechet_distance(ours, theirs))
    assert means["generated"]["kernel_vgg19"] == pytest.approx(kernel_distance(ours, theirs))
    assert means["real"]["frechet_vgg19"] < means["generated"]["frechet_vgg19"] / 10  # the floor
    assert min(means[name]["pixel_accuracy"] for name in ("real", "mean_colour")) > 0.95
    assert means["generated"]["pixel_accuracy"] < 0.9

    cells = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
    assert float(cells["l1"][0]) == pytest.approx(means["generated"]["l1"], rel=1e-3)
    assert len(cells["class_iou"]) == 3 and "psnr and ssim reward blur" in said and "3 images of" in said
    assert (folder / "gallery.html").read_text().count("<img ") == 9

    assert evaluate.main([f"--ckpt_path={run}", "--max_images=1"]) == 0
    alone = json.loads((run / "evaluation-2" / "evaluation.json").read_text())
    assert alone["per_image"] == result["per_image"][:1]  # whatever else is measured


def test_without_pairs_to_train_on(tmp_path, capsys, run):
    write_pair(tmp_path / "set" / "test" / "1.png", 1)
    flags = ["--inference=paper", "--data_path", tmp_path / "set", "--output_path", tmp_path / "new"]
    status, said, _ = call_main(capsys, evaluate.main, "--ckpt_path", run, *flags)
    result = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert status == 0 and "no mean colours" in said and set(result["metrics"]) == {"generated"}


def test_bad_input(tmp_path, capsys, monkeypatch, run):
    (tmp_path / "broken" / "val").mkdir(parents=True)
    (tmp_path / "broken" / "val" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.setattr(features, "vgg19_features", lambda file: np.ravel)
    for reason, *argv in (
        ("no images in val/", "--data_path", tmp_path),
        ("val/1.png: is no image", "--data_path", tmp_path / "broken"),
        ("--inception", "--inception", tmp_path / "none.pb"),
        ("two images at least", "--vgg19_weights=w.h5", "--max_images=1"),
    ):
        argv += ["--ckpt_path", run, "--output_path", tmp_path / "out"]
        status, _, error = call_main(capsys, evaluate.main, *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2, error
        assert not (tmp_path / "out").exists()
