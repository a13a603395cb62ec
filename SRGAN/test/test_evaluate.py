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
    """A image of smooth blobs with some noise, RGB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)).resize((width, height), Image.BICUBIC)
    return Image.fromarray((np.asarray(coarse) * 0.9 + rng.integers(0, 25, (height, width, 3))).astype(np.uint8))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A training set whose val/ holds a image of each kind, of odd sizes."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "train").mkdir()
    (folder / "val" / "below").mkdir(parents=True)
    scene(0, 40, 40).save(folder / "train" / "0.png")
    scene(1, 45, 51).save(folder / "val" / "colour.png")
    scene(2, 33, 40).convert("L").save(folder / "val" / "grey.png")
    scene(3, 40, 42).convert("P").save(folder / "val" / "palette.gif")
    scene(4, 40, 48).convert("CMYK").save(folder / "val" / "cmyk.jpg")
    clear = scene(5, 44, 36)
    clear.putalpha(clear.convert("L"))
    clear.save(folder / "val" / "below" / "colour.png")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory, images):
    """A run on them, x2, with random weights."""
    options = {"scale": 2, "blocks": 1, "channels": 4, "data_path": str(images)}
    options.update(number_of_images=8000, train_test_ratio=0.8)
    return write_run(tmp_path_factory.mktemp("run") / "run", **options)


def result_in(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_a_run_on_its_held_out_images(capsys, run, images):
    before = set(run.folder.rglob("*"))
    status, said, _ = call(capsys, evaluate.main, "--ckpt_path", run.folder)
    result = result_in(run.folder / "evaluation")
    assert status == 0 and result["scale"] == 2 and list(result["sets"]) == ["held-out"]
    found = result["sets"]["held-out"]
    rows = found["per_image"]
    names = ["below/colour.png", "cmyk.jpg", "colour.png", "grey.png", "palette.gif"]
    assert found["images"] == 5 and {row["file"] for row in rows} == {str(images / "val" / n) for n in names}
    for row in rows:
        target = baseline.crop(read_rgb(row["file"]), 2)
        bicubic = baseline.enlarge(baseline.shrink(target, 2), 2)
        for method, image in {"bicubic": bicubic, "model": read_rgb(row["output"])}.items():
            expected = {**metrics.compare(image, target, 2), "blur": metrics.blur(image)}
            assert row[method] == pytest.approx(expected)
        assert row["original"] == {"blur": pytest.approx(metrics.blur(target))}
    mean = found["metrics"]
    assert mean["model"]["ssim_y"] == pytest.approx(np.mean([row["model"]["ssim_y"] for row in rows]))
    assert mean["bicubic"]["psnr_y"] > mean["model"]["psnr_y"]  # the weights are random
    outputs = sorted(path.name for path in (run.folder / "evaluation" / "images" / "held-out").iterdir())
    assert outputs == ["cmyk.png", "colour-2.png", "colour.png", "grey.png", "palette.png"]
    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
    assert lines["means"] == [*metrics.NAMES, "blur"]
    assert [float(n) for n in lines["model"]] == pytest.approx(list(mean["model"].values()), abs=0.006)
    shown = (run.folder / "evaluation" / "page.html").read_text()
    assert all(shown.count(f"<td>{heading}<img") == 5 for heading in ("lr", "bicubic", "model", "original"))
    assert before <= set(run.folder.rglob("*"))  # nothing is gone


def test_named_sets_and_the_papers_rows(capsys, tmp_path, images, tiny_run):
    """The paper's rows are for its scale and number of images."""
    (tmp_path / "five").mkdir()
    for seed in range(6):
        scene(seed, 28, 24).save(tmp_path / "five" / f"{seed}.png")
    flags = ["--sets", f"Set5={tmp_path / 'five'}", f"mine={images / 'val'}", "--max_images=5"]
    flags += ["--ckpt_path", tiny_run.folder, "--output_path", tmp_path / "out"]
    status, said, _ = call(capsys, evaluate.main, *flags)
    found = result_in(tmp_path / "out")["sets"]
    assert status == 0 and [(name, one["images"]) for name, one in found.items()] == [("Set5", 5), ("mine", 5)]
    assert said.count("SRGAN (paper)") == 1 and "29.40" in said
    rows = found["Set5"]["per_image"]
    assert not any("paper" in line for line in evaluate.table_lines("Set5", rows[:4], 4))
    assert not any("paper" in line for line in evaluate.table_lines("Set5", rows, 2))


def test_what_training_asks_for(capsys, tmp_path, run, images):
    network = checkpoint.load(str(run.folder))
    files = sorted((images / "val").glob("*.*"))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    scene(0, 14, 40).save(tmp_path / "small.png")
    bad = [tmp_path / "broken.png", tmp_path / "small.png"]
    found, base = evaluate.evaluate_run(run.options, network, [*bad, *files], tmp_path / "new" / "evaluation")
    said = capsys.readouterr().out
    assert "2 of 6 images left out" in said and "small.png: too small to be measured at x2; it takes 15" in said
    assert set(found) == set(base) == {*metrics.NAMES, "blur", "images"} and found["images"] == 4
    sets = result_in(tmp_path / "new" / "evaluation")["sets"]
    assert sets["held-out"]["metrics"]["model"]["ssim_rgb"] == found["ssim_rgb"]


def test_degraded_images(capsys, tmp_path, images, run):
    """--degradation=photo: the same lr each time, and what bicubic makes of it is worse."""
    scores = []
    for number, kind in enumerate(("bicubic", "photo", "photo")):
        argv = ["--ckpt_path", run.folder, "--sets", f"a={images / 'val'}", f"--degradation={kind}"]
        assert call(capsys, evaluate.main, *argv, "--output_path", tmp_path / f"{number}")[0] == 0
        scores.append(result_in(tmp_path / f"{number}")["sets"]["a"]["metrics"]["bicubic"]["psnr_y"])
    assert scores[0] > scores[1] == scores[2]
    options = Namespace(scale=2, degradation="photo", lr_path=None, seed=5)
    lr, hr = evaluate.pair(options, images / "val" / "colour.png", 3)
    assert (lr == degrade.degrade(hr, 2, np.random.default_rng([5, 3]))).all()


def test_distance_of_features(monkeypatch):
    """Of a network that gives the pixels themselves: mean squared differences, whatever the blocks."""
    import common.vgg19

    monkeypatch.setattr(common.vgg19, "build_vgg19", lambda weights, layers: lambda x, training: x)
    monkeypatch.setattr(evaluate, "BLOCK", 16)
    x, y = (np.random.default_rng(seed).integers(0, 256, (37, 50, 3)).astype(np.uint8) for seed in (0, 1))
    expected = np.square((x.astype(float) - y) / 12.75).mean()
    assert evaluate.feature_distance("w.h5")(x, y) == pytest.approx(expected, rel=1e-5)


def test_the_originals_commands(capsys, tmp_path, run, images):
    model = ["-m", run.folder]
    flags = ["-ihr", images / "val", "-o", tmp_path / "out", "-n", 2, "-t", "test_model"]
    status, said, _ = call(capsys, page.main, *model, *flags)
    assert status == 0 and "means" in said and result_in(tmp_path / "out")["sets"]["val"]["images"] == 2
    flags = ["--input_low_res", images / "val", "--output_dir", tmp_path / "large", "--number_of_images=3"]
    assert call(capsys, page.main, *model, *flags, "--test_type=test_lr_images")[0] == 0
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "large").iterdir()}
    assert len(sizes) == 3 and sizes["cmyk.png"] == (96, 80)
    for flags in ([], ["-t", "test_lr_images", "-ihr", images]):
        status, _, error = call(capsys, page.main, *model, *flags)
        assert status == 2 and "needs --input_" in error


def test_bad_input(capsys, tmp_path, run, images):
    model = ["--ckpt_path", run.folder]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for reason, argv in (
        ("no weights in", ["--ckpt_path", images]),
        ("--sets none=", [*model, "--sets", f"none={tmp_path / 'none'}"]),
        ("a.png", [*model, "--data_path", tmp_path / "broken"]),
        ("there is no such file", [*model, "--weights", tmp_path / "none.h5"]),
        ("cannot be written", [*model, "--output_path", tmp_path / "broken" / "a.png" / "new"]),
        ("name the images to measure on", []),
        ("is not NAME=DIR", ["--sets", "Set5"]),
        ("is not NAME=DIR", ["--sets", "a/b=c"]),
    ):
        status, _, error = call(capsys, evaluate.main, "--output_path", tmp_path / "out", *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2


def test_held_out_images(capsys, tmp_path, run):
    """The last ones of a run's own data, and all of a folder that nothing was trained on."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(5):
        scene(number, 30, 30).save(folder / f"{number}.png")
    options = {**vars(run.options), "data_path": str(folder), "train_test_ratio": 0.6, "number_of_images": 4}
    own = write_run(tmp_path / "run", **options)
    for network, count in ((own.folder, 2), (run.folder, 5)):
        flags = [f"--data_path={folder}", "--output_path", tmp_path / f"out{count}"]
        assert call(capsys, evaluate.main, "--ckpt_path", network, *flags)[0] == 0
        assert result_in(tmp_path / f"out{count}")["sets"]["held-out"]["images"] == count
