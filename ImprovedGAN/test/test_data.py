"""Where a set is found, the label budget, the sample data, and download.py from a folder and from a server here."""

import functools
import hashlib
import http.server
import re
import shutil
import threading

import data
import download
import numpy as np
import pytest
import sample_data
import toy
from test_formats import fails, same


@pytest.mark.parametrize("below", [".", "datasets", "datasets/datasets"])
def test_the_folder_above(tmp_path, below):
    made = toy.write_idx(tmp_path / below / "MNIST")
    for path in {tmp_path, tmp_path / below, tmp_path / below / "MNIST"}:
        for name in (None, "mnist"):
            read = data.load(path, name)
            same(made, read)
            assert read.name == (name or "MNIST")


def test_several_sets_and_none(tmp_path):
    fails(lambda: data.load(tmp_path), "no data set", tmp_path, "download.py")
    toy.write_idx(tmp_path / "datasets" / "MNIST")
    data.save(toy.random_set((4, 4, 3)), tmp_path / "datasets" / "svhn")
    for name in (None, "CIFAR10"):
        fails(lambda name=name: data.load(tmp_path, name), "holds MNIST, svhn; choose the set with --dataset")
    fails(lambda: data.load(tmp_path / "datasets" / "MNIST", "SVHN"), "--dataset=SVHN", "another set")
    assert data.load(tmp_path, "SVHN").train_images.shape == (12, 4, 4, 3)


def test_choose_labels():
    labels = np.array([0, 1, 2, -1] * 50, np.int32)
    chosen = data.choose_labels(labels, 30, 7)
    assert chosen.dtype == np.int64 and chosen.shape == (30,) and len(set(chosen.tolist())) == 30
    assert np.bincount(labels[chosen]).tolist() == [10, 10, 10] and (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, data.choose_labels(labels, 30, 7))
    assert not np.array_equal(chosen, data.choose_labels(labels, 30, 8))
    assert set(data.choose_labels(labels, 9, 7)) <= set(chosen)
    # NumPy drew these on both stacks (1.19 and 2.4).
    assert data.choose_labels(np.arange(40) % 4, 8, 1).tolist() == [1, 3, 5, 6, 14, 16, 31, 32]
    fails(lambda: data.choose_labels(labels, 153, 0), "--n_labels=153: give a multiple of the 3 classes, at most 150")


def test_sample_data(call, refused, tmp_path):
    folder = tmp_path / "a b"
    status, said, _ = call(sample_data.main, "--output_path", folder)
    assert status == 0 and "1438 images to train on, 359 to test on, 28 x 28 x 1" in said
    assert re.search(r"Next:  python \S*train.py --data_path='.*a b'", said)
    read = data.load(folder)
    assert read.train_images.shape == (1438, 28, 28, 1) and read.test_images.shape == (359, 28, 28, 1)
    assert read.class_names == [str(digit) for digit in range(10)]
    assert set(np.bincount(read.test_labels)) <= {35, 36, 37}  # a fifth of each class
    assert read.train_images.max() > 200 and read.train_images.min() == 0
    assert "is not an empty folder" in refused(sample_data.main, "--output_path", folder)


# download.py


@pytest.mark.parametrize("name", toy.PUBLISHED)
def test_from_a_folder(call, tmp_path, name):
    made = toy.PUBLISHED[name](tmp_path / "source")
    flags = ("--dataset", name.lower(), "--source", tmp_path / "source", "--output_path", tmp_path / "o p")
    status, said, _ = call(download.main, *flags)
    assert status == 0 and "train.py --data_path='" in said
    assert [path.name for path in (tmp_path / "o p" / name).iterdir()] == ["data.npz"]
    same(made, data.load(tmp_path / "o p"))
    status, said, _ = call(download.main, *flags)
    assert status == 0 and f"holds {name} already; nothing was done" in said


def test_bad_sources(refused, tmp_path):
    flags = ("--dataset", "MNIST", "--output_path", tmp_path / "out", "--source", tmp_path)
    assert "train-images-idx3-ubyte.gz: does not hold" in refused(download.main, *flags)
    assert "IMAGENET" in refused(download.main, "--dataset", "IMAGENET")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder that a server here shows: a small MNIST, whose SHA-256 take the place of the published ones. The first
    of the two addresses has nothing."""
    folder = tmp_path / "web" / "mnist"
    toy.write_idx(folder, ".gz")
    known = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=functools.partial(httpd.serve_forever, 0.05), daemon=True).start()
        address = f"http://127.0.0.1:{httpd.server_port}/"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setitem(download.FILES, "MNIST", known)
        monkeypatch.setitem(download.ADDRESSES, "MNIST", (address + "down/", address + "mnist/"))
        yield folder
        httpd.shutdown()


def test_fetching(call, published, tmp_path):
    """A good file that is there is used, a bad one is not."""
    raw = tmp_path / "out" / "raw" / "MNIST"
    raw.mkdir(parents=True)
    good, bad, *_ = sorted(published.iterdir())
    shutil.move(str(good), str(raw))
    (raw / bad.name).write_bytes(b"y" * bad.stat().st_size)
    assert call(download.main, "--dataset", "MNIST", "--output_path", tmp_path / "out")[0] == 0
    same(toy.write_idx(tmp_path / "same"), data.load(tmp_path / "out"))
    assert (raw / bad.name).read_bytes() == bad.read_bytes() and not list(raw.glob("*.partial"))


def test_other_content_is_refused(refused, published, tmp_path):
    path = published / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-5])
    text = refused(download.main, "--dataset", "MNIST", "--output_path", tmp_path / "out")
    assert path.name in text and "--source=FOLDER" in text and "SHA-256" in text
    assert not list(tmp_path.rglob("data.npz")) and not list((tmp_path / "out").rglob(f"{path.name}*"))
