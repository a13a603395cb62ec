"""What test_npu.py runs in processes of its own, as a device opens once in each: `npu_scenarios.py NAME FOLDER`.

Each scenario prints one JSON object: what happened, for the tests to judge.
"""

import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(os.path.dirname(HERE)))

from common import npu  # noqa: E402


def outcome(action):
    """What an action gives, or the kind and text of what it raises."""
    try:
        return action()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def config(folder, **changes):
    from common.config import SessionConfig

    return SessionConfig(**{"device": "npu", "precision_mode": "", "dump_path": os.path.join(folder, "npu"), **changes})


def strict(folder):
    """What the double says to wrong use before anything is open, and to what was made before it opens."""
    import npu_device
    import tensorflow as tf

    from common.config import PRECISION_MODES

    options = npu_device.global_options()

    def put(group, name, value):
        return outcome(lambda: setattr(group, name, value))

    def opened(**variables):
        os.environ.update(variables)
        try:
            return outcome(npu_device.open)
        finally:
            for name in variables:
                del os.environ[name]

    seen = {
        "name": put(options, "precision_mod", "force_fp32"),
        "value": put(options, "precision_mode", "float16"),
        "type": put(options.dump_config, "enable_dump", "True"),
        "modes": {mode: put(options, "precision_mode", mode) for mode in PRECISION_MODES},
        "both sizes": opened(RANK_SIZE="2", CM_WORKER_SIZE="2"),
        "no cluster": opened(RANK_SIZE="2"),
        "no rank": opened(RANK_SIZE="2", RANK_TABLE_FILE="table"),
        "mode": outcome(lambda: npu.open(config(folder, precision_mode="fp8"))),
    }
    options.dump_config.enable_dump = True
    seen["no folder"] = outcome(npu_device.open)
    options.dump_config.dump_path, options.dump_config.enable_dump_debug = HERE, True
    seen["both dumps"] = outcome(npu_device.open)
    options.dump_config.enable_dump = options.dump_config.enable_dump_debug = False
    early = tf.Variable(1.0)
    seen["early"] = outcome(lambda: npu.open(config(folder)))
    npu_device.double.lenient = True
    npu.open(config(folder))
    seen["early variable"] = outcome(lambda: early.numpy())
    seen["late option"] = put(options, "precision_mode", "force_fp32")
    return seen


def one_device(folder):
    """Every flag, functions on the device, the register."""
    import npu_device
    import tensorflow as tf

    double = npu_device.double
    files = {flag: os.path.join(folder, f"{flag}.json") for flag in npu.FILE_OPTIONS}
    for path in files.values():
        with open(path, "w") as file:
            file.write("{}")
    flags = {"data_dump_flag": True, "data_dump_step": "0|5|10", "profiling": True, "autotune": True}
    wanted = config(folder, precision_mode="allow_mix_precision", deterministic=True, **flags, **files)
    seen = {"opened": npu.open(wanted), "calls": list(double.calls)}

    inner = tf.function(lambda x: x * 2.0, jit_compile=True)
    outer = tf.function(lambda x: inner(x) + 1.0)
    seen["jit off"] = "jit_compile turned off" in [call["call"] for call in double.calls]
    outer(tf.ones([2]))  # traced by a call, as a step is
    nodes = outer.get_concrete_function(tf.ones([2])).graph.as_graph_def().node
    seen["nested calls"] = sum("PartitionedCall" in node.op for node in nodes)
    python = tf.function(lambda x: tf.numpy_function(lambda value: value, [x], tf.float32))
    seen["python"] = outcome(lambda: python(tf.ones([2])))
    ops = npu_device.gen_npu_ops
    seen["unordered"] = outcome(tf.function(ops.npu_get_float_status_v2))

    weight = tf.Variable(1.0)
    seen["saturation"] = npu.saturation_mode()

    @tf.function
    def step(saturates):
        with tf.control_dependencies([npu.clear_overflow()]):
            with tf.GradientTape() as tape:
                loss = weight * weight
            gradient = double.overflowing(tape.gradient(loss, weight), saturates)
            fine = npu.overflow_status([gradient], world_size=1)
        if fine:
            weight.assign_sub(0.1 * gradient)
        return fine

    seen["steps"] = []
    for saturates in (False, True, False):
        double.register[0] = 1  # left behind by what came before
        double.executed.clear()
        fine = bool(step(tf.constant(saturates)))
        seen["steps"].append([fine, round(float(weight), 4), list(double.executed)])
    seen["explained"] = npu.explain(RuntimeError("line\nE89999: Inner Error! a\n b"))
    return seen


def one_of_two(folder):
    """One of two workers that exchange values through the folder; run with RANK_ID 0 and 1."""
    import npu_device
    import tensorflow as tf

    from common.test import graph_check

    double = npu_device.double
    rank, size = npu.open(config(folder, over_dump=True))
    seen = {"opened": [rank, size], "calls": list(double.calls)}
    weights = [tf.Variable([rank, 5.0 + rank]), tf.Variable(7 + rank, dtype=tf.int64)]
    npu.broadcast(weights)
    seen["after broadcast"] = [weight.numpy().tolist() for weight in weights]

    def gradients(saturates):
        return [double.overflowing(weights[0] * 0.0 + [1.0, float(rank)], saturates)]

    @tf.function
    def step(saturates):
        given = gradients(saturates)
        fine = npu.overflow_status(given, size)
        [mean] = npu.all_reduce_mean(given, 1)
        [waiting] = npu.all_reduce_mean([mean + weights[0]], 2)  # as the generator's waits for the discriminator's
        if fine:
            weights[0].assign_add(mean + 0.0 * waiting)
        return fine

    seen["steps"] = []
    for count in range(4):  # overflow: nowhere, on worker 1 only, on both, nowhere
        fine = bool(step(tf.constant(count == 2 or (count == 1 and rank == 1))))
        seen["steps"].append([fine, weights[0].numpy().tolist()])
    graph = step.get_concrete_function(tf.TensorSpec([], tf.bool)).graph
    seen["waiting"] = [str(fault) for fault in graph_check.waiting_all_reduces(graph)]
    seen["float64"] = outcome(lambda: npu.all_reduce_mean([tf.zeros([2], tf.float64)], 1))
    return seen


if __name__ == "__main__":
    sys.path.insert(0, os.path.join(HERE, "npu_double"))  # here alone: the tests' own process has no NPU
    scenarios = {"strict": strict, "one_device": one_device, "one_of_two": one_of_two}
    print(json.dumps(scenarios[sys.argv[1]](sys.argv[2])))
