"""Files of weights: what comes back, what is damage, what is refused, and hostile ones."""

import errno
import hashlib
import json
import os
import time

import numpy as np
import pytest
from safetensors.numpy import save as write_arrays

from common import weights
from common.cli import UserError

ARRAYS = {
    "generator/a.0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "generator/b.0": np.float32(3),
    "g_optimizer/adam/iterations": np.int64(7),
    "g_optimizer/loss_scale/scale": np.float32(2.0**32),
}
OPTIONS = {"width": 8, "path": None, "list": [1, 2]}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run" / "checkpoints" / "ckpt-7.safetensors"
    weights.save(path, "Net", ARRAYS, OPTIONS, {"labels": ["x"]}, 7)
    return path


def forged(path, arrays=None, **changes):
    """A file whose digest is right and whose record is not."""
    arrays = {"generator/a.0": np.zeros(2, np.float32)} if arrays is None else arrays
    record = {"format": weights.FORMAT, "network": "Net", "step": 1, "options": {}, "about": {}}
    record.update(sha256=weights._digest(arrays), **changes)
    path.write_bytes(write_arrays(arrays, {"record": json.dumps(record)}))
    return path


def test_all_of_it_comes_back_by_every_name(file, tmp_path):
    for name in (file, str(file)[: -len(".safetensors")], file.parent, tmp_path / "run"):
        loaded = weights.load(name, "Net", "")
        assert (loaded.path, loaded.network, loaded.step) == (str(file), "Net", 7)
        assert vars(loaded.options) == OPTIONS and loaded.about == {"labels": ["x"]}
        assert set(loaded.tensors) == set(ARRAYS)
        for key, array in ARRAYS.items():
            assert loaded.tensors[key].dtype == array.dtype and loaded.tensors[key].shape == array.shape
            assert (loaded.tensors[key] == array).all()
    assert os.listdir(file.parent) == [file.name]  # and nothing temporary
    assert weights.run_folder(file) == (tmp_path / "run").resolve()


def test_the_shipped_ones_are_the_default(tmp_path):
    with pytest.raises(UserError, match=r"/pretrained/ holds no weights: train some and give --ckpt_path=RUN$"):
        weights.load(None, "Net", tmp_path)
    options = {"ema": 0.5, "data_path": "/mine/set", "cfg": "/mine/set.yml"}  # places of this machine stay here
    file = tmp_path / "pretrained" / "net.safetensors"
    weights.save(file, "Net", {"generator/a.0": np.float32([0.1])}, options, half=True)
    found = weights.load(None, "Net", tmp_path)
    loaded = found.part("generator")["a.0"]
    assert loaded.dtype == np.float32 and loaded[0] == np.float16(0.1)
    assert vars(found.options) == {"ema": 0.5} and b"/mine" not in file.read_bytes()


def test_the_average_stands_in_for_the_generator():
    tensors = {"generator/a.0": 1, "ema_generator/a.0": 2, "discriminator/a.0": 3}
    loaded = weights.Weights("file", "Net", None, {}, 0, tensors)
    assert loaded.part("generator") == {"a.0": 2} and loaded.part("discriminator") == {"a.0": 3}
    with pytest.raises(UserError, match="^file: holds no encoder$"):
        loaded.part("encoder")


def test_a_model_is_given_its_weights_or_none(file):
    from tensorflow import keras

    inputs = keras.Input((2,))
    dense = keras.layers.Dense(3, use_bias=False, name="a")
    model, loaded = keras.Model(inputs, dense(inputs)), weights.load(file, "Net", "")
    del loaded.tensors["generator/b.0"]
    assert loaded.restore(model) is model and (model.get_weights()[0] == ARRAYS["generator/a.0"]).all()
    for name, array in (("b.0", ARRAYS["generator/a.0"]), ("a.0", np.ones((2, 4), np.float32))):
        loaded.tensors = {f"generator/{name}": array}
        with pytest.raises(UserError, match="its generator is of another size than its options say"):
            loaded.restore(model)


def test_a_checkpoints_newest_whole_one_is_loaded(file, capsys):
    damaged = file.with_name("ckpt-12.safetensors")  # 12 is newer than 7
    damaged.write_bytes(file.read_bytes()[:-1])
    assert weights.load(file.parent, "Net", "").step == 7
    assert f"[Warning] {damaged} is damaged" in capsys.readouterr().out
    with pytest.raises(UserError, match="is damaged"):
        weights.load(damaged, "Net", "")


def test_what_is_not_finite_is_neither_saved_nor_loaded(file, tmp_path):
    for bad, half in ((np.nan, False), (np.inf, False), (1e6, True)):
        with pytest.raises(UserError, match="a holds numbers that are not finite, or too large for float16"):
            weights.save(tmp_path / "x.safetensors", "Net", {"a": np.float32([1, bad])}, {}, half=half)
    assert not (tmp_path / "x.safetensors").exists()
    with pytest.raises(UserError, match="a holds numbers that are not finite"):
        weights.load(forged(file, {"a": np.float32([1, np.nan])}), "Net", "")


def header(text, length=None, data=b""):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


RECORD = {"__metadata__": {"record": json.dumps({"format": weights.FORMAT})}}
TENSOR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
LYING = {
    "empty": b"",
    "too short": b"1234567",
    "zeros": bytes(100),
    "more data than there is": header({**RECORD, "a": TENSOR}),
    "a longer header than the file": header({}, length=2**63),
    "a huge header": header(b" " * (weights.MAX_RECORD * 4) + b"{}"),
    "a deep header": header(b"[" * 100_000),
    "a list": header([1, 2]),
    "a record that is no text": header({"__metadata__": {"record": 3}}),
    "a deep record": header({"__metadata__": {"record": "[" * 100_000}}),
    "a huge tensor": header({**RECORD, "a": {**TENSOR, "shape": [2**62, 4]}}, data=bytes(16)),
    "an unknown type": header({**RECORD, "a": {**TENSOR, "dtype": "Q7"}}, data=bytes(16)),
    "data before the file": header({**RECORD, "a": {**TENSOR, "data_offsets": [-16, 0]}}, data=bytes(16)),
    "no digest": header({**RECORD, "a": TENSOR}, data=bytes(16)),
}


@pytest.mark.parametrize("content", LYING.values(), ids=list(LYING))
def test_a_lying_header_is_damage(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(weights.Damage) as caught:
        weights.read(tmp_path / "x.safetensors")
    assert str(tmp_path / "x.safetensors") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"network": "Other"}, "weights of Other, not of Net$"),
        ({"format": "ascend-gans-0"}, "not a file of weights that this repository wrote$"),
        ({"options": ["width"]}, "its record's options is not of the kind that is written$"),
        ({"step": "7"}, "its record's step is not of the kind that is written$"),
        ({"step": True}, "its record's step is not"),
        ({"network": {}}, "its record's network is not"),
        ({"about": None}, "its record's about is not"),
        ({"more": "x" * weights.MAX_RECORD}, "not a file of weights that this repository wrote$"),
    ],
    ids=["network", "format", "options", "step", "bool", "dict", "about", "huge"],
)
def test_a_forged_record_is_refused(tmp_path, changes, reason):
    with pytest.raises(UserError, match=reason):
        weights.load(forged(tmp_path / "x.safetensors", **changes), "Net", "")


def test_spoilt_files_are_damage_or_the_same(file):
    """300 files, each whole but for a few random bytes, or cut."""
    rng, whole, started = np.random.RandomState(0), file.read_bytes(), time.monotonic()
    record, arrays = weights.read(file)
    for number in range(300):
        content = bytearray(whole)
        for place in rng.randint(0, len(whole), 1 + number % 3):
            content[place] ^= 1 << rng.randint(8)
        file.write_bytes(content[: rng.randint(len(content))] if number % 3 == 0 else content)
        try:  # what is told from the record alone is not covered by the digest: a changed word may be read
            assert weights._digest(weights.read(file)[1]) == weights._digest(arrays)
        except (weights.Damage, UserError) as error:
            assert str(file) in str(error) and "\n" not in str(error)
    assert time.monotonic() - started < 10


def test_what_cannot_be_read_is_not_damage(file, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "run", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="there is no such file$"):
            weights.read(path)
    with pytest.raises(UserError, match="no weights in .*nowhere: give a run's output folder, or a file such as"):
        weights.load(tmp_path / "nowhere", "Net", "")
    for number in (errno.EACCES, errno.EIO):

        def failing(path, mode, number=number):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(weights, "open", failing, raising=False)
        with pytest.raises(UserError, match=f"ckpt-7.safetensors cannot be read: {os.strerror(number)}$"):
            weights.load(file, "Net", "")
    monkeypatch.setattr(weights, "MAX_BYTES", 100)
    with pytest.raises(UserError, match="none of our files of weights"):
        weights.load(file, "Net", "")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(file, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        weights.save(file, "Net", ARRAYS, {}, step=7)
    assert os.listdir(file.parent) == [file.name] and file.read_bytes() == before


def test_the_same_content_gives_the_same_bytes(file, tmp_path):
    """The digest of one file, written down once: both stacks write and read the same."""
    weights.save(tmp_path / "again.safetensors", "Net", ARRAYS, OPTIONS, {"labels": ["x"]}, 7)
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:8] == "adb9380e"
