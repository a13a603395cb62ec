"""Pickles of strangers: NumPy's arrays, lists, tuples, dictionaries, strings and numbers, and nothing that runs.

A pickle is a program, which may call whatever Python has. Here it may name five things of NumPy, each replaced by one
of our own that checks what it is given; all else is refused. Files written by Python 2 are read as Latin-1.
"""

import os
import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.cli import UserError

KINDS = "biufSU"  # of arrays: truth values, numbers, text

# The instructions of a pickle's language that plain data needs. Left out are those that make objects of classes
# (INST, OBJ, NEWOBJ, EXT), that call back (PERSID) and sets.
_NAMES = """PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4
FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES
BINBYTES8 BYTEARRAY8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM
SETITEMS PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD"""
_INSTRUCTIONS = [getattr(pickle, name)[0] for name in _NAMES.split()]


class _Refused(Exception):
    """What a pickle must not hold."""


class _Dtype:
    """Stands for numpy.dtype: a kind, a size and an order of bytes."""

    def __init__(self, name: Any, align: Any = False, copy: Any = True) -> None:
        self.dtype = np.dtype(name) if isinstance(name, str) and len(name) < 20 else None
        if self.dtype is None or self.dtype.kind not in KINDS or self.dtype.names or self.dtype.subdtype:
            raise _Refused(f"an array of {str(name)[:40]!r}")

    def set_state(self, state: Any) -> None:
        _, order, subdtype, names, fields = state[:5]
        if order not in ("<", ">", "|", "=") or not (subdtype is names is fields is None):
            raise _Refused("an array of records")
        self.dtype = self.dtype.newbyteorder(order)


def _raw(data: Any) -> bytes:
    """An array's bytes, which Python 2 wrote as a string."""
    data = data.encode("latin-1") if isinstance(data, str) else data
    if not isinstance(data, (bytes, bytearray)):
        raise _Refused("an array without its numbers")
    return bytes(data)


def _check_size(shape: Any, dtype: np.dtype, data: bytes) -> None:
    """An array must be exactly as large as the bytes that it is made of."""
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("an array of a size that is none")
    size = dtype.itemsize
    for n in shape:
        size *= n
    if size != len(data):
        raise _Refused(f"an array of {size} bytes with {len(data)}")


def _reconstruct(subtype: Any, shape: Any, kind: Any) -> np.ndarray:
    """numpy.core.multiarray._reconstruct: an empty array, which BUILD fills."""
    if subtype is not _NDARRAY:
        raise _Refused("an array of a class of its own")
    return np.zeros(0, np.uint8)


def _scalar(dtype: Any, data: Any) -> Any:
    """numpy.core.multiarray.scalar."""
    data = _raw(data)
    _check_size((), dtype.dtype, data)
    return np.frombuffer(data, dtype.dtype)[0]


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """numpy.core.numeric._frombuffer, of protocol 5."""
    data = _raw(data)
    _check_size(shape, dtype.dtype, data)
    return np.ndarray(shape, dtype.dtype, bytearray(data), order="F" if order == "F" else "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """_codecs.encode: how Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused(f"a text in {str(encoding)[:40]!r}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    """bytes(): how Python 3 writes none for Python 2."""
    return b""


_NDARRAY = object()  # stands for numpy.ndarray, which is only ever named
_ADMITTED = {("numpy", "ndarray"): _NDARRAY, ("numpy", "dtype"): _Dtype, ("_codecs", "encode"): _encode}
_ADMITTED["builtins", "bytes"] = _ADMITTED["__builtin__", "bytes"] = _no_bytes
for _core in ("numpy.core", "numpy._core"):  # the second since NumPy 2
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _scalar
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _frombuffer


class _File:
    """A file from which no more can be asked for than is in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.readline = file, file.readline
        self._left = os.fstat(file.fileno()).st_size

    def read(self, count: int) -> bytes:
        if count < 0 or count > self._left:
            raise EOFError("it is cut short")
        return self._file.read(count)

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C makes room for whatever a pickle claims
    def _refuse(self) -> None:
        raise _Refused("objects of other kinds")

    dispatch = dict.fromkeys(range(256), _refuse)
    dispatch.update({code: pickle._Unpickler.dispatch[code] for code in _INSTRUCTIONS})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise _Refused(f"{str(module)[:40]}.{str(name)[:40]}")
        return _ADMITTED[module, name]

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if not any(function is admitted for admitted in _ADMITTED.values()) or function is _NDARRAY:
            raise _Refused("a call of what is no function")
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        if isinstance(built, _Dtype):
            built.set_state(state)
        elif isinstance(built, np.ndarray):
            _, shape, dtype, fortran, data = state
            data = _raw(data)
            _check_size(shape, dtype.dtype, data)
            built.__setstate__((1, shape, dtype.dtype, bool(fortran), data))
        else:
            raise _Refused("a state of what has none")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


def load(path: Any) -> Any:
    """What a pickle holds: arrays, lists, tuples, dictionaries, strings and numbers.

    Raises:
        UserError: it cannot be read, is no pickle, or holds anything else, none of which is run.
    """
    try:
        with open(path, "rb") as file:
            found = _Unpickler(_File(file), encoding="latin-1").load()
    except _Refused as error:
        raise UserError(f"{path}: holds {error}, which may do harm, and is not read; arrays and lists are") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # what a broken pickle raises is of nearly every kind
        raise UserError(f"{path}: is no pickle that can be read ({str(error)[:80] or 'it is broken'})") from error
    if isinstance(found, _Dtype) or any(found is admitted for admitted in _ADMITTED.values()):
        raise UserError(f"{path}: holds no data")
    return found


def save_pictures(path: Path, pictures: Iterable[np.ndarray]) -> None:
    """Writes uint8 pictures [h, w, 3] as the list that the original reads, in Python 2 and with any NumPy.

    (Python's own pickler names modules that old versions of NumPy lack, and holds all of the pictures meanwhile.)
    """
    temporary = Path(path).with_name(f".unfinished-{os.getpid()}-{Path(path).name}")
    try:
        with open(temporary, "wb") as file:
            file.write(b"\x80\x02](")  # protocol 2, a list
            for picture in pictures:
                height, width, channels = picture.shape
                raw = np.ascontiguousarray(picture, np.uint8).tobytes()
                file.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR")
                file.write(b"(K\x01(" + b"".join(b"J" + struct.pack("<i", n) for n in (height, width, channels)) + b"t")
                file.write(
                    b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
                )
                file.write(b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb")
            file.write(b"e.")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink()
        raise
