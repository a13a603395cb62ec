"""A small training on all of `common`: in a test's process, in one of its own and as one of two workers."""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from common import cli  # noqa: E402, I001  (before TensorFlow, whose start-up lines it leaves out)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow import keras  # noqa: E402

from common.layers import BatchNorm, moving_statistics, named_variables, update_average  # noqa: E402
from common.run import Run, add_run_flags, claim  # noqa: E402
from common.config import add_session_flags, session_config  # noqa: E402
from common.session import Session, open_session, set_seed  # noqa: E402
from common.stream import key, sample_batches, shuffled_batches  # noqa: E402

SAMPLES = np.random.RandomState(0).normal(size=(14, 3, 3, 2)).astype(np.float32)


def parse_args(argv):
    parser = cli.ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--train_steps", type=int, default=7)
    parser.add_argument("--save_step", type=int, default=2)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--divide_by_zero_at", type=int, default=-1, help="the step whose loss is Inf")
    parser.add_argument("--log_seconds", type=float, default=0.0, help="that a step takes longer")
    parser.add_argument("--norms", nargs="+", default=["none"], choices=["none", "own", "sync"], help="a run of each")
    cli.add_boolean(parser, "--save_endless", False, "after them a run of the first kind that does not end")
    add_run_flags(parser, "")
    add_session_flags(parser, "force_fp32")
    return parser.parse_args(argv)


def network(norm):
    x = inputs = keras.Input((3, 3, 2))
    bias = not norm  # normalisation takes it away: what moves it then is rounding
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=bias, name="first")(x)
    x = BatchNorm(name="images_norm")(x) if norm else x
    x = keras.layers.Dense(5, use_bias=bias, name="second")(keras.layers.Flatten()(keras.layers.ReLU()(x)))
    x = BatchNorm(name="rows_norm")(x) if norm else x
    x = keras.layers.Dense(2, name="last")(keras.layers.Activation("tanh")(x))
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(x))


def train(args, norm, opened=None):
    """A run; `opened`: the session of an earlier one of this process, since the workers meet once."""
    folder = os.path.join(args.output_path, norm)
    args = argparse.Namespace(**{**vars(args), "sync_batch_norm": norm == "sync", "output_path": folder})
    del args.norms, args.save_endless
    held = claim(args, "Toy")
    session = open_session(session_config(args)) if opened is None else again(opened, session_config(args))
    set_seed(3 + session.rank)  # so that only the broadcast makes them equal
    model, average = network(norm != "none"), network(norm != "none")
    optimizer = session.optimizer(model, args.learning_rate)
    session.average(moving_statistics(average))
    read = []

    def train_step(x, number, step):
        noise = tf.random.stateless_normal([args.batch_size, 2], key("noise", args.seed, step))
        with tf.GradientTape() as tape, tf.name_scope("toy"):
            loss = tf.reduce_mean((model(x, training=True) - session.shard(noise)) ** 2)
            loss = tf.math.divide(loss, tf.where(step == args.divide_by_zero_at, 0.0, 1.0), name="ratio")
        optimizer.minimize(loss, tape)
        update_average(average, model, 0.9, step)
        return {"loss": loss}

    def sample(index, number):
        return tf.gather(SAMPLES, index), number

    update = session.compile(train_step)
    state = {
        "generator": named_variables(model),
        "ema_generator": named_variables(average),
        "g_optimizer": optimizer.state,
    }
    with Run(held, session, args.train_steps, state) as run:
        order = shuffled_batches(len(SAMPLES), args.batch_size, args.seed, run.step).unbatch()
        stream = sample_batches(sample, order, args.batch_size, run.step, session)
        for step in run.steps():
            x, numbers = next(stream)
            read.extend(numbers.numpy().tolist())
            metrics = update(x, numbers, tf.constant(step))
            time.sleep(args.log_seconds)
            run.end_step(metrics)
            run.scalars("train", run.fetch(metrics))
            if run.due(args.save_step):
                run.save()
        run.log(f"read: {read}")
        run.finish(["train/loss"], {}, {})
    return session


def again(opened, config):
    place = opened.device, opened.precision, opened.rank, opened.world_size, opened._strategy
    return Session(config, *place)


def main(args):
    opened = None
    for norm in args.norms:
        opened = train(args, norm, opened)
    if args.save_endless:
        args.train_steps, args.log_seconds, args.output_path = 10**6, 0.05, os.path.join(args.output_path, "endless")
        train(args, args.norms[0], opened)


if __name__ == "__main__":
    cli.leave(cli.run_main(main, parse_args(None)))
