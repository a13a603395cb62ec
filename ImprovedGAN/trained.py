"""A trained model from its checkpoint alone."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import _path  # noqa: F401  (finds ../common)
from model import build_networks
from tensorflow import keras

from common.checkpoint import checkpoint_record, load_checkpoint, run_folder
from common.cli import UserError
from common.optimizer import named_variables

NETWORK = "ImprovedGAN"


@dataclass(frozen=True)
class Trained:
    """Networks with their trained weights, and what they were trained on."""

    prefix: str  # the checkpoint's files, without their endings
    options: argparse.Namespace  # of the run
    image_shape: tuple[int, int, int]
    class_names: list[str]
    generator: keras.Model
    discriminator: keras.Model  # the one to test: the average of its weights

    @property
    def run_folder(self) -> Path:
        """The folder of the run that wrote the checkpoint, or the one that the checkpoint was copied to."""
        return run_folder(self.prefix)


def load(ckpt_path: str) -> Trained:
    """Reads a checkpoint: the newest whole one of a run's folder, or the one that is named.

    Raises:
        UserError: there is none, or it is of another model.
    """
    record = checkpoint_record(ckpt_path)
    options, about = record["options"], record["about"]
    if about.get("network") != NETWORK:
        raise UserError(f"{ckpt_path}: not a checkpoint of {NETWORK} that tells its pictures' shape and classes")
    image_shape, class_names = tuple(about["image_shape"]), about["class_names"]
    generator, discriminator = build_networks(options, image_shape, len(class_names))
    state = {"generator": named_variables(generator), "average": named_variables(discriminator)}
    return Trained(load_checkpoint(ckpt_path, **state), options, image_shape, class_names, generator, discriminator)
