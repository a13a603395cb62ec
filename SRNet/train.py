"""Trains SRNet: "Editing Text in the Wild" (Wu et al., 2019, arXiv 1908.03047).

python SRNet/sample_data.py --output_path=words
python SRNet/train.py --data_path=words --cnum=8 --batch_size=4 --max_iter=300 --vgg19_weights=none     minutes on a CPU
python SRNet/train.py --data_path=words --vgg19_weights=vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5
"""

import argparse
import glob
import os
import sys
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import cfg
import evaluate
import freeze
import loss
import numpy as np
import tensorflow as tf
from data import FOLDERS, GREY, Samples, batches, read_sample, resized, root, split, unstack
from model import MULTIPLE, build_discriminator, build_generator
from PIL import Image
from tensorflow import keras

from common import cli
from common.optimizer import named_variables
from common.pictures import scale as to_range
from common.pictures import to_uint8
from common.pretrained import VGG19_FILE, find_vgg19, vgg19_input
from common.run import Run, add_run_flags, claim_output
from common.session import add_session_flags, notice, open_session, session_config, set_seed

FEATURES = tuple(f"block{number}_conv1" for number in range(1, 6))  # of VGG19, section 3.3
FEATURE_SCALE = 1 / 127.5  # VGG19 sees 0..255; at that scale its terms would outweigh all others a hundredfold
EXAMPLES = 6  # held-out samples on a sheet
RANGE = (-1.0, 1.0)  # black and white to the networks
LOSS_SCALE = {"init_scale": 2.0**16, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.5}
HERE = os.path.dirname(os.path.abspath(__file__))


def size(text: str) -> tuple[int, int]:
    """Height and width as "64,128" or "64x128".

    Raises:
        ArgumentTypeError: they are no multiples of 8, or under 16, of which SSIM's window makes nothing.
    """
    height, width = (int(side) for side in text.replace("x", ",").split(","))
    if min(height, width) < 2 * MULTIPLE or height % MULTIPLE or width % MULTIPLE:
        raise argparse.ArgumentTypeError(f"{text}: give height,width, both multiples of {MULTIPLE}, 16 or more")
    return height, width


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags, those of the original under their names; cfg.py has the defaults."""
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count, rate = cli.in_range(int, 1), cli.in_range(float, 0)

    def add(group, name, kind, text, *others):
        group.add_argument(f"--{name}", *others, type=kind, default=getattr(cfg, name), help=f"{text} (%(default)s)")

    group = parser.add_argument_group("data")
    group.add_argument(
        "--data_path", "--data_dir", required=True, metavar="DIR", help="the seven folders, or v1/ of them"
    )
    add(group, "data_shape", size, "height,width that samples are scaled to")

    group = parser.add_argument_group("model")
    add(group, "cnum", count, "channels of the networks' first layers")
    group.add_argument(
        "--vgg19_weights",
        metavar="FILE",
        help="of the perceptual terms: Keras' file or a frozen .pb; random: untrained; none: without (<data_path>/)",
    )

    group = parser.add_argument_group("optimisation")
    group.add_argument("--train_epochs", type=count, help="epochs; goes before --train_steps")
    group.add_argument("--train_steps", "--max_iter", type=count, default=cfg.max_iter, help="iterations (%(default)s)")
    add(group, "batch_size", count, "samples a step")
    steps = cli.in_range(int, 0)
    add(group, "guided_steps", steps, "i_t is moved towards where the word will stand, less and less until this step")
    text = "normalise by each batch's statistics; False: by their averages so far, which then stay (True)"
    cli.add_boolean(group, "--batch_statistics", cfg.batch_statistics, text)
    add(group, "learning_rate", rate, "of all networks at the start")
    add(group, "decay_rate", rate, "the rate is multiplied by this ...")
    add(group, "decay_steps", count, "... every so many steps")
    cli.add_boolean(group, "--staircase", cfg.staircase, "all at once, not step by step (False)")
    below_1 = cli.in_range(float, 0, 0.99999)
    add(group, "beta1", below_1, "Adam's")
    add(group, "beta2", below_1, "Adam's")

    group = parser.add_argument_group("loss")
    add(group, "lt", rate, "weight of text conversion")
    add(group, "lt_alpha", rate, "of its masked L1")
    add(group, "lt_beta", rate, "of its skeleton's cross-entropy")
    add(group, "lb", rate, "weight of background inpainting")
    add(group, "lb_beta", rate, "of its L1")
    add(group, "lf", rate, "weight of fusion")
    add(group, "lf_theta_1", rate, "of its L1")
    add(group, "lf_theta_2", rate, "of its perceptual term")
    add(group, "lf_theta_3", rate, "of its style term")

    group = add_run_flags(parser, os.path.join(HERE, "train_dir"))
    group.add_argument("--output_dir", dest="output_path", default=argparse.SUPPRESS, help="the original's name of it")
    group.add_argument(
        "--pretrained_ckpt_path", dest="ckpt_path", default=argparse.SUPPRESS, help="the original's name of --ckpt_path"
    )
    add(group, "train_name", str, "a folder of its own for the sheets of examples, in examples/")
    add(group, "show_loss_interval", count, "steps: a line")
    add(group, "write_log_interval", count, "steps: TensorBoard")
    add(group, "gen_example_interval", count, "steps: a sheet of examples")
    add(group, "save_latest_interval", count, "steps: a checkpoint; the newest three stay")
    add(group, "save_ckpt_interval", count, "steps: a checkpoint that is kept for good")
    add_session_flags(parser, precision_mode="force_fp32")
    args = parser.parse_args(argv)
    if not os.path.isdir(args.data_path):
        parser.error(f"--data_path: there is no folder {args.data_path}; sample_data.py draws a small set")
    return args


def learning_rate(args: argparse.Namespace) -> Callable[[tf.Tensor], tf.Tensor]:
    """The rate after a number of updates: decay_rate of it every decay_steps."""

    def rate(updates):
        decays = tf.cast(updates, tf.float32) / args.decay_steps
        return args.learning_rate * args.decay_rate ** (tf.floor(decays) if args.staircase else decays)

    return rate


def perceptual_features(args: argparse.Namespace) -> Optional[Callable[[tf.Tensor], list[tf.Tensor]]]:
    """The function of pictures in -1..1 whose results the perceptual and style terms compare; None: they are off."""
    folders = dict.fromkeys((args.data_path, str(root(args.data_path))))
    places = [os.path.join(folder, name) for folder in folders for name in (VGG19_FILE, "vgg19.pb")]
    vgg19 = find_vgg19(args.vgg19_weights, places, FEATURES, "the perceptual and style terms are off")
    if vgg19 is None:
        return None
    return lambda pictures: [x * FEATURE_SCALE for x in vgg19(vgg19_input((pictures + 1) * 127.5), training=False)]


def scaled(stacked: tf.Tensor) -> dict[str, tf.Tensor]:
    """Samples as a batch holds them, as float32 pictures by name: -1..1, and 0..1 where there is one channel."""
    return {
        name: tf.cast(x, tf.float32) / (255.0 if name in GREY else 127.5) - (0.0 if name in GREY else 1.0)
        for name, x in unstack(stacked).items()
    }


def make_train_step(args, generator, discriminator, features, d_optimizer, g_optimizer) -> Callable:
    """One update of all networks. Takes (stacked samples, step)."""
    skeleton_logits = generator.get_layer("o_sk").input
    generate = keras.Model(generator.inputs, [*generator.outputs, skeleton_logits])

    def told_apart(sample, o_b, o_f):
        """Logits of (background, fused), real and fake in one batch, as their batch normalisation needs it."""
        double = [tf.concat(pair, 0) for pair in (
            (sample["t_b"], o_b), (sample["i_s"], sample["i_s"]), (sample["t_f"], o_f), (sample["i_t"], sample["i_t"])
        )]  # fmt: skip
        background, fused = (tf.split(logits, 2) for logits in discriminator(double, training=True))
        return background, fused

    def train_step(stacked, step):
        sample = scaled(stacked)
        with tf.GradientTape() as g_tape:
            o_sk, o_t, o_b, o_f, logits = generate(  # the only pass
                [sample["i_t"], sample["i_s"]], training=args.batch_statistics
            )

        # min_D  -E[log D(t_b, i_s) + log(1 - D(o_b, i_s))] - E[log D(t_f, i_t) + log(1 - D(o_f, i_t))]
        with tf.GradientTape() as d_tape:
            background, fused = told_apart(sample, tf.stop_gradient(o_b), tf.stop_gradient(o_f))
            d_loss = loss.discriminator(*background) + loss.discriminator(*fused)
        d_optimizer.minimize(d_loss, d_tape)

        # min_G  L_T + L_B + L_F, by the discriminators just updated
        target = features(sample["t_f"]) if features else None
        with g_tape:
            (_, background), (_, fused) = told_apart(sample, o_b, o_f)
            skeleton = loss.dice(sample["t_sk"], o_sk)
            l_t = skeleton + args.lt_beta * loss.cross_entropy(sample["t_sk"], logits)
            l_t += args.lt_alpha * loss.masked_l1(sample["t_t"], o_t, sample["mask_t"])
            l_b = loss.adversarial(background) + args.lb_beta * loss.l1(sample["t_b"], o_b)
            l_f = loss.adversarial(fused) + args.lf_theta_1 * loss.l1(sample["t_f"], o_f)
            if features:
                output = features(o_f)
                l_f += args.lf_theta_2 * loss.perceptual(target, output) + args.lf_theta_3 * loss.style(target, output)
            g_loss = args.lt * l_t + args.lb * l_b + args.lf * l_f
        g_optimizer.minimize(g_loss, g_tape)
        return {"d_loss": d_loss, "g_loss": g_loss, "l_t": l_t, "l_b": l_b, "l_f": l_f, "dice": 1.0 - skeleton}

    return train_step


def prepare(args: argparse.Namespace) -> SimpleNamespace:
    """Everything a run needs: the device, the data, the networks, their optimizers and one update of them.

    Returns: `session`, `held_out`, `generator`, `state` (what a checkpoint holds), `total_steps`,
        `batches(start_step)` and `update(batch, step) -> named scalars`.
    """
    session = open_session(session_config(args))
    set_seed(args.seed)
    train_samples, held_out = split(args)
    samples = Samples(train_samples, args.data_shape)
    notice(f"{args.data_path}: {len(samples)} samples to train on, {len(held_out)} held out")
    if args.batch_size > len(samples):
        raise cli.UserError(
            f"--batch_size: a batch of {args.batch_size} is larger than the data ({len(samples)} samples); "
            "give a smaller one"
        )
    features = perceptual_features(args)
    generator = build_generator(*args.data_shape, channels=args.cnum)
    discriminator = build_discriminator(*args.data_shape, channels=args.cnum)
    adam = {"beta_1": args.beta1, "beta_2": args.beta2, "loss_scale": LOSS_SCALE}  # scaled in float16 alone
    d_optimizer, g_optimizer = (
        session.optimizer(network, learning_rate(args), **adam) for network in (discriminator, generator)
    )
    train_step = session.compile(make_train_step(args, generator, discriminator, features, d_optimizer, g_optimizer))
    steps_per_epoch = len(samples) // args.batch_size
    return SimpleNamespace(
        session=session,
        held_out=held_out,
        generator=generator,
        state={
            "generator": named_variables(generator),
            "discriminator": named_variables(discriminator),
            "d_optimizer": d_optimizer.state,
            "g_optimizer": g_optimizer.state,
        },
        total_steps=args.train_epochs * steps_per_epoch if args.train_epochs else args.train_steps,
        batches=partial(batches, args, samples),
        update=lambda batch, step: train_step(batch, tf.constant(step)),
    )


def example_saver(args: argparse.Namespace, generator: keras.Model, held_out: Sequence) -> Callable[[Run], str]:
    """A function that writes a sheet: a row a held-out sample, of i_t, i_s, o_sk, o_t, o_b, o_f and the target t_f."""
    samples = [read_sample(*sample) for sample in held_out[:EXAMPLES]]
    samples = [{name: resized(sample[name], args.data_shape) for name in FOLDERS} for sample in samples]
    inputs = [np.stack([to_range(sample[name], RANGE) for sample in samples]) for name in ("i_t", "i_s")]
    draw = tf.function(lambda i_t, i_s: generator([i_t, i_s], training=False))

    def save_examples(run: Run) -> str:
        o_sk, *others = draw(*(tf.constant(x) for x in inputs))
        drawn = [np.repeat(to_uint8(o_sk, (0.0, 1.0)), 3, 3), *(to_uint8(x, RANGE) for x in others)]
        rows = [
            np.concatenate([sample["i_t"], sample["i_s"], *outputs, sample["t_f"]], 1)
            for sample, *outputs in zip(samples, *drawn)
        ]
        path = run.path("examples", args.train_name or "", f"step_{run.step:07d}.png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Image.fromarray(np.concatenate(rows)).save(path)
        run.images("examples", np.stack(rows))
        return path

    return save_examples


def train(args: argparse.Namespace) -> dict:
    """One run. Returns what `result.json` holds."""
    claim_output(args)
    parts = prepare(args)
    save_examples = example_saver(args, parts.generator, parts.held_out)

    with Run(parts.session, args, "SRNet", parts.total_steps, parts.state, about={"network": "SRNet"}) as run:
        sheets = glob.escape(run.path("examples", args.train_name or ""))
        examples = max(glob.glob(sheets + "/*.png"), default=None)  # an earlier part's
        stream = parts.batches(run.step)
        for step in run.steps():
            metrics = parts.update(next(stream), step)
            run.end_step(metrics)

            show, write = run.due(args.show_loss_interval), run.due(args.write_log_interval)
            values = run.fetch(metrics) if show or write else {}
            if show:
                run.log(
                    f"step: {run.step:6d}   d_loss: {values['d_loss']:.5f}   g_loss: {values['g_loss']:.5f}   "
                    f"time: {run.step_seconds():.4f}"
                )
            if write:
                run.scalars("train", values)
            if run.due(args.gen_example_interval):
                examples = save_examples(run)
            if run.due(args.save_latest_interval):
                run.save()
            if run.due(args.save_ckpt_interval):
                run.save(keep=f"iter_{run.step:07d}")

        scores, baselines = {}, {}
        if args.evaluate and run.chief:
            scores, baselines = evaluate.evaluate_run(args, parts.generator, parts.held_out, run.path("evaluation"))
            run.log(f"[Info] on {len(parts.held_out)} held-out samples: {scores}; baselines: {baselines}")
        if run.chief:
            freeze.write_final(parts.generator, args, run.path("final.pb"))
        return run.finish(["train/d_loss", "train/g_loss"], scores, baselines, scores.get("o_f_ssim"), examples)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(train, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
