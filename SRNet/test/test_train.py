"""Training: flags and their refusals, what a step does, and what a run leaves behind."""

import json
import re

import cfg
import loss
import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import TINY

from common.layers import BatchNorm
from common.session import Session


@pytest.fixture(scope="module", autouse=True)
def op_by_op():
    """Tracing a step takes longer than doing a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "compile", lambda self, step: step)
        yield


@pytest.fixture
def start(sample_set, tmp_path):
    """Runs train.py's main on the small set and returns its exit status."""

    def run(*flags, evaluate=False):
        tiny = [f"--data_path={sample_set}", f"--output_path={tmp_path / 'run'}", f"--evaluate={evaluate}", *TINY]
        return train.main([*tiny, *flags])

    return run


@pytest.fixture
def prepare(sample_set, tmp_path):
    def call(*flags):
        args = train.parse_args([f"--data_path={sample_set}", f"--output_path={tmp_path}", *TINY, *flags])
        return train.prepare(args)

    return call


def test_the_pages_flags(tmp_path):
    """Every name of cfg.py is a flag, and its value there the default."""
    args = train.parse_args([f"--data_dir={tmp_path}"])
    page = {"learning_rate": 1e-4, "decay_rate": 0.9, "decay_steps": 10000, "staircase": False}
    page.update(beta1=0.9, beta2=0.999, show_loss_interval=50, write_log_interval=50, batch_size=8, train_name=None)
    page.update(save_ckpt_interval=10000, gen_example_interval=1000, train_steps=20000, ckpt_path=None)
    assert page.items() <= vars(args).items()
    assert (args.data_path, args.data_shape, args.precision_mode) == (str(tmp_path), (64, 128), "force_fp32")
    other = {"max_iter": "7", "pretrained_ckpt_path": "x", "data_shape": "32x64"}
    other.update(staircase="True", batch_statistics="False")
    names = [name for name in vars(cfg) if name[0] != "_" and name != "test_max_iter"]
    values = {name: other.get(name, "3" if isinstance(getattr(cfg, name), int) else "0.5") for name in names}
    changed = train.parse_args([f"--data_dir={tmp_path}", *(f"--{name}={value}" for name, value in values.items())])
    assert (changed.train_steps, changed.ckpt_path, changed.data_shape) == (7, "x", (32, 64))
    assert changed.staircase and not changed.batch_statistics
    for name in set(names) - set(other):
        assert str(getattr(changed, name)).rstrip("0").rstrip(".") == values[name]


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--data_shape=64,100"], "64,100: give height,width, both multiples of 8, 16 or more"),
        (["--data_shape=64"], "argument --data_shape: invalid size value: '64'"),
        (["--maxiter=3"], "unknown flag --maxiter; the nearest known one is --max_iter"),
        (["--data_path=nowhere"], "--data_path: there is no folder nowhere"),
        (["--batch_size=9"], "--batch_size: a batch of 9 is larger than the data (6 samples)"),
        (["--vgg19_weights=none.h5"], "--vgg19_weights none.h5: there is no such file"),
    ],
)
def test_refusals(start, capsys, flags, told):
    try:
        status = start("--max_iter=2", *flags)
    except SystemExit as end:
        status = end.code
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[Error]")]
    assert status == 2 and len(error) == 1 and told in error[0]


def test_without_weights(sample_set, tmp_path, capsys):
    """No file of VGG19's weights: two lines that name both places and the ways out."""
    flags = [f"--data_path={sample_set}", f"--output_path={tmp_path / 'run'}", *TINY[:-1]]
    assert train.main(flags) == 2
    told = capsys.readouterr().err
    assert f"{sample_set}/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 or {sample_set}/vgg19.pb" in told
    assert "--vgg19_weights=random" in told and "none" in told


def test_scaled(prepare):
    parts = prepare()
    sample = train.scaled(next(parts.batches(0)))
    assert all(x.dtype == tf.float32 for x in sample.values())
    assert set(np.unique(sample["mask_t"])) == {0.0, 1.0} and float(tf.reduce_min(sample["i_t"])) == -1.0
    np.testing.assert_allclose(np.unique(sample["t_t"])[-1], 127 / 127.5 - 1, atol=1e-6)


def test_a_step_learns(prepare):
    """A few steps on one batch lower each part's loss, and move both networks."""
    parts = prepare("--learning_rate=0.003")
    before = {name: [v.numpy() for v in parts.state[name].values()] for name in ("generator", "discriminator")}
    batch = next(parts.batches(0))
    found = [{name: float(value) for name, value in parts.update(batch, step).items()} for step in range(12)]
    assert found[0]["g_loss"] == pytest.approx(10 * found[0]["l_t"] + found[0]["l_b"] + found[0]["l_f"], rel=1e-5)
    assert all(found[-1][name] < 0.9 * found[0][name] for name in ("g_loss", "l_b", "l_f"))
    assert found[-1]["dice"] > found[0]["dice"] and found[-1]["d_loss"] < found[0]["d_loss"]
    for name, earlier in before.items():
        moved = [(v.numpy() != old).any() for v, old in zip(parts.state[name].values(), earlier)]
        assert np.mean(moved) > 0.95


def test_statistics_of_the_batch_or_those_so_far(prepare):
    """Without the batch's statistics the moving averages stay, and they are what a sample is normalised by."""
    for flag, moves in (("True", True), ("False", False)):
        parts = prepare(f"--batch_statistics={flag}", "--learning_rate=0", "--batch_size=2")
        norms = [layer for layer in parts.generator.layers if isinstance(layer, BatchNorm)]
        before = [layer.mean.numpy() for layer in norms]
        batch = next(parts.batches(0))
        found = float(parts.update(batch, 0)["dice"])
        assert all((layer.mean.numpy() != old).any() == moves for layer, old in zip(norms, before))
        sample = train.scaled(batch)
        fixed = parts.generator([sample["i_t"], sample["i_s"]], training=False)
        assert (found == pytest.approx(1 - float(loss.dice(sample["t_sk"], fixed[0])), rel=1e-4)) != moves


def test_weights_of_the_loss(prepare):
    """A weight of 0 takes its term away: here the whole of text conversion, and L1 of the two others."""
    parts = prepare("--lt=0", "--lb_beta=0", "--lf_theta_1=0")
    found = {name: float(value) for name, value in parts.update(next(parts.batches(0)), 0).items()}
    assert found["g_loss"] == pytest.approx(found["l_b"] + found["l_f"], rel=1e-5) and found["l_t"] > 0.1
    assert max(found["l_b"], found["l_f"]) < 2.5  # -log D alone, where their L1 is 10 times 0.5 and more


def test_perceptual_terms(monkeypatch, prepare):
    """The fused picture's loss has two terms more, by their weights, where there are features."""
    seen = []

    def features(pictures):
        seen.append(pictures)
        return [tf.reshape(pictures, [2, 16, 32, 3])]

    monkeypatch.setattr(train, "perceptual_features", lambda args: features)
    parts = prepare("--lf_theta_1=0", "--lf_theta_2=1", "--lf_theta_3=7")
    found = parts.update(next(parts.batches(0)), 0)
    expected = loss.perceptual([seen[0]], [seen[1]]) + 7 * loss.style([seen[0]], [seen[1]])
    assert 0.1 < float(expected) < float(found["l_f"]) < float(expected) + 2.5


def test_rate(prepare, tmp_path):
    def rates(*flags):
        rate = train.learning_rate(train.parse_args([f"--data_path={tmp_path}", *flags]))
        return [float(rate(tf.constant(updates, tf.int64))) for updates in (0, 5000, 10000, 15000)]

    assert rates() == pytest.approx([1e-4, 1e-4 * 0.9**0.5, 0.9e-4, 1e-4 * 0.9**1.5])
    assert rates("--staircase") == pytest.approx([1e-4, 1e-4, 0.9e-4, 0.9e-4])


def test_loss_scale(monkeypatch, prepare):
    """One of its own for each optimizer, where gradients pass through float16."""
    monkeypatch.setattr(Session, "needs_loss_scale", True)
    parts = prepare()
    scales = [parts.state[name]["loss_scale"]["scale"] for name in ("d_optimizer", "g_optimizer")]
    assert [float(scale) for scale in scales] == [2.0**16] * 2 and scales[0] is not scales[1]


def test_a_finished_run(start, tmp_path, capsys):
    """What it prints and leaves behind: the page's line, sheets, kept checkpoints, final.pb, metrics and baselines."""
    run = tmp_path / "run"
    flags = ["--max_iter=4", "--show_loss_interval=2", "--gen_example_interval=2", "--save_ckpt_interval=2"]
    assert start(*flags, "--train_name=mine", evaluate=True) == 0
    said = capsys.readouterr().out
    line = r"^step: {6}%d   d_loss: \d+\.\d{5}   g_loss: \d+\.\d{5}   time: \d+\.\d{4}$"
    assert re.search(line % 2, said, re.M) and re.search(line % 4, said, re.M)
    assert sorted(path.name for path in (run / "examples" / "mine").iterdir()) == [
        "step_0000002.png",
        "step_0000004.png",
    ]
    assert (run / "checkpoints" / "iter_0000002" / "ckpt-2.index").exists() and (run / "final.pb").exists()
    result = json.loads((run / "result.json").read_text())
    assert {"o_f_psnr", "o_f_ssim", "o_sk_dice"} <= result["metrics"].keys() and "o_f_psnr" in result["baseline"]
    assert result["train_steps"] == 4 and result["accuracy"] == result["metrics"]["o_f_ssim"]
