"""evaluate.py and baseline.py: drawers whose metrics are known, what is written read back, and bad input."""

import json
from argparse import Namespace

import baseline
import data
import evaluate
import metrics
import numpy as np
import pytest
import sample_data
import text_encoder
import trained
from conftest import COLOURS, write_set
from PIL import Image

from common.cli import UserError
from common.distances import frechet_distance
from common.testing import call_main

SHADES = np.array(list(COLOURS.values()), np.uint8)


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Twelve plain pictures to train on and six to measure on, whose attributes.json tells their colours."""
    folder = write_set(tmp_path_factory.mktemp("birds") / "set", 12)
    for part in ("train", "test"):
        names = data.read_filenames(folder / part)
        shown = {name: {"body": name.split("/")[0]} for name in names}
        (folder / part / "attributes.json").write_text(json.dumps(shown))
    return folder


def args_of(folder, output="nowhere"):
    return Namespace(data_path=str(folder), output_path=str(output), embedding_type="cnn-rnn", seed=0)


def drawer(folder, sides, of=lambda label: label):
    """Knows by its embedding which colour a caption names, and draws that one, or the one that `of` makes of it."""
    split = data.load(folder / "train")
    names = [name.split("/")[0] for name in split.filenames]
    known = np.stack([split.embeddings[names.index(name), 0] for name in COLOURS])

    def draw(embeddings, seed):
        labels = of(np.argmax(embeddings @ known.T, 1))
        return [np.broadcast_to(SHADES[labels][:, None, None], (len(labels), side, side, 3)) for side in sides]

    return draw


def result_in(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_captions_that_are_drawn(birds):
    split = data.load(birds / "test")  # six pictures with three captions
    few = evaluate.choose(split, 3)
    assert few.indices.tolist() == [0, 2, 4] and few.numbers.tolist() == [0, 2, 1]
    many = evaluate.choose(split, 20)
    pairs = list(zip(many.indices.tolist(), many.numbers.tolist()))
    assert len(set(pairs)) == 18 and pairs[18:] == pairs[:2]  # each once, then again
    assert np.array_equal(many.embeddings[7], split.embeddings[pairs[7]])
    assert many.captions[7] == split.captions[pairs[7][0]][pairs[7][1]]
    assert np.array_equal(many.real(64)[7], split.pictures(76)[pairs[7][0], 6:70, 6:70])
    assert many.some(2).captions == [many.captions[0], many.captions[10]]


def test_baselines_by_hand(birds):
    pictures = data.load(birds / "train").pictures(76)
    assert baseline.spread(3, 8).tolist() == [0, 2, 5] and baseline.spread(9, 2).tolist() == [0, 1]
    drawn = baseline.shuffled(pictures, 30, 64)
    crops = [crop.tobytes() for crop in pictures[:, 6:70, 6:70]]
    counts = [sum(picture.tobytes() == crop for picture in drawn) for crop in crops]
    assert len(drawn) == 30 and min(counts) >= 2 and max(counts) <= 3  # all equally often
    expected = pictures[:, 6:70, 6:70].astype(float).mean(0)
    assert np.abs(baseline.mean_picture(pictures, 64) - expected).max() <= 0.5


def test_a_drawer_that_understands_and_one_that_does_not(birds):
    split = data.load(birds / "test")
    found, trivial = evaluate.evaluate_run(args_of(birds), drawer(birds, [64]), split)
    assert found["colour_share"] == 1 and found["pictures"] == 6
    assert trivial["real_colour_share"] == 1 and trivial["colour_share"] < 1
    assert trivial["mean_colour_share"] in (0, pytest.approx(1 / 3)) and "real_frechet_colours" not in trivial
    assert found["frechet_colours"] < trivial["frechet_colours"] / 5  # nearer than the mean picture
    expected = frechet_distance(
        metrics.pooled_colours(SHADES[[2, 2, 1, 1, 0, 0]][:, None, None] * np.ones((1, 64, 64, 1), np.uint8)),
        metrics.pooled_colours(split.pictures(76)[:, 6:70, 6:70]),
    )
    assert found["frechet_colours"] == pytest.approx(expected)
    found, _ = evaluate.evaluate_run(args_of(birds), drawer(birds, [64, 256], lambda label: (label + 1) % 3), split)
    assert found["colour_share"] == found["stageI_colour_share"] == 0


def test_r_precision_of_what_a_text_encoder_tells(monkeypatch, tmp_path, birds):
    """An encoder beside the data that hears and sees colours; the one beside the run goes before it."""
    for name in ("load", "load_picture_encoder"):
        monkeypatch.setattr(text_encoder, name, lambda path: path)
    heard, seen = [], []

    def encode(encoder, captions):
        heard.append(encoder)
        return np.array([[f"a {name} bird" in caption for name in COLOURS] for caption in captions], np.float32)

    def encode_pictures(encoder, pictures):
        seen.append(encoder)
        return np.eye(3)[((pictures.mean((1, 2))[:, None] - SHADES) ** 2).sum(2).argmin(1)]

    monkeypatch.setattr(text_encoder, "encode", encode)
    monkeypatch.setattr(text_encoder, "encode_pictures", encode_pictures)
    split = data.load(birds / "test")
    assert evaluate.find_encoders([tmp_path, birds]) is None
    (tmp_path / "text_encoder.h5").touch()
    found, trivial = evaluate.evaluate_run(args_of(birds, tmp_path), drawer(birds, [64]), split)
    assert found["r_precision"] == trivial["real_r_precision"] == 1 and trivial["r_precision"] < 1
    assert set(heard) == set(seen) == {str(tmp_path / "text_encoder.h5")}

    def damaged(path):
        raise UserError("damaged")

    # One that was trained against classes, and one that cannot be read: a training still gets its result.
    for load in (lambda path: None, damaged):
        monkeypatch.setattr(text_encoder, "load_picture_encoder", load)
        found, _ = evaluate.evaluate_run(args_of(birds, tmp_path), drawer(birds, [64]), split)
        assert "r_precision" not in found and "colour_share" in found


def test_what_training_asks_for(tmp_path, capsys, birds):
    split, folder = data.load(birds / "test"), tmp_path / "evaluation"
    folder.mkdir()
    found, _ = evaluate.evaluate_run(args_of(birds), drawer(birds, [64, 256]), split, folder)
    assert not any(folder.iterdir())  # it was there already
    written = tmp_path / "evaluation-2"
    names = {"stageI", "stageII", "super_images.png", "evaluation.json", "gallery.html"}
    assert {path.name for path in written.iterdir()} == names
    result = result_in(written)
    assert result["metrics"]["stageII"]["colour_share"] == found["colour_share"] == 1
    assert set(result["metrics"]) == {"stageI", "stageII", "real", "shuffled", "mean"} and result["sizes"] == [64, 256]
    for row in result["per_picture"]:
        name, picture = row["file"].split("/")[0], np.asarray(Image.open(written / row["stageII"]))
        assert row["wanted"] == row["colour"] == name and f"a {name} bird" in row["caption"]
        assert picture.shape == (256, 256, 3) and (picture == COLOURS[name]).all()
    page = (written / "gallery.html").read_text()
    assert page.count("<img ") == 6 * 3 and "training pictures, any caption" in page
    sheet = Image.open(written / "super_images.png")  # six captions, each a line and two rows of five pictures
    assert sheet.size == (5 * (256 + evaluate.GAP), 6 * (evaluate.LINE + 2 * (256 + evaluate.GAP)))


def test_the_command(monkeypatch, capsys, birds, stage2_run):
    """Of a run of both stages; what is printed is what is written, and stage I alone draws the same pictures."""
    monkeypatch.setattr(evaluate, "SHEET", 1)
    before = set(stage2_run.folder.rglob("*"))
    flags = ["--ckpt_path", stage2_run.folder, "--data_path", birds, "--number=10"]
    status, said, _ = call_main(capsys, evaluate.main, *flags)
    folder = stage2_run.folder / "evaluation"
    result = result_in(folder)
    assert status == 0 and result["pictures"] == 10 and before <= set(stage2_run.folder.rglob("*"))
    model, split = trained.load(str(stage2_run.folder)), data.load(birds / "test")
    chosen = evaluate.choose(split, 10)
    for stage, pictures in zip(("stageI", "stageII"), trained.draw(model, chosen.embeddings, seed=0)):
        written = np.stack([np.asarray(Image.open(folder / row[stage])) for row in result["per_picture"]])
        assert np.abs(written.astype(int) - pictures).max() <= 1
        wanted = [list(sample_data.COLOURS).index(row["wanted"]) for row in result["per_picture"]]
        share = np.mean(metrics.body_colours(written) == wanted)
        assert result["metrics"][stage]["colour_share"] == pytest.approx(share)
    line = next(line for line in said.splitlines() if line.startswith("stage II ")).split()
    values = list(result["metrics"]["stageII"].values())
    assert [float(number) for number in line[2:]] == pytest.approx(values, rel=1e-3)
    status, _, _ = call_main(capsys, evaluate.main, *flags, "--stage=1")
    alone = result_in(stage2_run.folder / "evaluation-2")
    assert status == 0 and not (stage2_run.folder / "evaluation-2" / "stageII").exists()
    assert alone["metrics"]["stageI"] == pytest.approx(result["metrics"]["stageI"], rel=0.1, abs=0.01)


def test_a_judge(monkeypatch, capsys, birds):
    """Inception score and Frechet distance by a classifier, also where it is only found beside the data."""
    split, n = data.load(birds / "test"), 12

    def judge(pictures, total=None):
        means = np.stack([picture.mean((0, 1)) for picture in pictures]) / 255
        return means / means.sum(1, keepdims=True), means

    chosen = evaluate.choose(split, n)
    _, (pictures,), means = evaluate.measure(args_of(birds), drawer(birds, [64]), chosen, judge=judge)
    mean, std = metrics.inception_score(judge(pictures)[0])
    assert means["stageI"]["inception"] == pytest.approx(mean) and means["stageI"]["inception_std"] == pytest.approx(
        std
    )
    expected = frechet_distance(judge(pictures)[1], judge(chosen.real(64))[1])
    assert means["stageI"]["frechet"] == pytest.approx(expected) and "frechet" not in means["real"]
    assert means["mean"]["inception"] == pytest.approx(1)


def test_bad_input(capsys, monkeypatch, tmp_path, birds, stage1_run):
    def refused(reason, *argv):
        flags = ["--ckpt_path", stage1_run.folder, "--data_path", birds, "--output_path", tmp_path / "out", *argv]
        status, _, error = call_main(capsys, evaluate.main, *flags)
        assert status == 2 and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "out").exists()

    refused("no checkpoint in", "--ckpt_path", birds)
    model = trained.load(str(stage1_run.folder))
    monkeypatch.setattr(trained, "load", lambda path: model)  # which takes a second or two
    refused("is of stage I", "--stage=2")
    refused("there is no folder test", "--data_path", tmp_path)
    refused("there is no such file", "--weights", tmp_path / "w.h5")
    refused("there is no such file", "--classifier", tmp_path / "c.h5")
    refused("its embeddings have 5 numbers", "--data_path", write_set(tmp_path / "small", 6, size=5))
    refused("cannot be written", "--output_path", birds / "test" / "attributes.json" / "new")
    for flags, reason in (
        (["--number=3"], "at least 10"),
        (["--stage=3"], "invalid choice"),
        (["--nunber=9"], "unknown"),
    ):
        with pytest.raises(SystemExit) as exit_:
            evaluate.main(["--ckpt_path", str(stage1_run.folder), *flags])
        assert exit_.value.code == 2 and reason in capsys.readouterr().err


def test_data_without_captions_and_training_pictures(capsys, monkeypatch, tmp_path, birds):
    """The pictures' names stand for the captions, and there is nothing to compare with."""
    data_path = tmp_path / "set"
    known = data.load(birds / "test")
    split = data.Split(data_path / "test", ["a/1", "a/2"], np.array([0, 1]), known.embeddings[:2])
    monkeypatch.setattr(split, "pictures", lambda side: known.pictures(side)[:2])
    found, trivial = evaluate.evaluate_run(args_of(data_path), drawer(birds, [64]), split, tmp_path / "evaluation")
    assert set(found) == {"frechet_colours", "pictures"} and trivial == {}
    assert "no training pictures to compare with" in capsys.readouterr().out
    assert [row["caption"] for row in result_in(tmp_path / "evaluation")["per_picture"]] == ["1_0", "2_1"]
