"""The training of stage II (Zhang et al., 2017, section 3.4), and of stage I along with it where that is asked for."""

import argparse
from types import SimpleNamespace
from typing import Any, Callable

import losses
import model as models
import tensorflow as tf
from stageI import model as stage1
from stageI.trainer import (
    ADAM,
    augmented,
    discriminator_loss,
    ema_decay,
    generator_loss,
    learning_rate,
    new_discriminator,
    new_generator,
    noise,
    restore,
    weighted_kl,
)
from tensorflow import keras

from common.cli import UserError, notice
from common.layers import moving_statistics, named_variables, update_average
from common.loss_scale import Adam, Optimizer
from common.session import Session
from common.stream import key
from stageII.model import SIZE, build_discriminator, build_generator

SAME = ("gf_dim", "z_dim", "embedding_dim", "network_type", "cond_augmentation")
RANDOM = "random"  # as --ckpt_path: an untrained stage I


class Together(tf.Module):
    """Several Adams, each of a rate of its own, as one: a single backward pass gives the gradients of them all."""

    def __init__(self, adams: dict[str, Adam]) -> None:
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


def optimizer(session: Session, parts: dict[str, tuple[list[keras.Model], Any]]) -> Optimizer:
    """Adam for the networks of one or two stages, each stage with its rate, under one loss scale."""
    made = session.optimizer([network for networks, _ in parts.values() for network in networks], 0.0, **ADAM)
    adams = {}
    for part, (networks, rate) in parts.items():
        variables = {}
        for network in networks:
            variables.update(named_variables(network, trainable_only=True))
        adams[part] = Adam(variables, rate, ADAM["beta_1"])
    made.adam = Together(adams)
    return made


def make_train_step(args, session, generators, discriminators, d_optimizer, g_optimizer, ema=None) -> Callable:
    """One update of each network, of stage I's with `--finetune_lr` alone.

    Takes (images, embedding, classes, step).

    Args:
        generators, discriminators: of stage I and of stage II.
    """
    (generator_1, generator), (discriminator_1, discriminator) = generators, discriminators
    finetune = args.finetune_lr

    def seen(images, name, step):
        return augmented(args, session, images, f"augment_{name}", step)

    def train_step(images, embedding, classes, step):
        eps_1, eps, z = map(session.shard, noise(args, args.batch_size, step))
        random = key("wrong", args.seed, step)
        with tf.GradientTape() as g_tape:  # the only pass of either generator
            small, *condition_1 = generator_1([embedding, eps_1, z], training=finetune)
            fake, *condition = generator(
                [small if finetune else tf.stop_gradient(small), embedding, eps], training=True
            )

        # max_D  E[log D(I, t)] + 1/2 E[log(1 - D(I', t))] + 1/2 E[log(1 - D(G(s0, c), t))], equation 5
        with tf.GradientTape() as d_tape:
            pair = seen(images, "real", step), seen(fake, "fake", step)
            d_terms = discriminator_loss(args, discriminator, *pair, embedding, classes, random)
            d_total = d_terms["d_loss"]
            if finetune:  # and stage I's, equation 3
                pair = seen(losses.shrunk(images, stage1.SIZE), "real_1", step), seen(small, "fake_1", step)
                d_loss_1 = discriminator_loss(args, discriminator_1, *pair, embedding, classes, random)["d_loss"]
                d_total += d_loss_1
        d_optimizer.minimize(d_total, d_tape)

        # min_G  E[-log D(G(s0, c), t)] + lambda KL(N(mu, sigma) || N(0, I)), equation 6, by the D just updated
        with g_tape:
            g_terms = generator_loss(args, discriminator, seen(fake, "generator", step), embedding, *condition)
            if args.coeff_small:
                g_terms["small"] = losses.absolute(losses.shrunk(fake, stage1.SIZE), tf.stop_gradient(small))
                g_terms["g_loss"] += args.coeff_small * g_terms["small"]
            g_total = g_terms["g_loss"]
            if finetune:  # and stage I's, equation 4; s0 is G0's, so that G0 is trained by both
                small = seen(small, "generator_1", step)
                g_loss_1 = generator_loss(args, discriminator_1, small, embedding, *condition_1)["g_loss"]
                g_total += g_loss_1
        g_optimizer.minimize(g_total, g_tape)
        if ema is not None:
            update_average(ema, generator, ema_decay(args, step))
        terms = {**d_terms, **g_terms}
        return {**terms, "stage1_d_loss": d_loss_1, "stage1_g_loss": g_loss_1} if finetune else terms

    return train_step


def make_enlarge_step(args, session, generator, g_optimizer, ema=None) -> Callable:
    """One update of stage II's generator alone, which learns to give real images back from small ones: before there is
    anything that a discriminator could teach it. Takes (images, embedding, classes, step).

    SRGAN's generator begins likewise (Ledig et al., 2017, section 3.2).
    """

    def enlarge_step(images, embedding, classes, step):
        _, eps, _ = map(session.shard, noise(args, args.batch_size, step))
        with tf.GradientTape() as tape:
            made, mean, log_sigma = generator([losses.shrunk(images, stage1.SIZE), embedding, eps], training=True)
            l1 = losses.absolute(made, images)
            g_loss = l1 + weighted_kl(args, mean, log_sigma)
        g_optimizer.minimize(g_loss, tape)
        if ema is not None:
            update_average(ema, generator, ema_decay(args, step))
        return {"d_loss": tf.zeros([]), "g_loss": g_loss, "l1": l1}

    return enlarge_step


def find_stage1(args: argparse.Namespace, embedding_size: int) -> Any:
    """The weights that `--ckpt_path` names.

    Raises:
        UserError: there are none, or their networks are of other widths.
    """
    path = args.pretrained_model
    how = (
        f"Train stage I first: python train.py --stage=1 --data_path={args.data_path} --output_path=DIR, "
        "and give --ckpt_path=DIR here"
    )
    if not path:
        raise UserError(f"--stage=2 begins with a trained stage I, and --ckpt_path names none.\n{how}")
    try:
        found = models.find_weights(path, ("stageI", "stage1"))
    except UserError as error:
        raise UserError(f"--ckpt_path {path}: {error}.\n{how}") from None
    for name in SAME:
        theirs, ours = getattr(found.options, name, None), getattr(args, name)
        if theirs != ours:
            raise UserError(f"--ckpt_path {path}: its --{name} is {theirs}, here it is {ours}; give the same")
    if found.about.get("embedding_size") != embedding_size:
        raise UserError(
            f"--ckpt_path {path}: was trained on embeddings of size {found.about.get('embedding_size')}, those of "
            f"--data_path {args.data_path} have {embedding_size}; use the same data"
        )
    return found


def build(args: argparse.Namespace, session: Session, embedding_size: int, steps_per_epoch: int) -> SimpleNamespace:
    """The networks, their optimizers and one update of them.

    Returns: as in stage I; `start()` gives stage I's networks the weights of `--ckpt_path`, or all of them those of a
        stage II.
    Raises:
        UserError: from `start`: there is no trained stage I, or one of other widths.
    """

    def new():
        return build_generator(embedding_size, args.embedding_dim, args.gf_dim, args.cond_augmentation)

    generator_1, generator = new_generator(args, embedding_size), new()
    discriminator_1 = new_discriminator(args, embedding_size) if args.finetune_lr else None
    discriminator = build_discriminator(embedding_size, args.embedding_dim, args.df_dim, args.unconditional > 0)

    def made(rate, networks, networks_1):
        rates = [
            learning_rate(args, x, steps_per_epoch, args.pretrained_epoch) for x in (rate, rate * args.ft_lr_retio)
        ]
        parts = {"stage2": (networks, rates[0]), "stage1": (networks_1, rates[1])}
        return optimizer(session, parts if args.finetune_lr else {"stage2": parts["stage2"]})

    d_optimizer = made(args.discriminator_lr, list(discriminator), list(discriminator_1 or []))
    g_optimizer = made(args.generator_lr, [generator], [generator_1])
    state = {
        "generator": named_variables(generator),
        "discriminator": discriminator.variables,
        "stage1_generator": named_variables(generator_1),
        "d_optimizer": d_optimizer.state,
        "g_optimizer": g_optimizer.state,
    }
    if args.finetune_lr:
        state["stage1_discriminator"] = discriminator_1.variables
    ema = new() if args.ema else None
    if ema is not None:
        state["ema_generator"] = named_variables(ema)
        session.average(moving_statistics(ema))

    def start():
        if args.pretrained_model == RANDOM:
            notice("--ckpt_path=random: stage I is untrained; this is for measuring the speed, the images mean nothing")
        else:
            found = find_stage1(args, embedding_size)
            if found.about["stage"] == 2:
                found.restore(generator_1, "stage1_generator")
                restore(found, generator, discriminator)
            else:
                restore(found, generator_1, discriminator_1)
            notice(f"starting from {found.path}")
        if ema is not None:
            tf.function(lambda: update_average(ema, generator, 0.0))()

    def held_out_terms(images, embedding, classes, step):
        eps_1, eps, z = noise(args, embedding.shape[0], step)
        small, *_ = generator_1([embedding, eps_1, z], training=False)
        fake, *_ = generator([small, embedding, eps], training=False)
        random = key("wrong", args.seed, step)
        return discriminator_loss(args, discriminator, images, fake, embedding, classes, random, training=False)

    step = make_train_step(
        args, session, (generator_1, generator), (discriminator_1, discriminator), d_optimizer, g_optimizer, ema
    )
    return SimpleNamespace(
        size=SIZE,
        generators=(generator_1, ema or generator),
        state=state,
        train_step=step,
        enlarge_step=make_enlarge_step(args, session, generator, g_optimizer, ema),
        held_out_terms=held_out_terms,
        start=start,
    )
