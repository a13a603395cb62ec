"""The original's pickles: lists of names, numbers and NumPy arrays, and nothing that runs.

A pickle is a program, which may call whatever Python has. Here it may name the few things that such lists are made of,
each replaced by one of our own that checks what it is given; all else is refused. Files of Python 2 are in Latin-1.
"""

import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError

MAX_BYTES = 8 * 2**30  # of a file
KINDS = "biuf"  # of arrays: truth values, numbers
# Everything but what makes objects of classes (INST, OBJ, NEWOBJ, EXT) or calls back (PERSID), and sets.
REFUSED = "INST OBJ NEWOBJ NEWOBJ_EX EXT1 EXT2 EXT4 PERSID BINPERSID EMPTY_SET ADDITEMS FROZENSET NEXT_BUFFER"


class _Refused(Exception):
    """What a pickle must not hold."""


class _Type:
    """Stands for numpy.dtype: a kind, a size and an order of bytes."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.dtype = np.dtype(name) if isinstance(name, str) and len(name) < 9 else None
        if self.dtype is None or self.dtype.kind not in KINDS or self.dtype.names or self.dtype.subdtype:
            raise _Refused(f"an array of {str(name)[:40]!r}")

    def __setstate__(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise _Refused("an array of records")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for numpy.ndarray: its bytes, which are all that it may be as large as."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, data = state
        data = data.encode("latin-1") if isinstance(data, str) else data  # as Python 2 wrote it
        if not isinstance(data, bytes) or not isinstance(kind, _Type) or not isinstance(shape, tuple):
            raise _Refused("an array without its numbers")
        if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * kind.dtype.itemsize != len(data):
            raise _Refused("an array of another size than its numbers")
        self.array = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if fortran else "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """_codecs.encode: how Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("a text in another encoding")
    return text.encode("latin-1")


def _new_array(*_: Any) -> _Array:
    return _Array()


_KNOWN = {("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Type, ("_codecs", "encode"): _encode}
for _core in ("numpy.core", "numpy._core"):  # the second since NumPy 2
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _new_array


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C makes room for whatever a pickle claims
    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise _Refused(f"{str(module)[:40]}.{str(name)[:40]}")
        return _KNOWN[module, name]

    def _refuse(self) -> None:
        raise _Refused("objects of other kinds")

    def _reduce(self) -> None:
        if not any(self.stack[-2] is known for known in _KNOWN.values()):
            raise _Refused("a call of what is no function")
        pickle._Unpickler.load_reduce(self)

    def _build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (_Type, _Array)):
            raise _Refused("a state of what has none")
        self.stack[-1].__setstate__(state)

    def _number(self) -> None:
        line = self.readline().strip().rstrip(b"L")
        if len(line) > 100:  # which takes minutes to read
            raise _Refused("a number of too many digits")
        self.append(line == b"01" if line in (b"00", b"01") else int(line))

    dispatch.update(
        dict.fromkeys((getattr(pickle, name)[0] for name in REFUSED.split() if hasattr(pickle, name)), _refuse)
    )
    dispatch.update(
        {pickle.REDUCE[0]: _reduce, pickle.BUILD[0]: _build, pickle.INT[0]: _number, pickle.LONG[0]: _number}
    )


class _File:
    """A file from which no more can be asked for than is in it."""

    def __init__(self, file: Any) -> None:
        self.readline, self._file, self._size = file.readline, file, os.fstat(file.fileno()).st_size

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._size:
            raise EOFError("it is cut short")
        return self._file.read(count)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)


def _plain(value: Any, room: list[int]) -> Any:
    """Lists, dictionaries and tuples with arrays in the place of what stood for them; at most as much as `room`, since
    a pickle of a few bytes may refer to one list a billion times."""
    room[0] -= 1
    if room[0] < 0:
        raise _Refused("more than its file has room for")
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(part, room) for part in value)
    if isinstance(value, dict):
        return {_plain(key, room): _plain(part, room) for key, part in value.items()}
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    raise _Refused("objects of other kinds")


def load(path: Any) -> Any:
    """What a pickle holds: arrays, lists, tuples, dictionaries, strings and numbers.

    Raises:
        UserError: it cannot be read, is no pickle, or holds anything else, none of which is run.
    """
    try:
        size = Path(path).stat().st_size
        if not Path(path).is_file() or size > MAX_BYTES:
            raise UserError(f"{path}: is no file, or larger than {MAX_BYTES >> 30} GiB")
        with open(path, "rb") as file:
            return _plain(_Unpickler(_File(file), encoding="latin-1").load(), [size + 1])
    except _Refused as error:
        raise UserError(f"{path}: holds {error}, which may do harm, and is not read; arrays and lists are") from None
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # what a broken pickle raises is of nearly every kind
        raise UserError(f"{path}: is no pickle that can be read ({str(error)[:80] or 'it is broken'})") from error
