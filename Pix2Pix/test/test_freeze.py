"""freeze.py: every export generates what predict.py does, in a graph that ATC reads; and what it refuses."""

import json
import os
import subprocess
import sys

import freeze
import numpy as np
import pytest
import tensorflow as tf
from conftest import MODEL, patches, read, save, write_run
from predict import load_translator, parse_args

from common.cli import UserError
from common.test.testing import call_main

# Plain inference: no variable, no function call, no control flow, no dropout, nothing random.
OPERATIONS = {
    *("Const", "Placeholder", "Identity", "Conv2D", "Conv2DBackpropInput", "BiasAdd", "ConcatV2", "Mean"),
    *("Reshape", "Squeeze"),  # of biases
    *("SquaredDifference", "StopGradient", "AddV2", "Add", "Sub", "Mul", "Rsqrt", "LeakyRelu", "Relu", "Tanh"),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_run):
    """All files for two images of 256 x 512."""
    folder = tmp_path_factory.mktemp("exported")
    flags = ["--batch_size=2", "--width=512", "--format=pb,saved_model,onnx"]
    assert freeze.main([f"--ckpt_path={tiny_run.folder}", f"--output_path={folder}", *flags]) == 0
    return folder


@pytest.mark.parametrize("file", ["generator.pb", "generator_saved_model", "generator.onnx"])
def test_every_export_generates_what_the_checkpoint_does(exported, tiny_run, file):
    """In a batch of its own; an image of another size is filled up to the export's."""
    flags = (f"--ckpt_path={tiny_run.folder}", f"--model={exported / file}")
    ours, theirs = (load_translator(parse_args(["x.png", flag])) for flag in flags)
    noise = np.random.default_rng(1).integers(0, 256, (256, 512, 3)).astype(np.uint8)
    smaller = patches(200, 300)
    filled_up = np.pad(smaller, ((28, 28), (106, 106), (0, 0)), "symmetric")
    for image, expected in ((noise, ours(noise)), (smaller, ours(filled_up)[28:228, 106:406])):
        generated = theirs(image)
        assert generated.dtype == np.uint8 and generated.shape == image.shape
        difference = np.abs(generated.astype(int) - expected)
        assert difference.max() <= 1 and (difference > 0).mean() < 1e-2  # between two whole numbers
    with pytest.raises(UserError, match="512 x 257 is larger than the 512 x 256 that .* takes"):
        theirs(patches(257, 512))


def test_an_onnx_file_needs_no_tensorflow(exported, tmp_path):
    """Nor does it take the time to load it."""
    code = "import sys; sys.modules['tensorflow'] = None; import predict; sys.exit(predict.main(sys.argv[1:]))"
    argv = [str(save(tmp_path / "map.png", patches(20, 30))), f"--model={exported / 'generator.onnx'}"]
    environment = {**os.environ, "PYTHONPATH": str(MODEL)}
    subprocess.run([sys.executable, "-c", code, *argv], cwd=str(tmp_path), env=environment, check=True)
    assert read(tmp_path / "map_generated.png").shape == (20, 30, 3)


def test_the_graph_is_plain(exported):
    graph = tf.compat.v1.GraphDef.FromString((exported / "generator.pb").read_bytes())
    assert {node.op for node in graph.node} <= OPERATIONS and not graph.library.function


def test_what_is_described_and_refused(capsys, tmp_path):
    """Other channels, the default size; another size than the U-Net's."""
    run = write_run(tmp_path / "run", input_nc=4, output_nc=1).folder
    flags = ["--ckpt_path", run, "--output_path", tmp_path / "new", "--format=pb"]
    status, said, _ = call_main(capsys, freeze.main, *flags, "--soc_version=Ascend310P3")
    assert status == 0 and "--input_format=NHWC --input_shape=input:1,256,256,4" in said
    told = json.loads((tmp_path / "new" / "generator.json").read_text())
    assert told["inputs"] == {"input": {"shape": [1, 256, 256, 4], "is": "RGBA images, black -1, white 1"}}
    assert told["outputs"] == {"output": {"shape": [1, 256, 256, 1], "is": "grey images, black -1, white 1"}}
    with pytest.raises(SystemExit):
        freeze.main(["--height=300"])
    assert "the U-Net halves both eight times, so give multiples of 256" in capsys.readouterr().err
