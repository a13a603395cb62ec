"""A trained network as files for other programs: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file.

All three hold the same graph, from `input` to `output` or from named inputs to named outputs, float32, of fixed shapes
where the caller does not say which sides are free. Each file is run before it is kept.
"""

import argparse
import importlib
import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

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

Arrays = dict[str, np.ndarray]
Shape = tuple[Optional[int], ...]


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
    x: Union[np.ndarray, Arrays],
    expected: Union[np.ndarray, Arrays],
    description: dict[str, Any],
    chosen: Sequence[str],
    folder: Path,
    checkpoint: str,
    tolerance: float = TOLERANCE,
    free: Optional[dict[str, Sequence[int]]] = None,
) -> None:
    """Writes one network in the chosen formats, all of them or none, and prints what they are.

    Args:
        function: the network, from a float32 tensor of the shape of `x` to one of the shape of `expected`. Where there
            are several they are in dictionaries by their names, which are neither `input` nor `output`.
        x, expected: an input, and what the checkpoint makes of it.
        description: what `<name>.json` says beside the shapes: at least what `input` and `output` are, or each by name.
        checkpoint: where the weights come from.
        tolerance: how far a file's answer may be from what is expected.
        free: by format, the axes of all inputs and outputs that may have any size; others are as in `x` and `expected`.
    Raises:
        UserError: the folder cannot be written.
        TrainingError: a file does not give what was expected.
    """
    inputs, outputs = _by_name(x, "input"), _by_name(expected, "output")
    taken, given = ({form: _shapes(of, (free or {}).get(form, ())) for form in chosen} for of in (inputs, outputs))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".freeze-", dir=folder) as work:
            graphs: dict[tuple, tf.compat.v1.GraphDef] = {}
            for form in chosen:
                file, key = FORMATS[form].format(name), tuple(taken[form].values())
                if key not in graphs:
                    shapes = taken[form] if isinstance(x, dict) else taken[form]["input"]
                    graphs[key] = frozen_graph(function, shapes, list(outputs))
                compare(
                    file,
                    WRITERS[form](graphs[key], os.path.join(work, file), inputs, list(outputs)),
                    outputs,
                    tolerance,
                )
            shapes = {"input_shape": _in_json(taken, free), "output_shape": _in_json(given, free)}
            with open(os.path.join(work, f"{name}.json"), "w") as text:
                json.dump({"checkpoint": checkpoint, **shapes, **description}, text, indent=2)
                text.write("\n")
            for file in os.listdir(work):
                os.rename(os.path.join(work, file), folder / file)
    except OSError as error:
        raise UserError(f"--output_path {folder} cannot be written ({error.strerror or error})") from None
    for tensors, shapes in ((inputs, taken), (outputs, given)):
        for tensor in tensors:
            told = _told({form: shapes[form][tensor] for form in chosen})
            print(f"  {tensor:6} float32 {told}: {description[tensor]}")
    if "pb" in chosen:
        print("  " + atc_command(folder / FORMATS["pb"].format(name), taken["pb"], list(outputs)), flush=True)


def _by_name(arrays: Union[np.ndarray, Arrays], name: str) -> Arrays:
    return arrays if isinstance(arrays, dict) else {name: arrays}


def _shapes(arrays: Arrays, axes: Sequence[int]) -> dict[str, Shape]:
    return {name: freed(array.shape, axes) for name, array in arrays.items()}


def _in_json(shapes: dict[str, dict[str, Shape]], free: Optional[dict]) -> Any:
    """Shapes by format and name: by name alone where no side is free, by format alone where there is one tensor."""
    alone = {form: next(iter(named.values())) if len(named) == 1 else named for form, named in shapes.items()}
    return alone if free is not None else next(iter(alone.values()))


def freed(shape: Sequence[int], axes: Sequence[int]) -> Shape:
    """A shape with None at some axes, for any size."""
    return tuple(None if axis in axes else side for axis, side in enumerate(shape))


def _told(shapes: dict[str, Shape]) -> str:
    """The shapes of the formats in words, each with the formats that have it where they differ."""
    words = {
        form: "[" + ", ".join("any" if side is None else str(side) for side in shapes[form]) + "]" for form in shapes
    }
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{shape} ({form})" for form, shape in words.items())


def compare(file: str, results: Optional[Arrays], expected: Arrays, tolerance: float = TOLERANCE) -> None:
    """Tells how far a file's answers are from what is expected.

    Raises:
        TrainingError: too far.
    """
    if results is None:
        print(f"{file}: not run (pip install onnxruntime to have it checked)")
        return
    difference = np.max([np.abs(results[name] - expected[name]).max() for name in expected])  # NaN if one is
    print(f"{file}: differs from the checkpoint by at most {difference:.1e}")
    if not difference <= tolerance:
        raise TrainingError(f"{file} does not give what the checkpoint gives, so it is not kept")


def frozen_graph(
    function: Callable, shapes: Union[Shape, dict[str, Shape]], outputs: Sequence[str] = ("output",)
) -> tf.compat.v1.GraphDef:
    """`function` as a graph, all weights constants in it.

    Args:
        function: of one float32 tensor, `input` in the graph; or of a dictionary of them, to one of `outputs`.
        shapes: of that one, or of each.
    """
    several = isinstance(shapes, dict)

    def named(**inputs):
        results = function(inputs) if several else {"output": function(inputs["input"])}
        return {name: tf.identity(results[name], name=name) for name in outputs}

    signature = {
        name: tf.TensorSpec(shape, tf.float32, name=name)
        for name, shape in (shapes if several else {"input": shapes}).items()
    }
    traced = tf.function(named).get_concrete_function(**signature)
    graph_def = convert_variables_to_constants_v2(traced, lower_control_flow=False).graph.as_graph_def()
    return plain(graph_def, outputs)


def plain(graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str] = ("output",)) -> tf.compat.v1.GraphDef:
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
    small = tf.compat.v1.graph_util.extract_sub_graph(folded.as_graph_def(), list(outputs))
    small.ClearField("library")
    for node in small.node:
        defaults = {attr.name: attr.default_value for attr in folded.get_operation_by_name(node.name).op_def.attr}
        for name in list(node.attr):
            if name.startswith("_") or node.attr[name] == defaults.get(name):
                del node.attr[name]
    return small


def run_graph(
    graph_def: tf.compat.v1.GraphDef, x: Union[np.ndarray, Arrays], outputs: Sequence[str] = ("output",)
) -> Union[np.ndarray, Arrays]:
    """What a frozen graph makes of `x`: of one array one array, of named ones the `outputs` by name."""
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    feeds = {f"{name}:0": array for name, array in _by_name(x, "input").items()}
    with tf.compat.v1.Session(graph=graph) as session:
        results = session.run({name: f"{name}:0" for name in outputs}, feeds)
    return results if isinstance(x, dict) else results["output"]


# One function a format: writes the graph to `path` and returns what the file makes of `x` (None: nothing to run it).


def write_pb(graph_def: tf.compat.v1.GraphDef, path: str, x: Arrays, outputs: Sequence[str]) -> Arrays:
    with open(path, "wb") as file:
        file.write(graph_def.SerializeToString())
    with open(path, "rb") as file:
        return run_graph(tf.compat.v1.GraphDef.FromString(file.read()), x, outputs)


def write_saved_model(graph_def: tf.compat.v1.GraphDef, path: str, x: Arrays, outputs: Sequence[str]) -> Arrays:
    graph = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    pruned = graph.prune([f"{name}:0" for name in x], [f"{name}:0" for name in outputs])
    module = tf.Module()
    signature = {name: tf.TensorSpec(t.shape, tf.float32, name=name) for name, t in zip(x, pruned.inputs)}

    def serve(**inputs):
        return dict(zip(outputs, pruned(*(inputs[name] for name in x))))

    module.serve = tf.function(serve)
    signatures = {"serving_default": module.serve.get_concrete_function(**signature)}
    tf.saved_model.save(module, path, signatures=signatures)
    serve = tf.saved_model.load(path).signatures["serving_default"]
    return {name: result.numpy() for name, result in serve(**{name: tf.constant(x[name]) for name in x}).items()}


def write_onnx(graph_def: tf.compat.v1.GraphDef, path: str, x: Arrays, outputs: Sequence[str]) -> Optional[Arrays]:
    import onnx
    import tf2onnx

    # It copies the graph before each of its many passes, by the gigabyte where the weights are in it.
    light, weights = _without_weights(graph_def)
    model, _ = tf2onnx.convert.from_graph_def(
        light,
        input_names=[*(f"{name}:0" for name in x), *weights],
        output_names=[f"{name}:0" for name in outputs],
        opset=OPSET,
        tensors_to_rename={f"{name}:0": name for name in (*x, *outputs)},
    )
    _put_weights(model.graph, weights)
    onnx.save(model, path)
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), x)))


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


def atc_command(path: Path, shapes: dict[str, Shape], outputs: Sequence[str] = ("output",)) -> str:
    """The command that compiles a frozen .pb for the Ascend 910; -1 is ATC's word for any size."""
    words = ["atc", f"--model={path}", "--framework=3", f"--output={path.with_suffix('')}", "--soc_version=Ascend910"]
    words.append("--input_format=" + ("NHWC" if all(len(shape) == 4 for shape in shapes.values()) else "ND"))
    sides = {name: ",".join(str(-1 if side is None else side) for side in shape) for name, shape in shapes.items()}
    command = f'{shlex.join(words)} --input_shape="{";".join(f"{name}:{sides[name]}" for name in sides)}"'
    if len(outputs) > 1:  # for their order
        command += f' --out_nodes="{";".join(f"{name}:0" for name in outputs)}"'
    return command
