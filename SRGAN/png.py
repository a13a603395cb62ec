"""PNG files of every depth; Pillow alone reads 16 bits a channel with 8 and writes none."""

import os
import struct
import zlib
from pathlib import Path
from typing import Optional

import numpy as np
from PIL import Image

from common.cli import UserError
from common.images import ORIENTATION

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = 33  # bytes, after which a colour profile may come
LEVEL = 3  # of zlib: half the time of its default, files 4 % larger


def read_16_bit(path: Path) -> Optional[tuple[np.ndarray, Optional[bytes]]]:
    """A PNG with 16 bits a channel as uint16 [height, width, 1 to 4], and its colour profile, if it has one.

    Returns: None where the file does not say that it is one; who reads it then tells what it is.
    Raises:
        UserError: it is too large, turned by Exif or does not decode.
    """
    if not path.is_file() or not os.access(path, os.R_OK):  # a pipe would never end
        return None
    with open(path, "rb") as file:
        head = file.read(25)
    if head[:8] != SIGNATURE or head[24:] != b"\x10":
        return None
    import tensorflow as tf  # whose libpng is the one decoder of such files at hand

    try:
        with Image.open(path, formats=["PNG"]) as image:
            turned, profile = image.getexif().get(ORIENTATION, 1) != 1, image.info.get("icc_profile")
        pixels = tf.io.decode_png(path.read_bytes(), dtype=tf.uint16).numpy()
    except Exception as error:  # decoders raise nearly every kind on a broken file
        raise UserError(f"{path}: is no PNG that can be decoded ({str(error)[:120]}); mend or remove it") from None
    if turned:
        raise UserError(f"{path}: is turned by its Exif; save it upright, with 16 bits only that is read")
    return pixels, profile


def write(path: Path, pixels: np.ndarray, profile: Optional[bytes] = None) -> None:
    """Writes uint8 or uint16 [height, width, 1 to 4], with a colour profile if there is one."""
    if pixels.dtype == np.uint8:
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image.save(path, "PNG", compress_level=LEVEL, icc_profile=profile)
        return
    import tensorflow as tf

    content = tf.io.encode_png(pixels).numpy()
    chunk = b""
    if profile:
        data = b"iCCPICC profile\0\0" + zlib.compress(profile)
        chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    path.write_bytes(content[:HEADER] + chunk + content[HEADER:])
