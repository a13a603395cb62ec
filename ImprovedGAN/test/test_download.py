"""The published files, from a folder and from a server on this machine; damaged and hostile ones."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import data
import download
import numpy as np
import published
import pytest
from test_data import idx_set, refused, same, toy

SCRIPT = Path(download.__file__)


def run(*flags):
    return download.main([str(flag) for flag in flags])


def fails(capsys, *flags):
    """Runs the command, which must end with status 2 and one or two lines; returns them."""
    capsys.readouterr()
    assert run(*flags) == 2
    text = capsys.readouterr().err
    assert text.startswith("[Error]") and len(text.splitlines()) <= 2 and "Traceback" not in text
    return text


# MNIST


@pytest.mark.parametrize("form", ["tfrecord", "hdf5"])
@pytest.mark.parametrize("below", [".", "mnist", "MNIST/raw"])
def test_mnist_from_a_folder(tmp_path, capsys, below, form):
    made = idx_set(tmp_path / "source" / below, ".gz")
    flags = ("--dataset", "mnist", "--source", tmp_path / "source", "--output_path", tmp_path / "o p", "--format", form)
    assert run(*flags) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "o p" / "MNIST"
    assert "12 pictures to train on, 6 to test on, 6 x 6 x 1, 3 classes" in out
    assert "train.py --data_path='" in out and str(folder) in out
    assert sorted(path.name for path in folder.iterdir()) == sorted(["classes.txt", *data.FILES[form]])
    same(made, data.load(tmp_path / "o p"))
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert run(*flags) == 0
    assert "holds MNIST already; nothing was done" in capsys.readouterr().out
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_the_source_may_be_the_target(tmp_path):
    made = idx_set(tmp_path / "MNIST")
    assert run("--dataset", "MNIST", "--source", tmp_path / "MNIST", "--output_path", tmp_path) == 0
    same(made, data.load(tmp_path))
    assert len(list((tmp_path / "MNIST").iterdir())) == 7


def test_bad_sources(tmp_path, capsys):
    idx_set(tmp_path / "source")
    flags = ("--dataset", "MNIST", "--output_path", tmp_path / "out", "--source")
    assert "no such folder" in fails(capsys, *flags, tmp_path / "none")
    assert "no file of SVHN" in fails(capsys, "--dataset", "SVHN", *flags[2:], tmp_path / "source")
    path = tmp_path / "source" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    assert str(path) in fails(capsys, *flags, tmp_path / "source")
    path.unlink()
    assert "train-images-idx3-ubyte" in fails(capsys, *flags, tmp_path / "source")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_half_a_set_is_left_alone(tmp_path, capsys):
    idx_set(tmp_path / "source")
    (tmp_path / "MNIST").mkdir()
    (tmp_path / "MNIST" / "test.tfrecord").write_bytes(b"mine")
    text = fails(capsys, "--dataset", "MNIST", "--source", tmp_path / "source", "--output_path", tmp_path)
    assert "test.tfrecord but not" in text and "nothing is overwritten" in text
    assert [path.name for path in (tmp_path / "MNIST").iterdir()] == ["test.tfrecord"]


def test_flags(capsys):
    for flags, word in (
        ([], "--dataset"),
        (["--dataset", "IMAGENET"], "IMAGENET"),
        (["--dataset", "MNIST", "--sorce", "x"], "--source"),
        (["--dataset", "MNIST", "--format", "csv"], "csv"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(*flags)
        assert caught.value.code == 2 and word in capsys.readouterr().err
    args = download.parse_args(["--datasets", "MNIST", "svhn"])
    assert args.dataset == ["MNIST", "SVHN"] and args.output_path == SCRIPT.parent / "datasets"


def test_from_another_working_directory(tmp_path):
    idx_set(tmp_path / "in put")
    path = tmp_path / "in put" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    command = [sys.executable, str(SCRIPT), "--dataset", "MNIST", "--source", "in put", "--output_path", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("[Error] in put/t10k-labels-idx1-ubyte: holds fewer bytes")


# SVHN


def mat_set(folder, **changes):
    from scipy.io import savemat

    made = toy((32, 32, 3), classes=10, train=20, test=10)
    folder.mkdir(parents=True, exist_ok=True)
    for split, images, labels in (
        ("train", made.train_images, made.train_labels),
        ("test", made.test_images, made.test_labels),
    ):
        content = {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]}
        savemat(folder / f"{split}_32x32.mat", {**content, **changes}, do_compression=True)
    return made


def test_svhn(tmp_path):
    """The digit 0 is stored as label 10."""
    made = mat_set(tmp_path / "source")
    assert run("--dataset", "SVHN", "--source", tmp_path / "source", "--output_path", tmp_path / "out") == 0
    read = data.load(tmp_path / "out")
    same(made, read)
    assert read.name == "SVHN" and read.class_names == [str(digit) for digit in range(10)]


def test_bad_svhn(tmp_path, capsys):
    flags = ("--dataset", "SVHN", "--source", tmp_path, "--output_path", tmp_path / "out")
    for changes, word in (
        ({"y": np.full((20, 1), 11, np.uint8)}, "does not hold|out of range"),
        ({"y": np.ones((3, 1), np.uint8)}, "does not hold"),
        ({"X": np.zeros((32, 32, 3, 20))}, "does not hold"),
        ({"X": np.zeros((32, 32), np.uint8)}, "does not hold"),
        ({"X": "text"}, "does not hold"),
    ):
        mat_set(tmp_path, **changes)
        text = fails(capsys, *flags)
        assert "train_32x32.mat" in text and any(part in text for part in word.split("|"))
    mat_set(tmp_path)
    path = tmp_path / "train_32x32.mat"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a mat file" * 20):
        path.write_bytes(content)
        assert "train_32x32.mat" in fails(capsys, *flags)
    path.write_bytes(whole)
    (tmp_path / "test_32x32.mat").unlink()
    assert "test_32x32.mat is missing" in fails(capsys, *flags)


# CIFAR-10


def batch(images, labels):
    """A batch as the published files hold it, pickled by this Python."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    names = [b"%d.png" % index for index in range(len(labels))]
    content = {
        b"batch_label": b"batch",
        b"labels": [int(label) for label in labels],
        b"data": rows,
        b"filenames": names,
    }
    return pickle.dumps(content, protocol=3)


def python2_batch(images, labels):
    """The same in the very opcodes of the published files, which Python 2 wrote (protocol 2, 8-bit strings)."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def number(value):
        return b"J" + int(value).to_bytes(4, "little", signed=True)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\x09U\x01b\x87Rq\x0a(K\x01"
        + number(rows.shape[0])
        + number(rows.shape[1])
        + b"\x86cnumpy\ndtype\nq\x0bU\x02u1K\x00K\x01\x87Rq\x0c"
        + b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + rows.size.to_bytes(4, "little")
        + rows.tobytes()
        + b"tb"
    )
    items = [text(b"labels"), b"](" + b"".join(number(label) for label in labels) + b"e", text(b"data"), array]
    return b"\x80\x02}q\x01(" + b"".join(items) + b"u."


def cifar_files(made=None, write=batch):
    made = made or toy((32, 32, 3), classes=10, train=40, test=10)
    files = {"test_batch": write(made.test_images, made.test_labels)}
    for number in range(4):
        part = slice(10 * number, 10 * number + 10)
        files[f"data_batch_{number + 1}"] = write(made.train_images[part], made.train_labels[part])
    return made, files


def write_archive(path, files, prefix="cifar-10-batches-py/"):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("write", [batch, python2_batch])
def test_cifar10(tmp_path, write):
    """The archive, and the batches that were unpacked from it."""
    made, files = cifar_files(write=write)
    (tmp_path / "archive").mkdir()
    write_archive(tmp_path / "archive" / "cifar-10-python.tar.gz", files)
    (tmp_path / "unpacked" / "cifar-10-batches-py").mkdir(parents=True)
    for name, content in files.items():
        (tmp_path / "unpacked" / "cifar-10-batches-py" / name).write_bytes(content)
    for source in ("archive", "unpacked"):
        assert (
            run("--dataset", "CIFAR10", "--source", tmp_path / source, "--output_path", tmp_path / f"{source} out") == 0
        )
        read = data.load(tmp_path / f"{source} out")
        same(made, read)
        assert read.class_names == published.CIFAR10_CLASSES


def test_cifar10_names(tmp_path):
    made, files = cifar_files()
    files["batches.meta"] = pickle.dumps({b"label_names": [b"name %d" % index for index in range(10)]}, 3)
    write_archive(tmp_path / "cifar-10-python.tar.gz", files)
    _, classes = published.read(tmp_path, "CIFAR10")
    assert classes == [f"name {index}" for index in range(10)]


def test_paths_in_the_archive_are_not_followed(tmp_path):
    made, files = cifar_files()
    (tmp_path / "source").mkdir()
    write_archive(tmp_path / "source" / "cifar-10-python.tar.gz", files, prefix="../../escaped/")
    before = sorted(tmp_path.rglob("*"))
    same(made, data.Data(*published.read(tmp_path / "source", "CIFAR10")[0][:4], [], ""))
    assert sorted(tmp_path.rglob("*")) == before


class Malicious:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_malicious_pickle_is_refused(tmp_path, capsys, protocol):
    _, files = cifar_files()
    trap = tmp_path / "trap"
    for function, args in (
        (os.mkdir, (str(trap),)),
        (eval, (f"__import__('os').mkdir({str(trap)!r})",)),
        (np.load, ("x",)),
    ):
        files["data_batch_2"] = pickle.dumps({b"data": Malicious(function, *args), b"labels": []}, protocol)
        write_archive(tmp_path / "cifar-10-python.tar.gz", files)
        text = fails(capsys, "--dataset", "CIFAR10", "--source", tmp_path, "--output_path", tmp_path / "out")
        assert "data_batch_2" in text and "refused" in text and "it asks for" in text
        assert not trap.exists() and not (tmp_path / "out").exists()


def test_bad_cifar10(tmp_path, capsys):
    made, good = cifar_files()
    flags = ("--dataset", "CIFAR10", "--source", tmp_path, "--output_path", tmp_path / "out")
    images, labels = made.train_images[:10], made.train_labels[:10]
    for content, word in (
        (good["data_batch_1"][:-50], "refused"),
        (b"", "refused"),
        (b"garbage", "refused"),
        (pickle.dumps([1, 2]), "refused"),
        (pickle.dumps({b"labels": [1]}), "fit each other"),
        (pickle.dumps({b"labels": [1], b"data": b"x" * 3072}), "fit each other"),
        (batch(images, labels[:9]), "fit each other"),
        (batch(images, [-5] * 10), "label -5"),
        (batch(images, [10] * 10), "out of range"),
        (batch(images[:, :16, :16], labels), "different sizes"),
        (pickle.dumps({b"labels": [1], b"data": np.zeros((1, 3071), np.uint8)}, 3), "fit each other"),
    ):
        write_archive(tmp_path / "cifar-10-python.tar.gz", {**good, "data_batch_1": content})
        assert word in fails(capsys, *flags), word
    archive = tmp_path / "cifar-10-python.tar.gz"
    write_archive(archive, good)
    whole = archive.read_bytes()
    wrong_sum = whole[:-8] + bytes(4) + whole[-4:]
    for content in (whole[: len(whole) // 2], whole[:-4], wrong_sum, b"", b"no archive"):
        archive.write_bytes(content)
        assert str(archive) in fails(capsys, *flags)
    write_archive(archive, {"test_batch": good["test_batch"]})
    assert "data_batch_1, ... and test_batch" in fails(capsys, *flags)
    write_archive(archive, {**good, "copy/data_batch_1": good["data_batch_1"]})
    assert "two of it" in fails(capsys, *flags)
    write_archive(archive, {**good, "batches.meta": pickle.dumps({b"label_names": 3})})
    assert "label_names" in fails(capsys, *flags)


# the network


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files`, whole or from a byte on, and may break off after `limit` bytes."""

    files: dict = {}
    limit = None
    ranges = True
    asked: list = []

    def do_GET(self):
        type(self).asked.append((self.path, self.headers.get("Range")))
        content = self.files.get(self.path.rsplit("/", 1)[-1])
        if content is None or self.path.startswith("/down/"):
            self.send_error(403)
            return
        start = int(self.headers["Range"][6:-1]) if self.ranges and self.headers.get("Range") else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : None if self.limit is None else start + self.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with a small MNIST, whose sizes and SHA-256 take the place of the published ones."""
    made = idx_set(tmp_path / "published", ".gz")
    handler = type("Handler", (Server,), {"asked": []})
    handler.made = made
    handler.files = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    known = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in handler.files.items()}
    known = {name: known[name] for name in download.FILES["MNIST"]}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=functools.partial(httpd.serve_forever, 0.05), daemon=True).start()
        handler.address = f"http://127.0.0.1:{httpd.server_port}/"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setitem(download.FILES, "MNIST", known)
        monkeypatch.setitem(download.ADDRESSES, "MNIST", (handler.address + "down/", handler.address + "mnist/"))
        yield handler
        httpd.shutdown()


def test_fetching(server, tmp_path, capsys):
    """The first address refuses, the second gives the files."""
    flags = ("--dataset", "MNIST", "--output_path", tmp_path / "out")
    assert run(*flags) == 0
    assert "1" in capsys.readouterr().out
    same(server.made, data.load(tmp_path / "out"))
    assert len(server.asked) == 8
    assert run(*flags) == 0 and len(server.asked) == 8
    assert run(*flags, "--format", "hdf5") == 0 and len(server.asked) == 8  # what was fetched is used again


def test_a_broken_download_goes_on(server, tmp_path, capsys):
    flags = ("--dataset", "MNIST", "--output_path", tmp_path / "out")
    name = "train-images-idx3-ubyte.gz"
    server.limit = 100
    text = fails(capsys, *flags)
    assert name in text and server.address in text and "broke off" in text
    assert (tmp_path / "out" / "MNIST" / "raw" / f"{name}.part").stat().st_size == 100
    server.limit = None
    assert run(*flags) == 0
    assert (f"/mnist/{name}", "bytes=100-") in server.asked
    same(server.made, data.load(tmp_path / "out"))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_bad_beginning_is_fetched_anew(server, tmp_path, ranges):
    server.ranges = ranges
    raw = tmp_path / "out" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    name = "train-images-idx3-ubyte.gz"
    (raw / f"{name}.part").write_bytes(b"x" * 50)
    size = len(server.files["t10k-labels-idx1-ubyte.gz"])
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(b"y" * size)  # complete, but not the published file
    assert run("--dataset", "MNIST", "--output_path", tmp_path / "out") == 0
    same(server.made, data.load(tmp_path / "out"))
    assert not list(raw.glob("*.part"))


def test_other_content_is_refused(server, tmp_path, capsys):
    name = "train-labels-idx1-ubyte.gz"
    server.files[name] = server.files[name][:-1] + b"z"
    text = fails(capsys, "--dataset", "MNIST", "--output_path", tmp_path / "out")
    assert name in text and "SHA-256" in text and "--source" in text
    server.files[name] += b"longer"
    assert "bytes where" in fails(capsys, "--dataset", "MNIST", "--output_path", tmp_path / "out")
    assert not (tmp_path / "out" / "MNIST" / "train.tfrecord").exists()


def test_no_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(download.ADDRESSES, "SVHN", ("http://127.0.0.1:9/housenumbers/",))
    text = fails(capsys, "--dataset", "SVHN", "--output_path", tmp_path)
    assert "http://127.0.0.1:9/housenumbers/" in text and "--source=FOLDER" in text and "refused" in text


def test_an_output_folder_that_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    idx_set(tmp_path / "source")
    assert "--output_path" in fails(capsys, "--dataset", "MNIST", "--output_path", tmp_path / "file")
    text = fails(capsys, "--dataset", "MNIST", "--output_path", tmp_path / "file", "--source", tmp_path / "source")
    assert "--output_path" in text


def test_the_published_files_are_those_of_the_sources():
    for name, files in download.FILES.items():
        assert download.ADDRESSES[name] and published.SOURCES[name]
        assert all(size > 0 and len(digest) == 64 and int(digest, 16) for size, digest in files.values())
    with pytest.raises(download.UserError):
        published.find_source(Path("/nonexistent"), "MNIST")
    refused(lambda: published.find_source(Path("/nonexistent"), "CIFAR10"), "no such folder")
