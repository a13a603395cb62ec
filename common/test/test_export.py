"""Exports: each file gives what was expected, in a graph that older readers know; and what is refused."""

import argparse
import json
import re
import sys

import numpy as np
import pytest
import tensorflow as tf

from common import cli, export

X = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)
DESCRIPTION = {"input": "pictures from -1 to 1", "output": "their halves", "note": [1, 2]}


@pytest.fixture
def function():
    """Convolutions by a large and a small kernel, the one also in a product; a weight computed from another."""
    rng = np.random.default_rng(1)
    kernel = tf.Variable(rng.uniform(-0.1, 0.1, (3, 3, 3, 200)).astype(np.float32))
    small = tf.Variable(rng.uniform(-0.1, 0.1, (1, 1, 200, 2)).astype(np.float32))
    gain = tf.Variable([0.25, 4.0])

    def convolutions(x):
        x = tf.nn.conv2d(x, kernel, 1, "SAME") + tf.reduce_mean(x) * kernel[0, 0, 0]
        return tf.nn.conv2d(x, small * tf.sqrt(gain), 1, "SAME")

    return convolutions


def flags(folder, *more):
    parser = cli.ArgumentParser()
    export.add_export_flags(parser)
    return parser.parse_args(["--ckpt_path=run", f"--output_path={folder}", *more])


def write(function, args, expected=None):
    folder = export.begin_export(["network"], args)
    expected = function(X).numpy() if expected is None else expected
    export.export("network", function, X, expected, DESCRIPTION, args.format, folder, "run/ckpt-7")


def test_every_file_gives_what_was_expected(capsys, tmp_path, function):
    write(function, flags(tmp_path / "new"))
    told = capsys.readouterr().out
    differences = re.findall(r"^(\S+): differs from the checkpoint by at most (\S+)$", told, re.MULTILINE)
    names = ["network.pb", "network_saved_model", "network.onnx"]
    assert [name for name, _ in differences] == names and all(float(size) < 1e-5 for _, size in differences)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted([*names, "network.json"])
    described = json.loads((tmp_path / "new" / "network.json").read_text())
    shapes = {"input_shape": [2, 6, 4, 3], "output_shape": [2, 6, 4, 2]}
    assert described == {"checkpoint": "run/ckpt-7", **shapes, **DESCRIPTION}
    assert "  input  float32 [2, 6, 4, 3]: pictures from -1 to 1\n" in told

    graph = tf.compat.v1.GraphDef.FromString((tmp_path / "new" / "network.pb").read_bytes())
    np.testing.assert_allclose(export.run_graph(graph, X + 1), function(X + 1).numpy(), atol=1e-5)
    assert not graph.library.function and graph.node[-1].name == "output"
    assert {node.op for node in graph.node} <= {
        "Placeholder",
        "Const",
        "Conv2D",
        "Add",
        "AddV2",
        "Mul",
        "Mean",
        "Identity",
    }
    assert not [name for node in graph.node for name in node.attr if name.startswith(("_", "grad_"))]
    serve = tf.saved_model.load(str(tmp_path / "new" / "network_saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(serve(input=tf.constant(X))["output"].numpy(), function(X).numpy(), atol=1e-5)


def test_the_atc_command(capsys, tmp_path, function):
    folder = tmp_path / "with space"
    write(function, flags(folder, "--format=pb"))
    command = (
        f"atc '--model={folder}/network.pb' --framework=3 '--output={folder}/network' "
        '--soc_version=Ascend910 --input_format=NHWC --input_shape="input:2,6,4,3"'
    )
    assert f"  {command}\n" in capsys.readouterr().out
    assert "--input_format=ND " in export.atc_command(folder / "network.pb", {"input": (2, 8)})


def test_free_sides(capsys, tmp_path, function):
    free = {"pb": [1], "saved_model": (0, 1, 2)}
    chosen = ["pb", "saved_model", "onnx"]
    export.export("network", function, X, function(X).numpy(), DESCRIPTION, chosen, tmp_path, "run/ckpt-7", free=free)
    told = capsys.readouterr().out
    assert "  input  float32 [2, any, 4, 3] (pb), [any, any, any, 3] (saved_model), [2, 6, 4, 3] (onnx): pic" in told
    assert '--input_shape="input:2,-1,4,3"' in told
    described = json.loads((tmp_path / "network.json").read_text())
    assert described["output_shape"] == {"pb": [2, None, 4, 2], "saved_model": [None] * 3 + [2], "onnx": [2, 6, 4, 2]}
    graph = tf.compat.v1.GraphDef.FromString((tmp_path / "network.pb").read_bytes())
    taller, larger = X.repeat(2, 1), X[:1].repeat(2, 1).repeat(3, 2)
    np.testing.assert_allclose(export.run_graph(graph, taller), function(taller).numpy(), atol=1e-5)
    serve = tf.saved_model.load(str(tmp_path / "network_saved_model")).signatures["serving_default"]
    np.testing.assert_allclose(serve(input=tf.constant(larger))["output"].numpy(), function(larger).numpy(), atol=1e-5)


def test_several_inputs_and_outputs(capsys, tmp_path, function):
    """By their names in every format, in the order given, and a fixed batch in the .pb alone."""

    def network(tensors):
        return {"difference": function(tensors["one"] - tensors["other"]), "half": tensors["other"] / 2}

    def expected(x):
        return {"difference": function(x["one"] - x["other"]).numpy(), "half": x["other"] / 2}

    x, chosen = {"one": X, "other": X[::-1] + 1}, ["pb", "saved_model", "onnx"]
    said = {"one": "a", "other": "b", "difference": "c", "half": "d"}
    free = {"saved_model": (0,), "onnx": (0,)}
    export.export("network", network, x, expected(x), said, chosen, tmp_path, "run/ckpt-7", free=free)
    told = capsys.readouterr().out
    assert told.count("differs from the checkpoint") == 3
    assert "  other  float32 [2, 6, 4, 3] (pb), [any, 6, 4, 3] (saved_model), [any, 6, 4, 3] (onnx): b\n" in told
    assert '--input_shape="one:2,6,4,3;other:2,6,4,3" --out_nodes="difference:0;half:0"' in told
    described = json.loads((tmp_path / "network.json").read_text())
    assert described["output_shape"]["onnx"] == {"difference": [None, 6, 4, 2], "half": [None, 6, 4, 3]}
    x = {name: array.repeat(2, 0) for name, array in x.items()}
    serve = tf.saved_model.load(str(tmp_path / "network_saved_model")).signatures["serving_default"]
    results = serve(**{name: tf.constant(array) for name, array in x.items()})
    for name, array in expected(x).items():
        np.testing.assert_allclose(results[name].numpy(), array, atol=1e-5)


def test_an_export_that_differs_is_not_kept(tmp_path, function):
    for wrong in (function(X).numpy() + 2e-4, np.full((2, 6, 4, 2), np.nan, np.float32)):
        with pytest.raises(cli.TrainingError, match="network.pb does not give what the checkpoint gives"):
            write(function, flags(tmp_path, "--format=pb"), wrong)
        assert not list(tmp_path.iterdir())


def test_without_onnxruntime_it_says_so(capsys, tmp_path, monkeypatch, function):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    write(function, flags(tmp_path, "--format=onnx"))
    assert "network.onnx: not run (pip install onnxruntime" in capsys.readouterr().out
    assert (tmp_path / "network.onnx").is_file()


def test_refusals(tmp_path, monkeypatch, function):
    def refused(reason, *argv):
        with pytest.raises(cli.UserError, match=reason):
            write(function, flags(*argv))

    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    refused("needs the package tf2onnx: pip install tf2onnx", tmp_path / "output")
    assert not (tmp_path / "output").exists()
    (tmp_path / "network.pb").write_text("mine")
    refused("holds network.pb already", tmp_path, "--format=saved_model,pb")
    assert [path.name for path in tmp_path.iterdir()] == ["network.pb"]
    refused("cannot be written", tmp_path / "network.pb" / "below", "--format=pb")
    assert export.formats("onnx, pb,onnx") == ["onnx", "pb"]
    with pytest.raises(argparse.ArgumentTypeError, match="'tflite' is none of pb, saved_model, onnx"):
        export.formats("pb,tflite")
