"""Training: flags and their refusals, what the steps do, and what a run leaves behind."""

import json
import re
import shutil

import baseline
import checkpoint
import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import TINY, call, write_run
from PIL import Image

from common.layers import named_variables
from common.session import Session


@pytest.fixture
def start(image_set, tmp_path, capsys, monkeypatch):
    """Runs train.py's main on the small set and returns its exit status and what it said."""
    monkeypatch.setattr("fcntl.flock", lambda *args: None)  # a folder is this process's until it ends
    monkeypatch.setattr(Session, "compile", lambda self, step: step)  # tracing takes longer than doing a few steps

    def run(*flags, output=tmp_path / "run", evaluate=False):
        tiny = [f"--data_path={image_set}", f"--output_path={output}", f"--evaluate={evaluate}", *TINY]
        return call(capsys, train.main, *tiny, *flags)

    return run


@pytest.fixture
def prepare(image_set, tmp_path, monkeypatch):
    """A function of flags: the options, the parts of a run of eight steps and its first batch."""
    monkeypatch.setattr(Session, "compile", lambda self, step: step)

    def prepared(*flags):
        flags = [f"--data_path={image_set}", f"--output_path={tmp_path}", "--train_steps=8", *TINY, *flags]
        args = train.parse_args(flags)
        parts = train.prepare(args)
        return args, parts, next(train.batches(args, parts.crops, parts.session))

    return prepared


def values(parts, name):
    return {key: variable.numpy() for key, variable in parts.state[name].items()}


def test_the_originals_flags(tmp_path):
    """Long and short forms, as the ModelZoo README's command has them; the paper's and the original's defaults."""
    long = f"--input_dir={tmp_path} --output_dir=out --batch_size=4 --epochs=7 --number_of_images=80 "
    args = train.parse_args((long + "--train_test_ratio=0.5 --model_save_dir=./model/").split())
    assert train.parse_args(f"-i {tmp_path} -o out -b 4 -e 7 -n 80 -r 0.5 -m ./model/".split()) == args
    assert (args.data_path, args.output_path, args.batch_size, args.train_epochs) == (str(tmp_path), "out", 4, 7)
    assert (args.number_of_images, args.train_test_ratio, args.model_save_dir) == (80, 0.5, "./model/")
    args = train.parse_args(["-i", str(tmp_path)])
    assert (args.batch_size, args.train_epochs, args.number_of_images, args.train_test_ratio) == (16, 500, 8000, 0.8)
    assert (args.crop, args.scale, args.upsampling, args.precision_mode) == (192, 4, "shuffle", "allow_mix_precision")
    assert (args.schedule, args.warmup_steps, args.ema, args.degradation) == ("constant", 0, 0.0, "bicubic")


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--crop=18"], "--crop 18 is no multiple of --scale 4"),
        (["--lr_path=.", "--degradation=photo"], "so --degradation has none to make"),
        (["--vgg19_weights=", "--phase=srgan"], "/h5/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 or "),
    ],
)
def test_refusals(start, flags, told):
    status, _, said = start("--train_steps=2", *flags)
    error = [line for line in said.splitlines() if line.startswith("[Error]")]
    assert status == 2 and len(error) == 1 and told in error[0]


def test_srresnet_learns(prepare):
    """A few steps on one batch lower its error; there is no discriminator."""
    _, parts, batch = prepare("--phase=srresnet", "--learning_rate=0.01")
    losses = [float(parts.update(batch, 0)["g_loss"]) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0] and parts.discriminator is None and "discriminator" not in parts.state


def test_both_networks_move(prepare):
    """SRGAN's step moves both; the generator's loss is content and a thousandth of the adversarial term."""
    _, parts, batch = prepare("--phase=srgan")
    before = {name: values(parts, name) for name in ("generator", "discriminator")}
    found = {name: float(value) for name, value in parts.update(batch, 0).items()}
    assert found["g_loss"] == pytest.approx(found["content_loss"] + 1e-3 * found["adversarial_loss"], rel=1e-5)
    for name, earlier in before.items():
        moved = [key for key, value in values(parts, name).items() if (value != earlier[key]).any()]
        assert len(moved) >= 0.9 * len(earlier)


def test_phases_and_frozen_batch_norm(prepare):
    """SRResNet's share of the steps, while the discriminator waits, then SRGAN's. The last part of SRResNet's steps,
    and all of a pretrained SRGAN's, leave the generator's statistics alone."""
    args, parts, batch = prepare("--phase=both", "--pretrain_share=0.5")
    assert parts.pretraining == 4 and train.frozen_bn_steps(args, 4, 8) == (3, 4)
    assert train.frozen_bn_steps(args, 0, 8) == (0, 6)
    args.pretrained, args.frozen_bn_share = "run", 0.5
    assert train.frozen_bn_steps(args, 0, 8) == (0, 0) and train.frozen_bn_steps(args, 8, 8) == (4, 8)
    for step, waits, frozen in ((2, True, False), (3, True, True), (4, False, True)):
        before = {name: values(parts, name) for name in ("generator", "discriminator")}
        parts.update(batch, step)
        kept = {n: {k for k, v in values(parts, n).items() if (v == earlier[k]).all()} for n, earlier in before.items()}
        averages = {name for name in before["generator"] if re.search(r"norm(_\d)?\.[23]$", name)}
        assert len(averages) == 6 and (averages <= kept["generator"]) == frozen  # of three normalisations
        assert (kept["discriminator"] == set(before["discriminator"])) == waits


def test_learning_rates(tmp_path):
    """SRResNet's rises over the warm-up and stays, or falls to 0 as a cosine; SRGAN's is a tenth in its second half."""

    def rates(function, *updates):
        return [float(function(tf.constant(update, tf.int64))) for update in updates]

    args = train.parse_args([f"--data_path={tmp_path}"])
    assert rates(train.srresnet_rate(args, 10), 0, 9) == pytest.approx([1e-4, 1e-4])
    assert rates(train.srgan_rate(args, 10), 0, 4, 5, 9) == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])
    args.warmup_steps = 4
    assert rates(train.srresnet_rate(args, 10), 0, 1, 3, 9) == pytest.approx([2.5e-5, 5e-5, 1e-4, 1e-4])
    args.warmup_steps, args.schedule = 0, "cosine"
    expected = [1e-4, 0.5e-4, 1e-4 * 0.5 * (1 - np.sqrt(0.5)), 0]
    assert rates(train.srresnet_rate(args, 8), 0, 4, 6, 8) == pytest.approx(expected, abs=1e-10)


def test_average_of_the_generator(prepare):
    """It begins as the generator after its first update and follows it; it is what is used."""
    _, parts, batch = prepare("--phase=srresnet", "--ema=0.9", "--learning_rate=0.01")
    parts.update(batch, 0)
    first = values(parts, "generator")
    np.testing.assert_equal(values(parts, "ema_generator"), first)
    parts.update(batch, 1)
    then = values(parts, "generator")
    for name, variable in named_variables(parts.used).items():
        np.testing.assert_allclose(variable.numpy(), (first[name] + 10 * then[name]) / 11, rtol=1e-5, atol=1e-6)


def test_what_the_original_leaves_behind(start, tmp_path):
    """losses.txt, a line an epoch, and the .h5 models. Models of another run in --model_save_dir are left alone; the
    run's own are written again when it goes on."""
    flags = ["--phase=srgan", "--model_save_freq=1", f"--model_save_dir={tmp_path / 'model'}"]
    assert start(*flags, "--train_epochs=1")[0] == 0
    before = (tmp_path / "model" / "gen_model1.h5").read_bytes()
    status, _, error = start(*flags, "--train_epochs=1", "--seed=1", output=tmp_path / "second")
    assert status == 2 and "holds gen_model1.h5 already; name another folder" in error
    assert start(*flags, "--train_epochs=2")[0] == 0
    assert (tmp_path / "model" / "gen_model1.h5").read_bytes() == before
    models = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert models == ["dis_model1.h5", "dis_model2.h5", "gen_model1.h5", "gen_model2.h5"]
    assert len((tmp_path / "run" / "losses.txt").read_text().splitlines()) == 2


def test_photographs_and_pairs(start, tmp_path, image_set):
    """--degradation=photo and --lr_path train, and are measured on what they were trained for."""
    for path in image_set.rglob("*.png"):
        lr = tmp_path / "lr" / path.relative_to(image_set)
        lr.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - baseline.shrink(np.asarray(Image.open(path)), 4)).save(lr)  # no interpolation of hr
    for name, flag in (("photo", "--degradation=photo"), ("pairs", f"--lr_path={tmp_path / 'lr'}")):
        flags = ["--phase=srresnet", "--train_steps=1", flag]
        status, said, _ = start(*flags, output=tmp_path / name, evaluate=True)
        found = json.loads((tmp_path / name / "evaluation" / "evaluation.json").read_text())["sets"]["held-out"]
        result = json.loads((tmp_path / name / "result.json").read_text())
        assert status == 0 and found["degradation"] == flag.split("=")[1] and "(SSIM of Y on 2 held-out images)" in said
        assert result["baseline"] == {**found["metrics"]["bicubic"], "images": 2}
        assert "--number_of_images 8000: there are 8, and all are used" in said
    assert found["metrics"]["bicubic"]["psnr_y"] < 12


def test_pretrained(start, tmp_path):
    """Training begins with a given generator's weights, and refuses one of another shape. A run that goes on has
    weights of its own: the file may be gone then."""
    given = write_run(tmp_path / "given", blocks=1, channels=4)
    flags = ["--phase=srgan", "--learning_rate=0", "--ema=0.9"]
    status, said, _ = start(*flags, f"--pretrained={given.folder}", "--train_steps=1")
    assert status == 0 and "beginning with the generator of" in said
    runs = (given.folder, tmp_path / "run")
    first, then = (checkpoint.load_weights(str(folder)).part("generator") for folder in runs)
    for name, array in first.items():
        np.testing.assert_allclose(array, then[name], atol=1e-6)
    other = write_run(tmp_path / "other", blocks=2, channels=4)
    status, _, error = start(f"--pretrained={other.folder}", "--train_steps=1", output=tmp_path / "second")
    assert status == 2 and "its --blocks is 2, here it is 1" in error
    shutil.rmtree(given.folder)
    status, said, _ = start(*flags, f"--pretrained={given.folder}", "--train_steps=2")
    assert status == 0 and "from step 1" in said
