"""Training: flags and their refusals, what the steps do, and what a run leaves behind."""

import json
import re
import shutil

import checkpoint
import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import TINY, call, write_run

from common.layers import named_variables
from common.loss_scale import ExponentialUpdateLossScale
from common.session import Session


@pytest.fixture
def op_by_op(monkeypatch):
    """Tracing a step takes longer than doing a few."""
    monkeypatch.setattr(Session, "compile", lambda self, step: step)


@pytest.fixture
def start(image_set, tmp_path, capsys, monkeypatch):
    """Runs train.py's main on the small set and returns its exit status and what it said."""
    monkeypatch.setattr("fcntl.flock", lambda *args: None)  # a folder is this process's until it ends

    def run(*flags, output=tmp_path / "run", evaluate=False):
        tiny = [f"--data_path={image_set}", f"--output_path={output}", f"--evaluate={evaluate}", *TINY]
        return call(capsys, train.main, *tiny, *flags)

    return run


@pytest.fixture
def prepare(image_set, tmp_path, op_by_op):
    def parts(*flags):
        flags = [f"--data_path={image_set}", f"--output_path={tmp_path}", "--train_steps=8", *TINY, *flags]
        args = train.parse_args(flags)
        return args, train.prepare(args)

    return parts


def values(parts, name):
    return {key: variable.numpy() for key, variable in parts.state[name].items()}


def is_average(name):
    return re.search(r"norm(_\d)?\.[23]$", name) is not None


def test_the_originals_flags(tmp_path):
    """Long and short forms, as the ModelZoo README's command has them."""
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
        (["--ema=1"], "argument --ema: '1' is not a number"),
        (["--lr_path=nowhere"], "--lr_path: there is no folder nowhere"),
        (["--lr_path=.", "--degradation=photo"], "so --degradation has none to make"),
        (["--batch_size=7"], "--batch_size: a batch of 7 is larger than the data (6 images)"),
        (["--vgg19_weights=none.h5", "--phase=srgan"], "--vgg19_weights none.h5: there is no such file"),
        (["--pretrained=nowhere.h5"], "nowhere.h5"),
    ],
)
def test_refusals(start, flags, told):
    status, _, said = start("--train_steps=2", *flags)
    error = [line for line in said.splitlines() if line.startswith("[Error]")]
    assert status == 2 and len(error) == 1 and told in error[0]


def test_without_vgg19(image_set, tmp_path, capsys):
    """No file of VGG19's weights: two lines that name the places and the ways out; SRResNet needs none."""
    flags = [f"--data_path={image_set}", "--train_steps=1", "--evaluate=False"]
    flags += [flag for flag in TINY if "vgg19" not in flag]
    status, _, told = call(capsys, train.main, *flags, f"--output_path={tmp_path / 'a'}", "--phase=srgan")
    assert status == 2 and f"{image_set}/h5/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5" in told
    assert "--vgg19_weights=random" in told and "none" in told and "--phase=srresnet" in told
    assert call(capsys, train.main, *flags, f"--output_path={tmp_path / 'b'}", "--phase=srresnet")[0] == 0


def test_srresnet_learns(prepare):
    """A few steps on one batch lower its error; there is no discriminator."""
    _, parts = prepare("--phase=srresnet", "--learning_rate=0.01")
    batch = next(parts.batches(0))
    losses = [float(parts.update(batch, 0)["g_loss"]) for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0] and parts.discriminator is None and "discriminator" not in parts.state


def test_both_networks_move(prepare):
    """SRGAN's step moves both; the generator's loss is content and a thousandth of the adversarial term."""
    _, parts = prepare("--phase=srgan")
    before = {name: values(parts, name) for name in ("generator", "discriminator")}
    found = {name: float(value) for name, value in parts.update(next(parts.batches(0)), 0).items()}
    assert found["g_loss"] == pytest.approx(found["content_loss"] + 1e-3 * found["adversarial_loss"], rel=1e-5)
    for name, earlier in before.items():
        moved = [key for key, value in values(parts, name).items() if (value != earlier[key]).any()]
        assert len(moved) >= 0.9 * len(earlier)


def test_phases(prepare):
    """SRResNet's share of the steps, then SRGAN's; the discriminator waits."""
    args, parts = prepare("--phase=both", "--pretrain_share=0.5")
    assert [train.pretraining_steps(args, steps) for steps in (8, 5, 1)] == [4, 2, 0]
    before = values(parts, "discriminator")
    parts.update(next(parts.batches(0)), 3)
    assert all((value == before[key]).all() for key, value in values(parts, "discriminator").items())
    parts.update(next(parts.batches(0)), 4)
    assert any((value != before[key]).any() for key, value in values(parts, "discriminator").items())


def test_frozen_batch_norm(prepare):
    """The last part of SRResNet's steps, and all of a pretrained SRGAN's, leave the generator's statistics alone."""
    args, parts = prepare("--phase=both", "--pretrain_share=0.5")
    assert train.frozen_bn_steps(args, 4, 8) == (3, 4)
    assert train.frozen_bn_steps(args, 0, 8) == (0, 6)
    args.pretrained, args.frozen_bn_share = "run", 0.5
    assert train.frozen_bn_steps(args, 0, 8) == (0, 0) and train.frozen_bn_steps(args, 8, 8) == (4, 8)
    batch = next(parts.batches(0))
    for step, frozen in ((2, False), (3, True), (4, True)):
        before = values(parts, "generator")
        parts.update(batch, step)
        kept = [(value == before[key]).all() for key, value in values(parts, "generator").items() if is_average(key)]
        assert len(kept) == 6 and all(kept) == frozen  # of three normalisations


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
    """It begins as the generator and follows it by one part in ten; it is what is used."""
    _, parts = prepare("--phase=srresnet", "--ema=0.9", "--learning_rate=0.01")
    first = values(parts, "generator")
    for name, value in values(parts, "ema_generator").items():
        np.testing.assert_array_equal(value, first[name])
    parts.update(next(parts.batches(0)), 0)
    then = values(parts, "generator")
    for name, variable in named_variables(parts.used).items():
        np.testing.assert_allclose(variable.numpy(), 0.9 * first[name] + 0.1 * then[name], rtol=1e-5, atol=1e-6)


def test_label_noise_and_crops_share_no_numbers(prepare, monkeypatch):
    """Each random choice has a purpose in its key: no two draw the same."""
    drawn = []
    real = train.key
    monkeypatch.setattr(train, "key", lambda *words: drawn.append(words) or real(*words))
    _, parts = prepare("--phase=srgan")
    parts.update(next(parts.batches(0)), 0)
    assert drawn[0][:2] == ("label_noise", 0)
    keys = {purpose: tuple(real(purpose, 0, 0).numpy()) for purpose in ("label_noise", "crop", "degradation", "order")}
    assert len(set(keys.values())) == 4


def test_loss_scale(monkeypatch, prepare):
    """2^16, 1000, 2, 0.5 of its own for each optimizer, where gradients pass through float16."""
    monkeypatch.setattr(Session, "needs_loss_scale", True)
    _, parts = prepare("--phase=both")
    scales = [parts.state[name]["loss_scale"] for name in ("d_optimizer", "g_optimizer", "pretrain_optimizer")]
    assert [float(scale["scale"]) for scale in scales] == [2.0**16] * 3
    assert len({id(scale["scale"]) for scale in scales}) == 3
    scale = ExponentialUpdateLossScale(**train.LOSS_SCALE)
    for _ in range(2):
        scale.update(tf.constant(False))
    assert float(scale.scale) == 2.0**15


def test_what_the_original_leaves_behind(start, tmp_path):
    """losses.txt, a line an epoch, and the .h5 models; the metrics are beside bicubic's."""
    run = tmp_path / "run"
    status, said, _ = start("--phase=srgan", "--train_epochs=2", "--model_save_freq=1", evaluate=True)
    assert status == 0 and "(SSIM of Y on 2 held-out images)" in said
    assert len((run / "losses.txt").read_text().splitlines()) == 2
    models = sorted(path.name for path in (run / "model").iterdir())
    assert models == ["dis_model1.h5", "dis_model2.h5", "gen_model1.h5", "gen_model2.h5"]
    result = json.loads((run / "result.json").read_text())
    assert result["train_steps"] == 6 and result["metrics"].keys() == result["baseline"].keys()
    assert {"psnr_y", "ssim_y", "psnr_rgb", "psnr_y_full", "images"} <= result["metrics"].keys()
    assert (run / "evaluation" / "page.html").exists() and result["examples"].endswith("step_0000006.png")


def test_photographs_and_pairs(start, tmp_path, image_set):
    """--degradation=photo and --lr_path train, and are measured on what they were trained for."""
    assert start("--phase=srresnet", "--train_steps=1", "--degradation=photo", evaluate=True)[0] == 0
    found = json.loads((tmp_path / "run" / "evaluation" / "evaluation.json").read_text())
    assert found["degradation"] == "photo"
    import baseline
    from PIL import Image

    for path in image_set.rglob("*.png"):
        lr = tmp_path / "lr" / path.relative_to(image_set)
        lr.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - baseline.shrink(np.asarray(Image.open(path)), 4)).save(lr)  # no interpolation of hr
    flags = ["--phase=srresnet", "--train_steps=1", f"--lr_path={tmp_path / 'lr'}"]
    status, said, _ = start(*flags, output=tmp_path / "pairs", evaluate=True)
    found = json.loads((tmp_path / "pairs" / "evaluation" / "evaluation.json").read_text())
    assert status == 0 and found["sets"]["held-out"]["metrics"]["bicubic"]["psnr_y"] < 12


def test_pretrained(start, tmp_path):
    """Training begins with a given generator's weights, and refuses one of another shape. A run that goes on has
    weights of its own: the file may be gone then."""
    given = write_run(tmp_path / "given", blocks=1, channels=4)
    flags = ["--phase=srgan", "--learning_rate=0", f"--pretrained={given.folder}", "--ema=0.9"]
    status, said, _ = start(*flags, "--train_steps=1")
    assert status == 0 and "beginning with the generator of" in said
    first, then = (
        checkpoint.load_weights(str(folder)).part("generator") for folder in (given.folder, tmp_path / "run")
    )
    for name, array in first.items():
        np.testing.assert_allclose(array, then[name], atol=1e-6)
    other = write_run(tmp_path / "other", blocks=2, channels=4)
    flags[2] = f"--pretrained={other.folder}"
    status, _, error = start(*flags, "--train_steps=1", output=tmp_path / "second")
    assert status == 2 and "its --blocks is 2, here it is 1" in error
    shutil.rmtree(given.folder)
    flags[2] = f"--pretrained={given.folder}"
    status, said, _ = start(*flags, "--train_steps=2")
    assert status == 0 and "from step 1" in said


def test_model_save_dir(start, tmp_path):
    """Models of another run there are left alone; the run's own are written again when it goes on."""
    flags = ["--phase=srresnet", f"--model_save_dir={tmp_path / 'model'}", "--model_save_freq=1"]
    assert start(*flags, "--train_epochs=1")[0] == 0
    before = (tmp_path / "model" / "gen_model1.h5").read_bytes()
    status, _, error = start(*flags, "--train_epochs=1", "--seed=1", output=tmp_path / "second")
    assert status == 2 and "holds gen_model1.h5 already; name another folder" in error
    assert (tmp_path / "model" / "gen_model1.h5").read_bytes() == before
    assert start(*flags, "--train_epochs=2")[0] == 0 and (tmp_path / "model" / "gen_model2.h5").exists()


def test_small_images_are_told(start, image_set, tmp_path):
    from PIL import Image

    folder = tmp_path / "set"
    shutil.copytree(str(image_set), str(folder))
    Image.new("RGB", (12, 30)).save(folder / "train" / "small.png")
    status, said, _ = start(f"--data_path={folder}", "--phase=srresnet", "--train_steps=1")
    assert status == 0 and "1 images smaller than 16: mirrored to that size" in said
    assert "--number_of_images 8000: there are 9, and all are used" in said
