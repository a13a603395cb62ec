"""checkpoint.py: what a file of weights may say, and the ModelZoo README's .h5 models, written, read and refused."""

import shutil

import baseline
import checkpoint
import h5py
import metrics
import numpy as np
import pytest
from model import load_generator

from common import weights
from common.cli import UserError
from common.images import to_uint8
from common.layers import named_variables


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_run):
    """A model's file and the generator in it."""
    generator = load_generator(checkpoint.load_weights(str(tiny_run.folder)))
    path = tmp_path_factory.mktemp("h5") / "gen_model7.h5"
    checkpoint.save_h5(path, generator, tiny_run.options)
    return path, generator


def test_what_is_written_is_read(model):
    path, generator = model
    loaded = checkpoint.load_weights(str(path))
    for name, variable in named_variables(load_generator(loaded)).items():
        np.testing.assert_array_equal(variable.numpy(), named_variables(generator)[name].numpy())
    assert vars(loaded.options) == {"scale": 4, "upsampling": "shuffle", "blocks": 2, "channels": 8}


def test_the_shipped_weights_give_the_figure_of_their_card():
    import skimage.data

    hr = skimage.data.coffee()[100:292, 200:392]
    network = checkpoint.load(str(checkpoint.HERE / "pretrained" / "fidelity.safetensors"))
    sr = to_uint8(network.enlarge(baseline.shrink(hr, 4)), (0.0, 1.0))
    assert metrics.compare(sr, hr, 4)["psnr_y"] == pytest.approx(29.28, abs=0.1)
    assert checkpoint.load_weights(None).options.degradation == "photo"  # where nothing is named
    assert "29.28 dB" in (checkpoint.HERE / "pretrained" / "MODEL_CARD.md").read_text()


CHANGES = {
    "not finite": lambda file: file.__setitem__("first.0", np.full([9, 9, 3, 8], np.nan)),
    "other things than numbers": lambda file: file.__setitem__("first.0", np.full([9, 9, 3, 8], b"x")),
    "lies outside the file": lambda file: file.__setitem__("first.0", h5py.ExternalLink("/etc/passwd", "/x")),
    "promises more than it holds": lambda file: file.create_dataset("first.0", (2**18, 2**18), "f4", chunks=(64, 64)),
    "not a generator": lambda file: file.attrs.__setitem__("network", np.ones(3)),
    "one of another model": lambda file: file.attrs.__setitem__("options", "[1]"),
}


@pytest.mark.parametrize("reason", list(CHANGES))
def test_hostile_files(tmp_path, model, reason):
    """What a stranger's file may say, none of it believed; no other file is opened for it."""
    path = tmp_path / "a.h5"
    shutil.copy(model[0], path)
    with h5py.File(path, "r+") as file:
        del file["first.0"]
        CHANGES[reason](file)
    with pytest.raises(UserError, match=reason) as error:
        load_generator(checkpoint.read_h5(path))
    assert str(path) in str(error.value) and str(error.value).count("\n") <= 1


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"blocks": 10**6}, "of a larger network than is in it"),
        ({"channels": True}, "its options are of no generator"),
        ({"scale": 3}, "its options are of no generator"),
        ({"upsampling": ["shuffle"]}, "its options are of no generator"),
        ({"blocks": 1}, "of another size than its options say"),
    ],
)
def test_options_that_lie(tmp_path, tiny_run, options, reason):
    """A file's options are not believed: no network is built that it cannot hold."""
    record, tensors = weights.read(tiny_run.folder / "checkpoints" / "ckpt-7.safetensors")
    path = weights.save(tmp_path / "a.safetensors", "SRGAN", tensors, {**record["options"], **options})
    with pytest.raises(UserError, match=reason):
        load_generator(checkpoint.load_weights(path))
