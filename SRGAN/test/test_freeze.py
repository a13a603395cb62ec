"""freeze.py: every export gives what predict.py gives, in a graph that ATC reads, of any size where it may."""

import json

import checkpoint
import enlarger
import freeze
import numpy as np
import pytest
import tensorflow as tf
from conftest import call, noise, write_run
from model import load_generator

# Plain inference: no variable, no function call, no control flow, nothing random.
OPERATIONS = {"Const", "Placeholder", "Identity", "Conv2D", "BiasAdd", "FusedBatchNormV3", "DepthToSpace", "Tanh"}
OPERATIONS |= {"Add", "AddV2", "Sub", "Mul", "Neg", "Relu", "LeakyRelu"}
OPERATIONS |= {"Cast", "Squeeze"}  # of a PReLU's slopes
# What Keras makes nearest neighbours of.
NEAREST = {"Shape", "StridedSlice", "Pack", "Reshape", "Tile", "ExpandDims", "ConcatV2", "ResizeNearestNeighbor"}


def read_pb(path):
    """A graph, and the shape of its input."""
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    (placeholder,) = [node for node in graph.node if node.op == "Placeholder"]
    assert placeholder.name == "lr" and graph.node[-1].name == "sr"
    return graph, [size.size for size in placeholder.attr["shape"].shape.dim]


@pytest.mark.parametrize("options", [{}, {"upsampling": "resize", "scale": 2}], ids=str)
def test_every_export_gives_what_predict_gives(capsys, tmp_path, options):
    """In other sizes than were tried, too."""
    run, folder = write_run(tmp_path / "run", **options), tmp_path / "with space"
    argv = ["--ckpt_path", run.folder, "--output_path", folder, "--height=42", "--width=45", "--batch_size=2"]
    argv += ["--soc_version=Ascend310P3", "--format=pb,saved_model,onnx,weights"]
    status, said, _ = call(capsys, freeze.main, *argv)
    assert status == 0 and "--input_format=NHWC --input_shape=lr:2,42,45,3" in said

    network = checkpoint.load(str(run.folder))
    exports = [enlarger.from_export(folder / f"generator{kind}") for kind in (".pb", "_saved_model", ".onnx")]
    assert [export.size for export in exports] == [(42, 45), None, None]
    for shape in ((50, 61, 3), (9, 46, 3)):
        lr = noise(*shape)
        expected = network.enlarge(lr)
        for export in exports:
            assert export.receptive_field == network.receptive_field and export.scale == network.scale
            inner = slice(None, -network.scale * 13 if export.size and shape[0] < 42 else None)  # it was mirrored there
            np.testing.assert_allclose(export.enlarge(lr)[inner], expected[inner], atol=1e-5)
    half = checkpoint.load(str(folder / "generator.safetensors"))
    np.testing.assert_allclose(half.enlarge(lr), expected, atol=5e-3)  # float16 on disk

    graph, shape = read_pb(folder / "generator.pb")
    assert shape == [2, 42, 45, 3] and not graph.library.function
    assert {node.op for node in graph.node} <= (OPERATIONS | NEAREST if options else OPERATIONS)


def test_a_pb_for_any_size_from_an_h5_file(capsys, tmp_path, network, tiny_run):
    generator = load_generator(checkpoint.load_weights(str(tiny_run.folder)))
    checkpoint.save_h5(tmp_path / "gen_model7.h5", generator, tiny_run.options)
    argv = ["--ckpt_path", tmp_path / "gen_model7.h5", "--output_path", tmp_path / "any", "--format=pb"]
    status, said, _ = call(capsys, freeze.main, *argv, "--height=-1", "--width=-1", "--soc_version=Ascend310P3")
    assert status == 0 and "--input_shape=lr:1,-1,-1,3" in said
    assert read_pb(tmp_path / "any" / "generator.pb")[1] == [1, -1, -1, 3]
    lr = noise(9, 50, 3)
    export = enlarger.from_export(tmp_path / "any" / "generator.pb")
    np.testing.assert_allclose(export.enlarge(lr), network.enlarge(lr), atol=1e-5)
    told = json.loads((tmp_path / "any" / "generator.json").read_text())
    assert (told["scale"], told["receptive_field"], told["bytes_per_pixel"]) == (4, 13, 4 * 4 * 8 * 16)
