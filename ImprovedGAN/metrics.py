"""The metrics of a training: errors on held-out images beside two baselines, and what its generated images show."""

import argparse

import data
import numpy as np
import tensorflow as tf
from baseline import train_supervised
from model import predict_logits, value_range
from predictor import in_batches
from steps import latents
from tensorflow import keras

from common.images import to_uint8
from common.session import Session

JUDGED = 1000  # images generated to be judged
SURE = 0.9  # the probability from which on the judge counts an image as recognised


def count_errors(
    discriminator: keras.Model, options: argparse.Namespace, images: np.ndarray, labels: np.ndarray
) -> int:
    """How many images' largest class logit is not their label's."""
    return int((predict_logits(discriminator, options, images).argmax(-1) != labels).sum())


def judge(probabilities: np.ndarray) -> dict[str, float]:
    """What a classifier [n, classes] makes of images: the part that it is sure of, and the classes' entropy (nats).

    Digits are recognised and as many of each kind: 1, and ln(10) = 2.303 for ten classes.
    """
    classes = np.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]) / len(probabilities)
    entropy = -float(np.sum(classes[classes > 0] * np.log(classes[classes > 0])))
    return {"recognised": float((probabilities.max(1) >= SURE).mean()), "class_entropy": max(0.0, entropy)}


def judge_generated(
    options: argparse.Namespace, session: Session, generator: keras.Model, loaded: data.Data, steps: int
) -> dict[str, float]:
    """`judge` of generated images ("generated_...") and of held-out ones ("real_...").

    The classifier is a discriminator trained apart for so many `steps`, on all labels that the training data has.
    """
    known = loaded.train_labels >= 0
    sets = loaded.train_images[known], loaded.train_labels[known]
    classifier = train_supervised(options, session, *sets, len(loaded.class_names), steps, "judge")
    z = latents(options, "judged_latents", 0, JUDGED)
    draw = tf.function(lambda rows: generator(rows, training=False))
    generated = in_batches(lambda rows: to_uint8(draw(tf.constant(rows)), value_range(options)), z.numpy(), 100)
    found = {}
    for name, images in (("generated", generated), ("real", loaded.test_images[:JUDGED])):
        probabilities = tf.nn.softmax(predict_logits(classifier, options, images)).numpy()
        found.update({f"{name}_{metric}": value for metric, value in judge(probabilities).items()})
    return found


def evaluate_run(
    options: argparse.Namespace,
    session: Session,
    tested: keras.Model,
    generator: keras.Model,
    loaded: data.Data,
    labelled: np.ndarray,
    baseline_steps: int,
    judge_steps: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of a training on the whole held-out set, and the baselines.

    Args:
        labelled: indices of the training images whose labels were seen.
        baseline_steps, judge_steps: how long to train the supervised-only baseline and the judge; 0 leaves one out.
    Returns:
        {"accuracy", "errors", "test_images", "labels"} with `judge_generated`'s, and {"accuracy": always the most
        frequent class, "supervised_only_accuracy", "supervised_only_errors", "supervised_only_updates": the same
        discriminator trained on the same labels alone}.
    """
    images, labels = loaded.test_images, loaded.test_labels
    errors = count_errors(tested, options, images, labels)
    metrics = {"accuracy": 1 - errors / len(images), "errors": errors, "test_images": len(images)}
    metrics["labels"] = len(labelled)
    known = loaded.train_labels[labelled]
    baseline = {"accuracy": float((labels == np.bincount(known).argmax()).mean())}
    if baseline_steps:
        seen = loaded.train_images[labelled]
        supervised = train_supervised(options, session, seen, known, len(loaded.class_names), baseline_steps)
        errors = count_errors(supervised, options, images, labels)
        baseline.update(supervised_only_accuracy=1 - errors / len(images), supervised_only_errors=errors)
        baseline["supervised_only_updates"] = baseline_steps
    if judge_steps:
        metrics.update(judge_generated(options, session, generator, loaded, judge_steps))
    return metrics, baseline
