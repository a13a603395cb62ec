"""The training of stage I (Zhang et al., 2017, section 3.3): its losses, its step, its networks and optimizers."""

import argparse
from types import SimpleNamespace
from typing import Callable, Optional

import _path  # noqa: F401  (finds ../common)
import losses
import tensorflow as tf
from tensorflow import keras

from common import workers
from common.checkpoint import load_checkpoint, without_optimizers
from common.optimizer import LearningRate, named_variables
from common.session import Session, notice
from stageI.model import SIDE, build_discriminator, build_generator

LOSS_SCALE = {"init_scale": 2.0**16, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.5}
ADAM = {"beta_1": 0.5, "loss_scale": LOSS_SCALE}  # scaled in float16 alone


def noise(args: argparse.Namespace, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A step's random numbers, a function of (seed, step) alone: eps of stage I and of stage II from a truncated normal
    [batch, condition], and z from a normal [batch, z_dim]; of several workers each has its rows."""
    first, second, third = (tf.stack([4 * args.seed + i, tf.cast(step, tf.int32)]) for i in range(3))
    size = [args.batch_size, args.embedding_dim]
    # By the inverse of the distribution function, since an Ascend 910 has no sampler for the truncated normal.
    cut = 0.02275013  # the share of a normal distribution below -2
    eps, eps_2 = (tf.math.ndtri(tf.random.stateless_uniform(size, key, cut, 1 - cut)) for key in (first, second))
    z = tf.random.stateless_normal([args.batch_size, args.z_dim], third)
    return workers.part(eps), workers.part(eps_2), workers.part(z)


def verdicts(args, discriminator: keras.Model, real, wrong, fake, embedding) -> list[Optional[tf.Tensor]]:
    """Logits of real, wrong and drawn pictures beside the same texts; without `--b_wrong` the second is None.

    All are in one batch: normalised by themselves, drawn pictures could be of any brightness and contrast.
    """
    pictures = [real, wrong, fake] if args.b_wrong else [real, fake]
    count = len(pictures)
    logits = discriminator([tf.concat(pictures, 0), tf.concat([embedding] * count, 0)], training=True)
    first, *middle, last = tf.split(logits, count)
    return [first, *(middle or [None]), last]


def discriminator_loss(args, discriminator: keras.Model, real, wrong, fake, embedding) -> tf.Tensor:
    """Equations 3 and 5, negated; `fake` is taken as it is."""
    return losses.discriminator(*verdicts(args, discriminator, real, wrong, tf.stop_gradient(fake), embedding))


def generator_loss(args, discriminator: keras.Model, fake, embedding, mean, log_sigma) -> tuple[tf.Tensor, tf.Tensor]:
    """Equations 4 and 6, and their part of the KL divergence alone.

    The discriminator normalises as it did in `verdicts`: drawn pictures are judged as among real ones, though no others
    have to pass it here.
    """
    adversarial = losses.adversarial(discriminator([fake, embedding], training=False))
    kl = args.coeff_kl * losses.kl_divergence(mean, log_sigma) if args.cond_augmentation else tf.zeros([])
    return adversarial + kl, kl


def make_train_step(args, generator, discriminator, d_optimizer, g_optimizer) -> Callable:
    """One update of each network. Takes (real pictures, pictures of another class, embedding, step)."""

    def train_step(real, wrong, embedding, step):
        eps, _, z = noise(args, step)
        with tf.GradientTape() as g_tape:
            fake, mean, log_sigma = generator([embedding, eps, z], training=True)  # the only pass of the generator

        # max_D0  E[log D0(I0, t)] + 1/2 E[log(1 - D0(I', t))] + 1/2 E[log(1 - D0(G0(z, c0), t))], equation 3
        with tf.GradientTape() as d_tape:
            d_loss = discriminator_loss(args, discriminator, real, wrong, fake, embedding)
        d_optimizer.minimize(d_loss, d_tape)

        # min_G0  E[-log D0(G0(z, c0), t)] + lambda KL(N(mu0, sigma0) || N(0, I)), equation 4, by the D0 just updated
        with g_tape:
            g_loss, kl = generator_loss(args, discriminator, fake, embedding, mean, log_sigma)
        g_optimizer.minimize(g_loss, g_tape)
        return {"d_loss": d_loss, "g_loss": g_loss, "kl": kl}

    return train_step


def learning_rate(args: argparse.Namespace, rate: float, steps_per_epoch: int, first_epoch: int = 0) -> LearningRate:
    """`rate`, halved at each epoch that is a multiple of `--lr_decay_epoch`, but not at the first one."""
    every = args.lr_decay_epoch

    def after(updates):
        epoch = first_epoch + updates // steps_per_epoch
        return rate * 0.5 ** tf.cast(epoch // every - first_epoch // every, tf.float32)

    return after


def networks(args: argparse.Namespace, embedding_size: int) -> tuple[keras.Model, keras.Model]:
    """The generator and the discriminator that the options ask for."""
    generator = build_generator(
        embedding_size, args.embedding_dim, args.z_dim, args.gf_dim, args.network_type, args.cond_augmentation
    )
    return generator, build_discriminator(embedding_size, args.embedding_dim, args.df_dim, args.network_type)


def prepare(args: argparse.Namespace, session: Session, embedding_size: int, steps_per_epoch: int) -> SimpleNamespace:
    """The networks, their optimizers and one update of them; they begin with what `--ckpt_path` holds, if given.

    Returns: `side` of the pictures, `generators` (stage I's, stage II's or None), `state` (what a checkpoint holds) and
        `train_step`.
    """
    generator, discriminator = networks(args, embedding_size)
    d_rate, g_rate = (learning_rate(args, rate, steps_per_epoch) for rate in (args.discriminator_lr, args.generator_lr))
    d_optimizer = session.optimizer(discriminator, d_rate, **ADAM)
    g_optimizer = session.optimizer(generator, g_rate, **ADAM)
    state = {
        "generator": named_variables(generator),
        "discriminator": named_variables(discriminator),
        "d_optimizer": d_optimizer.state,
        "g_optimizer": g_optimizer.state,
    }
    if args.pretrained_model and session.chief:  # the other workers get its weights
        notice(f"starting from {load_checkpoint(args.pretrained_model, **without_optimizers(state))}")
    return SimpleNamespace(
        side=SIDE,
        generators=(generator, None),
        state=state,
        train_step=make_train_step(args, generator, discriminator, d_optimizer, g_optimizer),
    )
