"""Pickles: data is read, in every protocol and of every NumPy, and nothing that a stranger slips in is run."""

import pickle
import struct
from collections import OrderedDict
from datetime import date

import numpy as np
import pytest
from misc import pickles

from common.cli import UserError

PICTURES = [np.arange(60, dtype=np.uint8).reshape(5, 4, 3), np.full((2, 2, 3), 255, np.uint8)]
DATA = [
    *PICTURES,
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(4, dtype=">i4"),
    np.array(["ab", "c"]),
    np.zeros((0, 3), np.float32),
    np.float32(1.5),
    {"a": (1, None, True), "b": [2.5, 2**70, -1]},
    "caf\u00e9",
    b"\x00\xff",
]


def same(one, other):
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        orders = one.dtype.newbyteorder("="), other.dtype.newbyteorder("=")  # NumPy turns numbers to this machine's
        return orders[0] == orders[1] and one.shape == other.shape and (one == other).all()
    return type(one) is type(other) and one == other


def write(path, raw):
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path, protocol):
    assert same(pickles.load(write(tmp_path / "x", pickle.dumps(DATA, protocol))), DATA)


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_modules_of_old_and_new_numpy(tmp_path, core):
    raw = pickle.dumps(DATA, 2)
    for name in (b"numpy._core", b"numpy.core"):
        raw = raw.replace(name + b".multiarray", core.encode() + b".multiarray")
    assert core.encode() in raw
    assert same(pickles.load(write(tmp_path / "x", raw)), DATA)


def test_python_2(tmp_path):
    """By hand, as Python 2 wrote it: lists of byte strings, and an array whose numbers are a string."""
    assert pickles.load(write(tmp_path / "x", b"(lp0\nS'001.Bird/Caf\\xe9_1'\np1\naI7\naI01\na.")) == [
        "001.Bird/Caf\u00e9_1", 7, True
    ]  # fmt: skip
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\np0\n(cnumpy\nndarray\np1\n(I0\ntp2\nS'b'\np3\ntp4\nRp5\n(I1\n(I2\ntp6\n"
        b"cnumpy\ndtype\np7\n(S'f4'\np8\nI0\nI1\ntp9\nRp10\n(I3\nS'<'\np11\nNNNI-1\nI-1\nI0\ntp12\nbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00\\xc0'\np13\ntp14\nb."
    )
    assert same(pickles.load(write(tmp_path / "y", array)), np.array([1, -2], np.float32))


def test_what_is_written_is_what_python_reads(tmp_path):
    path = tmp_path / "76images.pickle"
    pickles.save_pictures(path, iter(PICTURES))
    with open(path, "rb") as file:
        assert same(pickle.load(file, encoding="latin1"), PICTURES)
    assert same(pickles.load(path), PICTURES)
    assert path.read_bytes().startswith(b"\x80\x02") and b"numpy._core" not in path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


class Call:
    """Pickles as a call."""

    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return self.what


class Thing:
    pass


RAN = []
NDARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
DTYPE = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR"


@pytest.mark.parametrize(
    "raw",
    [
        pickle.dumps(Call(RAN.append, (1,)), 2),
        pickle.dumps([1, Call(eval, ("__import__('os').system('true')",))], 0),
        pickle.dumps(Call(getattr, ("", "join")), 4),
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
        b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
        b"c_codecs\nencode\n(S'cnumber'\nS'rot13'\ntR.",
        b"S'x'\n(tR.",  # a string called
        b"cnumpy\nndarray\n(K\x05tR.",
        pickle.dumps(Thing(), 0),
        pickle.dumps(Thing(), 2),
        pickle.dumps(OrderedDict(a=1), 2),
        pickle.dumps({1, 2}, 4),
        pickle.dumps(date(2020, 1, 1), 2),
        pickle.dumps(np.array([Thing()], object), 2),
        pickle.dumps(np.zeros(2, [("a", "f4")]), 2),
        pickle.dumps(np.datetime64("2020"), 2),
        b"Pname\n.",
        b"\x80\x02\x82\x01.",
        b"cnumpy\nndarray\n.",
        b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR.",
        # An array of other sizes than its numbers', a size that is no number, a dtype that is none, a state for a list.
        NDARRAY + b"(K\x01(J\x00\x00\x00\x40t" + DTYPE + b"\x89U\x08abcdefghtb.",
        NDARRAY + b"(K\x01(K\x02J\xff\xff\xff\xfft" + DTYPE + b"\x89U\x08abcdefghtb.",
        NDARRAY + b"(K\x01(U\x011t" + DTYPE + b"\x89U\x08abcdefghtb.",
        NDARRAY + b"(K\x01(K\x01tU\x02f8\x89U\x08abcdefghtb.",
        b"](K\x01tb.",
    ],
)
def test_what_may_do_harm_is_refused(tmp_path, raw):
    with pytest.raises(UserError, match="x.pickle: (holds|is no pickle)"):
        pickles.load(write(tmp_path / "x.pickle", raw))
    assert not RAN


def test_broken(tmp_path):
    whole = pickle.dumps(DATA, 4)
    broken = [
        b"",
        b".",
        b"hello",
        b"\x80\xff.",
        whole[:-1],
        b"N",
        b"0.",
        b"h\x05.",
        b"]a.",
        b"I" + b"9" * 5000 + b"\n.",
    ]
    broken += [whole[:n] for n in range(0, len(whole), 37)]
    for size in (2**31 - 1, 2**62):  # texts and memory that the file is not long enough for
        broken += [b"X" + struct.pack("<I", size & 0x7FFFFFFF) + b"ab.", b"\x8e" + struct.pack("<Q", size) + b"ab."]
    broken.append(b"\x95" + struct.pack("<Q", 2**40) + b"N.")
    for raw in broken:
        with pytest.raises(UserError, match="x: is no pickle"):
            pickles.load(write(tmp_path / "x", raw))
    assert pickles.load(write(tmp_path / "x", b"Nr\xff\xff\xff\xff.")) is None  # place 2**32 - 1 of the memory
    with pytest.raises(UserError, match="cannot be read"):
        pickles.load(tmp_path / "none")
