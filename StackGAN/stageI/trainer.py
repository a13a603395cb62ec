"""The training of stage I (Zhang et al., 2017, section 3.3): its networks, their optimizers, and one update of them."""

import argparse
from typing import Any, Callable, NamedTuple, Optional

import tensorflow as tf
from augment import seen
from blocks import Discriminator
from losses import Terms, discriminator_loss, generator_loss
from model import HERE, NETWORK
from tensorflow import keras

from common import weights
from common.cli import UserError, notice
from common.layers import named_variables
from common.loss_scale import LearningRate
from common.session import Session
from common.stream import key
from common.vgg19 import find_vgg19
from stageI.model import SIZE, VGG19_LAYERS, build_discriminator, build_generator

LOSS_SCALE = {"init_scale": 2.0**16, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.5}
ADAM = {"beta_1": 0.5, "loss_scale": LOSS_SCALE}  # scaled in float16 alone
CUT = 0.02275013  # share of a normal distribution below -2


class Parts(NamedTuple):
    """What the loop in train.py needs of a stage.

    Attributes:
        size: of the images.
        stage1_generator: before `generator`, in stage II.
        state: what a checkpoint holds.
        start: gives the networks their first weights.
        train_step: one update of each network: (images, embedding, classes, step) -> named scalars.
        held_out_terms: the terms of the discriminator's loss, of a batch that nothing is trained on.
        enlarge_step: in the place of `train_step` in the first `--enlarge_steps` of stage II.
    """

    size: int
    generator: keras.Model
    state: dict[str, Any]
    start: Callable[[], None]
    train_step: Callable[..., Terms]
    held_out_terms: Callable[..., Terms]
    stage1_generator: Optional[keras.Model] = None
    enlarge_step: Optional[Callable[..., Terms]] = None


def noise(args: argparse.Namespace, n: int, step: tf.Tensor) -> list[tf.Tensor]:
    """A step's noise, a function of (seed, step): eps of stage I and of stage II from a truncated normal [n,
    condition], and z from a normal [n, z_dim]."""
    # By the inverse of the distribution function, since an Ascend 910 has no sampler for the truncated normal.
    keys = (key(purpose, args.seed, step) for purpose in ("eps", "eps_2"))
    eps = [tf.math.ndtri(tf.random.stateless_uniform([n, args.embedding_dim], k, CUT, 1 - CUT)) for k in keys]
    return [*eps, tf.random.stateless_normal([n, args.z_dim], key("z", args.seed, step))]


def first_epoch(args: argparse.Namespace) -> int:
    """The epoch that a stage's own ones are counted from."""
    return args.pretrained_epoch if args.stage == "2" else 0


def learning_rate(args: argparse.Namespace, rate: float, steps_per_epoch: int) -> LearningRate:
    """`rate`, halved at each epoch that is a multiple of `--lr_decay_epoch`, but not at the first one."""
    first, every = first_epoch(args), args.lr_decay_epoch

    def after(updates):
        epoch = first + updates // steps_per_epoch
        return rate * 0.5 ** tf.cast(epoch // every - first // every, tf.float32)

    return after


def open_vgg19(args: argparse.Namespace) -> Optional[keras.Model]:
    """VGG19 as a discriminator looks at its features; None: without.

    Raises:
        UserError: `--vgg19_weights` names no file of them.
    """
    if not args.vgg19_weights:
        return None
    only = "the discriminator looks at images alone"
    return find_vgg19(args.vgg19_weights, [], list(VGG19_LAYERS), only, exact=False)


def build(args: argparse.Namespace, session: Session, embedding_size: int, steps_per_epoch: int) -> Parts:
    """Stage I's networks, their optimizers and what updates them."""
    vgg19 = open_vgg19(args)
    generator, discriminator = build_generator(embedding_size, args), build_discriminator(embedding_size, args, vgg19)
    d_rate, g_rate = (learning_rate(args, rate, steps_per_epoch) for rate in (args.discriminator_lr, args.generator_lr))
    d_optimizer = session.optimizer(list(discriminator), d_rate, **ADAM)
    g_optimizer = session.optimizer([generator], g_rate, **ADAM)
    state = {
        "generator": named_variables(generator),
        "discriminator": discriminator.variables,
        "d_optimizer": d_optimizer.state,
        "g_optimizer": g_optimizer.state,
    }

    def train_step(images, embedding, classes, step) -> Terms:
        eps, _, z = map(session.shard, noise(args, args.batch_size, step))
        with tf.GradientTape() as g_tape:
            fake, mean, log_sigma = generator([embedding, eps, z], training=True)  # the generator's only pass
            fake = discriminator.look(seen(args, session, fake, "fake", step))

        # max_D0  E[log D0(I0, t)] + 1/2 E[log(1 - D0(I', t))] + 1/2 E[log(1 - D0(G0(z, c0), t))], equation 3
        with tf.GradientTape() as d_tape:
            real = discriminator.look(seen(args, session, images, "real", step))
            d_terms = discriminator_loss(args, discriminator, real, fake, embedding, classes, step)
        d_optimizer.minimize(d_terms["d_loss"], d_tape)

        # min_G0  E[-log D0(G0(z, c0), t)] + lambda KL(N(mu0, sigma0) || N(0, I)), equation 4, by the D0 just updated
        with g_tape:
            g_terms = generator_loss(args, discriminator, fake, embedding, classes, mean, log_sigma)
        g_optimizer.minimize(g_terms["g_loss"], g_tape)
        return {**d_terms, **g_terms}

    def held_out_terms(images, embedding, classes, step) -> Terms:
        eps, _, z = noise(args, embedding.shape[0], step)
        fake, *_ = generator([embedding, eps, z], training=False)
        pair = discriminator.look(images), discriminator.look(fake)
        return discriminator_loss(args, discriminator, *pair, embedding, classes, step, training=False)

    def start() -> None:
        if args.pretrained_model:
            found = weights.load(args.pretrained_model, NETWORK, HERE)
            restore(found, generator, discriminator)
            notice(f"starting from {found.path}")

    return Parts(SIZE, generator, state, start, train_step, held_out_terms)


def restore(found: weights.Weights, generator: keras.Model, discriminator: Optional[Discriminator]) -> None:
    """Gives networks the weights of a file, as far as it has them: what is shipped has no discriminator.

    Raises:
        UserError: they are of other sizes.
    """
    found.restore(generator)
    if discriminator and any(name.startswith("discriminator/") for name in found.tensors):
        arrays = found.part("discriminator")
        for name, variable in discriminator.variables.items():
            if name in arrays and arrays[name].shape == tuple(variable.shape):
                variable.assign(arrays[name])
            elif not name.startswith(("alone", "match", "vgg19")):  # which it may be trained without
                raise UserError(f"{found.path}: its discriminator is of another size; give the same --df_dim")
