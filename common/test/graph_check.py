"""What an NPU cannot run in the graph of a training step, told from the traced graph: no device is needed.

The adapter hands the graph engine the operations that CANN has and leaves the others on the host; a branch with one of
those in it goes to the host whole, away from the variables that it updates; every shape is compiled for itself; and
all-reduces of one fusion group become one operation, which never ends where one of them waits for another.
"""

import json
import os
import re
import time
from collections.abc import Collection, Iterator
from typing import Any, Callable, NamedTuple, Optional

# What our steps use and CANN documents: its operator specifications ("compatible with the TensorFlow operator ...",
# prototypes for all chips) and the TensorFlow plugins of its operator library (ops/built-in/framework/tf_plugin).
_DOCUMENTED = """
Abs AddN AddV2 All Any ArgMax AssignAddVariableOp AssignVariableOp AvgPool AvgPoolGrad BatchMatMulV2 BiasAdd
BiasAddGrad BroadcastGradientArgs Cast ConcatOffset ConcatV2 Const Conv2D Conv2DBackpropFilter Conv2DBackpropInput Cos
DepthToSpace DivNoNan Einsum Equal Exp ExpandDims Fill FloorDiv FloorMod FusedBatchNormGradV3 FusedBatchNormV3
GatherV2 GreaterEqual Identity If IsFinite L2Loss LeakyRelu LeakyReluGrad Less LessEqual Log Log1p LogSoftmax
LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPoolGrad Maximum Mean Min Minimum Mul Ndtri Neg NoOp NotEqual
OneHot Pack Pad Placeholder Pow Prod Range ReadVariableOp RealDiv Reciprocal Relu ReluGrad Reshape ResizeBilinear
ResizeBilinearGrad ResourceApplyAdam Round Rsqrt RsqrtGrad Select SelectV2 Shape ShapeN Sigmoid SigmoidGrad Sign Sin
Slice Softmax Softplus SpaceToDepth Split Sqrt Square SquaredDifference Squeeze StatelessRandomGetAlg
StatelessRandomGetKeyCounter StatelessRandomNormalV2 StatelessRandomUniformV2 StopGradient StridedSlice
StridedSliceGrad Sub Sum Tanh TanhGrad Tile Transpose Unpack UnsortedSegmentSum ZerosLike
"""
SUPPORTED = frozenset(_DOCUMENTED.split())
ADAPTERS_OWN = ("Npu", "Hcom", "DropOut")  # how the types begin that the adapter itself brings
PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
LOOPS = ("While", "StatelessWhile")
# Outputs of unknown shape that are no data: axes, constant where shapes are; and what cuDNN keeps for the gradient of a
# batch normalisation, which CANN's plugin drops.
SHAPELESS = {("BroadcastGradientArgs", 0), ("BroadcastGradientArgs", 1), ("FusedBatchNormV3", 5)}


class Fault(NamedTuple):
    """An operation that does not belong on an NPU: its name begins with its layer's."""

    name: str
    type: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({self.type}): {self.why}"


class Noted:
    """The steps that sessions compile from now on, in the order of their first call.

    Attributes:
        graphs: what was traced of each.
        calls, seconds: how often each was called, and how long that took, without the first call.
    """

    def __init__(self) -> None:
        from common.session import Session

        compile_step, kept = Session.compile, []
        self.graphs: list[Any] = []
        self.calls: list[int] = []
        self.seconds: list[float] = []

        def compile_and_note(session: Any, step: Callable) -> Callable:
            place: list[int] = []

            def traced(*args):
                import tensorflow as tf

                graph = tf.compat.v1.get_default_graph()
                if place:
                    self.graphs[place[0]] = graph
                else:
                    place.append(len(self.graphs))
                    self.graphs.append(graph)
                    self.calls.append(0)
                    self.seconds.append(0.0)
                return step(*args)

            traced.__name__ = step.__name__
            compiled = compile_step(session, traced)
            kept.append(compiled)  # a graph is taken apart with the function that it is of

            def counted(*args):
                begun = time.perf_counter()
                results = compiled(*args)
                self.seconds[place[0]] += time.perf_counter() - begun if self.calls[place[0]] else 0.0
                self.calls[place[0]] += 1
                return results

            return counted

        Session.compile = compile_and_note


def faults(graph: Any, supported: Collection[str] = SUPPORTED) -> list[Fault]:
    """What an NPU cannot run in a traced step and the functions that it calls.

    Args:
        graph: as `Noted` has it, or `function.get_concrete_function(...).graph`.
        supported: the types of operation to allow.
    """
    found = [Fault(op.name, op.type, why) for op in all_operations(graph) for why in [_fault(op, supported)] if why]
    return [*found, *waiting_all_reduces(graph)]


def waiting_all_reduces(graph: Any) -> list[Fault]:
    """All-reduces that wait for another one of their fusion group: merged, they would wait for themselves."""
    found, waits = [], {}  # waits: the groups of the all-reduces that must run before an operation, or are it
    for op in graph.get_operations():
        before = [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
        waits[op] = set().union(*(waits.get(other, ()) for other in before))
        group = _fusion_group(op)
        if group in waits[op]:
            found.append(Fault(op.name, op.type, f"waits for another all-reduce of its fusion group {group}"))
        elif group is not None:
            waits[op].add(group)
    return found


def _fusion_group(op: Any) -> Optional[int]:
    """The number of those that the graph engine merges an all-reduce with: -1 for all that have none; or None."""
    if op.type == "HcomAllReduce":
        fusion, number = op.get_attr("fusion"), op.get_attr("fusion_id")
    else:  # the double's
        found = op.type in PYTHON and re.search(r"HcomAllReduce_(\d)_(\d+)", op.name)
        if not found:
            return None
        fusion, number = map(int, found.groups())
    return {0: None, 1: -1}.get(fusion, number)


def all_operations(graph: Any) -> Iterator[Any]:
    """The operations that run, those of called functions among them."""
    for op in operations(graph):
        yield op
        for value in op.node_def.attr.values():
            for function in [value.func, *value.list.func]:
                if function.name:
                    yield from all_operations(graph._get_function(function.name).graph)


def operations(graph: Any) -> list[Any]:
    """The graph's own operations on which its results and updates depend, in order: a tape also writes gradients down
    that nobody asked for."""
    needed, ahead = set(), [*graph.control_outputs, *(tensor.op for tensor in graph.outputs)]
    while ahead:
        op = ahead.pop()
        if op not in needed:
            needed.add(op)
            ahead += [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
    return [op for op in graph.get_operations() if op in needed]


def listed_operations(environ: Any = os.environ) -> Optional[set[str]]:
    """The types of operation that this machine's CANN lists for the adapter; None where there is no list."""
    for path in ("framework/built-in/tensorflow", "built-in/framework/tensorflow"):
        file = os.path.join(environ.get("ASCEND_OPP_PATH", ""), path, "npu_supported_ops.json")
        if os.path.isfile(file):
            with open(file) as text:
                return {"Placeholder", *json.load(text)}  # a placeholder is an argument of the step
    return None


def _fault(op: Any, supported: Collection[str]) -> Optional[str]:
    if any(part.startswith(ADAPTERS_OWN) for part in op.name.split("/")):  # the double's, which are Python
        return None
    if op.type in PYTHON:
        return "it calls Python, which the host alone can do"
    if op.type in LOOPS:
        return "a loop that was not unrolled"
    for tensor in [*op.inputs, *op.outputs]:
        if tensor.dtype.name in ("string", "variant"):
            return f"it handles a {tensor.dtype.name}, which stays on the host"
    for index, tensor in enumerate(op.outputs):
        if not tensor.shape.is_fully_defined() and (op.type, index) not in SHAPELESS:
            return f"its shape {tensor.shape} is not known before it runs"
    if op.type not in supported and not op.type.startswith(ADAPTERS_OWN):
        return "not among the operations that CANN is known to have"
    return None
