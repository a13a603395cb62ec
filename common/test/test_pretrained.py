"""pretrained.py: files of weights, good ones and bad ones. (Pix2Pix's test_features.py has VGG19 by hand.)"""

import h5py
import numpy as np
import pytest

from common import pretrained
from common.cli import UserError
from common.testing import write_weights

ADVICE = "give another file"


def test_the_first_arrays_of_a_file_with_a_classifier_are_taken(tmp_path):
    path = write_weights(tmp_path / "w.h5", {"a": [(2, 2), (2,)], "top": [(2, 5)]}, dtype="f2")
    arrays = pretrained.read_weights(path, [(2, 2), (2,)], "vgg19", ADVICE)
    assert [array.shape for array in arrays] == [(2, 2), (2,)] and arrays[0].dtype == np.float32


def test_bad_files(tmp_path):
    def refused(reason, path, wanted=((2, 2), (2,))):
        with pytest.raises(UserError) as error:
            pretrained.read_weights(str(path), list(wanted), "vgg19", ADVICE)
        text = str(error.value)
        assert reason in text and str(path) in text and text.count("\n") <= 1
        assert text.endswith(ADVICE)

    good = {"a": [(2, 2), (2,)]}
    refused("there is no such file", tmp_path / "none.h5")
    refused("not the weights of vgg19", write_weights(tmp_path / "other.h5", {"a": [(2, 3), (3,)]}))
    refused("not the weights of vgg19", write_weights(tmp_path / "short.h5", {"a": [(2, 2)]}))
    refused("not the weights of vgg19", write_weights(tmp_path / "integers.h5", good, dtype="i4"))

    def not_a_number(layer, index, dataset):
        dataset[0] = np.nan

    refused("not finite", write_weights(tmp_path / "nan.h5", good, not_a_number))
    write_weights(tmp_path / "whole.h5", good)
    whole = (tmp_path / "whole.h5").read_bytes()
    for number, content in enumerate((whole[: len(whole) // 2], b"", b"PK\x03\x04 no HDF5 at all" * 50)):
        (tmp_path / f"cut{number}.h5").write_bytes(content)
        refused("damaged, or not in Keras' HDF5 layout", tmp_path / f"cut{number}.h5")
    refused("there is no such file", tmp_path)  # but a folder
    with h5py.File(str(tmp_path / "flat.h5"), "w") as file:
        file["weights"] = np.zeros(3)
    refused("damaged, or not in Keras' HDF5 layout", tmp_path / "flat.h5")
    with h5py.File(str(tmp_path / "group.h5"), "w") as file:  # where an array should be stands a folder
        file.attrs["layer_names"] = [b"a"]
        file.create_group("a/w")
        file["a"].attrs["weight_names"] = [b"w"]
    refused("damaged, or not in Keras' HDF5 layout", tmp_path / "group.h5", wanted=[()])
