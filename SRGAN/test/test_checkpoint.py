"""checkpoint.py: the ModelZoo README's .h5 models, written, read and refused; the weights that ship."""

import json
import shutil

import baseline
import checkpoint
import h5py
import metrics
import numpy as np
import pytest
from model import load_generator

from common.cli import UserError
from common.layers import named_variables

OPTIONS = {"scale": 4, "upsampling": "shuffle", "blocks": 2, "channels": 8}


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
    assert vars(loaded.options) == OPTIONS


def test_the_shipped_weights_give_the_figure_of_their_card():
    import skimage.data

    hr = skimage.data.coffee()[100:292, 200:392]
    network = checkpoint.load(str(checkpoint.HERE / "pretrained" / "fidelity.safetensors"))
    assert metrics.compare(network.enlarge(baseline.shrink(hr, 4)), hr, 4)["psnr_y"] == pytest.approx(30.53, abs=0.1)
    assert checkpoint.load_weights(None).options.degradation == "photo"  # where nothing is named
    assert "30.53 dB" in (checkpoint.HERE / "pretrained" / "MODEL_CARD.md").read_text()


def other(first):
    """A change of a file: another first kernel."""

    def change(file):
        del file["first.0"]
        file["first.0"] = first

    return change


def says(**options):
    """A change of a file: other options."""
    return lambda file: file.attrs.__setitem__("options", json.dumps({**OPTIONS, **options}))


@pytest.mark.parametrize(
    "reason, change",
    [
        ("not finite", other(np.full([9, 9, 3, 8], np.nan))),
        ("other things than numbers", other(np.full([9, 9, 3, 8], b"x"))),
        ("lies outside the file", other(h5py.ExternalLink("/etc/passwd", "/x"))),
        ("promises more than it holds", lambda file: file.create_dataset("a", (2**18, 2**18), "f4", chunks=(64, 64))),
        ("one of another model", lambda file: file.attrs.__setitem__("options", "[1]")),
        ("of a larger network than is in it", says(blocks=10**6)),
        ("its options are of no generator", says(channels=True)),
        ("of another size than its options say", says(blocks=1)),
    ],
)
def test_hostile_files(tmp_path, model, reason, change):
    """What a stranger's file may say, none of it believed; no other file is opened and no network built for it."""
    path = tmp_path / "a.h5"
    shutil.copy(model[0], path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(UserError, match=reason) as error:
        load_generator(checkpoint.read_h5(path))
    assert str(path) in str(error.value) and str(error.value).count("\n") <= 1
