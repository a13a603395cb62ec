"""freeze.py: every network freezes to plain operations that ATC reads; what is written beside; and what it refuses."""

import json
from argparse import Namespace

import freeze
import numpy as np
import pytest
import tensorflow as tf
from model import build_discriminator, build_generator, classify

from common.export import frozen_graph

# Plain inference: no variable, no function call, no control flow, no training, nothing random.
OPERATIONS = """Const Placeholder Identity Reshape Squeeze Pack ConcatV2 StridedSlice Tile ExpandDims MatMul Conv2D
    Conv2DBackpropInput BiasAdd FusedBatchNormV3 Mean Sum SquaredDifference Add AddV2 Sub Mul Square Pow Rsqrt Neg Abs
    Exp StopGradient Relu LeakyRelu Softplus Sigmoid Tanh Softmax ResizeBilinear ResizeNearestNeighbor"""
STATIC = "Shape Unpack Range Cast GreaterEqual Equal SelectV2 FloorMod RealDiv"  # of constants, which ATC folds
VARIANTS = {
    "ssgan, nearest, instance norm": {"deconv_type": "nn", "norm_type": "instance"},
    "ssgan, transposed, no norm": {"deconv_type": "transpose", "norm_type": "None"},
    "mnist, minibatch discrimination": {"model": "paper", "recipe": "mnist", "minibatch_discrimination": True},
    "svhn, virtual batch norm": {"model": "paper", "recipe": "svhn", "norm_type": "virtual"},
    "mnist, virtual batch norm": {"model": "paper", "recipe": "mnist", "norm_type": "virtual"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_freezes_to_plain_operations(variant):
    options = {"model": "ssgan", "recipe": "mnist", "n_z": 8, "deconv_type": "bilinear", "norm_type": "batch"}
    options.update(minibatch_discrimination=False, batch_size=6)
    options = Namespace(**{**options, **VARIANTS[variant]})
    generator, discriminator = build_generator(options, (12, 12, 3)), build_discriminator(options, (12, 12, 3), 3)
    for function, shape in (
        (lambda x: {"output": tf.nn.softmax(classify(discriminator, options, x["input"]))}, (2, 12, 12, 3)),
        (lambda x: {"output": generator(x["input"], training=False)}, (2, 8)),
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
