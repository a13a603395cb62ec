"""Inception score of a folder of images, by the paper's protocol: ten splits, mean and standard deviation.

python StackGAN/inception_score.py --image_folder=RUN/evaluation/stageII --weights=FILE

--weights is Keras' InceptionV3 with its 1000 classes, inception_v3_weights_tf_dim_ordering_tf_kernels.h5; where it is
not given it is looked for beside this file and in models/. A score depends on the network that gives the probabilities:
only scores by the same one may be compared, and the paper's is one that was fine-tuned on the birds' classes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import metrics
from image_features import INCEPTION_FILE, load_inception

from common import cli
from common.cli import UserError
from common.config import add_device_flags, device_config
from common.images import SUFFIXES, read_rgb
from common.session import open_session

HERE = Path(__file__).resolve().parent
PLACES = (HERE / INCEPTION_FILE, HERE / "models" / INCEPTION_FILE)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--image_folder", required=True, metavar="DIR", help="images, in folders below it too")
    parser.add_argument("--weights", metavar="FILE", help=f"Keras' {INCEPTION_FILE} (beside this file, or in models/)")
    parser.add_argument("--splits", type=cli.in_range(int, 1), default=metrics.SPLITS, help="parts scored alone")
    parser.add_argument("--seed", type=cli.in_range(int, 0, 2**31 - 1), default=0, help="of the images' order")
    add_device_flags(parser)
    args = parser.parse_args(argv)
    args.weights = args.weights or next((str(path) for path in PLACES if path.is_file()), None)
    if not args.weights:
        parser.error(f"no network to judge the images by: give --weights={INCEPTION_FILE}, Keras' file")
    return args


def score(args: argparse.Namespace) -> None:
    """Prints the inception score of a folder's images.

    Raises:
        UserError: too few images, one that does not decode, or a file of weights that cannot be used.
    """
    folder = Path(args.image_folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"--image_folder: there is no folder {folder}")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if len(files) < args.splits:
        raise UserError(f"--image_folder {folder}: {len(files)} images are fewer than --splits {args.splits}")
    open_session(device_config(args))
    _, probabilities = load_inception(args.weights)(map(read_rgb, files))
    mean, std = metrics.inception_score(probabilities, args.splits, args.seed)
    print(f"{len(files)} images of {folder}, {args.splits} splits, InceptionV3 by {Path(args.weights).name}")
    print(f"mean: {mean:.2f} std: {std:.2f}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.run_main(score, parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
