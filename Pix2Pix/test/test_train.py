"""Training: flags and their refusals, what a step does, and what a run leaves behind."""

import fcntl
import json
import re
from types import SimpleNamespace

import losses
import main
import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import read
from data import Pairs, batches, find_pairs
from PIL import Image

from common.config import SessionConfig
from common.layers import named_variables
from common.session import Session
from common.stream import key
from common.test import testing

TINY = ["--ngf=2", "--ndf=2", "--precision_mode=force_fp32", "--load_size=260"]


@pytest.fixture(scope="module", autouse=True)
def op_by_op():
    """Tracing a step takes longer than doing a few; and this process holds each run's folder to its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "compile", lambda self, step: step)
        patch.setattr(fcntl, "flock", lambda *args: None)
        yield


@pytest.fixture(scope="module")
def start(pair_set):
    """Runs train.py's main on the small set and returns its exit status."""

    def run(output, *flags):
        return train.main([f"--data_path={pair_set}", f"--output_path={output}", "--evaluate=False", *TINY, *flags])

    return run


@pytest.fixture
def build(pair_set, tmp_path):
    """Of flags: the options, a first batch, and what train.build makes of them."""

    def call(*flags):
        args = train.parse_args([f"--data_path={pair_set}", "--batch_size=1", *TINY, *flags])
        session = Session(SessionConfig(), "cpu", "float32")
        tf.random.set_seed(0)
        parts = train.build(args, session, args.learning_rate)
        pairs = Pairs(args, find_pairs(args.data_path, "train"), args.load_size)
        return (args, next(batches(args, pairs, 0, session)), *parts)

    return call


PAGE = """precision_mode force_fp16 allow_mix_precision, autotune True False, batch_size 4 None, lr 0.001 0.0002,
    phase test train, epoch 3 200, train_size 5.0 100000000.0, fine_size 512 256, load_size 600 286, ngf 8 64, ndf 8 64,
    input_nc 1 3, output_nc 4 3, niter 200 100, beta1 0.9 0.5, flip False True, which_direction AtoB BtoA,
    save_epoch_freq 5 50, save_latest_freq 50 500, print_freq 7 50, continue_train False None, checkpoint_dir c None,
    serial_batches True False, sample_dir s None, test_dir t None, L1_lambda 10.0 100.0, blacklist_path b.json None"""


def test_the_pages_flags(tmp_path):
    """A flag of the page or its code, a value, and the default."""
    table = [flag.split() for flag in PAGE.split(",")]
    given = vars(train.parse_args([f"--data_path={tmp_path}", *(f"--{flag}={value}" for flag, value, _ in table)]))
    default = vars(train.parse_args([f"--data_path={tmp_path}"]))
    for flag, *expected in table:
        name = {"lr": "learning_rate", "epoch": "train_epochs"}.get(flag, flag)
        assert [str(given[name]), str(default[name])] == expected


def test_refusals(start, tmp_path, capsys):
    for flag, words in (
        ("--fine_size=300", "--fine_size 300: the U-Net halves it eight times, so give a multiple of 256"),
        ("--load_size=255", "--load_size 255: --fine_size 256 is cropped from it"),
        ("--batch_size=7", "--batch_size 7 is more than the 6 pairs of the data"),
        ("--phase=test", "no weights in"),  # what was refused has left nothing behind
        ("--vgg19_weights=random", "--vgg19_weights is of a term whose weight is 0: give --vgg19_lambda=10 too"),
        ("--vgg19_lambda=10", "h5/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5: put the file there"),
    ):
        try:
            status = start(tmp_path / "run", flag)
        except SystemExit as end:  # of the parser
            status = end.code
        told = capsys.readouterr().err
        assert status == 2 and words in told and len(told.splitlines()) <= 2


# Steps.


def test_whose_gradients_are_applied(build):
    """Adam's first moment after one step is (1 - beta1) times the gradient: of half the discriminator's loss, then of
    the generator's loss by the discriminator just updated."""
    args, (source, target), _, state, step = build("--beta1=0.75", "--lr=0.01", "--L1_lambda=2")
    generator, discriminator = train.build_generator(256, 256, ngf=2), train.build_discriminator(256, 256, ndf=2)

    def copy(network):
        for name, variable in named_variables(network).items():
            variable.assign(state[network.name][name])

    def applied(network, tape, loss):
        variables = named_variables(network)
        moments = state[f"{network.name[0]}_optimizer"]["adam"]["m"]
        for name, gradient in zip(variables, tape.gradient(loss, list(variables.values()))):
            largest = np.abs(moments[name]).max()
            np.testing.assert_allclose(moments[name], 0.25 * gradient, rtol=1e-2, atol=1e-2 * largest)

    copy(generator), copy(discriminator)
    values = {name: float(value) for name, value in step(source, target, tf.constant(5)).items()}
    with tf.GradientTape(persistent=True) as tape:
        fake = generator([source, key("dropout", args.seed, 5)], training=True)
        real, false = (discriminator([source, image], training=True) for image in (target, fake))
        d_loss = 0.5 * losses.discriminator(real, false)
    applied(discriminator, tape, d_loss)
    copy(discriminator)
    with tape:
        adversarial = losses.adversarial(discriminator([source, fake], training=True))
        g_loss = adversarial + 2 * losses.l1(target, fake)
    applied(generator, tape, g_loss)
    expected = {"d_loss": 2 * d_loss, "g_loss": g_loss, "g_adversarial": adversarial, "g_l1": losses.l1(target, fake)}
    assert values == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-4)


def test_vgg19_lambda(build, monkeypatch, tmp_path):
    """The term of features is in the generator's loss by its weight, of G(x) and y in 0..255."""
    with pytest.raises(SystemExit):
        train.parse_args([f"--data_path={tmp_path}", "--vgg19_lambda=1", "--output_nc=1"])
    seen = []

    def vgg19(images, training):
        seen.append(images.numpy())
        return [images] * 5

    monkeypatch.setattr(train, "find_vgg19", lambda *args, **kwargs: vgg19)
    _, (source, target), _, _, step = build("--vgg19_lambda=3", "--L1_lambda=2")
    values = {name: float(value) for name, value in step(source, target, tf.constant(0)).items()}
    difference = np.abs(seen[0] - seen[1]).mean() / 127.5 * (1 + 1 / 4 + 1 / 8 + 1 / 16 + 1 / 32)
    assert values["g_perceptual"] == pytest.approx(difference, rel=1e-4) and difference > 0
    parts = values["g_adversarial"] + 2 * values["g_l1"] + 3 * values["g_perceptual"]
    assert values["g_loss"] == pytest.approx(parts, rel=1e-4)
    np.testing.assert_allclose(seen[0][..., ::-1] + [123.68, 116.779, 103.939], (target + 1) * 127.5, atol=0.01)


def test_steps_lower_the_losses_and_the_average_follows(build):
    """The average begins as the generator after its first update, follows it, and is what is evaluated."""
    _, batch, evaluated, state, step = build("--ema=0.75", "--lr=0.002", "--L1_lambda=10")
    values = [step(*batch, tf.constant(0))]
    before, average = ({name: v.numpy() for name, v in state[part].items()} for part in ("generator", "ema_generator"))
    assert testing.differing(before, average) == []
    values.append(step(*batch, tf.constant(30)))
    for name, variable in named_variables(evaluated).items():
        moved = 0.75 * before[name] + 0.25 * state["generator"][name].numpy()
        np.testing.assert_allclose(variable, moved, rtol=1e-4, atol=1e-6)
    values += [step(*batch, tf.constant(0)) for _ in range(8)]
    for name in ("d_loss", "g_l1"):
        assert float(values[-1][name]) < 0.97 * float(values[0][name])


def test_learning_rate():
    """Constant for niter of 8 epochs of 5 steps, then in a line to 0 with the last step."""

    def rates(niter, *updates):
        rate = train.learning_rate(SimpleNamespace(learning_rate=0.2, niter=niter), 5, 40)
        return [float(rate(tf.constant(n, tf.int64))) for n in updates] if callable(rate) else rate

    assert rates(4, 0, 19, 20, 25, 30, 39, 40, 50) == pytest.approx([0.2, 0.2, 0.2, 0.15, 0.1, 0.01, 0, 0])
    assert rates(8) == rates(200) == 0.2


def test_loss_scale(build, monkeypatch):
    """The page's dynamic scale, one for each optimizer, where gradients pass through float16."""
    monkeypatch.setattr(Session, "needs_loss_scale", True)
    *_, state, _ = build()
    scales = [state[name]["loss_scale"]["scale"] for name in ("d_optimizer", "g_optimizer")]
    assert [float(scale) for scale in scales] == [2.0**32] * 2 and scales[0] is not scales[1]


# Whole runs.


@pytest.fixture(scope="module")
def finished(start, tmp_path_factory):
    """The folder of a run of two epochs of three steps, evaluated."""
    run = tmp_path_factory.mktemp("finished") / "the run"
    flags = ["--train_epochs=2", "--train_size=3", "--print_freq=2", "--save_latest_freq=4", "--save_epoch_freq=1"]
    assert start(run, *flags, "--evaluate=True", "--niter=1") == 0
    return run


def test_what_a_run_leaves(finished, pair_set):
    """Beside what every model's does: each epoch's held-out L1, the checkpoints that are kept, and sheets of input,
    output and target."""
    result = json.loads((finished / "result.json").read_text())
    assert result["metrics"]["images"] == 2 and result["accuracy"] == result["metrics"]["ssim"]
    assert set(result["baseline"]) == {"l1", "psnr", "ssim"} and "SSIM on 2 held-out images" in result["accuracy_name"]
    rows = testing.json_lines(finished / "metrics.jsonl")
    for name, steps in (("train/d_loss", [1, 2, 4, 6]), ("val/l1", [3, 6])):
        assert [row["step"] for row in rows if name in row] == steps
    lines = re.findall(r"^Epoch: \[ (\d)\] \[   (\d)/   3\]", (finished / "train_0.log").read_text(), re.M)
    assert lines == [("0", "1"), ("0", "2"), ("1", "1"), ("1", "3")]
    assert [path.name for path in sorted((finished / "examples").iterdir())] == [f"step_000000{n}.png" for n in (4, 6)]
    assert result["examples"] == str(finished / "examples" / "step_0000006.png")
    assert {path.name for path in (finished / "checkpoints").glob("epoch_*")} == {"epoch_001", "epoch_002"}
    sheet = read(finished / "examples" / "step_0000006.png")
    held_out = Image.open(pair_set / "val" / "0.png")
    left, right = (held_out.crop((x, 0, x + 64, 64)).resize((256, 256), Image.BICUBIC) for x in (0, 64))
    generated = read(finished / "evaluation" / "generated" / "0.png")
    np.testing.assert_array_equal(sheet[:256], np.concatenate([right, generated, left], 1))


def test_phase_test(finished, pair_set, tmp_path, capsys):
    """Measures the run of --output_path, or a checkpoint of an epoch that was kept."""
    before, found = json.loads((finished / "result.json").read_text()), []
    kept = finished / "checkpoints" / "epoch_001"
    for newest, flags in ((kept.parent / "ckpt-6", []), (kept / "ckpt-3", [f"--ckpt_path={kept}"])):
        folder = tmp_path / newest.name
        flags += [f"--data_path={pair_set}", f"--output_path={finished}", f"--test_dir={folder}"]
        assert main.main(["--phase=test", *flags]) == 0 and "mean colour per label" in capsys.readouterr().out
        result = json.loads((folder / "evaluation.json").read_text())
        assert result["generator"] == f"{newest}.safetensors"
        found.append(result["metrics"]["generated"]["l1"])
    assert found[0] == pytest.approx(before["metrics"]["l1"], rel=1e-3) and found[0] != found[1]


def test_folders_of_ones_own(start, tmp_path, capsys):
    """--checkpoint_dir, --sample_dir, and --phase=test that finds the one and writes --test_dir. Another run takes no
    other's checkpoints unasked, and overwrites no other's sheets."""
    places = [f"--{name}_dir={tmp_path / name}" for name in ("checkpoint", "sample", "test")]
    assert start(tmp_path / "run", "--train_steps=1", *places) == 0
    file = tmp_path / "checkpoint" / "ckpt-1.safetensors"
    assert file.exists() and not (tmp_path / "run" / "checkpoints").exists()
    [sheet] = (tmp_path / "sample").iterdir()
    before = sheet.read_bytes()
    assert start(tmp_path / "none", "--phase=test", *places) == 0
    assert json.loads((tmp_path / "test" / "evaluation.json").read_text())["generator"] == str(file)
    assert start(tmp_path / "other", "--train_steps=3", *places) == 2
    assert f"--checkpoint_dir {file.parent} holds the checkpoints of another run" in capsys.readouterr().err
    assert start(tmp_path / "third", "--train_steps=1", *places[1:]) == 0
    assert sheet.read_bytes() == before and (sheet.parent / "step_0000001-2.png").exists()
    assert start(tmp_path / "fourth", "--train_steps=2", *places[:1], "--continue_train") == 0
    assert "from step 1" in capsys.readouterr().out and (file.parent / "ckpt-2.safetensors").exists()


def test_continue_train(start, tmp_path, capsys):
    """Unset: other options are refused. True: on, with them. False: anew, the old run moved aside."""
    run = tmp_path / "run"
    assert start(run, "--train_steps=1") == 0
    assert start(run, "--train_steps=2", "--continue_train=True", "--L1_lambda=9") == 0
    assert "continuing the unfinished run" in capsys.readouterr().out and testing.steps_done(run) == [1, 2]
    (run / "result.json").unlink()  # as if it had been killed
    assert start(run, "--train_steps=3") == 2
    assert "an unfinished run of other options (--L1_lambda 9.0, now 100.0)" in capsys.readouterr().err
    assert start(run, "--train_steps=1", "--continue_train=False") == 0 and testing.steps_done(run) == [1]
    assert len(list(tmp_path.glob("run.*"))) == 1


def test_batch_size_of_several_workers(monkeypatch, tmp_path):
    """A pair for each; a run that goes on keeps its own, however many workers go on with it."""
    args = train.parse_args([f"--data_path={tmp_path}"])
    monkeypatch.setenv("RANK_SIZE", "8")
    assert train.default_batch_size(args, None) == 8
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    for begun, expected in ((None, 2), ([], 2), ({"options": {}}, 2), ({"options": {"batch_size": 8}}, 8)):
        assert train.default_batch_size(args, begun) == expected
    args.overwrite = True
    assert train.default_batch_size(args, {"options": {"batch_size": 8}}) == 2
