"""PNG files with 16 bits a channel, which Pillow reads with 8, and PNG files written row by row."""

import io
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
AVERAGE = 3  # the filter: a byte less the mean of those to its left and above it; nearly the best, and fast in NumPy
LEVEL = 3  # of zlib: half the time of its default, files 4 % larger
METADATA = 2**26  # bytes that a file may have beside its pixels


def is_16_bit(path: Path) -> bool:
    """Whether a file says that it is a PNG with 16 bits a channel."""
    try:
        with open(path, "rb") as file:
            head = file.read(25)
    except OSError:
        return False  # told by who reads it
    return head[:8] == SIGNATURE and head[12:16] == b"IHDR" and head[24:] == b"\x10"


def read_16_bit(path: Path) -> tuple[np.ndarray, Optional[bytes]]:
    """Such a file as uint16 [height, width, 1 to 4] and its colour profile, if it has one.

    Raises:
        UserError: it is too large, turned by Exif or does not decode.
    """
    import tensorflow as tf  # whose libpng is the one decoder of such files at hand

    try:
        with open(path, "rb") as file:
            width, height = struct.unpack(">II", file.read(24)[16:])
            if width * height > Image.MAX_IMAGE_PIXELS:
                raise UserError(f"{path}: more than {Image.MAX_IMAGE_PIXELS} pixels; make it smaller or remove it")
            file.seek(0)
            data = file.read(16 * width * height + METADATA)  # twice what it has unpacked
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.getexif().get(ORIENTATION, 1) != 1:
                raise UserError(f"{path}: is turned by its Exif; save it upright, with 16 bits only that is read")
            profile = image.info.get("icc_profile")
        return tf.io.decode_png(data, dtype=tf.uint16).numpy(), profile
    except UserError:
        raise
    except Exception as error:  # decoders raise nearly every kind on a broken file
        raise UserError(f"{path}: is a damaged PNG ({type(error).__name__}); mend or remove it") from error


@contextmanager
def png_writer(
    path: Path, height: int, width: int, channels: int, bits: int, profile: Optional[bytes] = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes a PNG file from the top down: gives a function that takes the next rows, uint8 or uint16 [n, width,
    channels]. No more than these rows is held in memory.

    Args:
        profile: an ICC colour profile to put in.
    """
    packer, above = zlib.compressobj(LEVEL), np.zeros(width * channels * bits // 8, np.uint8)

    def put(name: bytes, data: bytes) -> None:
        file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))

    def write(rows: np.ndarray) -> None:
        nonlocal above
        lines = np.ascontiguousarray(rows.astype(f">u{bits // 8}")).view(np.uint8).reshape(len(rows), -1)
        pixel = lines.shape[1] // width
        left = np.pad(lines[:, :-pixel], ((0, 0), (pixel, 0)))
        over = np.concatenate([above[None], lines[:-1]])
        above = lines[-1].copy()
        mean = (left & over) + ((left ^ over) >> 1)  # without a ninth bit
        packed = packer.compress(np.pad(lines - mean, ((0, 0), (1, 0)), constant_values=AVERAGE).tobytes())
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
