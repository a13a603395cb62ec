"""VGG19's weights from a file in Keras' layout: a good one, and strangers'."""

import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf

from common import vgg19
from common.cli import UserError

BLOCKS = [[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4]


def write(path, change=lambda name, array: array, more=()):
    """A file as Keras writes it; `change` may give another array, or what h5py writes instead."""
    rng, channels = np.random.RandomState(0), 3
    layers = []
    for block, sizes in enumerate(BLOCKS, 1):
        for number, size in enumerate(sizes, 1):
            kernel = rng.uniform(-0.1, 0.1, (3, 3, channels, size)) if block == 1 else np.zeros((3, 3, channels, size))
            layers.append((f"block{block}_conv{number}", {"kernel:0": kernel, "bias:0": np.full(size, 0.5)}))
            channels = size
    with h5py.File(str(path), "w") as file:
        layers += [(name, {"kernel:0": np.zeros((2, 2)), "bias:0": np.zeros(2)}) for name in more]
        file.attrs["layer_names"] = [name.encode() for name, _ in layers]
        for name, arrays in layers:
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}".encode() for key in arrays]
            for key, array in arrays.items():
                group[f"{name}/{key}"] = change(name, array.astype(np.float32))
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write(tmp_path_factory.mktemp("vgg19") / "good.h5")


def test_layers_give_what_the_files_convolutions_do(good):
    model = vgg19.build_vgg19(str(good), ["block1_conv1", "block5_conv4"])
    x = np.random.RandomState(1).uniform(-100, 100, (2, 32, 20, 3)).astype(np.float32)
    first, last = model(x)
    with h5py.File(str(good), "r") as file:
        kernel = file["block1_conv1/block1_conv1/kernel:0"][()]
    np.testing.assert_allclose(first, tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + 0.5), rtol=1e-4, atol=1e-3)
    assert last.shape == (2, 2, 1, 512) and last.dtype == tf.float32 and (last.numpy() == 0.5).all()
    assert model.trainable_variables == []
    if not tf.__version__.startswith("2.6"):  # which has no bfloat16 on a CPU
        tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
        fast = vgg19.build_vgg19(str(good), ["block1_conv1"], exact=False)(x)
        tf.keras.mixed_precision.set_global_policy("float32")
        assert (
            fast.dtype == tf.bfloat16 and np.abs(tf.cast(fast, tf.float32) - first).max() < 0.02 * np.abs(first).max()
        )


def test_images_become_what_it_was_trained_on():
    image = tf.constant([[[[255, 0, 10]]]], tf.uint8)
    np.testing.assert_allclose(vgg19.vgg19_input(image)[0, 0, 0], [10 - 103.939, -116.779, 255 - 123.68], rtol=1e-6)


def test_where_it_is_looked_for(good, tmp_path, capsys):
    layers = ["block1_conv1"]
    assert vgg19.find_vgg19(None, [str(tmp_path / "none.h5"), str(good)], layers, "no loss on features") is not None
    assert capsys.readouterr().out == ""
    assert vgg19.find_vgg19("none", [], layers, "no loss on features") is None
    assert capsys.readouterr().out == "[Info] --vgg19_weights none: no loss on features\n"
    assert vgg19.find_vgg19("random", [], layers, "").output.shape[-1] == 64
    assert "an untrained VGG19's features are compared" in capsys.readouterr().out
    with pytest.raises(UserError) as error:
        vgg19.find_vgg19(None, ["a.h5", "b.h5"], layers, "no loss on features", "; or more data")
    first, second = str(error.value).splitlines()
    assert first.startswith("no weights of VGG19 in a.h5 or b.h5: put the file there, or name it by --vgg19_weights")
    assert "--vgg19_weights=random" in second and second.endswith("none (no loss on features); or more data")


def external_link(path):
    with h5py.File(str(path), "r+") as file:
        del file["block1_conv1/block1_conv1/kernel:0"]
        file["block1_conv1/block1_conv1/kernel:0"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(path):
    with h5py.File(str(path), "r+") as file:
        file["loop"] = h5py.SoftLink("/")


def virtual(path):
    layout = h5py.VirtualLayout((64,), np.float32)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (64,))
    with h5py.File(str(path), "r+") as file:
        del file["block1_conv1/block1_conv1/bias:0"]
        file["block1_conv1/block1_conv1"].create_virtual_dataset("bias:0", layout)


def external_storage(path):
    with h5py.File(str(path), "r+") as file:
        del file["block1_conv1/block1_conv1/bias:0"]
        file["block1_conv1/block1_conv1"].create_dataset("bias:0", (64,), "f4", external=[("/etc/passwd", 0, 256)])


def not_finite(path):
    with h5py.File(str(path), "r+") as file:
        file["block3_conv1/block3_conv1/bias:0"][3] = np.nan


def other_shape(path):
    with h5py.File(str(path), "r+") as file:
        del file["block1_conv1/block1_conv1/bias:0"]
        file["block1_conv1/block1_conv1/bias:0"] = np.zeros(63, np.float32)


def flat(path):
    with h5py.File(str(path), "w") as file:
        file["weights"] = np.zeros(3)


def cut(path):
    with open(path, "r+b") as file:
        file.truncate(1_000_000)


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (external_link, "kernel:0 lies outside the file, which is refused"),
        (soft_link, "loop lies outside the file, which is refused"),
        (virtual, "the data of bias:0 lie outside the file, which is refused"),
        (external_storage, "the data of bias:0 lie outside the file, which is refused"),
        (not_finite, "holds numbers that are not finite"),
        (other_shape, "not VGG19's weights"),
        (flat, "not VGG19's weights"),
        (cut, "no HDF5 file that can be read"),
        (lambda path: path.write_bytes(b"PK\x03\x04 no HDF5 at all" * 50), "no HDF5 file that can be read"),
        (lambda path: path.unlink(), "there is no such file"),
    ],
)
def test_a_strangers_file_is_one_line(good, tmp_path, spoil, reason):
    path = tmp_path / "w.h5"
    shutil.copy(good, path)
    spoil(path)
    with pytest.raises(UserError) as error:
        vgg19.build_vgg19(str(path))
    text = str(error.value)
    assert text.startswith(f"--vgg19_weights {path}: ") and reason in text and "\n" not in text
