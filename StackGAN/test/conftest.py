"""The tests import the model's modules flat, as the modules import each other, and `common` from the repository."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest

MODEL = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(MODEL), str(MODEL.parent)]

import common  # noqa: E402, F401  (before TensorFlow, whose start-up lines it leaves out)

# Of train.py: small networks and batches.
SIZES = {"gf_dim": 4, "df_dim": 2, "z_dim": 3, "embedding_dim": 4}
TINY = [*(f"--{name}={value}" for name, value in SIZES.items()), "--batch_size=2", "--precision_mode=force_fp32"]
COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220)}


def write_set(folder: Path, count: int = 6, captions: int = 3, size: int = 1024) -> Path:
    """A data set: in train/ `count` plain images of three colours, each a class, in test/ half as many. Embeddings say
    the colour. Returns the folder."""
    import data
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    words = {name: rng.normal(size=size) for name in COLOURS}
    for part, number in (("train", count), ("test", count // 2)):
        embeddings = {}
        for index in range(number):
            name, colour = list(COLOURS.items())[index % 3]
            image, text = (folder / part / kind / name / f"{index:02d}" for kind in ("images", "captions"))
            for path in (image, text):
                path.parent.mkdir(parents=True, exist_ok=True)
            shade = np.clip(np.array(colour) + rng.integers(-20, 20, 3), 0, 255).astype(np.uint8)
            Image.fromarray(np.full((32, 32, 3), shade)).save(image.with_suffix(".png"))
            text.with_suffix(".txt").write_text("".join(f"a {name} bird, number {i}\n" for i in range(captions)))
            embeddings[f"{name}/{index:02d}"] = words[name] + 0.1 * rng.normal(size=(captions, size))
        names = data.Split(folder / part, False).filenames
        data.save_embeddings(folder / part, names, np.stack([embeddings[name] for name in names]), "conftest.py")
    return folder


@pytest.fixture(scope="session")
def sample_set(tmp_path_factory):
    """Six images to train on, three steps an epoch, and three to measure on."""
    return write_set(tmp_path_factory.mktemp("sample") / "set")


def call_main(capsys, main, *argv):
    """A command's exit status, and what it said on stdout and stderr."""
    try:
        status = main([str(word) for word in argv])
    except SystemExit as end:
        status = end.code
    told = capsys.readouterr()
    return status, told.out, told.err


def write_run(folder: Path, stage: int = 1, **more) -> Path:
    """A run's folder with the weights of small networks that show something; returns it."""
    import tensorflow as tf
    from misc import config
    from stageI import trainer as stage1
    from stageII import trainer as stage2

    from common import weights
    from common.config import SessionConfig
    from common.session import Session

    options = {**config.defaults(), **SIZES, "data_path": "nowhere", "seed": 0, "stage": str(stage), **more}
    tf.random.set_seed(1)
    session = Session(SessionConfig(), "cpu", "float32")
    networks = (stage1 if stage == 1 else stage2).build(Namespace(**options), session, 1024, 1).state
    tensors = {}
    for part in (part for part in networks if not part.endswith("optimizer")):
        for name, variable in networks[part].items():
            value = variable.numpy()
            if "_norm" in name:  # as if trained
                value = tf.random.uniform(value.shape, 0.5, 1.5).numpy()
            elif value.ndim > 1:  # of unit gain, or all would be grey
                inputs = value.shape[0] if value.ndim == 2 else value.shape[0] * value.shape[1] * value.shape[2]
                value = value / value.std() * (2 / inputs) ** 0.5
            tensors[f"{part}/{name}"] = value.astype("float32")
    about = {"stage": stage, "embedding_size": 1024}
    weights.save(folder / "checkpoints" / "ckpt-7.safetensors", "StackGAN", tensors, options, about, 7)
    return folder


@pytest.fixture(scope="session")
def stage1_run(tmp_path_factory):
    """A run of a small stage I."""
    return write_run(tmp_path_factory.mktemp("stage1") / "run")


@pytest.fixture(scope="session")
def stage2_run(tmp_path_factory):
    """A run of a small stage II, with a text encoder beside it."""
    import text_encoder
    from model import build_text_encoder

    from common import weights
    from common.layers import named_variables

    run = write_run(tmp_path_factory.mktemp("stage2") / "run", stage=2)
    arrays = {f"text/{name}": value.numpy() for name, value in named_variables(build_text_encoder((6, 5, 4))).items()}
    words = ["a", "red", "bird", "small", "with", "white", "belly"]
    weights.save(run / text_encoder.FILE, text_encoder.NETWORK, arrays, {}, {"words": words})
    return run
