"""The metrics of a training: errors on held-out images beside two baselines, and what its generated images show."""

import argparse
from types import SimpleNamespace

import losses
import numpy as np
import tensorflow as tf
from data import Data, in_batches
from layers import data_dependent_init
from model import build_discriminator, predict_logits, value_range
from steps import latents, make_optimizer, noise
from tensorflow import keras
from tqdm import tqdm

from common.images import to_float, to_uint8
from common.layers import moving_statistics, update_average
from common.session import Session, set_seed
from common.stream import shuffled_batches

JUDGED = 1000  # images generated to be judged
SURE = 0.9  # the probability from which on the judge counts an image as recognised


def count_errors(network: keras.Model, options: argparse.Namespace, images: np.ndarray, labels: np.ndarray) -> int:
    """How many images' largest class logit is not their label's."""
    return int((predict_logits(network, options, images).argmax(-1) != labels).sum())


def train_supervised(
    options: argparse.Namespace, session: Session, images: np.ndarray, labels: np.ndarray, updates: int, name: str
) -> keras.Model:
    """The supervised-only baseline: the same discriminator on labelled images alone, with all else that the model gets.

    Of several workers each takes its shard of a batch, as in the training of the model.

    Args:
        images, labels: uint8 [n, height, width, channels] and int32 [n], all of them labelled and every class there.
        updates: how many.
        name: a word of its own, from which its order and noise come.
    Returns:
        The average of its weights, which is what is tested.
    """
    set_seed(options.seed + 1)  # whatever was drawn before, as where a run goes on
    batch_size = min(options.batch_size, len(images) // session.world_size * session.world_size)
    kind = options, images.shape[1:], int(labels.max()) + 1, session.local_batch(batch_size)
    discriminator, tested = (build_discriminator(*kind) for _ in range(2))
    optimizer = make_optimizer(options, session, discriminator, options.learning_rate_d, updates)

    def supervised_step(batch, targets, step):
        """min_D  CE(D(x), y)"""
        with tf.GradientTape() as tape:
            if options.model == "ssgan":
                loss = losses.real_or_class(discriminator(batch, training=True), targets)
            else:
                seed = noise(options, session, f"{name}_noise", step)
                loss = losses.labelled(discriminator([batch, seed], training=True)[1], targets)
        optimizer.minimize(loss, tape)
        update_average(tested, discriminator, 1.0 - options.average_rate, step)
        return {"loss": loss}

    if options.model == "paper":
        first = to_float(images[:500], value_range(options))
        data_dependent_init(discriminator, [tf.constant(first), noise(options, session, f"{name}_init", 0)])
    session.average(moving_statistics(tested))
    supervised_step = session.compile(supervised_step)
    order = shuffled_batches(len(images), batch_size, options.seed, purpose=f"{name}_order").take(updates)
    for step, indices in enumerate(tqdm(order.as_numpy_iterator(), name, updates, unit="step", disable=None)):
        chosen = session.shard(indices)
        batch = to_float(images[chosen], value_range(options))
        supervised_step(tf.constant(batch), tf.constant(labels[chosen]), tf.constant(step))
    return tested


def judge(probabilities: np.ndarray) -> dict[str, float]:
    """What a classifier [n, classes] makes of images: the part that it is sure of, and the classes' entropy (nats).

    Digits are recognised and as many of each kind: 1, and ln(10) = 2.303 for ten classes.
    """
    classes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]) / len(probabilities)
    entropy = -float(np.sum(classes[classes > 0] * np.log(classes[classes > 0])))
    return {"recognised": float((probabilities.max(1) >= SURE).mean()), "class_entropy": max(0.0, entropy)}


def judge_generated(
    options: argparse.Namespace, session: Session, generator: keras.Model, loaded: Data, steps: int
) -> dict[str, float]:
    """`judge` of generated images ("generated_...") and of held-out ones ("real_...").

    The classifier is a discriminator trained apart for so many `steps`, on all labels that the training data has.
    """
    known = loaded.train_labels >= 0
    labelled = loaded.train_images[known], loaded.train_labels[known]
    classifier = train_supervised(options, session, *labelled, steps, "judge")
    z = latents(options, "judged_latents", 0, JUDGED).numpy()
    draw = tf.function(lambda rows: generator(rows, training=False))
    generated = to_uint8(in_batches(lambda rows: draw(tf.constant(rows)).numpy(), z, 100), value_range(options))
    found = {}
    for name, images in (("generated", generated), ("real", loaded.test_images[:JUDGED])):
        probabilities = tf.nn.softmax(predict_logits(classifier, options, images)).numpy()
        found.update({f"{name}_{metric}": value for metric, value in judge(probabilities).items()})
    return found


def evaluate_run(args: argparse.Namespace, parts: SimpleNamespace, baseline_steps: int) -> tuple[dict, dict]:
    """The metrics of a training on the whole held-out set, and the baselines.

    Args:
        parts: the training, as `train.prepare` made it.
        baseline_steps: how long to train the supervised-only baseline; 0 leaves it out, as --judge_steps=0 the judge.
    Returns:
        {"accuracy", "errors", "test_images", "labels"} with `judge_generated`'s, and {"accuracy": always the most
        frequent class, "supervised_only_accuracy", "supervised_only_errors", "supervised_only_updates": the same
        discriminator trained on the same labels alone}.
    """
    loaded, total = parts.data, len(parts.data.test_images)
    known = loaded.train_labels[parts.labelled]
    errors = count_errors(parts.tested, args, loaded.test_images, loaded.test_labels)
    metrics = {"accuracy": 1 - errors / total, "errors": errors, "test_images": total, "labels": len(known)}
    baseline = {"accuracy": float((loaded.test_labels == np.bincount(known).argmax()).mean())}
    if baseline_steps:
        seen = loaded.train_images[parts.labelled]
        network = train_supervised(args, parts.session, seen, known, baseline_steps, "supervised")
        errors = count_errors(network, args, loaded.test_images, loaded.test_labels)
        baseline.update(supervised_only_accuracy=1 - errors / total, supervised_only_errors=errors)
        baseline["supervised_only_updates"] = baseline_steps
    if args.judge_steps:
        metrics.update(judge_generated(args, parts.session, parts.shown, loaded, args.judge_steps))
    return metrics, baseline
