"""What is the same in the five folders is tested here once: a fixture `model` goes through them.

Their tiny flags are in <Model>/test/tiny.json: {"sample_data": [...], "train": [...], "steps": N}.
"""

import json
import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "ci")]
# One thread adds in one order, so that TensorFlow 2.6 gives the same bits in every run too.
os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")

MODELS = sorted(path.parent.name for path in REPOSITORY.glob("*/train.py"))


@pytest.fixture(scope="session", params=MODELS)
def model(request) -> Path:
    """The folders, one after another: all tests of one run before those of the next."""
    return REPOSITORY / request.param  # indirect: a folder by its name


@pytest.fixture(scope="session")
def tiny(model):
    return json.loads((model / "test" / "tiny.json").read_text())


@pytest.fixture(scope="session")
def spawner(model):
    from common.test import testing

    with testing.spawner(model) as process:
        yield process


@pytest.fixture(scope="session")
def data(spawner, tiny, tmp_path_factory):
    """The folder's own sample data, a little of it."""
    from common.test import testing

    folder = tmp_path_factory.mktemp("data")
    made = testing.Process(spawner, folder, [f"--output_path={folder / 'set'}", *tiny["sample_data"]], "sample_data")
    assert made.end() == 0, made.text()
    return folder / "set"


@pytest.fixture(scope="session")
def start(spawner, data, tiny, tmp_path_factory):
    """A function that starts the folder's train.py on its sample data with its tiny flags: see testing.starter."""
    from common.test import testing

    flags = [f"--data_path={data}", *tiny["train"], "--deterministic"]
    with testing.starter(spawner, tmp_path_factory.mktemp("runs"), *flags) as begin:
        yield begin
