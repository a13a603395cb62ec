"""Training: flags and their refusals, what a step does in each phase, and what a run leaves behind."""

import json
import re

import cfg
import losses
import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import TINY, call

from common.images import find_images
from common.layers import update_average
from common.session import Session, open_session, session_config


@pytest.fixture(scope="module", autouse=True)
def op_by_op():
    """Tracing a step takes longer than doing a few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "compile", lambda self, step: step)
        yield


@pytest.fixture
def start(sample_set, tmp_path, capsys):
    """Runs train.py's main on the small set: its exit status, and what it said on stdout and stderr."""

    def run(*flags):
        tiny = [f"--data_path={sample_set}", f"--output_path={tmp_path / 'run'}", *TINY]
        return call(capsys, train.main, *tiny, *flags)

    return run


@pytest.fixture
def prepare(sample_set, tmp_path):
    """A function of flags: the options, the networks, an update of them and a batch."""

    def prepared(*flags, features=None):
        args = train.parse_args([f"--data_path={sample_set}", f"--output_path={tmp_path}", *TINY, *flags])
        session = open_session(session_config(args))
        train.set_seed(args.seed)
        networks = train.build(args, session, args.train_steps)
        samples = train.Samples(train.split(args.data_path)[0], 16, [32], args.batch_size)
        stream = train.batches(args, samples, session)
        return args, networks, train.make_update(args, session, networks, features), stream

    return prepared


def test_the_modelzoo_readmes_flags(tmp_path):
    """Every name of cfg.py is a flag, and its value there the default."""
    args = train.parse_args([f"--data_dir={tmp_path}"])
    original = {"learning_rate": 1e-4, "decay_rate": 0.9, "decay_steps": 10000, "staircase": False}
    original.update(beta1=0.9, beta2=0.999, show_loss_interval=50, write_log_interval=50, batch_size=8, train_name=None)
    original.update(save_ckpt_interval=10000, gen_example_interval=1000, train_steps=20000, ckpt_path=None)
    original.update(schedule="exponential", norm="batch", ema=0.0, widths=None, teacher_forcing_steps=0)
    assert original.items() <= vars(args).items()
    assert (args.data_path, args.data_shape, args.precision_mode) == (str(tmp_path), (64, 128), "force_fp32")
    other = {"max_iter": "7", "pretrained_ckpt_path": "x", "data_shape": "32x64", "staircase": "True"}
    names = [name for name in vars(cfg) if name[0] != "_" and name != "test_max_iter"]
    values = {name: other.get(name, "3" if isinstance(getattr(cfg, name), int) else "0.5") for name in names}
    changed = train.parse_args([f"--data_dir={tmp_path}", *(f"--{name}={value}" for name, value in values.items())])
    assert (changed.train_steps, changed.ckpt_path, changed.data_shape) == (7, "x", (32, 64)) and changed.staircase
    for name in set(names) - set(other):
        assert str(getattr(changed, name)).rstrip("0").rstrip(".") == values[name]


def test_a_recipe_sets_what_no_flag_does(tmp_path):
    flags = [f"--data_path={tmp_path}", "--recipe=fast", "--max_iter=1000"]
    args = train.parse_args([*flags, "--ema=0.5", "--widths=32,16"])
    assert (args.teacher_forcing_steps, args.plain_l1_from, args.adversarial_from) == (500, 333, 800)
    assert (args.schedule, args.norm, args.ema, args.widths) == ("cosine", "batch", 0.5, [16, 32])
    assert args.warmup_steps == 100 and args.skips and args.tight_text and args.balanced_l1


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--data_shape=64,100"], "64,100: give height,width, both multiples of 8, 16 or more"),
        (["--data_shape=64"], "argument --data_shape: invalid size value: '64'"),
        (["--widths=64,100"], "100,100: give height,width, both multiples of 8"),
        (["--recipe=fast", "--train_epochs=2"], "give --train_steps, not --train_epochs"),
        (["--batch_size=9"], "--batch_size: a batch of 9 is larger than the data (6 samples)"),
        (["--vgg19_weights=none.h5"], "--vgg19_weights none.h5: there is no such file"),
        (["--vgg19_weights=none.pb"], "--vgg19_weights none.pb: there is no such file"),
    ],
)
def test_refusals(start, flags, told):
    status, _, error = start("--max_iter=2", "--evaluate=False", *flags)
    lines = [line for line in error.splitlines() if line.startswith("[Error]")]
    assert status == 2 and len(lines) == 1 and told in lines[0]


def test_without_vgg19(sample_set, tmp_path, capsys):
    """No file of its weights: two lines that name both places and the ways out."""
    tiny = [flag for flag in TINY if not flag.startswith("--vgg19")]
    flags = [f"--data_path={sample_set}", f"--output_path={tmp_path / 'run'}", *tiny]
    status, _, told = call(capsys, train.main, *flags)
    assert f"{sample_set}/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 or {sample_set}/vgg19.pb" in told
    assert status == 2 and "--vgg19_weights=random" in told and "none" in told


def test_scaled(prepare):
    sample = train.scaled(next(prepare()[-1]))
    assert all(x.dtype == tf.float32 for x in sample.values())
    assert set(np.unique(sample["mask_t"])) == {0.0, 1.0} and float(tf.reduce_min(sample["i_t"])) == -1.0
    np.testing.assert_allclose(np.unique(sample["t_t"])[-1], 127 / 127.5 - 1, atol=1e-6)


def test_a_step_learns(prepare):
    """A few steps on one batch lower each part's loss, and move both networks."""
    _, networks, update, stream = prepare("--learning_rate=0.003")
    before = {name: [v.numpy() for v in networks.state[name].values()] for name in ("generator", "discriminator")}
    batch = next(stream)
    found = [{name: float(value) for name, value in update(batch, step).items()} for step in range(12)]
    assert found[0]["g_loss"] == pytest.approx(10 * found[0]["l_t"] + found[0]["l_b"] + found[0]["l_f"], rel=1e-5)
    assert all(found[-1][name] < 0.9 * found[0][name] for name in ("g_loss", "l_b", "l_f"))
    assert found[-1]["dice"] > found[0]["dice"] and found[-1]["d_loss"] < found[0]["d_loss"]
    for name, earlier in before.items():
        moved = [(v.numpy() != old).any() for v, old in zip(networks.state[name].values(), earlier)]
        assert np.mean(moved) > 0.95


def test_phases(prepare):
    """Before their steps the discriminators stay and the fusion is given t_t; then both change; the average follows."""
    flags = ["--adversarial_from=1", "--teacher_forcing_steps=1", "--ema=0.9", "--norm=group"]
    args, networks, update, stream = prepare(*flags)
    batch = next(stream)
    sample = train.scaled(batch)
    update_average(networks.ema, networks.generator, 0.0)
    start = [v.numpy() for v in networks.state["discriminator"].values()]
    begun = {name: v.numpy() for name, v in networks.state["generator"].items()}
    forced = networks.forced_generator([sample["i_t"], sample["i_s"], sample["t_t"]], training=True)[3]
    first = update(batch, 0)
    assert float(first["d_loss"]) == 0.0
    assert float(first["l_f"]) == pytest.approx(args.lf_theta_1 * float(losses.l1(sample["t_f"], forced)), rel=1e-4)
    for name, average in networks.state["ema_generator"].items():
        expected = 0.9 * begun[name] + 0.1 * networks.state["generator"][name].numpy()
        np.testing.assert_allclose(average, expected, atol=1e-5)
    assert all((v.numpy() == old).all() for v, old in zip(networks.state["discriminator"].values(), start))
    assert float(update(batch, 1)["d_loss"]) > 0.5
    assert any((v.numpy() != old).any() for v, old in zip(networks.state["discriminator"].values(), start))


def test_weights_of_the_loss(prepare):
    """The original's names weigh what they weigh there: lt_alpha the dice, lt_l1 the masked L1."""
    names = ("lt_alpha", "lt_l1", "lt_cross_entropy", "lb_beta", "lf_theta_1")
    off = [f"--{name}=0" for name in names]
    _, _, update, stream = prepare(*off, "--lt_alpha=2", "--learning_rate=0")
    found = {name: float(value) for name, value in update(next(stream), 0).items()}
    assert found["l_t"] == pytest.approx(2 * (1 - found["dice"]), rel=1e-5)
    assert max(found["l_b"], found["l_f"]) < 2.5  # -log D alone, where their L1 is 10 times 0.5 and more


def test_the_mask_of_the_styled_words_l1_until_a_step(prepare):
    off = ["--lt_alpha=0", "--lt_cross_entropy=0", "--lt_l1=3", "--learning_rate=0", "--adversarial_from=9"]
    _, networks, update, stream = prepare(*off, "--plain_l1_from=1")
    batch = next(stream)
    sample = train.scaled(batch)
    o_t = networks.training_generator([sample["i_t"], sample["i_s"]], training=True)[1]
    masked = 3 * losses.masked_l1(sample["t_t"], o_t, sample["mask_t"])
    plain = 1.5 * losses.l1(sample["t_t"], o_t)
    for step, expected in enumerate((masked, plain)):
        assert float(update(batch, step)["l_t"]) == pytest.approx(float(expected), rel=1e-4)
    assert abs(float(masked - plain)) > 1e-3


def test_a_word_weighs_as_much_as_all_the_rest(prepare):
    """With --balanced_l1: the source's pixels in o_b, and both words' in o_f."""
    _, networks, update, stream = prepare("--balanced_l1", "--learning_rate=0", "--adversarial_from=9")
    batch = next(stream)
    sample = train.scaled(batch)
    _, _, o_b, o_f, _ = networks.training_generator([sample["i_t"], sample["i_s"]], training=True)
    found = update(batch, 0)
    erased, written = (np.abs(sample[name] - sample["t_b"]).max(-1, keepdims=True) > 0.12 for name in ("i_s", "t_f"))
    assert 0.02 < erased.mean() < 0.9
    for name, mask, pair in (("l_b", erased, ("t_b", o_b)), ("l_f", erased | written, ("t_f", o_f))):
        expected = 10 * losses.masked_l1(sample[pair[0]], pair[1], tf.constant(mask, tf.float32))
        assert float(found[name]) == pytest.approx(float(expected), rel=1e-4)


def test_perceptual_terms(prepare):
    """The fused image's loss has two terms more, by their weights, where there are features, from their step on."""
    seen = []

    def features(images):
        seen.append(images)
        return [tf.reshape(images, [2, 16, 32, 3])]

    flags = ("--lf_theta_1=0", "--lf_theta_2=1", "--lf_theta_3=7", "--perceptual_from=1")
    _, _, update, stream = prepare(*flags, features=features)
    assert float(update(next(stream), 0)["perceptual"]) == 0.0 and not seen
    found = update(next(stream), 1)
    assert float(found["perceptual"]) == pytest.approx(float(losses.perceptual([seen[0]], [seen[1]])), rel=1e-5)
    assert float(found["style"]) == pytest.approx(7 * float(losses.style([seen[0]], [seen[1]])), rel=1e-5)
    assert float(found["l_f"]) > float(found["perceptual"] + found["style"]) > 0.1


def test_vgg19_of_the_original(tmp_path):
    """A frozen graph's constants, under longer names, become the layers' weights; what is lacking is named."""
    from vgg19_pb import read_vgg19

    with tf.Graph().as_default() as graph:
        values = [np.full((3, 3, 3, 64), 0.5, np.float32), np.full(64, 2, np.float32)]
        for kind, value in zip(("kernel", "bias"), values):
            tf.constant(value, name=f"vgg19/block1_conv1/{kind}/read")
    file = tmp_path / "vgg19.pb"
    file.write_bytes(graph.as_graph_def().SerializeToString())
    model = read_vgg19(str(file), ["block1_conv1"])
    np.testing.assert_allclose(model(np.ones((1, 8, 8, 3), np.float32))[0, 4, 4], np.full(64, 27 * 0.5 + 2))
    with pytest.raises(train.cli.UserError, match="vgg19.pb: not a frozen graph of VGG19 .no constant block1_conv2"):
        read_vgg19(str(file), ["block2_conv1"])


def test_learning_rate(tmp_path):
    def rates(*flags, first_step=0):
        args = train.parse_args([f"--data_path={tmp_path}", *flags])
        rate = train.learning_rate(args, 20000, first_step)
        return [float(rate(tf.constant(updates, tf.int64))) for updates in (0, 5000, 10000, 15000)]

    assert rates() == pytest.approx([1e-4, 1e-4 * 0.9**0.5, 0.9e-4, 1e-4 * 0.9**1.5])
    assert rates("--staircase") == pytest.approx([1e-4, 1e-4, 0.9e-4, 0.9e-4])
    half = (1 + np.sqrt(0.5)) / 2
    assert rates("--schedule=cosine") == pytest.approx([1e-4, half * 1e-4, 0.5e-4, (1 - half) * 1e-4])
    assert rates("--schedule=cosine", "--warmup_steps=10001")[:2] == pytest.approx(
        [1e-4 / 10001, half * 5001 / 10001e4]
    )
    assert rates("--schedule=cosine", first_step=10000)[0] == pytest.approx(0.5e-4)  # of a network that begins late


def test_a_finished_run(start, tmp_path):
    """What it prints and leaves behind: the original's line, sheets, kept checkpoints, final.pb, the metrics."""
    run = tmp_path / "run"
    flags = ["--max_iter=4", "--show_loss_interval=2", "--gen_example_interval=2", "--save_ckpt_interval=2"]
    status, said, _ = start(*flags, "--train_name=mine", "--ema=0.5", "--widths=32,48")
    assert status == 0
    line = r"^step: {6}%d   d_loss: \d+\.\d{5}   g_loss: \d+\.\d{5}   time: \d+\.\d{4}$"
    assert re.search(line % 2, said, re.M) and re.search(line % 4, said, re.M)
    sheets = [path.name for path in find_images(run / "examples" / "mine")]
    assert sheets == ["step_0000002.png", "step_0000004.png"]
    assert (run / "checkpoints" / "iter_0000002" / "ckpt-2.safetensors").exists() and (run / "final.pb").exists()
    result = json.loads((run / "result.json").read_text())
    assert {"o_f_psnr", "o_f_ssim", "o_sk_dice"} <= result["metrics"].keys()
    assert {"o_f_psnr", "source_o_f_psnr", "erased_o_f_ssim", "mean_o_sk_dice"} <= result["baseline"].keys()
    assert result["train_steps"] == 4 and result["accuracy"] == result["metrics"]["o_f_ssim"]
    assert "SSIM of o_f on 1 held-out samples" in said
