"""The original's pickles: data is read, of every NumPy, and nothing that a stranger slips in is run."""

import pickle
import random
import struct
import time
from collections import OrderedDict
from datetime import date

import numpy as np
import pytest
from misc import pickles

from common.cli import UserError

ARRAYS = [np.arange(60, dtype=np.uint8).reshape(5, 4, 3), np.linspace(0, 1, 6).reshape(2, 3).astype(np.float32)]


def saved(path, content):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, 2))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_data(tmp_path, protocol):
    content = {"names": ["a/b", "c"], "numbers": (1, 2.5, True, None, 2**40), "arrays": ARRAYS}
    found = pickles.load(saved(tmp_path / "x", pickle.dumps(content, protocol)))
    assert found["names"] == content["names"] and found["numbers"] == content["numbers"]
    for one, other in zip(found["arrays"], ARRAYS):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_what_python_2_wrote(tmp_path):
    """Strings of bytes, arrays of them, and big-endian numbers in Fortran's order."""
    assert pickles.load(saved(tmp_path / "a", b"(lp0\nS'caf\\xe9'\np1\naI01\na.")) == ["caf\u00e9", True]
    raw = np.arange(6, dtype=">i4").tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x02K\x03\x86"
    array += b"cnumpy\ndtype\n(U\x02i4K\x00K\x01tR(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x88"
    array += b"T" + struct.pack("<i", len(raw)) + raw + b"tb."
    np.testing.assert_array_equal(
        pickles.load(saved(tmp_path / "b", b"\x80\x02" + array)), np.arange(6).reshape(3, 2).T
    )


class Reduced:
    def __reduce__(self):
        return eval, ("1 + 1",)


BOMB = (
    b"\x80\x02]q\x00"
    + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60))
    + b"."
)
ARRAY = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
DTYPE = b"cnumpy\ndtype\n(U\x02%sK\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04aaaatb."


@pytest.mark.parametrize(
    "content, words",
    [
        (Reduced(), "eval, which may do harm"),
        (b"cos\nsystem\n(S'true'\ntR.", "os.system, which may do harm"),
        (date(2000, 1, 1), "datetime.date, which may do harm"),
        (OrderedDict(a=1), "OrderedDict, which may do harm"),
        ({1, 2}, "may do harm"),
        (np.array([{}], object), "an array of 'O"),
        (BOMB, "more than its file has room for"),  # 2^60 lists, of a few hundred bytes
        (ARRAY + b"J\xff\xff\xff\x7fK\x02\x86" + DTYPE % b"u1", "another size than its numbers"),
        (ARRAY + b"J\xff\xff\xff\xffK\x02\x86" + DTYPE % b"u1", "another size than its numbers"),
        (b"I" + b"9" * 10**6 + b"\n.", "a number of too many digits"),
        (b"\x80\x02T\xff\xff\xff\x7fabc.", "is no pickle that can be read"),
        (b"\x80\x02" + b"]" * 10**5 + b"a" * 10**5, "is no pickle that can be read"),
        (b"", "is no pickle that can be read"),
        (b"\x80\x02cnumpy\ndtype\n.", "objects of other kinds"),
        (b"(I1\nI2\nb.", "a state of what has none"),
    ],
)
def test_refusals(tmp_path, content, words):
    started = time.monotonic()
    with pytest.raises(UserError, match=words):
        pickles.load(saved(tmp_path / "x", content))
    assert time.monotonic() - started < 5
    with pytest.raises(UserError):
        pickles.load(tmp_path)


def test_bits_turned(tmp_path):
    """Whatever a good file becomes, it is read or refused in a line."""
    good, rng = pickle.dumps([ARRAYS, ["a/b"] * 5, {"x": 1}], 2), random.Random(0)
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            pickles.load(saved(tmp_path / "x", bytes(broken[: rng.randint(1, len(broken))])))
        except UserError as error:
            assert str(error).count("\n") == 0
