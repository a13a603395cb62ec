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
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import checkpoint
import evaluate
import losses
import tensorflow as tf
from data import DEGRADATIONS, Crops, batches, lr_file, split
from model import BUILD, SCALES, UPSAMPLINGS, build_discriminator, generator_for, load_generator
from outputs import example_saver, models_folder, save_models, write_losses

from common import cli
from common.cli import UserError, notice
from common.layers import moving_statistics, named_variables, update_average
from common.run import Run, add_run_flags, claim
from common.session import Session, add_session_flags, open_session, session_config, set_seed
from common.stream import key
from common.vgg19 import VGG19_FILE, add_vgg19_flag, find_vgg19, vgg19_input

FEATURE_SCALE = 1 / 12.75  # section 3.2, of VGG19's features
LOSS_SCALE = {"init_scale": 2.0**16, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.5}
HERE = Path(__file__).resolve().parent


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """The flags, those of the original under their names."""
    parser = cli.ArgumentParser(description=__doc__)
    count, rate, share = cli.in_range(int, 1), cli.in_range(float, 0), cli.in_range(float, 0, 1)

    group = parser.add_argument_group("data")
    group.add_argument("--data_path", "--input_dir", "-i", required=True, metavar="DIR", help="images of any size")
    text = "what lr is made by: bicubic, or a chain of blur, noise and JPEG for real photographs"
    group.add_argument("--degradation", choices=DEGRADATIONS, default="bicubic", help=text)
    group.add_argument("--lr_path", metavar="DIR", help="your own lr images, of the names that --data_path has")
    group.add_argument("--crop", type=count, default=192, help="height and width of hr crops, a multiple of --scale")
    group.add_argument("--number_of_images", "-n", type=count, default=8000, help="use at most so many")
    group.add_argument("--train_test_ratio", "-r", type=share, default=0.8, help="how many of them to train on")

    group = parser.add_argument_group("model")
    group.add_argument("--scale", type=int, choices=SCALES, default=4, help="how many times larger")
    text = "the paper's pixel shuffle, or the ModelZoo code's nearest neighbours"
    group.add_argument("--upsampling", choices=UPSAMPLINGS, default="shuffle", help=text)
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
    text = "steps over which SRResNet's learning rate rises to it"
    group.add_argument("--warmup_steps", type=cli.in_range(int, 0), default=0, help=text)
    text = "SRResNet's learning rate: the paper's, or down to 0 at the end of the phase"
    group.add_argument("--schedule", choices=["constant", "cosine"], default="constant", help=text)
    text = "decay of an average of the generator, which is evaluated and used; 0: off, 0.999 is usual"
    group.add_argument("--ema", type=cli.in_range(float, 0, 0.999999), default=0.0, help=text)
    text = "the last part of SRResNet's phase, in which batch norm uses its moving averages"
    group.add_argument("--frozen_bn_share", type=share, default=0.25, help=text)
    group.add_argument("--adversarial_weight", type=rate, default=1e-3, help="of equation 3")
    group.add_argument("--label_smoothing", type=cli.in_range(float, 0, 0.5), default=0.2, help="of the discriminator")

    group = add_run_flags(parser, str(HERE / "train_dir"))
    text = "the ModelZoo README's name of --output_path"
    group.add_argument("--output_dir", "-o", dest="output_path", default=argparse.SUPPRESS, help=text)
    group.add_argument("--model_save_dir", "-m", metavar="DIR", help="where .h5 models go (<output_path>/model)")
    group.add_argument("--model_save_freq", type=count, default=50, help="epochs: .h5 models, and after the last")
    group.add_argument("--log_step", type=count, default=50, help="TensorBoard, every so many steps")
    group.add_argument("--save_step", type=count, default=500, help="a checkpoint and a sheet of examples")
    add_session_flags(parser, precision_mode="allow_mix_precision")
    args = parser.parse_args(argv)

    if args.crop % args.scale:
        parser.error(f"--crop {args.crop} is no multiple of --scale {args.scale}")
    for flag, folder in (("data_path", args.data_path), ("lr_path", args.lr_path)):
        if folder and not os.path.isdir(folder):
            parser.error(f"--{flag}: there is no folder {folder}; sample_data.py writes a small set")
    if args.lr_path and args.degradation != "bicubic":
        parser.error("--lr_path gives the lr images, so --degradation has none to make; leave one of them out")
    if args.train_steps is None and args.train_epochs is None:
        args.train_epochs = 500
    return args


def pretraining_steps(args: argparse.Namespace, total_steps: int) -> int:
    """How many of the steps are SRResNet's."""
    return int({"srresnet": 1.0, "srgan": 0.0, "both": args.pretrain_share}[args.phase] * total_steps)


def frozen_bn_steps(args: argparse.Namespace, pretraining: int, total_steps: int) -> tuple[int, int]:
    """The steps from which batch norm is frozen in SRResNet's phase and in SRGAN's; a pretrained one's always is."""
    trained_before = pretraining > 0 or bool(args.pretrained)
    srgan = 0.0 if trained_before else 1 - args.frozen_bn_share
    return int((1 - args.frozen_bn_share) * pretraining), pretraining + int(srgan * (total_steps - pretraining))


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


def content_features(args: argparse.Namespace) -> Optional[Callable[[tf.Tensor], tf.Tensor]]:
    """The function of images whose results the content loss compares: VGG19's features, or None for the pixels.

    Raises:
        UserError: there is no file of weights, and neither random nor none was asked for.
    """
    places = [os.path.join(folder, "h5", VGG19_FILE) for folder in (args.data_path, HERE)]
    without = "the content loss compares pixels; expect blur"
    vgg19 = find_vgg19(args.vgg19_weights, places, ["block5_conv4"], without, ", or --phase=srresnet")
    if vgg19 is None:
        return None
    return lambda images: vgg19(vgg19_input((images + 1) * 127.5), training=False) * FEATURE_SCALE


def to_network(images: tf.Tensor) -> tf.Tensor:
    """uint8 images as float32 in -1..1."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def make_pretrain_step(args, generator, ema, optimizer, frozen_bn: bool = False) -> Callable:
    """One update of SRResNet. Takes (lr, hr, step).

    Args:
        ema: the average of the generator, or None.
        frozen_bn: the generator is normalised by its moving averages, as it is when it is used, not by the batch. One
            that is trained by batches to the end makes single images too bright or too dark, a loss of 1 dB.
    """

    def pretrain_step(lr, hr, step):
        # min_G  E[(hr - G(lr))^2], equation 4
        lr, hr = to_network(lr), to_network(hr)
        with tf.GradientTape() as tape:
            content = losses.content(hr, generator(lr, training=not frozen_bn))
        optimizer.minimize(content, tape)
        if ema is not None:
            update_average(ema, generator, args.ema)
        return {"g_loss": content, "content_loss": content, "adversarial_loss": tf.zeros([]), "d_loss": tf.zeros([])}

    return pretrain_step


def make_train_step(
    args,
    session: Session,
    generator,
    ema,
    discriminator,
    features,
    d_optimizer,
    g_optimizer,
    frozen_bn: bool = False,
) -> Callable:
    """One update of each network. Takes (lr, hr, step); `ema` and `frozen_bn` as in SRResNet's."""

    def train_step(lr, hr, step):
        lr, hr = to_network(lr), to_network(hr)
        with tf.GradientTape() as g_tape:
            sr = generator(lr, training=not frozen_bn)  # the only pass of the generator

        # max_D  E[log D(hr)] + E[log(1 - D(G(lr)))], equation 2, with smoothed labels
        shape, seed = [2, args.batch_size, 1], key("label_noise", args.seed, step)
        noise = tf.random.stateless_uniform(shape, seed, 0.0, args.label_smoothing)
        hr_noise, sr_noise = (session.shard(rows) for rows in tf.unstack(noise))
        with tf.GradientTape() as d_tape:
            hr_logits = discriminator(hr, training=True)
            sr_logits = discriminator(tf.stop_gradient(sr), training=True)
            d_loss = losses.discriminator(hr_logits, sr_logits, 1.0 - hr_noise, sr_noise)
        d_optimizer.minimize(d_loss, d_tape)

        # min_G  content + 1e-3 E[-log D(G(lr))], equation 3, by the discriminator just updated
        target = features(hr) if features else hr
        with g_tape:
            content = losses.content(target, features(sr) if features else sr)
            adversarial = losses.adversarial(discriminator(sr, training=True))
            g_loss = losses.perceptual(content, adversarial, args.adversarial_weight)
        g_optimizer.minimize(g_loss, g_tape)
        if ema is not None:
            update_average(ema, generator, args.ema)
        return {"g_loss": g_loss, "content_loss": content, "adversarial_loss": adversarial, "d_loss": d_loss}

    return train_step


def read_data(args: argparse.Namespace) -> tuple[Crops, list[Path]]:
    """The crops to train on and the files held out; tells how many there are."""
    train_files, val_files = split(args)
    crops, found = Crops(args, train_files), len(train_files) + len(val_files)
    notice(f"{args.data_path}: {len(crops)} images to train on, {len(val_files)} held out")
    if found < args.number_of_images:
        notice(f"--number_of_images {args.number_of_images}: there are {found}, and all are used")
    if crops.small:
        notice(f"{crops.small} images smaller than {args.crop}: mirrored to that size")
    if args.batch_size > len(crops):
        raise UserError(
            f"--batch_size: a batch of {args.batch_size} is larger than the data ({len(crops)} images); "
            "give a smaller one"
        )
    return crops, val_files


def prepare(args: argparse.Namespace) -> SimpleNamespace:
    """Everything a run needs: the device, the data, the networks, their optimizers and one update of them.

    Returns: `session`, `crops`, `val_files`, `generator`, `used` (the generator or its average), `discriminator`,
        `state` (what a checkpoint holds), `steps_per_epoch`, `total_steps`, `batches(start_step)` and
        `update(batch, step) -> named scalars`.
    """
    session = open_session(session_config(args))
    set_seed(args.seed)
    crops, val_files = read_data(args)
    steps_per_epoch = len(crops) // args.batch_size
    total_steps = args.train_epochs * steps_per_epoch if args.train_epochs else args.train_steps
    pretraining = pretraining_steps(args, total_steps)

    generator = generator_for(args)
    state = {"generator": named_variables(generator)}
    ema = generator_for(args) if args.ema else None
    if ema is not None:
        state["ema_generator"] = named_variables(ema)
        for name, variable in state["ema_generator"].items():
            variable.assign(state["generator"][name])
        session.average(moving_statistics(ema))
    adam = {"loss_scale": LOSS_SCALE}  # scaled in float16 alone
    discriminator, updates = None, [[], []]
    if pretraining:
        g_pretrain = session.optimizer(generator, srresnet_rate(args, pretraining), **adam)
        state["pretrain_optimizer"] = g_pretrain.state
        steps = (make_pretrain_step(args, generator, ema, g_pretrain, frozen) for frozen in (False, True))
        updates[0] = [session.compile(step) for step in steps]
    if pretraining < total_steps:
        features = content_features(args)
        discriminator = build_discriminator(args.crop, args.channels)
        learning_rate = srgan_rate(args, total_steps - pretraining)
        d_optimizer, g_optimizer = (session.optimizer(m, learning_rate, **adam) for m in (discriminator, generator))
        networks = (generator, ema, discriminator, features, d_optimizer, g_optimizer)
        updates[1] = [session.compile(make_train_step(args, session, *networks, frozen)) for frozen in (False, True)]
        state.update(discriminator=named_variables(discriminator), d_optimizer=d_optimizer.state)
        state.update(g_optimizer=g_optimizer.state)
    frozen_from = frozen_bn_steps(args, pretraining, total_steps)

    def update(batch, step):
        phase = int(step >= pretraining)
        return updates[phase][step >= frozen_from[phase]](*batch, tf.constant(step))

    return SimpleNamespace(
        session=session,
        crops=crops,
        val_files=val_files,
        generator=generator,
        used=generator if ema is None else ema,
        discriminator=discriminator,
        state=state,
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
        batches=partial(batches, args, crops, session),
        update=update,
    )


def start_from_pretrained(args: argparse.Namespace, parts: SimpleNamespace) -> None:
    """Gives the generator `--pretrained`'s weights.

    Raises:
        UserError: it cannot be used, or is of another shape than the flags say.
    """
    weights = checkpoint.load_weights(args.pretrained)
    values = named_variables(load_generator(weights))
    for name in BUILD:
        if getattr(weights.options, name) != getattr(args, name):
            raise UserError(
                f"--pretrained {args.pretrained}: its --{name} is {getattr(weights.options, name)}, here it is "
                f"{getattr(args, name)}; give the same"
            )
    for network in (parts.generator, parts.used):
        for name, variable in named_variables(network).items():
            variable.assign(values[name])
    notice(f"--pretrained: beginning with the generator of {weights.path}")


def train(args: argparse.Namespace) -> dict[str, Any]:
    """One run. Returns what `result.json` holds."""
    claimed = claim(args, "SRGAN", may_change=("model_save_dir", "pretrained"))
    if claimed.finished:
        return claimed.finished
    parts = prepare(args)
    per_epoch = parts.steps_per_epoch
    used = checkpoint.from_generator(parts.used, args, args.output_path, parts.session.device)
    save_examples = example_saver(args, used, parts.val_files)
    files = [*parts.crops.files, *parts.val_files]
    files += [lr_file(args, path) for path in files] if args.lr_path else []
    start = partial(start_from_pretrained, args, parts) if args.pretrained else None
    about = {"data": os.path.basename(os.path.abspath(args.data_path))}  # in words, for the page and the model's card

    with Run(claimed, parts.session, parts.total_steps, parts.state, about=about, data=files, start=start) as run:
        models, examples = models_folder(args, run), None
        stream = parts.batches(run.step)
        for step in run.steps():
            if step % per_epoch == 0:
                run.log(f"--------------- Epoch {step // per_epoch + 1} ---------------")
            metrics = parts.update(next(stream), step)
            run.end_step(metrics)

            if run.due(args.log_step):
                run.scalars("train", run.fetch(metrics))
            if run.due(per_epoch):
                values = run.fetch(metrics)
                gan_loss = [values[name] for name in ("g_loss", "content_loss", "adversarial_loss")]
                run.log(f"discriminator_loss : {values['d_loss']:f}")
                run.log(f"gan_loss : {gan_loss}")
                write_losses(run.path("losses.txt"), math.ceil(run.step / per_epoch), values["d_loss"], gan_loss)
            if run.due(args.save_step):
                examples = save_examples(run)
                run.save()
            if run.due(args.model_save_freq * per_epoch):
                run.save()  # so that no .h5 model is of a run that would begin again
                save_models(args, models, parts, math.ceil(run.step / per_epoch))

        scores, baselines = {}, {}
        if args.evaluate and run.chief:
            scores, baselines = evaluate.evaluate_run(args, used, parts.val_files, run.path("evaluation"))
            run.log(f"[Info] on the held-out images: {scores}; bicubic: {baselines}")
        name = f"SSIM of Y on {scores.get('images', 0)} held-out images"
        return run.finish(
            ["train/d_loss", "train/g_loss"], scores, baselines, scores.get("ssim_y"), name, examples=examples
        )


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(train, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
