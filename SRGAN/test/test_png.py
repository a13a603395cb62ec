"""png.py: every kind of PNG written and read, and files with 16 bits from others, whole and broken."""

import struct
import zlib

import numpy as np
import png
import pytest
import tensorflow as tf
from conftest import noise
from PIL import Image, ImageCms

from common.cli import UserError
from common.images import ORIENTATION

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_is_written_is_read(tmp_path, channels, dtype):
    """By libpng, the profile by Pillow, and by ourselves where there are 16 bits."""
    path, pixels = tmp_path / "a.png", noise(13, 7, channels, dtype=dtype)
    png.write(path, pixels, PROFILE)
    np.testing.assert_array_equal(tf.io.decode_png(path.read_bytes(), dtype=dtype).numpy(), pixels)
    with Image.open(path) as image:
        image.load()
        assert image.size == (7, 13) and image.info["icc_profile"] == PROFILE
    deep = png.read_16_bit(path)
    assert (deep is None) == (dtype == np.uint8)
    if deep:
        assert deep[1] == PROFILE and deep[0].dtype == np.uint16
        np.testing.assert_array_equal(deep[0], pixels)
    png.write(path, pixels)
    assert "icc_profile" not in Image.open(path).info


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_broken_files(tmp_path):
    whole = tf.io.encode_png(noise(13, 7, 3, dtype="uint16")).numpy()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for broken, reason in (
        (whole[: len(whole) // 2], "no PNG that can be decoded"),
        (whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], "no PNG that can be decoded"),
        (whole[:8] + chunk(b"IHDR", struct.pack(">II", 2**20, 2**20) + whole[24:29]) + whole[33:], "exceeds limit"),
        (whole[:33] + chunk(b"eXIf", exif.tobytes()[6:]) + whole[33:], "turned by its Exif"),
    ):
        (tmp_path / "a.png").write_bytes(broken)
        with pytest.raises(UserError, match=reason):
            png.read_16_bit(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(whole[:24])
    assert png.read_16_bit(tmp_path / "a.png") is None and png.read_16_bit(tmp_path) is None
