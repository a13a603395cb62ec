"""freeze.py: every export draws what predict.py draws, in a graph that ATC reads; and what a run ends with."""

import json
import re

import freeze
import numpy as np
import pytest
import trained
from conftest import write_run
from data import resized
from tensorflow import keras

from common.export import run_graph
from common.pictures import scale
from common.testing import call_main, read_pb

# Plain inference: no variable, no function call, no control flow, nothing random.
OPERATIONS = {"Const", "Placeholder", "Identity", "Conv2D", "BiasAdd", "FusedBatchNormV3", "Conv2DBackpropInput"}
OPERATIONS |= {"Add", "AddV2", "Sub", "Mul", "LeakyRelu", "ConcatV2", "Tanh", "Sigmoid"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("tiny") / "run", cnum=4, data_shape=[32, 64])


def call(capsys, *argv):
    """freeze.py's exit status, and what it said on stdout and stderr."""
    return call_main(capsys, freeze.main, *argv)


def crops(height, width, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(2)]


def check_draws(function, model, i_t, i_s):
    """A function of named inputs gives the four pictures of trained.py, to a rounding."""
    size = trained.network_size(model.options, *i_s.shape[:2])
    results = function({name: scale(resized(x, size)[None], trained.RANGE) for name, x in (("i_t", i_t), ("i_s", i_s))})
    for name, expected in trained.edit(model, i_t, i_s).items():
        low, high = trained.RANGES[name]
        np.testing.assert_allclose((results[name][0] - low) * 255 / (high - low), expected, atol=0.6)


def check_graph(graph, sides):
    shapes = {
        node.name: [side.size for side in node.attr["shape"].shape.dim]
        for node in graph.node
        if node.op == "Placeholder"
    }
    assert shapes == {"i_t": sides, "i_s": sides} and not graph.library.function
    assert {node.op for node in graph.node} <= OPERATIONS


def run_onnx(path, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_outputs()] == list(trained.OUTPUTS)
    return dict(zip(trained.OUTPUTS, session.run(None, x)))


def run_saved_model(path, x):
    import tensorflow as tf

    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    return {name: y.numpy() for name, y in serve(**{name: tf.constant(array) for name, array in x.items()}).items()}


def test_every_export_draws_what_predict_draws(capsys, tmp_path, run):
    """The .pb of two crops of its own size, the others of any."""
    folder = tmp_path / "new"
    status, said, _ = call(capsys, "--ckpt_path", run.folder, "--output_path", folder, "--batch_size=2")
    assert status == 0
    differences = re.findall(r"^(\S+): differs from the checkpoint by at most (\S+)$", said, re.MULTILINE)
    names = ["final.pb", "final_saved_model", "final.onnx"]
    assert [name for name, _ in differences] == names and all(float(size) < 1e-4 for _, size in differences)
    inputs, outputs = '--input_shape="i_t:2,32,64,3;i_s:2,32,64,3"', '--out_nodes="o_sk:0;o_t:0;o_b:0;o_f:0"'
    assert f"{inputs} {outputs}" in said
    described = json.loads((folder / "final.json").read_text())
    assert described["output_shape"]["pb"]["o_sk"] == [2, 32, 64, 1] and described["i_s"] == "the crop, likewise"
    assert described["input_shape"]["onnx"] == {"i_t": [None, None, None, 3], "i_s": [None, None, None, 3]}

    model, graph = trained.load(str(run.folder)), read_pb(folder / "final.pb")
    check_graph(graph, [2, 32, 64, 3])
    two = lambda x: {name: array.repeat(2, 0) for name, array in x.items()}  # noqa: E731
    check_draws(lambda x: run_graph(graph, two(x), trained.OUTPUTS), model, *crops(32, 64))
    check_draws(lambda x: run_saved_model(folder / names[1], x), model, *crops(32, 208))
    check_draws(lambda x: run_onnx(folder / names[2], x), model, *crops(32, 208))


def test_what_a_run_ends_with(tmp_path, run):
    """In float32 whatever the run computed in, at the training's size."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        generator = trained.load(str(run.folder)).generator
        freeze.write_final(generator, run.options, str(tmp_path / "final.pb"))
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert [path.name for path in tmp_path.iterdir()] == ["final.pb"]
    graph = read_pb(tmp_path / "final.pb")
    check_graph(graph, [1, 32, 64, 3])
    model = trained.load(str(run.folder))
    check_draws(lambda x: run_graph(graph, x, trained.OUTPUTS), model, *crops(32, 64))


def test_refusals(capsys, tmp_path, run):
    flags = ["--ckpt_path", run.folder, "--format=pb"]
    status, _, error = call(capsys, "--ckpt_path", tmp_path, "--output_path", tmp_path / "new", "--format=pb")
    assert status == 2 and "no checkpoint in" in error and not (tmp_path / "new").exists()
    (tmp_path / "final.pb").write_text("mine")
    status, _, error = call(capsys, *flags, "--output_path", tmp_path)
    assert status == 2 and "holds final.pb already" in error and (tmp_path / "final.pb").read_text() == "mine"
    for side in ("--height=20", "--width=-2", "--width=0"):
        with pytest.raises(SystemExit) as exit_:
            freeze.main([*map(str, flags), f"--output_path={tmp_path / 'new'}", side])
        assert exit_.value.code == 2
    assert "a multiple of 8" in capsys.readouterr().err
