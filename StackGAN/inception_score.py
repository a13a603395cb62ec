"""Inception score of a folder of pictures, by the paper's protocol: ten splits, mean and standard deviation.

python StackGAN/inception_score.py --image_folder=RUN/evaluation/stageII --weights=FILE
python StackGAN/inception_score.py --image_folder=RUN/evaluation/stageII --classifier=DATA/classifier.h5

--weights is Keras' InceptionV3 with its 1000 classes, inception_v3_weights_tf_dim_ordering_tf_kernels.h5; where neither
flag is given it is looked for beside this file and in models/. --classifier is a network trained by train_classifier.py
on a data set's own classes, as the paper fine-tuned its Inception network. A score depends on the network that gives
the probabilities: only scores by the same one may be compared, and the paper's are by a third.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import metrics
import numpy as np
import tensorflow as tf
import train_classifier
from PIL import Image
from tensorflow import keras
from tqdm import tqdm

from common import cli, pictures
from common.cli import UserError
from common.pretrained import float32_layers, load_weights
from common.session import add_device_flags, device_config, open_session

INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels.h5"
INCEPTION_SIDE = 299
HERE = os.path.dirname(os.path.abspath(__file__))
PLACES = (os.path.join(HERE, INCEPTION_FILE), os.path.join(HERE, "models", INCEPTION_FILE))
BATCH = 32  # pictures at a time


@dataclass(frozen=True)
class Judge:
    """A network that tells classes: what the inception score and the Frechet distance are taken by.

    Attributes:
        name: of the network and its file.
        side: the square that pictures are resized to.
        model: pictures [n, side, side, 3] in -1..1 -> [probabilities [n, classes], features [n, d]].
    """

    name: str
    side: int
    model: keras.Model

    def __call__(self, images: Iterable[np.ndarray], total: Optional[int] = None) -> tuple[np.ndarray, np.ndarray]:
        """Judges uint8 RGB pictures [h, w, 3] of any size, read one by one.

        Args:
            total: how many there are, for the progress bar.
        Returns:
            The probabilities of the classes, float64 [n, k], and the features, float64 [n, d].
        """
        forward = _compiled(self.model, self.side)
        results = []
        with tqdm(total=total, desc="judging", unit="", disable=None) as bar:
            for batch in _batches(images):
                prepared = np.stack([resized(image, self.side) for image in batch])
                prepared = np.concatenate([prepared, np.repeat(prepared[-1:], BATCH - len(batch), 0)])  # one graph
                scaled = tf.constant(pictures.scale(prepared, (-1.0, 1.0)))
                results.append([values.numpy()[: len(batch)] for values in forward(scaled)])
                bar.update(len(batch))
        probabilities, features = (np.concatenate(values).astype(np.float64) for values in zip(*results))
        return probabilities, features


def _compiled(model: keras.Model, side: int) -> Callable:
    signature = [tf.TensorSpec([BATCH, side, side, 3], tf.float32)]
    return tf.function(lambda x: model(x, training=False), input_signature=signature)


def _batches(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    batch = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def resized(image: np.ndarray, side: int) -> np.ndarray:
    """uint8 [h, w, 3] at [side, side, 3], antialiased bilinear as in the original."""
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.BILINEAR))


def build_inception() -> keras.Model:
    """InceptionV3 with random weights: pictures [n, 299, 299, 3] in -1..1 -> [probabilities [n, 1000], features
    [n, 2048]], the features those before the last layer."""
    with float32_layers():
        network = keras.applications.InceptionV3(weights=None, input_shape=(INCEPTION_SIDE, INCEPTION_SIDE, 3))
    return keras.Model(network.input, [network.output, network.layers[-1].input], name="inception")


def load_inception(path: str) -> Judge:
    """InceptionV3 with the weights of a file in Keras' layout.

    Raises:
        UserError: the file is missing, damaged, or of another network.
    """
    model = build_inception()
    load_weights(model, path, "InceptionV3 with its 1000 classes", f"give Keras' {INCEPTION_FILE}")
    return Judge(f"InceptionV3 by {os.path.basename(path)}", INCEPTION_SIDE, model)


def load_classifier(path: str) -> Judge:
    """A network of train_classifier.py.

    Raises:
        UserError: the file is missing, damaged, or none of its.
    """
    classifier = train_classifier.load(path)
    outputs = [keras.layers.Softmax()(classifier.output), classifier.layers[-1].input]
    name = f"classifier of {classifier.output.shape[-1]} classes by {os.path.basename(path)}"
    return Judge(name, train_classifier.SIDE, keras.Model(classifier.input, outputs))


def load_judge(weights: Optional[str], classifier: Optional[str]) -> Optional[Judge]:
    """The judge that --weights or --classifier names; None where neither is given."""
    if weights:
        return load_inception(weights)
    return load_classifier(classifier) if classifier else None


def find_pictures(folder: Path) -> list[Path]:
    """The picture files in a folder and those below it, sorted.

    Raises:
        UserError: there is no such folder, or there are fewer than the splits ask for.
    """
    if not folder.is_dir():
        raise UserError(f"--image_folder: there is no folder {folder}")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in pictures.SUFFIXES and path.is_file())


def read(path: Path) -> np.ndarray:
    """A picture file as uint8 RGB [h, w, 3], what is transparent on white.

    Raises:
        UserError: it does not decode.
    """
    picture = pictures.decode(path)
    return np.asarray(pictures.on_white(picture) if picture.mode == "RGBA" else picture.convert("RGB"))


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image_folder", required=True, metavar="DIR", help="pictures, in folders below it too")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--weights", metavar="FILE", help=f"Keras' {INCEPTION_FILE} (beside this file, or in models/)")
    group.add_argument("--classifier", metavar="FILE", help="of train_classifier.py")
    parser.add_argument("--splits", type=cli.in_range(int, 1), default=10, help="parts scored by themselves (10)")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**31 - 1), default=0, help="of the pictures' order (0)")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    if not args.weights and not args.classifier:
        args.weights = next(filter(os.path.isfile, PLACES), None)
    if not args.weights and not args.classifier:
        parser.error(
            f"no network to judge the pictures: --weights={INCEPTION_FILE}, or --classifier=FILE of train_classifier.py"
        )
    return args


def score(args: argparse.Namespace) -> dict[str, Any]:
    """Prints the inception score of a folder's pictures.

    Returns: {"mean", "std", "pictures", "network"}.
    Raises:
        UserError: too few pictures, one that does not decode, or a file of weights that cannot be used.
    """
    files = find_pictures(Path(args.image_folder).expanduser())
    if len(files) < args.splits:
        raise UserError(
            f"--image_folder {args.image_folder}: {len(files)} pictures cannot be cut into {args.splits} splits; "
            "give more pictures, or a smaller --splits"
        )
    open_session(device_config(args))
    judge = load_judge(args.weights, args.classifier)
    probabilities, _ = judge(map(read, files), len(files))
    mean, std = metrics.inception_score(probabilities, args.splits, args.seed)
    print(f"{len(files)} pictures of {args.image_folder}, {args.splits} splits, {judge.name}")
    print(f"mean: {mean:.2f} std: {std:.2f}")
    return {"mean": mean, "std": std, "pictures": len(files), "network": judge.name}


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(score, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
