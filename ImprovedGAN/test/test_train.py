"""Training: flags and their refusals, what a step does, what each option changes, and what a run leaves behind."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import data
import numpy as np
import pytest
import tensorflow as tf
import toy
import train
from PIL import Image

from common import testing
from common.optimizer import named_variables

TRAIN = Path(train.__file__)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return toy.write_set(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def start(digits, tmp_path):
    """Runs train.py's main with flags on the small set, op by op, and returns its exit status."""

    def run(*flags, output=tmp_path / "run"):
        tiny = ["--batch_size=6", "--baseline_steps=0", "--debug"]
        return train.main([f"--data_path={digits}", f"--output_path={output}", *tiny, *flags])

    return run


@pytest.fixture
def prepared(digits, tmp_path):
    """What train.prepare makes of flags, op by op."""

    def prepare(*flags):
        tiny = ["--batch_size=6", "--train_steps=10", "--debug", f"--output_path={tmp_path / 'run'}"]
        args = train.parse_args([f"--data_path={digits}", *tiny, *flags])
        return args, train.prepare(args)

    return prepare


# Flags.


RECIPES = {
    "ssgan": (
        (),
        {
            "batch_size": 32,
            "n_z": 128,
            "learning_rate_d": 3e-4,
            "learning_rate_g": 1e-4,
            "train_steps": 45000,
            "train_epochs": None,
        },
    ),
    "mnist": (
        ("--model=paper",),
        {"batch_size": 100, "n_z": 100, "learning_rate_g": 3e-3, "train_epochs": 300, "n_labels": 100},
    ),
    "svhn": (("--model=paper", "--recipe=svhn"), {"learning_rate_d": 3e-4, "train_epochs": 900, "n_labels": 1000}),
    "cifar10": (("--model=paper", "--dataset=CIFAR10"), {"recipe": "cifar10", "train_epochs": 1200, "n_labels": 4000}),
    "own": (
        ("--model=paper", "--n_labels=6", "--train_steps=7"),
        {"n_labels": 6, "train_steps": 7, "train_epochs": None},
    ),
    "epochs first": (("--train_steps=7", "--train_epochs=2"), {"train_epochs": 2, "learning_rate_d": 3e-4}),
    "aliases": (("--max_training_steps=5", "--deconv=nn"), {"train_steps": 5, "deconv_type": "nn"}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_defaults(name, tmp_path):
    flags, expected = RECIPES[name]
    args = vars(train.parse_args([f"--data_path={tmp_path}", *flags]))
    assert {key: args[key] for key in expected} == expected


REFUSALS = {
    "there is no folder /nowhere": ["--data_path=/nowhere"],
    "--data_path": [],
    "nearest known one is --n_labels": ["--data_path=.", "--n_label=5"],
    "flags are written --name=value": ["--data_path=.", "fast"],
    "--norm_type instance belongs to --model ssgan": ["--data_path=.", "--model=paper", "--norm_type=instance"],
    "--norm_type virtual belongs to --model paper": ["--data_path=.", "--norm_type=virtual"],
    "--seeds compares": ["--data_path=.", "--seeds=2", "--evaluate=False"],
    "--model: invalid choice: 'dcgan'": ["--data_path=.", "--model=dcgan"],
    "--deconv_type/--deconv: invalid choice": ["--data_path=.", "--deconv=cubic"],
    "'0' is not a whole number, at least 1": ["--data_path=.", "--batch_size=0"],
    "--train_steps/--max_training_steps: '2.5'": ["--data_path=.", "--train_steps=2.5"],
    "--learning_rate_d: '-1' is not a number, at least 0": ["--data_path=.", "--learning_rate_d=-1"],
    "--learning_rate_g: 'nan'": ["--data_path=.", "--learning_rate_g=nan"],
    "'1.5' is not a number, at least 0, at most 1": ["--data_path=.", "--label_smoothing=1.5"],
    "'maybe' is neither True nor False": ["--data_path=.", "--evaluate=maybe"],
    "--seed: '-3'": ["--data_path=.", "--seed=-3"],
    "--seed: '99999999999'": ["--data_path=.", "--seed=99999999999"],
}


@pytest.mark.parametrize("words", REFUSALS)
def test_flags_refused(words, capsys):
    with pytest.raises(SystemExit) as caught:
        train.main(REFUSALS[words])
    told = capsys.readouterr().err
    assert caught.value.code == 2 and words in told and len(told.splitlines()) <= 2


DATA_REFUSALS = {
    "does not divide by the 3 classes": ["--n_labels=7"],
    "asks for 30 a class, but class 0 has 20": ["--n_labels=90"],
    "--batch_size: a batch of 61 is larger than the data (60 samples)": ["--batch_size=61"],
    "--batch_size: a batch of 62 is larger than": ["--batch_size=62", "--model=paper", "--n_labels=6"],
    "--batch_size: a batch of 63 is larger than": ["--batch_size=63", "--train_epochs=1"],
    "pictures of 4 x 4 are too small": ["--model=paper", "--recipe=svhn", "--n_labels=6", "--image_size=4"],
    "pictures of 1 x 1 are too small": ["--image_size=1"],
    "no checkpoint in /nowhere": ["--ckpt_path=/nowhere"],
    "--data_dump_step soon": ["--data_dump_step=soon"],
}


@pytest.mark.parametrize("words", DATA_REFUSALS)
def test_data_refused(words, start, capsys):
    """Told in a line or two with exit status 2, and the folder is still good for a run with the mistake mended."""
    assert start("--train_steps=1", *DATA_REFUSALS[words]) == 2
    told = capsys.readouterr().err
    assert words in told and len(told.splitlines()) <= 2 and "Traceback" not in told
    if "--batch_size=61" in DATA_REFUSALS[words]:
        assert start("--train_steps=1") == 0


def test_output_that_cannot_be_written(start, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert start(output=tmp_path / "file" / "run") == 2
    assert re.search(r"--output_path \S+file/run cannot be written: ", capsys.readouterr().err)


# Steps.


def test_a_step_lowers_the_discriminators_loss(prepared):
    """The page's model, the discriminator alone, on one batch."""
    args, parts = prepared("--learning_rate_d=1e-3")
    batch = next(parts.batches(0))
    before = [v.numpy() for v in named_variables(parts.generator, trainable_only=True).values()]
    values = [parts.update(batch, 0) for _ in range(12)]  # even steps are the discriminator's
    assert float(values[-1]["d_loss"]) < 0.7 * float(values[0]["d_loss"])
    assert float(values[-1]["supervised_loss"]) < float(values[0]["supervised_loss"])
    assert float(values[-1]["accuracy"]) == 1
    after = [v.numpy() for v in named_variables(parts.generator, trainable_only=True).values()]
    assert all(np.array_equal(one, other) for one, other in zip(before, after))


def test_a_step_lowers_the_generators_loss(prepared):
    """The page's model, the generator alone: its pictures come nearer and its discriminator stays."""
    args, parts = prepared("--learning_rate_g=1e-3")
    batch = next(parts.batches(0))
    weights = [v for v in parts.state["discriminator"].values() if v.trainable]
    before = [v.numpy() for v in weights]
    values = [float(parts.update(batch, 1)["g_loss"]) for _ in range(8)]
    assert values[-1] < values[0] - 0.5
    assert all(np.array_equal(one, v.numpy()) for one, v in zip(before, weights))


@pytest.mark.parametrize("recipe", ["mnist", "svhn"])
def test_feature_distance_falls(prepared, recipe):
    """The paper's model, the generator alone: the mean features of its pictures come nearer to the real ones'."""
    flags = ["--model=paper", f"--recipe={recipe}", "--n_labels=6", "--learning_rate_d=0", "--image_size=12"]
    args, parts = prepared(*flags, "--learning_rate_g=1e-3")
    batch = next(parts.batches(0))
    before = [v.numpy() for v in parts.state["discriminator"].values()]
    values = [float(parts.update(batch, 1)["g_loss"]) for _ in range(8)]
    assert values[-1] < 0.9 * values[0]
    assert all(np.array_equal(one, v.numpy()) for one, v in zip(before, parts.state["discriminator"].values()))


def test_the_papers_model_learns_its_labels(prepared):
    args, parts = prepared("--model=paper", "--n_labels=6")
    batches = parts.batches(0)
    values = [parts.update(next(batches), step) for step in range(12)]
    assert float(values[-1]["supervised_loss"]) < 0.5 * float(values[0]["supervised_loss"])


@pytest.mark.parametrize("model", ["ssgan", "paper"])
def test_the_tested_average(prepared, model):
    """Of the discriminator's weights: w1, then 10 / 11 of the way to w2, then the rate's 0.9 of the way to w3."""
    labels = ["--n_labels=6"] if model == "paper" else []
    args, parts = prepared(f"--model={model}", "--average_rate=0.9", *labels)
    batch, name = next(parts.batches(0)), "dense0.0" if model == "paper" else "conv0.0"
    weights = []
    for step in range(3 * parts.cycle):
        parts.update(batch, step)
        if step % parts.cycle == 0:  # the discriminator's turn
            weights.append(parts.state["discriminator"][name].numpy())
    first, second, third = weights
    mean = first + 10 / 11 * (second - first)
    mean += 0.9 * (third - mean)
    np.testing.assert_allclose(parts.state["average"][name], mean, atol=1e-6)
    assert named_variables(parts.tested)[name] is parts.state["average"][name]


def test_historical_averages(prepared):
    """The mean of the past weights, the first ones included; at first nothing pulls at the weights."""
    flags = ["--model=paper", "--n_labels=6", "--learning_rate_g=0", "--learning_rate_d=0"]
    losses = []
    for weight in (0, 1):
        args, parts = prepared(*flags, f"--historical_averaging={weight}")
        losses.append(float(parts.update(next(parts.batches(0)), 0)["d_loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    args, parts = prepared("--model=paper", "--n_labels=6", "--historical_averaging=1")
    weight, batches, past = parts.state["discriminator"]["dense0.0"], parts.batches(0), []
    for step in range(3):
        parts.update(next(batches), step)
        past.append(weight.numpy())
        np.testing.assert_allclose(parts.state["history"]["discriminator"]["dense0.0"], np.mean(past, 0), atol=1e-5)


def test_update_rate(prepared):
    """So many generator steps follow each discriminator step."""
    args, parts = prepared("--update_rate=2")
    batch = next(parts.batches(0))
    kinds = ["d" if "d_loss" in parts.update(batch, step) else "g" for step in range(7)]
    assert "".join(kinds) == "dggdggd"
    assert int(parts.state["d_optimizer"]["adam"]["iterations"]) == 3
    assert int(parts.state["g_optimizer"]["adam"]["iterations"]) == 4


def test_reconstruction_ends(prepared):
    """Its weight falls from 10 to 0 at step 1500: then the generator's loss knows the pictures no more."""
    args, parts = prepared("--learning_rate_g=0", "--norm_type=None")  # where pictures of a batch do not mix
    (images, labels), values = next(parts.batches(0)), {}
    for step in (1, 751, 1501):
        near, far = (float(parts.update((x, labels), step)["g_loss"]) for x in (images, images + 10))
        values[step] = far - near
    assert values[1501] == 0
    assert values[751] / values[1] == pytest.approx((1500 - 751) / (1500 - 1), rel=0.05)


OPTIONS = ["--minibatch_discrimination", "--label_smoothing=0.1", "--historical_averaging=0.1"]
OPTIONS += ["--feature_matching=False", "--norm_type=virtual", "--norm_type=None", "--weight_norm=False"]


def test_every_option_of_the_paper_matters(prepared):
    def trajectory(*flags):
        args, parts = prepared("--model=paper", "--n_labels=6", *flags)
        batches = parts.batches(0)
        values = [parts.update(next(batches), step) for step in range(3)]
        return np.array([[float(value[name]) for name in ("d_loss", "g_loss")] for value in values])

    plain = trajectory()
    np.testing.assert_allclose(trajectory(), plain, rtol=1e-4)  # the same again
    for option in OPTIONS:
        changed = trajectory(option)
        assert np.isfinite(changed).all() and np.abs(changed / plain - 1).max() > 1e-3, option


@pytest.mark.parametrize("flags", [["--deconv_type=transpose", "--norm_type=instance"], ["--deconv=nn"]], ids=str)
def test_page_options_train(start, flags, tmp_path):
    assert start("--train_steps=2", *flags) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["train_steps"] == 2


# The data that training sees.


@pytest.mark.parametrize("model", ["ssgan", "paper"])
def test_no_other_label_is_seen(start, tmp_path, monkeypatch, digits, model):
    """Exactly 6 labels, two a class, saved with the run. All others may be wrong: the weights are the same bits."""
    choose = data.choose_pictures
    flags = [f"--model={model}", "--n_labels=6", "--split_seed=3", "--train_steps=4", "--deterministic"]

    def run(name, poison):
        def poisoned(args, pictures):
            pictures, labelled = choose(args, pictures)
            return dataclasses.replace(pictures, train_labels=poison(pictures.train_labels, labelled)), labelled

        monkeypatch.setattr(data, "choose_pictures", poisoned)
        assert start(*flags, output=tmp_path / name) == 0
        saved = json.loads((tmp_path / name / "labels.json").read_text())
        return testing.weights(tmp_path / name), saved

    def others(labels, labelled):
        poisoned = (labels + 1) % 3
        poisoned[labelled] = labels[labelled]
        return poisoned

    def one(labels, labelled):
        poisoned = labels.copy()
        poisoned[labelled] = (labels[labelled] + 1) % 3
        return poisoned

    honest, saved = run("honest", lambda labels, labelled: labels)
    assert saved["split_seed"] == 3
    assert sorted(data.load(digits).train_labels[saved["indices"]]) == [0, 0, 1, 1, 2, 2]
    assert testing.differing(honest, run("others", others)[0]) == []
    assert testing.differing(honest, run("own", one)[0])  # those that it may see do matter


def test_max_sample_and_image_size(prepared, capsys):
    args, parts = prepared("--max_sample=30", "--image_size=11", "--n_labels=6", "--train_epochs=2")
    assert parts.pictures.train_images.shape == (30, 11, 11, 1) and parts.pictures.test_images.shape[1:] == (11, 11, 1)
    assert parts.labelled.max() < 30 and parts.total_steps == 2 * (30 // 6)
    images, labels = next(parts.batches(0))
    assert images.shape == (6, 11, 11, 1) and parts.generator.output_shape == (None, 11, 11, 1)
    assert "60 pictures to train on, 12 to test on, 11 x 11 x 1, 3 classes" in capsys.readouterr().out


def test_batches_are_in_range(prepared):
    for flags, low, high in ((["--model=paper", "--n_labels=6"], 0, 1), ([], -1, 1)):
        args, parts = prepared(*flags)
        batch = [x.numpy() for x in next(parts.batches(0)) if x.dtype == tf.float32]
        assert min(x.min() for x in batch) >= low and max(x.max() for x in batch) <= high
        assert min(x.min() for x in batch) < low + 0.2 and max(x.max() for x in batch) > high - 0.2


# Whole runs.


def test_a_run_leaves_what_the_contract_says(digits, tmp_path):
    """train.py called from another folder, with a space in the output's name."""
    flags = ["--data_path=../data", "--output_path=the run", "--train_steps=24", "--batch_size=6", "--log_step=5"]
    flags += ["--write_summary_step=5", "--test_sample_step=10", "--output_save_step=20", "--ckpt_save_step=20"]
    flags += ["--baseline_steps=5", "--n_labels=30", "--seed=5"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").symlink_to(digits)
    environment = {**os.environ, "ASCEND_DEVICE_ID": "3"}
    done = subprocess.run(
        [sys.executable, str(TRAIN), *flags], cwd=str(tmp_path / "elsewhere"), env=environment, capture_output=True
    )
    output = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    run = tmp_path / "elsewhere" / "the run"
    case = "ImprovedGAN_bs6_1p_acc"
    result = json.loads((run / "result.json").read_text())

    expected = {"network": "ImprovedGAN", "device": "cpu", "precision": "float32", "batch_size": 6, "rank_size": 1}
    expected.update(case_name=case, train_steps=24, seed=5)
    assert {name: result[name] for name in expected} == expected
    assert result["images_per_sec"] == pytest.approx(6 / result["sec_per_step"])
    assert result["e2e_sec"] > 24 * result["sec_per_step"] / 2
    assert result["options"]["n_labels"] == 30 and result["options"]["learning_rate_d"] == 3e-4
    assert result["versions"]["tensorflow"] == tf.__version__
    metrics = result["metrics"]
    assert metrics["test_pictures"] == 12 and metrics["labels"] == 30
    assert metrics["accuracy"] == result["accuracy"] == pytest.approx(1 - metrics["errors"] / 12)
    assert result["baseline"]["accuracy"] == pytest.approx(1 / 3)
    assert 0 <= result["baseline"]["supervised_only_accuracy"] <= 1

    fields = dict(line.split(" = ") for line in (run / f"{case}.log").read_text().splitlines())
    assert list(fields) == [
        "Network",
        "RankSize",
        "BatchSize",
        "DeviceType",
        "CaseName",
        "ActualFPS",
        "TrainingTime",
        "ActualLoss",
        "ActualLoss1",
        "TrainAccuracy",
        "E2ETrainingTime",
    ]
    assert (fields["Network"], fields["CaseName"], fields["RankSize"]) == ("ImprovedGAN", case, "1")
    assert float(fields["ActualFPS"]) == pytest.approx(result["images_per_sec"], abs=0.01)
    assert float(fields["TrainingTime"]) == pytest.approx(result["sec_per_step"], abs=1e-5)
    assert float(fields["ActualLoss"]) == pytest.approx(result["loss"]["train/d_loss"], abs=1e-5)
    assert float(fields["ActualLoss1"]) == pytest.approx(result["loss"]["train/g_loss"], abs=1e-5)
    assert float(fields["TrainAccuracy"]) == pytest.approx(metrics["accuracy"], abs=1e-4)
    final = output[output.index("------------------ Final result ------------------") :].splitlines()
    assert final[1:5] == [
        f"Final Performance images/sec : {fields['ActualFPS']}",
        f"Final Performance sec/step : {fields['TrainingTime']}",
        f"Final Train Accuracy : {fields['TrainAccuracy']}",
        f"E2E Training Duration sec : {fields['E2ETrainingTime']}",
    ]

    rows = testing.json_lines(run / "metrics.jsonl")
    curve = {row["step"]: row for row in rows if "train/d_loss" in row}
    assert list(curve) == [5, 10, 15, 20, 24] and [r["step"] for r in rows if "val/accuracy" in r] == [10, 20, 24]
    assert result["loss"] == {name: curve[24][name] for name in ("train/d_loss", "train/g_loss")}
    losses = [float(line) for line in (run / f"{case}_loss.txt").read_text().splitlines()]
    assert losses == pytest.approx([row["train/d_loss"] for row in curve.values()], abs=1e-6)

    lines = toy.log_lines(output)
    assert [line["step"] for line in lines if line["kind"] == "train"] == [5, 10, 15, 20, 24]
    assert [line["step"] for line in lines if line["kind"] == "val"] == [10, 20, 24]
    assert sum("step" in line and "Supervised loss" in line for line in output.splitlines()) == len(lines)
    for line in lines:
        if line["kind"] == "train":
            for name in ("d_loss", "g_loss", "supervised_loss", "accuracy"):
                assert line[name] == pytest.approx(curve[line["step"]][f"train/{name}"], abs=1e-5)
    log = (run / "train_3.log").read_text()
    assert toy.log_lines(log) == lines and "Final result" in log

    events = {}
    for file in (run / "tensorboard").glob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                events.setdefault(value.tag, []).append((event.step, value))
    told = [(step, float(tf.make_ndarray(value.tensor))) for step, value in events["train/d_loss"]]
    assert told == [(step, pytest.approx(row["train/d_loss"])) for step, row in curve.items()]
    assert [step for step, _ in events["val/accuracy"]] == [10, 20, 24]
    assert any(tag.startswith("examples") for tag in events)

    assert sorted(path.name for path in (run / "examples").iterdir()) == ["step_000020.png", "step_000024.png"]
    assert result["examples"] == str(run / "examples" / "step_000024.png")
    assert np.asarray(Image.open(result["examples"])).shape == (64, 64)  # 8 x 8 pictures of 8 x 8
    assert {path.name for path in (run / "checkpoints").glob("*.index")} == {"ckpt-20.index", "ckpt-24.index"}
    assert json.loads((run / "options.json").read_text()) == result["options"]
    assert len(json.loads((run / "labels.json").read_text())["indices"]) == 30


def test_a_run_without_evaluation(start, tmp_path, capsys):
    assert start("--train_steps=2", "--evaluate=False") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["case_name"] == "ImprovedGAN_bs6_1p_perf" and result["accuracy"] is None and not result["metrics"]
    assert (tmp_path / "run" / "ImprovedGAN_bs6_1p_perf.log").exists()
    assert "Final Train Accuracy : not measured" in capsys.readouterr().out


def test_a_finished_run_is_moved_aside(start, tmp_path, capsys):
    assert start("--model=paper", "--n_labels=6", "--train_steps=1") == 0
    first = (tmp_path / "run" / "result.json").read_text()
    assert start("--model=paper", "--n_labels=9", "--train_steps=2") == 0
    [aside] = tmp_path.glob("run.*")
    assert f"the finished run in {tmp_path / 'run'} is now in {aside}" in capsys.readouterr().out
    assert (aside / "result.json").read_text() == first and (aside / "checkpoints" / "ckpt-1.index").exists()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["train_steps"] == 2


def test_killed_while_it_was_evaluated(start, tmp_path, capsys):
    """A run whose training is over goes on with the evaluation, and its results are whole."""
    flags = ["--model=paper", "--n_labels=6", "--train_steps=3", "--ckpt_save_step=1"]
    assert start(*flags) == 0
    first = json.loads((tmp_path / "run" / "result.json").read_text())
    (tmp_path / "run" / "result.json").unlink()
    assert start(*flags) == 0
    assert f"continuing the unfinished run in {tmp_path / 'run'} from step 3" in capsys.readouterr().out
    again = json.loads((tmp_path / "run" / "result.json").read_text())
    for name in ("train_steps", "loss", "metrics", "examples"):
        assert again[name] == first[name]
    assert again["sec_per_step"] == pytest.approx(first["sec_per_step"], rel=2)  # remembered


def test_killed_while_the_first_checkpoint_was_written(start, tmp_path, capsys):
    """Nothing was lost but a few steps: the same command starts anew and ends with the same weights."""
    flags = ["--model=paper", "--n_labels=6", "--train_steps=2", "--deterministic"]
    assert start(*flags) == 0
    weights, index = testing.weights(tmp_path / "run"), tmp_path / "run" / "checkpoints" / "ckpt-2.index"
    os.truncate(str(index), index.stat().st_size // 2)
    (tmp_path / "run" / "result.json").unlink()
    assert start(*flags) == 0
    assert "ckpt-2 is damaged" in capsys.readouterr().out
    assert testing.differing(weights, testing.weights(tmp_path / "run")) == []


def test_seeds(start, tmp_path, capsys):
    assert start("--model=paper", "--n_labels=6", "--train_steps=2", "--seeds=2", "--split_seed=4") == 0
    results = [json.loads((tmp_path / "run" / f"split_{n}" / "result.json").read_text()) for n in (4, 5)]
    errors = [result["metrics"]["errors"] for result in results]
    labels = [(tmp_path / "run" / f"split_{n}" / "labels.json").read_text() for n in (4, 5)]
    assert labels[0] != labels[1] and [result["seed"] for result in results] == [4, 5]
    told = f"errors of 2 splits: {errors}, {np.mean(errors):.1f} +- {np.std(errors):.1f}"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--model=paper", "--n_labels=6", "--learning_rate_g=1e30"]])
def test_a_loss_that_is_no_number(start, tmp_path, capsys, flags):
    assert start("--train_steps=30", "--ckpt_save_step=1", *flags) == 1
    told = capsys.readouterr().err
    assert re.search(r"\[Error\] .+ is no longer a finite number at step \d+; the last good checkpoint stays", told)
    assert "Try a smaller learning rate" in told and len(told.splitlines()) == 2
    assert not (tmp_path / "run" / "result.json").exists()
    for values in testing.weights(tmp_path / "run").values():
        assert np.isfinite(values).all()


def test_starting_from_a_checkpoint(start, tmp_path, capsys):
    """--ckpt_path gives a run its first weights; another model's or other sizes' are refused."""
    assert start("--model=paper", "--n_labels=6", "--train_steps=3", output=tmp_path / "first") == 0
    still = ["--model=paper", "--train_steps=1", "--learning_rate_d=0", "--learning_rate_g=0", "--seed=8"]
    assert start(*still, "--n_labels=9", f"--ckpt_path={tmp_path / 'first'}") == 0
    assert f"starting from {tmp_path / 'first' / 'checkpoints' / 'ckpt-3'}" in capsys.readouterr().out
    one, other = testing.weights(tmp_path / "first"), testing.weights(tmp_path / "run")
    assert not [name for name in testing.differing(one, other) if name.startswith("discriminator") and "dense" in name]

    for words, flags in (
        ("of another model", ["--train_steps=1"]),
        ("of other sizes", ["--model=paper", "--n_labels=6", "--train_steps=1", "--image_size=9"]),
    ):
        assert start(f"--ckpt_path={tmp_path / 'first'}", *flags, output=tmp_path / "refused") == 2
        told = capsys.readouterr().err
        assert words in told and "ckpt-3" in told and len(told.splitlines()) <= 2
