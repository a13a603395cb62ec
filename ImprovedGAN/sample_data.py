"""Writes a small data set of real handwritten digits, offline, in the form that download.py writes.

python ImprovedGAN/sample_data.py --output_path=digits

The 1797 digits (8 x 8, 43 writers) come with scikit-learn: Alpaydin and Kaynak, "Optical Recognition of Handwritten
Digits", UCI repository, 1998. A fifth of each class is kept to test on.
"""

from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import numpy as np
import preprocess

from common import cli


def digits(size: int) -> data.Data:
    """The digits as grey images of `size` x `size`, a fifth of each class drawn to test on."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    images, labels = preprocess.resize(images, (size, size)), raw.target.astype(np.int32)
    rng, held = np.random.default_rng(0), np.zeros(len(labels), bool)
    for label in range(10):
        own = np.flatnonzero(labels == label)
        held[rng.permutation(own)[: round(len(own) / 5)]] = True
    return data.Data(images[~held], labels[~held], images[held], labels[held], list("0123456789"), "digits")


def main(argv: Optional[list[str]] = None) -> int:
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument("--output_path", type=cli.user_path, required=True, help="a folder without a data set")
    parser.add_argument("--size", type=cli.in_range(int, 8, 512), default=28, help="of the images in pixels")
    args = parser.parse_args(argv)
    return cli.run_main(lambda: data.save(digits(args.size), args.output_path))


if __name__ == "__main__":
    cli.leave(main())
