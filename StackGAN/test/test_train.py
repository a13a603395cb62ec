"""Training: flags and their refusals, what a step of either stage does, and what a run leaves behind."""

import importlib
import json
import re
from types import SimpleNamespace

import losses
import numpy as np
import pytest
import tensorflow as tf
import train
import trained
from conftest import MODEL, TINY, write_run
from stageI import model, trainer

from common.optimizer import named_variables
from common.session import Session, set_seed


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
def prepare(sample_set, tmp_path, stage1_run):
    def call(stage, *flags):
        of_stage = {1: ["--stage=1"], 2: ["--stage=2", f"--ckpt_path={stage1_run.folder}"]}[stage]
        args = train.parse_args([f"--data_path={sample_set}", f"--output_path={tmp_path}", *of_stage, *TINY, *flags])
        return train.prepare(args)

    return call


def arrays(state):
    return {name: value.numpy() for name, value in state.items()}


def test_flags_and_settings(sample_set, tmp_path):
    """Flags go before the file given, that goes before the defaults; each stage has its own settings' file."""
    data = f"--data_path={sample_set}"
    one, two = (train.parse_args([data, f"--stage={stage}"]) for stage in (1, 2))
    assert (one.max_epoch, one.lr_decay_epoch, one.pretrained_model, one.batch_size) == (600, 50, "", 64)
    assert (two.max_epoch, two.lr_decay_epoch, two.pretrained_model) == (1200, 100, "ckpt/birds/stageI")
    assert one.precision_mode == "allow_mix_precision" and one.output_path.endswith("train_dir/birds/stageI")
    (tmp_path / "my.yml").write_text("Z_DIM: 7\nTRAIN:\n  BATCH_SIZE: 5\n  COEFF:\n    KL: 3\nTEST:\n  NUM_COPY: 2\n")
    mine = [data, "--stage=1", f"--cfg={tmp_path / 'my.yml'}"]
    args = train.parse_args([*mine, "--batch_size=9", "--gpu", "1"])
    assert (args.z_dim, args.batch_size, args.coeff_kl, args.num_copy, args.gpu_id) == (7, 9, 3.0, 4, 1)
    assert train.parse_args([data, "--stage=2", "--ckpt_path=x"]).pretrained_model == "x"


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--data_path=nowhere"], "--data_path: there is no folder nowhere"),
        (["--batchsize=3"], "unknown flag --batchsize; the nearest known one is --batch_size"),
        (["--stage=1", "--batch_size=9"], "--batch_size: a batch of 9 is larger than the data (6 pictures)"),
        (["--stage=1", "--gf_dim=2"], "argument --gf_dim: '2' is not a whole number, at least 4"),
        (["--cfg=my.yml"], "--cfg is of one stage: give --stage=1 or --stage=2 with it"),
        (["--stage=1", "--cfg=none.yml"], "--cfg none.yml: cannot be read"),
        (["--flag=False"], "--flag=False draws with one stage's checkpoint"),
        (["--stage=1", "--flag=False"], "--flag=False draws with a trained model: name it by --ckpt_path"),
        (["--stage=2", "--max_epoch=600"], "--max_epoch 600 is not after --pretrained_epoch 600"),
        (["--stage=2"], "--ckpt_path ckpt/birds/stageI: no checkpoint in ckpt/birds/stageI"),
        (["--stage=2", "--pretrained_model="], "--stage=2 begins with a trained stage I, and --ckpt_path names none"),
        (["--stage=1", "--ckpt_path=none"], "no checkpoint in none"),
    ],
)
def test_refusals(start, capsys, flags, told):
    try:
        status = start(*flags)
    except SystemExit as end:
        status = end.code
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[Error]")]
    assert status == 2 and len(error) == 1 and told in error[0]


def test_stage2_needs_a_stage1_of_its_widths(start, stage1_run, tmp_path, capsys):
    """Of other widths, of other data, none at all: each is told, and how stage I is made."""
    begin = ["--stage=2", f"--ckpt_path={stage1_run.folder}"]
    assert start(*begin, "--gf_dim=8") == 2
    assert f"{stage1_run.folder}: its --gf_dim is 4, here it is 8; give the same" in capsys.readouterr().err
    assert start(*begin, "--network_type=simple") == 2
    assert "its --network_type is default, here it is simple" in capsys.readouterr().err
    assert start("--stage=2", f"--ckpt_path={tmp_path}") == 2
    assert "\nTrain stage I first: python train.py --stage=1 --data_path=" in capsys.readouterr().err


def test_rates(sample_set):
    """Halved each 50 epochs of stage I, each 100 of stage II, whose first epoch is 600."""

    def rates(stage, epochs):
        args = train.parse_args([f"--data_path={sample_set}", f"--stage={stage}"])
        rate = trainer.learning_rate(args, 2e-4, 7, train.first_epoch(args))
        return [float(rate(tf.constant(7 * epoch - 1 + last, tf.int64))) for epoch in epochs for last in (0, 1)]

    assert rates(1, [1, 50, 100, 550]) == pytest.approx([2e-4 * 0.5**n for n in (0, 0, 0, 1, 1, 2, 10, 11)], rel=1e-6)
    assert rates(2, [1, 100, 500]) == pytest.approx([2e-4 * 0.5**n for n in (0, 0, 0, 1, 4, 5)], rel=1e-6)


def test_noise(sample_set):
    args = train.parse_args([f"--data_path={sample_set}", "--stage=1", "--batch_size=500", "--embedding_dim=30"])
    eps, eps_2, z = drawn = trainer.noise(args, tf.constant(3))
    assert eps.shape == eps_2.shape == (500, 30) and z.shape == (500, 100)
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(drawn, trainer.noise(args, tf.constant(3))))
    assert (eps.numpy() != eps_2.numpy()).any() and (z.numpy() != trainer.noise(args, tf.constant(4))[2].numpy()).any()
    assert float(tf.reduce_max(tf.abs(eps))) <= 2 < float(tf.reduce_max(tf.abs(z)))  # truncated, and not
    assert float(tf.math.reduce_std(eps)) == pytest.approx(0.8796, abs=0.02)


def test_stage1_learns(prepare):
    """A few steps on one batch: the discriminator tells it, and both networks move."""
    parts = prepare(1, "--discriminator_lr=0.005", "--generator_lr=0.002")
    before = {name: arrays(parts.state[name]) for name in ("generator", "discriminator")}
    batch = next(parts.batches(0))
    found = [{name: float(value) for name, value in parts.update(batch, step).items()} for step in range(12)]
    assert min(values["d_loss"] for values in found) < 0.8 * found[0]["d_loss"]
    assert found[0]["g_loss"] > found[0]["kl"] >= 0 and found[0]["g_loss"] < found[0]["kl"] + 1.5
    for name, earlier in before.items():
        assert np.mean([(earlier[key] != now).any() for key, now in arrays(parts.state[name]).items()]) > 0.95


def test_losses_of_a_step(prepare):
    """Wrong pictures and augmentation play their part where they are asked for, and none where they are not."""
    parts = prepare(1, "--b_wrong=False", "--cond_augmentation=False", "--discriminator_lr=0", "--generator_lr=0")
    real, wrong, embedding = next(parts.batches(0))
    one, other = (parts.update((real, x, embedding), 5) for x in (wrong, -wrong))
    assert float(one["d_loss"]) == float(other["d_loss"]) and float(one["kl"]) == 0
    twice = prepare(1, "--discriminator_lr=0", "--generator_lr=0")
    one, other = (twice.update((real, x, embedding), 5) for x in (wrong, real))
    assert float(one["d_loss"]) != float(other["d_loss"])
    assert float(losses.discriminator(tf.zeros([2, 1]), None, tf.zeros([2, 1]))) == pytest.approx(2 * np.log(2))


def test_faint_pictures_do_not_pass_for_real():
    """Beside the real ones in a batch they are told apart. By themselves they are normalised until they look alike."""
    set_seed(0)
    discriminator = model.build_discriminator(embedding_dim=4, condition_dim=4, df_dim=4)
    pictures, text = tf.random.stateless_normal([6, 64, 64, 3], [1, 2]), tf.ones([6, 4])
    discriminator([pictures * np.nan, text], training=True)  # an overflow is forgotten with the next batch
    alone = [discriminator([x, text], training=True) for x in (pictures, pictures / 4)]
    real, _, faint = trainer.verdicts(SimpleNamespace(b_wrong=False), discriminator, pictures, None, pictures / 4, text)
    again = discriminator([pictures / 4, text], training=False)  # as the generator's update sees them
    np.testing.assert_allclose(again, faint, atol=0.05 * np.std(faint))
    apart = [np.abs(one - other).mean() for one, other in (alone, (real, faint))]
    assert apart[0] < 0.3 * np.std(alone[0]) < 0.6 * np.std(alone[0]) < apart[1]


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_of_another_run(prepare, stage1_run, stage2_run, stage):
    """Its networks are all that is read (this checkpoint has no more), so the rates begin their schedule anew."""
    run = {1: stage1_run, 2: stage2_run}[stage]
    parts, given = prepare(stage, f"--ckpt_path={run.folder}"), trained.load(str(run.folder))
    given = arrays(named_variables(given.stage1 if stage == 1 else given.stage2))
    assert all((value == given[name]).all() for name, value in arrays(parts.state["generator"]).items())


@pytest.mark.parametrize("finetune", [False, True])
def test_stage2_and_stage1_with_it(prepare, stage1_run, finetune):
    """Stage I begins as it was trained. Frozen, not a bit of it moves; else, at a tenth of the rate."""
    parts = prepare(2, f"--finetune_lr={finetune}")
    names = ("generator", "discriminator", "stage1_generator", "stage1_discriminator")
    before = {name: arrays(parts.state[name]) for name in names}
    given = arrays(named_variables(trained.load(str(stage1_run.folder)).stage1))
    assert all((value == given[name]).all() for name, value in before["stage1_generator"].items())
    metrics = parts.update(next(parts.batches(0)), 0)
    assert ("stage1_g_loss" in metrics) is finetune
    moved = {name: {key: now - before[name][key] for key, now in arrays(parts.state[name]).items()} for name in names}
    kernels = {"generator": "residual_1a.0", "discriminator": "down_3.0"}
    kernels.update(stage1_generator="residual_1b.0", stage1_discriminator="down_3.0")
    for name, kernel in kernels.items():
        if name.startswith("stage1") and not finetune:
            assert not any(difference.any() for difference in moved[name].values())
        else:  # Adam's first step is the rate itself
            rate = 2e-5 if name.startswith("stage1") else 2e-4
            assert np.median(np.abs(moved[name][kernel])) == pytest.approx(rate, rel=0.05)


def test_loss_scale(monkeypatch, prepare):
    """One of its own for each optimizer, where gradients pass through float16; stage II's are over both stages."""
    monkeypatch.setattr(Session, "needs_loss_scale", True)
    for stage in (1, 2):
        parts = prepare(stage, *["--finetune_lr"] * (stage == 2))
        scales = [parts.state[name]["loss_scale"]["scale"] for name in ("d_optimizer", "g_optimizer")]
        assert [float(scale) for scale in scales] == [2.0**16] * 2 and scales[0] is not scales[1]


def test_both_stages(start, tmp_path, capsys):
    """One after the other; what it prints and leaves behind. Repeated before stage II is finished, stage I is kept."""
    run = tmp_path / "run"
    flags = ["--train_epochs=2", "--log_interval=1", "--num_copy=2"]
    assert start(*flags, evaluate=True) == 0
    said = capsys.readouterr().out
    assert re.search(r"^step: 6 perf: \d+\.\d+ fps: \d+\.\d+$", said, re.M)
    for stage, epoch in (("stageI", 2), ("stageII", 602)):
        [line] = re.findall(rf"^Epoch {epoch} \| g_loss: (\d+\.\d+); d_loss: (\d+\.\d+)$", said, re.M)
        rows = [json.loads(row) for row in (run / stage / "metrics.jsonl").read_text().splitlines()]
        steps = [row for row in rows if "train/g_loss" in row]
        means = [np.mean([row[f"train/{name}"] for row in steps[3:]]) for name in ("g_loss", "d_loss")]
        assert len(steps) == 6 and [float(number) for number in line] == pytest.approx(means, abs=2e-6)
        sheets = sorted(path.name for path in (run / stage / "examples").iterdir())
        expected = [f"{part}_epoch_{number:04d}.jpg" for part in ("test", "train") for number in (epoch - 1, epoch)]
        assert sheets == expected
    result = json.loads((run / "result.json").read_text())
    assert set(result["stages"]) == {"stageI", "stageII"} and result["options"]["stage"] == "2"
    assert result["metrics"] == result["stages"]["stageII"]["metrics"] and "frechet_colours" in result["metrics"]
    assert (run / "StackGAN_bs2_1p_acc.log").exists() and "Epoch 602" in (run / "train_0.log").read_text()

    (run / "result.json").unlink()
    (run / "stageII" / "result.json").unlink()
    assert start(*flags, evaluate=True) == 0
    said = capsys.readouterr().out
    assert f"[Info] stageI is trained already: {run / 'stageI'}" in said and "Epoch 2 |" not in said
    assert "continuing the unfinished run" in said and (run / "result.json").exists()


def test_the_pages_commands(sample_set, stage1_run, tmp_path, monkeypatch, capsys):
    """run_exp.py of both stages where the original's folders are, then FLAG: False."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Data").mkdir()
    (tmp_path / "Data" / "birds").symlink_to(sample_set)
    write_run(tmp_path / "ckpt" / "birds" / "stageI")
    run_exp = importlib.import_module("stageII.run_exp")
    flags = ["--cfg", str(MODEL / "stageII" / "cfg" / "birds.yml"), "--gpu", "0", *TINY, "--num_copy=3"]
    assert run_exp.main([*flags, "--train_steps=1", "--evaluate=False"]) == 0
    assert (tmp_path / "ckpt" / "birds" / "stageII" / "result.json").exists()
    assert run_exp.main([*flags, "--flag=False", "--ckpt_path=ckpt/birds/stageII"]) == 0
    drawn = tmp_path / "ckpt" / "birds" / "stageII-1real-3samples"
    assert [path.name for path in sorted((drawn / "test" / "red").iterdir())] == ["00_sentence0.jpg"]
    assert len(list((drawn / "test").glob("*/*.jpg"))) == 3 and len(list((drawn / "samples").iterdir())) == 9
    assert f"3 super-images are in {drawn / 'test'}" in capsys.readouterr().out
