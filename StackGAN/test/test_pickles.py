"""The originals' pickles: data is read, of every NumPy, and nothing that a stranger slips in is run."""

import pickle
import random
import struct
import time

import numpy as np
import pytest
from misc import pickles

from common.cli import UserError

ARRAYS = [np.arange(60, dtype=np.uint8).reshape(5, 4, 3), np.linspace(0, 1, 6).reshape(2, 3).astype(np.float32)]


@pytest.fixture
def load(tmp_path):
    def call(content):
        path = tmp_path / "x"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, 2))
        return pickles.load(path)

    return call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_names_and_arrays(load, protocol):
    assert load(pickle.dumps(["a/b", "c"], protocol)) == ["a/b", "c"]
    found = [*load(pickle.dumps(ARRAYS, protocol)), load(pickle.dumps(ARRAYS[0], protocol))]
    for one, other in zip(found, [*ARRAYS, ARRAYS[0]]):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_what_python_2_wrote(load):
    """Strings of bytes, arrays of them, and big-endian numbers in Fortran's order."""
    assert load(b"(lp0\nS'caf\\xe9'\np1\na.") == ["caf\u00e9"]
    raw = np.arange(6, dtype=">i4").tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x02K\x03\x86"
    array += b"cnumpy\ndtype\n(U\x02i4K\x00K\x01tR(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x88"
    array += b"T" + struct.pack("<i", len(raw)) + raw + b"tb."
    np.testing.assert_array_equal(load(b"\x80\x02" + array), np.arange(6).reshape(3, 2).T)


class Reduced:
    def __reduce__(self):
        return eval, ("1 + 1",)


ARRAY = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01"
DTYPE = b"cnumpy\ndtype\n(U\x02%sK\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"


@pytest.mark.parametrize(
    "content, words",
    [
        (Reduced(), "eval, which may do harm"),
        (b"cos\nsystem\n(S'true'\ntR.", "os.system, which may do harm"),
        (np.array([{}], object), "may do harm"),
        (ARRAY + b"J\xff\xff\xff\x7fK\x02\x86" + DTYPE % b"u1" + b"U\x04aaaatb.", "another size than its numbers"),
        (ARRAY + b"J\xff\xff\xff\xffK\xfc\x86" + DTYPE % b"u1" + b"U\x04aaaatb.", "another size than its numbers"),
        (ARRAY + b"J\xff\xff\xff\x7f\x85" + DTYPE % b"u1" + b"J\xff\xff\xff\x7ftb.", "is no pickle"),  # size for bytes
        (b"I" + b"9" * 10**6 + b"\n.", "is no pickle"),
        (b"\x80\x02T\xff\xff\xff\x7fabc.", "is no pickle"),
        (b"\x80\x02](r\xff\xff\xff\xffK\x01", "is no pickle"),  # a place in the memo, which the one in C makes room for
        (b"\x80\x02" + b"]" * 10**5 + b"a" * 10**5, "is no pickle"),
        (b"", "is no pickle"),
    ],
)
def test_refusals(load, tmp_path, content, words):
    started = time.monotonic()
    with pytest.raises(UserError, match=words):
        load(content)
    assert time.monotonic() - started < 5
    with pytest.raises(UserError):
        pickles.load(tmp_path)


def test_bits_turned(load):
    """Whatever a good file becomes, it is read or refused in a line."""
    good, rng = pickle.dumps([ARRAYS, ["a/b"] * 5, {"x": 1}], 2), random.Random(0)
    for _ in range(300):
        broken = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            load(bytes(broken[: rng.randint(1, len(broken))]))
        except UserError as error:
            assert str(error).count("\n") == 0
