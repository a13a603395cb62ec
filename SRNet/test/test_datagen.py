"""datagen.py: what is found, the same whatever the processes, and how mistakes are told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import data
import datagen
import drawing
import fonts
import numpy as np
import pytest
from conftest import call
from PIL import Image
from scipy.ndimage import binary_dilation
from skimage.color import rgb2lab

WORDS = ["apple", "bridge", "castle", "dolphin", "engine", "forest", "garden", "harbour", "island", "jungle", "kettle"]
EFFECTS = ("capitalised", "upper", "shadow", "border", "elastic", "curved", "plain", "degraded")
PLAIN = replace(drawing.RECIPE, **dict.fromkeys(EFFECTS, 0))


@pytest.fixture(scope="module")
def at_hand(tmp_path_factory):
    """Flags for two fonts, eleven words and two small photographs; `at_hand[0]` is their folder."""
    folder = tmp_path_factory.mktemp("at_hand")
    for part in ("fonts", "photos"):
        (folder / part).mkdir()
    for path in fonts.font_files():
        if path.name in ("DejaVuSans-Bold.ttf", "cmr10.ttf"):
            shutil.copy(path, folder / "fonts")
    (folder / "words.txt").write_bytes("\ufeff\r\n".encode() + "\n".join([*WORDS, " ", WORDS[0]]).encode())
    rng = np.random.default_rng(0)
    for number in range(2):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3)).astype(np.uint8))
        coarse.resize((240, 160), Image.BICUBIC).save(folder / "photos" / f"{number}.jpg")
    return [folder, f"--fonts={folder / 'fonts'}", f"--words={folder / 'words.txt'}", f"--backgrounds={folder}/photos"]


def gather(at_hand, *flags):
    return datagen.gather(datagen.parse_args(["--output_path=nowhere", "--number=1", *at_hand[1:], *flags]))


def sources(at_hand, *flags, **recipe):
    """What the flags give for the one folder of a data set without --val, with parts of the recipe changed."""
    found = gather(at_hand, *flags)[""]
    return replace(found, recipe=replace(found.recipe, **recipe))


def draw(sources, index):
    return drawing.draw_sample(sources, index)[0]


def write(capsys, folder, at_hand, *flags):
    return call(capsys, datagen.main, f"--output_path={folder}", *at_hand[1:], "--processes=1", *flags)


def test_padding_and_fit(at_hand):
    """Without padding one of the two words reaches each edge, and with --fit both reach the sides; with some, the
    samples are larger by as much at the most."""
    tight, loose, fit = (sources(at_hand, *flags) for flags in (
        ["--padding=0,0"], ["--padding=6,9"], ["--padding=0,0", "--fit", "--plain=0", "--degraded=0"]
    ))  # fmt: skip
    for index in range(6):
        sample, larger, fitted = (draw(found, index) for found in (tight, loose, fit))
        words = (sample["mask_t"] > 0) | (sample["i_s"] != sample["t_b"]).any(axis=2)
        assert words[[0, -1]].any(axis=1).all() and words[:, [0, -1]].any(axis=0).all()
        rows, columns = np.subtract(larger["mask_t"].shape, sample["mask_t"].shape)
        assert 0 <= rows <= 12 and 0 <= columns <= 18
        for word in (fitted["mask_t"] > 0, (fitted["i_s"] != fitted["t_b"]).any(axis=2)):
            assert word[:, [0, -1]].any(axis=0).all()


def test_what_the_seven_images_show(at_hand):
    found = replace(sources(at_hand), recipe=PLAIN)
    for index in range(6):
        sample = draw(found, index)
        assert tuple(sample) == ("i_t", "i_s", "t_sk", "t_t", "t_b", "t_f", "mask_t")
        assert len({(image.shape[:2], image.dtype) for image in sample.values()}) == 1
        i_s, t_sk, t_t, t_b, t_f, mask = (sample[name].astype(int) for name in list(sample)[1:])
        letters, away = mask == 255, ~binary_dilation(mask > 0, iterations=3)
        assert (t_t[mask == 0] == 127).all()
        assert np.ptp(t_t[letters], axis=0).max() <= 1  # one colour
        # Blending changes the background around the letters a little, never much.
        assert np.abs(t_f - t_b)[away].mean() < 12 and np.abs(t_f - t_b)[letters].max(axis=-1).mean() > 30
        assert np.abs(i_s - t_b).max() > 30 and (i_s != t_f).any()
        assert (t_sk[~binary_dilation(mask > 100, np.ones((5, 5)))] == 0).all()
        assert 0.1 < (t_sk == 255).sum() / (mask > 127).sum() < 3  # hair lines are widened


@pytest.mark.parametrize("effect", ["underline", "bold", "oblique", "curved", "elastic", "border", "shadow"])
def test_every_effect_shows_in_source_and_target_alike(at_hand, effect):
    """The same word in the same style on the same ground is the same image; i_t is the word in the standard font."""
    off = replace(PLAIN, underline=0, bold=0, oblique=0)
    found = replace(sources(at_hand), words=["garden"])
    without, sample = (draw(replace(found, recipe=r), 5) for r in (off, replace(off, **{effect: 1.0})))
    standard = fonts.standard_image("garden", fonts.standard_font("A"), sample["t_b"].shape[:2])
    assert (sample["i_s"] == sample["t_f"]).all() and (sample["i_t"] == standard).all()
    assert without["t_t"].shape != sample["t_t"].shape or (without["t_t"] != sample["t_t"]).any()
    if effect in ("bold", "underline"):
        assert (sample["mask_t"] > 127).sum() > 1.1 * (without["mask_t"] > 127).sum()


def test_blending_keeps_flat_letters_and_lets_texture_through():
    flat = np.full((20, 30, 3), 100, np.float32)
    ripples = flat + 3 * np.sin(np.arange(30, dtype=np.float32))[:, None]
    for ground in (flat, ripples):
        letter = ground.copy()
        letter[5:12, 8:20] = (200, 30, 100)
        blended = drawing.blend(ground, letter)
        if ground is flat:
            np.testing.assert_allclose(blended, letter, atol=1e-2)
        np.testing.assert_allclose(np.diff(blended[8, 10:18], axis=0), np.diff(ground[8, 10:18], axis=0), atol=0.8)


def test_turning_and_bending_by_known_amounts():
    layer = Image.new("L", (80, 40))
    layer.paste(255, (30, 10, 50, 30))
    same = drawing.warp(layer, np.eye(3))
    assert same.size == layer.size and np.abs(np.asarray(same).astype(int) - np.asarray(layer)).max() <= 1
    turned = drawing.warp(layer, np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]))
    assert turned.size == (40, 80) and np.asarray(turned).sum() == pytest.approx(np.asarray(layer).sum(), rel=0.01)
    wide = drawing.warp(Image.new("L", (3000, 60), 255), np.array([[1, 0, 0], [0, 1, 0], [0.0015, 0, 1.0]]))
    assert wide.width < 4000  # a tilt that would send its end to infinity is made less
    bent = np.asarray(drawing.bend(Image.new("L", (101, 4), 255), 0.1))
    tops = (bent > 0).argmax(axis=0)
    assert (tops[0], tops[50], tops[100]) == (0, 10, 0) and (bent > 0).sum(axis=0).tolist() == [4] * 101


def test_boards_are_smooth_and_of_the_photographs_colours(at_hand):
    for index in range(4):
        rough, smooth = (
            drawing.draw_background(np.random.default_rng(index), found.backgrounds[0], 40, 90, found.recipe)
            for found in (sources(at_hand, "--plain=0"), sources(at_hand, "--plain=1"))
        )
        assert np.abs(np.diff(smooth, axis=1)).mean() < 0.3 * np.abs(np.diff(rough, axis=1)).mean()
        assert np.abs(smooth.mean((0, 1)) - rough.mean((0, 1))).max() < 25


def test_a_cameras_faults(at_hand):
    """Blur is in source and targets alike but for the skeleton, noise and compression in the source alone."""
    blur = {"low": 1.0, "low_size": (12, 14), "noise": 0.0, "jpeg": 0.0}
    spoilt = [{"degraded": 0.0}, {"degraded": 1.0, **blur}, {"degraded": 1.0, **blur, "noise": 1.0}]
    for index in range(4):
        sharp, blurred, noisy = (draw(sources(at_hand, **recipe), index) for recipe in spoilt)
        assert all((sharp[name] == blurred[name]).all() for name in ("i_t", "t_sk"))
        edges = {name: [np.abs(np.diff(s[name].astype(int), axis=1)).max() for s in (sharp, blurred)] for name in sharp}
        assert all(edges[name][1] < 0.9 * edges[name][0] for name in ("t_t", "t_f", "mask_t"))
        assert all((noisy[name] == blurred[name]).all() for name in noisy if name != "i_s")
        assert 0.3 < (noisy["i_s"].astype(int) - blurred["i_s"]).std() < 12


def test_colours_stand_out():
    rng = np.random.default_rng(0)
    for _ in range(30):
        ground = rng.uniform(0, 255, (1, 3)).astype(np.float32)
        colour = drawing.draw_colour(rng, ground, drawing.RECIPE)
        assert np.linalg.norm(rgb2lab(colour / 255) - rgb2lab(ground / 255)) >= drawing.RECIPE.contrast - 0.1


def test_words_fonts_and_photographs_are_split(at_hand, capsys):
    parts = gather(at_hand, "--val=1")
    train, val = parts["train"], parts["val"]
    assert not set(train.words) & set(val.words)
    assert not set(train.fonts) & set(val.fonts) and not set(train.backgrounds) & set(val.backgrounds)
    assert (len(val.words), len(val.fonts), len(val.backgrounds)) == (2, 1, 1) and len(train.words) == len(WORDS) - 2
    assert capsys.readouterr().out == "[Info] held out for val/: 2 of 11 words, 1 of 2 fonts, 1 of 2 backgrounds\n"
    one = gather(at_hand, "--val=1", f"--fonts={at_hand[0]}/fonts/cmr10.ttf")
    assert one["train"].fonts == one["val"].fonts and "no fonts (there is one group only)" in capsys.readouterr().out


def test_only_fonts_that_have_a_words_characters(at_hand, capsys):
    words = at_hand[0] / "scripts.txt"
    words.write_text("слово\napple\nмост\nbridge\n漢字\n", encoding="utf-8")
    found = sources(at_hand, f"--words={words}")
    assert capsys.readouterr().out.startswith("[Info] 1 of 5 words have a character that no font has")
    seen, rng = set(), np.random.default_rng(0)
    for _ in range(60):
        first, second, font = drawing.draw_pair(rng, found)
        assert not fonts.lacking(font, first + second) and first != second
        seen.add((font.name, first.isascii()))
    assert seen == {("cmr10.ttf", True), ("DejaVuSans-Bold.ttf", True), ("DejaVuSans-Bold.ttf", False)}


def test_the_same_whatever_the_processes(at_hand, tmp_path, capsys):
    flags = ["--number=9", "--val=2", "--shape=32x64"]
    assert write(capsys, tmp_path / "one", at_hand, *flags)[0] == 0
    assert write(capsys, tmp_path / "two", at_hand, *flags, "--processes=2")[0] == 0
    one, two = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")} for folder in (
        tmp_path / "one", tmp_path / "two"
    ))  # fmt: skip
    assert one == two and len(one) == 7 * 11
    names = data.find_samples(tmp_path / "one" / "train")
    assert len(names) == 9 and data.wanted_word(tmp_path / "one" / "train", names[0]).lower() in WORDS
    assert json.loads((tmp_path / "one" / "datagen.json").read_text())["shape"] == [32, 64]


@pytest.mark.parametrize(
    "flag, content, told",
    [
        ("--fonts", {"broken.ttf": b"no font"}, "broken.ttf: is no font"),
        ("--fonts", {}, "is no font, nor a folder with one"),
        ("--backgrounds", {"broken.jpg": b"\xff\xd8\xff no image"}, "broken.jpg: is no image that can be decoded"),
        ("--backgrounds", {}, "there is no image in such a folder"),
        ("--words", b"\x00\xff\xfe\x12" * 99, "is no file of words"),
        ("--words", None, "is no file of words"),
        ("--words", "漢字".encode(), "no font covers any of the 1 words"),
        ("--words", b"one\ntwo\nthree", "too few words for train/"),
        ("--shape", "64", "invalid pair value: '64'"),
        ("--shape", "0x64", "each of 8 to 2048"),
        ("--padding", "-1,9", "of 0 to 200"),
        ("--output_path", {"mine.txt": b""}, "is not an empty folder"),
    ],
)
def test_mistakes(at_hand, tmp_path, capsys, flag, content, told):
    value = tmp_path / "given"
    if isinstance(content, dict):
        value.mkdir()
        for name, inside in content.items():
            (value / name).write_bytes(inside)
    elif isinstance(content, bytes):
        value.write_bytes(content)
    elif content is None:
        os.mkfifo(value)
    else:
        value = content
    status, _, said = write(capsys, tmp_path / "set", at_hand, "--number=1", "--val=1", f"{flag}={value}")
    assert status == 2 and told in said and len(said.splitlines()) == 1


def test_stopped_by_a_signal_it_leaves_nothing_and_no_processes(at_hand, tmp_path):
    command = [sys.executable, datagen.__file__, f"--output_path={tmp_path / 'set'}", "--number=100000"]
    with subprocess.Popen([*command, *map(str, at_hand[1:]), "--processes=2"], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "set").rglob("mask_t/*.png")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    time.sleep(0.3)
    assert not list((tmp_path / "set").iterdir())  # and nobody writes any more
