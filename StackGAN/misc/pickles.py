"""The originals' pickles: lists of names and NumPy arrays, and nothing that runs.

A pickle is a program, which may call whatever Python has. Here it may name the few things that arrays are made of, each
replaced by one of our own that checks what it is given; all else is refused. Files of Python 2 are in Latin-1.
"""

import io
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError

MAX_BYTES = 8 * 2**30  # of a file


class _Type:
    """Stands for numpy.dtype, of numbers."""

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(name if isinstance(name, str) and len(name) < 9 else object)
        if self.dtype.kind not in "biuf":
            raise ValueError("an array of other things than numbers, which may do harm")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])  # fields, if it has some, are left out


class _Array:
    """Stands for numpy.ndarray: `array`, which is as large as its bytes in the file."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, content = state
        content = content.encode("latin-1") if isinstance(content, str) else content  # Python 2 wrote a str
        if math.prod(shape) * kind.dtype.itemsize != len(content):
            raise ValueError("an array of another size than its numbers")
        self.array = np.frombuffer(content, kind.dtype).reshape(shape, order="F" if fortran else "C")


ALLOWED = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Type}
ALLOWED["_codecs", "encode"] = lambda text, _: text.encode("latin-1")  # by which Python 3 writes bytes for Python 2
ALLOWED.update({(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")})


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C makes room for whatever a pickle claims
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise ValueError(f"{module[:40]}.{name[:40]}, which may do harm")
        return ALLOWED[module, name]


def load(path: Path) -> Any:
    """What a pickle holds: an array, or a list whose arrays are arrays. What else is in it is not looked at.

    Raises:
        UserError: it cannot be read, is no pickle, or holds what may do harm, none of which is run.
    """
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: is no file, or larger than {MAX_BYTES >> 30} GiB")
        found = _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin-1").load()
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # what a broken pickle raises is of nearly every kind
        raise UserError(f"{path}: is no pickle of names or arrays ({str(error)[:80] or 'it is broken'})") from error
    if isinstance(found, (list, tuple)):
        return [getattr(part, "array", part) for part in found]
    return getattr(found, "array", found)
