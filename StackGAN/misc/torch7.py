"""Reads what Lua Torch's torch.save wrote (.t7, binary or ascii): tensors, tables, strings, numbers, truth values.

Functions and objects of other classes are refused, and a size is believed only if the file is as long as it says.
The format: an object is its kind, then, of tables and torch's own, a number that stands for it when it comes again.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import UserError

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN = range(6)
ELEMENTS = {
    "Byte": "<u1", "Char": "<i1", "Short": "<i2", "Int": "<i4", "Long": "<i8", "Float": "<f4", "Double": "<f8",
    "Cuda": "<f4", "CudaByte": "<u1", "CudaLong": "<i8", "CudaDouble": "<f8",
}  # fmt: skip
DEEP = 100  # tables in tables
DIMENSIONS = 16


class _Broken(Exception):
    """What a file must not hold."""


class _Binary:
    """Numbers and text of a binary file, little-endian."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.raw) - self.at:
            raise _Broken("it is cut short")
        self.at += count
        return self.raw[self.at - count : self.at]

    def integers(self, count: int, kind: str = "i") -> tuple:
        return struct.unpack(f"<{count}{kind}", self.take(count * struct.calcsize(f"<{kind}")))

    def longs(self, count: int) -> tuple:
        return self.integers(count, "q")

    def number(self) -> float:
        return self.integers(1, "d")[0]

    def text(self) -> bytes:
        return self.take(self.integers(1)[0])

    def elements(self, count: int, dtype: np.dtype) -> np.ndarray:
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)


class _Ascii(_Binary):
    """The same of an ascii file: words, and text as it is."""

    def word(self) -> bytes:
        end = self.at
        while end < len(self.raw) and not self.raw[end : end + 1].isspace():
            end += 1
            if end - self.at > 400:
                raise _Broken("a number without end")
        word, self.at = self.raw[self.at : end], min(end + 1, len(self.raw))  # and the one space after it
        return word

    def integers(self, count: int, kind: str = "i") -> tuple:
        if count > len(self.raw) - self.at:
            raise _Broken("it is cut short")
        return tuple(int(self.word()) for _ in range(count))

    def number(self) -> float:
        return float(self.word())

    def text(self) -> bytes:
        text = self.take(self.integers(1)[0])
        self.take(1)  # the end of its line
        return text

    def elements(self, count: int, dtype: np.dtype) -> np.ndarray:
        if dtype.itemsize == 1:  # bytes are written as they are
            found = super().elements(count, dtype)
            self.take(1)
            return found
        if count > len(self.raw) - self.at:
            raise _Broken("it is cut short")
        if not count:
            self.take(1)
        return np.array([self.word() for _ in range(count)], "S400").astype(dtype)


class _Reader:
    def __init__(self, source: _Binary) -> None:
        self.source, self.known = source, {}

    def value(self, depth: int = 0) -> Any:
        source = self.source
        kind = source.integers(1)[0]
        if depth > DEEP:
            raise _Broken("tables in tables without end")
        if kind == NIL:
            return None
        if kind == NUMBER:
            number = source.number()
            return int(number) if number.is_integer() else number
        if kind == STRING:
            return source.text().decode("utf-8", "replace")
        if kind == BOOLEAN:
            return bool(source.integers(1)[0])
        if kind not in (TABLE, TORCH):
            raise _Broken("a function" if 6 <= kind <= 8 else f"something of kind {kind}")
        name = source.integers(1)[0]
        if name in self.known:
            if self.known[name] is None:
                raise _Broken("a table that holds itself")
            return self.known[name]
        self.known[name] = None
        self.known[name] = made = self.table(depth) if kind == TABLE else self.torch(depth)
        return made

    def table(self, depth: int) -> Any:
        """A list, of the keys 1, 2, ..., or else a dictionary."""
        found = {}
        for _ in range(self.source.integers(1)[0]):
            key, entry = self.value(depth + 1), self.value(depth + 1)
            if not isinstance(key, (str, int, float)):
                raise _Broken("a table with keys that are no names or numbers")
            found[key] = entry
        if found and all(number in found for number in range(1, len(found) + 1)):
            return [found[number] for number in range(1, len(found) + 1)]
        return found

    def torch(self, depth: int) -> np.ndarray:
        """A tensor, or a storage as an array of one axis."""
        name = self.source.text()
        if name.startswith(b"V "):
            name = self.source.text()
        name = name.decode("latin-1")
        for ending in ("Tensor", "Storage"):
            element = ELEMENTS.get(name[len("torch.") : -len(ending)])
            if element and name.startswith("torch.") and name.endswith(ending):
                return self.tensor(depth) if ending == "Tensor" else self.storage(np.dtype(element))
        raise _Broken(f"an object of the class {name[:40]!r}")

    def storage(self, dtype: np.dtype) -> np.ndarray:
        return self.source.elements(self.source.longs(1)[0], dtype)

    def tensor(self, depth: int) -> np.ndarray:
        dimensions = self.source.integers(1)[0]
        if not 0 <= dimensions <= DIMENSIONS:
            raise _Broken(f"a tensor of {dimensions} dimensions")
        shape, strides = self.source.longs(dimensions), self.source.longs(dimensions)
        start = self.source.longs(1)[0] - 1
        storage = self.value(depth + 1)
        if storage is None or not dimensions:
            return np.zeros(0, np.float32)
        if not isinstance(storage, np.ndarray) or storage.ndim != 1 or min(*shape, *strides, start) < 0:
            raise _Broken("a tensor without its numbers")
        count = 1
        for size in shape:
            count *= size
        last = start + sum((size - 1) * stride for size, stride in zip(shape, strides))
        if count > len(storage) or (count and last >= len(storage)):
            raise _Broken(f"a tensor of {count} numbers out of {len(storage)}")
        if not count:
            return np.zeros(0, storage.dtype)
        step = storage.itemsize
        view = np.lib.stride_tricks.as_strided(storage[start:], shape, [stride * step for stride in strides])
        return np.array(view)


def load(path: Any) -> Any:
    """What a .t7 file holds: tensors as arrays, tables as lists or dictionaries, strings, numbers.

    Raises:
        UserError: it cannot be read, is broken, or holds functions or objects of other classes.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    source = _Ascii(raw) if raw[1:2] == b"\n" else _Binary(raw)
    try:
        return _Reader(source).value()
    except _Broken as error:
        raise UserError(f"{path}: is no .t7 file that can be read: {error}") from None
    except (ValueError, OverflowError, struct.error, MemoryError) as error:
        raise UserError(f"{path}: is no .t7 file that can be read ({str(error)[:80]})") from None
