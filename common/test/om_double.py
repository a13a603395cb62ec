"""Doubles of what an .om needs: `atc` and pyACL. Their .om is JSON that names the .pb it was made from,
which they execute on the CPU; they refuse what the real ones refuse, or would silently take for something else."""

import ctypes
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from common.export import Exported

ATC = f"""#!{sys.executable}
import json, sys
from pathlib import Path

flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
known = set("model framework output soc_version input_format input_shape precision_mode".split())
model = Path(flags["model"])
told = json.loads(model.with_suffix(".json").read_text())["inputs"]
wanted = ";".join(f"{{name}}:{{','.join(map(str, each['shape']))}}" for name, each in told.items())
if set(flags) != known or flags["framework"] != {{".pb": "3", ".onnx": "5"}}[model.suffix] or not model.exists():
    sys.exit("E10001: wrong flags")
if flags["input_shape"] != wanted:
    sys.exit(f"E10002: [--input_shape] {{flags['input_shape']}} is not the graph's {{wanted}}")
if not flags["soc_version"].startswith("Ascend"):
    sys.exit("E10001: no such [--soc_version]")
Path(flags["output"] + ".om").write_text(json.dumps({{"pb": str(model.with_suffix(".pb"))}}))
"""


class Model:
    """An .om loaded."""

    def __init__(self, path):
        self.pb = Exported(json.loads(Path(path).read_text())["pb"])
        self.inputs, self.outputs = list(self.pb.inputs.items()), list(self.pb.outputs.items())

    def run(self, arrays):
        results = self.pb.run(dict(zip(self.pb.inputs, arrays)))
        return [results[name] for name, _ in self.outputs]


class Acl:
    """pyACL's functions that are used, each of which returns a code last.

    Attributes:
        alive: what was made and not yet released; `finalized` or not.
    """

    REPEATED, NO_CONTEXT, INVALID = 100002, 107002, 100000

    def __init__(self):
        self.alive, self.number, self.initialized = {}, 0, False
        self.current = threading.local()  # each thread has a context of its own
        self.rt = SimpleNamespace(
            set_device=self._set_device,
            reset_device=self._reset_device,
            create_context=self._create_context,
            set_context=self._set_context,
            destroy_context=self._release("context"),
            malloc=self._malloc,
            free=self._release("buffer"),
            memcpy=self._memcpy,
        )
        self.mdl = SimpleNamespace(
            load_from_file=self._load,
            unload=self._release("model"),
            create_desc=lambda: self._make("desc", None),
            destroy_desc=self._release("desc"),
            get_desc=self._get_desc,
            create_dataset=lambda: self._make("dataset", []),
            destroy_dataset=self._release("dataset"),
            add_dataset_buffer=self._add,
            execute=self._execute,
            get_output_data_type=lambda desc, index: 0,
        )
        for kind in ("input", "output"):
            nodes = lambda desc, kind=kind: getattr(self.alive["desc", desc], f"{kind}s")  # noqa: E731
            name = lambda desc, i, nodes=nodes, kind=kind: nodes(desc)[i][0] + ":0:x" * (kind == "output")  # noqa: E731
            size = lambda desc, i, nodes=nodes: 4 * int(np.prod(nodes(desc)[i][1]))  # noqa: E731
            setattr(self.mdl, f"get_num_{kind}s", lambda desc, nodes=nodes: len(nodes(desc)))
            setattr(self.mdl, f"get_{kind}_name_by_index", name)
            setattr(self.mdl, f"get_{kind}_dims", lambda d, i, nodes=nodes: ({"dims": list(nodes(d)[i][1])}, 0))
            setattr(self.mdl, f"get_{kind}_size_by_index", size)
        address = lambda data: ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value  # noqa: E731
        self.util = SimpleNamespace(bytes_to_ptr=address)

    def get_soc_name(self):
        return "Ascend310P3"

    def init(self):
        if self.initialized:
            return self.REPEATED
        self.initialized = True
        return 0

    def finalize(self):
        assert self.initialized
        self.initialized = False
        return 0

    def create_data_buffer(self, buffer, size):
        return self._make("handle", (buffer, size))

    def destroy_data_buffer(self, handle):
        return self._release("handle")(handle)

    def _make(self, kind, what):
        self.number += 1
        self.alive[kind, self.number] = what
        return self.number

    def _release(self, kind):
        def release(number):
            del self.alive[kind, number]  # twice is an error
            return 0

        return release

    def _set_device(self, device):
        assert self.initialized
        self.alive["device", device] = self.alive.get(("device", device), 0) + 1
        return 0

    def _reset_device(self, device):
        self.alive["device", device] -= 1
        if not self.alive["device", device]:
            del self.alive["device", device]
        return 0

    def _create_context(self, device):
        self.current.context = self._make("context", device)
        return self.current.context, 0

    def _set_context(self, context):
        assert ("context", context) in self.alive
        self.current.context = context
        return 0

    def _context(self):
        context = getattr(self.current, "context", None)
        return context if ("context", context) in self.alive else None

    def _load(self, path):
        if not Path(path).exists() or self._context() is None:
            return 0, self.INVALID
        model = Model(path)
        model.context = self._context()
        return self._make("model", model), 0

    def _get_desc(self, desc, model):
        self.alive["desc", desc] = self.alive["model", model]
        return 0

    def _malloc(self, size, policy):
        if self._context() is None:
            return 0, self.NO_CONTEXT
        return self._make("buffer", ctypes.create_string_buffer(size)), 0

    def _memcpy(self, target, room, source, size, kind):
        device = {1: target, 2: source}[kind]
        memory = ctypes.addressof(self.alive["buffer", device])
        if size > room or size > len(self.alive["buffer", device]):
            return self.INVALID
        ctypes.memmove(memory if kind == 1 else target, memory if kind == 2 else source, size)
        return 0

    def _add(self, dataset, handle):
        self.alive["dataset", dataset].append(self.alive["handle", handle])
        return dataset, 0

    def _execute(self, model, inputs, outputs):
        model = self.alive["model", model]
        if model.context != self._context():
            return self.NO_CONTEXT
        given = [self.alive["buffer", buffer] for buffer, _ in self.alive["dataset", inputs]]
        arrays = [np.frombuffer(b, np.float32).reshape(s) for b, (_, s) in zip(given, model.inputs)]
        for (buffer, size), result in zip(self.alive["dataset", outputs], model.run(arrays)):
            ctypes.memmove(self.alive["buffer", buffer], result.tobytes(), size)
        return 0
