"""The updates of both models: each headed by its objective, each returning named scalars.

`parts` is what `train.prepare` makes: the session, the networks and their optimizers.
"""

import argparse
from types import SimpleNamespace
from typing import Any, Callable

import losses
import tensorflow as tf
from layers import data_dependent_init
from model import LATENT_RANGES, value_range
from tensorflow import keras

from common.images import to_float
from common.layers import named_variables, update_average
from common.session import Session
from common.stream import key

RECONSTRUCTION = (10.0, 1500)  # the original's reconstruction term: its weight at step 0, and the step where it ends
# The published code adds 1e-8 inside Adam's root, which is 1e-4 beside it. It matters: gradients that have become
# smaller than that move the weights less and less, where the usual 1e-8 lets the discriminator run away.
ADAM = {"ssgan": {"clip_norm": 20.0}, "paper": {"epsilon": 1e-4}}


def make_optimizer(args: argparse.Namespace, session: Session, network: keras.Model, rate: float, total: int) -> Any:
    """Adam at a constant rate, or for the paper's convolutional recipes falling to 0 over the last third of `total`."""

    def falling(updates):
        return rate * tf.minimum(1.0, 3.0 * (1.0 - tf.cast(updates, tf.float32) / total))

    constant = args.model == "ssgan" or args.recipe == "mnist"
    scale = {"init_scale": 2.0**16}  # in float16 alone
    return session.optimizer(network, rate if constant else falling, beta_1=0.5, loss_scale=scale, **ADAM[args.model])


def latents(args: argparse.Namespace, purpose: str, step: Any, count: int) -> tf.Tensor:
    """Uniform latents [count, n_z], for all workers the same."""
    low, high = LATENT_RANGES[args.model]
    return tf.random.stateless_uniform([count, args.n_z], key(purpose, args.seed, step), low, high)


def noise(args: argparse.Namespace, session: Session, purpose: str, step: Any) -> tf.Tensor:
    """The seed of a network's noise in a step, each worker's another one."""
    return key(session.own(purpose), args.seed, step)


def accuracy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The part of the labelled images whose largest class logit is their label's."""
    right = tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32)
    known = tf.cast(labels >= 0, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(right * known), tf.reduce_sum(known))


# The original's model.


def ssgan_update(args: argparse.Namespace, parts: SimpleNamespace) -> Callable:
    """(batch of `data.training_batches`, step) -> named scalars: the discriminator's and the generator's update take
    turns.

    Real and generated images go through the discriminator in one batch. Apart, as in the original, each would be
    normalised by its own statistics, and those make a batch of equal images look like nothing at all: the generator
    then soon draws one image only.
    """
    session, generator, discriminator = parts.session, parts.generator, parts.discriminator
    n = session.local_batch(args.batch_size)
    # Where each update leaves its scalars for the other one's row.
    newest = {name: tf.Variable(0.0) for name in ("d_loss", "g_loss", "supervised_loss", "accuracy")}
    session.average(newest.values())
    parts.state["newest"] = newest

    def reported(scalars):
        for name, value in scalars.items():
            newest[name].assign(tf.where(tf.math.is_finite(value), value, newest[name]))
        return {name: scalars.get(name, tf.identity(variable)) for name, variable in newest.items()}

    def discriminator_step(images, labels, step):
        """min_D  CE(D(x), (y, not fake)) + CE(D(G(z)), (0.1 / n each, 0.9 fake))"""
        z = session.shard(latents(args, "discriminator_latents", step, args.batch_size))
        fake = tf.stop_gradient(generator(z, training=True))
        with tf.GradientTape() as tape:
            logits = discriminator(tf.concat([images, fake], 0), training=True)
            d_loss = losses.real_or_class(logits[:n], labels) + losses.fake_smoothed(logits[n:])
        parts.d_optimizer.minimize(d_loss, tape)
        update_average(parts.tested, discriminator, 1.0 - args.average_rate, step // (args.update_rate + 1))
        supervised_loss = losses.supervised(logits[:n], labels)
        right = accuracy(logits[:n, :-1], labels)
        return reported({"d_loss": d_loss, "supervised_loss": supervised_loss, "accuracy": right})

    def generator_step(images, labels, step):
        """min_G  E[log P(fake | G(z))] + annealed Huber(x, G(z)), or with non_saturating E[-log(1 - P(fake | G(z)))]"""
        weight, end = RECONSTRUCTION
        weight *= tf.maximum(0.0, 1.0 - tf.cast(step, tf.float32) / end)
        adversarial = losses.log_p_fake if args.g_loss == "page" else losses.not_fake
        z = session.shard(latents(args, "generator_latents", step, args.batch_size))
        with tf.GradientTape() as tape:
            fake = generator(z, training=True)
            logits = discriminator(tf.concat([images, fake], 0), training=True)
            g_loss = adversarial(logits[n:]) + weight * losses.huber(images, fake)
        parts.g_optimizer.minimize(g_loss, tape)
        if parts.ema is not None:
            update_average(parts.ema, generator, args.ema, step - 1)  # its own first one is step 1
        return reported({"g_loss": g_loss})

    turns = [session.compile(discriminator_step), *[session.compile(generator_step)] * args.update_rate]

    def update(batch, step):
        scalars = turns[step % len(turns)](*batch, tf.constant(step))
        return scalars if step else {name: value for name, value in scalars.items() if name != "g_loss"}

    return update


# The paper's model.


def paper_update(args: argparse.Namespace, parts: SimpleNamespace) -> Callable:
    """(batch of `data.training_batches`, step) -> named scalars: one update of each network, which it initialises.

    Each update draws latents of its own. One batch of generated images for both would save a pass of the generator,
    but at this learning rate the discriminator has just turned against those very images:
    the generator chases that and loses touch within a few thousand steps.
    """
    session, generator, discriminator = parts.session, parts.generator, parts.discriminator
    n = session.local_batch(args.batch_size)
    first = tf.constant(to_float(parts.data.train_images[:500], value_range(args)))
    data_dependent_init(discriminator, [first, noise(args, session, "init_noise", 0)])
    if args.recipe != "mnist":
        data_dependent_init(generator, latents(args, "init_latents", 0, args.batch_size))
    trained = {network.name: named_variables(network, trainable_only=True) for network in (generator, discriminator)}
    past = {}  # means of the past weights, for historical averaging
    if args.historical_averaging:
        past = {name: {place: tf.Variable(tf.identity(v)) for place, v in own.items()} for name, own in trained.items()}
        parts.state["history"] = past

    def historical(name):
        return args.historical_averaging * losses.historical_averaging(trained[name], past[name]) if past else 0.0

    def generated(purpose, step):
        return generator(session.shard(latents(args, purpose, step, args.batch_size)), training=True)

    def train_step(images, labels, unlabelled, unlabelled_2, step):
        # min_D  -E[log p(y | x)] - 0.5 E[log D(x)] - 0.5 E[log(1 - D(G(z)))]
        fake = tf.stop_gradient(generated("discriminator_latents", step))
        with tf.GradientTape() as d_tape:
            batch = tf.concat([images, unlabelled, fake], 0)
            _, logits = discriminator([batch, noise(args, session, "discriminator_noise", step)], training=True)
            supervised_loss = losses.labelled(logits[:n], labels)
            unsupervised_loss = losses.unlabelled(logits[n : 2 * n], logits[2 * n :], args.label_smoothing)
            d_loss = supervised_loss + unsupervised_loss + historical("discriminator")
        parts.d_optimizer.minimize(d_loss, d_tape)

        # min_G  ||E[f(x)] - E[f(G(z))]||, f the discriminator's last hidden layer
        real_features, _ = discriminator([unlabelled_2, noise(args, session, "real_noise", step)], training=True)
        with tf.GradientTape() as g_tape:
            fake = generated("generator_latents", step)
            fake_noise = noise(args, session, "fake_noise", step)
            fake_features, fake_logits = discriminator([fake, fake_noise], training=True)
            if args.feature_matching:
                g_loss = losses.feature_matching(real_features, fake_features, squared=args.recipe == "mnist")
            else:
                g_loss = losses.adversarial(fake_logits)
            g_loss += historical("generator")
        parts.g_optimizer.minimize(g_loss, g_tape)

        update_average(parts.tested, discriminator, 1.0 - args.average_rate, step)
        if parts.ema is not None:
            update_average(parts.ema, generator, args.ema, step)
        for name, means in past.items():
            for place, mean in means.items():
                mean.assign_add((trained[name][place] - mean) / (tf.cast(step, tf.float32) + 1.0))
        right = accuracy(logits[:n], labels)
        told = {"d_loss": d_loss, "g_loss": g_loss, "supervised_loss": supervised_loss, "accuracy": right}
        return {**told, "unsupervised_loss": unsupervised_loss}

    compiled = session.compile(train_step)
    return lambda batch, step: compiled(*batch, tf.constant(step))
