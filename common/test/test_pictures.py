"""Picture files of every mode, and hostile ones; and pictures as arrays. Nothing here needs TensorFlow."""

import numpy as np
import pytest
from PIL import Image

from common import pictures
from common.cli import UserError


def refused(path, *words):
    with pytest.raises(UserError) as caught:
        pictures.decode(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def stroke(mode):
    """A black pixel at x=1, y=2 on nothing."""
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((1, 2), (0, 0, 0, 255))
    return (picture.quantize(4) if mode == "P" else picture).convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_may_be_transparent_is_rgba(tmp_path, mode):
    stroke(mode).save(tmp_path / "stroke.png")
    picture = pictures.decode(tmp_path / "stroke.png")
    alpha = np.asarray(picture)[..., 3]
    assert picture.mode == "RGBA" and alpha[2, 1] == 255 and alpha.sum() == 255
    white = pictures.on_white(picture)
    assert white.mode == "RGB" and np.asarray(white).sum() == 15 * 3 * 255 and white.getpixel((1, 2)) == (0, 0, 0)


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
    picture = Image.new(mode, (3, 2), colour)
    if mode == "P":
        picture.putpalette([10, 20, 30] + [0] * 765)
    picture.save(tmp_path / f"picture.{suffix}")
    decoded = pictures.decode(tmp_path / f"picture.{suffix}")
    assert (decoded.mode, decoded.getpixel((2, 1))) == expected and decoded.size == (3, 2)


def test_a_colour_that_stands_for_nothing(tmp_path):
    Image.new("RGB", (2, 2), (9, 9, 9)).save(tmp_path / "key.png", transparency=(9, 9, 9))
    assert pictures.decode(tmp_path / "key.png").getpixel((0, 0)) == (9, 9, 9, 0)


def test_a_camera_held_sideways(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn it to the right"
    Image.new("RGB", (8, 4)).save(tmp_path / "photo.jpg", exif=exif)
    assert pictures.decode(tmp_path / "photo.jpg").size == (4, 8)


def test_hostile_files(tmp_path, monkeypatch):
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (40, 40), (200, 10, 90)).save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"<html>not found</html>", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        path.write_bytes(content)
        refused(path, "no picture that can be decoded", "mend or remove it")
    refused(tmp_path, "no picture that can be decoded")
    refused(tmp_path / "nowhere.png", "no picture that can be decoded")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    refused(tmp_path / "deep.png", "more than 8 bits a channel")
    path.write_bytes(whole)
    for limit in (1000, 700):  # Pillow warns above its limit and fails above twice the limit: both are refused
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        refused(path, f"more than {limit} pixels")


def test_the_pictures_of_a_folder(tmp_path):
    for name in ("b.PNG", "a.jpeg", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in pictures.picture_files(tmp_path)] == ["a.jpeg", "b.PNG"]
    named = pictures.input_files([str(tmp_path / "notes.txt"), str(tmp_path)])  # what is named is read whatever it is
    assert [path.name for path in named] == ["notes.txt", "a.jpeg", "b.PNG"]
    (tmp_path / "empty").mkdir()
    for name, reason in {"nowhere": "there is no such file", "empty": "the folder holds no picture"}.items():
        with pytest.raises(UserError, match=f"--input .*{name}: {reason}"):
            pictures.input_files([str(tmp_path / name)])


def test_ranges_are_undone():
    images = np.arange(256, dtype=np.uint8)
    for low, high in ((0.0, 1.0), (-1.0, 1.0)):
        values = pictures.scale(images, (low, high))
        assert values.dtype == np.float32 and (values[0], values[-1]) == (low, high)
        assert (pictures.to_uint8(values, (low, high)) == images).all()
    assert pictures.to_uint8(np.array([-9.0, 9.0]), (0.0, 1.0)).tolist() == [0, 255]


def test_grid(tmp_path):
    images = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    grid = np.asarray(Image.open(pictures.save_grid(images, str(tmp_path / "new" / "grid.png"))))
    assert grid[::2, ::3, 0].tolist() == [[10, 20, 30], [40, 50, 0]] and grid.shape == (4, 9, 3)
