"""Trains the text encoder on a data set's captions and images, so that any sentence can be read.

python StackGAN/train_text_encoder.py --data_path=birds                        some minutes on a CPU
python StackGAN/train_text_encoder.py --data_path=birds --vgg19_weights=FILE   against VGG19's features of the images

It writes birds/text_encoder.safetensors, which train.py copies beside its checkpoints and predict.py reads, and, unless
there are embeddings of another origin, birds/{train,test}/embeddings.npy, on which train.py trains. At the end it tells
how often a held-out caption finds its own image among 100, beside chance.

The loss is the symmetric structured joint embedding of Reed et al. (2016, arXiv 1605.05395, equations 2 to 5): each
image should fit its own caption better than any other caption in the batch, by 1, and each caption its own image. The
images' side is a small network that is trained along, or one layer on the features of VGG19, which stays as it is.
Then the text encoder alone learns what sentences mean that name less than the captions do (short_sentences.py).
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
import tensorflow as tf
import text_encoder
from image_features import vgg19_halves
from model import build_feature_encoder, build_image_encoder, build_text_encoder, in_chunks
from short_sentences import ShortSentences
from text_encoder import FILE, TextEncoder
from tqdm import tqdm

from common import cli, weights
from common.cli import TrainingError, UserError, notice
from common.config import add_device_flags, device_config
from common.images import to_float
from common.layers import named_variables
from common.session import Session, open_session, set_seed
from common.vgg19 import add_vgg19_flag

POOL = 100  # images that a held-out caption chooses from
SIZE = 64  # of the images that the small network sees
REPLACED = (data.BY_ATTRIBUTES, data.BY_ENCODER)  # whose embeddings are replaced
MAX_WORDS = 50_000
SHORT_SHARE = 0.4  # steps on short sentences, for each on captions
SHORT_RATE = 0.6  # their learning rate, in --learning_rate


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--data_path", required=True, metavar="DIR", help="a data set with captions: train/ and test/")
    parser.add_argument("--steps", type=cli.in_range(int, 1), default=1500, help="of one batch each")
    parser.add_argument("--batch_size", type=cli.in_range(int, 2), default=64, help="images a step")
    parser.add_argument("--learning_rate", type=cli.in_range(float, 0), default=1e-3, help="falls to 0")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 10**8), default=0, help="initial weights, order")
    text = "short sentences of each training image, beside its captions, for train.py to learn from"
    parser.add_argument("--short_sentences", type=cli.in_range(int, 0, 100), default=0, metavar="N", help=text)
    add_vgg19_flag(parser, "for the images' side")
    add_device_flags(parser)
    return parser.parse_args(argv)


def joint_embedding_loss(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The structured loss, both directions: mean over i and j of max(0, 1 + s_ij - s_ii) + max(0, 1 + s_ji - s_ii).

    s_ij is the inner product of rows i and j [n, d] of both; row i of the one fits row i of the other.
    """
    scores = tf.matmul(one, other, transpose_b=True)
    right = tf.linalg.diag_part(scores)
    loss = tf.nn.relu(1 + scores - right[:, None]) + tf.nn.relu(1 + scores - right[None, :])
    n = tf.cast(tf.shape(scores)[0], tf.float32)
    return (tf.reduce_sum(loss) - 2 * n) / (n * (n - 1))  # each s_ii gave 1 twice, and is no wrong pair


class Part:
    """A split, its captions as texts and as character numbers [captions, 201], whose each is [captions], and what the
    images' side sees of its images, float32 [n, features]; None: the images themselves.

    Raises:
        UserError: it cannot be read, has no captions, or an empty one.
    """

    def __init__(self, folder: Path, vgg19: Optional[Callable]) -> None:
        self.split = data.Split(folder, embeddings=False)
        captions = self.split.captions
        if captions is None:
            raise UserError(f"{folder}: there are no captions in captions/, and they are what is learned from")
        self.owner = np.repeat(np.arange(len(self.split)), [len(lines) for lines in captions])
        flat = [caption for lines in captions for caption in lines]
        self.texts, self.numbers = flat, text_encoder.check_sentences(flat)
        self.words = sorted({word for caption in flat for word in text_encoder.words(caption)})
        self.features = vgg19(self.split.images(data.SIZE)).reshape(len(self.split), -1) if vgg19 else None


def batches(args: argparse.Namespace, part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Endless (captions int32 [n, 201], images float32 [n, 64, 64, 3] or features [n, d]), by the seed alone.

    Each row is another image, as far as there are enough; one caption of each.
    """
    rng = np.random.default_rng(args.seed)
    first = np.searchsorted(part.owner, np.arange(len(part.split) + 1))
    n, edge = min(args.batch_size, len(part.split)), data.LOAD_SIZES[SIZE] - SIZE
    while True:
        rows = rng.choice(len(part.split), n, replace=False)
        numbers = part.numbers[[rng.integers(first[row], first[row + 1]) for row in rows]]
        if part.features is not None:
            yield numbers, part.features[rows]
            continue
        images = []
        for row in rows:
            top, left = rng.integers(0, edge + 1, 2)
            image = part.split.images(data.LOAD_SIZES[SIZE])[row, top : top + SIZE, left : left + SIZE]
            images.append(image[:, :: rng.choice([-1, 1])])
        yield numbers, to_float(np.stack(images), (-1.0, 1.0))


def fit(args: argparse.Namespace, session: Session, part: Part) -> tuple[dict[str, np.ndarray], Any]:
    """Trains both networks; returns the text encoder's arrays and the images' network."""
    set_seed(args.seed)
    text = build_text_encoder()
    images = build_image_encoder() if part.features is None else build_feature_encoder(part.features.shape[1])

    def learning_rate(updates):
        return args.learning_rate * (1 - tf.cast(updates, tf.float32) / args.steps)

    optimizer = session.optimizer([text, images], learning_rate)

    def train_step(numbers, seen):
        with tf.GradientTape() as tape:
            symbols = tf.one_hot(numbers - 1, len(text_encoder.ALPHABET))
            loss = joint_embedding_loss(text(symbols, training=True), images(seen, training=True))
        optimizer.minimize(loss, tape)
        return {"loss": loss}

    step, endless, losses = session.compile(train_step), batches(args, part), []
    started = time.monotonic()
    for number in tqdm(range(1, args.steps + 1), "text encoder", unit="step", disable=None):
        losses.append(float(step(*map(tf.constant, next(endless)))["loss"]))
        if not np.isfinite(losses[-1]):
            raise TrainingError(f"step {number}: the loss is no longer a number; give a smaller --learning_rate")
        if number % 100 == 0 or number == args.steps:
            seconds = (time.monotonic() - started) / number
            line = f"[Info] step {number}/{args.steps} loss {np.mean(losses[-100:]):.4f} {seconds:.3f} sec/step"
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
    arrays = {name: variable.numpy() for name, variable in named_variables(text).items()}
    sample = TextEncoder(arrays).encode_numbers(part.numbers[:: max(1, len(part.numbers) // 1000)])
    scale = float(np.sqrt(np.mean(sample**2)))  # embeddings of size 1, as the generator's first layer expects
    layer = images.get_layer("embedding")
    layer.set_weights([weight * scale for weight in layer.get_weights()])
    return {name: array / scale if name.startswith("embedding.") else array for name, array in arrays.items()}, images


def fit_short(
    args: argparse.Namespace, session: Session, arrays: dict[str, np.ndarray], part: Part
) -> dict[str, np.ndarray]:
    """Teaches a trained text encoder short sentences, by half of each batch; the captions of the other half stay.

    Args:
        arrays: of the encoder, as `TextEncoder` takes them.
    Returns:
        The arrays anew; as they were, where captions have too little in common.
    """
    texts, rows = np.unique(part.texts, return_index=True)
    numbers = part.numbers[rows]
    embeddings = TextEncoder(arrays).encode_numbers(numbers)
    short, rng = ShortSentences(texts.tolist(), embeddings), np.random.default_rng([args.seed, 1])
    half, steps = max(1, args.batch_size // 2), max(1, round(SHORT_SHARE * args.steps))
    if len(short.batch(rng, half)[0]) < half:
        notice("captions have too little in common for short sentences to be made of them")
        return arrays
    text = build_text_encoder()
    variables = named_variables(text)
    for name, variable in variables.items():
        variable.assign(arrays[name])

    def learning_rate(updates):
        return SHORT_RATE * args.learning_rate * (1 - tf.cast(updates, tf.float32) / steps)

    optimizer = session.optimizer(text, learning_rate)

    def train_step(numbers, wanted):
        with tf.GradientTape() as tape:
            symbols = tf.one_hot(numbers - 1, len(text_encoder.ALPHABET))
            loss = tf.reduce_mean(tf.square(text(symbols, training=True) - wanted))
        optimizer.minimize(loss, tape)
        return {"loss": loss}

    step, losses = session.compile(train_step), []
    for _ in tqdm(range(steps), "short sentences", unit="step", disable=None):
        sentences, wanted = short.batch(rng, half)
        kept = rng.integers(len(numbers), size=half)
        read = text_encoder.check_sentences(sentences)
        both = np.concatenate([numbers[kept], read]), np.concatenate([embeddings[kept], wanted])
        losses.append(float(step(*map(tf.constant, both))["loss"]))
    notice(
        f"short sentences: squared distance {np.mean(losses[:20]):.3f} at first, {np.mean(losses[-20:]):.3f} at last"
    )
    return {name: variable.numpy() for name, variable in variables.items()}


def retrieval(captions: np.ndarray, owner: np.ndarray, images: np.ndarray, pool: int = POOL) -> tuple[float, float]:
    """How often a caption's own image fits it best of a pool of images, its own and others drawn at random.

    Args:
        captions: embeddings [captions, d]. owner: whose each is [captions]. images: features [n, d].
    Returns: that share, and chance.
    """
    pool = min(pool, len(images))
    rng = np.random.default_rng(0)
    right = 0
    for caption, own in zip(captions, owner):
        others = rng.choice(len(images) - 1, pool - 1, replace=False)
        scores = images[others + (others >= own)] @ caption
        right += images[own] @ caption > scores.max(initial=-np.inf)
    return right / len(owner), 1 / pool


def short_sentences(part: Part, number: int, seed: int) -> list[list[str]]:
    """`number` sentences of each image that name less than its captions do; fewer different ones are repeated."""
    texts, rows = np.unique(part.texts, return_inverse=True)
    short, rng, made = ShortSentences(texts.tolist(), np.zeros([len(texts), 1])), np.random.default_rng([seed, 2]), []
    for own in np.split(rows.ravel(), np.flatnonzero(np.diff(part.owner)) + 1):
        drawn = [short.shorter(rng, own[rng.integers(len(own))]) for _ in range(4 * number)]
        different = list(dict.fromkeys(sentence for sentence, pairs in drawn if pairs)) or [str(texts[own[0]])]
        made.append([different[i % len(different)] for i in range(number)])
    return made


def write_embeddings(part: Part, encoder: TextEncoder, short: Optional[list[list[str]]] = None) -> None:
    """Embeds a split's captions, and behind them as many short sentences of each image. An image with fewer captions
    than others has its own repeated, so that each has as many."""
    distinct, row = np.unique(part.numbers, axis=0, return_inverse=True)
    counts = np.bincount(part.owner)
    captions = (np.cumsum(counts) - counts)[:, None] + np.arange(counts.max()) % counts[:, None]
    embeddings = encoder.encode_numbers(distinct)[row.ravel()[captions]]
    if short:
        texts, row = np.unique(short, return_inverse=True)
        more = encoder.encode(texts.tolist())[row.reshape(len(short), -1)]
        embeddings = np.concatenate([embeddings, more], 1)
    data.save_embeddings(part.split.folder, part.split.filenames, embeddings, data.BY_ENCODER)


def train(args: argparse.Namespace) -> None:
    """Trains, writes the files, and tells the retrieval on held-out captions.

    Raises:
        UserError: the data cannot be used, or a file is there already or cannot be written.
    """
    folder = Path(args.data_path).expanduser()
    if (folder / FILE).exists():
        raise UserError(f"{folder / FILE} is there already; move it away")
    for place in (folder, folder / "train", folder / "test"):
        if place.is_dir() and not os.access(place, os.W_OK):
            raise UserError(f"{place} cannot be written to; copy it to where you may write")
    vgg19 = vgg19_halves(args.vgg19_weights, folder)
    parts = known, held_out = [Part(folder / part, vgg19) for part in ("train", "test")]
    paths = (part.split.folder / data.EMBEDDINGS for part in parts)
    others = [path for path in paths if path.is_file() and data.embeddings_made_by(path.parent) not in REPLACED]
    if others:
        notice(f"{others[0]} stays; a model trained on it will not know this encoder's sentences")
    session = open_session(device_config(args))
    arrays, images = fit(args, session, known)
    arrays = fit_short(args, session, arrays, known)
    encoder, seen = TextEncoder(arrays), held_out.features
    if seen is None:
        seen = to_float(held_out.split.crops(SIZE), (-1.0, 1.0))
    captions = encoder.encode_numbers(held_out.numbers)
    accuracy, chance = retrieval(captions, held_out.owner, in_chunks(images)(seen))
    notice(f"a held-out caption's own image comes first of {round(1 / chance)}: {accuracy:.1%} (chance {chance:.1%})")
    tensors = {f"text/{name}": array for name, array in arrays.items()}
    tensors.update({f"image/{name}": variable.numpy() for name, variable in named_variables(images).items()})
    about = {"words": known.words[:MAX_WORDS], "vgg19": bool(vgg19), "accuracy": accuracy, "chance": chance}
    print(weights.save(folder / FILE, text_encoder.NETWORK, tensors, vars(args), about, args.steps))
    short = args.short_sentences and short_sentences(known, args.short_sentences, args.seed)
    for part in parts if not others else ():
        write_embeddings(part, encoder, short if part is known else None)
        print(part.split.folder / data.EMBEDDINGS)


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(train, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
