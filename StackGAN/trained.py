"""A trained StackGAN of one stage or both from its checkpoint alone, and the pictures that it draws of embeddings."""

import argparse
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
from stageI import model as one
from stageII import model as two
from tensorflow import keras

from common import npu
from common.checkpoint import checkpoint_record, load_checkpoint, run_folder
from common.cli import UserError
from common.optimizer import named_variables
from common.pictures import to_uint8

NETWORK = "StackGAN"
RANGE = (-1.0, 1.0)  # black and white to the networks
CHUNK = {1: 64, 2: 8}  # pictures at a time, by stage
SIZES = ("embedding_dim", "z_dim", "gf_dim")


@dataclass(frozen=True)
class Trained:
    """The generators with their trained weights, and the options of the run that trained them."""

    prefix: str  # the checkpoint's files, without their endings
    options: argparse.Namespace  # of the run
    stage: int  # 1 or 2
    stage1: keras.Model
    stage2: Optional[keras.Model]  # None of a run of stage I
    run_folder: Path  # of the run, or the one that the checkpoint was copied to


def load(ckpt_path: str) -> Trained:
    """Reads a checkpoint of either stage: the newest whole one of a run's folder, or the one that is named.

    Of a folder that holds both stages' runs, as `train.py --stage=both` writes it, stage II's.

    Raises:
        UserError: there is none, or it is of another model.
    """
    path = str(ckpt_path)
    for stage in ("stageII", "stageI"):
        if (Path(path) / stage / "checkpoints").is_dir():
            path = str(Path(path) / stage)
            break
    record = checkpoint_record(path)
    options, about = record["options"], record["about"]
    if about.get("network") != NETWORK or about.get("stage") not in (1, 2) or not _known(options, about):
        raise UserError(f"{path}: not a checkpoint of {NETWORK}")
    stage1, stage2 = build(options, about["stage"], about["embedding_size"])
    networks = {"generator": stage1} if stage2 is None else {"stage1_generator": stage1, "generator": stage2}
    state = {name: named_variables(network) for name, network in networks.items()}
    prefix = load_checkpoint(path, **state)
    return Trained(prefix, options, about["stage"], stage1, stage2, run_folder(prefix))


def _known(options: argparse.Namespace, about: dict[str, Any]) -> bool:
    """Whether a checkpoint says what to build."""
    sizes = [about.get("embedding_size"), *(getattr(options, name, None) for name in SIZES)]
    return all(type(size) is int and size > 0 for size in sizes) and hasattr(options, "cond_augmentation")


def build(options: argparse.Namespace, stage: int, embedding_size: int) -> tuple[keras.Model, Optional[keras.Model]]:
    """The generators that a run's options ask for, with random weights: stage I's, and stage II's or None."""
    o = options
    stage1 = one.build_generator(
        embedding_size, o.embedding_dim, o.z_dim, o.gf_dim, getattr(o, "network_type", "default"), o.cond_augmentation
    )
    if stage == 1:
        return stage1, None
    return stage1, two.build_generator(embedding_size, o.embedding_dim, o.gf_dim, o.cond_augmentation)


def embedding_size(model: Any) -> int:
    """How many numbers a sentence's embedding has."""
    return int(model.stage1.inputs[0].shape[-1])


# Noise.


def latents(n: int, seed: int, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """The noise of `n` pictures: eps, float32 [2, n, condition], stage I's and stage II's, and z, float32 [n, z_dim].

    eps is from a truncated normal distribution, z from a normal one. Picture i's is a function of (seed, i) alone.
    """
    condition = options.embedding_dim
    eps, z = np.empty([2, n, condition], np.float32), np.empty([n, options.z_dim], np.float32)
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        eps[:, index] = truncated(rng, 2 * condition).reshape(2, condition)
        z[index] = rng.standard_normal(options.z_dim)
    return eps, z


def truncated(rng: np.random.Generator, count: int) -> np.ndarray:
    """So many numbers of a normal distribution, those beyond two standard deviations drawn anew."""
    kept = np.empty(0)
    while len(kept) < count:
        drawn = rng.standard_normal(count)
        kept = np.concatenate([kept, drawn[np.abs(drawn) <= 2]])
    return kept[:count]


# Pictures.


def draw(
    model: Any,
    embeddings: np.ndarray,
    eps: Optional[np.ndarray] = None,
    z: Optional[np.ndarray] = None,
    seed: int = 0,
) -> list[np.ndarray]:
    """Draws a picture of each embedding. No picture depends on the others: statistics are those of the training.

    Args:
        model: a `Trained`, or anything with its `options`, `stage1` and `stage2`.
        embeddings: float32 [n, numbers].
        eps, z: the noise, as `latents` gives it; by default that of `seed`.
    Returns:
        uint8 [n, 64, 64, 3], and of a model of both stages uint8 [n, 256, 256, 3] too.
    Raises:
        UserError: embeddings of another size, or weights of no use.
    """
    wanted = embedding_size(model)
    if embeddings.ndim != 2 or embeddings.shape[1] != wanted:
        raise UserError(f"the networks take embeddings [n, {wanted}], and these are {list(embeddings.shape)}")
    n = len(embeddings)
    drawn_eps, drawn_z = latents(n, seed, model.options) if eps is None or z is None else (eps, z)
    eps, z = drawn_eps if eps is None else eps, drawn_z if z is None else z
    chunks = list(_chunks(model, np.asarray(embeddings, np.float32), eps, z))
    if not chunks:
        return [np.zeros([0, 64, 64, 3], np.uint8), np.zeros([0, 256, 256, 3], np.uint8)][: 1 + bool(model.stage2)]
    return [np.concatenate(pictures) for pictures in zip(*chunks)]


def _chunks(model: Any, embeddings: np.ndarray, eps: np.ndarray, z: np.ndarray) -> Iterator[list[np.ndarray]]:
    size = min(CHUNK[1 if model.stage2 is None else 2], len(embeddings))
    run = _compiled(model.stage1, model.stage2)
    for start in range(0, len(embeddings), size):
        rows = np.arange(start, min(start + size, len(embeddings)))
        if npu.available():  # which compiles a graph for each shape: the last pictures are drawn twice
            rows = np.minimum(np.arange(start, start + size), len(embeddings) - 1)
        drawn = run(*map(tf.constant, (embeddings[rows], eps[0][rows], z[rows], eps[1][rows])))
        pictures = [picture.numpy()[: len(embeddings) - start] for picture in drawn]
        if not all(np.isfinite(picture).all() for picture in pictures):
            raise UserError("the networks draw numbers that are not finite: their run diverged; use an earlier one")
        yield [to_uint8(picture, RANGE) for picture in pictures]


def function(stage1: keras.Model, stage2: Optional[keras.Model]) -> Callable[..., list[tf.Tensor]]:
    """The networks as one function of (embedding, eps, z, eps of stage II), to float32 -1..1 of stage I, and of II."""

    def pictures(embedding, eps, z, eps2):
        small, *_ = stage1([embedding, eps, z], training=False)
        if stage2 is None:
            return [small]
        return [small, stage2([small, embedding, eps2], training=False)[0]]

    return pictures


@functools.lru_cache(maxsize=4)  # a caller with a few pictures at a time does not wait for the graph at each
def _compiled(stage1: keras.Model, stage2: Optional[keras.Model]) -> Callable:
    embedding, eps, z = ([None, *x.shape[1:]] for x in stage1.inputs)
    signature = [tf.TensorSpec(shape, tf.float32) for shape in (embedding, eps, z, eps)]
    return tf.function(function(stage1, stage2), input_signature=None if npu.available() else signature)
