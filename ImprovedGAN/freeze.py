"""Exports a trained ImprovedGAN: a frozen .pb for Ascend's ATC, a SavedModel, an ONNX file.

python ImprovedGAN/freeze.py --ckpt_path=train_dir --output_path=exported

All three hold the same graph, from `input` to `output`, for a fixed number of rows:

    classifier   pictures [batch, height, width, channels] in the network's range -> probabilities [batch, classes]
    generator    latents [batch, n_z] in their range -> pictures in the network's range

All numbers are float32. Each file is run beside the checkpoint before it is kept, and exported/<name>.json tells the
shapes, the ranges and the class names.
"""

import argparse
import importlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import _path  # noqa: F401  (finds ../common)
import numpy as np
import tensorflow as tf
import trained
from evaluate import predict_logits
from model import LATENT_RANGES, classify, picture_range
from pictures import scale
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from trained import Trained

from common import cli
from common.cli import TrainingError, UserError
from common.session import SessionConfig, notice, open_session

FORMATS = {"pb": "{}.pb", "saved_model": "{}_saved_model", "onnx": "{}.onnx"}
OPSET = 13
TOLERANCE = 1e-4  # of a probability or a pixel, between an export and the checkpoint


def formats(text: str) -> list[str]:
    """`--format`'s type."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(FORMATS)}")
    return names


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, metavar="PATH", help="a run's folder, or one checkpoint in it")
    parser.add_argument("--output_path", required=True, metavar="DIR", help="where the files go; none is overwritten")
    parser.add_argument("--batch_size", type=cli.in_range(int, 1), default=1, help="rows of the input (1)")
    parser.add_argument("--what", choices=["classifier", "generator", "both"], default="both", help="(both)")
    everything = list(FORMATS)
    parser.add_argument("--format", type=formats, default=everything, help=f"some of {','.join(everything)} (all)")
    return parser.parse_args(argv)


def frozen_graph(function: Callable, shape: Sequence[int]) -> tf.compat.v1.GraphDef:
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
        lambda input: {"output": pruned(input)}, input_signature=[tf.TensorSpec(x.shape, tf.float32, name="input")]
    )
    tf.saved_model.save(module, path, signatures={"serving_default": module.serve})
    return tf.saved_model.load(path).signatures["serving_default"](input=tf.constant(x))["output"].numpy()


def write_onnx(graph_def: tf.compat.v1.GraphDef, path: str, x: np.ndarray) -> Optional[np.ndarray]:
    import tf2onnx

    names = {"input:0": "input", "output:0": "output"}
    tf2onnx.convert.from_graph_def(
        graph_def,
        input_names=["input:0"],
        output_names=["output:0"],
        opset=OPSET,
        tensors_to_rename=names,
        output_path=path,
    )
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": x})[0]


WRITERS = {"pb": write_pb, "saved_model": write_saved_model, "onnx": write_onnx}


def classifier(model: Trained, batch_size: int) -> tuple[Callable, np.ndarray, np.ndarray, dict[str, Any]]:
    """The classifier: the function to freeze, an input, what predict.py makes of that input, and a description."""
    pictures = np.random.default_rng(0).integers(0, 256, (batch_size, *model.image_shape)).astype(np.uint8)
    expected = tf.nn.softmax(predict_logits(model.discriminator, model.options, pictures, batch_size)).numpy()
    low, high = picture_range(model.options)
    description = {"input": f"pictures, black {low:g}, white {high:g}", "output": "class probabilities"}
    description["class_names"] = model.class_names
    if model.options.minibatch_discrimination:
        notice("--minibatch_discrimination: what a picture's probabilities are depends on the others of its batch")

    def probabilities(images):
        return tf.nn.softmax(classify(model.discriminator, model.options, images))

    return probabilities, scale(pictures, (low, high)), expected, description


def generator(model: Trained, batch_size: int) -> tuple[Callable, np.ndarray, np.ndarray, dict[str, Any]]:
    """The same of the generator."""
    low, high = LATENT_RANGES[model.options.model]
    z = np.random.default_rng(0).uniform(low, high, (batch_size, model.options.n_z)).astype(np.float32)
    black, white = picture_range(model.options)
    description = {
        "input": f"latents, uniform from {low:g} to {high:g}",
        "output": f"pictures, black {black:g}, white {white:g}",
    }

    def picture(latents):
        return model.generator(latents, training=False)

    return picture, z, picture(tf.constant(z)).numpy(), description


def export(name: str, made: tuple, chosen: Sequence[str], folder: Path, checkpoint: str) -> None:
    """Writes one network in the chosen formats, all of them or none, and prints what they are."""
    function, x, expected, description = made
    graph_def = frozen_graph(function, x.shape)
    with tempfile.TemporaryDirectory(prefix=".freeze-", dir=folder) as work:
        for form in chosen:
            file = FORMATS[form].format(name)
            result = WRITERS[form](graph_def, os.path.join(work, file), x)
            if result is None:
                print(f"{file}: not run (pip install onnxruntime to have it checked)")
                continue
            difference = float(np.abs(result - expected).max())
            print(f"{file}: differs from the checkpoint by at most {difference:.1e}")
            if not difference <= TOLERANCE:
                raise TrainingError(f"{file} does not give what the checkpoint gives, so it is not kept")
        description = {"checkpoint": checkpoint, "input_shape": x.shape, "output_shape": expected.shape, **description}
        file = f"{name}.json"
        with open(os.path.join(work, file), "w") as text:
            json.dump(description, text, indent=2)
            text.write("\n")
        for file in os.listdir(work):
            os.rename(os.path.join(work, file), folder / file)
    print(f"  input  float32 {list(x.shape)}: {description['input']}")
    print(f"  output float32 {list(expected.shape)}: {description['output']}")
    if "pb" in chosen:
        print("  " + atc_command(folder / FORMATS["pb"].format(name), x.shape), flush=True)


def atc_command(path: Path, shape: Sequence[int]) -> str:
    """The command that compiles a frozen .pb for the Ascend 910."""
    words = ["atc", f"--model={path}", "--framework=3", f"--output={path.with_suffix('')}", "--soc_version=Ascend910"]
    words.append("--input_format=" + ("NHWC" if len(shape) == 4 else "ND"))
    return shlex.join(words) + f' --input_shape="input:{",".join(map(str, shape))}"'


def freeze(args: argparse.Namespace) -> None:
    """Exports what was asked for.

    Raises:
        UserError: no such checkpoint, a package that is missing, a file that is there already or cannot be written.
    """
    folder = Path(args.output_path).expanduser()
    makers = {"classifier": classifier, "generator": generator}
    names = list(makers) if args.what == "both" else [args.what]
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
    model = trained.load(args.ckpt_path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            export(name, makers[name](model, args.batch_size), args.format, folder, model.prefix)
    except OSError as error:
        raise UserError(f"--output_path {folder} cannot be written ({error.strerror or error})") from None


def main(argv: Optional[Sequence[str]] = None) -> int:
    return cli.call(freeze, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
