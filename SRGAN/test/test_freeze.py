"""freeze.py: every export draws what predict.py draws, in a graph that ATC reads, of any size where it may; and what it
refuses."""

import json
import re

import freeze
import numpy as np
import pytest
import trained
from conftest import write_run

from common.export import run_graph
from common.pictures import scale
from common.testing import call_main, read_pb, run_onnx, run_saved_model

# Plain inference: no variable, no function call, no control flow, nothing random.
OPERATIONS = {"Const", "Placeholder", "Identity", "Conv2D", "BiasAdd", "FusedBatchNormV3", "DepthToSpace", "Tanh"}
OPERATIONS |= {"Add", "AddV2", "Sub", "Mul", "Neg", "Relu", "LeakyRelu"}
# What Keras makes nearest neighbours of.
NEAREST = {"Shape", "StridedSlice", "Pack", "Reshape", "Tile", "ExpandDims", "ConcatV2", "ResizeNearestNeighbor"}


def call(capsys, *argv):
    """freeze.py's exit status, and what it said on stdout and stderr."""
    return call_main(capsys, freeze.main, *argv)


def shape_of(graph):
    (placeholder,) = [node for node in graph.node if node.op == "Placeholder"]
    assert placeholder.name == "input" and graph.node[-1].name == "output"
    return [side.size for side in placeholder.attr["shape"].shape.dim]


@pytest.mark.parametrize("options", [{}, {"upsampling": "resize", "scale": 2}], ids=str)
def test_every_export_draws_what_predict_draws(capsys, tmp_path, options):
    """To 1e-5 of the range from -1 to 1, which is a 400th of a step of 8 bits; in other sizes than were tried, too."""
    run = write_run(tmp_path / "run", **options)
    folder = tmp_path / "with space"
    argv = ["--ckpt_path", run.folder, "--output_path", folder, "--batch_size=2", "--height=20", "--width=31"]
    status, said, _ = call(capsys, *argv)
    assert status == 0
    differences = re.findall(r"^(\S+): differs from the checkpoint by at most (\S+)$", said, re.MULTILINE)
    names = ["generator.pb", "generator_saved_model", "generator.onnx"]
    assert [name for name, _ in differences] == names and all(float(size) < 1e-5 for _, size in differences)
    assert '--input_format=NHWC --input_shape="input:2,20,31,3"' in said
    assert (
        "input  float32 [2, 20, 31, 3] (pb), [any, any, any, 3] (saved_model), [any, any, any, 3] (onnx): RGB" in said
    )

    model, rng = trained.load(str(run.folder)), np.random.default_rng(1)
    graph = read_pb(folder / "generator.pb")
    runs = [lambda x: run_saved_model(folder / names[1], x), lambda x: run_onnx(folder / names[2], x)]
    for shape, exports in (((2, 20, 31, 3), [*runs, lambda x: run_graph(graph, x)]), ((1, 9, 50, 3), runs)):
        pictures = rng.integers(0, 256, shape).astype(np.uint8)
        expected = np.stack([trained.enlarge(model, picture) for picture in pictures]) * 2 - 1
        for function in exports:
            np.testing.assert_allclose(function(scale(pictures, (-1.0, 1.0))), expected, atol=1e-5)

    assert shape_of(graph) == [2, 20, 31, 3]
    assert {node.op for node in graph.node} <= (OPERATIONS | NEAREST if options else OPERATIONS)
    assert not graph.library.function
    factor, any_size = run.options.scale, [None, None, None, 3]
    assert json.loads((folder / "generator.json").read_text()) == {
        "checkpoint": str(run.folder / "checkpoints" / "ckpt-7"),
        "input_shape": {"pb": [2, 20, 31, 3], "saved_model": any_size, "onnx": any_size},
        "output_shape": {"pb": [2, 20 * factor, 31 * factor, 3], "saved_model": any_size, "onnx": any_size},
        "input": "RGB pictures, black -1, white 1",
        "output": f"the same {factor} times as large",
        "scale": factor,
        "reach": 13,
    }


@pytest.mark.parametrize("upsampling", ["shuffle", "resize"])
def test_a_pb_for_any_size_from_an_h5_file(capsys, tmp_path, upsampling):
    model = trained.load(str(write_run(tmp_path / "run", upsampling=upsampling).folder))
    trained.save_h5(str(tmp_path / "gen_model7.h5"), model.generator, model.options)
    argv = ["--ckpt_path", tmp_path / "gen_model7.h5", "--output_path", tmp_path / "any", "--format=pb"]
    status, said, _ = call(capsys, *argv, "--height=-1", "--width=-1")
    assert status == 0 and '--input_shape="input:1,-1,-1,3"' in said and "input  float32 [1, any, any, 3]: RGB" in said
    graph = read_pb(tmp_path / "any" / "generator.pb")
    assert shape_of(graph) == [1, -1, -1, 3]
    assert {node.op for node in graph.node} <= (OPERATIONS | NEAREST if upsampling == "resize" else OPERATIONS)
    picture = np.random.default_rng(1).integers(0, 256, (9, 50, 3)).astype(np.uint8)
    result = run_graph(graph, scale(picture[None], (-1.0, 1.0)))[0]
    np.testing.assert_allclose((result + 1) / 2, trained.enlarge(model, picture), atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "any").iterdir()) == ["generator.json", "generator.pb"]


def test_refusals(capsys, tmp_path, tiny_run):
    run = ["--ckpt_path", tiny_run.folder, "--format=pb"]
    status, _, error = call(capsys, "--ckpt_path", tmp_path, "--output_path", tmp_path / "new", "--format=pb")
    assert status == 2 and "no checkpoint in" in error and not (tmp_path / "new").exists()
    (tmp_path / "generator.pb").write_text("mine")
    status, _, error = call(capsys, *run, "--output_path", tmp_path)
    assert status == 2 and "holds generator.pb already" in error
    assert (tmp_path / "generator.pb").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    for flags in (["--height=0"], ["--width=-2"], ["--format=tflite"], ["--batch_size=0"]):
        with pytest.raises(SystemExit) as exit_:
            freeze.main([*map(str, run), f"--output_path={tmp_path / 'new'}", *flags])
        assert exit_.value.code == 2
    assert "--height and --width are at least 1, or -1 for any" in capsys.readouterr().err
