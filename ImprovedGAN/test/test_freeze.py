"""freeze.py: every network freezes to plain operations that ATC reads; what is written beside."""

import json

import freeze
import model
import numpy as np
import pytest
import tensorflow as tf
from test_model import VARIANTS, build_networks, options

from common.export import frozen_graph

# Plain inference: no variable, no function call, no control flow, no training, nothing random.
OPERATIONS = """Const Placeholder Identity Reshape Squeeze Pack ConcatV2 StridedSlice Tile ExpandDims MatMul Conv2D
    Conv2DBackpropInput BiasAdd FusedBatchNormV3 Mean Sum SquaredDifference Add AddV2 Sub Mul Square Pow Rsqrt Neg Abs
    Exp StopGradient Relu LeakyRelu Softplus Sigmoid Tanh Softmax ResizeBilinear ResizeNearestNeighbor"""
STATIC = "Shape Unpack Range Cast GreaterEqual Equal SelectV2 FloorMod RealDiv"  # of constants, which ATC folds


@pytest.mark.parametrize("changed, image_shape", VARIANTS, ids=str)
def test_every_network_freezes_to_plain_operations(changed, image_shape):
    given = options(**changed)
    generator, discriminator = build_networks(given, image_shape, 3)
    for function, shape in (
        (lambda x: {"output": tf.nn.softmax(model.classify(discriminator, given, x["input"]))}, (2, *image_shape)),
        (lambda x: {"output": generator(x["input"], training=False)}, (2, given.n_z)),
    ):
        graph = frozen_graph(function, {"input": shape}, ["output"])
        assert {node.op for node in graph.node} <= {*OPERATIONS.split(), *STATIC.split()} and not graph.library.function


def test_what_is_written(call, tmp_path, paper_run):
    flags = ["--ckpt_path", paper_run.folder, "--output_path", tmp_path, "--batch_size=4", "--soc_version=Ascend310P3"]
    status, said, _ = call(freeze.main, *flags)
    assert status == 0 and "atc --model=" in said and "images:4,8,8,3" in said and "latents:4,8" in said
    names = {"{}.pb", "{}.onnx", "{}_saved_model", "{}.json", "{}.npz"}
    assert {path.name for path in tmp_path.iterdir()} == {
        n.format(m) for n in names for m in ("classifier", "generator")
    }
    told = json.loads((tmp_path / "classifier.json").read_text())
    assert told["about"]["class_names"] == ["above", "middle", "below"] and told["about"]["image_shape"] == [8, 8, 3]
    assert told["inputs"]["images"]["shape"] == [4, 8, 8, 3] and told["outputs"]["probabilities"]["shape"] == [4, 3]
    example = np.load(str(tmp_path / "classifier.npz"))
    np.testing.assert_allclose(example["probabilities"].sum(1), 1, atol=1e-5)
    status, said, _ = call(freeze.main, *flags, "--check", tmp_path / "generator.onnx")
    assert status == 0 and "cosine 1.0" in said
