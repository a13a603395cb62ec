"""Torch's files, made here by hand in both forms: what they hold, and that no size in them is believed."""

import contextlib
import struct

import numpy as np
import pytest
from misc import torch7

from common.cli import UserError


class Writer:
    """Writes objects as torch.save does, binary or ascii."""

    def __init__(self, ascii=False):
        self.ascii, self.raw, self.count = ascii, b"", 0

    def put(self, kind, *numbers):
        if self.ascii:
            self.raw += " ".join(f"{n:.17g}" if kind == "d" else str(n) for n in numbers).encode() + b"\n"
        else:
            self.raw += struct.pack(f"<{len(numbers)}{kind}", *numbers)

    def text(self, text):
        self.put("i", len(text))
        self.raw += text + (b"\n" if self.ascii else b"")

    def index(self, kind):
        self.count += 1
        self.put("i", kind)
        self.put("i", self.count)

    def named(self, name):
        self.index(torch7.TORCH)
        self.text(b"V 1")
        self.text(name.encode())

    def tensor(self, array, kind, shape=None, strides=None, start=1, size=None):
        """`array`: one axis, the storage."""
        shape = array.shape if shape is None else shape
        strides = [1] * len(shape) if strides is None else strides
        self.named(f"torch.{kind}Tensor")
        self.put("i", len(shape))
        self.put("q", *shape), self.put("q", *strides), self.put("q", start)
        self.named(f"torch.{kind}Storage")
        self.put("q", len(array) if size is None else size)
        if self.ascii and array.dtype.itemsize > 1:
            self.put("d", *array)
        else:
            self.raw += array.tobytes() + (b"\n" if self.ascii else b"")

    def value(self, value):
        if value is None:
            self.put("i", torch7.NIL)
        elif isinstance(value, bool):
            self.put("i", torch7.BOOLEAN)
            self.put("i", int(value))
        elif isinstance(value, (int, float)):
            self.put("i", torch7.NUMBER)
            self.put("d", float(value))
        elif isinstance(value, str):
            self.put("i", torch7.STRING)
            self.text(value.encode())
        elif isinstance(value, np.ndarray):
            strides = [stride // value.itemsize for stride in value.strides]
            self.tensor(
                value.reshape(-1), {"f": "Float", "d": "Double", "B": "Byte"}[value.dtype.char], value.shape, strides
            )
        else:
            items = list(enumerate(value, 1)) if isinstance(value, list) else list(value.items())
            self.index(torch7.TABLE)
            self.put("i", len(items))
            for key, entry in items:
                self.value(key), self.value(entry)


def load(tmp_path, writer):
    (tmp_path / "x.t7").write_bytes(writer.raw)
    return torch7.load(tmp_path / "x.t7")


@pytest.mark.parametrize("ascii", [False, True])
def test_captions_and_embeddings(tmp_path, ascii):
    """As the original's demo takes them: {raw_txt = {...}, fea_txt = {...}}."""
    embeddings = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    writer = Writer(ascii)
    writer.value(
        {"raw_txt": ["a red bird", "caf\u00e9, two\nlines"], "fea_txt": [embeddings, embeddings * 2], "n": 3, "x": 0.5,
         "yes": True, "no": None, "empty": {}, "bytes": np.arange(40, dtype=np.uint8), "wide": np.arange(3.0)}
    )  # fmt: skip
    found = load(tmp_path, writer)
    assert found["raw_txt"] == ["a red bird", "caf\u00e9, two\nlines"]
    np.testing.assert_allclose(found["fea_txt"], [embeddings, embeddings * 2], rtol=1e-7)
    assert found["fea_txt"][0].dtype == np.float32 and found["wide"].dtype == np.float64
    assert (found["n"], found["x"], found["yes"], found["no"], found["empty"]) == (3, 0.5, True, None, {})
    np.testing.assert_array_equal(found["bytes"], np.arange(40))


def test_part_of_a_storage_turned_over(tmp_path):
    writer = Writer()
    writer.tensor(np.arange(10, dtype="<f4"), "Float", [2, 3], [1, 2], start=4)
    np.testing.assert_array_equal(load(tmp_path, writer), [[3, 5, 7], [4, 6, 8]])


def test_the_same_table_twice(tmp_path):
    writer = Writer()
    writer.index(torch7.TABLE)
    writer.put("i", 2)
    writer.value(1), writer.value(["a"])
    writer.value(2), writer.put("i", torch7.TABLE, 2)
    assert load(tmp_path, writer) == [["a"], ["a"]]


def bad(make):
    writer = Writer()
    make(writer)
    return writer


FOUR = np.zeros(4, "<f4")


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda w: w.put("i", 6), "a function"),
        (lambda w: w.put("i", 8, 1), "a function"),
        (lambda w: w.put("i", 99), "of kind 99"),
        (lambda w: w.named("nn.Linear"), "the class 'nn.Linear'"),
        (lambda w: w.named("torch.Evil\nTensor"), "the class"),
        (lambda w: w.put("i", torch7.STRING, 2**31 - 1), "cut short"),
        (lambda w: w.put("i", torch7.STRING, -1), "cut short"),
        (lambda w: w.put("i", torch7.TABLE, 1, 2**31 - 1), "cut short"),
        (lambda w: w.put("i", torch7.TABLE, 1, 1, torch7.NUMBER), "cut short"),
        (lambda w: w.put("i", torch7.TABLE, 1, 1, torch7.NIL, torch7.NIL), "keys that are no names"),
        (lambda w: w.put("i", torch7.TABLE, 1, 1, torch7.BOOLEAN, 1, torch7.TABLE, 1), "holds itself"),
        (lambda w: [w.put("i", torch7.TABLE, n, 1, torch7.BOOLEAN, 1) for n in range(5000)], "without end"),
        (lambda w: w.tensor(FOUR, "Float", size=2**40), "cut short"),
        (lambda w: w.tensor(FOUR, "Float", size=-4), "cut short"),
        (lambda w: w.tensor(FOUR, "Float", [2**31, 2**31], [0, 0]), "out of 4"),
        (lambda w: w.tensor(FOUR, "Float", [2**62, 4], [0, 1]), "out of 4"),
        (lambda w: w.tensor(FOUR, "Float", [2], [3], start=3), "out of 4"),
        (lambda w: w.tensor(FOUR, "Float", [4], [-1], start=4), "without its numbers"),
        (lambda w: w.tensor(FOUR, "Float", [4], [1], start=0), "without its numbers"),
        (lambda w: w.tensor(FOUR, "Float", [4], [1], start=2), "out of 4"),
        (lambda w: w.tensor(FOUR, "Float", [1] * 40), "40 dimensions"),
        (lambda w: None, "cut short"),
    ],
)
def test_hostile_files(tmp_path, make, words):
    with pytest.raises(UserError, match=f"x.t7: is no .t7 file .*{words}"):
        load(tmp_path, bad(make))


def test_every_cut_and_every_changed_byte(tmp_path):
    """Whatever is wrong with a file, it is told, or numbers are read."""
    for ascii in (False, True):
        writer = Writer(ascii)
        writer.value({"a": [1, "bc"], "t": np.arange(6, dtype="<f4").reshape(2, 3)})
        whole, path = writer.raw, tmp_path / "x.t7"
        rng = np.random.default_rng(1)
        for length in range(len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(UserError):
                torch7.load(path)
        for _ in range(150):
            at = int(rng.integers(len(whole)))
            path.write_bytes(whole[:at] + bytes([rng.integers(256)]) + whole[at + 1 :])
            with contextlib.suppress(UserError):
                torch7.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        torch7.load(tmp_path / "none.t7")
