"""The training of stage II (Zhang et al., 2017, section 3.4), and of stage I along with it where that is asked for."""

import argparse
import os
from types import SimpleNamespace
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import tensorflow as tf
from stageI import model as stage1
from stageI.trainer import ADAM, discriminator_loss, generator_loss, learning_rate, networks, noise
from tensorflow import keras

from common.checkpoint import checkpoint_record, load_checkpoint, without_optimizers
from common.cli import UserError
from common.loss_scale import LossScaleOptimizer
from common.optimizer import LearningRate, named_variables
from common.session import Session, notice
from stageII.model import SIDE, build_discriminator, build_generator

SAME = ("gf_dim", "df_dim", "z_dim", "embedding_dim", "network_type", "cond_augmentation")
RANDOM = "random"  # as --ckpt_path: an untrained stage I


class Together(tf.Module):
    """Several Adams, each of a rate of its own, as one: a single backward pass gives the gradients of them all.

    Args:
        adams: by the names that their parts of the state get.
    """

    def __init__(self, adams: dict) -> None:
        super().__init__(name="together")
        self.adams = adams
        self.variables_by_name = {
            f"{part}/{name}": variable
            for part, adam in adams.items()
            for name, variable in adam.variables_by_name.items()
        }

    @property
    def state(self) -> dict[str, object]:
        """What a checkpoint holds of them."""
        return {part: adam.state for part, adam in self.adams.items()}

    def apply(self, gradients) -> None:
        """One update of each by the gradients, which stand in the variables' order."""
        for adam in self.adams.values():
            count = len(adam.variables_by_name)
            adam.apply(gradients[:count])
            gradients = gradients[count:]


def optimizer(session: Session, parts: dict[str, tuple[keras.Model, LearningRate]]) -> LossScaleOptimizer:
    """Adam for several networks, each with its rate, under one loss scale."""
    single = {part: session.optimizer(network, rate, **ADAM) for part, (network, rate) in parts.items()}
    together = Together({part: one.adam for part, one in single.items()})
    return LossScaleOptimizer(together, next(iter(single.values())).loss_scale, session)


def make_train_step(args, generators, discriminators, d_optimizer, g_optimizer) -> Callable:
    """One update of each network, of stage I's with `--finetune_lr` alone.

    Takes (real pictures, pictures of another class, embedding, step).

    Args:
        generators, discriminators: of stage I and of stage II.
    """
    (generator_1, generator), (discriminator_1, discriminator) = generators, discriminators
    finetune = args.finetune_lr

    def train_step(real, wrong, embedding, step):
        eps_1, eps, z = noise(args, step)
        with tf.GradientTape() as g_tape:  # the only pass of either generator
            small, *condition_1 = generator_1([embedding, eps_1, z], training=finetune)
            fake, *condition = generator(
                [small if finetune else tf.stop_gradient(small), embedding, eps], training=True
            )

        # max_D  E[log D(I, t)] + 1/2 E[log(1 - D(I', t))] + 1/2 E[log(1 - D(G(s0, c), t))], equation 5
        with tf.GradientTape() as d_tape:
            d_loss = d_total = discriminator_loss(args, discriminator, real, wrong, fake, embedding)
            if finetune:  # and stage I's, equation 3
                shrunk = [tf.nn.avg_pool2d(x, SIDE // stage1.SIDE, SIDE // stage1.SIDE, "VALID") for x in (real, wrong)]
                d_loss_1 = discriminator_loss(args, discriminator_1, *shrunk, small, embedding)
                d_total = d_loss + d_loss_1
        d_optimizer.minimize(d_total, d_tape)

        # min_G  E[-log D(G(s0, c), t)] + lambda KL(N(mu, sigma) || N(0, I)), equation 6, by the D just updated
        with g_tape:
            g_loss, kl = generator_loss(args, discriminator, fake, embedding, *condition)
            g_total = g_loss
            if finetune:  # and stage I's, equation 4; s0 is G0's, so that G0 is trained by both
                g_loss_1, _ = generator_loss(args, discriminator_1, small, embedding, *condition_1)
                g_total = g_loss + g_loss_1
        g_optimizer.minimize(g_total, g_tape)
        metrics = {"d_loss": d_loss, "g_loss": g_loss, "kl": kl}
        return {**metrics, "stage1_d_loss": d_loss_1, "stage1_g_loss": g_loss_1} if finetune else metrics

    return train_step


def find_stage1(args: argparse.Namespace, embedding_size: int) -> Optional[tuple[str, int]]:
    """The checkpoint that `--ckpt_path` names and its stage, or None of an untrained one.

    Raises:
        UserError: there is none, or its networks are of other widths.
    """
    path = args.pretrained_model
    if path == RANDOM:
        notice("--ckpt_path=random: stage I is untrained; this is for measuring the speed, the pictures mean nothing")
        return None
    how = (
        f"Train stage I first: python train.py --stage=1 --data_path={args.data_path} --output_path=DIR, "
        "and give --ckpt_path=DIR here"
    )
    if not path:
        raise UserError(f"--stage=2 begins with a trained stage I, and --ckpt_path names none.\n{how}")
    if os.path.isdir(os.path.join(path, "stageI", "checkpoints")):  # of train.py --stage=both
        path = os.path.join(path, "stageI")
    try:
        record = checkpoint_record(path)
    except UserError as error:
        raise UserError(f"--ckpt_path {path}: {error}.\n{how}") from None
    about, options = record["about"], record["options"]
    if about.get("network") != "StackGAN":
        raise UserError(f"--ckpt_path {path}: is no checkpoint of StackGAN.\n{how}")
    for name in SAME:
        theirs, ours = getattr(options, name, None), getattr(args, name)
        if theirs != ours:
            raise UserError(f"--ckpt_path {path}: its --{name} is {theirs}, here it is {ours}; give the same")
    if about.get("embedding_size") != embedding_size:
        raise UserError(
            f"--ckpt_path {path}: was trained on embeddings of {about.get('embedding_size')} numbers, those of "
            f"--data_path {args.data_path} have {embedding_size}; use the same data"
        )
    return path, about.get("stage")


def prepare(args: argparse.Namespace, session: Session, embedding_size: int, steps_per_epoch: int) -> SimpleNamespace:
    """The networks, their optimizers and one update of them; stage I's have the weights of `--ckpt_path`.

    Returns: `side` of the pictures, `generators` (stage I's, stage II's), `state` (what a checkpoint holds) and
        `train_step`.
    Raises:
        UserError: there is no trained stage I, or one of other widths.
    """
    found = find_stage1(args, embedding_size) if session.chief else None  # the other workers get its weights
    generator_1, discriminator_1 = networks(args, embedding_size)
    generator = build_generator(embedding_size, args.embedding_dim, args.gf_dim, args.cond_augmentation)
    discriminator = build_discriminator(embedding_size, args.embedding_dim, args.df_dim)

    def made(rate, network, network_1):
        rates = [
            learning_rate(args, x, steps_per_epoch, args.pretrained_epoch) for x in (rate, rate * args.ft_lr_retio)
        ]
        parts = {"stage2": (network, rates[0]), "stage1": (network_1, rates[1])}
        return optimizer(session, parts if args.finetune_lr else {"stage2": parts["stage2"]})

    d_optimizer = made(args.discriminator_lr, discriminator, discriminator_1)
    g_optimizer = made(args.generator_lr, generator, generator_1)
    state = {
        "generator": named_variables(generator),
        "discriminator": named_variables(discriminator),
        "stage1_generator": named_variables(generator_1),
        "stage1_discriminator": named_variables(discriminator_1),
        "d_optimizer": d_optimizer.state,
        "g_optimizer": g_optimizer.state,
    }
    if found:
        path, stage = found
        of_stage1 = {name: state[f"stage1_{name}"] for name in ("generator", "discriminator")}
        trained = of_stage1 if stage == 1 else without_optimizers(state)
        notice(f"starting from {load_checkpoint(path, **trained)}")
    generators, discriminators = (generator_1, generator), (discriminator_1, discriminator)
    return SimpleNamespace(
        side=SIDE,
        generators=generators,
        state=state,
        train_step=make_train_step(args, generators, discriminators, d_optimizer, g_optimizer),
    )
