"""evaluate.py: numbers known by hand or recomputed from the files written, and bad input."""

import dataclasses
import json
import shutil
from argparse import Namespace
from pathlib import Path

import baseline
import data
import evaluate
import metrics
import numpy as np
import pytest
import tensorflow as tf
import trained
from conftest import write_run, write_samples
from PIL import Image

from common.testing import call_main

SIZE = (16, 32)  # height and width, of the network; the files are larger


def write_words(folder, count, copies=False):
    """Samples of another size and shape than the network's.

    Args:
        copies: the targets are what the network is given.
    """
    write_samples(folder, count, 24, 56)
    if copies:
        for target, given in (("t_t", "i_t"), ("t_b", "i_s"), ("t_f", "i_s")):
            shutil.rmtree(folder / target)
            shutil.copytree(folder / given, folder / target)
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A data set of 12 samples, the last one held out, and three other words in val/ of another."""
    folder = tmp_path_factory.mktemp("words")
    write_words(folder / "own", 12)
    write_words(folder / "other" / "train", 1)
    write_words(folder / "other" / "val", 3)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, words):
    """A run's folder with a checkpoint of random weights."""
    return write_run(tmp_path_factory.mktemp("run") / "run", data_shape=SIZE, data_path=str(words / "own")).folder


def args_of(words):
    return Namespace(data_path=str(words), data_shape=SIZE)


def samples_in(folder):
    return [(folder, name) for name in data.find_samples(folder)]


def copying(traced):
    """A generator that gives what it is given, and a grey skeleton; each tracing is noted."""

    def generator(inputs, training):
        traced.append(training)
        i_t, i_s = inputs
        return tf.ones_like(i_t[..., :1]) * 0.2, i_t, i_s, i_s

    return generator


def result_in(folder):
    return json.loads((folder / "evaluation.json").read_text())


def pixels(path):
    picture = np.asarray(Image.open(str(path)))
    return picture if picture.ndim == 3 else picture[..., None]


def test_a_generator_that_copies_and_targets_that_are_copies(tmp_path):
    """Nothing is lost on the way to the network and back; one graph for all batches, the last of two samples."""
    words = write_words(tmp_path / "words", evaluate.BATCH + 2, copies=True)
    traced = []
    found, trivial = evaluate.evaluate_run(args_of(words), copying(traced), samples_in(words))
    assert traced == [False] and found["samples"] == evaluate.BATCH + 2
    for output in ("o_t", "o_b", "o_f"):
        best = {"mse": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0)}
        assert {name: found[f"{output}_{name}"] for name in best} == best
    dices = []
    for sample in samples_in(words):
        t_sk = evaluate.read(sample, SIZE)["t_sk"] / 255
        dices.append(2 * 0.2 * t_sk.sum() / (0.2 * t_sk.size + t_sk.sum()))
    assert found["o_sk_dice"] == pytest.approx(np.mean(dices))
    assert trivial["o_f_psnr"] == trivial["source_o_b_psnr"] == trivial["standard_o_t_psnr"] == 100


def test_the_answers_that_need_no_learning(words):
    samples = samples_in(words / "own")
    _, trivial = evaluate.evaluate_run(args_of(words / "own"), copying([]), samples)
    assert set(trivial) == {
        *(f"{output}_{name}" for output in evaluate.TARGETS for name in metrics.NAMES),
        *(f"{other}_{name}" for other in ("source_o_b", "standard_o_t") for name in metrics.NAMES),
        "o_sk_dice",
    }
    assert trivial["o_b_psnr"] > trivial["source_o_b_psnr"] + 10  # backgrounds of one colour
    expected = []
    for sample in (evaluate.read(one, SIZE) for one in samples):
        expected.append(metrics.psnr(sample["i_s"], sample["t_f"]))
    assert trivial["o_f_psnr"] == pytest.approx(np.mean(expected))


def test_what_training_asks_for(tmp_path, capsys, words):
    broken = write_words(tmp_path / "data", 3)
    (broken / "t_b" / "00.png").write_bytes(b"\x89PNG")
    Image.new("L", (8, 8)).save(broken / "mask_t" / "01.png")
    folder = tmp_path / "evaluation"
    folder.mkdir()
    found, _ = evaluate.evaluate_run(args_of(broken), copying([]), samples_in(broken), folder)
    said = capsys.readouterr().out
    assert "2 of 3 samples left out" in said and "00.png" in said and "01.png: is 8 x 8" in said
    assert found["samples"] == 1 and not any(folder.iterdir())  # it was there already
    written = tmp_path / "evaluation-2"
    assert {path.name for path in written.iterdir()} == {"pictures", "evaluation.json", "gallery.html"}
    assert result_in(written)["metrics"]["o_f"]["ours"]["psnr"] == found["o_f_psnr"]


def test_the_command(capsys, monkeypatch, run, words):
    before = set(run.rglob("*"))
    other = words / "other"
    status, said, _ = call_main(capsys, evaluate.main, "--ckpt_path", run, "--data_path", other)
    result = result_in(run / "evaluation")
    assert status == 0 and result["samples"] == 3 and result["size"] == list(SIZE)
    scores = {name: [] for name in evaluate.TARGETS}
    for row, sample in zip(result["per_sample"], samples_in(other / "val")):
        given = evaluate.read(sample, SIZE)
        assert Path(row["file"]) == other / "val" / "i_s" / sample[1]
        for output, target in evaluate.TARGETS.items():
            drawn = pixels(run / "evaluation" / "pictures" / row["outputs"][output])
            scores[output].append(metrics.compare(drawn, given[target], output == "o_sk"))
            assert row[output]["ours"] == pytest.approx(scores[output][-1])
        for output, methods in baseline.answers(given).items():
            for method, picture in methods.items():
                expected = metrics.compare(picture, given[evaluate.TARGETS[output]], output == "o_sk")
                assert row[output][method] == pytest.approx(expected)
    assert result["metrics"]["o_sk"]["ours"]["dice"] == pytest.approx(np.mean([row["dice"] for row in scores["o_sk"]]))

    lines = [line.split() for line in said.splitlines()]
    line = next(words for words in lines if words[:2] == ["o_f", "ours"])
    assert [float(number) for number in line[2:]] == pytest.approx(
        list(result["metrics"]["o_f"]["ours"].values()), 0.01
    )
    assert said.count("source crop unchanged") == 2 and "inpainted (biharmonic)" in said
    page = (run / "evaluation" / "gallery.html").read_text()
    assert page.count("<img ") == 3 * 6
    for name in (*data.FOLDERS, *evaluate.TARGETS):
        assert f"{name}</figcaption>" in page or f"<figcaption>{name}," in page
    assert before <= set(run.rglob("*"))  # nothing is gone

    model = dataclasses.replace(trained.load(str(run)), generator=copying([]))
    monkeypatch.setattr(trained, "load", lambda path: model)
    flags = ["--ckpt_path", run, "--data_path", other / "val", "--max_samples=1", "--output_path", run / "evaluation"]
    status, _, _ = call_main(capsys, evaluate.main, *flags)
    one = result_in(run / "evaluation-2")["per_sample"]
    assert status == 0 and [row["file"] for row in one] == [result["per_sample"][0]["file"]]


def test_what_is_held_out(words):
    """val/, else of the run's own data what it did not see, else all of a folder that nothing was trained on."""
    options = Namespace(data_path=str(words / "own"), seed=0)
    own = evaluate.held_out(None, options)
    assert own == evaluate.held_out(str(words / "own"), options) == data.split(options)[1] and len(own) == 1
    assert len(evaluate.held_out(str(words / "other"), options)) == 3
    assert len(evaluate.held_out(str(words / "other" / "val"), options)) == 3
    options.data_path = str(words / "other")
    assert len(evaluate.held_out(str(words / "own"), options)) == 12


def test_bad_input(capsys, monkeypatch, tmp_path, run, words):
    def refused(reason, *argv):
        flags = ["--ckpt_path", run, "--output_path", tmp_path / "out", *argv]
        status, _, error = call_main(capsys, evaluate.main, *flags)
        assert status == 2 and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "out").exists()

    refused("no checkpoint in", "--ckpt_path", words)
    model = trained.load(str(run))
    monkeypatch.setattr(trained, "load", lambda path: model)  # which takes a second or two
    refused("no folder i_t", "--data_path", tmp_path)
    sizes = write_words(tmp_path / "sizes", 2)
    Image.new("RGB", (9, 9)).save(sizes / "t_t" / "01.png")
    refused("01.png: is 9 x 9", "--data_path", sizes)
    (sizes / "t_t" / "01.png").unlink()
    refused("t_t lacks 1 of the names", "--data_path", sizes)
    refused("cannot be written", "--output_path", sizes / "t_t" / "00.png" / "new")
    for flags, reason in ((["--max_samples=0"], "at least 1"), (["--ckpt=3"], "nearest known one")):
        with pytest.raises(SystemExit) as exit_:
            evaluate.main(["--ckpt_path", str(run), *flags])
        assert exit_.value.code == 2 and reason in capsys.readouterr().err
