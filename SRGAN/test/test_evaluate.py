"""evaluate.py and test.py: numbers recomputed from the files written, every kind of picture, and bad input."""

import importlib.util
import json
from argparse import Namespace
from pathlib import Path

import baseline
import evaluate
import metrics
import numpy as np
import pytest
import trained
from conftest import write_run
from PIL import Image

spec = importlib.util.spec_from_file_location("srgan_test", Path(evaluate.__file__).with_name("test.py"))
page = importlib.util.module_from_spec(spec)  # `import test` may be Python's own package of that name
spec.loader.exec_module(page)


def scene(seed, height, width):
    """A picture of smooth blobs with some noise, RGB."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)).resize((width, height), Image.BICUBIC)
    return Image.fromarray((np.asarray(coarse) * 0.9 + rng.integers(0, 25, (height, width, 3))).astype(np.uint8))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A training set whose val/ holds a picture of each kind, of odd sizes."""
    folder = tmp_path_factory.mktemp("pictures")
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
def run(tmp_path_factory, pictures):
    """A run on them, x2, with random weights."""
    options = {"scale": 2, "blocks": 1, "channels": 4, "data_path": str(pictures)}
    return write_run(tmp_path_factory.mktemp("run") / "run", **options)


@pytest.fixture(scope="module")
def h5(tmp_path_factory, run):
    """A folder as --model_save_dir leaves it, with the run's generator as the newest."""
    folder = tmp_path_factory.mktemp("model")
    model = trained.load(str(run.folder))
    trained.save_h5(str(folder / "gen_model10.h5"), model.generator, model.options)
    (folder / "gen_model9.h5").write_bytes(b"older")
    return folder


def call(capsys, main, *argv):
    """The exit status, and what was said on stdout and stderr."""
    status = main([str(word) for word in argv])
    told = capsys.readouterr()
    return status, told.out, told.err


def result_in(folder):
    return json.loads((folder / "evaluation.json").read_text())


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_the_command(capsys, run, pictures):
    before = set(run.folder.rglob("*"))
    status, said, _ = call(capsys, evaluate.main, "--ckpt_path", run.folder)
    result = result_in(run.folder / "evaluation")
    assert status == 0 and result["scale"] == 2 and list(result["sets"]) == ["held-out"]
    found = result["sets"]["held-out"]
    rows = found["per_picture"]
    names = ["below/colour.png", "cmyk.jpg", "colour.png", "grey.png", "palette.gif"]
    assert found["pictures"] == 5 and {row["file"] for row in rows} == {str(pictures / "val" / n) for n in names}
    for row in rows:
        target = evaluate.original(Path(row["file"]), 2)
        assert target.shape[0] % 2 == target.shape[1] % 2 == 0
        bicubic = baseline.enlarge(baseline.shrink(target, 2), 2)
        for method, picture in {"bicubic": bicubic, "model": pixels(row["output"])}.items():
            expected = {**metrics.compare(picture, target, 2), "blur": metrics.blur(picture)}
            assert row[method] == pytest.approx(expected)
        assert row["original"] == {"blur": pytest.approx(metrics.blur(target))}
    mean = found["metrics"]
    assert mean["model"]["ssim_y"] == pytest.approx(np.mean([row["model"]["ssim_y"] for row in rows]))
    assert mean["bicubic"]["psnr_y"] > mean["model"]["psnr_y"]  # the weights are random
    outputs = sorted(path.name for path in (run.folder / "evaluation" / "pictures" / "held-out").iterdir())
    assert outputs == ["cmyk.png", "colour-2.png", "colour.png", "grey.png", "palette.png"]

    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line}
    assert lines["means"] == [*metrics.NAMES, "blur"]
    assert [float(n) for n in lines["model"]] == pytest.approx(list(mean["model"].values()), abs=0.006)
    assert f"{rows[0]['bicubic']['psnr_y']:.2f} / {rows[0]['bicubic']['ssim_y']:.4f}" in said
    page = (run.folder / "evaluation" / "gallery.html").read_text()
    for heading in ("small", "bicubic", "model", "original"):
        assert page.count(f"<figcaption>{heading}</figcaption>") == 5
    assert before <= set(run.folder.rglob("*"))  # nothing is gone


def test_named_sets_and_the_papers_rows(capsys, tmp_path, pictures):
    """Without a model: bicubic alone. The paper's rows are for its scale and number of pictures."""
    (tmp_path / "five").mkdir()
    for seed in range(7):
        scene(seed, 28, 24).save(tmp_path / "five" / f"{seed}.png")
    flags = ["--sets", f"Set5={tmp_path / 'five'}", f"mine={pictures / 'val'}", "--max_pictures=5"]
    status, said, _ = call(capsys, evaluate.main, *flags, "--output_path", tmp_path / "out")
    found = result_in(tmp_path / "out")["sets"]
    assert status == 0 and [(name, one["pictures"]) for name, one in found.items()] == [("Set5", 5), ("mine", 5)]
    assert (
        set(found["Set5"]["metrics"]) == {"bicubic", "original"} and found["Set5"]["per_picture"][0]["output"] is None
    )
    assert said.count("SRGAN (paper)") == 1 and "29.40" in said and not (tmp_path / "out" / "pictures").exists()
    rows = result_in(tmp_path / "out")["sets"]["Set5"]["per_picture"]
    assert not any("paper" in line for line in evaluate.table_lines("Set5", rows[:4], 4))
    status, said, _ = call(capsys, evaluate.main, *flags, "--scale=2", "--output_path", tmp_path / "out")
    assert status == 0 and "(paper)" not in said and result_in(tmp_path / "out-2")["scale"] == 2


def test_what_training_asks_for(capsys, tmp_path, run, pictures):
    model = trained.load(str(run.folder))
    files = sorted((pictures / "val").glob("*.*"))
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    scene(0, 14, 40).save(tmp_path / "small.png")
    bad = [tmp_path / "broken.png", tmp_path / "small.png"]
    found, base = evaluate.evaluate_run(run.options, model.generator, [*bad, *files], tmp_path / "new" / "evaluation")
    said = capsys.readouterr().out
    assert "2 of 6 pictures left out" in said and "small.png: too small to be measured at x2; it takes 15" in said
    assert set(found) == set(base) == {*metrics.NAMES, "blur", "pictures"} and found["pictures"] == 4
    assert (
        result_in(tmp_path / "new" / "evaluation")["sets"]["held-out"]["metrics"]["model"]["ssim_rgb"]
        == found["ssim_rgb"]
    )
    assert evaluate.evaluate_run(run.options, model.generator, files) == (found, base)


def test_distance_of_features(monkeypatch):
    """Of a network that gives the pixels themselves: mean squared differences, whatever the blocks."""
    monkeypatch.setattr(evaluate, "build_vgg19", lambda: lambda x, training: x)
    monkeypatch.setattr(evaluate, "load_weights", lambda *args: None)
    monkeypatch.setattr(evaluate, "BLOCK", 16)
    x, y = (np.random.default_rng(seed).integers(0, 256, (37, 50, 3)).astype(np.uint8) for seed in (0, 1))
    expected = np.square((x.astype(float) - y) / 12.75).mean()
    assert evaluate.feature_distance("w.h5")(x, y) == pytest.approx(expected, rel=1e-5)


def test_the_part_of_most_detail(monkeypatch):
    monkeypatch.setattr(evaluate, "SHOWN", 16)
    picture = np.zeros((64, 12, 3), np.uint8)
    picture[33:49:2] = 255
    rows, columns = evaluate.most_detail(picture, 4)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (32, 48, 0, 12)


def test_the_pages_command_on_large_pictures(capsys, tmp_path, h5, pictures):
    flags = ["-ihr", pictures / "val", "-o", tmp_path / "out", "-m", h5, "-n", 2, "-t", "test_model"]
    status, said, _ = call(capsys, page.main, *flags)
    rows = result_in(tmp_path / "out")["sets"]["val"]["per_picture"]
    assert status == 0 and len(rows) == 2 and "means" in said
    for row in rows:
        target = evaluate.original(Path(row["file"]), 2)
        small, enlarged, original = np.split(pixels(tmp_path / "out" / Path(row["output"]).name), 3, axis=1)
        assert (original == target).all() and (enlarged == pixels(row["output"])).all()
        assert (small[::2, ::2] == baseline.shrink(target, 2)).all() and (small[1::2, 1::2] == small[::2, ::2]).all()


def test_the_pages_command_on_small_pictures(capsys, tmp_path, h5, pictures):
    flags = [
        "--input_low_res",
        pictures / "val",
        "--output_dir",
        tmp_path / "out",
        "--model_dir",
        h5 / "gen_model10.h5",
    ]
    status, _, _ = call(capsys, page.main, *flags, "--number_of_images=3", "--test_type=test_lr_images")
    sizes = {path.name: Image.open(path).size for path in (tmp_path / "out").iterdir()}
    assert status == 0 and len(sizes) == 3 and sizes["cmyk.png"] == (96, 80)
    for flags in (["-m", h5], ["-m", h5, "-t", "test_lr_images", "-ihr", pictures]):
        with pytest.raises(SystemExit) as exit_:
            page.main([str(word) for word in flags])
        assert exit_.value.code == 2 and "needs --input_" in capsys.readouterr().err


def test_bad_input(capsys, tmp_path, run, pictures):
    def refused(reason, *argv):
        status, _, error = call(capsys, evaluate.main, "--output_path", tmp_path / "out", *argv)
        assert status == 2 and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "out").exists()

    model = ["--ckpt_path", run.folder]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    refused("no checkpoint in", "--ckpt_path", pictures)
    refused("none.h5: there is no such file", "--ckpt_path", tmp_path / "none.h5")
    refused("enlarges 2 times", *model, "--scale=4")
    refused("--sets none=", *model, "--sets", f"none={tmp_path / 'none'}")
    refused("two of one name", *model, "--sets", f"a={pictures}", f"a={pictures / 'val'}")
    refused("a.png: is no picture", *model, "--data_path", tmp_path / "broken")
    refused("none of the pictures can be measured", *model, "--data_path", tmp_path / "broken", "--skip_bad_files")
    refused("there is no such file", *model, "--weights", tmp_path / "none.h5")
    refused("cannot be written", *model, "--output_path", tmp_path / "broken" / "a.png" / "new")
    for flags, reason in (
        ([], "give --ckpt_path PATH"),
        (["--sets", "Set5"], "is not NAME=DIR"),
        (["--sets", "a/b=c"], "is not NAME=DIR"),
        (["--sets", f"a={pictures}", "--scale=3"], "invalid choice: 3"),
    ):
        with pytest.raises(SystemExit) as exit_:
            evaluate.main(flags)
        assert exit_.value.code == 2 and reason in capsys.readouterr().err


def test_held_out_pictures(tmp_path, pictures):
    """Those in val/, else the last ones of the run's own data, else all of a folder that nothing was trained on."""
    for number in range(5):
        scene(number, 30, 30).save(tmp_path / f"{number}.png")
    options = Namespace(data_path=str(tmp_path), train_test_ratio=0.6, number_of_images=4)
    args = Namespace(data_path=None, sets=None, max_pictures=None, ckpt_path="x")
    names = [path.name for path in evaluate.picture_sets(args, options)["held-out"]]
    assert names == ["2.png", "3.png"]
    args.data_path = str(pictures / "val" / "below")
    assert len(evaluate.picture_sets(args, options)["held-out"]) == 1
    args.data_path, args.max_pictures = str(pictures), 4
    assert len(evaluate.picture_sets(args, options)["held-out"]) == 4
    args.data_path, args.sets = None, [("one", pictures / "train")]
    assert set(evaluate.picture_sets(args, options)) == {"one"}
