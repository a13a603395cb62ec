"""What test_session.py runs in processes of their own, as they change TensorFlow for good."""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import tensorflow as tf  # noqa: E402

from common import cli  # noqa: E402
from common.run import Run, add_run_flags, claim_output  # noqa: E402
from common.session import add_session_flags, open_session, session_config  # noqa: E402


def train(args):
    """A run whose step divides by zero in the third step, deep in a graph."""
    claim_output(args)
    session = open_session(session_config(args))
    weight = tf.Variable([1.0, 2.0])

    def step(number):
        with tf.name_scope("generator"):
            ratio = tf.math.divide(weight, tf.cast(number - 2, tf.float32), name="ratio")
        weight.assign_sub(0.001 * ratio)
        return {"loss": tf.reduce_sum(ratio)}

    update = session.compile(step)
    with Run(session, args, "Net", 5, {"net": {"w": weight}}) as run:
        for number in run.steps():
            run.end_step(update(tf.constant(number)))
            run.save()


def deterministic(args):
    """Whether TensorFlow knows that it has to be deterministic."""
    open_session(session_config(args))
    try:
        tf.random.normal([2])
        refused = False
    except RuntimeError as error:  # random numbers need a seed then
        refused = "determinism" in str(error)
    print(json.dumps([refused, os.environ.get("TF_DETERMINISTIC_OPS")]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    add_run_flags(parser, "")
    add_session_flags(parser)
    arguments = parser.parse_args()
    arguments.batch_size = 2
    sys.exit(cli.call({"train": train, "deterministic": deterministic}[arguments.scenario], arguments))
