"""Checkpoints of both stages, and pictures of embeddings drawn by them."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
import trained
from conftest import SIZES, write_run
from strong import strengthened

from common import checkpoint
from common.cli import UserError

ABOUT = {"network": "StackGAN", "stage": 1, "embedding_size": 1024}
EMBEDDINGS = np.random.default_rng(0).normal(size=(3, 1024)).astype(np.float32)


@pytest.fixture(scope="module")
def both(stage2_run, tmp_path_factory):
    return trained.load(str(strengthened(stage2_run.folder, tmp_path_factory.mktemp("strong") / "run")))


def test_stage_one(stage1_run):
    model = trained.load(str(stage1_run.folder))
    assert (model.stage, model.stage2, model.run_folder) == (1, None, stage1_run.folder)
    assert model.prefix == str(stage1_run.folder / "checkpoints" / "ckpt-7") and model.options.gf_dim == 4
    (pictures,) = trained.draw(model, EMBEDDINGS)
    assert pictures.shape == (3, 64, 64, 3) and pictures.dtype == np.uint8


def test_both_stages(both):
    small, large = trained.draw(both, EMBEDDINGS, seed=3)
    assert both.stage == 2 and small.shape == (3, 64, 64, 3) and large.shape == (3, 256, 256, 3)
    assert large.std() > 10  # as no network with new weights draws
    again = trained.load(str(both.run_folder / "checkpoints" / "ckpt-7"))
    assert np.array_equal(trained.draw(again, EMBEDDINGS, seed=3)[1], large)


def test_a_picture_does_not_depend_on_the_others(both, monkeypatch):
    """Nor on how many are drawn at a time: same embedding, same noise, same picture, but for rounding."""
    together = trained.draw(both, EMBEDDINGS, seed=5)
    monkeypatch.setitem(trained.CHUNK, 2, 2)
    alone = trained.draw(both, EMBEDDINGS[:1], seed=5)
    for pictures, others in zip(together, trained.draw(both, EMBEDDINGS, seed=5)):
        assert np.abs(pictures.astype(int) - others).max() <= 1
    for pictures, others in zip(together, alone):
        assert np.abs(pictures[:1].astype(int) - others).max() <= 1
    noise = trained.latents(3, 5, both.options)
    other = trained.draw(both, EMBEDDINGS, *noise)[1]
    assert np.abs(other.astype(int) - together[1]).max() <= 1
    assert not np.array_equal(trained.draw(both, EMBEDDINGS, seed=6)[1], together[1])


def test_latents(both):
    eps, z = trained.latents(50, 1, both.options)
    assert eps.shape == (2, 50, SIZES["embedding_dim"]) and z.shape == (50, SIZES["z_dim"])
    assert np.abs(eps).max() <= 2 < np.abs(trained.latents(500, 1, both.options)[1]).max()
    # The standard deviation of a normal distribution cut off at 2 is 0.880.
    drawn = trained.truncated(np.random.default_rng(0), 20000)
    assert abs(drawn.std() - 0.880) < 0.01 and abs(drawn.mean()) < 0.02
    fewer, _ = trained.latents(2, 1, both.options)
    assert np.array_equal(fewer, eps[:, :2])


def test_what_is_no_checkpoint_of_ours(tmp_path, both):
    with pytest.raises(UserError, match="no checkpoint in"):
        trained.load(str(tmp_path))
    with pytest.raises(UserError, match=r"take embeddings \[n, 1024\], and these are \[3, 7\]"):
        trained.draw(both, np.zeros([3, 7], np.float32))
    run = write_run(tmp_path / "run")
    for broken in ({"gf_dim": -4}, {"gf_dim": "wide"}):
        record = checkpoint.Record(about=ABOUT, options={**vars(run.options), **broken}, step=7, seconds=1.0)
        tf.train.Checkpoint(record=record).write(str(tmp_path / "run" / "checkpoints" / "ckpt-8"))
        with pytest.raises(UserError, match="not a checkpoint of StackGAN"):
            trained.load(str(run.folder))
    record = checkpoint.Record(about=ABOUT, options={**vars(run.options), "gf_dim": 8}, step=7, seconds=1.0)
    tf.train.Checkpoint(record=record).write(str(tmp_path / "run" / "checkpoints" / "ckpt-8"))
    with pytest.raises(UserError, match="of another model or of other sizes"):
        trained.load(str(run.folder))


def test_a_folder_of_both_runs(stage1_run, stage2_run, tmp_path):
    """As train.py --stage=both leaves it."""
    shutil.copytree(stage1_run.folder, tmp_path / "stageI")
    assert trained.load(str(tmp_path)).stage == 1
    shutil.copytree(stage2_run.folder, tmp_path / "stageII")
    model = trained.load(str(tmp_path))
    assert model.stage == 2 and model.run_folder == tmp_path / "stageII"
