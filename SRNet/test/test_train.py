"""Training: flags and their refusals, what a step does in each phase, and what a run leaves behind."""

import json

import cfg
import losses
import numpy as np
import pytest
import tensorflow as tf
import train
from conftest import TINY, call

from common.config import session_config
from common.images import find_images
from common.session import Session, open_session


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
        stream = train.batches(train.split(args.data_path)[0], args, session)
        return args, networks, train.make_update(args, session, networks, features), stream

    return prepared


def test_the_modelzoo_readmes_flags(tmp_path):
    """Every name of cfg.py is a flag, and its value there the default."""
    args = train.parse_args([f"--data_dir={tmp_path}"])
    original = {"learning_rate": 1e-4, "decay_rate": 0.9, "decay_steps": 10000, "staircase": False}
    original.update(beta1=0.9, beta2=0.999, show_loss_interval=50, write_log_interval=50, batch_size=8, train_name=None)
    original.update(save_ckpt_interval=10000, gen_example_interval=1000, train_steps=20000, ckpt_path=None)
    original.update(data_path=str(tmp_path), data_shape=(64, 128), precision_mode="force_fp32")
    assert original.items() <= vars(args).items()
    other = {"max_iter": "7", "pretrained_ckpt_path": "x", "data_shape": "32x64", "staircase": "True"}
    names = [name for name in vars(cfg) if name[0] != "_" and name != "test_max_iter"]
    values = {name: other.get(name, "3" if isinstance(getattr(cfg, name), int) else "0.5") for name in names}
    flags = ["--skips", *(f"--{name}={value}" for name, value in values.items())]
    changed = train.parse_args([f"--data_dir={tmp_path}", *flags])
    assert (changed.train_steps, changed.ckpt_path, changed.data_shape) == (7, "x", (32, 64)) and changed.staircase
    for name in set(names) - set(other):
        assert str(getattr(changed, name)).rstrip("0").rstrip(".") == values[name]


def test_a_recipe_sets_what_no_flag_does(tmp_path):
    flags = [f"--data_path={tmp_path}", "--recipe=fast", "--max_iter=1000"]
    args = train.parse_args([*flags, "--ema=0.5"])
    assert (args.teacher_forcing_steps, args.plain_l1_from, args.adversarial_from) == (1000, 250, 1000)
    assert (args.max_shift, args.lt, args.lt_alpha) == ((2, 4), 3.0, 0.3)
    assert (args.schedule, args.ema) == ("cosine", 0.5)
    assert args.warmup_steps == 100 and args.skips and args.tight_text and args.balanced_l1


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--data_shape=64,100"], "--data_shape: give height,width, both multiples of 8, 16 or more"),
        (["--data_shape=64"], "argument --data_shape: invalid pair value: '64'"),
        (["--recipe=fast", "--train_epochs=2"], "give --train_steps, not --train_epochs"),
        (["--max_shift=1,2"], "and --plain_l1_from=N, the step that it begins at"),
        (["--max_shift=1,-2", "--plain_l1_from=0"], "--max_shift: give rows,columns, 0 or more"),
        (["--lt_mask=1"], "--lt_mask is of networks with --skips: give it too, or --lt_mask=0"),
        (["--vgg19_weights=none.pb"], "--vgg19_weights none.pb: there is no such file"),
        (["--vgg19_weights="], "set/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 or "),
    ],
)
def test_refusals(start, flags, told):
    status, _, error = start("--max_iter=2", "--evaluate=False", *flags)
    lines = [line for line in error.splitlines() if line.startswith("[Error]")]
    assert status == 2 and len(lines) == 1 and told in lines[0]


def test_a_step_learns(prepare):
    """A few steps on one batch lower each part's loss, and move both networks."""
    _, networks, update, stream = prepare("--learning_rate=0.003")
    before = {name: [v.numpy() for v in networks.state[name].values()] for name in ("generator", "discriminator")}
    batch = next(stream)
    found = [{name: float(value) for name, value in update(batch, step).items()} for step in range(9)]
    assert all(found[-1][name] < 0.9 * found[0][name] for name in ("g_loss", "l_b", "l_f"))
    assert found[-1]["dice"] > found[0]["dice"] and found[-1]["d_loss"] < found[0]["d_loss"]
    for name, earlier in before.items():
        moved = [(v.numpy() != old).any() for v, old in zip(networks.state[name].values(), earlier)]
        assert np.mean(moved) > 0.95


def test_phases(prepare):
    """Before their steps the discriminators stay, and the fusion is given t_t and its mask; then both change. The
    average follows, and with --skips the loss has the mask of what is painted."""
    flags = ["--adversarial_from=1", "--teacher_forcing_steps=1", "--ema=0.9", "--skips", "--lt_mask=2"]
    _, networks, update, stream = prepare(*flags)
    batch = next(stream)
    sample = train.scaled(batch)
    start = [v.numpy() for v in networks.state["discriminator"].values()]
    inputs = [sample[name] for name in ("i_t", "i_s", "t_t", "mask_t")]
    o_sk, o_t, _, o_f, logits, share = networks.forced_generator(inputs, training=True)
    l_t = losses.dice(sample["t_sk"], o_sk) + losses.cross_entropy(sample["t_sk"], logits)
    l_t += losses.masked_l1(sample["t_t"], o_t, sample["mask_t"]) + 2 * losses.mask(sample["mask_t"], share)
    first = update(batch, 0)
    assert float(first["d_loss"]) == 0.0
    assert float(first["l_t"]) == pytest.approx(float(l_t), rel=1e-4)
    assert float(first["l_f"]) == pytest.approx(float(10 * losses.l1(sample["t_f"], o_f)), rel=1e-4)
    begun = {name: v.numpy() for name, v in networks.state["generator"].items()}
    for name, average in networks.state["ema_generator"].items():
        np.testing.assert_allclose(average, begun[name], atol=1e-6)
    assert all((v.numpy() == old).all() for v, old in zip(networks.state["discriminator"].values(), start))
    assert float(update(batch, 1)["d_loss"]) > 0.5
    for name, average in networks.state["ema_generator"].items():
        expected = begun[name] / 11 + networks.state["generator"][name].numpy() * 10 / 11
        np.testing.assert_allclose(average, expected, atol=1e-5)
    assert any((v.numpy() != old).any() for v, old in zip(networks.state["discriminator"].values(), start))


def test_words_elsewhere_than_expected(prepare):
    """With --max_shift o_t, its mask and o_sk are compared where they fit best, from --plain_l1_from on."""
    flags = "--learning_rate=0 --skips --lt_alpha=0.5 --lt_cross_entropy=2 --lt_l1=3 --lt_mask=4 --plain_l1_from=1"
    _, networks, update, stream = prepare(*flags.split(), "--max_shift=1,2")
    batch = next(stream)
    sample = train.scaled(batch)
    o_sk, o_t, _, _, logits, share = networks.generator([sample["i_t"], sample["i_s"]], training=True)
    expected = 0.5 * losses.dice(sample["t_sk"], o_sk) + 1.5 * losses.shifted_l1(sample["t_t"], o_t, (1, 2))
    for weight, name, x in ((2, "t_sk", logits), (4, "mask_t", share)):
        expected += weight * losses.shifted_cross_entropy(sample[name], x, (1, 2))
    first, second = update(batch, 0), update(batch, 1)
    assert float(second["l_t"]) == pytest.approx(float(expected), rel=1e-4)
    assert float(first["l_t"]) > float(second["l_t"])


def test_the_terms_of_the_loss(prepare):
    """By their weights: o_t's L1 with a mask until --plain_l1_from, VGG19's terms from --perceptual_from on, and with
    --balanced_l1 a word's pixels, the source's in o_b and both words' in o_f, weigh as much as all the rest."""
    flags = "--learning_rate=0 --lt_alpha=2 --lt_cross_entropy=0.5 --lt_l1=3 --lf_theta_3=7 --lb_beta=5"
    begun = ["--plain_l1_from=1", "--perceptual_from=1", "--adversarial_from=9"]
    args, networks, update, stream = prepare(*flags.split(), *begun, features=lambda images: [images])
    batch = next(stream)
    sample = train.scaled(batch)
    assert set(np.unique(sample["mask_t"])) == {0.0, 1.0} and float(tf.reduce_min(sample["i_t"])) == -1.0
    o_sk, o_t, o_b, o_f, logits = networks.generator([sample["i_t"], sample["i_s"]], training=True)
    skeleton = 2 * losses.dice(sample["t_sk"], o_sk) + 0.5 * losses.cross_entropy(sample["t_sk"], logits)
    masked = 3 * losses.masked_l1(sample["t_t"], o_t, sample["mask_t"])
    plain = 1.5 * losses.l1(sample["t_t"], o_t)
    background, fused = 5 * losses.l1(sample["t_b"], o_b), 10 * losses.l1(sample["t_f"], o_f)
    vgg19 = losses.perceptual([sample["t_f"]], [o_f]) + 7 * losses.style([sample["t_f"]], [o_f])
    erased, written = (np.abs(sample[name] - sample["t_b"]).max(-1, keepdims=True) > 0.12 for name in ("i_s", "t_f"))
    erased, written = (tf.constant(mask, tf.float32) for mask in (erased, erased | written))
    balanced = [5 * losses.masked_l1(sample["t_b"], o_b, erased), 10 * losses.masked_l1(sample["t_f"], o_f, written)]
    for step, *expected in (
        (0, skeleton + masked, background, fused),
        (1, skeleton + plain, background, fused + vgg19),
        (0, skeleton + masked, *balanced),
    ):
        found = update(batch, step)
        for name, value in zip(("l_t", "l_b", "l_f"), expected):
            assert float(found[name]) == pytest.approx(float(value), rel=1e-4), (step, name)
        assert float(found["g_loss"]) == pytest.approx(float(10 * expected[0] + expected[1] + expected[2]), rel=1e-4)
        args.balanced_l1 = step == 1


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
    with pytest.raises(train.cli.UserError, match="not a frozen graph of VGG19 .no finite constant block1_conv2"):
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
    """What it leaves behind beside what ci/test asks of every folder: sheets, kept checkpoints, the metrics."""
    run = tmp_path / "run"
    flags = ["--max_iter=2", "--gen_example_interval=1", "--save_ckpt_interval=1", "--train_name=mine", "--ema=0.5"]
    status, said, _ = start(*flags)
    assert status == 0 and "SSIM of o_f on 1 held-out samples" in said
    sheets = [path.name for path in find_images(run / "examples" / "mine")]
    assert sheets == ["step_0000001.png", "step_0000002.png"]
    assert (run / "checkpoints" / "iter_0000001" / "ckpt-1.safetensors").exists()
    result = json.loads((run / "result.json").read_text())
    assert {"o_f_psnr", "o_f_ssim", "o_sk_dice"} <= result["metrics"].keys()
    assert {"o_f_psnr", "source_o_f_psnr", "erased_o_f_ssim", "mean_o_sk_dice"} <= result["baseline"].keys()
    assert result["accuracy"] == result["metrics"]["o_f_ssim"]
