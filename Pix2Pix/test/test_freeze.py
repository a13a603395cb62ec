"""freeze.py: every export generates what predict.py does, in a graph that ATC reads; and what it refuses."""

import json

import freeze
import numpy as np
import predict
import pytest
import tensorflow as tf
from conftest import write_run

from common import weights
from common.test.testing import call_main

# Plain inference: no variable, no function call, no control flow, no dropout, nothing random.
OPERATIONS = {
    *("Const", "Placeholder", "Identity", "Conv2D", "Conv2DBackpropInput", "BiasAdd", "ConcatV2", "Mean"),
    *("Reshape", "Squeeze"),  # of biases
    *("SquaredDifference", "StopGradient", "AddV2", "Add", "Sub", "Mul", "Rsqrt", "LeakyRelu", "Relu", "Tanh"),
}


def call(capsys, *argv):
    """freeze.py's exit status, and what it said on stdout and stderr."""
    return call_main(capsys, freeze.main, *argv)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_run):
    """All files for two images of 256 x 512."""
    folder = tmp_path_factory.mktemp("exported")
    flags = ["--batch_size=2", "--width=512", "--format=pb,saved_model,onnx,weights"]
    assert freeze.main([f"--ckpt_path={tiny_run.folder}", f"--output_path={folder}", *flags]) == 0
    return folder


@pytest.mark.parametrize("file", ["generator.pb", "generator_saved_model", "generator.onnx"])
def test_every_export_generates_what_the_checkpoint_does(exported, tiny_run, file):
    """In a batch of its own; an image of another size is filled up to the export's."""

    def translator(*flags):
        return predict.load_translator(predict.parse_args(["x.png", *flags]))

    ours, theirs = translator(f"--ckpt_path={tiny_run.folder}"), translator(f"--model={exported / file}")
    noise = np.random.default_rng(1).integers(0, 256, (256, 512, 3)).astype(np.uint8)
    smooth = (np.indices((200, 300)).sum(0)[..., None] * [1, 2, 3] % 256).astype(np.uint8)
    filled_up = np.pad(smooth, ((28, 28), (106, 106), (0, 0)), "symmetric")
    for image, expected in ((noise, ours(noise)), (smooth, ours(filled_up)[28:228, 106:406])):
        generated = theirs(image)
        assert generated.dtype == np.uint8 and generated.shape == image.shape
        difference = np.abs(generated.astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 1e-2  # between two whole numbers


def test_weights(exported, tiny_run):
    """The generator alone, rounded to float16, with the options that built it but no paths of this machine."""
    found = weights.load(exported / "generator.safetensors", "Pix2Pix", exported)
    whole = weights.load(tiny_run.folder, "Pix2Pix", exported)
    options = {name: value for name, value in vars(whole.options).items() if name != "data_path"}
    assert vars(found.options) == options and set(found.tensors) == set(whole.tensors)
    for name, array in whole.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], array.astype(np.float16).astype(np.float32))


def test_the_graph_is_plain(exported):
    graph = tf.compat.v1.GraphDef.FromString((exported / "generator.pb").read_bytes())
    assert {node.op for node in graph.node} <= OPERATIONS and not graph.library.function
    inputs = [node for node in graph.node if node.op == "Placeholder"]
    assert [node.name for node in inputs] == ["input"] and graph.node[-1].name == "output"
    assert [dim.size for dim in inputs[0].attr["shape"].shape.dim] == [2, 256, 512, 3]


def test_what_is_said_and_described(capsys, tmp_path):
    """Other channels, the default size; and nothing beside what was asked for."""
    run = write_run(tmp_path / "run", input_nc=4, output_nc=1, which_direction="AtoB")
    folder = tmp_path / "with space"
    flags = ["--format=pb", "--soc_version=Ascend310P3"]
    status, said, _ = call(capsys, "--ckpt_path", run.folder, "--output_path", folder, *flags)
    assert status == 0 and "generator.pb: differs from the checkpoint by at most" in said
    assert "--input_format=NHWC --input_shape=input:1,256,256,4" in said and "--soc_version=Ascend310P3" in said
    assert sorted(path.name for path in folder.iterdir()) == ["generator.json", "generator.npz", "generator.pb"]
    told = json.loads((folder / "generator.json").read_text())
    assert told["inputs"] == {"input": {"shape": [1, 256, 256, 4], "is": "RGBA images, black -1, white 1"}}
    assert told["outputs"] == {"output": {"shape": [1, 256, 256, 1], "is": "grey images, black -1, white 1"}}


def test_refusals(capsys, tmp_path, tiny_run):
    run = ["--ckpt_path", tiny_run.folder, "--format=pb"]
    status, _, error = call(capsys, "--ckpt_path", tmp_path, "--output_path", tmp_path / "new", "--format=pb")
    assert status == 2 and "no weights in" in error and not (tmp_path / "new").exists()
    (tmp_path / "generator.pb").write_text("mine")
    status, _, error = call(capsys, *run, "--output_path", tmp_path)
    assert status == 2 and "holds generator.pb already" in error
    assert (tmp_path / "generator.pb").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(SystemExit):
        freeze.main([*map(str, run), f"--output_path={tmp_path / 'new'}", "--height=300"])
    assert "--height 300: the U-Net halves height and width eight times" in capsys.readouterr().err
