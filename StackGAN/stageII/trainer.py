"""The training of stage II (Zhang et al., 2017, section 3.4), and of stage I along with it where that is asked for."""

import argparse

import losses
import model as models
import tensorflow as tf
from stageI import model as stage1
from stageI import trainer
from stageI.trainer import ADAM, Terms, noise, restore

from common.cli import UserError, notice
from common.layers import named_variables
from common.loss_scale import Adam, Optimizer
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


class Trainer(trainer.Trainer):
    """The networks of both stages, their optimizers and one update of stage II's, with `--finetune_lr` of both."""

    size = SIZE

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.state["stage1_generator"] = named_variables(self.generator_1)
        if self.discriminator_1:
            self.state["stage1_discriminator"] = self.discriminator_1.variables

    def make_networks(self) -> None:
        """Sets the same as in stage I, and generator_1 and discriminator_1 (or None), which are stage I's."""
        o = self.args

        def new():
            return build_generator(self.embedding_size, o.embedding_dim, o.gf_dim, o.cond_augmentation)

        self.generator_1, self.generator = self.new_generator(), new()
        self.discriminator_1 = self.new_discriminator() if o.finetune_lr else None
        self.discriminator = build_discriminator(self.embedding_size, o.embedding_dim, o.df_dim, o.unconditional > 0)
        self.d_optimizer = self.optimizer(o.discriminator_lr, self.discriminator, self.discriminator_1 or [])
        self.g_optimizer = self.optimizer(o.generator_lr, [self.generator], [self.generator_1] * o.finetune_lr)
        self.ema = new() if o.ema else None
        self.generators = self.generator_1, self.ema or self.generator

    def optimizer(self, rate: float, networks, networks_1) -> Optimizer:
        """Adam for the networks of stage II, and for those of stage I at its own rate, under one loss scale."""
        made = self.session.optimizer([*networks, *networks_1], 0.0, **ADAM)
        adams = {}
        for part, of, times in (("stage2", networks, 1.0), ("stage1", networks_1, self.args.ft_lr_retio)):
            variables = {k: v for network in of for k, v in named_variables(network, trainable_only=True).items()}
            if variables:
                adams[part] = Adam(variables, self.learning_rate(rate * times), ADAM["beta_1"])
        made.adam = Together(adams)
        return made

    def begin(self) -> None:
        """Gives stage I's networks the weights of `--ckpt_path`, or all of them those of a stage II."""
        if self.args.pretrained_model == RANDOM:
            notice("--ckpt_path=random: stage I is untrained; this is for measuring the speed, the images mean nothing")
            return
        found = find_stage1(self.args, self.embedding_size)
        if found.about["stage"] == 2:
            found.restore(self.generator_1, "stage1_generator")
            restore(found, self.generator, self.discriminator)
        else:
            restore(found, self.generator_1, self.discriminator_1)
        notice(f"starting from {found.path}")

    def generate(self, embedding, eps, eps_2, z) -> tf.Tensor:
        small, *_ = self.generator_1([embedding, eps, z], training=False)
        return self.generator([small, embedding, eps_2], training=False)[0]

    def train_step(self, images, embedding, classes, step) -> Terms:
        eps_1, eps, z = map(self.session.shard, noise(self.args, self.args.batch_size, step))
        finetune, given = self.args.finetune_lr, (embedding, classes, step)
        with tf.GradientTape() as g_tape:  # the only pass of either generator
            small, *condition_1 = self.generator_1([embedding, eps_1, z], training=finetune)
            input = small if finetune else tf.stop_gradient(small)
            fake, *condition = self.generator([input, embedding, eps], training=True)

        # max_D  E[log D(I, t)] + 1/2 E[log(1 - D(I', t))] + 1/2 E[log(1 - D(G(s0, c), t))], equation 5
        with tf.GradientTape() as d_tape:
            pair = self.seen(images, "real", step), self.seen(fake, "fake", step)
            terms = self.discriminator_loss(self.discriminator, *pair, *given)
            d_total = terms["d_loss"]
            if finetune:  # and stage I's, equation 3
                real_1 = losses.shrunk(images, stage1.SIZE)
                pair = self.seen(real_1, "real_1", step), self.seen(small, "fake_1", step)
                d_loss_1 = self.discriminator_loss(self.discriminator_1, *pair, *given)["d_loss"]
                d_total += d_loss_1
        self.d_optimizer.minimize(d_total, d_tape)

        # min_G  E[-log D(G(s0, c), t)] + lambda KL(N(mu, sigma) || N(0, I)), equation 6, by the D just updated
        with g_tape:
            shown = self.seen(fake, "generator", step)
            terms.update(self.generator_loss(self.discriminator, shown, embedding, *condition))
            if self.args.coeff_small:
                terms["small"] = losses.absolute(losses.shrunk(fake, stage1.SIZE), tf.stop_gradient(small))
                terms["g_loss"] += self.args.coeff_small * terms["small"]
            g_total = terms["g_loss"]
            if finetune:  # and stage I's, equation 4; s0 is G0's, so that G0 is trained by both
                shown = self.seen(small, "generator_1", step)
                g_loss_1 = self.generator_loss(self.discriminator_1, shown, embedding, *condition_1)["g_loss"]
                g_total += g_loss_1
        self.g_optimizer.minimize(g_total, g_tape)
        self.update_ema(step)
        return {**terms, "stage1_d_loss": d_loss_1, "stage1_g_loss": g_loss_1} if finetune else terms

    def enlarge_step(self, images, embedding, classes, step) -> Terms:
        """One update of stage II's generator alone, which learns to give real images back from small ones: before there
        is anything that a discriminator could teach it. SRGAN's begins likewise (Ledig et al., 2017, section 3.2)."""
        _, eps, _ = map(self.session.shard, noise(self.args, self.args.batch_size, step))
        with tf.GradientTape() as tape:
            inputs = [losses.shrunk(images, stage1.SIZE), embedding, eps]
            made, mean, log_sigma = self.generator(inputs, training=True)
            l1 = losses.absolute(made, images)
            g_loss = l1 + self.weighted_kl(mean, log_sigma)
        self.g_optimizer.minimize(g_loss, tape)
        self.update_ema(step)
        return {"d_loss": tf.zeros([]), "g_loss": g_loss, "l1": l1}


def find_stage1(args: argparse.Namespace, embedding_size: int) -> Weights:
    """The weights that `--ckpt_path` names, whose networks are of these options' widths.

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
    theirs = found.about.get("embedding_size")
    if theirs != embedding_size:
        raise UserError(
            f"--ckpt_path {path}: was trained on embeddings of size {theirs}, those of --data_path {args.data_path} "
            f"have {embedding_size}; use the same data"
        )
    return found
