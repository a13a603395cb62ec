"""Training: flags and their refusals, what the steps do, and what a run leaves behind."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import TINY, write_run

from common.loss_scale import ExponentialUpdateLossScale
from common.optimizer import named_variables
from common.session import Session


@pytest.fixture(scope="module", autouse=True)
def op_by_op():
    """Tracing a step takes longer than doing a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "compile", lambda self, step: step)
        yield


@pytest.fixture
def start(picture_set, tmp_path):
    """Runs train.py's main on the small set and returns its exit status."""

    def run(*flags, output=tmp_path / "run", evaluate=False):
        tiny = [f"--data_path={picture_set}", f"--output_path={output}", f"--evaluate={evaluate}", *TINY]
        return train.main([*tiny, *flags])

    return run


@pytest.fixture
def prepare(picture_set, tmp_path):
    def call(*flags):
        args = train.parse_args(
            [f"--data_path={picture_set}", f"--output_path={tmp_path}", "--train_steps=8", *TINY, *flags]
        )
        return args, train.prepare(args)

    return call


def values(parts, name):
    return {key: variable.numpy() for key, variable in parts.state[name].items()}


def test_the_pages_flags(tmp_path):
    """Long and short forms, as the page's command has them."""
    long = f"--input_dir={tmp_path} --output_dir=out --batch_size=4 --epochs=7 --number_of_images=80 "
    args = train.parse_args((long + "--train_test_ratio=0.5 --model_save_dir=./model/").split())
    assert train.parse_args(f"-i {tmp_path} -o out -b 4 -e 7 -n 80 -r 0.5 -m ./model/".split()) == args
    assert (args.data_path, args.output_path, args.batch_size, args.train_epochs) == (str(tmp_path), "out", 4, 7)
    assert (args.number_of_images, args.train_test_ratio, args.model_save_dir) == (80, 0.5, "./model/")
    args = train.parse_args(["-i", str(tmp_path)])
    assert (args.batch_size, args.train_epochs, args.number_of_images, args.train_test_ratio) == (16, 500, 8000, 0.8)
    assert (args.crop, args.scale, args.upsampling, args.precision_mode) == (192, 4, "shuffle", "allow_mix_precision")


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--scale=3"], "argument --scale: invalid choice"),
        (["--crop=18"], "--crop 18 is no multiple of --scale 4"),
        (["--phase=gan"], "argument --phase: invalid choice"),
        (["--epoch=3"], "unknown flag --epoch; the nearest known one is --epochs"),
        (["--data_path=nowhere"], "--data_path: there is no folder nowhere"),
        (["--batch_size=7"], "--batch_size: a batch of 7 is larger than the data (6 pictures)"),
        (["--vgg19_weights=none.h5", "--phase=srgan"], "--vgg19_weights none.h5: there is no such file"),
        (["--pretrained=nowhere.h5"], "nowhere.h5"),
    ],
)
def test_refusals(start, capsys, flags, told):
    try:
        status = start("--train_steps=2", *flags)
    except SystemExit as end:
        status = end.code
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("[Error]")]
    assert status == 2 and len(error) == 1 and told in error[0]


def test_without_weights(picture_set, tmp_path, capsys):
    """No file of VGG19's weights: two lines that name the places and the ways out; SRResNet needs none."""
    flags = [f"--data_path={picture_set}", "--train_steps=1", "--evaluate=False", "--blocks=1", "--channels=4"]
    flags += ["--crop=16", "--batch_size=2", "--precision_mode=force_fp32"]
    assert train.main([*flags, f"--output_path={tmp_path / 'a'}", "--phase=srgan"]) == 2
    told = capsys.readouterr().err
    assert f"{picture_set}/h5/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5" in told
    assert "--vgg19_weights=random" in told and "none" in told and "--phase=srresnet" in told
    assert train.main([*flags, f"--output_path={tmp_path / 'b'}", "--phase=srresnet"]) == 0


def test_small_and_large(prepare):
    args, parts = prepare("--phase=srresnet")
    crops = next(parts.batches(0))
    small, large = train.both_sizes(args, crops)
    assert small.shape == (2, 4, 4, 3) and large.shape == (2, 16, 16, 3)
    np.testing.assert_allclose(large, crops.numpy() / 127.5 - 1, atol=1e-6)
    levels = (small.numpy() + 1) * 127.5
    np.testing.assert_allclose(levels, levels.round(), atol=1e-3)
    assert np.abs(small).max() <= 1


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


def test_settling(prepare):
    """The last quarter of SRResNet's steps, and all of a pretrained SRGAN's, leave the generator's statistics alone."""
    args, parts = prepare("--phase=both", "--pretrain_share=0.5")
    assert train.settling_steps(args, 4, 8) == (3, 4)
    assert train.settling_steps(args, 0, 8) == (0, 6)
    args.pretrained = "run"
    assert train.settling_steps(args, 0, 8) == (0, 0)
    batch = next(parts.batches(0))
    for step, settled in ((2, False), (3, True), (4, True)):
        before = values(parts, "generator")
        parts.update(batch, step)
        kept = [(value == before[key]).all() for key, value in values(parts, "generator").items() if is_average(key)]
        assert len(kept) == 6 and all(kept) == settled  # of three normalisations


def is_average(name):
    return re.search(r"norm(_\d)?\.[23]$", name) is not None


def test_rates():
    """1e-4, and a tenth of it in the second half of SRGAN's steps."""
    rate = train.srgan_rate(1e-4, 10)
    found = [float(rate(tf.constant(updates, tf.int64))) for updates in (0, 4, 5, 9)]
    assert found == pytest.approx([1e-4, 1e-4, 1e-5, 1e-5])


def test_loss_scale(monkeypatch, prepare):
    """2^16, 1000, 2, 0.5 of its own for each optimizer, where gradients pass through float16."""
    monkeypatch.setattr(Session, "needs_loss_scale", True)
    _, parts = prepare("--phase=srgan")
    scales = [parts.state[name]["loss_scale"] for name in ("d_optimizer", "g_optimizer", "pretrain_optimizer")]
    assert [float(scale["scale"]) for scale in scales] == [2.0**16] * 3
    assert len({id(scale["scale"]) for scale in scales}) == 3
    scale = ExponentialUpdateLossScale(**train.LOSS_SCALE)
    for _ in range(2):
        scale.update(tf.constant(False))
    assert float(scale.scale) == 2.0**15


def test_a_finished_run(start, tmp_path, capsys):
    """What it prints and leaves behind: the page's lines, losses.txt, .h5 models, metrics beside bicubic's."""
    run = tmp_path / "run"
    assert start("--phase=srgan", "--train_epochs=2", "--model_save_freq=1", evaluate=True) == 0
    said = capsys.readouterr().out
    assert "--------------- Epoch 2 ---------------" in said
    number = r"-?\d+\.\d+(e-?\d+)?"
    assert len(re.findall(r"^discriminator_loss : \d+\.\d{6}$", said, re.M)) == 2
    assert len(re.findall(rf"^gan_loss : \[{number}, {number}, {number}\]$", said, re.M)) == 2
    assert len((run / "losses.txt").read_text().splitlines()) == 2
    models = sorted(path.name for path in (run / "model").iterdir())
    assert models == ["dis_model1.h5", "dis_model2.h5", "gen_model1.h5", "gen_model2.h5"]
    result = json.loads((run / "result.json").read_text())
    assert result["train_steps"] == 6 and result["metrics"].keys() == result["baseline"].keys()
    assert {"psnr_y", "ssim_y", "psnr_rgb", "psnr_y_full", "pictures"} <= result["metrics"].keys()
    assert (run / "evaluation" / "gallery.html").exists() and result["examples"].endswith("step_0000006.png")


def test_pretrained(start, tmp_path, capsys):
    """Training begins with a given generator's weights, and refuses one of another shape."""
    given = write_run(tmp_path / "given", blocks=1, channels=4)
    flags = ["--phase=srgan", "--train_steps=1", "--learning_rate=0"]
    assert start(*flags, f"--pretrained={given.folder}") == 0
    assert "beginning with the generator of" in capsys.readouterr().out
    import trained

    first, then = (named_variables(trained.load(str(folder)).generator) for folder in (given.folder, tmp_path / "run"))
    for name in first:
        if "norm.2" not in name and "norm.3" not in name and "_norm_" not in name:  # all but moving averages
            np.testing.assert_array_equal(first[name], then[name])
    other = write_run(tmp_path / "other", blocks=2, channels=4)
    assert start(*flags, f"--pretrained={other.folder}", output=tmp_path / "second") == 2
    assert "its --blocks is 2, here it is 1" in capsys.readouterr().err


def test_small_and_bad_pictures_are_told(start, picture_set, tmp_path, capsys):
    import shutil

    from PIL import Image

    folder = tmp_path / "set"
    shutil.copytree(str(picture_set), str(folder))
    Image.new("RGB", (12, 30)).save(folder / "train" / "small.png")
    (folder / "train" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    flags = [f"--data_path={folder}", "--phase=srresnet", "--train_steps=1"]
    assert start(*flags) == 2
    assert "broken.png: is no picture that can be decoded" in capsys.readouterr().err
    assert start(*flags, "--skip_bad_files", output=tmp_path / "second") == 0
    said = capsys.readouterr().out
    assert "1 pictures do not decode: left out" in said and "1 pictures smaller than 16: mirrored to that size" in said
    assert "--number_of_images 8000: there are 10, and all are used" in said
