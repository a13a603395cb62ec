"""Training: flags and their refusals, what a step of either stage does, and what a run leaves behind."""

import json
import re
import runpy
import shutil
from argparse import Namespace
from types import SimpleNamespace

import data
import losses
import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import MODEL, TINY, write_run
from misc import config
from model import find_weights, load_generator
from stageI import model, trainer

from common.cli import UserError
from common.layers import named_variables
from common.session import Session, set_seed


@pytest.fixture(scope="module", autouse=True)
def op_by_op():
    """Tracing a step takes longer than doing a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "compile", lambda self, step: step)
        patch.setattr("common.run_folder.fcntl.flock", lambda *_: None)  # which holds until the process ends
        yield


@pytest.fixture
def start(sample_set, tmp_path):
    """Runs train.py's main on the small set and returns its exit status."""

    def run(*flags, evaluate=False, output="run"):
        tiny = [f"--data_path={sample_set}", f"--output_path={tmp_path / output}", f"--evaluate={evaluate}", *TINY]
        return train.main([*tiny, *flags])

    return run


@pytest.fixture
def build(sample_set, tmp_path, stage1_run):
    """A stage's networks and step, begun as `--ckpt_path` says: what train.build returns, and `batch`."""

    def call(stage, *flags):
        of_stage = {1: ["--stage=1"], 2: ["--stage=2", f"--ckpt_path={stage1_run}"]}[stage]
        args = train.parse_args([f"--data_path={sample_set}", f"--output_path={tmp_path}", *of_stage, *TINY, *flags])
        session, split = train.open_on(args), train.read_data(args)["train"]
        set_seed(0)
        parts, _ = train.build(args, session, split)
        parts.start()
        batch = next(data.training_batches(args, split, parts.size, 0, session))
        return SimpleNamespace(**parts._asdict(), batch=batch)

    return call


def arrays(variables):
    return {name: value.numpy() for name, value in variables.items()}


def test_flags_and_settings(sample_set, tmp_path):
    """Flags override the file given, that overrides the defaults; each stage has its own settings' file."""
    path = f"--data_path={sample_set}"
    one, two = (train.parse_args([path, f"--stage={stage}"]) for stage in (1, 2))
    assert (one.max_epoch, two.max_epoch) == (600, 1200) and (one.ema, one.unconditional, one.diffaugment) == (
        0,
        0,
        False,
    )
    assert one.precision_mode == "allow_mix_precision" and one.output_path.endswith("train_dir/birds/stageI")
    (tmp_path / "my.yml").write_text("Z_DIM: 7\nTRAIN:\n  BATCH_SIZE: 5\n  COEFF:\n    KL: 3\nTEST:\n  NUM_COPY: 2\n")
    mine = [path, "--stage=1", f"--cfg={tmp_path / 'my.yml'}"]
    args = train.parse_args([*mine, "--batch_size=9", "--gpu", "1"])
    assert (args.z_dim, args.batch_size, args.coeff_kl, args.num_copy, args.gpu_id) == (7, 9, 3.0, 4, 1)
    assert train.parse_args([path, "--stage=2", "--ckpt_path=x"]).pretrained_model == "x"


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--stage=1", "--batch_size=9"], "--batch_size: a batch of 9 is larger than the data (6 samples)"),
        (["--stage=1", "--gf_dim=2"], "argument --gf_dim: '2' is not a whole number, at least 4"),
        (["--cfg=my.yml"], "--cfg is of one stage: give --stage=1 or --stage=2 with it"),
        (["--flag=False"], "--flag=False generates with one stage's weights"),
        (["--stage=1", "--flag=False"], "--flag=False takes trained weights: name them by --ckpt_path"),
        (["--stage=2", "--max_epoch=600"], "--max_epoch 600 is not after --pretrained_epoch 600"),
        (["--stage=1", "--ema=1"], "argument --ema: '1' is not a number, at least 0, at most 0.999999"),
        (["--stage=2", "--enlarge_steps=1", "--finetune_lr"], "--enlarge_steps leaves stage I as it is"),
        (["--stage=2"], "--ckpt_path ckpt/birds/stageI: no weights in ckpt/birds/stageI"),
        (["--stage=2", "--pretrained_model="], "--stage=2 begins with a trained stage I, and --ckpt_path names none"),
        (["--stage=1", "--ckpt_path=none"], "no weights in none"),
        (["--stage=1", "--vgg19_weights=none.h5"], "--vgg19_weights none.h5: there is no such file"),
    ],
)
def test_refusals(start, capsys, flags, told):
    try:
        status = start(*flags)
    except SystemExit as end:
        status = end.code
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[Error]")]
    assert status == 2 and len(error) == 1 and told in error[0]


def test_stage2_needs_a_stage1_of_its_widths(build, stage1_run, tmp_path):
    for flag in ("--gf_dim=8", "--network_type=simple"):
        with pytest.raises(UserError, match=f"its {flag[2:].split('=')[0]} is .*; give the same options"):
            build(2, flag)
    with pytest.raises(UserError, match="\nTrain stage I first: python train.py --stage=1 --data_path="):
        build(2, f"--ckpt_path={tmp_path}")


def test_learning_rates(sample_set):
    """Halved each 50 epochs of stage I, each 100 of stage II, whose first epoch is 600."""

    def rates(stage, epochs):
        args = train.parse_args([f"--data_path={sample_set}", f"--stage={stage}"])
        rate = trainer.learning_rate(args, 2e-4, 7)
        return [float(rate(tf.constant(7 * epoch - 1 + last, tf.int64))) for epoch in epochs for last in (0, 1)]

    assert rates(1, [1, 50, 100, 550]) == pytest.approx([2e-4 * 0.5**n for n in (0, 0, 0, 1, 1, 2, 10, 11)], rel=1e-6)
    assert rates(2, [1, 100, 500]) == pytest.approx([2e-4 * 0.5**n for n in (0, 0, 0, 1, 4, 5)], rel=1e-6)


def test_noise():
    args = SimpleNamespace(seed=0, embedding_dim=30, z_dim=100)
    eps, eps_2, z = drawn = trainer.noise(args, 500, tf.constant(3))
    assert eps.shape == eps_2.shape == (500, 30) and z.shape == (500, 100)
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(drawn, trainer.noise(args, 500, tf.constant(3))))
    assert (eps.numpy() != eps_2.numpy()).any()
    assert (z.numpy() != trainer.noise(args, 500, tf.constant(4))[2].numpy()).any()
    assert float(tf.reduce_max(tf.abs(eps))) <= 2 < float(tf.reduce_max(tf.abs(z)))  # truncated, and not
    assert float(tf.math.reduce_std(eps)) == pytest.approx(0.8796, abs=0.02)


def test_wrong_rows():
    """Of another class, each of them in turn; a batch of one class has none."""
    classes, seen = tf.constant([5, 7, 5, 9]), set()
    for seed in range(40):
        rows, there = losses.wrong_rows(classes, tf.constant([seed, 1]))
        rows = rows.numpy()
        assert there.numpy().all() and not (classes.numpy()[rows] == classes.numpy()).any()
        seen.update(enumerate(rows.tolist()))
    assert seen == {(0, 1), (0, 3), (1, 0), (1, 2), (1, 3), (2, 1), (2, 3), (3, 0), (3, 1), (3, 2)}
    assert not losses.wrong_rows(tf.constant([5, 5]), tf.constant([0, 1]))[1].numpy().any()


CURES = ["--diffaugment", "--unconditional=1", "--contrastive=2", "--ema=0.5"]


@pytest.mark.parametrize("extra", [[], CURES, [*CURES, "--vgg19_weights=random"]])
def test_stage1_learns(build, extra):
    """A few steps on one batch: the discriminator tells it, and all networks move."""
    parts = build(1, "--discriminator_lr=0.005", "--generator_lr=0.002", *extra)
    images, embedding, _ = parts.batch
    batch = images, embedding, tf.range(len(images))  # each of a class of its own
    names = [name for name in parts.state if name.endswith(("generator", "discriminator"))]
    assert len(names) == (3 if extra else 2)
    before = {name: arrays(parts.state[name]) for name in names}
    found = []
    for step in range(12):
        found.append({k: float(v) for k, v in parts.train_step(*batch, tf.constant(step)).items()})
    d_loss = [values["d_real"] + (values["d_wrong"] + values["d_fake"]) / 2 for values in found]
    assert min(d_loss) < 0.85 * d_loss[0] and found[0]["g_loss"] > found[0]["kl"] >= 0
    assert found[0]["d_loss"] == pytest.approx(
        d_loss[0] + found[0].get("d_alone", 0) + 2 * found[0].get("d_match", 0), rel=1e-5
    )
    for name, earlier in before.items():
        assert np.mean([(earlier[key] != now).any() for key, now in arrays(parts.state[name]).items()]) > 0.95
    held_out = parts.held_out_terms(*batch, tf.constant(3))
    assert set(held_out) == {name for name in found[0] if name.startswith("d_")}


def test_losses_of_a_step(build):
    """Wrong pairs and augmentation play their part where they are asked for, and none where they are not."""
    still = ["--discriminator_lr=0", "--generator_lr=0"]
    images, embedding, _ = build(1, *still).batch
    classes = [tf.constant([0, 1]), tf.constant([0, 0])]  # two classes; only one
    without = build(1, "--b_wrong=False", "--cond_augmentation=False", *still)
    one, other = (without.train_step(images, embedding, x, tf.constant(5)) for x in classes)
    assert float(one["d_loss"]) == float(other["d_loss"]) and float(one["kl"]) == 0 and "d_wrong" not in one
    one, other = (build(1, *still).train_step(images, embedding, x, tf.constant(5)) for x in classes)
    assert float(one["d_wrong"]) > 0 == float(other["d_wrong"])
    matched = build(1, "--contrastive=2", *still).train_step(images, embedding, classes[0], tf.constant(5))
    for loss, term in (("d_loss", "d_match"), ("g_loss", "match")):  # nothing else differs
        assert float(matched[loss]) == pytest.approx(float(one[loss]) + 2 * float(matched[term]), rel=1e-4)
        assert term not in one and float(matched[term]) > 0


def test_faint_images_do_not_pass_for_real():
    """Beside the real ones in a batch they are told apart. By themselves they are normalised until they look alike."""
    set_seed(0)
    d = model.build_discriminator(4, Namespace(**{**config.defaults(), "embedding_dim": 4, "df_dim": 4}))
    images, text = tf.random.stateless_normal([6, 64, 64, 3], [1, 2]), tf.ones([6, 4])

    def logits(x, training):
        return d.text([d.image(x, training=training), tf.ones([len(x), 4])], training=training)

    d.image(images * np.nan, training=True)  # an overflow is forgotten with the next batch
    alone = [logits(x, True) for x in (images, images / 4)]
    real, faint = tf.split(logits(tf.concat([images, images / 4], 0), True), 2)
    again = d.text([d.image(images / 4, training=False), text], training=False)  # as the generator's update sees them
    np.testing.assert_allclose(again, faint, atol=0.05 * np.std(faint))
    apart = [np.abs(one - other).mean() for one, other in (alone, (real, faint))]
    assert apart[0] < 0.3 * np.std(alone[0]) < 0.6 * np.std(alone[0]) < apart[1]


@pytest.mark.parametrize(
    "finetune, extra", [(False, []), (True, ["--contrastive=1"]), (False, ["--vgg19_weights=random"])]
)
def test_stage2_and_stage1_with_it(build, stage1_run, finetune, extra):
    """Stage I begins as it was trained. Frozen, not a bit of it moves; else, at a tenth of the learning rate."""
    parts = build(2, f"--finetune_lr={finetune}", *extra)
    names = ["generator", "discriminator", "stage1_generator", *["stage1_discriminator"] * finetune]
    before = {name: arrays(parts.state[name]) for name in names}
    given = arrays(named_variables(load_generator(find_weights(stage1_run)).stage1))
    assert all((value == given[name]).all() for name, value in before["stage1_generator"].items())
    metrics = parts.train_step(*parts.batch, tf.constant(0))
    assert ("stage1_g_loss" in metrics) is finetune
    assert np.isfinite(float(parts.held_out_terms(*parts.batch, tf.constant(0))["d_loss"]))
    moved = {name: {key: now - before[name][key] for key, now in arrays(parts.state[name]).items()} for name in names}
    kernels = {"generator": "residual_1a.0", "discriminator": "down_3.0"}
    kernels.update(stage1_generator="residual_1b.0", stage1_discriminator="down_3.0")
    for name in names:
        if name.startswith("stage1") and not finetune:
            assert not any(difference.any() for difference in moved[name].values())
        else:  # Adam's first step is the rate itself
            rate = 2e-5 if name.startswith("stage1") else 2e-4
            assert np.median(np.abs(moved[name][kernels[name]])) == pytest.approx(rate, rel=0.05)


def test_stage2_enlarges_first(build):
    """Its generator alone learns to give images back, in its first steps; to stay like stage I's image where asked."""
    parts = build(2, "--enlarge_steps=5", "--generator_lr=0.02", "--coeff_small=10", "--ema=0.5")
    assert build(1).enlarge_step is None
    before = {name: arrays(parts.state[name]) for name in ("generator", "ema_generator", "discriminator")}
    found = [parts.enlarge_step(*parts.batch, tf.constant(step)) for step in range(5)]
    assert float(found[4]["l1"]) < 0.95 * float(found[0]["l1"]) and float(found[0]["g_loss"]) > float(found[0]["l1"])
    for name, earlier in before.items():
        moved = np.mean([(earlier[key] != now).any() for key, now in arrays(parts.state[name]).items()])
        assert moved == 0 if name == "discriminator" else moved > 0.9
    with_it = parts.train_step(*parts.batch, tf.constant(5))
    assert float(with_it["g_loss"]) > 10 * float(with_it["small"]) > 0


def test_loss_scale(monkeypatch, build):
    """One of its own for each optimizer, where gradients pass through float16; stage II's are over both stages."""
    monkeypatch.setattr(Session, "needs_loss_scale", True)
    parts = build(2, "--finetune_lr")
    scales = [parts.state[name]["loss_scale"]["scale"] for name in ("d_optimizer", "g_optimizer")]
    assert [float(scale) for scale in scales] == [2.0**16] * 2 and scales[0] is not scales[1]


def test_both_stages(start, tmp_path, capsys):
    """One after the other; what it prints and leaves behind."""
    run = tmp_path / "run"
    flags = ["--train_epochs=2", "--log_interval=1", "--held_out_interval=4", "--num_copy=1"]
    assert start(*flags, evaluate=True) == 0
    said = capsys.readouterr().out
    assert re.search(r"^step: 6 perf: \d+\.\d+ fps: \d+\.\d+$", said, re.M)
    for stage, epoch in (("stageI", 2), ("stageII", 602)):
        [line] = re.findall(rf"^Epoch {epoch} \| g_loss: (\d+\.\d+); d_loss: (\d+\.\d+)$", said, re.M)
        rows = [json.loads(row) for row in (run / stage / "metrics.jsonl").read_text().splitlines()]
        steps = [row for row in rows if "train/g_loss" in row]
        means = [np.mean([row[f"train/{name}"] for row in steps[3:]]) for name in ("g_loss", "d_loss")]
        assert len(steps) == 6 and [float(number) for number in line] == pytest.approx(means, abs=2e-6)
        held_out = [row for row in rows if "held_out/d_real" in row]
        assert [row["step"] for row in held_out] == [4, 6] and {"train/d_fake", "train/d_wrong"} <= set(steps[0])
        sheets = sorted(path.name for path in (run / stage / "examples").iterdir())
        assert sheets == [f"{part}_step_0000006.jpg" for part in ("test", "train")]
    result = json.loads((run / "result.json").read_text())
    assert set(result["stages"]) == {"stageI", "stageII"} and result["options"]["stage"] == "2"
    assert result["metrics"] == result["stages"]["stageII"]["metrics"] and "frechet_colours" in result["metrics"]
    assert (run / "StackGAN_bs2_1p_acc.log").exists() and "Epoch 602" in (run / "train_0.log").read_text()
    (run / "result.json").unlink()
    (run / "stageII" / "result.json").unlink()
    assert start(*flags, evaluate=True) == 0  # only what is missing
    said = capsys.readouterr().out
    assert f"the run in {run / 'stageI'} is finished" in said and "Epoch 2 |" not in said
    assert (run / "result.json").exists()


def test_going_on_needs_no_start(start, stage1_run, tmp_path, monkeypatch, capsys):
    """A run that was interrupted goes on without what it began with, to the same weights."""
    first = tmp_path / "first"
    shutil.copytree(stage1_run, first)
    flags = ["--stage=2", f"--ckpt_path={first}", "--train_steps=2", "--snapshot_interval=1", "--ema=0.9"]
    flags += ["--diffaugment", "--enlarge_steps=1", "--num_copy=1", "--deterministic"]
    assert start(*flags, output="whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "step_seconds", lambda self: 1 / (self.step != 2))
        with pytest.raises(ZeroDivisionError):
            start(*flags, "--log_interval=2")
    shutil.rmtree(first)
    assert start(*flags) == 0
    assert "continuing the unfinished run" in capsys.readouterr().out
    whole, run = (find_weights(tmp_path / name).tensors for name in ("whole", "run"))
    assert whole.keys() == run.keys() and all((whole[name] == run[name]).all() for name in whole)


def test_the_pages_commands(sample_set, tmp_path, monkeypatch, capsys):
    """run_exp.py of both stages where the original's folders are, then FLAG: False."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Data").mkdir()
    (tmp_path / "Data" / "birds").symlink_to(sample_set)
    write_run(tmp_path / "ckpt" / "birds" / "stageI")

    def run_exp(*flags):
        ended = []
        monkeypatch.setattr("common.cli.leave", ended.append)
        monkeypatch.setattr("sys.argv", ["run_exp.py", *flags])
        runpy.run_path(str(MODEL / "stageII" / "run_exp.py"), run_name="__main__")
        return ended[0]

    flags = ["--cfg", str(MODEL / "stageII" / "cfg" / "birds.yml"), "--gpu", "0", *TINY, "--num_copy=3"]
    assert run_exp(*flags, "--train_steps=1", "--evaluate=False") == 0
    assert (tmp_path / "ckpt" / "birds" / "stageII" / "result.json").exists()
    assert run_exp(*flags, "--flag=False", "--ckpt_path=ckpt/birds/stageII") == 0
    made = tmp_path / "ckpt" / "birds" / "stageII-1real-3samples"
    assert [path.name for path in sorted((made / "test" / "red").iterdir())] == ["00_sentence0.jpg"]
    assert len(list((made / "test").glob("*/*.jpg"))) == 3 and len(list((made / "samples").iterdir())) == 9
    assert f"3 sheets are in {made / 'test'}" in capsys.readouterr().out
