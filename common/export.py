"""A trained network as files for other programs: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file.

All three hold the same graph, from `input` to `output`, float32, of fixed shapes where the caller does not say which
sides are free. Each file is run before it is kept.
"""

import argparse
import importlib
import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from common import cli
from common.cli import TrainingError, UserError
from common.session import SessionConfig, open_session

FORMATS = {"pb": "{}.pb", "saved_model": "{}_saved_model", "onnx": "{}.onnx"}
OPSET = 13
LARGE = 4096  # values of a constant that tf2onnx is spared
TOLERANCE = 1e-4  # of a probability or a pixel, between an export and the checkpoint


def formats(text: str) -> list[str]:
    """`--format`'s type."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names


def add_export_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that every export has."""
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help="a run's folder, or one checkpoint in it")
    parser.add_argument("--output_path", required=True, metavar="DIR", help="where the files go; none is overwritten")
    parser.add_argument("--batch_size", type=cli.in_range(int, 1), default=1, help="rows of the input (1)")
    everything = list(FORMATS)
    parser.add_argument("--format", type=formats, default=everything, help=f"some of {','.join(everything)} (all)")


def begin_export(names: Sequence[str], args: argparse.Namespace) -> Path:
    """Sees to it that nothing stands in the way of exporting networks of these names, and opens a session for it.

    Returns: the folder to export to, which is made when something is written.
    Raises:
        UserError: a file is there already, or a package is missing.
    """
    folder = Path(args.output_path).expanduser()
    for name in names:
        for file in (f"{name}.json", *(FORMATS[form].format(name) for form in args.format)):
            if (folder / file).exists():
                raise UserError(f"--output_path {folder} holds {file} already; name another folder")
    if "onnx" in args.format:
        try:
            importlib.import_module("tf2onnx")
        except ImportError:
            raise UserError(
                "--format onnx needs the package tf2onnx: pip install tf2onnx onnxruntime, or --format=pb,saved_model"
            ) from None
    tf.get_logger().setLevel("ERROR")  # the tools of TensorFlow 1 announce their end each time
    open_session(SessionConfig(device="cpu", precision_mode="force_fp32"))
    return folder


def export(
    name: str,
    function: Callable,
    x: np.ndarray,
    expected: np.ndarray,
    description: dict[str, Any],
    chosen: Sequence[str],
    folder: Path,
    checkpoint: str,
    tolerance: float = TOLERANCE,
    free: Optional[dict[str, Sequence[int]]] = None,
) -> None:
    """Writes one network in the chosen formats, all of them or none, and prints what they are.

    Args:
        function: the network, from a float32 tensor of the shape of `x` to one of the shape of `expected`.
        x, expected: an input, and what the checkpoint makes of it.
        description: what `<name>.json` says beside the shapes: at least what `input` and `output` are.
        checkpoint: where the weights come from.
        tolerance: how far a file's answer may be from what is expected.
        free: by format, the axes of input and output that may have any size; all others are as in `x` and `expected`.
    Raises:
        UserError: the folder cannot be written.
        TrainingError: a file does not give what was expected.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".freeze-", dir=folder) as work:
            inputs = {form: freed(x.shape, (free or {}).get(form, ())) for form in chosen}
            outputs = {form: freed(expected.shape, (free or {}).get(form, ())) for form in chosen}
            graphs = {shape: frozen_graph(function, shape) for shape in set(inputs.values())}
            for form in chosen:
                file = FORMATS[form].format(name)
                result = WRITERS[form](graphs[inputs[form]], os.path.join(work, file), x)
                _compare(file, result, expected, tolerance)
            shapes = {"input_shape": inputs, "output_shape": outputs}
            if free is None:
                shapes = {"input_shape": x.shape, "output_shape": expected.shape}
            with open(os.path.join(work, f"{name}.json"), "w") as text:
                json.dump({"checkpoint": checkpoint, **shapes, **description}, text, indent=2)
                text.write("\n")
            for file in os.listdir(work):
                os.rename(os.path.join(work, file), folder / file)
    except OSError as error:
        raise UserError(f"--output_path {folder} cannot be written ({error.strerror or error})") from None
    print(f"  input  float32 {_told(inputs)}: {description['input']}")
    print(f"  output float32 {_told(outputs)}: {description['output']}")
    if "pb" in chosen:
        print("  " + atc_command(folder / FORMATS["pb"].format(name), inputs["pb"]), flush=True)


def freed(shape: Sequence[int], axes: Sequence[int]) -> tuple[Optional[int], ...]:
    """A shape with None at some axes, for any size."""
    return tuple(None if axis in axes else side for axis, side in enumerate(shape))


def _told(shapes: dict[str, tuple[Optional[int], ...]]) -> str:
    """The shapes of the formats in words, each with the formats that have it where they differ."""
    words = {
        form: "[" + ", ".join("any" if side is None else str(side) for side in shapes[form]) + "]" for form in shapes
    }
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{shape} ({form})" for form, shape in words.items())


def _compare(file: str, result: Optional[np.ndarray], expected: np.ndarray, tolerance: float) -> None:
    if result is None:
        print(f"{file}: not run (pip install onnxruntime to have it checked)")
        return
    difference = float(np.abs(result - expected).max())
    print(f"{file}: differs from the checkpoint by at most {difference:.1e}")
    if not difference <= tolerance:
        raise TrainingError(f"{file} does not give what the checkpoint gives, so it is not kept")


def frozen_graph(function: Callable, shape: Sequence[Optional[int]]) -> tf.compat.v1.GraphDef:
    """`function` of one float32 tensor of `shape` as a graph from `input` to `output`, all weights constants in it."""

    def named(x):
        return tf.identity(function(x), name="output")

    signature = [tf.TensorSpec(shape, tf.float32, name="input")]
    traced = tf.function(named, input_signature=signature).get_concrete_function()
    return plain(convert_variables_to_constants_v2(traced, lower_control_flow=False).graph.as_graph_def())


def plain(graph_def: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """The same graph for older readers: what no input changes is a constant, and no node says what is the default."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    changing, fixed = set(), {}
    for operation in graph.get_operations():  # a node's inputs stand before it
        if operation.type == "Placeholder" or any(x.op in changing for x in operation.inputs):
            changing.add(operation)
            computed = (x for x in operation.inputs if x.op not in changing and x.op.type != "Const")
            fixed.update({x.name: x for x in computed})
    with tf.compat.v1.Session(graph=graph) as session:
        values = session.run(fixed)
    with tf.Graph().as_default() as folded:
        constants = {name: tf.constant(value, name="constant") for name, value in values.items()}
        tf.import_graph_def(graph_def, constants, name="")
    small = tf.compat.v1.graph_util.extract_sub_graph(folded.as_graph_def(), ["output"])
    small.ClearField("library")
    for node in small.node:
        defaults = {attr.name: attr.default_value for attr in folded.get_operation_by_name(node.name).op_def.attr}
        for name in list(node.attr):
            if name.startswith("_") or node.attr[name] == defaults.get(name):
                del node.attr[name]
    return small


def run_graph(graph_def: tf.compat.v1.GraphDef, x: np.ndarray) -> np.ndarray:
    """What a frozen graph makes of `x`."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run("output:0", {"input:0": x})


# One function a format: writes the graph to `path` and returns what the file makes of `x` (None: nothing to run it).


def write_pb(graph_def: tf.compat.v1.GraphDef, path: str, x: np.ndarray) -> np.ndarray:
    with open(path, "wb") as file:
        file.write(graph_def.SerializeToString())
    with open(path, "rb") as file:
        return run_graph(tf.compat.v1.GraphDef.FromString(file.read()), x)


def write_saved_model(graph_def: tf.compat.v1.GraphDef, path: str, x: np.ndarray) -> np.ndarray:
    graph = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    pruned = graph.prune("input:0", "output:0")
    module = tf.Module()
    module.serve = tf.function(
        lambda input: {"output": pruned(input)},
        input_signature=[tf.TensorSpec(pruned.inputs[0].shape, tf.float32, name="input")],
    )
    tf.saved_model.save(module, path, signatures={"serving_default": module.serve})
    return tf.saved_model.load(path).signatures["serving_default"](input=tf.constant(x))["output"].numpy()


def write_onnx(graph_def: tf.compat.v1.GraphDef, path: str, x: np.ndarray) -> Optional[np.ndarray]:
    import onnx
    import tf2onnx

    # It copies the graph before each of its many passes, by the gigabyte where the weights are in it.
    light, weights = _without_weights(graph_def)
    model, _ = tf2onnx.convert.from_graph_def(
        light,
        input_names=["input:0", *weights],
        output_names=["output:0"],
        opset=OPSET,
        tensors_to_rename={"input:0": "input", "output:0": "output"},
    )
    _put_weights(model.graph, weights)
    onnx.save(model, path)
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": x})[0]


def _without_weights(graph_def: tf.compat.v1.GraphDef) -> tuple[tf.compat.v1.GraphDef, dict[str, np.ndarray]]:
    """The graph with inputs for its large constants, and these by the names of their tensors."""
    light, weights = tf.compat.v1.GraphDef(versions=graph_def.versions), {}
    for node in graph_def.node:
        values = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else np.empty(0)
        if values.size < LARGE:
            light.node.add().CopyFrom(node)
            continue
        weights[f"{node.name}:0"] = values
        placeholder = light.node.add(op="Placeholder", name=node.name)
        placeholder.attr["dtype"].CopyFrom(node.attr["dtype"])
        placeholder.attr["shape"].shape.CopyFrom(tf.TensorShape(values.shape).as_proto())
    return light, weights


def _put_weights(graph: Any, weights: dict[str, np.ndarray]) -> None:
    """Makes those inputs of an ONNX graph constants again, already turned as its convolutions want them."""
    from onnx import numpy_helper

    for node in list(graph.node):
        if node.op_type == "Transpose" and node.input[0] in weights:
            turned = weights[node.input[0]].transpose(node.attribute[0].ints)
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(turned), node.output[0]))
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for name, weight in weights.items():
        if name in used:
            graph.initializer.append(numpy_helper.from_array(weight, name))
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


WRITERS = {"pb": write_pb, "saved_model": write_saved_model, "onnx": write_onnx}


def atc_command(path: Path, shape: Sequence[Optional[int]]) -> str:
    """The command that compiles a frozen .pb for the Ascend 910; -1 is ATC's word for any size."""
    words = ["atc", f"--model={path}", "--framework=3", f"--output={path.with_suffix('')}", "--soc_version=Ascend910"]
    sides = ",".join(str(-1 if side is None else side) for side in shape)
    words.append("--input_format=" + ("NHWC" if len(shape) == 4 else "ND"))
    return shlex.join(words) + f' --input_shape="input:{sides}"'
