"""Trains ImprovedGAN: "Improved Techniques for Training GANs" (Salimans et al., 2016, arXiv 1606.03498).

python ImprovedGAN/sample_data.py --output_path=digits
python ImprovedGAN/train.py --data_path=digits --train_steps=300                a minute on a CPU
python ImprovedGAN/train.py --data_path=datasets/MNIST                          the ModelZoo README's model: 99 %
python ImprovedGAN/train.py --data_path=datasets/MNIST --model=paper            the paper's, 100 labels
"""

import argparse
import datetime
import os
import time
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
import preprocess
import tensorflow as tf
from metrics import count_errors, evaluate_run
from model import NETWORK, build_discriminator, build_generator, value_range
from steps import latents, make_optimizer, paper_update, ssgan_update

from common import cli, modelarts
from common.cli import UserError, notice
from common.config import add_session_flags, session_config
from common.images import save_grid, to_uint8
from common.layers import moving_statistics, named_variables
from common.run import Run, add_run_flags, claim
from common.session import open_session, set_seed

# The ModelZoo's settings, and the paper's published ones. The ModelZoo gives its discriminator 1e-4 too, at
# which it has not learned all it can in its 22500 updates: see NOTES.md.
SSGAN = {"batch_size": 32, "n_z": 128, "average_rate": 5e-4, "learning_rate_d": 3e-4, "learning_rate_g": 1e-4}
PAPER = {"batch_size": 100, "n_z": 100, "average_rate": 1e-4}
CONVOLUTIONAL = {**PAPER, "learning_rate_d": 3e-4, "learning_rate_g": 3e-4}
RECIPES = {
    "ssgan": {**SSGAN, "train_steps": 45000},
    "mnist": {**PAPER, "learning_rate_d": 3e-3, "learning_rate_g": 3e-3, "train_epochs": 300, "n_labels": 100},
    "svhn": {**CONVOLUTIONAL, "train_epochs": 900, "n_labels": 1000},
    "cifar10": {**CONVOLUTIONAL, "train_epochs": 1200, "n_labels": 4000},
}
# What only one of the models has.
OWN_FLAGS = {
    "ssgan": ("deconv_type", "update_rate", "g_loss"),
    "paper": ("recipe", "feature_matching", "minibatch_discrimination", "label_smoothing", "historical_averaging"),
}
NORM_TYPES = {"ssgan": ("batch", "instance", "None"), "paper": ("batch", "virtual", "None")}
MAY_CHANGE = ("baseline_steps", "judge_steps", "seeds", "prefix")
VALIDATED = 1000  # held-out images of a validation


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags, with what the recipe sets filled in."""
    parser = cli.ArgumentParser(description=__doc__)
    count, rate, part = cli.in_range(int, 1), cli.in_range(float, 0), cli.in_range(float, 0, 1)

    group = parser.add_argument_group("data")
    group.add_argument("--data_path", required=True, metavar="DIR", help="the data set, or the folder that holds it")
    group.add_argument("--dataset", help="its name, where DIR holds several")
    group.add_argument("--image_size", type=count, help="scale every image to this size")
    group.add_argument("--max_sample", type=count, help="train on at most so many images")
    group.add_argument("--n_labels", type=count, help="use exactly so many labels, balanced; the rest is unlabelled")
    group.add_argument("--split_seed", type=cli.in_range(int, 0), default=0, help="which labels those are")
    group.add_argument("--seeds", type=count, default=1, help="run so many splits; print mean and deviation")

    group = parser.add_argument_group("model")
    group.add_argument("--model", choices=["ssgan", "paper"], default="ssgan", help="the ModelZoo's or the paper's")
    group.add_argument("--recipe", choices=["mnist", "svhn", "cifar10"], help="the paper's networks and settings")
    group.add_argument("--n_z", type=count, help="size of a latent (ssgan 128, paper 100)")
    norms, upsamplings = ["batch", "instance", "virtual", "None"], ["bilinear", "nn", "transpose"]
    group.add_argument("--norm_type", choices=norms, default="batch", help="instance: ssgan; virtual: paper")
    group.add_argument("--deconv_type", "--deconv", choices=upsamplings, default="bilinear", help="ssgan: upsampling")
    cli.add_boolean(group, "--feature_matching", True, "paper: the generator matches features")
    cli.add_boolean(group, "--minibatch_discrimination", False, "paper: section 3.2")
    group.add_argument("--label_smoothing", type=part, default=0.0, help="paper: section 3.4")
    group.add_argument("--historical_averaging", type=rate, default=0.0, help="paper: weight of section 3.3's term")
    losses = ["page", "non_saturating"]
    group.add_argument("--g_loss", choices=losses, default="page", help="ssgan: the generator's adversarial loss")

    group = parser.add_argument_group("optimisation")
    group.add_argument("--train_steps", "--max_training_steps", type=count, help="steps (ssgan: 45000)")
    group.add_argument("--train_epochs", type=count, help="epochs; overrides --train_steps (paper: 300, 900, 1200)")
    group.add_argument("--batch_size", type=count, help="images a step (ssgan 32, paper 100)")
    group.add_argument("--learning_rate_d", type=rate, help="(mnist 3e-3, else 3e-4)")
    group.add_argument("--learning_rate_g", type=rate, help="(ssgan 1e-4, mnist 3e-3, svhn and cifar10 3e-4)")
    group.add_argument("--update_rate", type=count, default=1, help="ssgan: generator steps a discriminator step")
    group.add_argument("--average_rate", type=part, help="of the tested average of D (5e-4, paper 1e-4); 1: D itself")
    group.add_argument("--ema", type=part, default=0.0, help="decay of the generator's average, which then is used")

    group = add_run_flags(parser, os.path.join(os.path.dirname(os.path.abspath(__file__)), "train_dir"))
    original = {"default": argparse.SUPPRESS, "metavar": "PATH"}
    group.add_argument("--train_dir", dest="output_path", help="the original's name of --output_path", **original)
    group.add_argument("--checkpoint", dest="ckpt_path", help="the original's name of --ckpt_path", **original)
    group.add_argument("--prefix", metavar="NAME", help="put the run into a folder of this name in --output_path")
    group.add_argument("--log_step", type=count, default=10, help="a line every so many steps")
    group.add_argument("--write_summary_step", type=count, default=100, help="a row of metrics.jsonl and TensorBoard")
    group.add_argument("--test_sample_step", type=count, default=100, help="validate on 1000 held-out images")
    group.add_argument("--ckpt_save_step", type=count, default=1000, help="a checkpoint")
    group.add_argument("--output_save_step", type=count, default=1000, help="a grid of generated images")
    text = "updates of the supervised-only baseline, 0: none (as many as the discriminator's)"
    group.add_argument("--baseline_steps", type=cli.in_range(int, 0), help=text)
    group.add_argument("--judge_steps", type=cli.in_range(int, 0), default=1000, help="updates of the judge, 0: none")
    group.add_argument("--obs_url", metavar="URL", help="copy the results there at the end")
    cli.add_boolean(group, "--debug", False, "run op by op, for a debugger")
    add_session_flags(parser)
    args = parser.parse_args(argv)

    for model, names in OWN_FLAGS.items():
        for name in names:
            if args.model != model and getattr(args, name) != parser.get_default(name):
                parser.error(f"--{name} belongs to --model={model}; this is --model={args.model}")
    if args.norm_type not in NORM_TYPES[args.model]:
        parser.error(f"--norm_type {args.norm_type}: --model={args.model} takes {', '.join(NORM_TYPES[args.model])}")
    if args.prefix:
        args.output_path = os.path.join(args.output_path, args.prefix)
    dataset = (args.dataset or "").lower()
    args.recipe = args.recipe or (dataset if dataset in ("svhn", "cifar10") else "mnist")
    length = ("train_steps", "train_epochs") if args.train_steps or args.train_epochs else ()
    for name, value in RECIPES["ssgan" if args.model == "ssgan" else args.recipe].items():
        if getattr(args, name) is None and name not in length:
            setattr(args, name, value)
    if args.seeds > 1 and not args.evaluate:
        parser.error("--seeds compares the splits' errors, so it needs --evaluate=True")
    return args


def log_line(kind: str, step: int, values: dict[str, float], seconds: float, images: int) -> str:
    """The original's log line."""
    now = datetime.datetime.now()
    return (
        f"[{now:%Y-%m-%d %H:%M:%S},{now.microsecond // 1000:03d}]  [{kind:5s} step {step}] "
        f"Supervised loss: {values['supervised_loss']:.5f} D loss: {values['d_loss']:.5f} "
        f"G loss: {values.get('g_loss', 0):.5f} Accuracy: {values['accuracy']:.5f} "
        f"({seconds:.3f} sec/batch, {images / seconds:.3f} instances/sec)"
    )


def prepare(args: argparse.Namespace) -> SimpleNamespace:
    """Everything a run needs: the device, the data, the networks, their optimizers and one update of them.

    Returns: `session`, `data`, `labelled`, `generator`, `discriminator`, `tested` (the average of the discriminator),
        `ema` (of the generator, or None), `shown` (the generator to show), `d_optimizer`, `g_optimizer`, `state` (what
        a checkpoint holds), `total_steps`, `batches(start_step)`, `update(batch, step) -> named scalars` and `cycle`,
        how many kinds of update take turns.
    """
    session = open_session(session_config(args))
    parts = SimpleNamespace(session=session)
    tf.config.run_functions_eagerly(args.debug)
    set_seed(args.seed)
    loaded = data.load(args.data_path, args.dataset, args.image_size and (args.image_size, args.image_size))
    notice(str(loaded))
    parts.data, parts.labelled = data.choose_images(args, loaded)
    n, image_shape = len(parts.data.train_images), loaded.train_images.shape[1:]
    parts.total_steps = args.train_epochs * (n // args.batch_size) if args.train_epochs else args.train_steps
    # The paper's convolutions without padding need 3x3 of what two halvings leave.
    smallest = 9 if args.model == "paper" and args.recipe != "mnist" else 2
    if min(image_shape[:2]) < smallest:
        raise UserError(f"images of {image_shape[0]} x {image_shape[1]} are too small: --image_size={smallest} or more")

    rows = session.local_batch(args.batch_size)
    parts.generator = build_generator(args, image_shape)
    kind = args, image_shape, len(loaded.class_names), rows
    parts.discriminator, parts.tested = build_discriminator(*kind), build_discriminator(*kind)
    parts.ema = build_generator(args, image_shape) if args.ema else None
    parts.shown = parts.ema or parts.generator
    parts.d_optimizer = make_optimizer(args, session, parts.discriminator, args.learning_rate_d, parts.total_steps)
    parts.g_optimizer = make_optimizer(args, session, parts.generator, args.learning_rate_g, parts.total_steps)
    parts.state = {
        "generator": named_variables(parts.generator),
        "discriminator": named_variables(parts.discriminator),
        "average": named_variables(parts.tested),
        "d_optimizer": parts.d_optimizer.state,
        "g_optimizer": parts.g_optimizer.state,
    }
    parts.batches = partial(data.training_batches, args, parts, value_range(args))
    parts.update = (ssgan_update if args.model == "ssgan" else paper_update)(args, parts)
    parts.cycle = args.update_rate + 1 if args.model == "ssgan" else 1
    session.average(moving_statistics(parts.tested))
    if parts.ema is not None:
        session.average(moving_statistics(parts.ema))
        parts.state["ema_generator"] = named_variables(parts.ema)
    return parts


def train(args: argparse.Namespace) -> dict:
    """One run. Returns what `result.json` holds."""
    claimed = claim(args, NETWORK, MAY_CHANGE)
    if claimed.finished:
        return claimed.finished
    if args.obs_url:
        modelarts.check_url(args.obs_url)
    parts = prepare(args)
    session, loaded = parts.session, parts.data
    if args.model == "paper" and args.recipe != "mnist" and any("train_" in text for text in claimed.changed):
        notice("the learning rate falls over the last third of the run's new length")
    example_latents = latents(args, "example_latents", 0, 64)  # fixed, so that grids compare from step to step
    held_out = loaded.test_images[:VALIDATED], loaded.test_labels[:VALIDATED]
    about = {
        "image_shape": loaded.train_images.shape[1:],
        "class_names": loaded.class_names,
        "dataset": loaded.name,
        "ink": preprocess.ink_of(loaded.train_images),
    }

    with Run(claimed, session, parts.total_steps, parts.state, parts.cycle, about, loaded.files) as run:
        run.write_json("labels.json", {"split_seed": args.split_seed, "indices": parts.labelled.tolist()})
        batches = parts.batches(run.step)
        for step in run.steps():
            metrics = parts.update(next(batches), step)
            run.end_step(metrics)

            if run.due(args.log_step):
                run.log(log_line("train", run.step, run.fetch(metrics), run.step_seconds(), args.batch_size))
            if run.due(args.write_summary_step):
                run.scalars("train", run.fetch(metrics))
            if run.due(args.test_sample_step):
                started = time.perf_counter()
                accuracy = 1 - count_errors(parts.tested, args, *held_out) / len(held_out[0])
                values = {**run.fetch(metrics), "accuracy": accuracy}  # the losses are the training's
                run.log(log_line("val", run.step, values, time.perf_counter() - started, len(held_out[0])))
                run.scalars("val", {"accuracy": accuracy})
            if run.due(args.output_save_step):
                images = to_uint8(parts.shown(example_latents, training=False), value_range(args))
                run.images("examples", images[:16])
                save_grid(images, run.path("examples", f"step_{run.step:06d}.png"))
            if run.due(args.ckpt_save_step):
                run.save()

        scores, baseline = {}, {}
        if args.evaluate:  # by all workers: the baseline is trained as the model was
            run.save()
            updates = -(-run.step // parts.cycle) if args.baseline_steps is None else args.baseline_steps
            scores, baseline = evaluate_run(args, parts, updates)
            run.log(f"[Info] on {len(loaded.test_images)} held-out images: {scores}; baselines: {baseline}")
        name = f"accuracy on {len(loaded.test_images)} held-out images"
        examples = run.path("examples", f"step_{run.step:06d}.png")  # of the last step, where all is due
        losses = ["train/d_loss", "train/g_loss"]
        result = run.finish(losses, scores, baseline, scores.get("accuracy"), name, examples)
    if args.obs_url and session.chief:
        modelarts.copy_out(args.output_path, args.obs_url)
    return result


def train_splits(args: argparse.Namespace) -> None:
    """`--seeds`: one run after another, each with a split of its own, then the mean and deviation of their errors."""
    if args.seeds == 1:
        train(args)
        return
    errors = []
    for number in range(args.split_seed, args.split_seed + args.seeds):
        folder = os.path.join(args.output_path, f"split_{number}")
        split = argparse.Namespace(**{**vars(args), "split_seed": number, "seed": number, "output_path": folder})
        errors.append(train(split)["metrics"]["errors"])
    notice(f"errors of {args.seeds} splits: {errors}, {np.mean(errors):.1f} +- {np.std(errors):.1f}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(train_splits, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
