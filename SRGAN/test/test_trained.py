"""trained.py: generators from checkpoints and .h5 files, and pictures through them tile by tile."""

import json
import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf
import trained
from conftest import write_run

from common.checkpoint import Record
from common.cli import UserError
from common.optimizer import named_variables


@pytest.fixture(scope="module")
def model(tiny_run):
    return trained.load(str(tiny_run.folder))


@pytest.fixture(scope="module")
def h5(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("h5") / "gen_model7.h5"
    trained.save_h5(str(path), model.generator, model.options)
    return path


def noise(height, width, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height, width, 3), endpoint=True, dtype=dtype)


# Pictures.


def test_a_picture_by_hand(model):
    """Scaled, through the network, scaled back, 16 bits as 8."""
    pixels = noise(20, 30)
    drawn = model.generator(tf.constant(pixels[None] / 127.5 - 1, tf.float32), training=False)[0].numpy()
    result = trained.enlarge(model, pixels)
    assert result.dtype == np.float32 and result.shape == (80, 120, 3) and result.std() > 0.1
    np.testing.assert_allclose(result, (drawn + 1) / 2, atol=1e-6)
    np.testing.assert_allclose(trained.enlarge(model, pixels.astype(np.uint16) * 257), result, atol=1e-6)
    assert trained.enlarge(model, pixels[:1, :1]).shape == (4, 4, 3)
    assert trained.quantised(np.array([-1, 0.4 / 255, 0.6 / 255, 2]), np.uint8).tolist() == [0, 0, 1, 255]
    assert trained.quantised(np.array([0, 0.5, 1]), np.uint16).tolist() == [0, 32768, 65535]


@pytest.mark.parametrize("options", [{}, {"scale": 2, "upsampling": "resize"}, {"scale": 8}], ids=str)
def test_no_seam_between_tiles(tmp_path, monkeypatch, options):
    """To well within 1/255, at the picture's edges too; and the overlap is no larger than it has to be."""
    model = trained.load(str(write_run(tmp_path / "run", **options).folder))
    pixels = noise(50, 77)
    whole, tiled = trained.enlarge(model, pixels), trained.enlarge(model, pixels, tile=16)
    rows, columns = trained.tiling(model.options, 50, 77, tile=16)
    assert len(rows) == 2 and len(columns) == 4  # of up to 16 and 2 x 13 of overlap
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    exact = trained.reach(model.options)
    monkeypatch.setattr(trained, "reach", lambda options: exact - 4)
    assert np.abs(trained.enlarge(model, pixels, tile=16) - whole).max() > 1e-4


def test_tiles_stay_within_the_memory(model):
    for height, width in ((3000, 4000), (100, 100000), (5000, 7)):
        for memory in (2**24, 2**28):
            rows, columns = trained.tiling(model.options, height, width, memory=memory)
            size = trained.tile_bytes(model.options, rows, columns)
            assert size <= memory and (size > 0.5 * memory or len(rows) * len(columns) == 1)
    # By hand: 4 copies of the last layer's 64 channels of 4 bytes, 4 x 4 for a pixel; "resize" has 256 channels there.
    options = trained.argparse.Namespace(scale=4, upsampling="shuffle", blocks=16, channels=64)
    assert trained.tile_bytes(options, *trained.tiling(options, 10, 10)) == 100 * 4 * 64 * 4 * 16
    options.upsampling = "resize"
    assert trained.tile_bytes(options, *trained.tiling(options, 10, 10)) == 100 * 4 * 256 * 4 * 16


# Files.


def test_h5_and_checkpoint_hold_the_same(tiny_run, model, h5):
    read = trained.load(str(h5))
    for name, variable in named_variables(model.generator).items():
        np.testing.assert_array_equal(named_variables(read.generator)[name].numpy(), variable.numpy())
    assert vars(read.options) == {"scale": 4, "upsampling": "shuffle", "blocks": 2, "channels": 8}
    assert read.run_folder == h5.parent.resolve() and [path.name for path in h5.parent.iterdir()] == [h5.name]
    assert model.run_folder == tiny_run.folder.resolve() and model.prefix.endswith("ckpt-7")
    assert vars(model.options) == vars(tiny_run.options)


def refused(path, reason):
    with pytest.raises(UserError) as error:
        trained.load(str(path))
    assert str(path) in str(error.value) and reason in str(error.value) and str(error.value).count("\n") <= 1


def test_bad_checkpoints(tmp_path, tiny_run):
    refused(tmp_path / "nowhere", "no checkpoint in")
    options = vars(tiny_run.options)
    for name, state, reason in (
        ("foreign", {"weights": tf.Variable(1.0)}, "no whole checkpoint written by this model's train.py"),
        ("other", {"record": Record(options={}, about={"network": "Pix2Pix"})}, "not a checkpoint of SRGAN"),
        ("swapped", {"record": Record(options=options, about={"network": "SRGAN"})}, "of another model or of other"),
    ):
        tf.train.Checkpoint(**state).write(str(tmp_path / name / "ckpt-1"))
        refused(tmp_path / name, reason)


def test_bad_h5_files(tmp_path, h5):
    refused(tmp_path / "no.h5", "there is no such file")
    (tmp_path / "text.h5").write_text("weights")
    refused(tmp_path / "text.h5", "a damaged .h5 file")
    with h5py.File(tmp_path / "keras.h5", "w") as file:  # as Keras saves a model
        file.attrs["model_config"] = "{}"
        file.create_group("model_weights")
    refused(tmp_path / "keras.h5", "not a generator that SRGAN/train.py saved")
    whole = h5.read_bytes()
    for number, length in enumerate((0, 100, len(whole) // 2, len(whole) - 1)):
        (tmp_path / f"short{number}.h5").write_bytes(whole[:length])
        refused(tmp_path / f"short{number}.h5", "a damaged .h5 file")

    def changed(name, change, reason):
        shutil.copy(h5, tmp_path / name)
        with h5py.File(tmp_path / name, "r+") as file:
            change(file)
        refused(tmp_path / name, reason)

    def with_options(**values):
        def change(file):
            file.attrs["options"] = json.dumps({**json.loads(file.attrs["options"]), **values})

        return change

    def with_data(values):
        def change(file):
            del file["first.0"]
            file["first.0"] = values

        return change

    changed("a.h5", with_options(blocks=10**6), "of a larger network than is in it")
    changed("b.h5", with_options(channels=True), "its options mean nothing")
    changed("c.h5", with_options(scale=3), "its options mean nothing")
    changed("d.h5", with_options(upsampling=["shuffle"]), "its options mean nothing")
    changed("e.h5", with_options(upsampling="resize"), "a damaged .h5 file, or one of another model")
    changed("f.h5", with_data(np.zeros([9, 9, 3, 9])), "first.0 is not of the shape")
    changed("g.h5", with_data(np.full([9, 9, 3, 8], np.nan)), "first.0 holds numbers that are not finite")
    changed("h.h5", lambda file: file.__delitem__("last.1"), "a damaged .h5 file")
    changed("i.h5", lambda file: file.attrs.__setitem__("options", "[1]"), "a damaged .h5 file")
    changed("j.h5", lambda file: file.attrs.__setitem__("network", np.ones(3)), "not a generator")
