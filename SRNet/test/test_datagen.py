"""datagen.py: what is found, the same whatever the processes and interruptions, and how mistakes are told."""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import data
import datagen
import drawing
import fonts
import numpy as np
import pytest
import sample_data
from PIL import Image
from scipy.ndimage import binary_dilation

from common.test.testing import call_main

WORDS = ["apple", "bridge", "castle", "dolphin", "engine", "forest", "garden", "harbour", "island", "jungle", "kettle"]
PLAIN = replace(drawing.RECIPE, capitalised=0, upper=0, shadow=0, border=0, elastic=0, curved=0,
                plain=0, degraded=0)  # fmt: skip


@pytest.fixture(scope="module")
def at_hand(tmp_path_factory):
    """Flags for two fonts, eleven words and two small photographs; `at_hand[0]` is their folder."""
    folder = tmp_path_factory.mktemp("at_hand")
    for part in ("fonts", "photos"):
        (folder / part).mkdir()
    for path in fonts.font_files():
        if path.name in ("DejaVuSans-Bold.ttf", "cmr10.ttf"):
            shutil.copy(path, folder / "fonts")
    (folder / "words.txt").write_text("\n".join(WORDS))
    rng = np.random.default_rng(0)
    for number in range(2):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3)).astype(np.uint8))
        coarse.resize((240, 160), Image.BICUBIC).save(folder / "photos" / f"{number}.jpg")
    return [folder, f"--fonts={folder / 'fonts'}", f"--words={folder / 'words.txt'}", f"--backgrounds={folder}/photos"]


def sources(at_hand, *flags):
    """What the flags give for the one folder of a data set without --val."""
    return gather(at_hand, *flags)[""]


def gather(at_hand, *flags):
    return datagen.gather(datagen.parse_args(["--output_path=nowhere", "--number=1", *at_hand[1:], *flags]))


def draw(sources, index):
    return drawing.draw_sample(sources, index)[0]


def write(capsys, folder, at_hand, *flags):
    return call_main(capsys, datagen.main, f"--output_path={folder}", *at_hand[1:], *flags)


def digests(folder):
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def test_padding(at_hand):
    """Without any, one of the two words reaches each edge; with some, the samples are larger by as much at the most."""
    tight, loose = (sources(at_hand, f"--padding={pixels}") for pixels in ("0,0", "6,9"))
    for index in range(8):
        sample, larger = (draw(found, index) for found in (tight, loose))
        words = (sample["mask_t"] > 0) | (sample["i_s"] != sample["t_b"]).any(axis=2)
        assert words[[0, -1]].any(axis=1).all() and words[:, [0, -1]].any(axis=0).all()
        rows, columns = np.subtract(larger["mask_t"].shape, sample["mask_t"].shape)
        assert 0 <= rows <= 12 and 0 <= columns <= 18


def test_what_the_seven_images_show(at_hand):
    found = sources(at_hand)
    for index in range(8):
        sample = draw(replace(found, recipe=PLAIN), index)
        assert tuple(sample) == ("i_t", "i_s", "t_sk", "t_t", "t_b", "t_f", "mask_t")
        assert len({image.shape[:2] for image in sample.values()}) == 1
        assert all(image.dtype == np.uint8 for image in sample.values())
        i_s, t_sk, t_t, t_b, t_f, mask = (
            sample[name].astype(int) for name in ("i_s", "t_sk", "t_t", "t_b", "t_f", "mask_t")
        )
        letters, away = mask == 255, ~binary_dilation(mask > 0, iterations=3)
        assert (t_t[mask == 0] == 127).all()
        assert np.ptp(t_t[letters], axis=0).max() <= 1  # one colour
        # Blending changes the background around the letters a little, never much.
        assert np.abs(t_f - t_b)[away].mean() < 12 and np.abs(t_f - t_b)[letters].max(axis=-1).mean() > 30
        assert np.abs(i_s - t_b).max() > 30 and (i_s != t_f).any()
        assert set(np.unique(t_sk)) == {0, 255}
        assert (t_sk[~binary_dilation(mask > 100, np.ones((5, 5)))] == 0).all()
        assert 0.1 < (t_sk == 255).sum() / (mask > 127).sum() < 3  # hair lines are widened


def test_the_standard_image_is_of_the_target_word(at_hand):
    """With one word in upper case alone to choose, it is known."""
    found = replace(sources(at_hand), words=["bridge"])
    sample = draw(replace(found, recipe=replace(PLAIN, upper=1)), 3)
    size = sample["i_t"].shape[:2]
    assert (sample["i_t"] == fonts.standard_image("BRIDGE", fonts.standard_font("A"), size)).all()
    assert (sample["i_s"] == sample["t_f"]).all()  # the same word in the same style on the same ground


@pytest.mark.parametrize("effect", ["underline", "bold", "oblique", "curved", "elastic", "border", "shadow"])
def test_every_effect_shows_in_source_and_target_alike(at_hand, effect):
    found = replace(sources(at_hand), words=["garden"])
    off = replace(PLAIN, underline=0, bold=0, oblique=0)
    recipes = (off, replace(off, **{effect: 1.0}))
    without, sample = (draw(replace(found, recipe=recipe), 5) for recipe in recipes)
    assert (sample["i_s"] == sample["t_f"]).all()
    assert without["t_t"].shape != sample["t_t"].shape or (without["t_t"] != sample["t_t"]).any()
    if effect == "bold":
        assert (sample["mask_t"] > 127).sum() > 1.1 * (without["mask_t"] > 127).sum()
    if effect == "underline":
        wide = (sample["mask_t"] > 127).any(axis=0).sum()
        assert (sample["mask_t"] > 127).sum() > (without["mask_t"] > 127).sum() + wide


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
    clean, spoilt = sources(at_hand, "--degraded=0"), sources(at_hand, "--degraded=1")
    always = replace(spoilt.recipe, low=1.0, low_size=(12, 14), noise=1.0, jpeg=0.0)
    for index in range(4):
        sharp, blurred = (
            draw(replace(found, recipe=recipe), index) for found, recipe in ((clean, clean.recipe), (spoilt, always))
        )
        assert all(sharp[name].shape == blurred[name].shape for name in sharp)
        assert all((sharp[name] == blurred[name]).all() for name in ("i_t", "t_sk"))
        edges = {name: [np.abs(np.diff(s[name].astype(int), axis=1)).max() for s in (sharp, blurred)] for name in sharp}
        assert all(edges[name][1] < 0.9 * edges[name][0] for name in ("t_t", "t_f", "mask_t"))
        assert np.abs(blurred["t_t"][0, 0].astype(int) - 127).max() <= 2
        quiet = draw(replace(spoilt, recipe=replace(always, noise=0.0)), index)
        assert all((blurred[name] == quiet[name]).all() for name in quiet if name != "i_s")
        assert 0.3 < (blurred["i_s"].astype(int) - quiet["i_s"]).std() < 12


def test_colours_stand_out():
    rng = np.random.default_rng(0)
    for _ in range(30):
        ground = rng.uniform(0, 255, (1, 3)).astype(np.float32)
        colour = drawing.draw_colour(rng, ground, drawing.RECIPE)
        assert np.linalg.norm(drawing.lab(colour[None]) - drawing.lab(ground)) >= drawing.RECIPE.contrast - 0.1


def test_words_fonts_and_photographs_are_split(at_hand, capsys):
    parts = gather(at_hand, "--val=1")
    train, val = parts["train"], parts["val"]
    assert not {word.lower() for word in train.words} & {word.lower() for word in val.words}
    assert not set(train.fonts) & set(val.fonts) and not set(train.backgrounds) & set(val.backgrounds)
    assert (len(val.words), len(val.fonts), len(val.backgrounds)) == (2, 1, 1) and len(train.words) == len(WORDS) - 2
    assert capsys.readouterr().out == "[Info] held out for val/: 2 of 11 words, 1 of 2 fonts, 1 of 2 photographs\n"
    one = gather(at_hand, "--val=1", f"--fonts={at_hand[0]}/fonts/cmr10.ttf")
    assert one["train"].fonts == one["val"].fonts and "no fonts (there is one group only)" in capsys.readouterr().out


def test_words_that_are_too_long(at_hand, capsys):
    words = at_hand[0] / "long.txt"
    words.write_bytes("\ufeffapple\r\n\n  two   words \napple\n".encode() + b"a" * 25)
    assert sources(at_hand, f"--words={words}").words == ["apple", "two words"]
    assert capsys.readouterr().out == "[Info] 1 of 3 words have more than 24 letters and are left out\n"


def test_skeletons_of_one_pixel(at_hand):
    """--skeleton=1 is what --skeleton=3 widens, and a tenth of the letters' area or so."""
    thin, wide = (draw(sources(at_hand, f"--skeleton={width}"), 3)["t_sk"] > 0 for width in (1, 3))
    assert (wide == binary_dilation(thin, np.ones((3, 3), bool))).all() and thin.sum() < 0.5 * wide.sum()


def test_a_word_that_takes_anothers_place(at_hand):
    """With --fit and no padding the target reaches both sides, as the source does."""
    for index in range(6):
        sample = draw(sources(at_hand, "--fit", "--padding=0,0", "--plain=0", "--degraded=0"), index)
        source = (sample["i_s"] != sample["t_b"]).any(axis=2)
        assert (sample["mask_t"] > 0)[:, [0, -1]].any(axis=0).all() and source[:, [0, -1]].any(axis=0).all()


def test_only_fonts_that_have_a_words_characters(at_hand, capsys):
    words = at_hand[0] / "scripts.txt"
    words.write_text("слово\napple\nмост\nbridge\n漢字\n", encoding="utf-8")
    found = sources(at_hand, f"--words={words}")
    assert capsys.readouterr().out.startswith("[Info] 1 of 5 words have a character that no font has")
    seen, pairs = set(), drawing.draw_pair(np.random.default_rng(0), found)
    for (first, second, font), _ in zip(pairs, range(60)):
        assert not fonts.lacking(font, first + second) and first != second
        seen.add((font.name, first.isascii()))
    assert seen == {("cmr10.ttf", True), ("DejaVuSans-Bold.ttf", True), ("DejaVuSans-Bold.ttf", False)}
    standard = sources(at_hand, f"--words={words}", f"--standard_font={at_hand[0]}/fonts/cmr10.ttf")
    assert standard.words == ["apple", "bridge"]  # i_t could not be found of the others


def test_the_same_whatever_the_processes_and_interruptions(at_hand, tmp_path, capsys):
    flags = ["--number=9", "--val=2", "--shape=32x64"]
    assert write(capsys, tmp_path / "one", at_hand, *flags, "--processes=1")[0] == 0
    assert write(capsys, tmp_path / "two", at_hand, *flags, "--processes=2")[0] == 0
    whole = digests(tmp_path / "one")
    assert whole == digests(tmp_path / "two") and len(whole) == 7 * 11 + 1
    names = data.find_samples(tmp_path / "one" / "train")
    assert len(names) == 9 and data.wanted_word(tmp_path / "one" / "train", names[0]).lower() in WORDS
    part = tmp_path / "part"
    assert write(capsys, part, at_hand, "--number=3", "--val=1", "--shape=32x64", "--processes=1")[0] == 0
    (part / "train" / "t_f" / "00000002.png").unlink()
    (part / "train" / "t_f" / ".00000002.png.part").write_text("half a file of a process that was killed")
    kept = (part / "train" / "t_f" / "00000001.png").stat().st_mtime_ns
    status, said, _ = write(capsys, part, at_hand, *flags, "--processes=1")
    assert status == 0 and f"[Info] {part}: 3 samples are there already" in said.splitlines()
    assert digests(part) == whole and (part / "train" / "t_f" / "00000001.png").stat().st_mtime_ns == kept


def test_other_options_in_the_same_folder_are_refused(at_hand, tmp_path, capsys):
    folder = tmp_path / "set"
    assert write(capsys, folder, at_hand, "--number=1")[0] == 0
    before = digests(folder)
    for flag in ("--seed=1", "--shape=32x64", "--padding=2,4", "--val=1", "--fonts=matplotlib", "--skeleton=1"):
        status, _, said = write(capsys, folder, at_hand, "--number=2", flag)
        assert status == 2 and "holds samples of other options" in said and len(said.splitlines()) == 2
    assert digests(folder) == before


def test_two_at_once(at_hand, tmp_path, capsys):
    """The second one says so, and leaves the first one's unfinished files alone."""
    folder = tmp_path / "set"
    assert write(capsys, folder, at_hand, "--number=1")[0] == 0
    part = folder / "i_s" / ".00000002.png.part"
    part.write_text("half")
    with (folder / datagen.OPTIONS).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        status, _, said = write(capsys, folder, at_hand, "--number=2")
    assert status == 2 and "another datagen.py is writing into" in said and part.exists()
    assert write(capsys, folder, at_hand, "--number=2")[0] == 0 and not part.exists()


def test_sample_data_is_a_set_to_train_on(tmp_path, capsys):
    folder = tmp_path / "pairs"
    flags = [f"--output_path={folder}", "--number=5", "--val=2", "--processes=1"]
    status, said, _ = call_main(capsys, sample_data.main, *flags)
    assert status == 0 and said.splitlines()[-1].endswith(f"train.py --data_path={folder}")
    for split, count in (("train", 5), ("val", 2)):
        names = data.find_samples(folder / split)
        assert len(names) == count
        for name in names:
            sample = data.read_sample(folder / split, name)
            assert {image.shape[:2] for image in sample.values()} == {(64, 128)}
            assert all(np.ptp(image) > 0 for image in sample.values())


def mistakes(folder):
    """Flags, and what is said of them."""
    for name in ("fonts", "photos", "empty"):
        (folder / name).mkdir()
    (folder / "fonts" / "broken.ttf").write_text("no font")
    (folder / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    texts = {"binary": b"\x00\xff\xfe\x12" * 99, "blank": b" \n\n", "none": "漢字".encode(), "few": b"one\ntwo\nthree"}
    os.mkfifo(folder / "pipe")
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    return [
        (f"--fonts={folder / 'fonts'}", f"{folder / 'fonts' / 'broken.ttf'}: is no font"),
        (f"--fonts={folder / 'empty'}", f"--fonts {folder / 'empty'}: the folder holds no font"),
        (f"--fonts={folder / 'x'}", f"--fonts {folder / 'x'}: there is no such font file or folder"),
        (f"--backgrounds={folder / 'photos'}", f"{folder / 'photos' / 'broken.jpg'}: is no image that can be decoded"),
        (f"--backgrounds={folder / 'empty'}", "the folder holds no image"),
        (f"--backgrounds={folder / 'x'}", "there is no such folder"),
        (f"--words={folder / 'binary'}", "is no text in UTF-8"),
        (f"--words={folder / 'blank'}", "holds no word"),
        (f"--words={folder / 'x'}", "cannot be read"),
        (f"--words={folder / 'pipe'}", "cannot be read (no file)"),
        (f"--words={folder / 'none'}", "no font covers any of the 1 words"),
        (f"--words={folder / 'few'}", "too few words for train/"),
    ]


def test_mistakes(at_hand, tmp_path, capsys):
    for number, (flag, told) in enumerate(mistakes(tmp_path)):
        status, _, said = write(capsys, tmp_path / f"set{number}", at_hand, "--number=1", "--val=1", flag)
        assert status == 2 and told in said and len(said.splitlines()) == 1, (flag, said)
    status, _, said = write(capsys, tmp_path, at_hand, "--number=1")
    assert status == 2 and f"{tmp_path} is not an empty folder" in said
    for flag, told in (("--shape=64", "such as 64x128"), ("--padding=0,201", "two numbers (0 to 200), such as 10,20")):
        with pytest.raises(SystemExit) as exit_:
            datagen.main([f"--output_path={tmp_path / 'new'}", "--number=1", flag])
        assert exit_.value.code == 2 and told in capsys.readouterr().err


def test_stopped_by_a_signal_it_leaves_no_half_files_and_no_processes(at_hand, tmp_path):
    command = [sys.executable, datagen.__file__, f"--output_path={tmp_path / 'set'}", "--number=100000"]
    with subprocess.Popen([*command, *map(str, at_hand[1:]), "--processes=2"], stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "set").glob("mask_t/*.png")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert data.find_samples(tmp_path / "set")  # every name in all seven
    assert not list((tmp_path / "set").rglob(".*.part"))
    before = digests(tmp_path / "set")
    time.sleep(0.3)
    assert digests(tmp_path / "set") == before  # nobody writes any more
