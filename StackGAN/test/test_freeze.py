"""freeze.py: every export draws what trained.py draws of the same noise, in a graph that ATC reads."""

import json
import re

import freeze
import numpy as np
import pytest
import trained
from strong import strengthened

from common.export import run_graph
from common.testing import call_main, read_pb

# Plain inference: no variable, no function call, no control flow, nothing random.
RANDOM = re.compile("Random|Variable|PartitionedCall|While|If$|Switch|Merge")


@pytest.fixture(scope="module")
def model(stage2_run, tmp_path_factory):
    folder = strengthened(stage2_run.folder, tmp_path_factory.mktemp("strong") / "run")
    return trained.load(str(folder))


def inputs(model, n, embedding):
    rows = np.random.default_rng(1).normal(size=(n, 1024)).astype(np.float32)
    eps, z = trained.latents(n, 4, model.options)
    drawn = trained.draw(model, rows, eps, z)
    assert drawn[1].std() > 10  # there is something to see
    return {embedding: rows, "eps": eps[0], "z": z, "eps_2": eps[1]}, dict(zip(freeze.OUTPUTS, drawn))


def check(results, expected):
    for name, pictures in expected.items():
        np.testing.assert_allclose((np.asarray(results[name]) + 1) * 127.5, pictures, atol=0.6)


def test_every_export_draws_what_the_model_draws(capsys, tmp_path, model):
    folder = tmp_path / "new"
    flags = ["--ckpt_path", model.run_folder, "--output_path", folder]
    status, said, error = call_main(capsys, freeze.main, *flags, "--batch_size=3")
    assert status == 0, error
    differences = re.findall(r"^(\S+): differs from the checkpoint by at most (\S+)$", said, re.MULTILINE)
    assert [name for name, _ in differences] == ["model.pb", "generator_saved_model", "generator.onnx"]
    assert all(float(size) < 1e-3 for _, size in differences)
    wanted = "--framework=3 --output={0}/model --soc_version=Ascend310 --input_format=ND "
    wanted += '--input_shape="Placeholder:1,3,1024;eps:3,4;z:3,3;eps_2:3,4" --out_nodes="picture_64:0;picture_256:0"'
    assert f"atc --model={folder}/model.pb " + wanted.format(folder) in said
    described = json.loads((folder / "generator.json").read_text())
    assert described["input_shape"]["onnx"]["embedding"] == [None, 1024] and "truncated" in described["eps"]

    x, expected = inputs(model, 3, "Placeholder")
    graph = read_pb(folder / "model.pb")
    assert not graph.library.function and not [node.op for node in graph.node if RANDOM.search(node.op)]
    check(run_graph(graph, {**x, "Placeholder": x["Placeholder"][None]}, freeze.OUTPUTS), expected)

    import onnxruntime
    import tensorflow as tf

    x, expected = inputs(model, 5, "embedding")  # another batch
    session = onnxruntime.InferenceSession(str(folder / "generator.onnx"), providers=["CPUExecutionProvider"])
    check(dict(zip(freeze.OUTPUTS, session.run(list(freeze.OUTPUTS), x))), expected)
    serve = tf.saved_model.load(str(folder / "generator_saved_model")).signatures["serving_default"]
    check(serve(**{name: tf.constant(array) for name, array in x.items()}), expected)


def test_stage_one_alone(capsys, tmp_path, stage1_run):
    flags = ["--ckpt_path", stage1_run.folder, "--output_path", tmp_path / "new", "--format=pb"]
    status, said, _ = call_main(capsys, freeze.main, *flags)
    assert status == 0 and '--input_shape="Placeholder:1,64,1024;eps:64,4;z:64,3"' in said  # the page's 64
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["model.json", "model.pb"]
    status, _, error = call_main(capsys, freeze.main, *flags)
    assert status == 2 and "holds model.json already" in error
