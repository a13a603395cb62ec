"""Training: flags and their refusals, what a step does, what each option changes, and what a run leaves behind."""

import dataclasses
import json
import re
import sys

import data
import numpy as np
import pytest
import tensorflow as tf
import toy
import train
from conftest import MODEL
from PIL import Image

from common.layers import named_variables
from common.test import testing


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return toy.write_set(tmp_path_factory.mktemp("data") / "toy")


@pytest.fixture
def start(digits, tmp_path):
    """Runs train.py's main with flags on the small set, op by op, and returns its exit status."""

    def run(*flags, output=tmp_path / "run"):
        tiny = ["--batch_size=6", "--baseline_steps=0", "--judge_steps=0", "--debug"]
        return train.main([f"--data_path={digits}", f"--output_path={output}", *tiny, *flags])

    return run


@pytest.fixture
def prepared(digits, tmp_path):
    """What train.prepare makes of flags, op by op."""

    def prepare(*flags):
        tiny = ["--batch_size=6", "--train_steps=10", "--debug", f"--output_path={tmp_path / 'run'}"]
        return train.prepare(train.parse_args([f"--data_path={digits}", *tiny, *flags]))

    return prepare


# Flags.


RECIPES = {
    "ssgan": ((), {"train_steps": 45000, "batch_size": 32, "n_z": 128, "learning_rate_d": 3e-4, "n_labels": None}),
    "mnist": (("--model=paper",), {"train_epochs": 300, "learning_rate_g": 3e-3, "n_z": 100, "n_labels": 100}),
    "svhn": (("--model=paper", "--recipe=svhn"), {"learning_rate_d": 3e-4, "train_epochs": 900, "n_labels": 1000}),
    "cifar10": (("--model=paper", "--dataset=CIFAR10"), {"recipe": "cifar10", "train_epochs": 1200, "n_labels": 4000}),
    "own": (("--model=paper", "--n_labels=6", "--train_steps=7"), {"n_labels": 6, "train_epochs": None}),
    "aliases": (("--max_training_steps=5", "--deconv=nn"), {"train_steps": 5, "deconv_type": "nn"}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_defaults(name, tmp_path):
    flags, expected = RECIPES[name]
    args = vars(train.parse_args([f"--data_path={tmp_path}", *flags]))
    assert {key: args[key] for key in expected} == expected


REFUSALS = {
    "--norm_type instance: --model=paper takes batch, virtual": ["--model=paper", "--norm_type=instance"],
    "--g_loss belongs to --model=ssgan": ["--model=paper", "--g_loss=non_saturating"],
    "--seeds compares": ["--seeds=2", "--evaluate=False"],
    "--n_labels=7: give a multiple of the 3 classes, at most 60": ["--n_labels=7"],
    "--batch_size: a batch of 61 is larger than the data (60 samples)": ["--batch_size=61"],
    "images of 4 x 4 are too small": ["--model=paper", "--recipe=svhn", "--n_labels=6", "--image_size=4"],
}


@pytest.mark.parametrize("words", REFUSALS)
def test_refused(words, refused, digits, tmp_path):
    flags = [f"--data_path={digits}", f"--output_path={tmp_path / 'run'}", "--train_steps=1"]
    assert words in refused(train.main, *flags, *REFUSALS[words])


# Steps.


def arrays(variables):
    return [v.numpy() for v in variables.values()]


@pytest.mark.parametrize("model, loss", [("ssgan", "d_loss"), ("paper", "supervised_loss")])
def test_steps_lower_the_discriminators_loss(prepared, model, loss):
    """On one batch, of the ModelZoo's model the discriminator's own steps alone: the even ones."""
    parts = prepared("--learning_rate_d=1e-2", f"--model={model}", "--n_labels=6")
    batch = next(parts.batches(0))
    values = [float(parts.update(batch, step)[loss]) for step in range(0, 30, 2)]
    assert np.mean(values[-3:]) < 0.7 * np.mean(values[:3])


GENERATORS = {
    "page": [],
    "non_saturating": ["--g_loss=non_saturating"],
    "mnist": ["--model=paper", "--recipe=mnist", "--n_labels=6"],
    "svhn": ["--model=paper", "--recipe=svhn", "--n_labels=6", "--image_size=12"],
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_a_step_lowers_the_generators_loss(prepared, kind):
    """The generator alone; the discriminator stays."""
    parts = prepared("--learning_rate_g=1e-2", "--learning_rate_d=0", *GENERATORS[kind])
    batch = next(parts.batches(0))
    trained = named_variables(parts.discriminator, trainable_only=True)
    before = arrays(trained)
    values = [float(parts.update(batch, 1)["g_loss"]) for _ in range(10)]
    assert values[-1] < values[0] - 0.1 * abs(values[0])
    np.testing.assert_equal(arrays(trained), before)


@pytest.mark.parametrize("model", ["ssgan", "paper"])
def test_averages(prepared, model):
    """The tested one: w1, then 10 / 11 of the way to w2, then the rate's 0.9 of the way to w3; so the generator's, by
    the training's steps."""
    parts = prepared(f"--model={model}", "--average_rate=0.9", "--ema=0.2", "--n_labels=6")
    batch, name = next(parts.batches(0)), "dense0.0" if model == "paper" else "conv0.0"
    g_name = "dense0.0" if model == "paper" else "dense.0"
    weights, shown = [], 0.0
    for step in range(3 * parts.cycle):
        parts.update(batch, step)
        if step % parts.cycle == 0:  # the discriminator's turn
            weights.append(parts.state["discriminator"][name].numpy())
        if step % parts.cycle == parts.cycle - 1:
            n = step - (parts.cycle - 1)  # since its own first one
            shown += (1 - min(0.2, n / (n + 10))) * (parts.state["generator"][g_name].numpy() - shown)
    first, second, third = weights
    mean = first + 10 / 11 * (second - first)
    mean += 0.9 * (third - mean)
    np.testing.assert_allclose(parts.state["average"][name], mean, atol=1e-6)
    assert named_variables(parts.tested)[name] is parts.state["average"][name]
    np.testing.assert_allclose(parts.state["ema_generator"][g_name], shown, atol=1e-6)
    assert parts.shown is parts.ema


def test_historical_averages(prepared):
    """The mean of the past weights, the first ones included; at first nothing pulls at the weights."""
    flags = ["--model=paper", "--n_labels=6", "--learning_rate_g=0", "--learning_rate_d=0"]
    losses = []
    for weight in (0, 1):
        parts = prepared(*flags, f"--historical_averaging={weight}")
        losses.append(float(parts.update(next(parts.batches(0)), 0)["d_loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    variable, mean = parts.state["discriminator"]["dense0.0"], parts.state["history"]["discriminator"]["dense0.0"]
    past = [variable.numpy()]
    for step in range(1, 4):
        variable.assign_add(tf.ones_like(variable))
        past.append(variable.numpy())
        parts.update(next(parts.batches(0)), step)
        np.testing.assert_allclose(mean, np.mean(past, 0), atol=1e-5)


def test_update_rate(prepared):
    """Two generator steps a discriminator step."""
    parts = prepared("--update_rate=2")
    batch = next(parts.batches(0))
    counts = []
    for step in range(6):
        parts.update(batch, step)
        counts.append([int(parts.state[f"{name}_optimizer"]["adam"]["iterations"]) for name in "dg"])
    assert counts == [[1, 0], [1, 1], [1, 2], [2, 2], [2, 3], [2, 4]] and parts.cycle == 3


def test_reconstruction_ends(prepared):
    """Its weight falls from 10 to 0 at step 1500: then the generator's loss knows the images no more."""
    parts = prepared("--learning_rate_g=0", "--norm_type=None")  # where images of a batch do not mix
    (images, labels), values = next(parts.batches(0)), {}
    for step in (1, 751, 1501):
        near, far = (float(parts.update((x, labels), step)["g_loss"]) for x in (images, images + 10))
        values[step] = far - near
    assert values[1501] == 0
    assert values[751] / values[1] == pytest.approx((1500 - 751) / (1500 - 1), rel=0.05)


OPTIONS = ["--minibatch_discrimination", "--label_smoothing=0.1", "--historical_averaging=10"]
OPTIONS += ["--feature_matching=False", "--norm_type=virtual"]


def test_every_option_of_the_paper_matters(prepared):
    def losses(*flags):
        parts = prepared("--model=paper", "--n_labels=6", *flags)
        batch = next(parts.batches(0))
        values = [parts.update(batch, step) for step in range(3)]  # historical averaging begins with the third
        return np.array([float(values[-1][name]) for name in ("d_loss", "g_loss")])

    plain = losses()
    for option in OPTIONS:
        changed = losses(option)
        assert np.isfinite(changed).all() and np.abs(changed / plain - 1).max() > 1e-3, option


@pytest.mark.parametrize("model", ["ssgan", "paper"])
def test_no_two_draws_share_their_numbers(prepared, monkeypatch, model):
    """Every key of a step and of the data's orders is asked for under a word of its own."""
    from common import stream

    asked = []
    make = stream.key
    monkeypatch.setattr("steps.key", lambda *key: asked.append(key[:2]) or make(*key))
    monkeypatch.setattr("common.stream.key", lambda *key: asked.append(key[:2]) or make(*key))
    own = ["--recipe=svhn", "--image_size=12"] if model == "paper" else ["--ema=0.5"]
    parts = prepared(f"--model={model}", "--n_labels=6", *own)
    del asked[:]
    batches = parts.batches(0)
    for step in range(parts.cycle):
        parts.update(next(batches), step)
    words = [purpose for purpose, _ in asked]
    assert len(words) == len(set(words)) and len(words) >= {"ssgan": 3, "paper": 8}[model], words


# The data that training sees.


@pytest.mark.parametrize("model", ["ssgan", "paper"])
def test_no_other_label_is_seen(start, tmp_path, monkeypatch, digits, model):
    """Exactly 6 labels, two a class, saved with the run. All others may be wrong: the weights are the same bits."""
    choose, chosen = data.choose_images, []

    def run(name, wrong):
        def poisoned(args, loaded):
            loaded, labelled = choose(args, loaded)
            chosen[:] = labelled
            labels = loaded.train_labels.copy()
            labels[wrong()] = (labels[wrong()] + 1) % 3
            return dataclasses.replace(loaded, train_labels=labels), labelled

        monkeypatch.setattr(data, "choose_images", poisoned)
        flags = [f"--model={model}", "--n_labels=6", "--split_seed=3", "--train_steps=2", "--deterministic"]
        assert start(*flags, output=tmp_path / name) == 0
        return testing.weights(tmp_path / name)

    honest = run("honest", lambda: [])
    saved = json.loads((tmp_path / "honest" / "labels.json").read_text())
    assert saved == {"split_seed": 3, "indices": chosen}
    assert sorted(data.load(digits).train_labels[chosen]) == [0, 0, 1, 1, 2, 2]
    assert testing.differing(honest, run("others", lambda: np.setdiff1d(np.arange(60), chosen))) == []
    assert testing.differing(honest, run("own", lambda: chosen))  # those that it may see do matter


@pytest.mark.parametrize("flags, low", [([], -1), (["--model=paper"], 0)], ids=["ssgan", "paper"])
def test_what_training_is_given(prepared, capsys, flags, low):
    sizes = ["--max_sample=30", "--image_size=11", "--n_labels=6", "--train_epochs=2"]
    parts = prepared(*flags, *sizes)
    assert parts.data.train_images.shape == (30, 11, 11, 1) and parts.data.test_images.shape[1:] == (11, 11, 1)
    assert parts.labelled.max() < 30 and parts.total_steps == 2 * (30 // 6)
    assert parts.generator.output_shape == (None, 11, 11, 1)
    assert "60 images to train on, 12 to test on, 11 x 11 x 1, 3 classes" in capsys.readouterr().out
    for images in (x.numpy() for x in next(parts.batches(0)) if x.dtype == tf.float32):
        assert images.shape == (6, 11, 11, 1)
        assert low <= images.min() < low + 0.2 and 0.8 < images.max() <= 1


# Whole runs.


def test_what_a_run_says_and_writes(start, tmp_path, capsys):
    """Validation on held-out images, the numbers of the evaluation, a grid of examples, the labels that were seen."""
    flags = ["--test_sample_step=4", "--output_save_step=6", "--write_summary_step=7", "--train_steps=7"]
    assert start(*flags, "--n_labels=30", "--baseline_steps=2", "--judge_steps=2") == 0
    run = tmp_path / "run"
    output, result = capsys.readouterr().out, json.loads((run / "result.json").read_text())
    metrics, baseline = result["metrics"], result["baseline"]
    assert metrics["test_images"] == 12 and metrics["labels"] == 30
    assert metrics["accuracy"] == result["accuracy"] == pytest.approx(1 - metrics["errors"] / 12)
    assert "(accuracy on 12 held-out images)" in output
    assert {"generated_recognised", "generated_class_entropy", "real_recognised", "real_class_entropy"} < set(metrics)
    assert baseline["accuracy"] == pytest.approx(1 / 3) and baseline["supervised_only_updates"] == 2

    rows = {row["step"]: row["val/accuracy"] for row in testing.json_lines(run / "metrics.jsonl") if len(row) == 2}
    lines = re.findall(r"\[val   step (\d+)\] .* Accuracy: (\S+) \(", output)
    assert list(rows) == [4, 7] and {int(step): pytest.approx(float(x), abs=1e-5) for step, x in lines} == rows
    assert sorted(path.name for path in (run / "examples").iterdir()) == ["step_000006.png", "step_000007.png"]
    assert result["examples"] == str(run / "examples" / "step_000007.png")
    assert np.asarray(Image.open(result["examples"])).shape == (64, 64)  # 8 x 8 images of 8 x 8
    assert len(json.loads((run / "labels.json").read_text())["indices"]) == 30


def test_seeds(start, tmp_path, capsys):
    assert start("--model=paper", "--n_labels=6", "--train_steps=2", "--split_seed=4", "--seeds=2") == 0
    results = [json.loads((tmp_path / "run" / f"split_{n}" / "result.json").read_text()) for n in (4, 5)]
    errors = [result["metrics"]["errors"] for result in results]
    labels = [(tmp_path / "run" / f"split_{n}" / "labels.json").read_text() for n in (4, 5)]
    assert labels[0] != labels[1] and [result["seed"] for result in results] == [4, 5]
    told = capsys.readouterr().out
    assert f"errors of 2 splits: {errors}, {np.mean(errors):.1f} +- {np.std(errors):.1f}" in told


def test_the_originals_boot_file(tmp_path):
    """trainer.py starts what modelarts_entry_acc.py starts."""
    flags = ["--data_url", tmp_path, "--train_url=out", "--batch_size=8"]
    names = ("trainer.py", "modelarts_entry_acc.py")
    one, other = (testing.started_command(tmp_path, sys.executable, MODEL / name, *flags) for name in names)
    assert one == other and "--train_steps=45000" in one
