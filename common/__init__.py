"""What the five models share. Importing it imports nothing else; TensorFlow's start-up lines are left out, and it uses
oneDNN."""

import contextlib
import importlib.abc
import importlib.metadata
import importlib.util
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings are TensorFlow's own affair, errors are not


def _choose_kernels() -> None:
    """Has TensorFlow take oneDNN's convolutions on any x86 processor, unless the user has said something else.

    By itself it takes them where there is AVX-512 alone. With AVX2 they make a step up to twice as fast. Those of 2.6
    divide by zero there.
    """
    for package in ("tensorflow", "tensorflow-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            release = tuple(int(part) for part in importlib.metadata.version(package).split(".")[:2])
            if release >= (2, 9) and os.uname().machine == "x86_64":
                os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


class _QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Holds back what TensorFlow's libraries write to stderr while they load, before any log level is in force."""

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        _choose_kernels()
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def quietly(module):
                stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, 2)
                try:
                    load(module)
                finally:
                    os.dup2(stderr, 2)
                    os.close(stderr)
                    os.close(nowhere)

            spec.loader.exec_module = quietly
        return spec


if "tensorflow" not in sys.modules:
    sys.meta_path.insert(0, _QuietTensorFlow())
