"""png.py: files that Pillow and libpng read back, and files with 16 bits from others, whole and broken."""

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
def test_what_is_written_is_what_libpng_reads(tmp_path, channels, dtype):
    pixels = noise(13, 7, channels, dtype=dtype)
    with png.png_writer(tmp_path / "a.png", *pixels.shape, 8 * pixels.itemsize, PROFILE) as write:
        for rows in (pixels[:1], pixels[1:6], pixels[6:]):
            write(rows)
    data = tf.io.read_file(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(tf.io.decode_png(data, dtype=dtype).numpy(), pixels)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.size == (7, 13) and image.info["icc_profile"] == PROFILE
    deep = png.read_16_bit(tmp_path / "a.png")
    assert (deep is None) == (dtype == np.uint8)
    if deep:
        assert deep[1] == PROFILE and deep[0].dtype == np.uint16
        np.testing.assert_array_equal(deep[0], pixels)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_broken_files(tmp_path):
    whole = tf.io.encode_png(noise(13, 7, 3, dtype="uint16")).numpy()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for broken, reason in (
        (whole[:26], "damaged PNG"),
        (whole[: len(whole) // 2], "damaged PNG"),
        (whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], "damaged PNG"),
        (whole[:8] + chunk(b"IHDR", struct.pack(">II", 2**20, 2**20) + whole[24:29]) + whole[33:], "more than"),
        (whole[:33] + chunk(b"eXIf", exif.tobytes()[6:]) + whole[33:], "turned by its Exif"),
    ):
        (tmp_path / "a.png").write_bytes(broken)
        with pytest.raises(UserError, match=reason):
            png.read_16_bit(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(whole[:24])
    assert png.read_16_bit(tmp_path / "a.png") is None and png.read_16_bit(tmp_path) is None
