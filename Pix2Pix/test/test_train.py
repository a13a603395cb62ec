"""Training: flags and their refusals, what a step does, and what a run leaves behind."""

import fcntl
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import losses
import main
import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import TINY
from PIL import Image

from common.layers import named_variables
from common.session import Session
from common.stream import key
from common.test import testing


@pytest.fixture(scope="module", autouse=True)
def op_by_op():
    """Tracing a step takes longer than doing a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "compile", lambda self, step: step)
        yield


@pytest.fixture
def start(pair_set, tmp_path, monkeypatch):
    """Runs train.py's main on the small set and returns its exit status."""
    monkeypatch.setattr(fcntl, "flock", lambda *args: None)  # a process holds its run's folder to its end

    def run(*flags, output=tmp_path / "run", evaluate=False):
        tiny = [f"--data_path={pair_set}", f"--output_path={output}", f"--evaluate={evaluate}", *TINY]
        return train.main([*tiny, *flags])

    return run


@pytest.fixture
def prepare(pair_set, tmp_path):
    """What train.prepare makes of flags."""

    def call(*flags):
        tiny = [f"--data_path={pair_set}", f"--output_path={tmp_path / 'run'}", "--train_steps=10", *TINY]
        args = train.parse_args([*tiny, *flags])
        return args, train.prepare(args)

    return call


# Flags.


PAGE = """
    precision_mode force_fp16 allow_mix_precision
    autotune True False
    batch_size 4 None
    lr 0.001 0.0002
    phase test train
    epoch 3 200
    train_size 5.0 100000000.0
    fine_size 512 256
    ngf 8 64
    ndf 8 64
    input_nc 1 3
    output_nc 4 3
    niter 200 100
    beta1 0.9 0.5
    flip False True
    which_direction AtoB BtoA
    save_epoch_freq 5 50
    save_latest_freq 50 500
    print_freq 7 50
    continue_train False None
    serial_batches True False
    checkpoint_dir c None
    sample_dir s None
    test_dir t None
    L1_lambda 10.0 100.0
    blacklist_path b.json None"""


def test_the_pages_flags(tmp_path):
    """A flag of the page or its code, a value, and the default."""
    table = [line.split() for line in PAGE.splitlines() if line]
    given = vars(train.parse_args([f"--data_path={tmp_path}", *(f"--{flag}={value}" for flag, value, _ in table)]))
    default = vars(train.parse_args([f"--data_path={tmp_path}"]))
    for flag, *expected in table:
        name = {"lr": "learning_rate", "epoch": "train_epochs"}.get(flag, flag)
        assert [str(given[name]), str(default[name])] == expected
    assert (given["load_size"], default["load_size"]) == (572, 286)


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--fine_size=300", "--fine_size 300: the U-Net halves it eight times, so give a multiple of 256"),
        ("--load_size=255", "--load_size 255: --fine_size 256 is cropped from it"),
        ("--flip=maybe", "--flip: 'maybe' is neither True nor False"),
        ("--batch_size=7", "--batch_size: a batch of 7 is larger than the data (6 pairs)"),
        ("--phase=test", "no weights in"),
    ],
)
def test_refusals(flag, words, start, capsys):
    status = None
    try:
        status = start("--train_steps=1", flag)
    except SystemExit as end:  # of the parser
        status = end.code
    told = capsys.readouterr().err
    assert status == 2 and words in told and len(told.splitlines()) <= 2


# Steps.


def weights_of(parts, network):
    return {name: variable.numpy() for name, variable in parts.state[network].items()}


def test_a_step(prepare):
    """Its values are those of the losses, and both networks move, the discriminator by half its loss."""
    args, parts = prepare("--L1_lambda=7")
    source, target = batch = next(parts.batches(0))
    before = {network: weights_of(parts, network) for network in ("generator", "discriminator")}
    fake = parts.evaluated([source, key("dropout", args.seed, 5)], training=True)
    values = {name: float(value) for name, value in parts.update(batch, 5).items()}
    assert values["g_l1"] == pytest.approx(float(losses.l1(target, fake)), rel=1e-4)
    assert values["g_loss"] == pytest.approx(values["g_adversarial"] + 7 * values["g_l1"], rel=1e-5)
    assert 1 < values["d_loss"] < 2
    for network, old in before.items():
        new = weights_of(parts, network)
        still = [name for name in old if np.array_equal(old[name], new[name])]
        assert still == [], network


@pytest.mark.parametrize("network, other", [("discriminator", "generator"), ("generator", "discriminator")])
def test_steps_lower_the_loss(prepare, network, other):
    """Of either network, the other one held fast."""
    args, parts = prepare("--lr=0.002")
    held = f"{other[0]}_optimizer"
    batch, values = next(parts.batches(0)), []
    before = parts.state[other]
    start = {name: variable.numpy() for name, variable in before.items()}
    for _ in range(10):
        values.append(float(parts.update(batch, 0)[f"{network[0]}_loss"]))
        for name, variable in before.items():
            variable.assign(start[name])
        for moments in (parts.state[held]["adam"]["m"], parts.state[held]["adam"]["v"]):
            for variable in moments.values():
                variable.assign(tf.zeros_like(variable))
    assert values[-1] < 0.97 * values[0], values


def test_whose_gradients_are_applied(prepare):
    """Adam's first moment after one step is (1 - beta1) times the gradient: of half the discriminator's loss, then of
    the generator's loss by the discriminator just updated."""
    args, parts = prepare("--beta1=0.75", "--lr=0.01", "--L1_lambda=2")
    source, target = batch = next(parts.batches(0))
    generator, discriminator = train.build_generator(256, 256, ngf=2), train.build_discriminator(256, 256, ndf=2)

    def copy(network):
        for name, variable in named_variables(network).items():
            variable.assign(parts.state[network.name][name])

    def applied(network, tape, loss):
        variables = named_variables(network)
        moments = parts.state[f"{network.name[0]}_optimizer"]["adam"]["m"]
        for name, gradient in zip(variables, tape.gradient(loss, list(variables.values()))):
            np.testing.assert_allclose(
                moments[name], 0.25 * gradient, rtol=1e-2, atol=1e-2 * np.abs(moments[name]).max()
            )

    copy(generator), copy(discriminator)
    values = parts.update(batch, 0)
    with tf.GradientTape(persistent=True) as tape:
        fake = generator([source, key("dropout", args.seed, 0)], training=True)
        real, false = (discriminator([source, image], training=True) for image in (target, fake))
        d_loss = 0.5 * losses.discriminator(real, false)
    assert float(values["d_loss"]) == pytest.approx(2 * float(d_loss), rel=1e-5)
    applied(discriminator, tape, d_loss)
    copy(discriminator)
    with tape:
        adversarial = losses.adversarial(discriminator([source, fake], training=True))
        g_loss = adversarial + 2 * losses.l1(target, fake)
    assert float(values["g_adversarial"]) == pytest.approx(float(adversarial), rel=1e-4)
    applied(generator, tape, g_loss)


def test_learning_rate():
    """Constant for niter of 8 epochs of 5 steps, then in a line to 0 with the last step."""

    def rates(niter, *updates):
        rate = train.learning_rate(SimpleNamespace(learning_rate=0.2, niter=niter), 5, 40)
        return [float(rate(tf.constant(n, tf.int64))) for n in updates] if callable(rate) else rate

    assert rates(4, 0, 19, 20, 25, 30, 39, 40, 50) == pytest.approx([0.2, 0.2, 0.2, 0.15, 0.1, 0.01, 0, 0])
    assert rates(7, 34, 35, 36) == pytest.approx([0.2, 0.2, 0.16])
    assert rates(8) == rates(200) == 0.2


def test_sizes_of_a_run(prepare, capsys):
    """An epoch's and the run's steps, and which pairs are used."""
    args, parts = prepare("--train_epochs=3", "--batch_size=2", "--train_size=5.0")
    assert (parts.steps_per_epoch, parts.total_steps, len(parts.pairs)) == (2, 6, 5)
    assert [path.name for path in parts.pairs.files] == [f"{n}.png" for n in range(5)]
    assert "5 pairs to train on, BtoA" in capsys.readouterr().out
    source, target = next(parts.batches(0))
    assert source.shape == target.shape == (2, 256, 256, 3)


def test_loss_scale(prepare, monkeypatch):
    """The page's dynamic scale, one for each optimizer, where gradients pass through float16."""
    monkeypatch.setattr(Session, "needs_loss_scale", True)
    _, parts = prepare()
    scales = [parts.state[name]["loss_scale"]["scale"] for name in ("d_optimizer", "g_optimizer")]
    assert [float(scale) for scale in scales] == [2.0**32] * 2 and scales[0] is not scales[1]
    assert train.LOSS_SCALE["incr_every_n_steps"] == 1000 and train.LOSS_SCALE["decr_ratio"] == 0.8


# Whole runs.


@pytest.fixture(scope="module")
def finished(pair_set, tmp_path_factory):
    """A run of two epochs of six steps, evaluated; main.py called from another folder. The folder and what it said."""
    folder = tmp_path_factory.mktemp("finished")
    flags = ["--phase=train", "--data_path=pairs", "--output_path=the run", "--train_epochs=2", "--print_freq=4", *TINY]
    flags += ["--save_latest_freq=5", "--save_epoch_freq=1", "--seed=5", "--niter=1"]
    (folder / "pairs").symlink_to(pair_set)
    done = subprocess.run([sys.executable, main.__file__, *flags], cwd=str(folder), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return folder / "the run", done.stdout.decode()


def test_what_a_run_leaves(finished):
    """Beside what every model's does: each epoch's held-out L1, sheets, and the checkpoints that are kept."""
    run, output = finished
    result = json.loads((run / "result.json").read_text())
    assert result["metrics"]["images"] == 2 and result["accuracy"] == result["metrics"]["ssim"]
    assert set(result["baseline"]) == {"l1", "psnr", "ssim"} and "SSIM on 2 held-out images" in output
    steps = {name: [] for name in ("train/d_loss", "val/l1")}
    for row in testing.json_lines(run / "metrics.jsonl"):
        for name in steps.keys() & row.keys():
            steps[name].append(row["step"])
    assert steps == {"train/d_loss": [1, 4, 8, 12], "val/l1": [6, 12]}
    lines = re.findall(r"^Epoch: \[ (\d)\] \[   (\d)/   6\]", output, re.M)
    assert lines == [("0", "1"), ("0", "4"), ("1", "2"), ("1", "6")]
    assert [path.name for path in sorted((run / "examples").iterdir())] == [f"step_{n:07d}.png" for n in (5, 10, 12)]
    assert result["examples"].endswith("the run/examples/step_0000012.png")
    assert {path.name for path in (run / "checkpoints").glob("epoch_*")} == {"epoch_001", "epoch_002"}


def test_a_sheet_shows_input_output_and_target(finished, pair_set):
    run, _ = finished
    sheet = np.asarray(Image.open(run / "examples" / "step_0000012.png"))
    held_out = Image.open(pair_set / "val" / "0.png")
    left, right = (held_out.crop((x, 0, x + 64, 64)).resize((256, 256), Image.BICUBIC) for x in (0, 64))
    np.testing.assert_array_equal(sheet[:256, :256], right)
    np.testing.assert_array_equal(sheet[:256, 512:], left)
    generated = np.asarray(Image.open(run / "evaluation" / "generated" / "0.png"))
    np.testing.assert_array_equal(sheet[:256, 256:512], generated)


def test_phase_test(finished, pair_set, tmp_path, capsys):
    """Measures the run of --output_path, and where --test_dir says; an epoch's kept checkpoint too."""
    run, _ = finished
    before = json.loads((run / "result.json").read_text())
    flags = ["--phase=test", f"--data_path={pair_set}", f"--output_path={run}"]
    assert main.main([*flags, f"--test_dir={tmp_path / 'measured'}"]) == 0
    told = capsys.readouterr().out
    measured = json.loads((tmp_path / "measured" / "evaluation.json").read_text())
    assert measured["metrics"]["generated"]["l1"] == pytest.approx(before["metrics"]["l1"], rel=1e-3)
    assert measured["generator"].endswith("ckpt-12.safetensors") and "mean colour per label" in told
    kept = run / "checkpoints" / "epoch_001"
    assert main.main([*flags, f"--ckpt_path={kept}", f"--test_dir={tmp_path / 'first'}"]) == 0
    first = json.loads((tmp_path / "first" / "evaluation.json").read_text())
    assert first["generator"].endswith("epoch_001/ckpt-6.safetensors")
    assert first["metrics"]["generated"]["l1"] != measured["metrics"]["generated"]["l1"]
    assert json.loads((run / "result.json").read_text()) == before


def test_folders_of_ones_own(start, tmp_path, capsys):
    """--checkpoint_dir, --sample_dir, and --phase=test that finds the one and writes --test_dir."""
    places = [f"--{name}_dir={tmp_path / name}" for name in ("checkpoint", "sample", "test")]
    assert start("--train_steps=1", *places) == 0
    file = tmp_path / "checkpoint" / "ckpt-1.safetensors"
    assert file.exists() and not (tmp_path / "run" / "checkpoints").exists()
    [sheet] = (tmp_path / "sample").iterdir()
    assert sheet.name == "step_0000001.png" and not (tmp_path / "run" / "examples").exists()
    assert start("--phase=test", *places, output=tmp_path / "none") == 0
    measured = json.loads((tmp_path / "test" / "evaluation.json").read_text())
    assert measured["generator"] == str(file)

    # Another run takes no other's checkpoints unasked, and overwrites no other's sheets.
    before = sheet.read_bytes()
    capsys.readouterr()
    assert start("--train_steps=3", *places, output=tmp_path / "other") == 2
    assert f"--checkpoint_dir {file.parent} holds the checkpoints of another run" in capsys.readouterr().err
    assert start("--train_steps=1", f"--sample_dir={sheet.parent}", "--seed=1", output=tmp_path / "other") == 0
    assert sheet.read_bytes() == before and (sheet.parent / "step_0000001-2.png").exists()
    assert start("--train_steps=3", *places, "--continue_train", output=tmp_path / "third") == 0
    assert "from step 1" in capsys.readouterr().out and (file.parent / "ckpt-3.safetensors").exists()


def test_continue_train(start, tmp_path, capsys):
    """Unset: other options are refused. True: on, with them. False: anew, the old run moved aside."""
    run = tmp_path / "run"

    def ended():
        """The run's steps, those that were told just now, and the runs moved aside."""
        steps = [int(number) for number in re.findall(r"^Epoch: \[ 0\] \[   (\d)/", capsys.readouterr().out, re.M)]
        return json.loads((run / "result.json").read_text())["train_steps"], steps, len(list(tmp_path.glob("run.*")))

    assert start("--train_steps=1") == 0 and ended() == (1, [1], 0)
    first = testing.weights(run)
    assert start("--train_steps=2", "--continue_train=True", "--L1_lambda=9") == 0 and ended() == (2, [2], 0)
    assert testing.differing(first, testing.weights(run, 1)) == []
    (run / "result.json").unlink()  # as if it had been killed
    assert start("--train_steps=3") == 2
    assert "an unfinished run of other options (--L1_lambda 9.0, now 100.0)" in capsys.readouterr().err
    assert start("--train_steps=1", "--continue_train=False") == 0 and ended() == (1, [1], 1)
    assert testing.differing(first, testing.weights(run)) == []


def test_the_average(prepare):
    """It begins as the generator, moves towards it by the decay, and is what is evaluated."""
    args, parts = prepare("--ema=0.75", "--lr=0.01")
    before = weights_of(parts, "generator")
    average = weights_of(parts, "ema_generator")
    assert all(np.array_equal(before[name], average[name]) for name in before)
    parts.update(next(parts.batches(0)), 0)
    after, average = weights_of(parts, "generator"), weights_of(parts, "ema_generator")
    for name in before:
        np.testing.assert_allclose(average[name], 0.75 * before[name] + 0.25 * after[name], rtol=1e-4, atol=1e-6)
    evaluated = named_variables(parts.evaluated)
    assert all(np.array_equal(evaluated[name], value) for name, value in average.items())


def test_batch_size_of_several_workers(monkeypatch, tmp_path):
    """A pair for each; a run that goes on keeps its own, however many workers go on with it."""
    monkeypatch.setenv("RANK_SIZE", "8")
    assert train.worker_count() == 8
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    assert train.worker_count() == 2
    args = train.parse_args([f"--data_path={tmp_path}", f"--output_path={tmp_path / 'run'}"])
    assert train.earlier_batch_size(args) is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "options.json").write_text("{")
    assert train.earlier_batch_size(args) is None
    (tmp_path / "run" / "options.json").write_text('{"options": {"batch_size": 8}}')
    assert train.earlier_batch_size(args) == 8
    args.overwrite = True
    assert train.earlier_batch_size(args) is None
