"""An .om, what ATC makes for an Ascend device, run by pyACL, which comes with CANN: the only file that names it.

No hardware was at hand: the calls are those of Huawei's documentation, tested against a double.
"""

import atexit
from typing import Any

import numpy as np

from common.cli import UserError

HOST_TO_DEVICE, DEVICE_TO_HOST = 1, 2  # acl.rt.memcpy's kinds
HUGE_FIRST = 0  # acl.rt.malloc's policy
REPEATED = 100002  # acl.init's code where another model of this process is open
# acl's numbers of data types that our exports have.
DTYPES = {0: np.float32, 1: np.float16, 3: np.int32, 9: np.int64, 12: np.bool_}


class OmModel:
    """A model on a device.

    Attributes:
        inputs, outputs: {name: shape}, in the model's order.
    Raises:
        UserError: pyACL is not here, or the file is not of this device.
    """

    def __init__(self, path: str, device_id: int = 0) -> None:
        try:
            import acl
        except ImportError:
            raise UserError(f"{path}: an .om runs on an Ascend device, by pyACL: source CANN's set_env.sh") from None
        self.path, self._acl, self._device, self._model_id, self._context = path, acl, device_id, None, None
        try:
            code = acl.init()
            if code != REPEATED:
                self._checked("acl.init", code)
                atexit.register(acl.finalize)  # once, after all models: it cannot be initialised again
            self._checked("acl.rt.set_device", acl.rt.set_device(device_id))
            self._context = self._checked("acl.rt.create_context", acl.rt.create_context(device_id))
            model_id = self._checked("acl.mdl.load_from_file", acl.mdl.load_from_file(path))
            self._desc = acl.mdl.create_desc()
            self._model_id = model_id
            self._checked("acl.mdl.get_desc", acl.mdl.get_desc(self._desc, model_id))
            self.inputs = self._shapes("input")
            self.outputs = self._shapes("output")
        except Exception:
            self.close()
            raise

    def run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of the named inputs, float32 arrays of exactly the model's shapes."""
        acl, mdl = self._acl, self._acl.mdl
        self._checked("acl.rt.set_context", acl.rt.set_context(self._context))  # a thread or a model has its own
        buffers, datasets, handles = [], [], []
        try:
            for kind, names in (("input", self.inputs), ("output", self.outputs)):
                dataset = mdl.create_dataset()
                datasets.append(dataset)
                for index, name in enumerate(names):
                    size = getattr(mdl, f"get_{kind}_size_by_index")(self._desc, index)
                    buffer = self._checked("acl.rt.malloc", acl.rt.malloc(size, HUGE_FIRST))
                    buffers.append((buffer, size))
                    if kind == "input":
                        data = arrays[name].tobytes()
                        pointer = acl.util.bytes_to_ptr(data)
                        copied = acl.rt.memcpy(buffer, size, pointer, len(data), HOST_TO_DEVICE)
                        self._checked("acl.rt.memcpy", copied)
                    handles.append(acl.create_data_buffer(buffer, size))
                    self._checked("acl.mdl.add_dataset_buffer", mdl.add_dataset_buffer(dataset, handles[-1])[1:])
            self._checked("acl.mdl.execute", mdl.execute(self._model_id, *datasets))
            results = {}
            for index, (name, shape) in enumerate(self.outputs.items()):
                buffer, size = buffers[len(self.inputs) + index]
                data = bytes(size)
                copied = acl.rt.memcpy(acl.util.bytes_to_ptr(data), size, buffer, size, DEVICE_TO_HOST)
                self._checked("acl.rt.memcpy", copied)
                dtype = DTYPES[mdl.get_output_data_type(self._desc, index)]
                count = int(np.prod(shape))
                results[name] = np.frombuffer(data, dtype, count).reshape(shape).astype(np.float32)
            return results
        finally:
            for handle in handles:
                acl.destroy_data_buffer(handle)
            for dataset in datasets:
                mdl.destroy_dataset(dataset)
            for buffer, _ in buffers:
                acl.rt.free(buffer)

    def close(self) -> None:
        """Releases all that the model holds; again is no error."""
        acl = self._acl
        if self._context is not None:
            acl.rt.set_context(self._context)
        if self._model_id is not None:
            acl.mdl.unload(self._model_id)
            acl.mdl.destroy_desc(self._desc)
        if self._context is not None:
            acl.rt.destroy_context(self._context)
            acl.rt.reset_device(self._device)
        self._model_id = self._context = None

    # pyACL: each call returns an error code, alone or after its result.

    def _checked(self, call: str, result: Any) -> Any:
        *value, code = result if isinstance(result, tuple) else (result,)
        if code != 0:
            raise UserError(f"{self.path}: {call} failed with {code}; is the file made for this device?")
        return value[0] if value else None

    def _shapes(self, kind: str) -> dict[str, tuple[int, ...]]:
        mdl, found = self._acl.mdl, {}
        for index in range(getattr(mdl, f"get_num_{kind}s")(self._desc)):
            name = getattr(mdl, f"get_{kind}_name_by_index")(self._desc, index)
            dims = self._checked(f"acl.mdl.get_{kind}_dims", getattr(mdl, f"get_{kind}_dims")(self._desc, index))
            # ATC calls an output "node:0:name"; ours is the node.
            found[name.split(":")[0]] = tuple(dims["dims"])
        return found
