"""Trains SRNet: "Editing Text in the Wild" (Wu et al., 2019, arXiv 1908.03047).

python SRNet/sample_data.py --output_path=words
python SRNet/train.py --data_path=words --recipe=fast --max_iter=600 --vgg19_weights=none               minutes on a CPU
python SRNet/train.py --data_path=words --vgg19_weights=vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5
python SRNet/train.py --data_path=words --recipe=fast --max_iter=20000 --vgg19_weights=none             meant for a CPU

Look at evaluate.py --ocr, whether the words can be read, more than at PSNR; NOTES.md tells what was reached, and when.
"""

import argparse
import os
from collections.abc import Sequence
from functools import cache, partial
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import cfg
import evaluate
import losses
import numpy as np
import predict
import tensorflow as tf
from data import CHANNELS, FOLDERS, GREY, MULTIPLE, batches, pair, read_sample, resized, root, split
from model import build_discriminator, build_generators
from PIL import Image
from vgg19_pb import read_vgg19

from common import cli
from common.cli import notice
from common.config import add_session_flags, session_config
from common.layers import moving_statistics, named_variables, update_average
from common.run import Run, add_run_flags, claim
from common.session import Session, open_session, set_seed
from common.vgg19 import VGG19_FILE, add_vgg19_flag, find_vgg19, vgg19_input

NETWORK = "SRNet"
FEATURES = tuple(f"block{number}_conv1" for number in range(1, 6))  # of VGG19, section 3.3
FEATURE_SCALE = 1 / 127.5  # VGG19 sees 0..255; at that scale its terms would outweigh all others a hundredfold
EXAMPLES = 6  # held-out samples on a sheet
HERE = os.path.dirname(os.path.abspath(__file__))
# What may differ when a run goes on, beside what common.run names: the rates, the order of the phases.
MAY_CHANGE = ["decay_rate", "decay_steps", "staircase", "schedule", "warmup_steps", "teacher_forcing_steps",
              "plain_l1_from", "adversarial_from", "perceptual_from", "recipe", "train_name"]  # fmt: skip


def fast(steps: int) -> dict[str, Any]:
    """What `--recipe=fast` sets for so many steps: meant for a CPU. NOTES.md tells why, flag by flag."""
    return {
        "cnum": 16,
        "batch_size": 4,
        "lt": 3.0,
        "lt_alpha": 0.3,
        "lt_l1": 20.0,
        "lt_mask": 1.0,
        "max_shift": (2, 4),
        "lb_beta": 20.0,
        "lf_theta_1": 20.0,
        "balanced_l1": True,
        "tight_text": True,
        "skips": True,
        "precision_mode": "allow_mix_precision",
        "learning_rate": 1e-3,
        "schedule": "cosine",
        "warmup_steps": min(500, steps // 10),
        "ema": 0.999,
        "teacher_forcing_steps": steps,
        "plain_l1_from": steps // 4,
        "adversarial_from": steps,
        "perceptual_from": steps,
    }


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags, those of the original under their names; a flag that cfg.py has is there with its default."""
    parser = cli.ArgumentParser(description=__doc__)
    count, step = cli.in_range(int, 1), cli.in_range(int, 0)
    weight, decay = cli.in_range(float, 0), cli.in_range(float, 0, 0.99999)

    def add(name, text, kind=count, default=None):
        group.add_argument(f"--{name}", type=kind, default=getattr(cfg, name, default), help=text)

    group = parser.add_argument_group("data")
    text = "the seven folders, or v1/ of them"
    group.add_argument("--data_path", "--data_dir", required=True, metavar="DIR", help=text)
    add("data_shape", "height,width that samples are scaled to", pair)
    cli.add_boolean(group, "--tight_text", False, "cut i_t to its word: its letters are where those of o_f will be")

    group = parser.add_argument_group("model")
    add("cnum", "channels of the networks' first layers")
    text = "skip connections of features and pixels in all parts: i_t to o_sk and o_t, i_s to o_t and o_b, these to o_f"
    cli.add_boolean(group, "--skips", False, text)
    add_vgg19_flag(group, "of the perceptual and the style term")

    group = parser.add_argument_group("optimisation")
    group.add_argument("--recipe", choices=("fast",), help="other defaults of all flags, that go well together")
    add("train_epochs", "epochs; overrides --train_steps")
    group.add_argument("--train_steps", "--max_iter", type=count, default=cfg.max_iter, help="iterations")
    add("batch_size", "samples a step")
    add("learning_rate", "of all networks at the start", weight)
    text = "by --decay_rate and --decay_steps, or along a cosine to 0 at the last step"
    group.add_argument("--schedule", choices=("exponential", "cosine"), default="exponential", help=text)
    add("warmup_steps", "the learning rate grows from 0 over so many steps", step, 0)
    add("decay_rate", "the learning rate is multiplied by this ...", weight)
    add("decay_steps", "... every so many steps")
    cli.add_boolean(group, "--staircase", cfg.staircase, "all at once, not step by step")
    add("beta1", "Adam's", decay)
    add("beta2", "Adam's", decay)
    add("ema", "decay of an average of the generator, which is then what is measured and exported; 0: none", decay, 0.0)
    add("teacher_forcing_steps", "until this step the fusion gets t_t in place of o_t", step, 0)
    add("plain_l1_from", "from this step the L1 of o_t weighs all pixels alike, those of the word and the rest", step)
    text = "rows,columns: from --plain_l1_from on o_sk and o_t are compared where they fit best, up to so far away"
    add("max_shift", text, pair)
    add("adversarial_from", "step at which the discriminators begin", step, 0)
    add("perceptual_from", "step at which VGG19's terms begin", step, 0)

    group = parser.add_argument_group("loss: weights")
    add("lt", "of text conversion", weight)
    add("lt_alpha", "of its skeleton's dice", weight)
    add("lt_l1", "of its masked L1", weight)
    add("lt_cross_entropy", "of its skeleton's cross-entropy", weight)
    add("lt_mask", "of the mask of what is painted in it; needs --skips", weight)
    add("lb", "of background inpainting", weight)
    add("lb_beta", "of its L1", weight)
    add("lf", "of fusion", weight)
    add("lf_theta_1", "of its L1", weight)
    add("lf_theta_2", "of its perceptual term", weight)
    add("lf_theta_3", "of its style term", weight)
    cli.add_boolean(group, "--balanced_l1", False, "also in o_b and o_f a word weighs as much as all the rest")

    group = add_run_flags(parser, os.path.join(HERE, "train_dir"))
    group.add_argument("--output_dir", dest="output_path", default=argparse.SUPPRESS, help="the original's name of it")
    text = "the original's name of --ckpt_path"
    group.add_argument("--pretrained_ckpt_path", dest="ckpt_path", default=argparse.SUPPRESS, help=text)
    add("train_name", "a folder of its own for the sheets of examples, in examples/", str)
    add("show_loss_interval", "steps: a line")
    add("write_log_interval", "steps: TensorBoard")
    add("gen_example_interval", "steps: a sheet of examples")
    add("save_latest_interval", "steps: a checkpoint; the newest three stay")
    add("save_ckpt_interval", "steps: a checkpoint that is kept for good")
    add_session_flags(parser, precision_mode="force_fp32")
    args = parser.parse_args(argv)
    if args.recipe:
        if args.train_epochs:
            parser.error("--recipe goes by steps: give --train_steps, not --train_epochs")
        parser.set_defaults(**fast(args.train_steps))
        args = parser.parse_args(argv)
    if any(side % MULTIPLE or side < 2 * MULTIPLE for side in args.data_shape):  # SSIM's window is of 11 pixels
        parser.error(f"--data_shape: give height,width, both multiples of {MULTIPLE}, 16 or more")
    if args.max_shift and (min(args.max_shift) < 0 or args.plain_l1_from is None):
        parser.error("--max_shift: give rows,columns, 0 or more, and --plain_l1_from=N, the step that it begins at")
    if args.lt_mask and not args.skips:
        parser.error("--lt_mask is of networks with --skips: give it too, or --lt_mask=0")
    if not os.path.isdir(args.data_path):
        parser.error(f"--data_path: there is no folder {args.data_path}; sample_data.py writes a small set")
    return args


def learning_rate(args: argparse.Namespace, total_steps: int, first_step: int = 0) -> Callable[[tf.Tensor], tf.Tensor]:
    """The learning rate after a number of updates of a network whose first one is at `first_step`."""

    def at(updates):
        step = tf.cast(updates, tf.float32) + first_step
        if args.schedule == "cosine":
            factor = 0.5 * (1.0 + tf.cos(np.pi * tf.minimum(step / total_steps, 1.0)))
        else:
            decays = step / args.decay_steps
            factor = args.decay_rate ** (tf.floor(decays) if args.staircase else decays)
        return args.learning_rate * factor * tf.minimum(1.0, (step + 1) / max(1, args.warmup_steps))

    return at


def perceptual_features(args: argparse.Namespace) -> Optional[Callable[[tf.Tensor], list[tf.Tensor]]]:
    """The function of images in -1..1 whose results the perceptual and style terms compare; None: they are off."""
    folders = dict.fromkeys((args.data_path, str(root(args.data_path))))
    places = [os.path.join(folder, name) for folder in folders for name in (VGG19_FILE, "vgg19.pb")]
    path = args.vgg19_weights or next(filter(os.path.isfile, places), None)
    if path and path.endswith(".pb"):
        vgg19 = read_vgg19(path, FEATURES)
    else:
        vgg19 = find_vgg19(path, places, FEATURES, "the perceptual and style terms are off")
    if vgg19 is None:
        return None
    return lambda images: [x * FEATURE_SCALE for x in vgg19(vgg19_input((images + 1) * 127.5), training=False)]


def scaled(stacked: tf.Tensor) -> dict[str, tf.Tensor]:
    """Samples as a batch holds them, as float32 images by name: -1..1, and 0..1 where there is one channel."""
    sample = {}
    for name, channels, end in zip(FOLDERS, CHANNELS, accumulate(CHANNELS)):
        x = tf.cast(stacked[..., end - channels : end], tf.float32)
        sample[name] = x / 255.0 if name in GREY else x / 127.5 - 1.0
    return sample


def make_train_step(args, networks, features, forced: bool, plain: bool, adversarial: bool) -> Callable:
    """One update of all networks, in one phase of training. Takes (stacked samples, step) and returns named scalars.

    Args:
        features: of `perceptual_features`; None: without VGG19's terms.
        forced: the fusion gets the true styled word.
        plain: the L1 of o_t has no mask.
        adversarial: with the discriminators; else they are not updated.
    """

    def discriminate(sample, o_b, o_f):
        """Logits of (background, fused), real and fake in one batch, as their batch normalisation needs it."""
        real = [sample[name] for name in ("t_b", "i_s", "t_f", "i_t")]
        fake = [o_b, sample["i_s"], o_f, sample["i_t"]]
        double = [tf.concat(both, 0) for both in zip(real, fake)]
        return [tf.split(logits, 2) for logits in networks.discriminator(double, training=True)]

    def train_step(stacked, step):
        sample = scaled(stacked)
        generate, inputs = networks.generator, [sample["i_t"], sample["i_s"]]
        if forced:
            generate, inputs = networks.forced_generator, [*inputs, *(sample[name] for name in ("t_t", "mask_t"))]
            inputs = inputs[: len(generate.inputs)]  # the mask with --skips alone
        with tf.GradientTape() as g_tape:
            o_sk, o_t, o_b, o_f, logits, *share = generate(inputs, training=True)  # the only pass

        # min_D  -E[log D(t_b, i_s) + log(1 - D(o_b, i_s))] - E[log D(t_f, i_t) + log(1 - D(o_f, i_t))]
        d_loss = tf.zeros([])
        if adversarial:
            with tf.GradientTape() as d_tape:
                background, fused = discriminate(sample, tf.stop_gradient(o_b), tf.stop_gradient(o_f))
                d_loss = losses.discriminator(*background) + losses.discriminator(*fused)
            networks.d_optimizer.minimize(d_loss, d_tape)

        # min_G  L_T + L_B + L_F, by the discriminators just updated
        target = features(sample["t_f"]) if features else None
        perceptual_loss = style_loss = tf.zeros([])
        with g_tape:
            dice = losses.dice(sample["t_sk"], o_sk)
            l_t = args.lt_alpha * dice
            if plain and args.max_shift:
                l_t += args.lt_cross_entropy * losses.shifted_cross_entropy(sample["t_sk"], logits, args.max_shift)
                l_t += args.lt_l1 * 0.5 * losses.shifted_l1(sample["t_t"], o_t, args.max_shift)
                if share:
                    l_t += args.lt_mask * losses.shifted_cross_entropy(sample["mask_t"], share[0], args.max_shift)
            else:
                l_t += args.lt_cross_entropy * losses.cross_entropy(sample["t_sk"], logits)
                if plain:  # the mask's two weights have a mean of a half
                    l_t += args.lt_l1 * 0.5 * losses.l1(sample["t_t"], o_t)
                else:
                    l_t += args.lt_l1 * losses.masked_l1(sample["t_t"], o_t, sample["mask_t"])
                if share:
                    l_t += args.lt_mask * losses.mask(sample["mask_t"], share[0])
            if args.balanced_l1:  # erased and written pixels weigh as much as all the others
                erased = losses.difference_mask(sample["i_s"], sample["t_b"])
                written = tf.maximum(erased, losses.difference_mask(sample["t_f"], sample["t_b"]))
                l_b = args.lb_beta * losses.masked_l1(sample["t_b"], o_b, erased)
                l_f = args.lf_theta_1 * losses.masked_l1(sample["t_f"], o_f, written)
            else:
                l_b = args.lb_beta * losses.l1(sample["t_b"], o_b)
                l_f = args.lf_theta_1 * losses.l1(sample["t_f"], o_f)
            if adversarial:
                (_, background), (_, fused) = discriminate(sample, o_b, o_f)
                l_b += losses.adversarial(background)
                l_f += losses.adversarial(fused)
            if features:
                output = features(o_f)
                perceptual_loss = args.lf_theta_2 * losses.perceptual(target, output)
                style_loss = args.lf_theta_3 * losses.style(target, output)
                l_f += perceptual_loss + style_loss
            g_loss = args.lt * l_t + args.lb * l_b + args.lf * l_f
        networks.g_optimizer.minimize(g_loss, g_tape)
        if args.ema:
            update_average(networks.ema_generator, networks.generator, args.ema, step)
        terms = {"l_t": l_t, "l_b": l_b, "l_f": l_f, "perceptual": perceptual_loss, "style": style_loss}
        return {"d_loss": d_loss, "g_loss": g_loss, **terms, "dice": 1.0 - dice}

    return train_step


def make_update(args: argparse.Namespace, session: Session, networks: SimpleNamespace, features) -> Callable:
    """A function (batch, step) -> named scalars: the update of the phase of training that the step is in."""

    @cache
    def compiled(*phase) -> Callable:
        return session.compile(make_train_step(args, networks, *phase))

    def update(batch, step: int):
        plain = args.plain_l1_from is not None and step >= args.plain_l1_from
        terms = features if step >= args.perceptual_from else None
        phase = terms, step < args.teacher_forcing_steps, plain, step >= args.adversarial_from
        return compiled(*phase)(batch, tf.constant(step))

    return update


def build(args: argparse.Namespace, session: Session, total_steps: int) -> SimpleNamespace:
    """The networks with their optimizers; `.state` is what a checkpoint holds, `.trained` what is measured."""
    generator, forced_generator = build_generators(args, args.data_shape, args.teacher_forcing_steps > 0)
    discriminator = build_discriminator(args, args.data_shape)
    scale = {"init_scale": 2.0**16, "decr_ratio": 0.5}  # in float16 alone
    adam = partial(session.optimizer, beta_1=args.beta1, beta_2=args.beta2, loss_scale=scale)
    d_optimizer = adam(discriminator, learning_rate(args, total_steps, args.adversarial_from))
    g_optimizer = adam(generator, learning_rate(args, total_steps))
    built = {"generator": generator, "discriminator": discriminator}
    if args.ema:
        built["ema_generator"], _ = build_generators(args, args.data_shape)
        session.average(moving_statistics(built["ema_generator"]))
    state = {name: named_variables(network) for name, network in built.items()}
    state.update(d_optimizer=d_optimizer.state, g_optimizer=g_optimizer.state)
    trained = built.get("ema_generator", generator)
    optimizers = {"d_optimizer": d_optimizer, "g_optimizer": g_optimizer}
    return SimpleNamespace(**built, **optimizers, forced_generator=forced_generator, trained=trained, state=state)


def save_examples(run: Run, editor: predict.Editor, samples: Sequence) -> str:
    """Writes a sheet: a row a held-out sample, of i_t, i_s, o_sk, o_t, o_b, o_f and the target t_f."""
    rows = []
    for sample in samples:
        i_t, i_s, t_f = (resized(sample[name], editor.options.data_shape) for name in ("i_t", "i_s", "t_f"))
        images = [i_t, i_s, *editor.generate(i_t, i_s).values(), t_f]
        rows.append(np.concatenate([np.broadcast_to(image, t_f.shape) for image in images], 1))
    path = run.path("examples", run.args.train_name or "", f"step_{run.step:07d}.png")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)
    run.images("examples", np.stack(rows))
    return path


def train(args: argparse.Namespace) -> dict[str, Any]:
    """One run. Returns what `result.json` holds."""
    claimed = claim(args, NETWORK, MAY_CHANGE)
    if claimed.finished:
        return claimed.finished
    session = open_session(session_config(args))
    set_seed(args.seed)
    train_samples, held_out = split(args.data_path)
    notice(f"{args.data_path}: {len(train_samples)} samples to train on, {len(held_out)} held out")
    steps_per_epoch = len(train_samples) // args.batch_size
    total_steps = args.train_epochs * steps_per_epoch if args.train_epochs else args.train_steps
    features = perceptual_features(args)
    networks = build(args, session, total_steps)
    update = make_update(args, session, networks, features)
    editor = predict.trained_editor(networks.trained, args, args.output_path, session.device)
    sheet = [read_sample(*sample, args.tight_text) for sample in held_out[:EXAMPLES]]
    files = [folder / kind / name for folder, name in train_samples for kind in FOLDERS]

    examples = None
    with Run(claimed, session, total_steps, networks.state, about={"network": NETWORK}, data=files) as run:
        stream = batches(train_samples, args, session, run.step)
        for step in run.steps():
            metrics = update(next(stream), step)
            run.end_step(metrics)

            show, write = run.due(args.show_loss_interval), run.due(args.write_log_interval)
            values = run.fetch(metrics) if show or write else {}
            if show:
                told = f"d_loss: {values['d_loss']:.5f}   g_loss: {values['g_loss']:.5f}"
                run.log(f"step: {run.step:6d}   {told}   time: {run.step_seconds():.4f}")
            if write:
                run.scalars("train", values)
            if run.due(args.gen_example_interval):
                examples = save_examples(run, editor, sheet)
            if run.due(args.save_latest_interval):
                run.save()
            if run.due(args.save_ckpt_interval):
                run.save(keep=f"iter_{run.step:07d}")

        metrics, baseline = {}, {}
        if args.evaluate and run.chief:
            metrics, baseline = evaluate.evaluate_run(editor, held_out, run.path("evaluation"))
            run.log(f"[Info] on {len(held_out)} held-out samples: {metrics}; trivial baselines: {baseline}")
        name = f"SSIM of o_f on {len(held_out)} held-out samples"
        return run.finish(["train/d_loss", "train/g_loss"], metrics, baseline, metrics.get("o_f_ssim"), name, examples)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(train, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
