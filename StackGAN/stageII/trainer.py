"""The training of stage II (Zhang et al., 2017, section 3.4), and of stage I along with it where that is asked for."""

import argparse

import losses
import model as models
import tensorflow as tf
from augment import PIECE_DRAWS, cut, pieces, seen
from losses import Terms
from stageI import model as stage1
from stageI.trainer import ADAM, Parts, learning_rate, noise, open_vgg19, restore

from common.cli import UserError, notice
from common.layers import named_variables
from common.loss_scale import Adam, Optimizer
from common.session import Session
from common.stream import key
from common.weights import Weights
from stageII.model import SIZE, build_discriminator, build_generator

SAME = ("gf_dim", "z_dim", "embedding_dim", "network_type", "cond_augmentation")
RANDOM = "random"  # as --ckpt_path: an untrained stage I


class Together:
    """Several Adams, each of a rate of its own, as one: a single backward pass gives the gradients of them all."""

    def __init__(self, adams: dict[str, Adam]) -> None:
        self.adams = adams
        self.state = {part: adam.state for part, adam in adams.items()}  # what a checkpoint holds
        self.variables_by_name = {
            f"{part}/{name}": variable
            for part, adam in adams.items()
            for name, variable in adam.variables_by_name.items()
        }

    def apply(self, gradients) -> None:
        """One update of each by the gradients, which stand in the variables' order."""
        for adam in self.adams.values():
            count = len(adam.variables_by_name)
            adam.apply(gradients[:count])
            gradients = gradients[count:]


def build(args: argparse.Namespace, session: Session, embedding_size: int, steps_per_epoch: int) -> Parts:
    """The networks of both stages, their optimizers and what updates those of stage II, with `--finetune_lr` of both.

    Raises:
        UserError: from `start`: there is no trained stage I, or one of other widths.
    """
    generator_1, generator = stage1.build_generator(embedding_size, args), build_generator(embedding_size, args)
    discriminator_1 = stage1.build_discriminator(embedding_size, args) if args.finetune_lr else None
    discriminator = build_discriminator(embedding_size, args, open_vgg19(args))

    def look(images, purpose: str, step):
        """What the discriminator sees in training; VGG19 is shown pieces that nothing was cut out of."""
        near = pieces(args, session, images, stage1.SIZE, purpose, step) if discriminator.vgg19 else None
        return discriminator.look(seen(args, session, images, purpose, step), near)

    def optimizer(rate: float, networks, networks_1) -> Optimizer:
        """Adam for the networks of stage II, and for those of stage I at its own rate, under one loss scale."""
        made, adams = session.optimizer([*networks, *networks_1], 0.0, **ADAM), {}
        for part, of, times in (("stage2", networks, 1.0), ("stage1", networks_1, args.ft_lr_retio)):
            variables = {k: v for network in of for k, v in named_variables(network, trainable_only=True).items()}
            if variables:
                adams[part] = Adam(variables, learning_rate(args, rate * times, steps_per_epoch), ADAM["beta_1"])
        made.adam = Together(adams)
        return made

    d_optimizer = optimizer(args.discriminator_lr, discriminator, discriminator_1 or [])
    g_optimizer = optimizer(args.generator_lr, [generator], [generator_1] * args.finetune_lr)
    state = {
        "generator": named_variables(generator),
        "discriminator": discriminator.variables,
        "d_optimizer": d_optimizer.state,
        "g_optimizer": g_optimizer.state,
        "stage1_generator": named_variables(generator_1),
    }
    if discriminator_1:
        state["stage1_discriminator"] = discriminator_1.variables

    def train_step(images, embedding, classes, step) -> Terms:
        eps_1, eps, z = map(session.shard, noise(args, args.batch_size, step))
        finetune, given = args.finetune_lr, (embedding, classes, step)
        with tf.GradientTape() as g_tape:  # the only pass of either generator
            small, *condition_1 = generator_1([embedding, eps_1, z], training=finetune)
            input = small if finetune else tf.stop_gradient(small)
            fake, *condition = generator([input, embedding, eps], training=True)
            fake_seen = look(fake, "fake", step)
            small_seen = seen(args, session, small, "fake_1", step) if finetune else None

        # max_D  E[log D(I, t)] + 1/2 E[log(1 - D(I', t))] + 1/2 E[log(1 - D(G(s0, c), t))], equation 5
        with tf.GradientTape() as d_tape:
            real = look(images, "real", step)
            terms = losses.discriminator_loss(args, discriminator, real, fake_seen, *given)
            d_total = terms["d_loss"]
            if finetune:  # and stage I's, equation 3
                real_1 = seen(args, session, losses.shrunk(images, stage1.SIZE), "real_1", step)
                d_loss_1 = losses.discriminator_loss(args, discriminator_1, real_1, small_seen, *given)["d_loss"]
                d_total += d_loss_1
        d_optimizer.minimize(d_total, d_tape)

        # min_G  E[-log D(G(s0, c), t)] + lambda KL(N(mu, sigma) || N(0, I)), equation 6, by the D just updated
        with g_tape:
            terms.update(losses.generator_loss(args, discriminator, fake_seen, embedding, classes, *condition))
            if args.coeff_small:
                terms["small"] = tf.reduce_mean(tf.abs(losses.shrunk(fake, stage1.SIZE) - tf.stop_gradient(small)))
                terms["g_loss"] += args.coeff_small * terms["small"]
            g_total = terms["g_loss"]
            if finetune:  # and stage I's, equation 4; s0 is G0's, so that G0 is trained by both
                g_terms_1 = losses.generator_loss(args, discriminator_1, small_seen, embedding, classes, *condition_1)
                g_loss_1 = g_terms_1["g_loss"]
                g_total += g_loss_1
        g_optimizer.minimize(g_total, g_tape)
        return {**terms, "stage1_d_loss": d_loss_1, "stage1_g_loss": g_loss_1} if finetune else terms

    def enlarge_step(images, embedding, classes, step) -> Terms:
        """One update of stage II's generator alone, which learns to give real images back from small ones: before there
        is anything that a discriminator could teach it. SRGAN's begins likewise (Ledig et al., 2017, section 3.2)."""
        _, eps, _ = map(session.shard, noise(args, args.batch_size, step))
        with tf.GradientTape() as tape:
            inputs = [losses.shrunk(images, stage1.SIZE), embedding, eps]
            made, mean, log_sigma = generator(inputs, training=True)
            l1 = tf.reduce_mean(tf.abs(made - images))
            g_loss = l1 + losses.weighted_kl(args, mean, log_sigma)
        g_optimizer.minimize(g_loss, tape)
        return {"d_loss": tf.zeros([]), "g_loss": g_loss, "l1": l1}

    def held_out_terms(images, embedding, classes, step) -> Terms:
        eps_1, eps, z = noise(args, embedding.shape[0], step)
        small, *_ = generator_1([embedding, eps_1, z], training=False)
        fake, *_ = generator([small, embedding, eps], training=False)
        draws = tf.random.stateless_uniform([images.shape[0], PIECE_DRAWS], key("piece_held_out", args.seed, step))
        real, fake = (discriminator.look(x, cut(x, stage1.SIZE, draws)) for x in (images, fake))
        return losses.discriminator_loss(args, discriminator, real, fake, embedding, classes, step, training=False)

    def start() -> None:
        if args.pretrained_model == RANDOM:
            notice("--ckpt_path=random: stage I is untrained; this is for measuring the speed, the images mean nothing")
            return
        found = find_stage1(args, embedding_size)
        if found.about["stage"] == 2:
            found.restore(generator_1, "stage1_generator")
            restore(found, generator, discriminator)
        else:
            restore(found, generator_1, discriminator_1)
        notice(f"starting from {found.path}")

    return Parts(SIZE, generator, state, start, train_step, held_out_terms, generator_1, enlarge_step)


def find_stage1(args: argparse.Namespace, embedding_size: int) -> Weights:
    """The weights that `--ckpt_path` names, whose networks are of these options' widths.

    Raises:
        UserError: there are none, or their networks are of other widths.
    """
    path = args.pretrained_model
    how = f"Train stage I first: python train.py --stage=1 --data_path={args.data_path} --output_path=DIR"
    if not path:
        raise UserError(f"--stage=2 begins with a trained stage I, and --ckpt_path names none.\n{how}")
    try:
        found = models.find_weights(path, ("stageI", "stage1"))
    except UserError as error:
        raise UserError(f"--ckpt_path {path}: {error}.\n{how}") from None
    theirs = {**vars(found.options), "embedding_size": found.about.get("embedding_size")}
    ours = {**{name: getattr(args, name) for name in SAME}, "embedding_size": embedding_size}
    for name, value in ours.items():
        its = theirs.get(name)
        if its != value:
            raise UserError(
                f"--ckpt_path {path}: its {name} is {its}, here it is {value}; give the same options and data"
            )
    return found
