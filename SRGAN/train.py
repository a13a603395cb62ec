r"""Trains SRGAN: "Photo-Realistic Single Image Super-Resolution Using a GAN" (Ledig et al., 2017, arXiv 1609.04802).

python SRGAN/sample_data.py --output_path=photographs
python SRGAN/train.py --data_path=photographs --phase=srresnet --crop=48 --blocks=4 --channels=32 --batch_size=8 \
    --learning_rate=1e-3 --train_steps=1500                       two minutes on a CPU: 0.8 dB better than bicubic
python SRGAN/train.py --data_path=DIV2K --vgg19_weights=vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5
"""

import argparse
import math
import os
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import checkpoint
import evaluate
import losses
import numpy as np
import tensorflow as tf
from data import DEGRADATIONS, Crops, batches, lr_file, split
from model import BUILD, SCALES, UPSAMPLINGS, build_discriminator, generator_for

from common import cli
from common.cli import UserError, notice
from common.config import add_session_flags, session_config
from common.images import save_grid
from common.layers import moving_statistics, named_variables, update_average
from common.run import Run, add_run_flags, claim
from common.run_folder import write_whole
from common.session import open_session, set_seed
from common.stream import key
from common.vgg19 import VGG19_FILE, add_vgg19_flag, find_vgg19

LOSS_SCALE = {"init_scale": 2.0**16, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.5}
EXAMPLES = 3  # held-out images on a sheet
HERE = Path(__file__).resolve().parent


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags, those of the original under their names."""
    parser = cli.ArgumentParser(description=__doc__)
    count, rate, share = cli.in_range(int, 1), cli.in_range(float, 0), cli.in_range(float, 0, 1)

    group = parser.add_argument_group("data")
    group.add_argument("--data_path", "--input_dir", "-i", required=True, metavar="DIR", help="images of any size")
    group.add_argument("--degradation", choices=DEGRADATIONS, default="bicubic", help="photo: blur, noise, JPEG too")
    group.add_argument("--lr_path", metavar="DIR", help="your own lr images, of the names that --data_path has")
    group.add_argument("--crop", type=count, default=192, help="height and width of hr crops, a multiple of --scale")
    group.add_argument("--number_of_images", "-n", type=count, default=8000, help="use at most so many")
    group.add_argument("--train_test_ratio", "-r", type=share, default=0.8, help="how many of them to train on")

    group = parser.add_argument_group("model")
    group.add_argument("--scale", type=int, choices=SCALES, default=4, help="how many times larger")
    group.add_argument("--upsampling", choices=UPSAMPLINGS, default="shuffle", help="resize: as the ModelZoo's code")
    group.add_argument("--blocks", type=count, default=16, help="residual blocks")
    group.add_argument("--channels", type=count, default=64, help="of the networks' first layers")
    add_vgg19_flag(group, "of the content loss; none: it compares pixels")

    group = parser.add_argument_group("optimisation")
    group.add_argument("--phase", choices=["srresnet", "srgan", "both"], default="both", help="what to train")
    group.add_argument("--pretrained", metavar="PATH", help="begin with this generator: a run or gen_model<epoch>.h5")
    group.add_argument("--train_epochs", "--epochs", "-e", type=count, help="epochs, overrides --train_steps (500)")
    group.add_argument("--train_steps", type=count, help="steps")
    group.add_argument("--pretrain_share", type=share, default=0.2, help="both: SRResNet's share of the steps")
    group.add_argument("--batch_size", "-b", type=count, default=16, help="crops a step")
    group.add_argument("--learning_rate", type=rate, default=1e-4, help="a tenth of it in SRGAN's second half")
    group.add_argument("--warmup_steps", type=cli.in_range(int, 0), default=0, help="of SRResNet's learning rate")
    group.add_argument("--schedule", choices=["constant", "cosine"], default="constant", help="of that rate after it")
    text = "decay of an average of the generator, which is evaluated and used; 0: off, 0.999 is usual"
    group.add_argument("--ema", type=cli.in_range(float, 0, 0.999999), default=0.0, help=text)
    group.add_argument("--frozen_bn_share", type=share, default=0.25, help="last part of SRResNet: fixed batch norm")
    group.add_argument("--adversarial_weight", type=rate, default=1e-3, help="of equation 3")
    group.add_argument("--label_smoothing", type=cli.in_range(float, 0, 0.5), default=0.2, help="of the discriminator")

    group = add_run_flags(parser, str(HERE / "train_dir"))
    group.add_argument("--output_dir", "-o", dest="output_path", default=argparse.SUPPRESS, help="the same")
    group.add_argument("--model_save_dir", "-m", metavar="DIR", help="where .h5 models go (<output_path>/model)")
    group.add_argument("--model_save_freq", type=count, default=50, help="epochs: .h5 models, and after the last")
    group.add_argument("--log_step", type=count, default=50, help="TensorBoard, every so many steps")
    group.add_argument("--save_step", type=count, default=500, help="a checkpoint and a sheet of examples")
    add_session_flags(parser, precision_mode="allow_mix_precision")
    args = parser.parse_args(argv)

    if args.crop % args.scale:
        parser.error(f"--crop {args.crop} is no multiple of --scale {args.scale}")
    if args.lr_path and args.degradation != "bicubic":
        parser.error("--lr_path gives the lr images, so --degradation has none to make; leave one of them out")
    if args.train_steps is None and args.train_epochs is None:
        args.train_epochs = 500
    return args


def frozen_bn_steps(args: argparse.Namespace, pretraining: int, total_steps: int) -> tuple[int, int]:
    """The steps from which batch norm is frozen in SRResNet's phase and in SRGAN's; a pretrained one's always is."""
    thawed = 0.0 if pretraining or args.pretrained else 1 - args.frozen_bn_share
    return int((1 - args.frozen_bn_share) * pretraining), pretraining + int(thawed * (total_steps - pretraining))


def srresnet_rate(args: argparse.Namespace, steps: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """SRResNet's learning rate, a function of the updates done: up in `--warmup_steps`, then by `--schedule`."""

    def learning_rate(updates):
        done = tf.cast(updates, tf.float32)
        factor = tf.minimum(1.0, (done + 1) / max(1, args.warmup_steps))
        if args.schedule == "cosine":
            factor *= 0.5 * (1 + tf.cos(math.pi * tf.minimum(1.0, done / steps)))
        return args.learning_rate * factor

    return learning_rate


def srgan_rate(args: argparse.Namespace, steps: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """SRGAN's learning rate: in the second half of its steps a tenth of the first's (section 3.2)."""
    return lambda updates: args.learning_rate * tf.where(tf.cast(updates, tf.float32) < steps / 2, 1.0, 0.1)


def content_features(args: argparse.Namespace) -> Callable[[tf.Tensor], tf.Tensor]:
    """The function of images in -1..1 whose results the content loss compares: VGG19's features, or the pixels.

    Raises:
        UserError: there is no file of weights, and neither random nor none was asked for.
    """
    places = [os.path.join(folder, "h5", VGG19_FILE) for folder in (args.data_path, HERE)]
    without = "the content loss compares pixels; expect blur"
    vgg19 = find_vgg19(args.vgg19_weights, places, ["block5_conv4"], without, ", or --phase=srresnet")
    return (lambda images: losses.features(vgg19, (images + 1) * 127.5)) if vgg19 else lambda images: images


def to_network(images: tf.Tensor) -> tf.Tensor:
    """uint8 images as float32 in -1..1."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def make_pretrain_step(args: argparse.Namespace, parts: SimpleNamespace, optimizer, frozen_bn: bool) -> Callable:
    """One update of SRResNet. Takes (lr, hr, step).

    Args:
        parts: of the run, as `prepare` names them.
        frozen_bn: the generator is normalised by its moving averages, as it is when it is used, not by the batch. One
            that is trained by batches to the end makes single images too bright or too dark, a loss of 1 dB.
    """

    def pretrain_step(lr, hr, step):
        # min_G  E[(hr - G(lr))^2], equation 4
        lr, hr = to_network(lr), to_network(hr)
        with tf.GradientTape() as tape:
            content = losses.content(hr, parts.generator(lr, training=not frozen_bn))
        optimizer.minimize(content, tape)
        if parts.ema is not None:
            update_average(parts.ema, parts.generator, args.ema, step)
        return {"g_loss": content, "content_loss": content, "adversarial_loss": tf.zeros([]), "d_loss": tf.zeros([])}

    return pretrain_step


def make_train_step(
    args: argparse.Namespace, parts: SimpleNamespace, features: Callable, d_optimizer, g_optimizer, frozen_bn: bool
) -> Callable:
    """One update of each network. Takes (lr, hr, step); `parts` and `frozen_bn` as in SRResNet's."""

    def train_step(lr, hr, step):
        lr, hr = to_network(lr), to_network(hr)
        with tf.GradientTape() as g_tape:
            sr = parts.generator(lr, training=not frozen_bn)  # the only pass of the generator

        # max_D  E[log D(hr)] + E[log(1 - D(G(lr)))], equation 2, with smoothed labels
        shape, seed = [2, args.batch_size, 1], key("label_noise", args.seed, step)
        noise = tf.random.stateless_uniform(shape, seed, 0.0, args.label_smoothing)
        hr_noise, sr_noise = (parts.session.shard(rows) for rows in tf.unstack(noise))
        with tf.GradientTape() as d_tape:
            hr_logits = parts.discriminator(hr, training=True)
            sr_logits = parts.discriminator(tf.stop_gradient(sr), training=True)
            d_loss = losses.discriminator(hr_logits, sr_logits, 1.0 - hr_noise, sr_noise)
        d_optimizer.minimize(d_loss, d_tape)

        # min_G  content + 1e-3 E[-log D(G(lr))], equation 3, by the discriminator just updated
        target = features(hr)
        with g_tape:
            content = losses.content(target, features(sr))
            adversarial = losses.adversarial(parts.discriminator(sr, training=True))
            g_loss = losses.perceptual(content, adversarial, args.adversarial_weight)
        g_optimizer.minimize(g_loss, g_tape)
        if parts.ema is not None:
            update_average(parts.ema, parts.generator, args.ema, step)
        return {"g_loss": g_loss, "content_loss": content, "adversarial_loss": adversarial, "d_loss": d_loss}

    return train_step


def prepare(args: argparse.Namespace) -> SimpleNamespace:
    """Everything a run needs: the device, the data, the networks, their optimizers and one update of them.

    Returns: `session`, `crops`, `val_files`, `generator`, `ema` (or None), `used` (the one of these that is measured),
        `discriminator` (or None), `state` (what a checkpoint holds), `steps_per_epoch`, `total_steps`, `pretraining`
        (how many of them are SRResNet's) and `update(batch, step) -> named scalars`.
    """
    parts = SimpleNamespace(session=open_session(session_config(args)), discriminator=None)
    set_seed(args.seed)
    train_files, parts.val_files = split(args)
    parts.crops, found = Crops(args, train_files), len(train_files) + len(parts.val_files)
    notice(f"{args.data_path}: {len(train_files)} images to train on, {len(parts.val_files)} held out")
    if found < args.number_of_images:
        notice(f"--number_of_images {args.number_of_images}: there are {found}, and all are used")
    if parts.crops.small:
        notice(f"{parts.crops.small} images smaller than {args.crop}: mirrored to that size")
    parts.steps_per_epoch = len(train_files) // args.batch_size
    parts.total_steps = args.train_epochs * parts.steps_per_epoch if args.train_epochs else args.train_steps
    pretrain_share = {"srresnet": 1.0, "srgan": 0.0, "both": args.pretrain_share}[args.phase]
    parts.pretraining = int(pretrain_share * parts.total_steps)

    parts.generator, parts.ema = generator_for(args), generator_for(args) if args.ema else None
    parts.used = parts.ema or parts.generator
    parts.state = {"generator": named_variables(parts.generator)}
    if parts.ema is not None:
        parts.state["ema_generator"] = named_variables(parts.ema)
        parts.session.average(moving_statistics(parts.ema))
    optimizer = partial(parts.session.optimizer, loss_scale=LOSS_SCALE)  # scaled in float16 alone
    updates = [[], []]  # of SRResNet and of SRGAN, each without and with frozen batch norm
    if parts.pretraining:
        adam = optimizer(parts.generator, srresnet_rate(args, parts.pretraining))
        parts.state["pretrain_optimizer"] = adam.state
        updates[0] = [make_pretrain_step(args, parts, adam, frozen) for frozen in (False, True)]
    if parts.pretraining < parts.total_steps:
        features = content_features(args)
        parts.discriminator = build_discriminator(args.crop, args.channels)
        learning_rate = srgan_rate(args, parts.total_steps - parts.pretraining)
        adams = [optimizer(network, learning_rate) for network in (parts.discriminator, parts.generator)]
        updates[1] = [make_train_step(args, parts, features, *adams, frozen) for frozen in (False, True)]
        parts.state["discriminator"] = named_variables(parts.discriminator)
        parts.state["d_optimizer"], parts.state["g_optimizer"] = (adam.state for adam in adams)
    updates = [[parts.session.compile(step) for step in phase] for phase in updates]
    frozen_from = frozen_bn_steps(args, parts.pretraining, parts.total_steps)

    def update(batch, step):
        phase = int(step >= parts.pretraining)
        return updates[phase][step >= frozen_from[phase]](*batch, tf.constant(step))

    parts.update = update
    return parts


def start_from_pretrained(args: argparse.Namespace, parts: SimpleNamespace) -> None:
    """Gives the generator `--pretrained`'s weights.

    Raises:
        UserError: it cannot be used, or is of another shape than the flags say.
    """
    weights = checkpoint.load_weights(args.pretrained)
    for name in BUILD:
        theirs, here = getattr(weights.options, name, None), getattr(args, name)
        if theirs != here:
            raise UserError(
                f"--pretrained {args.pretrained}: its --{name} is {theirs}, here it is {here}; give the same"
            )
    weights.restore(parts.generator)
    notice(f"--pretrained: beginning with the generator of {weights.path}")


def write_losses(path: Path, epoch: int, d_loss: float, gan_loss: Sequence[float]) -> None:
    """The original's losses.txt: a line an epoch. Lines that a run wrote before it was killed are written anew."""
    lines = path.read_text().splitlines()[: epoch - 1] if path.exists() else []
    lines.append(f"epoch{epoch} : gan_loss = {gan_loss} ; discriminator_loss = {d_loss}")
    write_whole(str(path), "\n".join(lines) + "\n")


def train(args: argparse.Namespace) -> dict[str, Any]:
    """One run. Returns what `result.json` holds."""
    claimed = claim(args, "SRGAN", may_change=("model_save_dir", "pretrained"))
    if claimed.finished:
        return claimed.finished
    parts = prepare(args)
    per_epoch = parts.steps_per_epoch
    used = checkpoint.from_generator(parts.used, args, args.output_path, parts.session.device)
    examples, sheet = [(lr, hr) for _, lr, hr in islice(evaluate.pairs(args, parts.val_files), EXAMPLES)], None
    files = [*parts.crops.files, *parts.val_files]
    files += [lr_file(args, path) for path in files] if args.lr_path else []
    start = partial(start_from_pretrained, args, parts) if args.pretrained else None
    about = {"data": os.path.basename(os.path.abspath(args.data_path))}  # in words, for the page and the model's card

    with Run(claimed, parts.session, parts.total_steps, parts.state, about=about, data=files, start=start) as run:
        models = Path(args.model_save_dir or run.path("model"))
        before = sorted(models.glob("gen_model*.h5"))
        if args.model_save_dir and before and run.chief and run.step == 0:
            raise UserError(f"--model_save_dir {models} holds {before[0].name} already; name another folder")
        stream = batches(args, parts.crops, parts.session, run.step)
        for step in run.steps():
            if step % per_epoch == 0:
                run.log(f"--------------- Epoch {step // per_epoch + 1} ---------------")
            metrics = parts.update(next(stream), step)
            run.end_step(metrics)
            epoch = math.ceil(run.step / per_epoch)

            if run.due(args.log_step):
                run.scalars("train", run.fetch(metrics))
            if run.due(per_epoch):
                values = run.fetch(metrics)
                gan_loss = [values[name] for name in ("g_loss", "content_loss", "adversarial_loss")]
                run.log(f"discriminator_loss : {values['d_loss']:f}")
                run.log(f"gan_loss : {gan_loss}")
                write_losses(Path(run.path("losses.txt")), epoch, values["d_loss"], gan_loss)
            if run.due(args.save_step):
                rows = evaluate.example_rows(used, examples, args.crop // args.scale)
                sheet = save_grid(np.concatenate(rows)[None], run.path("examples", f"step_{run.step:07d}.png"))
                run.images("examples", rows)
                run.save()
            if run.due(args.model_save_freq * per_epoch):
                run.save()  # so that no .h5 model is of a run that would begin again
                for name, network in (("gen", parts.used), ("dis", parts.discriminator)):
                    if network is not None:
                        checkpoint.save_h5(models / f"{name}_model{epoch}.h5", network, args)

        scores, baselines = {}, {}
        if args.evaluate and run.chief:
            sets, data = {"held-out": (args, parts.val_files)}, os.path.abspath(args.data_path)
            found = evaluate.measure_sets(used, sets, run.path("evaluation"), data=data)["sets"]["held-out"]
            both = (found["metrics"][method] for method in ("model", "bicubic"))
            scores, baselines = ({**means, "images": found["images"]} for means in both)
        name = f"SSIM of Y on {scores.get('images', 0)} held-out images"
        losses_told = ["train/d_loss", "train/g_loss"]
        return run.finish(losses_told, scores, baselines, scores.get("ssim_y"), name, sheet)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(train, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
