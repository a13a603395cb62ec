"""freeze.py: every export draws what predict.py draws, in a graph that ATC reads; and what it refuses."""

import json
import re

import freeze
import numpy as np
import pytest
import trained
from conftest import write_run

from common.export import run_graph
from common.pictures import scale, to_uint8
from common.testing import call_main, read_pb, run_onnx, run_saved_model

# Plain inference: no variable, no function call, no control flow, no dropout, nothing random.
OPERATIONS = {
    *("Const", "Placeholder", "Identity", "Conv2D", "Conv2DBackpropInput", "BiasAdd", "ConcatV2", "Mean"),
    *("SquaredDifference", "StopGradient", "AddV2", "Add", "Sub", "Mul", "Rsqrt", "LeakyRelu", "Relu", "Tanh"),
}


def call(capsys, *argv):
    """freeze.py's exit status, and what it said on stdout and stderr."""
    return call_main(capsys, freeze.main, *argv)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_run):
    """All three files for two pictures of 256 x 512."""
    folder = tmp_path_factory.mktemp("exported")
    flags = ["--batch_size=2", "--width=512"]
    assert freeze.main([f"--ckpt_path={tiny_run.folder}", f"--output_path={folder}", *flags]) == 0
    return folder


def test_every_export_draws_what_predict_draws(exported, tiny_run):
    noise = np.random.default_rng(1).integers(0, 256, (1, 256, 512, 3))
    smooth = (np.indices((256, 512)).sum(0)[None, ..., None] * [1, 2, 3]) % 256
    pictures = np.concatenate([noise, smooth]).astype(np.uint8)
    model = trained.load(str(tiny_run.folder))
    drawn = trained.translate(model, pictures)
    values = np.concatenate([trained.translate(model, picture[None], raw=True) for picture in pictures])
    x = scale(pictures, trained.RANGE)
    for result in (
        run_graph(read_pb(exported / "generator.pb"), x),
        run_saved_model(exported / "generator_saved_model", x),
        run_onnx(exported / "generator.onnx", x),
    ):
        assert result.dtype == np.float32 and result.shape == (2, 256, 512, 3)
        np.testing.assert_allclose(result, values, atol=2e-4)
        difference = np.abs(to_uint8(result, trained.RANGE).astype(int) - drawn)
        assert difference.max() <= 1 and (difference > 0).mean() < 1e-2  # where a value lies between two whole numbers


def test_the_graph_is_plain(exported):
    graph = read_pb(exported / "generator.pb")
    assert {node.op for node in graph.node} <= OPERATIONS and not graph.library.function
    inputs = [node for node in graph.node if node.op == "Placeholder"]
    assert [node.name for node in inputs] == ["input"] and graph.node[-1].name == "output"
    assert [side.size for side in inputs[0].attr["shape"].shape.dim] == [2, 256, 512, 3]


def test_what_is_said_and_described(capsys, tmp_path):
    """Other channels, the default size; and nothing beside what was asked for."""
    run = write_run(tmp_path / "run", input_nc=4, output_nc=1, which_direction="AtoB")
    folder = tmp_path / "with space"
    status, said, _ = call(capsys, "--ckpt_path", run.folder, "--output_path", folder, "--format=pb")
    assert status == 0
    differences = re.findall(r"^(\S+): differs from the checkpoint by at most (\S+)$", said, re.MULTILINE)
    assert [name for name, _ in differences] == ["generator.pb"] and float(differences[0][1]) < 2e-4
    assert '--input_format=NHWC --input_shape="input:1,256,256,4"' in said
    assert sorted(path.name for path in folder.iterdir()) == ["generator.json", "generator.pb"]
    assert json.loads((folder / "generator.json").read_text()) == {
        "checkpoint": str(run.folder / "checkpoints" / "ckpt-7"),
        "input_shape": [1, 256, 256, 4],
        "output_shape": [1, 256, 256, 1],
        "input": "RGBA pictures, black -1, white 1",
        "output": "grey pictures, black -1, white 1",
        "which_direction": "AtoB",
    }


def test_refusals(capsys, tmp_path, tiny_run):
    run = ["--ckpt_path", tiny_run.folder, "--format=pb"]
    status, _, error = call(capsys, "--ckpt_path", tmp_path, "--output_path", tmp_path / "new", "--format=pb")
    assert status == 2 and "no checkpoint in" in error and not (tmp_path / "new").exists()
    (tmp_path / "generator.pb").write_text("mine")
    status, _, error = call(capsys, *run, "--output_path", tmp_path)
    assert status == 2 and "holds generator.pb already" in error
    assert (tmp_path / "generator.pb").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    for flags in (["--height=300"], ["--width=0"], ["--format=tflite"], ["--batch_size=0"]):
        with pytest.raises(SystemExit) as exit_:
            freeze.main([*map(str, run), f"--output_path={tmp_path / 'new'}", *flags])
        assert exit_.value.code == 2
    assert "--height 300: the U-Net halves a side eight times, so give a multiple of 256" in capsys.readouterr().err
