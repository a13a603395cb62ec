"""Fetches MNIST, SVHN or CIFAR-10, or takes the files from a folder, checks them and writes what train.py reads.

    python download.py --dataset MNIST                      from the network into datasets/MNIST beside this script
    python download.py --datasets MNIST SVHN CIFAR10        several
    python download.py --dataset MNIST --source ~/Downloads without a network: files that are there already

`--source` takes MNIST's idx files (.gz or not), SVHN's train_32x32.mat and test_32x32.mat, and CIFAR-10's
cifar-10-python.tar.gz or the batches in it, of any number of pictures.
"""

import argparse
import hashlib
import http.client
import os
import sys
import urllib.request
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import published
from tqdm import tqdm

from common import cli
from common.cli import UserError

TIMEOUT = 30  # seconds without a byte
ADDRESSES = {  # tried in this order; MNIST's own host, the last, mostly refuses
    "MNIST": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    "SVHN": ("http://ufldl.stanford.edu/housenumbers/",),
    "CIFAR10": ("https://www.cs.toronto.edu/~kriz/",),
}
FILES = {  # name: bytes, SHA-256 (as torchvision, TensorFlow Datasets and Keras have them)
    "MNIST": {
        "train-images-idx3-ubyte.gz": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte.gz": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte.gz": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte.gz": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    },
    "SVHN": {
        "train_32x32.mat": (182040794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
        "test_32x32.mat": (64275384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
    },
    "CIFAR10": {
        "cifar-10-python.tar.gz": (170498071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
    },
}


def parse_args(argv: Optional[list[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description="Fetches or converts MNIST, SVHN and CIFAR-10.")
    parser.add_argument(
        "--dataset", "--datasets", nargs="+", required=True, type=str.upper, choices=list(FILES), help="one or several"
    )
    parser.add_argument("--source", type=Path, help="a folder with the published files, instead of the network")
    parser.add_argument(
        "--output_path",
        type=Path,
        default=Path(__file__).resolve().parent / "datasets",
        help="each set gets a folder of its name in it",
    )
    parser.add_argument(
        "--format",
        type=str.lower,
        choices=list(data.FILES),
        default="tfrecord",
        help="tfrecord loads fast; hdf5 is the original's, slow for many pictures",
    )
    return parser.parse_args(argv)


def prepare(args: argparse.Namespace) -> None:
    """Makes each data set that was asked for, one after the other."""
    for name in dict.fromkeys(args.dataset):
        folder = args.output_path.expanduser() / name
        if data.is_saved(folder, args.format):
            print(f"[Info] {folder} holds {name} already; nothing was done", flush=True)
            continue
        source = published.find_source(args.source.expanduser(), name) if args.source else fetch(name, folder / "raw")
        print(f"[Info] reading {source}", flush=True)
        parts, classes = published.read(source, name)
        classes = data.check(parts, classes, str(source))
        made = data.Data(*parts[:4], class_names=classes, name=name)
        data.save(made, folder, args.format)
        data.report(made, folder, __file__)


# the network


def fetch(name: str, folder: Path) -> Path:
    """Fetches a set's published files into `folder`, those that are not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output_path: {folder} cannot be made ({error.strerror})") from error
    for file, (size, digest) in FILES[name].items():
        if not (folder / file).exists() or sha256(folder / file) != digest:
            download([address + file for address in ADDRESSES[name]], folder / file, size, digest)
    return folder


def download(urls: list[str], target: Path, size: int, digest: str) -> None:
    """Fetches a file of known size and SHA-256 from the first of `urls` that gives it.

    What has come so far is kept in `<target>.part`, and gone on with the next time.
    """
    part = target.with_name(target.name + ".part")
    reasons = []
    for url in urls:
        print(f"[Info] fetching {url}", flush=True)
        try:
            resumed = transfer(url, part, size)
            if resumed and sha256(part) != digest:  # the beginning that was there is no good
                part.unlink()
                transfer(url, part, size)
            if sha256(part) == digest:
                os.replace(part, target)
                return
            part.unlink()
            raise OSError("its SHA-256 is not the published file's")
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            reasons.append(f"{url[: -len(target.name)]} ({getattr(reason, 'strerror', None) or reason})")
    raise UserError(
        f"{target.name} could not be fetched from {', '.join(reasons)}\n"
        "        Without a network: put the published files into a folder and name it with --source=FOLDER"
    )


def transfer(url: str, part: Path, size: int) -> bool:
    """Fetches what `part` lacks of a file of `size` bytes. Returns whether a beginning that was there was used.

    Raises:
        OSError: no connection, another size, or it broke off.
    """
    start = part.stat().st_size if part.exists() else 0
    if start == size:
        return True
    start = start if start < size else 0
    headers = {"User-Agent": "Python-urllib", **({"Range": f"bytes={start}-"} if start else {})}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
        start = start if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        if length is not None and start + int(length) != size:
            raise OSError(f"a file of {start + int(length)} bytes where {size} were expected")
        with (
            open(part, "ab" if start else "wb") as file,
            tqdm(total=size, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=None) as bar,
        ):
            left = size - start
            while left > 0:
                chunk = response.read(min(left, 2**18))
                if not chunk:
                    raise OSError(f"broke off {left} bytes before the end; they are fetched the next time")
                file.write(chunk)
                left -= len(chunk)
                bar.update(len(chunk))
    return start > 0


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(2**20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def main(argv: Optional[list[str]] = None) -> int:
    return cli.call(prepare, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
