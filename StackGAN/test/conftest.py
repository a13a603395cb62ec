"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors of TensorFlow only

# Of train.py: small networks and batches.
SIZES = {"gf_dim": 4, "df_dim": 2, "z_dim": 3, "embedding_dim": 4}
TINY = [*(f"--{name}={value}" for name, value in SIZES.items()), "--batch_size=2", "--precision_mode=force_fp32"]
COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220)}


def write_set(folder: Path, count: int = 6, captions: int = 3, size: int = 1024) -> Path:
    """A data set of our own format: in train/ `count` plain pictures of three colours, each a class, in test/ half as
    many. Embeddings say the colour. Returns the folder."""
    import data
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    words = {name: rng.normal(size=size) for name in COLOURS}
    for part, number in (("train", count), ("test", count // 2)):
        embeddings = {}
        for index in range(number):
            name, colour = list(COLOURS.items())[index % 3]
            picture, text = (folder / part / kind / name / f"{index:02d}" for kind in ("images", "captions"))
            for path in (picture, text):
                path.parent.mkdir(parents=True, exist_ok=True)
            shade = np.clip(np.array(colour) + rng.integers(-20, 20, 3), 0, 255).astype(np.uint8)
            Image.fromarray(np.full((32, 32, 3), shade)).save(picture.with_suffix(".png"))
            text.with_suffix(".txt").write_text("".join(f"a {name} bird, number {i}\n" for i in range(captions)))
            embeddings[f"{name}/{index:02d}"] = words[name] + 0.1 * rng.normal(size=(captions, size))
        names = data.read_filenames(folder / part)
        data.save_embeddings(folder / part, names, np.stack([embeddings[name] for name in names]), "conftest.py")
    return folder


@pytest.fixture(scope="session")
def sample_set(tmp_path_factory):
    """Six pictures to train on, three steps an epoch, and three to measure on."""
    return write_set(tmp_path_factory.mktemp("sample") / "set")


def write_run(folder: Path, stage: int = 1, **options) -> SimpleNamespace:
    """A run's folder with the checkpoint of small networks with random weights: `.folder`, `.options`, `.stage`."""
    import tensorflow as tf
    from misc import config
    from stageI import model as one
    from stageII import model as two

    from common.checkpoint import Record
    from common.optimizer import named_variables

    given = {**config.defaults(), **SIZES, "data_path": "nowhere", "seed": 0, "stage": str(stage), **options}
    o = Namespace(**given)
    tf.random.set_seed(1)
    networks = {
        "generator": one.build_generator(1024, o.embedding_dim, o.z_dim, o.gf_dim, o.network_type, o.cond_augmentation),
        "discriminator": one.build_discriminator(1024, o.embedding_dim, o.df_dim, o.network_type),
    }
    if stage == 2:
        networks = {f"stage1_{name}": network for name, network in networks.items()}
        networks["generator"] = two.build_generator(1024, o.embedding_dim, o.gf_dim, o.cond_augmentation)
        networks["discriminator"] = two.build_discriminator(1024, o.embedding_dim, o.df_dim)
    state = {name: named_variables(network) for name, network in networks.items()}
    for variables in state.values():
        for name, variable in variables.items():
            if "_norm" in name:  # as if trained
                variable.assign(tf.random.uniform(variable.shape, 0.5, 1.5))
    about = {"network": "StackGAN", "stage": stage, "embedding_size": 1024}
    record = Record(about=about, options=given, step=7, seconds=1.0)
    tf.train.Checkpoint(record=record, **state).write(str(folder / "checkpoints" / "ckpt-7"))
    return SimpleNamespace(folder=folder, options=o, stage=stage)


@pytest.fixture(scope="session")
def stage1_run(tmp_path_factory):
    """A run of a small stage I."""
    return write_run(tmp_path_factory.mktemp("stage1") / "run")


@pytest.fixture(scope="session")
def stage2_run(tmp_path_factory):
    """A run of a small stage II."""
    return write_run(tmp_path_factory.mktemp("stage2") / "run", stage=2)
