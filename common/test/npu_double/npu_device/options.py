"""The settings objects: the adapter's options that are used here, their defaults and the values that they take."""

import json
import os
from typing import Any

from npu_device import double

FREE = None  # any text; the adapter would take anything and pass on its str()
SWITCH = (True, False)
MODES = """force_fp32 allow_fp32_to_fp16 force_fp16 must_keep_origin_dtype allow_mix_precision cube_fp16in_fp32out
    allow_mix_precision_fp16 allow_mix_precision_bf16 allow_fp32_to_bf16"""
TABLE = {  # name -> default, allowed values; or a group of such
    "fusion_switch_file": (None, FREE),
    "precision_mode": (None, tuple(MODES.split())),
    "modify_mixlist": (None, FREE),
    "customize_dtypes": (None, FREE),
    "deterministic": (0, (0, 1)),
    "jit_compile": ("auto", ("true", "false", "auto")),
    "dump_config": {
        "enable_dump": (False, SWITCH),
        "dump_path": (None, FREE),
        "dump_step": (None, FREE),
        "dump_mode": ("output", ("input", "output", "all")),
        "enable_dump_debug": (False, SWITCH),
        "dump_debug_mode": ("all", ("aicore_overflow", "atomic_overflow", "all")),
    },
    "aoe_config": {"aoe_mode": (None, ("1", "2", "4")), "work_path": ("./", FREE)},
    "profiling_config": {"enable_profiling": (False, SWITCH), "profiling_options": ("{}", FREE)},
}


class Options:
    """One group of options: read and set as attributes, as on the adapter's objects."""

    opened = False  # of all groups at once

    def __init__(self, table: dict[str, Any], prefix: str = "") -> None:
        values = {
            name: Options(entry, f"{prefix}{name}.") if isinstance(entry, dict) else entry[0]
            for name, entry in table.items()
        }
        self.__dict__.update(_table=table, _prefix=prefix, _values=values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"no option {name}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._table or isinstance(self._table[name], dict):
            raise ValueError(f"{self._prefix or 'global options'} has no option {name}, but {list(self._table)}")
        if Options.opened:
            raise RuntimeError(f"option {self._prefix}{name} is set after open(): it would have no effect")
        default, allowed = self._table[name]
        kind = str if default is None else type(default)
        if (allowed is FREE or default is not None) and type(value) is not kind:
            raise TypeError(f"{self._prefix}{name}: {kind.__name__} expected, not {type(value).__name__}")
        if allowed is not FREE and value not in allowed:
            raise ValueError(f"{value!r} is not one of {list(allowed)}")
        self._values[name] = value
        double.record("option", name=self._prefix + name, value=value)


_options = Options(TABLE)


def global_options() -> Options:
    return _options


def check() -> None:
    """What the graph engine would find wrong when the device opens."""
    dump, aoe, profiling = _options.dump_config, _options.aoe_config, _options.profiling_config
    if dump.enable_dump and dump.enable_dump_debug:
        raise RuntimeError("data dump and overflow dump exclude each other")
    folders, files = [], [_options.fusion_switch_file, _options.modify_mixlist, _options.customize_dtypes]
    if dump.enable_dump or dump.enable_dump_debug:
        folders.append(dump.dump_path)
    if aoe.aoe_mode:
        folders.append(aoe.work_path)
    if profiling.enable_profiling:
        asked = json.loads(profiling.profiling_options)
        if asked.get("training_trace") != "on":
            raise RuntimeError("profiling a training needs training_trace")
        folders.append(asked.get("output"))
    for path in folders:
        if path is None or not os.path.isdir(path):
            raise RuntimeError(f"no folder {path}")
    for path in files:
        if path is not None and not os.path.isfile(path):
            raise RuntimeError(f"no file {path}")
