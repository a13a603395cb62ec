"""What the session flags say: device, precision, dumps. (No TensorFlow needed: predict.py runs exports without.)"""

import argparse
import os
from dataclasses import dataclass
from typing import NamedTuple, Optional

from common import cli


class Precision(NamedTuple):
    """What a mode means: Keras' policies that do the same job off the NPU, and what CANN computes in on it."""

    gpu: str
    cpu: str
    float16_on_npu: bool  # CANN's matrix operators take float16 in: gradients pass through it


# To CANN `force_fp32` and `cube_fp16in_fp32out` are one mode; `allow_fp32_to_fp16` lets matrix operators be float16.
PRECISION_MODES = {
    "force_fp32": Precision("float32", "float32", True),
    "must_keep_origin_dtype": Precision("float32", "float32", False),
    "allow_fp32_to_fp16": Precision("float32", "float32", True),
    "allow_fp32_to_bf16": Precision("float32", "float32", False),
    "force_fp16": Precision("mixed_float16", "mixed_bfloat16", True),
    "cube_fp16in_fp32out": Precision("mixed_float16", "mixed_bfloat16", True),
    "allow_mix_precision": Precision("mixed_float16", "mixed_bfloat16", True),
    "allow_mix_precision_fp16": Precision("mixed_float16", "mixed_bfloat16", True),
    "allow_mix_precision_bf16": Precision("mixed_bfloat16", "mixed_bfloat16", False),
}


@dataclass
class SessionConfig:
    """What the session flags say. Paths are of files, `dump_path` is the folder that dumps and profiles go under."""

    device: str = "auto"
    precision_mode: str = "allow_fp32_to_fp16"
    over_dump: bool = False
    data_dump_flag: bool = False
    data_dump_step: str = "10"
    profiling: bool = False
    autotune: bool = False
    blacklist_path: Optional[str] = None
    fusion_switch_file: Optional[str] = None
    customize_dtypes: Optional[str] = None
    deterministic: bool = False
    sync_batch_norm: bool = False
    dump_path: str = "dumps"
    workers: bool = False  # whether this process may be one of several: a training's


def add_device_flags(
    parser: argparse.ArgumentParser, precision_mode: str = "allow_fp32_to_fp16"
) -> argparse._ArgumentGroup:
    """Adds the session flags that mean something without training."""
    group = parser.add_argument_group("session")
    group.add_argument("--device", choices=["auto", "npu", "gpu", "cpu"], default="auto", help="where to compute")
    group.add_argument("--precision_mode", choices=list(PRECISION_MODES), default=precision_mode, help="arithmetic")
    return group


def add_session_flags(parser: argparse.ArgumentParser, precision_mode: str = "allow_fp32_to_fp16") -> None:
    """Adds the flags of `SessionConfig`, those of the originals under their names."""
    group = add_device_flags(parser, precision_mode)
    cli.add_boolean(group, "--over_dump", False, "find the first operation whose output overflows")
    cli.add_boolean(group, "--data_dump_flag", False, "write the tensors of some steps")
    group.add_argument("--data_dump_step", default="10", help="NPU: these steps (0|5|10); else: every so many steps")
    cli.add_boolean(group, "--profiling", False, "write a trace of a few steps for TensorBoard or the NPU's profiler")
    cli.add_boolean(group, "--autotune", False, "NPU: let the graph engine tune its operators first")
    group.add_argument("--blacklist_path", metavar="FILE", help="NPU: JSON mix list for mixed precision")
    group.add_argument("--fusion_switch_file", metavar="FILE", help="NPU: JSON file that turns graph fusions off")
    group.add_argument("--customize_dtypes", metavar="FILE", help="NPU: output types of single operators")
    cli.add_boolean(group, "--deterministic", False, "kernels that give the same bits in every run")
    cli.add_boolean(group, "--sync_batch_norm", False, "several workers: normalise by the whole batch, not by a shard")


def session_config(args: argparse.Namespace) -> SessionConfig:
    """The flags as a `SessionConfig` of a training, its dumps under the run's output folder."""
    names = [name for name in SessionConfig.__dataclass_fields__ if name not in ("dump_path", "workers")]
    dumps = os.path.join(args.output_path, "dumps")
    return SessionConfig(dump_path=dumps, workers=True, **{name: getattr(args, name) for name in names})


def device_config(args: argparse.Namespace) -> SessionConfig:
    """Those flags for `open_session`."""
    return SessionConfig(device=args.device, precision_mode=args.precision_mode)
