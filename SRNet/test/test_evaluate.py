"""evaluate.py: numbers known by hand or recomputed from the files written, and bad input."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import data
import evaluate
import metrics
import numpy as np
import ocr
import pytest
import tensorflow as tf
from conftest import call, write_run, write_samples
from PIL import Image

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


def args_of(words, **options):
    return Namespace(data_path=str(words), data_shape=SIZE, **options)


def samples_in(folder):
    return [(folder, name) for name in data.find_samples(folder)]


def at_size(sample):
    return {kind: data.resized(image, SIZE) for kind, image in data.read_sample(*sample).items()}


def copying(traced):
    """A generator that gives what it is given, and a grey skeleton; the shape of each tracing is noted."""

    def generator(inputs, training):
        i_t, i_s = inputs
        traced.append((tuple(i_s.shape), training))
        return tf.ones_like(i_t[..., :1]) * 0.2, i_t, i_s, i_s

    return generator


def result_in(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_a_generator_that_copies_and_targets_that_are_copies(tmp_path):
    """Nothing is lost on the way to the network and back; one graph for all batches, the last of two samples."""
    words = write_words(tmp_path / "words", evaluate.BATCH + 2, copies=True)
    traced = []
    found, trivial = evaluate.evaluate_run(args_of(words), copying(traced), samples_in(words), tmp_path / "out")
    assert traced == [((None, None, None, 3), False)] and found["samples"] == evaluate.BATCH + 2
    for output in ("o_t", "o_b", "o_f"):
        best = {"mse": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0)}
        assert {name: found[f"{output}_{name}"] for name in best} == best
    dices = []
    for sample in samples_in(words):
        t_sk = at_size(sample)["t_sk"] / 255
        dices.append(2 * 0.2 * t_sk.sum() / (0.2 * t_sk.size + t_sk.sum()))
    assert found["o_sk_dice"] == pytest.approx(np.mean(dices))
    assert trivial["o_f_psnr"] == trivial["source_o_b_psnr"] == trivial["standard_o_t_psnr"] == 100
    assert found["own_size_psnr"] < 100  # of 24 x 56 pixels 16 x 32 were left


def test_true_aspect(tmp_path):
    """Trained in buckets, a sample is seen at the width nearest to its aspect; its own size loses less then."""
    words = write_words(tmp_path / "words", 3, copies=True)
    write_samples(tmp_path / "words" / "more", 1, 24, 30)
    traced, scores = [], []
    for options in ({}, {"widths": [16, 40]}):
        samples = [*samples_in(words), *samples_in(words / "more")]
        found, _ = evaluate.evaluate_run(args_of(words, **options), copying(traced), samples, tmp_path / "out", True)
        scores.append(found["own_size_ssim"])
    shapes = [shape for shape, _ in traced]
    assert shapes == [(evaluate.BATCH, 16, width, 3) for width in (32, 40, 16)] and scores[1] > scores[0]


def test_the_trivial_baselines(tmp_path, words):
    samples = samples_in(words / "own")
    _, trivial = evaluate.evaluate_run(args_of(words / "own"), copying([]), samples, tmp_path / "out")
    seen = [at_size(sample) for sample in samples]
    for method, kind in (("source", "i_s"), ("erased", "t_b")):
        expected = np.mean([metrics.psnr(sample[kind], sample["t_f"]) for sample in seen])
        assert trivial[f"{method}_o_f_psnr"] == pytest.approx(expected)
    methods = [trivial[f"{method}_o_f_psnr"] for method in ("source", "erased", "inpainted")]
    assert trivial["o_f_psnr"] == max(methods) and trivial["inpainted_o_b_psnr"] > trivial["source_o_b_psnr"] + 10
    mean = np.round(np.mean([sample["t_sk"] for sample in seen], 0))
    assert trivial["mean_o_sk_dice"] == pytest.approx(np.mean([metrics.dice(mean, s["t_sk"]) for s in seen]))
    assert trivial["o_f_mse"] == min(trivial[f"{method}_o_f_mse"] for method in ("source", "erased", "inpainted"))


def test_what_training_asks_for(tmp_path, capsys, words):
    broken = write_words(tmp_path / "data", 3)
    (broken / "t_b" / "00.png").write_bytes(b"\x89PNG")
    Image.new("L", (8, 8)).save(broken / "mask_t" / "01.png")
    folder = tmp_path / "evaluation"
    folder.mkdir()
    found, _ = evaluate.evaluate_run(args_of(broken), copying([]), samples_in(broken), folder)
    said = capsys.readouterr().out
    assert said.count("left out: ") == 2 and "00.png" in said and "01.png: is 8 x 8" in said
    assert found["samples"] == 1 and not any(folder.iterdir())  # it was there already
    written = tmp_path / "evaluation-2"
    assert {path.name for path in written.iterdir()} == {"images", "evaluation.json", "gallery.html"}
    assert result_in(written)["metrics"]["o_f"]["ours"]["psnr"] == found["o_f_psnr"]


def test_the_command(capsys, run, words):
    before = set(run.rglob("*"))
    other = words / "other"
    status, said, _ = call(capsys, evaluate.main, "--ckpt_path", run, "--data_path", other)
    result = result_in(run / "evaluation")
    assert status == 0 and result["samples"] == 3 and result["size"] == list(SIZE)
    psnrs = []
    for row, sample in zip(result["per_sample"], samples_in(other / "val")):
        assert Path(row["file"]) == other / "val" / "i_s" / sample[1]
        image = np.asarray(Image.open(run / "evaluation" / "images" / row["outputs"]["o_f"]))
        expected = metrics.compare(image, at_size(sample)["t_f"])
        assert row["o_f"]["ours"] == pytest.approx(expected)
        psnrs.append(expected["psnr"])
    assert result["metrics"]["o_f"]["ours"]["psnr"] == pytest.approx(np.mean(psnrs))
    lines = said.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("o_f"))
    assert lines[header].split()[1:] == ["psnr", "ssim", "mse"] and max(map(len, lines[:20])) <= 100
    assert float(lines[header + 1].split()[1]) == pytest.approx(np.mean(psnrs), abs=0.01)
    page = (run / "evaluation" / "gallery.html").read_text()
    assert page.count("<img ") == 3 * 6 and all(f"{name}" in page for name in (*data.FOLDERS, *evaluate.TARGETS))
    assert before <= set(run.rglob("*"))  # nothing is gone


def test_words_are_read(tmp_path, monkeypatch, words):
    """The word that is wanted is the one noted in i_t's file, else what i_t is read as."""
    sample = data.read_sample(words / "own", "00.png")
    texts = {sample["t_f"].tobytes(): "Word", sample["i_s"].tobytes(): "Else", sample["i_t"].tobytes(): "word"}
    reader = Namespace(read=lambda image: texts.get(image.tobytes(), "wor"))
    for noted in ("WORD", None):
        found = evaluate.read_words(reader, noted, sample["t_b"], sample)
        assert [found[method]["word_accuracy"] for method in ("ours", "target", "source")] == [0, 1, 0]
        assert found["ours"]["ned"] == 0.75
    monkeypatch.setattr(ocr.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(evaluate.UserError, match="pip install --no-deps rapidocr-onnxruntime==1.4.4"):
        evaluate.evaluate(evaluate.parse_args(["--ocr", "--data_path", str(words / "other")]))


def test_what_is_held_out(words):
    """val/, else of the run's own data what it did not see, else all of a folder that nothing was trained on."""
    options = Namespace(data_path=str(words / "own"), seed=0)
    own = evaluate.held_out(None, options)
    assert own == evaluate.held_out(str(words / "own"), options) == data.split(options.data_path)[1] and len(own) == 1
    assert len(evaluate.held_out(str(words / "other"), options)) == 3
    assert len(evaluate.held_out(str(words / "other" / "val"), options)) == 3
    options.data_path = str(words / "other")
    assert len(evaluate.held_out(str(words / "own"), options)) == 12


def test_bad_input(capsys, tmp_path, run):
    def refused(reason, *argv):
        flags = ["--ckpt_path", run, "--output_path", tmp_path / "out", *argv]
        status, _, error = call(capsys, evaluate.main, *flags)
        assert status == 2 and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "out").exists()

    refused("an export does not say what it was trained on", "--model=a.onnx")
    sizes = write_words(tmp_path / "sizes", 2)
    Image.new("RGB", (9, 9)).save(sizes / "t_t" / "01.png")
    refused("01.png: is 9 x 9", "--data_path", sizes)
