"""Image files of every mode, and hostile ones; images as arrays and on a page. Nothing here needs TensorFlow."""

import base64
import io
import os
import re
import resource
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from common import images
from common.cli import UserError


def stroke(mode):
    """A black pixel at x=1, y=2 on nothing."""
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 2), (0, 0, 0, 255))
    return (image.quantize(4) if mode == "P" else image).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_may_be_transparent_is_rgba_and_rgb_on_white(tmp_path, mode):
    stroke(mode).save(tmp_path / "stroke.png")
    image = images.decode(tmp_path / "stroke.png")
    alpha = np.asarray(image)[..., 3]
    assert image.mode == "RGBA" and alpha[2, 1] == 255 and alpha.sum() == 255
    white = images.read_rgb(tmp_path / "stroke.png")
    assert white.shape == (4, 4, 3) and white.sum() == 15 * 3 * 255 and white[2, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "mode, suffix, colour, expected",
    [
        ("1", "png", 1, ("L", 255)),
        ("L", "pgm", 7, ("L", 7)),
        ("P", "gif", 0, ("RGB", (10, 20, 30))),
        ("CMYK", "tif", (0, 255, 255, 0), ("RGB", (255, 0, 0))),
        ("RGB", "bmp", (1, 2, 3), ("RGB", (1, 2, 3))),
        ("RGB", "webp", (255, 255, 255), ("RGB", (255, 255, 255))),
    ],
)
def test_all_else_is_grey_or_rgb(tmp_path, mode, suffix, colour, expected):
    image = Image.new(mode, (3, 2), colour)
    if mode == "P":
        image.putpalette([10, 20, 30] + [0] * 765)
    image.save(tmp_path / f"image.{suffix}")
    decoded = images.decode(tmp_path / f"image.{suffix}")
    assert (decoded.mode, decoded.getpixel((2, 1))) == expected and decoded.size == (3, 2)
    assert images.size(tmp_path / f"image.{suffix}") == (3, 2)


def test_a_colour_that_stands_for_nothing_and_a_camera_held_sideways(tmp_path):
    Image.new("RGB", (2, 2), (9, 9, 9)).save(tmp_path / "key.png", transparency=(9, 9, 9))
    assert images.decode(tmp_path / "key.png").getpixel((0, 0)) == (9, 9, 9, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn it to the right"
    Image.new("RGB", (8, 4)).save(tmp_path / "photo.jpg", exif=exif)
    assert images.decode(tmp_path / "photo.jpg").size == (4, 8)


def png(width, height, depth=8, colour=0):
    """A PNG's header that says so, and one row's data."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", sizes + bytes([depth, colour, 0, 0, 0])) + chunk(b"IDAT", b"x")


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "is no image that can be decoded"),
        (b"<html>not found</html>", "is no image that can be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is no image that can be decoded"),  # would start Ghostscript
        (png(89_000_000, 1), "a side of more than 65536; make it smaller"),
        (png(60_000, 60_000), "more than 89478485 pixels"),
        (png(10, 10), "is no image that can be decoded"),
        (png(4, 4, depth=16), "has more than 8 bits a channel; save it with 8"),
        (png(4, 4, depth=16, colour=2), "has more than 8 bits a channel; save it with 8"),
        (b"P6 1 1 65535 abcdef", "has more than 8 bits a channel; save it with 8"),
        ("pipe", "there is no such file"),
        ("link", "there is no such file"),
        ("folder", "there is no such file"),
    ],
)
def test_a_hostile_file_is_one_line(tmp_path, content, reason):
    path = tmp_path / "image.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        {"pipe": os.mkfifo, "folder": os.mkdir, "link": lambda path: path.symlink_to("nowhere")}[content](path)
    with pytest.raises(UserError) as caught:
        images.decode(path)
    assert str(caught.value).startswith(f"{path}: ") and reason in str(caught.value) and "\n" not in str(caught.value)
    if not isinstance(content, bytes):
        with pytest.raises(UserError, match=reason):
            images.size(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_spoilt_files_decode_or_are_refused(tmp_path, kind):
    """50 files a format, each whole but for a few random bytes or a cut: an image or one line, in little memory."""
    rng, whole = np.random.RandomState(zlib.crc32(kind.encode())), io.BytesIO()
    Image.fromarray(rng.randint(0, 256, (24, 20, 3)).astype(np.uint8)).save(whole, kind)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    refused = 0
    for number in range(50):
        content = bytearray(whole.getvalue())
        for place in rng.randint(0, min(len(content), 64 if number % 2 else 1 << 30), 1 + number % 5):
            content[place] = rng.randint(256)
        path = tmp_path / "image"
        path.write_bytes(content[: rng.randint(len(content))] if number % 5 == 0 else content)
        try:
            assert images.read_rgb(path).dtype == np.uint8
        except UserError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert refused and time.monotonic() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KiB


def test_an_error_of_the_callers_own_is_left_as_it_is(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "image.png")
    with pytest.raises(ZeroDivisionError), images.opened(tmp_path / "image.png"):
        raise ZeroDivisionError


def test_the_images_of_a_folder(tmp_path):
    for name in ("b.PNG", "a.jpeg", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in images.find_images(tmp_path)] == ["a.jpeg", "b.PNG"]
    named = images.input_files([str(tmp_path / "notes.txt"), str(tmp_path)])  # what is named is read whatever it is
    assert [path.name for path in named] == ["notes.txt", "a.jpeg", "b.PNG"]
    (tmp_path / "empty").mkdir()
    for name, reason in {"nowhere": "there is no such file", "empty": "the folder holds no image"}.items():
        with pytest.raises(UserError, match=f"{name}: {reason}"):
            images.input_files([str(tmp_path / name)])


def test_ranges_are_undone():
    every = np.arange(256, dtype=np.uint8)
    for low, high in ((0.0, 1.0), (-1.0, 1.0)):
        values = images.to_float(every, (low, high))
        assert values.dtype == np.float32 and (values[0], values[-1]) == (low, high)
        assert (images.to_uint8(values, (low, high)) == every).all()
    assert images.to_uint8(np.array([-9.0, 9.0]), (0.0, 1.0)).tolist() == [0, 255]


def test_a_sheet_of_examples(tmp_path):
    sheet = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    grid = np.asarray(Image.open(images.save_grid(sheet, str(tmp_path / "new" / "grid.png"))))
    assert grid[::2, ::3, 0].tolist() == [[10, 20, 30], [40, 50, 0]] and grid.shape == (4, 9, 3)


METRICS = {"ours": {"l1": 0.125, "psnr": 12.5}, "mean <colour>": {"l1": 0.25}}


def test_a_page_shows_images_and_metrics_and_refers_to_nothing_outside(tmp_path):
    hostile = "<script>alert(1)</script><img src=http://example.com/x.png onerror='y'>\"&\udcff.png"
    columns = [("input", np.full((16, 24, 3), (255, 0, 0), np.uint8)), ("mask", np.full((16, 24, 4), 9, np.uint8))]
    rows = [("a.jpg", columns, {"l1": 0.5}), (hostile, [("grey", np.full((16, 24, 1), 100, np.uint8))], {})]
    assert images.write_page(tmp_path / "page.html", hostile, METRICS, rows) is None
    page = (tmp_path / "page.html").read_text()
    found = re.findall(r'src="data:image/(jpeg|png);base64,([^"]+)"', page)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for _, data in found]
    assert [kind for kind, _ in found] == ["jpeg", "png", "jpeg"] and shown[2].shape == (16, 24)
    assert np.abs(shown[0] - np.array([255.0, 0, 0])).max() < 4 and (shown[1] == 9).all()
    assert "a.jpg &middot; l1 0.5<" in page and "<td>ours</td><td>0.125</td><td>12.5</td>" in page
    assert "<td>mean &lt;colour&gt;</td><td>0.25</td><td></td>" in page
    assert "<script" not in page and "<img src=http" not in page and page.count("&lt;script&gt;") == 3


def test_a_full_page_says_so_and_reads_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PAGE", 3000)
    read = []

    def rows():
        for number in range(50):
            read.append(number)
            yield str(number), [("image", np.zeros((16, 24, 3), np.uint8))], {}

    images.write_page(tmp_path / "page.html", "t", METRICS, rows())
    page = (tmp_path / "page.html").read_text()
    assert 0 < page.count("<img") == len(read) - 1 < 10 and "More would make this page too large" in page
