"""freeze.py: every export gives what predict.py gives, in a graph that ATC reads, of any size where it may."""

import json
import re

import checkpoint
import enlarger
import freeze
import numpy as np
import predict
import pytest
import tensorflow as tf
from conftest import call, noise, write_run
from PIL import Image

# Plain inference: no variable, no function call, no control flow, nothing random.
OPERATIONS = {"Const", "Placeholder", "Identity", "Conv2D", "BiasAdd", "FusedBatchNormV3", "DepthToSpace", "Tanh"}
OPERATIONS |= {"Add", "AddV2", "Sub", "Mul", "Neg", "Relu", "LeakyRelu"}
OPERATIONS |= {"Cast", "Squeeze"}  # of a PReLU's slopes
# What Keras makes nearest neighbours of.
NEAREST = {"Shape", "StridedSlice", "Pack", "Reshape", "Tile", "ExpandDims", "ConcatV2", "ResizeNearestNeighbor"}


def read_pb(path):
    return tf.compat.v1.GraphDef.FromString(path.read_bytes())


def shape_of(graph):
    (placeholder,) = [node for node in graph.node if node.op == "Placeholder"]
    assert placeholder.name == "lr" and graph.node[-1].name == "sr"
    return [size.size for size in placeholder.attr["shape"].shape.dim]


@pytest.mark.parametrize("options", [{}, {"upsampling": "resize", "scale": 2}], ids=str)
def test_every_export_gives_what_predict_gives(capsys, tmp_path, options):
    """To 1e-5 of the range from 0 to 1, in other sizes than were tried, too: predict.py --model takes each."""
    run = write_run(tmp_path / "run", **options)
    folder = tmp_path / "with space"
    argv = [
        "--ckpt_path",
        run.folder,
        "--output_path",
        folder,
        "--height=42",
        "--width=45",
        "--soc_version=Ascend310P3",
    ]
    status, said, _ = call(capsys, freeze.main, *argv, "--batch_size=2", "--format=pb,saved_model,onnx,weights")
    assert status == 0
    differences = re.findall(r"^(\S+): differs from the checkpoint by at most (\S+)$", said, re.MULTILINE)
    names = ["generator.pb", "generator_saved_model", "generator.onnx"]
    assert sorted(name for name, _ in differences) == sorted(names) and all(
        float(size) < 1e-5 for _, size in differences
    )
    assert "--input_format=NHWC --input_shape=lr:2,42,45,3" in said

    network = checkpoint.load(str(run.folder))
    exports = [enlarger.from_export(folder / name) for name in names]
    assert [export.size for export in exports] == [(42, 45), None, None]
    for shape in ((50, 61, 3), (9, 46, 3)):
        lr = noise(*shape)
        for export in exports:
            assert export.receptive_field == network.receptive_field and export.scale == network.scale
            found, expected = export.enlarge(lr), network.enlarge(lr)
            inner = slice(None, -network.scale * 13 if export.size and shape[0] < 42 else None)  # it was mirrored there
            np.testing.assert_allclose(found[inner], expected[inner], atol=1e-5)
    half = checkpoint.load(str(folder / "generator.safetensors"))
    np.testing.assert_allclose(half.enlarge(lr), expected, atol=5e-3)  # float16 on disk

    Image.fromarray(lr).save(tmp_path / "a.png")
    for flags in (["--model", folder / "generator.onnx"], ["--ckpt_path", run.folder]):
        assert call(capsys, predict.main, tmp_path / "a.png", *flags, "--output_path", tmp_path, "--suffix=")[0] == 0
    results = [np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("a-2.png", "a-3.png")]
    assert np.abs(results[0] - results[1]).max() <= 1

    graph = read_pb(folder / "generator.pb")
    assert shape_of(graph) == [2, 42, 45, 3]
    assert {node.op for node in graph.node} <= (OPERATIONS | NEAREST if options else OPERATIONS)
    assert not graph.library.function


def test_a_pb_for_any_size_from_an_h5_file(capsys, tmp_path, network, tiny_run):
    from model import load_generator

    generator = load_generator(checkpoint.load_weights(str(tiny_run.folder)))
    checkpoint.save_h5(tmp_path / "gen_model7.h5", generator, tiny_run.options)
    argv = ["--ckpt_path", tmp_path / "gen_model7.h5", "--output_path", tmp_path / "any", "--format=pb"]
    status, said, _ = call(capsys, freeze.main, *argv, "--height=-1", "--width=-1", "--soc_version=Ascend310P3")
    assert status == 0 and "--input_shape=lr:1,-1,-1,3" in said
    assert shape_of(read_pb(tmp_path / "any" / "generator.pb")) == [1, -1, -1, 3]
    lr = noise(9, 50, 3)
    export = enlarger.from_export(tmp_path / "any" / "generator.pb")
    np.testing.assert_allclose(export.enlarge(lr), network.enlarge(lr), atol=1e-5)
    told = json.loads((tmp_path / "any" / "generator.json").read_text())
    assert (told["scale"], told["receptive_field"], told["bytes_per_pixel"]) == (4, 13, 4 * 4 * 8 * 16)


def test_check(capsys, tmp_path, tiny_run):
    """--check holds a file against the checkpoint: its own passes, one of other weights does not."""
    other = write_run(tmp_path / "other")
    argv = ["--output_path", tmp_path / "out", "--format=onnx", "--height=20", "--width=20"]
    assert call(capsys, freeze.main, "--ckpt_path", tiny_run.folder, *argv)[0] == 0
    path = tmp_path / "out" / "generator.onnx"
    status, said, _ = call(capsys, freeze.main, "--ckpt_path", tiny_run.folder, *argv, "--check", path)
    assert status == 0 and "cosine 1.000000" in said
    from common import weights

    file = other.folder / "checkpoints" / "ckpt-7.safetensors"
    record, tensors = weights.read(file)
    tensors["generator/after_blocks.0"] *= -1
    weights.save(file, "SRGAN", tensors, record["options"])
    status, _, error = call(capsys, freeze.main, "--ckpt_path", other.folder, *argv, "--check", path)
    assert status == 1 and "sr is not the checkpoint's" in error


def test_refusals(capsys, tmp_path, tiny_run):
    run = ["--ckpt_path", tiny_run.folder, "--format=pb"]
    argv = ["--output_path", tmp_path / "new", "--format=pb"]
    status, _, error = call(capsys, freeze.main, "--ckpt_path", tmp_path, *argv)
    assert status == 2 and "no weights in" in error and not (tmp_path / "new").exists()
    (tmp_path / "generator.pb").write_text("mine")
    status, _, error = call(capsys, freeze.main, *run, "--output_path", tmp_path)
    assert status == 2 and "holds generator.pb already" in error
    assert (tmp_path / "generator.pb").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1
    for flags in (["--height=0"], ["--width=-2"], ["--format=tflite"], ["--batch_size=0"]):
        status, _, error = call(capsys, freeze.main, *run, f"--output_path={tmp_path / 'new'}", *flags)
        assert status == 2 and error.startswith("[Error]")
