"""The settings' files: YAML with the keys of the original -> options, checked (no TensorFlow needed).

train.py has a flag for each key of TRAIN and GAN and for those outside a group; what is under TEST is demo/demo.py's.
"""

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from common.cli import UserError

MAX_BYTES = 2**20  # of a settings' file
MAX_NUMBER = 10**9
Value = Union[str, int, float, bool]


@dataclass(frozen=True)
class Key:
    """A key of a settings' file.

    Attributes:
        option: what it is called among train.py's flags.
        default: its type is the value's.
        least: of a number.
    """

    option: str
    default: Value
    help: str
    least: Optional[float] = None
    choices: tuple[Value, ...] = ()

    def check(self, value: Any) -> Value:
        """The value in the key's type. Raises ValueError, which says what it should be."""
        kind = type(self.default)
        if kind is float and isinstance(value, str):  # YAML takes 2e-4 for a text, and only 2.0e-4 for a number
            value = float(value)
        if isinstance(value, bool) != (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
            raise ValueError
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError
        if (self.least is not None and value < self.least) or (self.choices and value not in self.choices):
            raise ValueError
        if kind is int and value > MAX_NUMBER:
            raise ValueError
        return kind(value)

    @property
    def wanted(self) -> str:
        """What `check` takes, in words."""
        if self.choices:
            return " or ".join(map(str, self.choices))
        words = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}[type(self.default)]
        return words if self.least is None else f"{words} of at least {self.least:g}"


KEYS = {
    "CONFIG_NAME": Key("config_name", "", "of the run"),
    "DATASET_NAME": Key("dataset_name", "birds", "of the data, for the default folders"),
    "EMBEDDING_TYPE": Key("embedding_type", "cnn-rnn", "of the sentences", choices=("cnn-rnn", "skip-thought")),
    "GPU_ID": Key("gpu_id", 0, "which GPU or NPU", 0),
    "Z_DIM": Key("z_dim", 100, "size of the noise z", 1),
    "TRAIN.FLAG": Key("flag", True, "False: do not train, generate the test set's images with --pretrained_model"),
    "TRAIN.PRETRAINED_MODEL": Key("pretrained_model", "", "the weights to start from; stage II: stage I's"),
    "TRAIN.PRETRAINED_EPOCH": Key("pretrained_epoch", 600, "stage II: the epoch to count from", 0),
    "TRAIN.BATCH_SIZE": Key("batch_size", 64, "images a step", 1),
    "TRAIN.NUM_COPY": Key("num_copy", 4, "images of each caption on a sheet", 1),
    "TRAIN.MAX_EPOCH": Key("max_epoch", 600, "the epoch to train to", 1),
    "TRAIN.SNAPSHOT_INTERVAL": Key("snapshot_interval", 2000, "steps: a checkpoint; the newest three stay", 1),
    "TRAIN.DISCRIMINATOR_LR": Key("discriminator_lr", 2e-4, "learning rate of the discriminator", 0),
    "TRAIN.GENERATOR_LR": Key("generator_lr", 2e-4, "learning rate of the generator", 0),
    "TRAIN.LR_DECAY_EPOCH": Key("lr_decay_epoch", 50, "both are halved every so many epochs", 1),
    "TRAIN.NUM_EMBEDDING": Key("num_embedding", 4, "caption embeddings of an image whose mean a step sees", 1),
    "TRAIN.COND_AUGMENTATION": Key("cond_augmentation", True, "sample the condition, do not take its mean"),
    "TRAIN.B_WRONG": Key("b_wrong", True, "the discriminator also refuses real images with other captions"),
    "TRAIN.DIFFAUGMENT": Key("diffaugment", False, "change what the discriminator sees (augment.py)"),
    "TRAIN.UNCONDITIONAL": Key("unconditional", 0.0, "weight of the discriminator's judgement without the text", 0),
    "TRAIN.EMA": Key("ema", 0.0, "decay of an exponential average of the generator, which is then used; 0: none", 0),
    "TRAIN.COEFF.KL": Key("coeff_kl", 2.0, "weight of the condition's KL divergence", 0),
    "TRAIN.FINETUNE_LR": Key("finetune_lr", False, "stage II: train stage I on"),
    "TRAIN.FT_LR_RETIO": Key("ft_lr_retio", 0.1, "... at this share of the learning rates", 0),
    "GAN.EMBEDDING_DIM": Key("embedding_dim", 128, "size of the condition", 1),
    "GAN.DF_DIM": Key("df_dim", 64, "channels of the discriminator's first layer", 1),
    "GAN.GF_DIM": Key("gf_dim", 128, "channels of the generator's last wide layer, stage I", 4),
    "GAN.NETWORK_TYPE": Key("network_type", "default", "of stage I", choices=("default", "simple")),
    "TEST.LR_IMSIZE": Key("test_lr_imsize", 64, "size of stage I's images", choices=(64,)),
    "TEST.HR_IMSIZE": Key("test_hr_imsize", 256, "size of stage II's images", choices=(256,)),
    "TEST.NUM_COPY": Key("test_num_copy", 16, "images of each caption", 1),
    "TEST.BATCH_SIZE": Key("test_batch_size", 64, "captions at a time", 1),
    "TEST.PRETRAINED_MODEL": Key("test_pretrained_model", "", "the weights"),
    "TEST.CAPTION_PATH": Key("test_caption_path", "", "the file of sentences"),
}
GROUPS = {path.rpartition(".")[0] for path in KEYS} - {""}


def defaults() -> dict[str, Value]:
    """Every option with its default."""
    return {key.option: key.default for key in KEYS.values()}


def load(path: Union[str, Path]) -> dict[str, Value]:
    """The options that a settings' file sets, by their names, without those that it leaves out.

    Raises:
        UserError: the file cannot be read, a key is not known, or a value is of the wrong type; it names the file and
            the key, such as TRAIN.COEFF.KL.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"--cfg {path}: cannot be read ({error.strerror})") from None
    if len(text) > MAX_BYTES:
        raise UserError(f"--cfg {path}: has more than {MAX_BYTES} bytes; it is no settings' file")
    try:
        tree = yaml.safe_load(text)
    except Exception as error:  # besides its own, PyYAML raises ValueError, RecursionError and more on hostile files
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise UserError(f"--cfg {path}{line}: is no YAML ({getattr(error, 'problem', None) or error!r})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"--cfg {path}: should hold keys and values, such as Z_DIM: 100")
    options = {}
    for name, value in _leaves(tree):
        if name in GROUPS:
            raise UserError(f"--cfg {path}: {name} should be a group of keys, each indented on a line of its own")
        if name not in KEYS:
            nearest = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.0)
            raise UserError(f"--cfg {path}: unknown key {name[:60]}; the nearest known one is {nearest[0]}")
        if value is None:  # nothing stands there
            continue
        try:
            options[KEYS[name].option] = KEYS[name].check(value)
        except (ValueError, OverflowError):
            told = repr(value)[:60] if isinstance(value, (str, float, bool)) else _short(value)
            raise UserError(f"--cfg {path}: {name} should be {KEYS[name].wanted}, and is {told}") from None
    return options


def _short(value: Any) -> str:
    if isinstance(value, int):
        return str(value) if abs(value) <= MAX_NUMBER else "too large"
    return {dict: "a group of keys", list: "a list"}.get(type(value), f"a {type(value).__name__}")


def _leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys, those below a group with its name before theirs, and their values; an empty group has none."""
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if path not in GROUPS:
            yield path, value
        elif isinstance(value, dict):
            yield from _leaves(value, f"{path}.")
        elif value is not None:
            yield path, value
