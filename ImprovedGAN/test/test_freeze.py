"""freeze.py: every export gives what the checkpoint gives, in a graph that ATC reads; and what it refuses."""

import json
import re
from argparse import Namespace

import freeze
import numpy as np
import predict
import pytest
import tensorflow as tf
import trained
from model import build_networks, classify, picture_range

from common.export import frozen_graph, run_graph
from common.pictures import scale
from common.testing import call_main, read_pb, run_onnx, run_saved_model

# Plain inference: no variable, no function call, no control flow, no training, nothing random.
OPERATIONS = {
    *(
        "Const",
        "Placeholder",
        "Identity",
        "Reshape",
        "Squeeze",
        "Pack",
        "ConcatV2",
        "StridedSlice",
        "Tile",
        "ExpandDims",
    ),
    *("MatMul", "Conv2D", "Conv2DBackpropInput", "BiasAdd", "FusedBatchNormV3", "Mean", "Sum", "SquaredDifference"),
    *("Add", "AddV2", "Sub", "Mul", "Square", "Pow", "Rsqrt", "Neg", "Abs", "Exp", "StopGradient"),
    *("Relu", "LeakyRelu", "Softplus", "Sigmoid", "Tanh", "Softmax", "ResizeBilinear", "ResizeNearestNeighbor"),
}


def call(capsys, *argv):
    """freeze.py's exit status, and what it said on stdout and stderr."""
    return call_main(capsys, freeze.main, *argv)


def answers(folder, name, x):
    """What each of the three files makes of `x`."""
    return [
        run_graph(read_pb(folder / f"{name}.pb"), x),
        run_saved_model(folder / f"{name}_saved_model", x),
        run_onnx(folder / f"{name}.onnx", x),
    ]


@pytest.mark.parametrize("kind", ["ssgan", "paper"])
def test_every_export_gives_what_the_checkpoint_gives(capsys, tmp_path, request, kind):
    run = request.getfixturevalue(f"{kind}_run")
    status, said, _ = call(capsys, "--ckpt_path", run.folder, "--output_path", tmp_path, "--batch_size=4")
    assert status == 0
    differences = re.findall(r"^(\S+): differs from the checkpoint by at most (\S+)$", said, re.MULTILINE)
    names = ["classifier.pb", "classifier_saved_model", "classifier.onnx"]
    names += [name.replace("classifier", "generator") for name in names]
    assert [name for name, _ in differences] == names and all(float(size) < 1e-5 for _, size in differences)

    model = trained.load(str(run.folder))
    low, high = picture_range(model.options)
    pictures = run.data.test_images[:4]
    expected = predict.classify_pictures(model, pictures)
    assert np.ptp(expected, 0).max() > 1e-3  # the pictures do not all look the same to it
    for probabilities in answers(tmp_path, "classifier", scale(pictures, (low, high))):
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)
        assert probabilities.dtype == np.float32 and probabilities.shape == (4, 3)

    z = np.random.default_rng(1).uniform(0, 1, (4, 8)).astype(np.float32)
    expected = model.generator(z, training=False).numpy()
    for made in answers(tmp_path, "generator", z):
        np.testing.assert_allclose(made, expected, atol=1e-5)
        assert made.shape == pictures.shape and made.min() >= low and made.max() <= high

    described = json.loads((tmp_path / "classifier.json").read_text())
    assert described["class_names"] == ["above", "middle", "below"] and described["input_shape"] == list(pictures.shape)
    assert described["input"] == f"pictures, black {low:g}, white {high:g}" and described["input"] in said
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "classifier.json", "generator.json"])


VARIANTS = {
    "ssgan, nearest, instance norm": {"deconv_type": "nn", "norm_type": "instance"},
    "ssgan, transposed, no norm": {"deconv_type": "transpose", "norm_type": "None"},
    "mnist, minibatch discrimination": {"model": "paper", "recipe": "mnist", "minibatch_discrimination": True},
    "svhn, plain weights": {"model": "paper", "recipe": "svhn", "weight_norm": False},
    "svhn, virtual batch norm": {"model": "paper", "recipe": "svhn", "norm_type": "virtual"},
    "mnist, virtual batch norm": {"model": "paper", "recipe": "mnist", "norm_type": "virtual"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_freezes_to_plain_operations(variant):
    options = {"model": "ssgan", "recipe": "mnist", "n_z": 8, "deconv_type": "bilinear", "norm_type": "batch"}
    options.update(weight_norm=True, minibatch_discrimination=False, batch_size=6)
    options = Namespace(**{**options, **VARIANTS[variant]})
    generator, discriminator = build_networks(options, (12, 12, 3), 3)
    rng = np.random.default_rng(0)
    for function, x in (
        (lambda images: tf.nn.softmax(classify(discriminator, options, images)), rng.uniform(0, 1, (2, 12, 12, 3))),
        (lambda latents: generator(latents, training=False), rng.uniform(0, 1, (2, 8))),
    ):
        x = x.astype(np.float32)
        graph = frozen_graph(function, x.shape)
        assert {node.op for node in graph.node} <= OPERATIONS
        assert not graph.library.function
        assert not [node.name for node in graph.node if any(word.startswith("^") for word in node.input)]
        # A reader of an older TensorFlow knows every attribute: the newer ones stand at their defaults.
        assert not [name for node in graph.node for name in node.attr if name.startswith(("_", "grad_"))]
        fixed = {node.name for node in graph.node if node.op == "Const"}
        computed = [node for node in graph.node if node.input and all(i.split(":")[0] in fixed for i in node.input)]
        assert not computed  # nothing is left to do that no input changes
        np.testing.assert_allclose(run_graph(graph, x), function(tf.constant(x)).numpy(), atol=1e-5)


def test_refusals(capsys, tmp_path, ssgan_run):
    def refused(reason, *argv):
        status, _, error = call(capsys, *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2

    run, output = ["--ckpt_path", ssgan_run.folder], ["--output_path", tmp_path / "output"]
    refused("no checkpoint in", "--ckpt_path", tmp_path, *output, "--format=pb")
    assert not (tmp_path / "output").exists()
    (tmp_path / "generator.pb").write_text("mine")
    refused("holds generator.pb already", *run, "--output_path", tmp_path, "--format=pb")
    assert [path.name for path in tmp_path.iterdir()] == ["generator.pb"]  # nor a classifier.pb
    for flags in (["--format=pb,tflite"], ["--what=discriminator"], ["--batch_size=0"]):
        with pytest.raises(SystemExit) as exit_:
            freeze.main([*map(str, [*run, *output]), *flags])
        assert exit_.value.code == 2
