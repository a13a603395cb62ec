"""A trained model from its checkpoint alone, and new files for what is made with it."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import _path  # noqa: F401  (finds ../common)
from model import build_networks
from tensorflow import keras

from common.checkpoint import checkpoint_record, load_checkpoint
from common.cli import UserError
from common.optimizer import named_variables
from common.session import PRECISION_MODES, SessionConfig

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
        folder = Path(self.prefix).resolve().parent
        return folder.parent if folder.name == "checkpoints" else folder


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


def add_device_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the session flags that mean something without training."""
    group = parser.add_argument_group("session")
    group.add_argument("--device", choices=["auto", "npu", "gpu", "cpu"], default="auto", help="(auto)")
    group.add_argument("--precision_mode", choices=list(PRECISION_MODES), default="allow_fp32_to_fp16")


def device_config(args: argparse.Namespace) -> SessionConfig:
    """Those flags for `open_session`."""
    return SessionConfig(device=args.device, precision_mode=args.precision_mode)


def new_file(path: Union[str, Path]) -> Path:
    """Makes an empty file that was not there, and its folder: `path`, or else with -2, -3, ... before its ending.

    Raises:
        UserError: it cannot be made.
    """
    path = free = Path(path).expanduser()
    number = 1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while free.exists():
            number += 1
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        free.touch(exist_ok=False)
    except OSError as error:
        raise UserError(f"--output_path: {path.parent} cannot be written ({error.strerror})") from None
    return free
