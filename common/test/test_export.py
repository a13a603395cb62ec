"""Exports written, run and compared; Exported; an .om by doubles of atc and pyACL; what is refused."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import om_double
import pytest
import tensorflow as tf

from common import cli, export, om, weights
from common.cli import TrainingError, UserError
from common.export import Exported
from common.test.testing import REPOSITORY

RNG = np.random.RandomState(0)
INPUTS = {"image": RNG.normal(size=(2, 6, 4, 3)).astype(np.float32), "z": RNG.normal(size=(2, 3)).astype(np.float32)}
KERNEL = RNG.uniform(-0.3, 0.3, (3, 3, 3, 200)).astype(np.float32)  # large enough to be spared tf2onnx
BACK = RNG.uniform(-0.3, 0.3, (1, 1, 200, 3)).astype(np.float32)
SAID = {"image": "images from -1 to 1", "z": "noise", "background": "one half", "foreground": "the other"}
ALL = ["network.pb", "network_saved_model", "network.onnx", "network.safetensors"]


def network(factor=1.0):
    """Two outputs of one shape from two inputs; a small weight is computed from another."""
    kernel, back, gain = tf.Variable(KERNEL * factor), tf.Variable(BACK), tf.Variable([0.25, 4.0, 1.0])

    def function(x):
        hidden = tf.nn.relu(tf.nn.conv2d(x["image"] + x["z"][:, None, None], kernel, 1, "SAME"))
        image = tf.nn.conv2d(hidden, back * tf.sqrt(gain), 1, "SAME")
        return {"background": tf.tanh(image), "foreground": tf.tanh(image[..., ::-1] - 0.5)}

    return function


def answers(inputs=INPUTS, factor=1.0):
    return {k: v.numpy() for k, v in network(factor)({k: tf.constant(v) for k, v in inputs.items()}).items()}


def flags(folder, *more):
    parser = cli.ArgumentParser()
    export.add_export_flags(parser)
    return parser.parse_args([f"--output_path={folder}", *more])


def write(folder, *more, expected=None, factor=1.0, dynamic=None):
    args = flags(folder, *more)
    export.begin_export(["network"], args)
    about = weights.Weights("run/ckpt-7.safetensors", "Net", args, {"a": 1}, 7, {"generator/k.0": KERNEL})
    about.options = type(args)(width=8)
    export.export("network", network(factor), INPUTS, expected or answers(), args, SAID, about, dynamic=dynamic)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All formats, two of them of any batch and any width."""
    folder = tmp_path_factory.mktemp("exports")
    write(folder, "--format=pb,saved_model,onnx,weights", dynamic={"saved_model": (0,), "onnx": (0,)})
    return folder


def close(one, other):
    assert set(one) == set(other)
    for name in other:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


@pytest.mark.parametrize("name", ALL[:3])
def test_every_file_gives_what_the_checkpoint_gives(written, name):
    model = Exported(written / name)
    close(model.run(INPUTS), answers())
    assert set(model.inputs) == set(INPUTS) and set(model.outputs) == set(answers())
    assert name == "network_saved_model" or list(model.inputs) == list(INPUTS)  # which knows no order
    if name == "network.pb":
        assert model.inputs["z"] == (2, 3)
    else:
        assert model.inputs["z"] == (None, 3)
        more = {key: array.repeat(2, 0) for key, array in INPUTS.items()}
        close(model.run(more), answers(more))
    for wrong in ({"image": INPUTS["image"]}, {**INPUTS, "z": INPUTS["z"][:, :2]}, {**INPUTS, "z": INPUTS["z"][0]}):
        with pytest.raises(UserError, match=rf"^--model .*{name}: its input z is \[.*3\], given \["):
            model.run(wrong)


def test_beside_them_are_a_description_an_example_and_the_weights(written, capsys, tmp_path):
    assert sorted(path.name for path in written.iterdir()) == sorted([*ALL, "network.json", "network.npz"])
    described = json.loads((written / "network.json").read_text())
    assert described["checkpoint"] == "ckpt-7.safetensors"
    assert described["inputs"]["z"] == {"shape": [2, 3], "is": "noise"} and list(described["inputs"]) == list(INPUTS)
    with np.load(written / "network.npz") as example:
        close(dict(example), {**INPUTS, **answers()})
    loaded = weights.load(written / "network.safetensors", "Net", "")
    assert loaded.options.width == 8 and (loaded.part("generator")["k.0"] == KERNEL.astype(np.float16)).all()
    write(tmp_path / "new", "--format=pb")
    told = capsys.readouterr().out
    assert re.match(r"network.pb: differs from the checkpoint by at most \d\.\de[+-]\d\d\n", told)
    assert "  z         float32 [2, 3]: noise\n" in told and "for the atc command that makes an .om of it" in told


def test_the_pb_is_what_old_readers_know(written):
    graph = tf.compat.v1.GraphDef.FromString((written / "network.pb").read_bytes())
    assert not graph.library.function and not [a for node in graph.node for a in node.attr if a.startswith("_")]
    assert [node.name for node in graph.node if node.op == "Placeholder"] == list(INPUTS)
    assert not {"VarHandleOp", "ReadVariableOp", "PartitionedCall"} & {node.op for node in graph.node}


def test_an_onnx_file_is_run_without_tensorflow(written):
    code = (
        "import sys, numpy; from common.export import Exported; model = Exported(sys.argv[1])\n"
        "model.run({k: numpy.zeros([s or 2 for s in shape]) for k, shape in model.inputs.items()})\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, written / "network.onnx"], cwd=REPOSITORY).returncode == 0


def test_an_export_that_differs_is_not_kept(tmp_path):
    right = answers()
    for wrong in (right["background"] + 2e-4, np.full_like(right["background"], np.nan)):
        with pytest.raises(
            TrainingError, match="network.pb does not give what the checkpoint gives, so it is not kept"
        ):
            write(tmp_path, "--format=pb", expected={**right, "background": wrong})
        assert list(tmp_path.iterdir()) == []


def test_check_says_how_far_apart_and_fails_for_another_network(written, tmp_path, capsys):
    """Swapped outputs, and weights that are 5 % larger."""
    write(tmp_path, f"--check={written / 'network.pb'}")
    told = capsys.readouterr().out
    assert told.count("largest difference ") == 2 and "cosine 1.000000" in told and list(tmp_path.iterdir()) == []
    right = answers()
    swapped = dict(zip(right, list(right.values())[::-1]))
    for wrong in (swapped, answers(factor=1.05), {**right, "foreground": right["foreground"] * 1.05}):
        with pytest.raises(TrainingError, match="is not the checkpoint's"):
            write(tmp_path, f"--check={written / 'network.pb'}", expected=wrong)


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("x.tflite", b"", "neither .onnx, .pb nor .om, nor a SavedModel's folder"),
        ("none.onnx", None, "there is no such file"),
        ("pipe.onnx", os.mkfifo, "there is no such file"),
        ("x.onnx", b"no model", "cannot be read"),
        ("x.pb", b"no model", "cannot be read"),
        ("x.pb", b"", "not a graph that freeze.py wrote"),
        ("folder", "", "cannot be read"),
        ("x.om", b"no model", "an .om runs on an Ascend device"),
    ],
)
def test_a_file_that_cannot_be_run_is_one_line(tmp_path, name, content, reason):
    path = tmp_path / name
    if callable(content):
        content(path)
    elif content is not None:
        path.mkdir() if content == "" else path.write_bytes(content)
    with pytest.raises(UserError) as error:
        Exported(path)
    assert str(path) in str(error.value) and reason in str(error.value) and "\n" not in str(error.value)


def test_refusals(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match="needs the package tf2onnx: pip install tf2onnx"):
        write(tmp_path / "output")
    (tmp_path / "network.pb").write_text("mine")
    with pytest.raises(UserError, match="holds network.pb already; name another folder"):
        write(tmp_path, "--format=saved_model,pb")
    with pytest.raises(UserError, match="cannot be written"):
        write(tmp_path / "network.pb" / "below", "--format=pb")
    with pytest.raises(SystemExit):
        flags(tmp_path, "--format=pb,tflite")
    assert "'tflite' is none of pb, saved_model, onnx, weights" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["network.pb"]


# An .om.


@pytest.fixture
def acl(monkeypatch):
    double = om_double.Acl()
    monkeypatch.setitem(sys.modules, "acl", double)
    return double


@pytest.fixture
def atc(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "atc").write_text(om_double.ATC)
    (tmp_path / "bin" / "atc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")


@pytest.fixture
def om_file(written):
    (written / "network.om").write_text(json.dumps({"pb": str(written / "network.pb")}))
    yield written / "network.om"
    (written / "network.om").unlink()


def test_the_atc_command_is_told_and_run(tmp_path, capsys, atc, acl):
    folder = tmp_path / "with space"
    write(folder, "--format=pb,onnx", "--atc", "--om_precision=must_keep_origin_dtype")
    commands = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  atc")]
    tail = "--soc_version=Ascend310P3 --input_format=ND '--input_shape=image:2,6,4,3;z:2,3'"
    tail += " --precision_mode=must_keep_origin_dtype"
    assert commands == [
        f"  atc '--model={folder}/network.{kind}' --framework={number} '--output={folder}/network' {tail}"
        for kind, number in (("pb", 3), ("onnx", 5))
    ]
    close(Exported(folder / "network.om").run(INPUTS), answers())
    write(folder, f"--check={folder / 'network.om'}")
    assert "network.om: foreground: largest difference 0" in capsys.readouterr().out
    args = "x.pb", {"x": (1, 4, None, 3)}, "Ascend910B1", "force_fp16"
    assert export.atc_command(Path(args[0]), *args[1:])[5:7] == ["--input_format=NHWC", "--input_shape=x:1,4,-1,3"]
    with pytest.raises(TrainingError, match=r"^atc failed: E10001: no such \[--soc_version\]"):
        write(tmp_path / "other", "--format=pb", "--atc", "--soc_version=x")


def test_atc_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="--atc: there is no atc on the path; source CANN's set_env.sh"):
        write(tmp_path / "x", "--format=pb", "--atc", "--soc_version=Ascend310")


def test_an_om_gives_what_the_checkpoint_gives(om_file, acl):
    """Inputs come in any order, not contiguous and as float64; two models are open at once, and used by a thread."""
    strange = {"z": INPUTS["z"].astype(np.float64), "image": np.asfortranarray(INPUTS["image"])}
    first, second = Exported(om_file), Exported(om_file)
    assert first.inputs == {"image": (2, 6, 4, 3), "z": (2, 3)} and set(first.outputs) == set(answers())
    with ThreadPoolExecutor(1) as thread:
        results = [thread.submit(first.run, strange).result(), first.run(strange), second.run(strange)]
    for result in results:
        close(result, answers())
    for wrong in ({"image": INPUTS["image"]}, {**INPUTS, "z": INPUTS["z"][:1]}):
        with pytest.raises(UserError, match="its input z is .2, 3., given"):
            first.run(wrong)


def test_a_device_that_fails_releases_everything(om_file, tmp_path, acl):
    with pytest.raises(UserError, match="acl.mdl.load_from_file failed with 100000; is the file made for this device"):
        om.OmModel(str(tmp_path / "none.om"))
    assert acl.alive == {}
    model = om.OmModel(str(om_file))
    held = set(acl.alive)
    acl.mdl.execute = lambda *args: 507011
    with pytest.raises(UserError, match="acl.mdl.execute failed with 507011"):
        model.run(INPUTS)
    assert set(acl.alive) == held
    model.close()
    model.close()  # again is no error
    assert acl.alive == {}
