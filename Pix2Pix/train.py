"""Trains Pix2Pix: "Image-to-Image Translation with Conditional Adversarial Networks" (Isola et al., 2017, 1611.07004).

python Pix2Pix/sample_data.py --output_path=facades
python Pix2Pix/train.py --data_path=facades --ngf=16 --ndf=16 --train_epochs=2          a minute on a CPU
python Pix2Pix/train.py --data_path=/datasets/facades                                   the paper's 200 epochs
python Pix2Pix/train.py --data_path=/datasets/facades --phase=test                      then its images and metrics

A full-size step takes 0.4 s on two CPU cores in bfloat16, 200 epochs of 400 facades 9 hours. README.md has the results.
"""

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import evaluate
import losses
import numpy as np
import tensorflow as tf
from data import DIRECTIONS, MODES, MULTIPLE, Pairs, as_rgb, batches, find_pairs
from metrics import l1
from model import NETWORK, build_discriminator, build_generator
from PIL import Image
from predict import HERE, network_translator
from tensorflow import keras

from common import cli
from common.cli import UserError
from common.config import add_session_flags, session_config
from common.layers import named_variables, update_average
from common.loss_scale import LearningRate
from common.run import Run, add_run_flags, claim
from common.run_folder import read_json
from common.session import Session, cluster, open_session, set_seed
from common.stream import key
from common.vgg19 import VGG19_FILE, add_vgg19_flag, find_vgg19, vgg19_input

JITTER = 286 / 256  # section 3.3: load_size / fine_size
EXAMPLES = 4  # held-out pairs on a sheet
VALIDATED = 50  # held-out pairs whose L1 each epoch's line of metrics has
# The ModelZoo README's: one manager for each optimizer.
LOSS_SCALE = {"init_scale": 2.0**32, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.8}


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags, those of the original under their names."""
    parser = cli.ArgumentParser(description=__doc__)
    count, not_negative = cli.in_range(int, 1), cli.in_range(float, 0)

    group = parser.add_argument_group("data")
    group.add_argument("--data_path", default="/datasets/facades", metavar="DIR", help="pairs in train/ and val/")
    group.add_argument("--which_direction", choices=DIRECTIONS, default="BtoA", help="A is the left half, B the right")
    group.add_argument("--load_size", type=count, help="halves are scaled to this (default: 286 / 256 of fine_size)")
    group.add_argument("--fine_size", type=count, default=256, help="... and cropped to this, a multiple of 256")
    cli.add_boolean(group, "--flip", True, "mirror half of the pairs")
    group.add_argument("--train_size", type=cli.in_range(float, 1), default=1e8, help="use at most so many pairs")
    cli.add_boolean(group, "--serial_batches", False, "the files' order, unshuffled")

    group = parser.add_argument_group("model")
    channels = {"type": int, "choices": list(MODES), "default": 3}
    group.add_argument("--input_nc", help="channels of the input", **channels)
    group.add_argument("--output_nc", help="channels of the output", **channels)
    group.add_argument("--ngf", type=count, default=64, help="channels of the generator's first layer")
    group.add_argument("--ndf", type=count, default=64, help="channels of the discriminator's first layer")

    group = parser.add_argument_group("optimisation")
    group.add_argument("--train_epochs", "--epoch", type=count, help="overrides --train_steps (default: 200)")
    group.add_argument("--train_steps", type=count, help="steps")
    group.add_argument("--niter", type=count, default=100, help="epochs before the rate falls, to 0 at the end")
    group.add_argument("--batch_size", type=count, help="pairs a step (default: one for each worker)")
    group.add_argument("--learning_rate", "--lr", type=not_negative, default=2e-4, help="of both networks")
    group.add_argument("--beta1", type=cli.in_range(float, 0, 0.9999), default=0.5, help="Adam's")
    group.add_argument("--L1_lambda", type=not_negative, default=100.0, help="weight of L1 in the generator's loss")
    add_vgg19_flag(group, "of --vgg19_lambda's term")
    text = "weight of VGG19's features in the generator's loss (pix2pixHD: 10); 0: none, as in the paper"
    group.add_argument("--vgg19_lambda", type=not_negative, default=0.0, help=text)
    text = "decay of the generator's average, 0.999 say, which is then evaluated and exported; 0: none, as in the paper"
    group.add_argument("--ema", type=cli.in_range(float, 0, 0.999999), default=0.0, help=text)

    group = add_run_flags(parser, str(HERE / "train_dir"))
    group.add_argument("--phase", choices=["train", "test"], default="train", help="test: evaluate a trained model")
    text = "True: go on, also with other options; False: start anew, moving the old run aside"
    cli.add_boolean(group, "--continue_train", None, text)
    group.add_argument("--print_freq", type=count, default=50, help="a line every so many steps")
    group.add_argument("--save_latest_freq", type=count, default=500, help="steps: a checkpoint, a sheet of examples")
    group.add_argument("--save_epoch_freq", type=count, default=50, help="epochs: a checkpoint that is kept")
    group.add_argument("--checkpoint_dir", metavar="DIR", help="for checkpoints (<output_path>/checkpoints)")
    group.add_argument("--sample_dir", metavar="DIR", help="for sheets of examples (<output_path>/examples)")
    group.add_argument("--test_dir", metavar="DIR", help="for what --phase=test writes (<output_path>/evaluation)")
    add_session_flags(parser, precision_mode="allow_mix_precision")
    args = parser.parse_args(argv)

    if args.fine_size % MULTIPLE:
        parser.error(f"--fine_size {args.fine_size}: the U-Net halves it eight times, so give a multiple of 256")
    args.load_size = args.load_size or round(args.fine_size * JITTER)
    if args.load_size < args.fine_size:
        parser.error(f"--load_size {args.load_size}: --fine_size {args.fine_size} is cropped from it, so give no less")
    if args.vgg19_weights and not args.vgg19_lambda:
        parser.error("--vgg19_weights is of a term whose weight is 0: give --vgg19_lambda=10 too, or leave it out")
    if args.vgg19_lambda and args.output_nc != 3:
        parser.error(f"--vgg19_lambda: VGG19 sees colours; give --output_nc=3 (not {args.output_nc}), or leave it out")
    if not os.path.isdir(args.data_path):
        parser.error(f"--data_path: there is no folder {args.data_path}; sample_data.py draws a small set")
    if not args.train_steps:
        args.train_epochs = args.train_epochs or 200
    return args


def learning_rate(args: argparse.Namespace, steps_per_epoch: int, total_steps: int) -> LearningRate:
    """Constant for `--niter` epochs, then falling in a line to 0 at the end of the run."""
    constant = args.niter * steps_per_epoch
    if constant >= total_steps:
        return args.learning_rate

    def schedule(updates):
        left = tf.cast(total_steps - updates, tf.float32) / (total_steps - constant)
        return args.learning_rate * tf.clip_by_value(left, 0.0, 1.0)

    return schedule


def vgg19_features(args: argparse.Namespace) -> Optional[Callable[[tf.Tensor], list[tf.Tensor]]]:
    """The function of images in -1..1 whose results `--vgg19_lambda`'s term compares; None where it is 0."""
    places = [os.path.join(args.data_path, "h5", VGG19_FILE)]
    without = "its term is off"
    vgg19 = find_vgg19(args.vgg19_weights, places, losses.LAYERS, without, exact=False) if args.vgg19_lambda else None
    return vgg19 and (lambda images: vgg19(vgg19_input((images + 1.0) * 127.5), training=False))


def build(args: argparse.Namespace, session: Session, schedule: LearningRate) -> tuple[keras.Model, dict, Callable]:
    """The networks, their optimizers and the train step.

    Returns: the generator that is evaluated (its average, with `--ema`), what a checkpoint holds, and the step: a
        function (source x, target y, step) -> named scalars, which updates each network once.
    """
    sizes = {"height": args.fine_size, "width": args.fine_size, "input_nc": args.input_nc, "output_nc": args.output_nc}
    generator = build_generator(**sizes, ngf=args.ngf)
    discriminator = build_discriminator(**sizes, ndf=args.ndf)
    adam = {"beta_1": args.beta1, "loss_scale": LOSS_SCALE}  # scaled where gradients pass through float16
    d_optimizer = session.optimizer(discriminator, schedule, **adam)
    g_optimizer = session.optimizer(generator, schedule, **adam)
    state = {
        "generator": named_variables(generator),
        "discriminator": named_variables(discriminator),
        "d_optimizer": d_optimizer.state,
        "g_optimizer": g_optimizer.state,
    }
    features, ema = vgg19_features(args), None
    if args.ema:
        ema = build_generator(**sizes, ngf=args.ngf)
        state["ema_generator"] = named_variables(ema)

    def train_step(source, target, step):
        with tf.GradientTape() as g_tape:
            seed = key(session.own("dropout"), args.seed, step)
            fake = generator([source, seed], training=True)  # the only pass of the generator

        # min_D  1/2 (-E[log D(x, y)] - E[log(1 - D(x, G(x)))]), halved so that D learns more slowly (section 3.3)
        with tf.GradientTape() as d_tape:
            real_logits = discriminator([source, target], training=True)
            fake_logits = discriminator([source, tf.stop_gradient(fake)], training=True)
            d_loss = losses.discriminator(real_logits, fake_logits)
            half = 0.5 * d_loss
        d_optimizer.minimize(half, d_tape)

        # min_G  -E[log D(x, G(x))] + lambda E[|y - G(x)|] (equation 4), by the discriminator just updated; and VGG19's
        target_features = features(target) if features else None  # outside the tapes: nothing is learned through it
        with g_tape:
            adversarial = losses.adversarial(discriminator([source, fake], training=True))
            reconstruction = losses.l1(target, fake)
            g_loss = adversarial + args.L1_lambda * reconstruction
            if features:
                perceptual = losses.perceptual(target_features, features(fake))
                g_loss += args.vgg19_lambda * perceptual
        g_optimizer.minimize(g_loss, g_tape)
        if ema is not None:
            update_average(ema, generator, args.ema, step)
        metrics = {"d_loss": d_loss, "g_loss": g_loss, "g_adversarial": adversarial, "g_l1": reconstruction}
        return {**metrics, "g_perceptual": perceptual} if features else metrics

    return ema or generator, state, session.compile(train_step)


def train(args: argparse.Namespace) -> dict:
    """One run. Returns what `result.json` holds."""
    begun = read_json(os.path.join(args.output_path, "options.json"))
    args.batch_size = args.batch_size or default_batch_size(args, begun)
    own = args.checkpoint_dir
    if own and not (begun or args.continue_train) and any(Path(own).glob("ckpt-*")):
        raise UserError(
            f"--checkpoint_dir {own} holds the checkpoints of another run.\n"
            "Give another folder, or --continue_train=True to go on from the newest of them."
        )
    files = find_pairs(args.data_path, "train")[: int(args.train_size)]
    if args.batch_size > len(files):
        raise UserError(f"--batch_size {args.batch_size} is more than the {len(files)} pairs of the data; give less")
    mine = claim(args, NETWORK)
    if mine.finished:
        return mine.finished
    session = open_session(session_config(args))
    args.batch_size = session.agree(args.batch_size)
    set_seed(args.seed)
    pairs = Pairs(args, files, args.load_size)
    cli.notice(f"{args.data_path}: {len(pairs)} pairs to train on, {args.which_direction}")
    steps_per_epoch = len(pairs) // args.batch_size
    total_steps = args.train_epochs * steps_per_epoch if args.train_epochs else args.train_steps
    generator, state, train_step = build(args, session, learning_rate(args, steps_per_epoch, total_steps))
    val_files = find_pairs(args.data_path, "val")
    held_out = list(Pairs(args, val_files[:VALIDATED], args.fine_size))
    translator = network_translator(generator, args)
    place = os.path.abspath(args.data_path)

    with Run(mine, session, total_steps, state, about={"data": os.path.basename(place)}, data=pairs.files) as run:
        examples, started, stream = None, perf_counter(), batches(args, pairs, run.step, session)
        for step in run.steps():
            metrics = train_step(*next(stream), tf.constant(step))
            run.end_step(metrics)

            if run.due(args.print_freq) or run.step == 1:
                epoch, number = divmod(step, steps_per_epoch)
                values = run.fetch(metrics)
                run.log(
                    f"Epoch: [{epoch:2d}] [{number + 1:4d}/{steps_per_epoch:4d}] time: {perf_counter() - started:.4f}, "
                    f"d_loss: {values['d_loss']:.8f}, g_loss: {values['g_loss']:.8f}"
                )
                run.scalars("train", values)
            if run.due(args.save_latest_freq):
                rows = [[as_rgb(image) for image in (x, translator(x), y)] for x, y in held_out[:EXAMPLES]]
                sheet = np.concatenate([np.concatenate(row, 1) for row in rows])  # input, output, target; pair by pair
                file = Path(args.sample_dir or run.path("examples"), f"step_{run.step:07d}.png")
                examples = str(cli.new_file(file))
                Image.fromarray(sheet).save(examples)
                run.images("examples", np.stack([generated for _, generated, _ in rows]))
                run.save()
            if args.evaluate and run.due(steps_per_epoch):
                run.scalars("val", {"l1": np.mean([l1(translator(source), target) for source, target in held_out])})
            if run.due(args.save_epoch_freq * steps_per_epoch):
                run.save(keep=f"epoch_{run.step // steps_per_epoch:03d}")

        scores, baseline, name = {}, {}, ""
        if args.evaluate and run.chief:
            val = Pairs(args, val_files, args.fine_size)
            means = evaluate.measure(translator, pairs.files, val, run.path("evaluation"), {"data": place}, {})
            scores, baseline = {**means["generated"], "images": len(val)}, means["mean_colour"]
            name = f"SSIM on {len(val)} held-out images; of the mean colour per label {baseline['ssim']:.4f}"
            run.log(f"[Info] on the held-out pairs: {scores}; mean colour per label: {baseline}")
        return run.finish(["train/d_loss", "train/g_loss"], scores, baseline, scores.get("ssim"), name, examples)


def default_batch_size(args: argparse.Namespace, begun: Any) -> int:
    """A pair for each worker; in a run that goes on what it began with (`options.json`), whoever goes on with it."""
    if not (args.overwrite or args.continue_train is False):
        with contextlib.suppress(LookupError, TypeError, ValueError):  # no file of ours: `claim` tells
            return int(begun["options"]["batch_size"])
    npus = os.environ.get("CM_WORKER_SIZE") or os.environ.get("RANK_SIZE") or ""
    return len(cluster(os.environ)[1]) or (int(npus) if npus.isdecimal() and int(npus) else 1)


def test(args: argparse.Namespace) -> None:
    """`--phase=test`: the images, metrics and gallery of a trained model on the held-out pairs.

    Raises:
        UserError: there is no checkpoint; nothing is generated with random weights.
    """
    flags = [f"--ckpt_path={args.ckpt_path or args.checkpoint_dir or args.output_path}"]
    flags += [f"--data_path={args.data_path}", f"--device={args.device}"]
    flags += [f"--output_path={args.test_dir}"] * bool(args.test_dir)
    evaluate.evaluate(evaluate.parse_args(flags))


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = parse_args(argv)
    return cli.run_main(train if args.phase == "train" else test, args)


if __name__ == "__main__":
    cli.leave(main())
