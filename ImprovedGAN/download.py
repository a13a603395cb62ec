"""Fetches MNIST, SVHN or CIFAR-10, or takes the files from a folder, and writes what train.py reads.

python ImprovedGAN/download.py --dataset MNIST                      from the network into ImprovedGAN/datasets/MNIST
python ImprovedGAN/download.py --datasets MNIST SVHN CIFAR10        several
python ImprovedGAN/download.py --dataset MNIST --source ~/Downloads without a network: files that are there already

`--source` takes MNIST's idx files (.gz or not), SVHN's train_32x32.mat and test_32x32.mat, and CIFAR-10's
cifar-10-python.tar.gz or the batches in it, of any number of images.
"""

import argparse
import hashlib
import http.client
import shutil
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Optional

import _path  # noqa: F401  (finds ../common)
import data
import formats
from tqdm import tqdm

from common import cli
from common.cli import UserError, notice

TIMEOUT = 30  # seconds without a byte
READERS = {"MNIST": formats.read_idx, "SVHN": formats.read_svhn, "CIFAR10": formats.read_cifar10}
ADDRESSES = {  # tried in this order
    "MNIST": ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    "SVHN": ("http://ufldl.stanford.edu/housenumbers/",),
    "CIFAR10": ("https://www.cs.toronto.edu/~kriz/",),
}
FILES = {  # SHA-256, as torchvision, TensorFlow Datasets and Keras have it
    "MNIST": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "SVHN": {
        "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    },
    "CIFAR10": {"cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"},
}


def prepare(args: argparse.Namespace) -> None:
    """Makes each data set that was asked for, one after the other."""
    for name in args.dataset:
        folder = args.output_path / name
        if (folder / "data.npz").exists():
            notice(f"{folder} holds {name} already; nothing was done")
            continue
        source = args.source or fetch(name, args.output_path / "raw" / name)
        notice(f"reading {source}")
        found = formats.both_splits(READERS[name], source, formats.CIFAR10 if name == "CIFAR10" else None)
        data.save(replace(data.check(found, source), name=name), folder)


def fetch(name: str, folder: Path) -> Path:
    """Fetches a set's published files into `folder`, those that are not there yet."""
    for file, digest in FILES[name].items():
        target, reasons = folder / file, []
        if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == digest:
            continue
        for address in ADDRESSES[name]:
            notice(f"fetching {address}{file}")
            try:
                transfer(address + file, target, digest)
                break
            except (OSError, http.client.HTTPException) as error:
                reasons.append(f"{address} ({error})")
        else:
            hint = "Without a network: put the published files into a folder and name it with --source=FOLDER"
            raise UserError(f"{file} could not be fetched from {', '.join(reasons)}\n{hint}")
    return folder


def transfer(url: str, target: Path, digest: str) -> None:
    """Fetches a file, which has its name only once its SHA-256 is the published one's."""
    partial = target.with_name(f"{target.name}.partial")
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        partial.parent.mkdir(parents=True, exist_ok=True)
        bar = tqdm.wrapattr(response, "read", response.length, desc=target.name, disable=None)
        with open(partial, "wb") as file, bar as stream:
            shutil.copyfileobj(stream, file)
    if hashlib.sha256(partial.read_bytes()).hexdigest() != digest:
        partial.unlink()
        raise OSError("its SHA-256 is not the published file's")
    partial.rename(target)


def main(argv: Optional[list[str]] = None) -> int:
    parser = cli.ArgumentParser(description=__doc__)
    home = Path(__file__).resolve().parent / "datasets"
    parser.add_argument("--dataset", "--datasets", nargs="+", required=True, type=str.upper, choices=list(FILES))
    parser.add_argument("--source", type=cli.user_path, help="the folder with the published files: no network")
    parser.add_argument("--output_path", type=cli.user_path, default=home, help="each set gets a folder in it")
    return cli.run_main(prepare, parser.parse_args(argv))


if __name__ == "__main__":
    cli.leave(main())
