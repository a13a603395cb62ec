"""The settings' files: YAML with the keys of the original -> options, checked (no TensorFlow needed).

train.py has a flag for each key of TRAIN and GAN and for those outside a group; what is under TEST is demo/demo.py's.
"""

import argparse
import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple, Union

import yaml

from common import cli
from common.cli import UserError

MAX_BYTES = 2**20  # of a settings' file
Value = Union[str, int, float, bool]


class Key(NamedTuple):
    """A key: what it is called among train.py's flags; `kind`, from a text to the value, as a flag's `type`."""

    option: str
    default: Value
    help: str
    kind: Callable[[str], Value] = str


def one_of(*choices: str) -> Callable[[str], str]:
    """A flag's `type`: one of some texts."""

    def parse(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(choices)}")
        return text

    return parse


COUNT, STEPS = cli.in_range(int, 1, 10**9), cli.in_range(int, 0, 10**9)
NUMBER, DECAY, TRUTH = cli.in_range(float, 0, 10**9), cli.in_range(float, 0, 0.999999), cli.boolean

KEYS = {
    "CONFIG_NAME": Key("config_name", "", "of the run"),
    "DATASET_NAME": Key("dataset_name", "birds", "of the data, for the default folders"),
    "EMBEDDING_TYPE": Key("embedding_type", "cnn-rnn", "of the sentences", one_of("cnn-rnn", "skip-thought")),
    "GPU_ID": Key("gpu_id", 0, "which GPU or NPU", cli.in_range(int, 0)),
    "Z_DIM": Key("z_dim", 100, "size of the noise z", COUNT),
    "TRAIN.FLAG": Key("flag", True, "False: do not train, generate the test set's images by --pretrained_model", TRUTH),
    "TRAIN.PRETRAINED_MODEL": Key("pretrained_model", "", "the weights to start from; stage II: stage I's"),
    "TRAIN.PRETRAINED_EPOCH": Key("pretrained_epoch", 600, "stage II: the epoch to count from", cli.in_range(int, 0)),
    "TRAIN.BATCH_SIZE": Key("batch_size", 64, "images a step", COUNT),
    "TRAIN.NUM_COPY": Key("num_copy", 4, "images of each caption on a sheet", COUNT),
    "TRAIN.MAX_EPOCH": Key("max_epoch", 600, "the epoch to train to", COUNT),
    "TRAIN.SNAPSHOT_INTERVAL": Key("snapshot_interval", 2000, "steps: a checkpoint; the newest three stay", COUNT),
    "TRAIN.DISCRIMINATOR_LR": Key("discriminator_lr", 2e-4, "learning rate of the discriminator", NUMBER),
    "TRAIN.GENERATOR_LR": Key("generator_lr", 2e-4, "learning rate of the generator", NUMBER),
    "TRAIN.LR_DECAY_EPOCH": Key("lr_decay_epoch", 50, "both are halved every so many epochs", COUNT),
    "TRAIN.NUM_EMBEDDING": Key("num_embedding", 4, "caption embeddings of an image whose mean a step sees", COUNT),
    "TRAIN.COND_AUGMENTATION": Key("cond_augmentation", True, "sample the condition, do not take its mean", TRUTH),
    "TRAIN.B_WRONG": Key("b_wrong", True, "the discriminator also refuses real images with other captions", TRUTH),
    "TRAIN.RANDOM_CROP": Key("random_crop", True, "crop images, 76 -> 64 or 304 -> 256; False: shrink them", TRUTH),
    "TRAIN.DIFFAUGMENT": Key("diffaugment", False, "change what the discriminator sees (augment.py)", TRUTH),
    "TRAIN.VGG19_WEIGHTS": Key("vgg19_weights", "", "Keras' file, for D to look at VGG19's features too"),
    "TRAIN.UNCONDITIONAL": Key("unconditional", 0.0, "weight of the discriminator's logit without the text", NUMBER),
    "TRAIN.CONTRASTIVE": Key("contrastive", 0.0, "weight of images being nearer to their own text than others", NUMBER),
    "TRAIN.EMA": Key("ema", 0.0, "decay of an exponential average of the generator, then used; 0: none", DECAY),
    "TRAIN.COEFF.KL": Key("coeff_kl", 2.0, "weight of the condition's KL divergence", NUMBER),
    "TRAIN.COEFF.SMALL": Key("coeff_small", 0.0, "stage II: weight of its image, shrunk, being stage I's", NUMBER),
    "TRAIN.ENLARGE_STEPS": Key("enlarge_steps", 0, "stage II: first steps, of enlarging real images", STEPS),
    "TRAIN.FINETUNE_LR": Key("finetune_lr", False, "stage II: train stage I on", TRUTH),
    "TRAIN.FT_LR_RETIO": Key("ft_lr_retio", 0.1, "... at this share of the learning rates", NUMBER),
    "GAN.EMBEDDING_DIM": Key("embedding_dim", 128, "size of the condition", COUNT),
    "GAN.DF_DIM": Key("df_dim", 64, "channels of the discriminator's first layer", COUNT),
    "GAN.GF_DIM": Key("gf_dim", 128, "channels of the generator's last wide layer, stage I", cli.in_range(int, 4)),
    "GAN.NETWORK_TYPE": Key("network_type", "default", "of stage I: default or simple", one_of("default", "simple")),
    "GAN.SKIPS": Key("skips", False, "stage II: it adds details to stage I's image, and does not draw anew", TRUTH),
    "TEST.LR_IMSIZE": Key("test_lr_imsize", 64, "size of stage I's images", one_of("64")),
    "TEST.HR_IMSIZE": Key("test_hr_imsize", 256, "size of stage II's images", one_of("256")),
    "TEST.NUM_COPY": Key("test_num_copy", 16, "images of each caption", COUNT),
    "TEST.BATCH_SIZE": Key("test_batch_size", 64, "captions at a time", COUNT),
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
        if len(text) > MAX_BYTES:
            raise UserError(f"--cfg {path}: has more than {MAX_BYTES} bytes; it is no settings' file")
        tree = yaml.safe_load(text) or {}
    except OSError as error:
        raise UserError(f"--cfg {path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = f", line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise UserError(f"--cfg {path}{line}: is no YAML ({getattr(error, 'problem', None) or error!r})") from None
    if not isinstance(tree, dict):
        raise UserError(f"--cfg {path}: should hold keys and values, such as Z_DIM: 100")
    options = {}
    for name, value in _leaves(tree):
        if name not in KEYS:
            nearest = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.0)
            raise UserError(f"--cfg {path}: unknown key {name[:60]}; the nearest known one is {nearest[0]}")
        if not isinstance(value, (str, int, float)):
            raise UserError(f"--cfg {path}: {name} should be one value, and is a {type(value).__name__}")
        try:
            options[KEYS[name].option] = KEYS[name].kind(str(value))
        except (argparse.ArgumentTypeError, ValueError) as error:
            raise UserError(f"--cfg {path}: {name}: {str(error)[:200]}") from None
    return options


def _leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys, those below a group with its name before theirs, and their values; what is empty is left out."""
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if path in GROUPS and isinstance(value, dict):
            yield from _leaves(value, f"{path}.")
        elif value is not None:
            yield path, value
