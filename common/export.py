"""A trained network as files for other programs, and such files run: a frozen .pb for Ascend's ATC, a SavedModel, ONNX,
an .om; and the weights alone.

All hold the same function from named inputs to named outputs, float32. Each file is run before it is kept.
"""

import argparse
import importlib
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np

from common import cli, weights
from common.cli import TrainingError, UserError, notice

FORMATS = {"pb": "{}.pb", "saved_model": "{}_saved_model", "onnx": "{}.onnx", "weights": "{}.safetensors"}
OPSET = 13
LARGE = 4096  # values of a constant that tf2onnx is spared
TOLERANCE = 1e-4  # of a probability or a pixel, between an export and the checkpoint
COSINE, PSNR = 0.999, 40.0  # the least that an .om in float16 must reach
RELATIVE = 0.01  # the most that its answers' norm may differ: a gain of all weights is nothing to the cosine

Arrays = dict[str, np.ndarray]
Shape = tuple[Optional[int], ...]


def _formats(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names


def add_export_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that every export has."""
    parser.add_argument("--ckpt_path", metavar="PATH", help="a run's folder or a file (default: pretrained/)")
    parser.add_argument("--output_path", default="exported", metavar="DIR", help="where files go; none is overwritten")
    parser.add_argument("--batch_size", type=cli.in_range(int, 1), default=1, help="rows of the input")
    everything = [name for name in FORMATS if name != "weights"]
    parser.add_argument("--format", type=_formats, default=everything, help=f"some of {','.join(FORMATS)}")
    group = parser.add_argument_group("Ascend")
    group.add_argument("--soc_version", metavar="NAME", help="of the atc command: Ascend310P3, Ascend910B1, ...")
    precisions = ["force_fp16", "force_fp32", "allow_mix_precision", "must_keep_origin_dtype", "allow_fp32_to_fp16"]
    group.add_argument("--om_precision", choices=precisions, default="force_fp16", help="of the .om; ATC's own default")
    cli.add_boolean(group, "--atc", False, "run the atc command too")
    group.add_argument(
        "--check", metavar="FILE", help="compare an exported file or an .om with the checkpoint, no more"
    )


def begin_export(names: Sequence[str], args: argparse.Namespace) -> Path:
    """Sees to it that nothing stands in the way of exporting networks of these names, and opens a session for it.

    Returns: the folder to export to, which is made when something is written.
    Raises:
        UserError: a file is there already, or a package is missing.
    """
    from common.config import SessionConfig
    from common.session import open_session

    folder = Path(args.output_path).expanduser()
    for name in names if not args.check else ():
        for file in (f"{name}.json", f"{name}.npz", *(FORMATS[form].format(name) for form in args.format)):
            if (folder / file).exists():
                raise UserError(f"--output_path {folder} holds {file} already; name another folder")
    if "onnx" in args.format:
        try:
            importlib.import_module("tf2onnx")
        except ImportError:
            raise UserError(
                "--format onnx needs the package tf2onnx: pip install tf2onnx onnxruntime, or --format=pb,saved_model"
            ) from None
    open_session(SessionConfig(device="cpu", precision_mode="force_fp32"))
    if args.check:  # with an example of the file's own size
        shape = next(iter(Exported(args.check).inputs.values()))
        if len(shape) == 4:
            sizes = zip(("batch_size", "height", "width"), shape)
            vars(args).update({name: size for name, size in sizes if size})
    return folder


def export(
    name: str,
    function: Callable[[dict], dict],
    inputs: Arrays,
    expected: Arrays,
    args: argparse.Namespace,
    description: Mapping[str, str],
    loaded: weights.Weights,
    network: str = "generator",
    tolerance: float = TOLERANCE,
    dynamic: Optional[Mapping[str, Sequence[int]]] = None,
) -> None:
    """Writes one network in the formats of `--format`, all of them or none, and prints what they are.

    With `--check` nothing is written: that file's answers are compared with the checkpoint's.

    Args:
        function: from {input: float32 tensor} to {output: float32 tensor}.
        inputs, expected: an example, and what the checkpoint makes of it.
        description: what each input and output is, in words.
        loaded, network: where the weights come from, and which part of them this is.
        tolerance: how far a file's answer may be from what is expected.
        dynamic: by format, the axes of all inputs and outputs that may have any size; others are as in the example.
    Raises:
        UserError: the folder cannot be written.
        TrainingError: a file does not give what was expected.
    """
    if args.check:
        check(args.check, inputs, expected)
        return
    folder = Path(args.output_path).expanduser()
    shapes = {form: _shapes(inputs, (dynamic or {}).get(form, ())) for form in args.format}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".freeze-", dir=folder) as work:
            for form in args.format:
                file = os.path.join(work, FORMATS[form].format(name))
                if form == "weights":
                    tensors = {f"{network}/{key}": array for key, array in loaded.part(network).items()}
                    options, about = vars(loaded.options), loaded.about
                    weights.save(file, loaded.network, tensors, options, about, loaded.step, half=True)
                    print(f"{os.path.basename(file)}: {os.path.getsize(file) / 1e6:.1f} MB, float16")
                    continue
                WRITERS[form](frozen_graph(function, shapes[form], list(expected)), file, inputs, expected)
                _compare(file, inputs, expected, tolerance)
            told = {
                "checkpoint": os.path.basename(loaded.path),
                "inputs": {key: {"shape": list(array.shape), "is": description[key]} for key, array in inputs.items()},
                "outputs": {key: {"shape": list(a.shape), "is": description[key]} for key, a in expected.items()},
                "any_size": {form: list(axes) for form, axes in (dynamic or {}).items()},
            }
            Path(work, f"{name}.json").write_text(json.dumps(told, indent=2) + "\n")
            np.savez(os.path.join(work, f"{name}.npz"), **inputs, **expected)
            for file in os.listdir(work):
                os.rename(os.path.join(work, file), folder / file)
    except OSError as error:
        raise UserError(f"--output_path {folder} cannot be written ({error.strerror or error})") from None
    for key in (*inputs, *expected):
        shape = list({**inputs, **expected}[key].shape)
        print(f"  {key:9} float32 {shape}: {description[key]}")
    _tell_atc(folder, name, shapes, args)


def check(path: str, inputs: Arrays, expected: Arrays) -> None:
    """Compares a file's answers with the checkpoint's and says how far apart they are, and how fast it is.

    Raises:
        TrainingError: further apart than float16 explains.
    """
    model = Exported(path)
    results = model.run(inputs)
    started = time.perf_counter()
    model.run(inputs)
    seconds = time.perf_counter() - started
    for name, wanted in expected.items():
        difference = np.abs(results[name] - wanted)
        x, y = results[name].astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
        cosine = float(x @ y / max(1e-30, np.linalg.norm(x) * np.linalg.norm(y)))
        span, error = float(np.ptp(wanted)) or 1.0, float(np.mean(difference.astype(np.float64) ** 2))
        psnr = 10 * np.log10(span**2 / max(error, 1e-30))
        relative = float(np.linalg.norm(x - y) / max(1e-30, np.linalg.norm(y)))
        told = (
            f"largest difference {difference.max():.2e}, mean {difference.mean():.2e} ({relative:.1%}), {psnr:.1f} dB"
        )
        print(f"{path}: {name}: {told}, cosine {cosine:.6f}; {seconds:.3f} s a run")
        if not (cosine >= COSINE and psnr >= PSNR and relative <= RELATIVE):
            raise TrainingError(
                f"{path}: {name} is not the checkpoint's: cosine under {COSINE}, PSNR under {PSNR:g} dB or more than "
                f"{RELATIVE:.0%} off"
            )


class Exported:
    """An exported file, run. `inputs`, `outputs`: {name: shape}, None for a free side, in the file's order.

    Raises:
        UserError: it is of no kind that can be run, damaged, or what runs it is missing.
    """

    def __init__(self, path: Union[str, Path]) -> None:
        self.path = str(path)
        kind = "saved_model" if os.path.isdir(self.path) else os.path.splitext(self.path)[1][1:]
        if kind not in RUNNERS:
            raise UserError(f"--model {path}: neither .onnx, .pb nor .om, nor a SavedModel's folder")
        if not (os.path.isdir(self.path) or os.path.isfile(self.path)):  # a pipe would never end
            raise UserError(f"--model {path}: there is no such file")
        try:
            self.inputs, self.outputs, self._run = RUNNERS[kind](self.path)
        except UserError:
            raise
        except ImportError as error:
            raise UserError(f"--model {path}: needs a package that is not here ({error})") from None
        except Exception as error:  # each runtime raises its own kinds on a broken file
            reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
            raise UserError(f"--model {path}: cannot be read ({reason})") from None

    def run(self, inputs: Arrays) -> Arrays:
        """The outputs by name, float32.

        Raises:
            UserError: an input is missing or of another shape.
        """
        for name, shape in self.inputs.items():
            given = tuple(inputs[name].shape) if name in inputs else ()
            fits = len(given) == len(shape) and all(a == b or b is None for a, b in zip(given, shape))
            if not fits:
                raise UserError(f"--model {self.path}: its input {name} is {list(shape)}, given {list(given)}")
        return self._run({name: np.ascontiguousarray(inputs[name], np.float32) for name in self.inputs})


# One function a format that opens a file: its inputs, its outputs and what runs it.


def _run_onnx(path: str) -> tuple:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    shapes = [
        {node.name: tuple(d if isinstance(d, int) else None for d in node.shape) for node in nodes}
        for nodes in (session.get_inputs(), session.get_outputs())
    ]
    return (*shapes, lambda inputs: dict(zip(shapes[1], session.run(list(shapes[1]), inputs))))


def _run_pb(path: str) -> tuple:
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef.FromString(Path(path).read_bytes())
    consumed = {name.split(":")[0].lstrip("^") for node in graph_def.node for name in node.input}
    names = [node.name for node in graph_def.node if node.op == "Placeholder"]
    outputs = [node.name for node in graph_def.node if node.name not in consumed and node.op != "Placeholder"]
    if not names or any(node.op in ("PyFunc", "ReadFile", "WriteFile") for node in graph_def.node):
        raise UserError(f"--model {path}: not a graph that freeze.py wrote")
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    pruned = wrapped.prune([f"{name}:0" for name in names], [f"{name}:0" for name in outputs])
    shapes = [
        dict(zip(n, (tuple(t.shape) for t in ts))) for n, ts in ((names, pruned.inputs), (outputs, pruned.outputs))
    ]

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(outputs, (x.numpy() for x in pruned(*(tf.constant(inputs[name]) for name in names)))))

    return (*shapes, run)


def _run_saved_model(path: str) -> tuple:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    serve = loaded.signatures["serving_default"]
    shapes = [
        {name: tuple(specs[name].shape) for name in sorted(specs)}
        for specs in (serve.structured_input_signature[1], serve.structured_outputs)
    ]

    def run(inputs: Arrays, keep=loaded) -> Arrays:  # the functions live as long as what was loaded
        return {name: x.numpy() for name, x in serve(**{k: tf.constant(v) for k, v in inputs.items()}).items()}

    return (*shapes, run)


def _run_om(path: str) -> tuple:
    from common.om import OmModel

    model = OmModel(path, int(os.environ.get("ASCEND_DEVICE_ID", "0")))
    return model.inputs, model.outputs, model.run


RUNNERS = {"onnx": _run_onnx, "pb": _run_pb, "saved_model": _run_saved_model, "om": _run_om}


# One function a format that writes the graph.


def frozen_graph(function: Callable[[dict], dict], shapes: Mapping[str, Shape], outputs: Sequence[str]) -> Any:
    """`function` as a GraphDef, all weights constants in it, its inputs and outputs nodes of their names."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tf.get_logger().setLevel("ERROR")  # the tools of TensorFlow 1 announce their end each time
    signature = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}

    def named(**inputs):
        results = function(inputs)
        return {name: tf.identity(results[name], name=name) for name in outputs}

    traced = tf.function(named).get_concrete_function(**signature)
    graph_def = convert_variables_to_constants_v2(traced, lower_control_flow=False).graph.as_graph_def()
    return _for_older_readers(graph_def, outputs)


def _for_older_readers(graph_def: Any, outputs: Sequence[str]) -> Any:
    """The same graph for ATC: what no input changes is a constant, and no attribute says what is the default."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    changing, fixed = set(), {}
    for op in graph.get_operations():  # a node's inputs stand before it
        if op.type == "Placeholder" or any(x.op in changing for x in op.inputs):
            changing.add(op)
            fixed.update({x.name: x for x in op.inputs if x.op not in changing and x.op.type != "Const"})
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


def _write_pb(graph_def: Any, path: str, inputs: Arrays, outputs: Arrays) -> None:
    Path(path).write_bytes(graph_def.SerializeToString())


def _write_saved_model(graph_def: Any, path: str, inputs: Arrays, outputs: Arrays) -> None:
    import tensorflow as tf

    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    pruned = wrapped.prune([f"{name}:0" for name in inputs], [f"{name}:0" for name in outputs])
    signature = {name: tf.TensorSpec(t.shape, tf.float32, name=name) for name, t in zip(inputs, pruned.inputs)}
    module = tf.Module()
    module.serve = tf.function(lambda **given: dict(zip(outputs, pruned(*(given[name] for name in inputs)))))
    signatures = {"serving_default": module.serve.get_concrete_function(**signature)}
    tf.saved_model.save(module, path, signatures=signatures)


def _write_onnx(graph_def: Any, path: str, inputs: Arrays, outputs: Arrays) -> None:
    import onnx
    import tf2onnx

    # It copies the graph before each of its many passes: of 56 million weights in it that takes 13 GB.
    light, large = _without_weights(graph_def)
    model, _ = tf2onnx.convert.from_graph_def(
        light,
        input_names=[*(f"{name}:0" for name in inputs), *large],
        output_names=[f"{name}:0" for name in outputs],
        opset=OPSET,
        tensors_to_rename={f"{name}:0": name for name in (*inputs, *outputs)},
    )
    _put_weights(model.graph, large)
    onnx.save(model, path)


def _without_weights(graph_def: Any) -> tuple[Any, Arrays]:
    """The graph with inputs for its large constants, and these by the names of their tensors."""
    import tensorflow as tf

    light, large = tf.compat.v1.GraphDef(versions=graph_def.versions), {}
    for node in graph_def.node:
        values = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else np.empty(0)
        if values.size < LARGE:
            light.node.add().CopyFrom(node)
            continue
        large[f"{node.name}:0"] = values
        placeholder = light.node.add(op="Placeholder", name=node.name)
        placeholder.attr["dtype"].CopyFrom(node.attr["dtype"])
        placeholder.attr["shape"].shape.CopyFrom(tf.TensorShape(values.shape).as_proto())
    return light, large


def _put_weights(graph: Any, large: Arrays) -> None:
    """Makes those inputs of an ONNX graph constants again, already turned as its convolutions want them."""
    from onnx import numpy_helper

    for node in list(graph.node):
        if node.op_type == "Transpose" and node.input[0] in large:
            turned = large[node.input[0]].transpose(node.attribute[0].ints)
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(turned), node.output[0]))
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(large[name], name) for name in large if name in used)
    inputs = [value for value in graph.input if value.name not in large]
    del graph.input[:]
    graph.input.extend(inputs)


WRITERS = {"pb": _write_pb, "saved_model": _write_saved_model, "onnx": _write_onnx}


def _shapes(arrays: Arrays, axes: Sequence[int]) -> dict[str, Shape]:
    return {
        name: tuple(None if axis in axes else size for axis, size in enumerate(array.shape))
        for name, array in arrays.items()
    }


def _compare(path: str, inputs: Arrays, expected: Arrays, tolerance: float) -> None:
    name = os.path.basename(path)
    if name.endswith(".onnx") and importlib.util.find_spec("onnxruntime") is None:
        print(f"{name}: not run (pip install onnxruntime to have it checked)")
        return
    results = Exported(path).run(inputs)
    difference = np.max([np.abs(results[key] - expected[key]).max() for key in expected])  # NaN if one is
    print(f"{name}: differs from the checkpoint by at most {difference:.1e}")
    if not difference <= tolerance:
        raise TrainingError(
            f"{name} does not give what the checkpoint gives, so it is not kept: {difference:.1e}, over {tolerance:g}"
        )


# ATC.


def soc_version() -> Optional[str]:
    """This machine's Ascend chip as ATC calls it, where there is one."""
    try:
        import acl

        return acl.get_soc_name()
    except ImportError:
        return None


def atc_command(path: Path, shapes: Mapping[str, Shape], soc: str, precision: str) -> list[str]:
    """The command that compiles a .pb or an ONNX file for an Ascend device; -1 is ATC's word for any size."""
    onnx = path.suffix == ".onnx"
    flat = ";".join(f"{name}:{','.join(str(s or -1) for s in shape)}" for name, shape in shapes.items())
    layout = "NHWC" if not onnx and all(len(shape) == 4 for shape in shapes.values()) else "ND"
    return [
        "atc",
        f"--model={path}",
        f"--framework={5 if onnx else 3}",
        f"--output={path.with_suffix('')}",
        f"--soc_version={soc}",
        f"--input_format={layout}",
        f"--input_shape={flat}",
        f"--precision_mode={precision}",
    ]


def _tell_atc(folder: Path, name: str, shapes: Mapping[str, dict[str, Shape]], args: argparse.Namespace) -> None:
    """Prints, and with --atc runs, the command for the .pb and the one for the ONNX file."""
    forms = [form for form in ("pb", "onnx") if form in args.format]
    soc = args.soc_version or soc_version()
    if forms and soc is None:
        notice("for the atc command that makes an .om of it: --soc_version=NAME (npu-smi info tells, Ascend310P3 say)")
        return
    for form in forms:
        command = atc_command(folder / FORMATS[form].format(name), shapes[form], soc, args.om_precision)
        print("  " + shlex.join(command), flush=True)
        if args.atc and form == forms[0]:
            if shutil.which("atc") is None:
                raise UserError(
                    "--atc: there is no atc on the path; source CANN's set_env.sh, or run the line elsewhere"
                )
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise TrainingError(f"atc failed: {' '.join((done.stdout + done.stderr).split())[-300:]}")
