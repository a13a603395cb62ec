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
import predict
import pytest
from conftest import call, write_samples
from PIL import Image

SIZE = (16, 32)  # height and width, of the copying network; the files are larger


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A data set of 12 samples, the last one held out; another with val/; three samples whose targets are what the
    network is given."""
    folder = tmp_path_factory.mktemp("words")
    for name, count in (("own", 12), ("other/train", 1), ("other/val", 3), ("copies", 3)):
        write_samples(folder / name, count, 24, 56)
    for target, given in (("t_t", "i_t"), ("t_b", "i_s"), ("t_f", "i_s")):
        shutil.rmtree(folder / "copies" / target)
        shutil.copytree(folder / "copies" / given, folder / "copies" / target)
    return folder


def samples_in(folder):
    return [(folder, name) for name in data.find_samples(folder)]


def at_size(sample, size=SIZE):
    return {kind: data.resized(image, size) for kind, image in data.read_sample(*sample).items()}


def copying():
    """An editor that gives what it is given, and a grey skeleton."""

    def run(i_t, i_s):
        assert i_s.shape[1:3] == SIZE
        return [np.full_like(i_t[..., :1], 0.2), i_t, i_s, i_s]

    return predict.Editor(run, Namespace(data_shape=SIZE), "nowhere")


def test_a_generator_that_copies_and_targets_that_are_copies(tmp_path, words):
    """Nothing is lost on the way to the network and back."""
    samples = samples_in(words / "copies")
    found, trivial = evaluate.evaluate_run(copying(), samples, tmp_path / "out")
    assert found["samples"] == 3
    for output in ("o_t", "o_b", "o_f"):
        best = {"mse": 0.0, "psnr": 100.0, "ssim": pytest.approx(1.0)}
        assert {name: found[f"{output}_{name}"] for name in best} == best
    t_sks = [at_size(sample)["t_sk"] / 255 for sample in samples]
    dices = [2 * 0.2 * t_sk.sum() / (0.2 * t_sk.size + t_sk.sum()) for t_sk in t_sks]
    assert found["o_sk_dice"] == pytest.approx(np.mean(dices), rel=1e-3)
    assert trivial["o_f_psnr"] == trivial["source_o_b_psnr"] == trivial["standard_o_t_psnr"] == 100


def test_the_trivial_baselines(tmp_path, words):
    samples = samples_in(words / "own")
    _, trivial = evaluate.evaluate_run(copying(), samples, tmp_path / "out")
    seen = [at_size(sample) for sample in samples]
    for method, kind in (("source", "i_s"), ("erased", "t_b")):
        expected = np.mean([metrics.psnr(sample[kind], sample["t_f"]) for sample in seen])
        assert trivial[f"{method}_o_f_psnr"] == pytest.approx(expected)
    methods = [trivial[f"{method}_o_f_psnr"] for method in ("source", "erased", "inpainted")]
    assert trivial["o_f_psnr"] == max(methods) and trivial["inpainted_o_b_psnr"] > trivial["source_o_b_psnr"] + 10
    mean = np.round(np.mean([sample["t_sk"] for sample in seen], 0))
    assert trivial["mean_o_sk_dice"] == pytest.approx(np.mean([metrics.dice(mean, s["t_sk"]) for s in seen]))
    assert trivial["o_f_mse"] == min(trivial[f"{method}_o_f_mse"] for method in ("source", "erased", "inpainted"))


def test_samples_that_cannot_be_used_are_left_out(tmp_path, capsys):
    broken = write_samples(tmp_path / "data", 3)
    (broken / "t_b" / "00.png").write_bytes(b"\x89PNG")
    Image.new("L", (8, 8)).save(broken / "mask_t" / "01.png")
    found, _ = evaluate.evaluate_run(copying(), samples_in(broken), tmp_path / "evaluation")
    said = capsys.readouterr().out
    assert said.count("left out: ") == 2 and "00.png" in said and "01.png: is 8 x 8" in said and found["samples"] == 1
    with pytest.raises(evaluate.UserError, match="none of the samples can be measured"):
        evaluate.evaluate_run(copying(), samples_in(broken)[:2], tmp_path / "none")


def test_the_command(capsys, monkeypatch, run, editor, words):
    other = words / "other"
    monkeypatch.setattr(predict, "load_editor", lambda path, device: editor)
    status, said, _ = call(capsys, evaluate.main, "--ckpt_path", run.folder, "--data_path", other)
    folder = run.folder / "evaluation"
    result = json.loads((folder / "evaluation.json").read_text())
    assert status == 0 and result["samples"] == 3 and result["size"] == [32, 64]
    psnrs = []
    for (file, row), sample in zip(result["per_sample"].items(), samples_in(other / "val")):
        assert Path(file) == other / "val" / "i_s" / sample[1]
        image = np.asarray(Image.open(folder / "images" / "o_f" / sample[1]))
        expected = metrics.compare(image, at_size(sample, (32, 64))["t_f"])
        assert {name: row[f"o_f/ours/{name}"] for name in expected} == pytest.approx(expected)
        psnrs.append(expected["psnr"])
    assert result["metrics"]["o_f/ours/psnr"] == pytest.approx(np.mean(psnrs))
    lines = [line for line in said.splitlines() if line.startswith("o_")]
    assert lines[0].split()[:2] == ["o_f/ours", "psnr"] and max(map(len, lines)) <= 100
    assert float(lines[0].split()[2]) == pytest.approx(np.mean(psnrs), abs=0.01)
    page = (folder / "gallery.html").read_text()
    assert page.count("<img ") == 3 * 6 and all(f"{name}" in page for name in (*data.FOLDERS, *evaluate.TARGETS))
    status, _, error = call(capsys, evaluate.main, "--model=a.onnx")
    assert status == 2 and "an export does not say what it was trained on" in error


def test_words_are_read(monkeypatch, words):
    """The word that is wanted is the one noted in i_t's file, else what i_t is read as."""
    sample = data.read_sample(words / "own", "00.png")
    texts = {sample["t_f"].tobytes(): "Word", sample["i_s"].tobytes(): "Else", sample["i_t"].tobytes(): "word"}
    reader = Namespace(read=lambda image: texts.get(image.tobytes(), "wor"))
    for noted in ("WORD", None):
        found = evaluate.read_words(reader, noted, sample["t_b"], sample)
        assert [found[f"ocr/{method}/word_accuracy"] for method in ("ours", "target", "source")] == [0, 1, 0]
        assert found["ocr/ours/ned"] == 0.75
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
