"""freeze.py: every export gives what predict.py gives, in a graph that ATC reads, of any size where it may."""

import json

import checkpoint
import enlarger
import freeze
import numpy as np
import tensorflow as tf
from conftest import call, noise, write_run
from model import load_generator

from common.test.graph_check import SUPPORTED


def read_pb(path):
    """The shape of a graph's input; the graph is one that ATC takes."""
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    (placeholder,) = [node for node in graph.node if node.op == "Placeholder"]
    assert placeholder.name == "lr" and graph.node[-1].name == "sr" and not graph.library.function
    assert {node.op for node in graph.node} <= SUPPORTED | {"ResizeNearestNeighbor"}
    return [size.size for size in placeholder.attr["shape"].shape.dim]


def test_every_export_gives_what_predict_gives(capsys, tmp_path, tiny_run, network):
    """In other sizes than were tried, too."""
    folder = tmp_path / "with space"
    argv = ["--ckpt_path", tiny_run.folder, "--output_path", folder, "--height=42", "--width=45", "--batch_size=2"]
    argv += ["--soc_version=Ascend310P3", "--format=pb,saved_model,onnx,weights"]
    status, said, _ = call(capsys, freeze.main, *argv)
    assert status == 0 and "--input_format=NHWC --input_shape=lr:2,42,45,3" in said
    assert read_pb(folder / "generator.pb") == [2, 42, 45, 3]
    exports = [enlarger.from_export(folder / f"generator{kind}") for kind in (".pb", "_saved_model", ".onnx")]
    assert [export.size for export in exports] == [(42, 45), None, None]
    for shape in ((50, 61, 3), (9, 46, 3)):
        lr = noise(*shape, dtype="uint16")
        expected = network.enlarge(lr).astype(float)
        for export in exports:
            assert export.receptive_field == network.receptive_field and export.scale == network.scale
            inner = slice(None, -network.scale * 13 if export.size and shape[0] < 42 else None)  # it was mirrored there
            np.testing.assert_allclose(export.enlarge(lr)[inner], expected[inner], atol=1)
    half = checkpoint.load(str(folder / "generator.safetensors"))
    np.testing.assert_allclose(half.enlarge(lr), expected, atol=330)  # float16 on disk


def test_a_pb_for_any_size_from_an_h5_file(capsys, tmp_path):
    run = write_run(tmp_path / "run", upsampling="resize", scale=2)
    generator = load_generator(checkpoint.load_weights(str(run.folder)))
    checkpoint.save_h5(tmp_path / "gen_model7.h5", generator, run.options)
    argv = ["--ckpt_path", tmp_path / "gen_model7.h5", "--output_path", tmp_path / "any", "--format=pb"]
    status, said, _ = call(capsys, freeze.main, *argv, "--height=-1", "--width=-1", "--soc_version=Ascend310P3")
    assert status == 0 and "--input_shape=lr:1,-1,-1,3" in said
    assert read_pb(tmp_path / "any" / "generator.pb") == [1, -1, -1, 3]
    lr, export = noise(9, 50, 3), enlarger.from_export(tmp_path / "any" / "generator.pb")
    expected = checkpoint.load(str(run.folder)).enlarge(lr).astype(float)
    np.testing.assert_allclose(export.enlarge(lr), expected, atol=1)
    told = json.loads((tmp_path / "any" / "generator.json").read_text())
    assert (told["scale"], told["receptive_field"], told["bytes_per_pixel"]) == (2, 13, 4 * 4 * 32 * 4)
