"""PNG files with 16 bits a channel, which Pillow reads with 8, and PNG files written row by row."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Optional

import numpy as np
from PIL import Image

from common.cli import UserError
from common.images import ORIENTATION

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels: grey, grey with alpha, RGB, RGB with alpha
SUB = 1  # the filter: a byte less the one to its left
LEVEL = 3  # of zlib: half the time of its default, files 4 % larger
METADATA = 2**26  # bytes that a file may have beside its pixels


def read_16_bit(path: Path) -> Optional[tuple[np.ndarray, Optional[bytes]]]:
    """A PNG with 16 bits a channel as uint16 [height, width, 1 to 4], and its colour profile, if it has one.

    Returns: None where the file does not say that it is one; who reads it then tells what it is.
    Raises:
        UserError: it is too large, turned by Exif or does not decode.
    """
    if not os.access(path, os.R_OK) or not path.is_file():  # a pipe would never end
        return None
    with open(path, "rb") as file:
        head = file.read(25)
        if head[:8] != SIGNATURE or head[12:16] != b"IHDR" or head[24:] != b"\x10":
            return None
        width, height = struct.unpack(">II", head[16:24])
        if width * height > Image.MAX_IMAGE_PIXELS:
            raise UserError(f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller or remove it")
        data = head + file.read(16 * width * height + METADATA)
    import tensorflow as tf  # whose libpng is the one decoder of such files at hand

    try:
        with Image.open(path, formats=["PNG"]) as image:
            turned, profile = image.getexif().get(ORIENTATION, 1) != 1, image.info.get("icc_profile")
        pixels = tf.io.decode_png(data, dtype=tf.uint16).numpy()
    except Exception as error:  # decoders raise nearly every kind on a broken file
        raise UserError(f"{path}: is a damaged PNG ({type(error).__name__}); mend or remove it") from error
    if turned:
        raise UserError(f"{path}: is turned by its Exif; save it upright, with 16 bits only that is read")
    return pixels, profile


@contextmanager
def png_writer(
    path: Path, height: int, width: int, channels: int, bits: int, profile: Optional[bytes] = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes a PNG file from the top down: gives a function that takes the next rows, uint8 or uint16 [n, width,
    channels]. No more than these rows is held in memory.

    Args:
        profile: an ICC colour profile to put in.
    """
    packer, pixel = zlib.compressobj(LEVEL), channels * bits // 8  # bytes

    def put(name: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))

    def write(rows: np.ndarray) -> None:
        lines = np.ascontiguousarray(rows.astype(f">u{bits // 8}")).view(np.uint8).reshape(len(rows), -1)
        left = np.pad(lines[:, :-pixel], ((0, 0), (pixel, 0)))
        packed = packer.compress(np.pad(lines - left, ((0, 0), (1, 0)), constant_values=SUB).tobytes())
        if packed:
            put(b"IDAT", packed)

    with open(path, "wb") as file:
        file.write(SIGNATURE)
        put(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, COLOUR_TYPES[channels], 0, 0, 0))
        if profile:
            put(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
        yield write
        put(b"IDAT", packer.flush())
        put(b"IEND", b"")
