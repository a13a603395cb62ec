"""freeze.py: every export gives what predict.py gives, in a graph that ATC reads; and what a run ends with."""

import json

import freeze
import numpy as np
import predict
import pytest
import tensorflow as tf
from conftest import call, write_run
from tensorflow import keras

from common.export import Exported
from common.images import to_float

# Plain inference: no variable, no function call, no control flow, nothing random.
OPERATIONS = {"Const", "Placeholder", "Identity", "Conv2D", "BiasAdd", "FusedBatchNormV3", "Conv2DBackpropInput"}
OPERATIONS |= {"Reshape", "Squeeze"}  # of constants, in Keras 3
OPERATIONS |= {"Add", "AddV2", "Sub", "Mul", "LeakyRelu", "ConcatV2", "Tanh", "Sigmoid"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("tiny") / "run", cnum=4, data_shape=[32, 64])


@pytest.fixture(scope="module")
def editor(run):
    return predict.load_editor(run.folder)


def crops(height, width, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (1, height, width, 3)).astype(np.uint8) for _ in range(2)]


def check_graph(path, shape):
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    shapes = {
        node.name: [side.size for side in node.attr["shape"].shape.dim]
        for node in graph.node
        if node.op == "Placeholder"
    }
    assert shapes == {"i_t": shape, "i_s": shape} and not graph.library.function
    assert {node.op for node in graph.node} <= OPERATIONS


def test_every_export_gives_what_the_checkpoint_gives(capsys, tmp_path, run, editor):
    """The .pb for two crops of its own size, the others of any; predict.py's editor takes the one that fits."""
    folder = tmp_path / "new"
    argv = ["--ckpt_path", run.folder, "--output_path", folder, "--batch_size=2", "--soc_version=Ascend310P3"]
    status, said, _ = call(capsys, freeze.main, *argv)
    assert status == 0 and "--input_shape=i_t:2,32,64,3;i_s:2,32,64,3" in said.replace("'", "")
    described = json.loads((folder / "final.json").read_text())
    assert described["outputs"]["o_sk"]["shape"] == [2, 32, 64, 1] and described["data_shape"] == [32, 64]
    check_graph(folder / "final.pb", [2, 32, 64, 3])
    for name, width in (("final.pb", 64), ("final_saved_model", 208), ("final.onnx", 208)):
        exported = predict.ExportedEditor([str(folder / name)])
        i_t, i_s = crops(32, width)
        found, expected = exported.generate(i_t, i_s), editor.generate(i_t, i_s)
        for kind in predict.OUTPUTS:
            assert np.abs(found[kind].astype(int) - expected[kind]).max() <= 1
    assert exported.size_of(10, 44) == editor.size_of(10, 44) == (32, 72)
    fixed = predict.ExportedEditor([str(folder / "final.pb")])
    assert fixed.size_of(10, 300) == (32, 64) and fixed.edit(*(x[0] for x in crops(20, 99)))["o_f"].shape == (20, 99, 3)
    several = predict.ExportedEditor([str(folder / "final.pb"), str(folder / "final.onnx")])
    assert several.size_of(10, 300) == editor.size_of(10, 300) and several.size_of(10, 20) == (32, 64)


def test_what_a_run_ends_with(tmp_path, run, editor):
    """In float32 whatever the run computed in, at the training's size."""
    from model import load_generator

    from common import weights

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        generator = load_generator(weights.load(run.folder, "SRNet", tmp_path))
        freeze.write_final(generator, run.options, str(tmp_path / "final.pb"))
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert [path.name for path in tmp_path.iterdir()] == ["final.pb"]
    check_graph(tmp_path / "final.pb", [1, 32, 64, 3])
    i_t, i_s = crops(32, 64)
    found = Exported(tmp_path / "final.pb").run({"i_t": to_float(i_t, (-1, 1)), "i_s": to_float(i_s, (-1, 1))})
    np.testing.assert_allclose((found["o_f"] + 1) * 127.5, editor.generate(i_t, i_s)["o_f"], atol=0.6)


def test_sides_that_no_network_takes(capsys, tmp_path):
    status, _, error = call(capsys, freeze.main, f"--output_path={tmp_path}", "--height=20")
    assert status == 2 and "give multiples of 8" in error
