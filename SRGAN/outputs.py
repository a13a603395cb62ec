"""What a training writes beside its checkpoints: sheets of examples, .h5 models and the original's losses.txt."""

import argparse
import glob
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Callable

import baseline
import checkpoint
import evaluate
import numpy as np
from enlarger import Enlarger
from PIL import Image

from common.cli import UserError
from common.images import to_uint8
from common.run import Run

EXAMPLES = 3  # held-out images on a sheet


def example_saver(args: argparse.Namespace, network: Enlarger, files: Sequence[Path]) -> Callable[[Run], str]:
    """A function that writes a sheet of some held-out images' middles: bicubic, the network's, the original."""
    scale, pairs = args.scale, [(lr, hr) for _, lr, hr in islice(evaluate.pairs(args, files), EXAMPLES)]
    size = min(args.crop // scale, *(length for lr, _ in pairs for length in lr.shape[:2]))

    def save_examples(run: Run) -> str:
        rows = []
        for lr, hr in pairs:
            top, left = ((length - size) // 2 for length in lr.shape[:2])
            lr = lr[top : top + size, left : left + size]
            hr = hr[top * scale : (top + size) * scale, left * scale : (left + size) * scale]
            rows.append(np.concatenate([baseline.enlarge(lr, scale), to_uint8(network.enlarge(lr), (0.0, 1.0)), hr], 1))
        path = run.path("examples", f"step_{run.step:07d}.png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Image.fromarray(np.concatenate(rows, 0)).save(path)
        run.images("examples", np.stack(rows))
        return path

    return save_examples


def models_folder(args: argparse.Namespace, run: Run) -> str:
    """The folder for .h5 models.

    Raises:
        UserError: it is not the run's own, and holds models of another one.
    """
    folder = args.model_save_dir or run.path("model")
    found = glob.glob(os.path.join(glob.escape(folder), "gen_model*.h5"))
    if args.model_save_dir and found and run.chief and run.step == 0:
        raise UserError(f"--model_save_dir {folder} holds {os.path.basename(found[0])} already; name another folder")
    return folder


def save_models(args: argparse.Namespace, folder: str, parts: SimpleNamespace, epoch: int) -> None:
    """Writes gen_model<epoch>.h5, and dis_model<epoch>.h5 where there is a discriminator.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        checkpoint.save_h5(os.path.join(folder, f"gen_model{epoch}.h5"), parts.used, args)
        if parts.discriminator is not None:
            checkpoint.save_h5(os.path.join(folder, f"dis_model{epoch}.h5"), parts.discriminator, args)
    except OSError as error:
        raise UserError(f"--model_save_dir {folder} cannot be written ({error.strerror or error})") from None


def write_losses(path: str, epoch: int, d_loss: float, gan_loss: Sequence[float]) -> None:
    """The original's losses.txt: a line an epoch. Lines that a run wrote before it was killed are written anew."""
    lines = []
    if os.path.exists(path):
        with open(path) as file:
            lines = file.readlines()[: epoch - 1]
    lines.append(f"epoch{epoch} : gan_loss = {list(gan_loss)} ; discriminator_loss = {d_loss}\n")
    with open(f"{path}.tmp", "w") as file:
        file.writelines(lines)
    os.replace(f"{path}.tmp", path)
