"""evaluate.py and test.py: numbers recomputed from the files written, every kind of image, and bad input."""

import importlib.util
import json
from argparse import Namespace

import baseline
import checkpoint
import degrade
import evaluate
import metrics
import numpy as np
import pytest
from conftest import MODEL, call, write_run
from PIL import Image

from common.images import read_rgb

spec = importlib.util.spec_from_file_location("srgan_test", MODEL / "test.py")
page = importlib.util.module_from_spec(spec)  # `import test` may be Python's own package of that name
spec.loader.exec_module(page)


def scene(seed, height, width):
    """An image of smooth blobs with some noise, RGB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)).resize((width, height), Image.BICUBIC)
    return Image.fromarray((np.asarray(coarse) * 0.9 + rng.integers(0, 25, (height, width, 3))).astype(np.uint8))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A training set whose val/ holds an image of several kinds, of odd sizes, and two that cannot be measured."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "train").mkdir()
    (folder / "val" / "below").mkdir(parents=True)
    scene(0, 40, 40).save(folder / "train" / "0.png")
    scene(1, 45, 51).save(folder / "val" / "colour.png")
    scene(2, 33, 40).convert("L").save(folder / "val" / "grey.png")
    scene(4, 40, 48).convert("CMYK").save(folder / "val" / "cmyk.jpg")
    clear = scene(5, 44, 36)
    clear.putalpha(clear.convert("L"))
    clear.save(folder / "val" / "below" / "colour.png")
    (folder / "val" / "broken.png").write_bytes(b"\x89PNG")
    scene(0, 14, 40).save(folder / "val" / "small.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, images):
    """A run on them, x2, with random weights."""
    options = {"scale": 2, "blocks": 1, "channels": 4, "data_path": str(images)}
    options.update(number_of_images=8000, train_test_ratio=0.8)
    return write_run(tmp_path_factory.mktemp("run") / "run", **options)


def sets_in(folder):
    return json.loads((folder / "evaluation.json").read_text())["sets"]


def test_a_run_on_its_held_out_images(capsys, run, images):
    status, said, _ = call(capsys, evaluate.main, "--ckpt_path", run.folder)
    found = sets_in(run.folder / "evaluation")["held-out"]
    assert status == 0 and "2 of 6 images left out" in said
    assert "small.png: too small to be measured, it takes 15 pixels" in said
    means, rows = found["metrics"], found["per_image"]
    names = ("below/colour.png", "cmyk.jpg", "colour.png", "grey.png")
    assert {row["file"] for row in rows} == {str(images / "val" / name) for name in names}
    for row in rows:
        target = baseline.crop(read_rgb(row["file"]), 2)
        bicubic = baseline.enlarge(baseline.shrink(target, 2), 2)
        for method, image in {"bicubic": bicubic, "model": read_rgb(row["output"])}.items():
            expected = {**metrics.compare(image, target, 2), "blur": metrics.blur(image)}
            assert row[method] == pytest.approx(expected)
        assert row["original"] == {"blur": pytest.approx(metrics.blur(target))}
    assert means["model"]["ssim_y"] == pytest.approx(np.mean([row["model"]["ssim_y"] for row in rows]))
    line = next(line for line in said.splitlines() if line.startswith("model "))
    assert [float(n) for n in line.split()[1:]] == pytest.approx(list(means["model"].values()), abs=0.006)
    shown = (run.folder / "evaluation" / "page.html").read_text()
    assert all(shown.count(f"<td>{heading}<img") == 4 for heading in ("lr", "bicubic", "model", "original"))


def test_named_sets_and_the_papers_rows(capsys, tmp_path, images, tiny_run):
    """The paper's rows are for its scale and number of images."""
    (tmp_path / "five").mkdir()
    for seed in range(6):
        scene(seed, 28, 24).save(tmp_path / "five" / f"{seed}.png")
    flags = ["--sets", f"Set5={tmp_path / 'five'}", f"mine={images / 'val'}", "--max_images=5"]
    flags += ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "out"]
    status, said, _ = call(capsys, evaluate.main, *flags)
    found = sets_in(tmp_path / "out")
    assert status == 0 and [(name, one["images"]) for name, one in found.items()] == [("Set5", 5), ("mine", 4)]
    assert said.count("SRGAN (paper)") == 1 and "29.40" in said
    for count, scale in ((4, 4), (5, 2)):
        assert "paper" not in "".join(evaluate.table_lines("Set5", count, found["Set5"]["metrics"], scale))


def test_degraded_images(images):
    """--degradation=photo: the same lr each time, of those that can be measured."""
    options = Namespace(scale=2, degradation="photo", lr_path=None, seed=5)
    found = list(evaluate.pairs(options, sorted((images / "val").glob("*.*"))))
    assert [path.name for path, *_ in found] == ["cmyk.jpg", "colour.png", "grey.png"]
    for number, (_, lr, hr) in enumerate(found):
        assert (lr == degrade.degrade(hr, 2, np.random.default_rng([5, number]))).all()


def test_distance_of_features(monkeypatch):
    """Of a network that gives the pixels themselves: mean squared differences, whatever the blocks."""
    import common.vgg19

    monkeypatch.setattr(common.vgg19, "build_vgg19", lambda weights: lambda x, training: x)
    monkeypatch.setattr(evaluate, "BLOCK", 16)
    x, y = (np.random.default_rng(seed).integers(0, 256, (37, 50, 3)).astype(np.uint8) for seed in (0, 1))
    expected = np.square((x.astype(float) - y) / 12.75).mean()
    assert evaluate.feature_distance("w.h5")(x, y) == pytest.approx(expected, rel=1e-5)


def test_the_sheet_of_a_training(run):
    """Middles of lr and hr that lie at the same place."""
    hr = np.asarray(scene(1, 40, 44))
    [row] = evaluate.example_rows(checkpoint.load(str(run.folder)), [(baseline.shrink(hr, 2), hr)], 9)
    assert row.shape == (18, 54, 3)
    np.testing.assert_array_equal(row[:, 36:], hr[10:28, 12:30])
    np.testing.assert_array_equal(row[:, :18], baseline.enlarge(baseline.shrink(hr, 2)[5:14, 6:15], 2))


def test_the_originals_commands(capsys, tmp_path, run, images):
    model = ["-m", run.folder]
    flags = ["-ihr", images / "val", "-o", tmp_path / "out", "-n", 4, "-t", "test_model"]
    status, said, _ = call(capsys, page.main, *model, *flags)
    assert status == 0 and "means" in said and sets_in(tmp_path / "out")["val"]["images"] == 3
    flags = ["--input_low_res", images / "val" / "below", "--output_dir", tmp_path / "large", "--number_of_images=3"]
    assert call(capsys, page.main, *model, *flags, "--test_type=test_lr_images")[0] == 0
    assert Image.open(tmp_path / "large" / "colour.png").size == (72, 88)
    for flags in ([], ["-t", "test_lr_images", "-ihr", images]):
        status, _, error = call(capsys, page.main, *model, *flags)
        assert status == 2 and "needs --input_" in error


def test_bad_input(capsys, tmp_path, run):
    model = ["--ckpt_path", run.folder]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for reason, argv in (
        ("--sets none=", [*model, "--sets", f"none={tmp_path / 'none'}"]),
        ("none of the images can be measured", [*model, "--data_path", tmp_path]),
        ("name the images to measure on", []),
        ("is not NAME=DIR", [*model, "--sets", "a/b=c"]),
    ):
        status, _, error = call(capsys, evaluate.main, "--output_path", tmp_path / "out", *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2


def test_held_out_images(capsys, tmp_path, run, images):
    """The last ones of a run's own data, and all of a folder that nothing was trained on."""
    folder = images / "val"
    options = {**vars(run.options), "data_path": str(folder), "train_test_ratio": 0.6, "number_of_images": 5}
    own = write_run(tmp_path / "run", **options)
    for network, count in ((own.folder, 2), (run.folder, 4)):
        flags = [f"--data_path={folder}", "--output_path", tmp_path / f"out{count}"]
        assert call(capsys, evaluate.main, "--ckpt_path", network, *flags)[0] == 0
        assert sets_in(tmp_path / f"out{count}")["held-out"]["images"] == count
