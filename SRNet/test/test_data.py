"""Seven folders -> batches: what is used, what is named, and that they are a function of (seed, step)."""

from argparse import Namespace
from itertools import islice

import data
import numpy as np
import pytest
from conftest import write_samples
from PIL import Image

from common.cli import UserError
from common.config import SessionConfig
from common.session import Session


@pytest.fixture
def folder(tmp_path):
    return write_samples(tmp_path / "set", 4)


def test_split(tmp_path, folder):
    train, val = data.split(str(folder))
    assert train == [(folder, f"0{number}.png") for number in range(3)] and val == [(folder, "03.png")]
    folder.rename(tmp_path / "v1")  # as the original's launcher has it
    assert data.split(str(tmp_path))[1] == [(tmp_path / "v1", "03.png")]
    for part, count in (("train", 3), ("val", 2)):
        write_samples(tmp_path / "both" / part, count)
    train, val = data.split(str(tmp_path / "both"))
    assert [len(train), len(val)] == [3, 2] and val[0][0] == tmp_path / "both" / "val"


def test_folders_that_do_not_match(tmp_path, folder):
    (folder / "t_b" / "02.png").unlink()
    (folder / "t_b" / "03.png").unlink()
    with pytest.raises(UserError, match="t_b lacks 2 of the names in the other folders, first 02.png"):
        data.find_samples(folder)
    (folder / "t_b").rename(folder / "elsewhere")
    with pytest.raises(UserError, match="t_b lacks 4 of the names"):
        data.find_samples(folder)
    with pytest.raises(UserError, match="no images in i_t"):
        data.find_samples(write_samples(tmp_path / "empty", 0))


def test_read_sample(folder):
    sample = data.read_sample(folder, "01.png")
    assert {name: x.shape for name, x in sample.items()} == {
        name: (16, 32, 1 if name in ("t_sk", "mask_t") else 3) for name in data.FOLDERS
    }
    Image.new("RGB", (32, 18)).save(folder / "t_t" / "01.png")
    with pytest.raises(UserError, match=r"t_t/01.png: is 32 x 18, and its i_t is 32 x 16; the seven must be of one"):
        data.read_sample(folder, "01.png")
    (folder / "mask_t" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match=r"mask_t/02.png: is no image that can be decoded"):
        data.read_sample(folder, "02.png")


def test_a_standard_image_cut_to_its_word(folder):
    """Borders of 8 % of the word's height and 2.5 % of its width; what holds no word stays whole."""
    image = np.full((60, 200, 3), 127, np.uint8)
    image[20:45, 30:110] = 0
    assert data.tightened(image).shape == (25 + 2 * 2, 80 + 2 * 2, 3)
    np.testing.assert_array_equal(data.tightened(image), image[18:47, 28:112])
    blank = np.full((16, 32, 3), 127, np.uint8)
    assert data.tightened(blank).shape == blank.shape
    blank[:, 4:8] = 0
    Image.fromarray(blank).save(folder / "i_t" / "00.png")
    whole, tight = (data.read_sample(folder, "00.png", tight) for tight in (False, True))
    assert (tight["i_t"] < 20).all()
    for kind in data.FOLDERS[1:]:
        np.testing.assert_array_equal(tight[kind], whole[kind])


def batches(folder, count, start=0, batch_size=1, seed=3):
    args = Namespace(data_shape=(16, 32), batch_size=batch_size, tight_text=False, seed=seed)
    stream = data.batches(data.split(str(folder))[0], args, Session(SessionConfig(), "cpu", "float32"), start)
    return [batch.numpy() for batch in islice(stream, count)]


def test_batches(folder):
    """Every epoch has each sample once; a stream that begins later is the same one; another seed another."""
    whole = batches(folder, 6)
    assert whole[0].shape == (1, 16, 32, sum(data.CHANNELS)) and whole[0].dtype == np.uint8
    assert len({batch.tobytes() for batch in whole[:3]}) == 3
    for batch, again in zip(whole[2:], batches(folder, 4, start=2)):
        np.testing.assert_array_equal(batch, again)
    assert any((a != b).any() for seed in range(4, 8) for a, b in zip(batches(folder, 6, seed=seed), whole))


def test_a_batch_that_is_too_large(folder):
    with pytest.raises(UserError, match="a batch of 4 is larger than the data"):
        batches(folder, 1, batch_size=4)
