"""The training of stage I (Zhang et al., 2017, section 3.3): its losses, its step, its networks and optimizers."""

import argparse
from pathlib import Path
from typing import Optional

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


def ema_decay(ema: float, step: tf.Tensor) -> tf.Tensor:
    """`--ema`, less at first: an average of few updates is not to remember the initial weights."""
    step = tf.cast(step, tf.float32)
    return tf.minimum(ema, (1.0 + step) / (10.0 + step))


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


class Trainer:
    """The networks of stage I, their optimizers and one update of them. Stage II's does the same with two stages.

    Attributes:
        size: of the images.
        generators: of stage I, and of stage II or None, that draw examples.
        state: what a checkpoint holds.
    """

    size = SIZE

    def __init__(self, args: argparse.Namespace, session: Session, embedding_size: int, steps_per_epoch: int) -> None:
        self.args, self.session = args, session
        self.embedding_size, self.steps_per_epoch = embedding_size, steps_per_epoch
        self.make_networks()
        self.state = {
            "generator": named_variables(self.generator),
            "discriminator": self.discriminator.variables,
            "d_optimizer": self.d_optimizer.state,
            "g_optimizer": self.g_optimizer.state,
        }
        if self.ema is not None:
            self.state["ema_generator"] = named_variables(self.ema)
            session.average(moving_statistics(self.ema))

    def new_generator(self) -> keras.Model:
        """Stage I's."""
        o = self.args
        sizes = self.embedding_size, o.embedding_dim, o.z_dim, o.gf_dim
        return build_generator(*sizes, o.network_type, o.cond_augmentation)

    def new_discriminator(self) -> Discriminator:
        """Stage I's."""
        o = self.args
        return build_discriminator(self.embedding_size, o.embedding_dim, o.df_dim, o.network_type, o.unconditional > 0)

    def make_networks(self) -> None:
        """Sets generator, discriminator, ema (the generator's exponential average, or None) and their optimizers."""
        self.generator, self.discriminator = self.new_generator(), self.new_discriminator()
        d_rate, g_rate = map(self.learning_rate, (self.args.discriminator_lr, self.args.generator_lr))
        self.d_optimizer = self.session.optimizer(list(self.discriminator), d_rate, **ADAM)
        self.g_optimizer = self.session.optimizer([self.generator], g_rate, **ADAM)
        self.ema = self.new_generator() if self.args.ema else None
        self.generators = self.ema or self.generator, None

    def learning_rate(self, rate: float) -> LearningRate:
        return learning_rate(self.args, rate, self.steps_per_epoch)

    def start(self) -> None:
        """Gives the networks what `--ckpt_path` holds, and the average what the generator has."""
        self.begin()
        if self.ema is not None:
            tf.function(lambda: update_average(self.ema, self.generator, 0.0))()

    def begin(self) -> None:
        if self.args.pretrained_model:
            found = weights.load(self.args.pretrained_model, "StackGAN", HERE)
            restore(found, self.generator, self.discriminator)
            notice(f"starting from {found.path}")

    # Losses.

    def seen(self, images: tf.Tensor, purpose: str, step: tf.Tensor) -> tf.Tensor:
        """Images as the discriminator is to see them in training, [local batch, size, size, 3]."""
        if not self.args.diffaugment:
            return images
        random = key(f"augment_{purpose}", self.args.seed, step)
        return augment(images, self.session.shard(tf.random.stateless_uniform([self.args.batch_size, DRAWS], random)))

    def discriminator_loss(
        self, discriminator: Discriminator, real, fake, embedding, classes, step, training: bool = True
    ) -> Terms:
        """Equations 3 and 5, negated; `fake` is taken as it is.

        All images are in one batch: normalised by themselves, fakes could be of any brightness and contrast. The wrong
        image of a text is another one of the batch, whose features are there already.
        """
        features = discriminator.image(tf.concat([real, tf.stop_gradient(fake)], 0), training=training)
        real_features, fake_features = tf.split(features, 2)
        shown, wrong, alone = [real_features, fake_features], None, self.args.unconditional
        if self.args.b_wrong:
            rows, wrong = wrong_rows(classes, key("wrong", self.args.seed, step))
            shown.append(tf.gather(real_features, rows))
        texts = tf.concat([embedding] * len(shown), 0)
        logits = tf.split(discriminator.text([tf.concat(shown, 0), texts], training=training), len(shown))
        terms = losses.discriminator(logits[0], logits[2] if self.args.b_wrong else None, logits[1], wrong)
        if alone:
            terms["d_alone"] = losses.unconditional(*tf.split(discriminator.alone(features, training=training), 2))
            terms["d_loss"] += alone * terms["d_alone"]
        return terms

    def generator_loss(self, discriminator: Discriminator, fake, embedding, mean, log_sigma) -> Terms:
        """Equations 4 and 6: `g_loss`, and of it the KL divergence's part, `kl`.

        The discriminator normalises as it did in `discriminator_loss`: fakes are judged as among real images, though no
        others have to pass it here.
        """
        features = discriminator.image(fake, training=False)
        total = losses.adversarial(discriminator.text([features, embedding], training=False))
        if self.args.unconditional:
            alone = losses.adversarial(discriminator.alone(features, training=False))
            total += self.args.unconditional * alone
        kl = self.weighted_kl(mean, log_sigma)
        return {"g_loss": total + kl, "kl": kl}

    def weighted_kl(self, mean: tf.Tensor, log_sigma: tf.Tensor) -> tf.Tensor:
        """The condition's KL divergence by its weight; 0 where nothing is sampled."""
        if not self.args.cond_augmentation:
            return tf.zeros([])
        return self.args.coeff_kl * losses.kl_divergence(mean, log_sigma)

    def generate(self, embedding, eps, eps_2, z) -> tf.Tensor:
        """Images [n, size, size, 3] in -1..1, by the moving averages."""
        return self.generator([embedding, eps, z], training=False)[0]

    def held_out_terms(self, images, embedding, classes, step) -> Terms:
        """The terms of the discriminator's loss of a batch that nothing is trained on."""
        fake = self.generate(embedding, *noise(self.args, embedding.shape[0], step))
        return self.discriminator_loss(self.discriminator, images, fake, embedding, classes, step, training=False)

    # One update of each network.

    enlarge_step = None

    def train_step(self, images, embedding, classes, step) -> Terms:
        eps, _, z = map(self.session.shard, noise(self.args, self.args.batch_size, step))
        with tf.GradientTape() as g_tape:
            fake, mean, log_sigma = self.generator([embedding, eps, z], training=True)  # the generator's only pass

        # max_D0  E[log D0(I0, t)] + 1/2 E[log(1 - D0(I', t))] + 1/2 E[log(1 - D0(G0(z, c0), t))], equation 3
        with tf.GradientTape() as d_tape:
            pair = self.seen(images, "real", step), self.seen(fake, "fake", step)
            d_terms = self.discriminator_loss(self.discriminator, *pair, embedding, classes, step)
        self.d_optimizer.minimize(d_terms["d_loss"], d_tape)

        # min_G0  E[-log D0(G0(z, c0), t)] + lambda KL(N(mu0, sigma0) || N(0, I)), equation 4, by the D0 just updated
        with g_tape:
            fake = self.seen(fake, "generator", step)
            g_terms = self.generator_loss(self.discriminator, fake, embedding, mean, log_sigma)
        self.g_optimizer.minimize(g_terms["g_loss"], g_tape)
        self.update_ema(step)
        return {**d_terms, **g_terms}

    def update_ema(self, step: tf.Tensor) -> None:
        if self.ema is not None:
            update_average(self.ema, self.generator, ema_decay(self.args.ema, step))


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
