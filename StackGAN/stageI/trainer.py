"""The training of stage I (Zhang et al., 2017, section 3.3): its losses, its step, its networks and optimizers."""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Optional

import losses
import tensorflow as tf
from augment import DRAWS, augment
from blocks import Discriminator
from tensorflow import keras

from common import weights
from common.cli import UserError, notice
from common.layers import moving_statistics, named_variables, update_average
from common.loss_scale import LearningRate
from common.session import Session
from common.stream import key
from stageI.model import SIZE, build_discriminator, build_generator

LOSS_SCALE = {"init_scale": 2.0**16, "incr_every_n_steps": 1000, "decr_every_n_nan_or_inf": 2, "decr_ratio": 0.5}
ADAM = {"beta_1": 0.5, "loss_scale": LOSS_SCALE}  # scaled in float16 alone
HERE = Path(__file__).resolve().parent.parent
CUT = 0.02275013  # share of a normal distribution below -2

Terms = dict[str, tf.Tensor]


def noise(args: argparse.Namespace, n: int, step: tf.Tensor) -> list[tf.Tensor]:
    """A step's noise, a function of (seed, step): eps of stage I and of stage II from a truncated normal [n,
    condition], and z from a normal [n, z_dim]."""
    # By the inverse of the distribution function, since an Ascend 910 has no sampler for the truncated normal.
    keys = (key(purpose, args.seed, step) for purpose in ("eps", "eps_2"))
    eps = [tf.math.ndtri(tf.random.stateless_uniform([n, args.embedding_dim], k, CUT, 1 - CUT)) for k in keys]
    return [*eps, tf.random.stateless_normal([n, args.z_dim], key("z", args.seed, step))]


def wrong_rows(classes: tf.Tensor, random: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """For each image's text a row of the batch with an image of another class, int [n], and whether there is one."""
    different = classes[:, None] != classes[None]
    scores = tf.where(different, tf.random.stateless_uniform(different.shape, random), -1.0)
    return tf.argmax(scores, 1), tf.reduce_any(different, 1)


def augmented(
    args: argparse.Namespace, session: Session, images: tf.Tensor, purpose: str, step: tf.Tensor
) -> tf.Tensor:
    """Images as the discriminator is to see them in training, [local batch, size, size, 3]."""
    if not args.diffaugment:
        return images
    draws = tf.random.stateless_uniform([args.batch_size, DRAWS], key(purpose, args.seed, step))
    return augment(images, session.shard(draws))


def discriminator_loss(
    args: argparse.Namespace,
    discriminator: Discriminator,
    real: tf.Tensor,
    fake: tf.Tensor,
    embedding: tf.Tensor,
    classes: tf.Tensor,
    random: tf.Tensor,
    training: bool = True,
) -> Terms:
    """Equations 3 and 5, negated; `fake` is taken as it is.

    All images are in one batch: normalised by themselves, fakes could be of any brightness and contrast. The wrong
    image of a text is another one of the batch, whose features are there already.
    """
    features = discriminator.image(tf.concat([real, tf.stop_gradient(fake)], 0), training=training)
    real_features, fake_features = tf.split(features, 2)
    shown, wrong = [real_features, fake_features], None
    if args.b_wrong:
        rows, wrong = wrong_rows(classes, random)
        shown.append(tf.gather(real_features, rows))
    texts = tf.concat([embedding] * len(shown), 0)
    logits = tf.split(discriminator.text([tf.concat(shown, 0), texts], training=training), len(shown))
    terms = losses.discriminator(logits[0], logits[2] if args.b_wrong else None, logits[1], wrong)
    if args.unconditional:
        terms["d_alone"] = losses.unconditional(*tf.split(discriminator.alone(features, training=training), 2))
        terms["d_loss"] += args.unconditional * terms["d_alone"]
    return terms


def generator_loss(
    args: argparse.Namespace, discriminator: Discriminator, fake: tf.Tensor, embedding, mean, log_sigma
) -> Terms:
    """Equations 4 and 6: `g_loss`, and of it the KL divergence's part, `kl`.

    The discriminator normalises as it did in `discriminator_loss`: fakes are judged as among real images, though no
    others have to pass it here.
    """
    features = discriminator.image(fake, training=False)
    total = losses.adversarial(discriminator.text([features, embedding], training=False))
    if args.unconditional:
        total += args.unconditional * losses.adversarial(discriminator.alone(features, training=False))
    kl = weighted_kl(args, mean, log_sigma)
    return {"g_loss": total + kl, "kl": kl}


def weighted_kl(args: argparse.Namespace, mean: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
    """The condition's KL divergence by its weight; 0 where nothing is sampled."""
    return args.coeff_kl * losses.kl_divergence(mean, log_sigma) if args.cond_augmentation else tf.zeros([])


def ema_decay(args: argparse.Namespace, step: tf.Tensor) -> tf.Tensor:
    """`--ema`, less at first: an average of few updates is not to remember the initial weights."""
    step = tf.cast(step, tf.float32)
    return tf.minimum(args.ema, (1.0 + step) / (10.0 + step))


def make_train_step(args, session, generator, discriminator, d_optimizer, g_optimizer, ema=None) -> Callable:
    """One update of each network. Takes (images, embedding, classes, step)."""

    def train_step(images, embedding, classes, step):
        eps, _, z = map(session.shard, noise(args, args.batch_size, step))
        with tf.GradientTape() as g_tape:
            fake, mean, log_sigma = generator([embedding, eps, z], training=True)  # the only pass of the generator

        # max_D0  E[log D0(I0, t)] + 1/2 E[log(1 - D0(I', t))] + 1/2 E[log(1 - D0(G0(z, c0), t))], equation 3
        with tf.GradientTape() as d_tape:
            seen = [
                augmented(args, session, x, f"augment_{name}", step) for x, name in ((images, "real"), (fake, "fake"))
            ]
            random = key("wrong", args.seed, step)
            d_terms = discriminator_loss(args, discriminator, *seen, embedding, classes, random)
        d_optimizer.minimize(d_terms["d_loss"], d_tape)

        # min_G0  E[-log D0(G0(z, c0), t)] + lambda KL(N(mu0, sigma0) || N(0, I)), equation 4, by the D0 just updated
        with g_tape:
            fake = augmented(args, session, fake, "augment_generator", step)
            g_terms = generator_loss(args, discriminator, fake, embedding, mean, log_sigma)
        g_optimizer.minimize(g_terms["g_loss"], g_tape)
        if ema is not None:
            update_average(ema, generator, ema_decay(args, step))
        return {**d_terms, **g_terms}

    return train_step


def learning_rate(args: argparse.Namespace, rate: float, steps_per_epoch: int, first_epoch: int = 0) -> LearningRate:
    """`rate`, halved at each epoch that is a multiple of `--lr_decay_epoch`, but not at the first one."""
    every = args.lr_decay_epoch

    def after(updates):
        epoch = first_epoch + updates // steps_per_epoch
        return rate * 0.5 ** tf.cast(epoch // every - first_epoch // every, tf.float32)

    return after


def new_generator(args: argparse.Namespace, embedding_size: int) -> keras.Model:
    """The generator that the options ask for."""
    return build_generator(
        embedding_size, args.embedding_dim, args.z_dim, args.gf_dim, args.network_type, args.cond_augmentation
    )


def new_discriminator(args: argparse.Namespace, embedding_size: int) -> Discriminator:
    """The discriminator that the options ask for."""
    return build_discriminator(
        embedding_size, args.embedding_dim, args.df_dim, args.network_type, args.unconditional > 0
    )


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
            elif not name.startswith("alone"):  # which it may be trained without
                raise UserError(f"{found.path}: its discriminator is of another size; give the same --df_dim")


def build(args: argparse.Namespace, session: Session, embedding_size: int, steps_per_epoch: int) -> SimpleNamespace:
    """The networks, their optimizers and one update of them.

    Returns: `size` of the images, `generators` (of stage I and II or None) that draw examples, `state` (what a
        checkpoint holds), `train_step`, `enlarge_step` (of stage II's begin), `held_out_terms(images, embedding,
        classes, step)` of the discriminator's loss, and `start()`, which gives the networks what `--ckpt_path` holds.
    """
    generator, discriminator = new_generator(args, embedding_size), new_discriminator(args, embedding_size)
    d_rate, g_rate = (learning_rate(args, rate, steps_per_epoch) for rate in (args.discriminator_lr, args.generator_lr))
    d_optimizer = session.optimizer(list(discriminator), d_rate, **ADAM)
    g_optimizer = session.optimizer([generator], g_rate, **ADAM)
    state = {
        "generator": named_variables(generator),
        "discriminator": discriminator.variables,
        "d_optimizer": d_optimizer.state,
        "g_optimizer": g_optimizer.state,
    }
    ema = new_generator(args, embedding_size) if args.ema else None
    if ema is not None:
        state["ema_generator"] = named_variables(ema)
        session.average(moving_statistics(ema))

    def start():
        if args.pretrained_model:
            found = weights.load(args.pretrained_model, "StackGAN", HERE)
            restore(found, generator, discriminator)
            notice(f"starting from {found.path}")
        if ema is not None:
            tf.function(lambda: update_average(ema, generator, 0.0))()

    def held_out_terms(images, embedding, classes, step):
        eps, _, z = noise(args, embedding.shape[0], step)
        fake, *_ = generator([embedding, eps, z], training=False)
        return discriminator_loss(
            args, discriminator, images, fake, embedding, classes, key("wrong", args.seed, step), training=False
        )

    return SimpleNamespace(
        size=SIZE,
        generators=(ema or generator, None),
        state=state,
        train_step=make_train_step(args, session, generator, discriminator, d_optimizer, g_optimizer, ema),
        enlarge_step=None,
        held_out_terms=held_out_terms,
        start=start,
    )
