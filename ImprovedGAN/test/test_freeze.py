"""freeze.py: every network freezes to plain operations that ATC reads. (What it writes: test_predict.py, ci/test.)"""

import model
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
