"""predict.py: classes of the user's pictures, grids of generated ones, and what it says to bad input."""

import csv
import shutil

import data
import numpy as np
import predict
import pytest
import tensorflow as tf
import trained
from evaluate import predict_logits
from PIL import Image


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def call(capsys, *argv):
    """The exit status, and what was said on stdout and stderr."""
    status = predict.main([str(word) for word in argv])
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.fixture
def pictures(tmp_path, ssgan_run):
    """Held-out pictures of the grey run as files, in one folder with a file that is none."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(ssgan_run.data.test_images[:3]):
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_the_answer_is_the_networks_own(capsys, tmp_path, ssgan_run, pictures):
    status, said, _ = call(
        capsys, "--ckpt_path", ssgan_run.folder, "--input", pictures, "--output_path", tmp_path / "new"
    )
    assert status == 0
    model = trained.load(str(ssgan_run.folder))
    logits = predict_logits(model.discriminator, model.options, ssgan_run.data.test_images[:3])
    expected = tf.nn.softmax(logits).numpy()
    rows = read_csv(tmp_path / "new" / "predictions.csv")
    assert rows[0] == ["file", "class", "probability"]
    for row, number, probabilities in zip(rows[1:], range(3), expected):
        name = ssgan_run.data.class_names[probabilities.argmax()]
        assert row[:2] == [str(pictures / f"{number}.png"), name]
        assert abs(float(row[2]) - probabilities.max()) < 1e-3
        assert "  ".join(row) in said.splitlines()
    assert len(rows) == 4


def test_any_size_and_colour(capsys, tmp_path, ssgan_run, paper_run):
    rng = np.random.default_rng(0)
    files = []
    for name, shape in {
        "tall.png": (50, 9),
        "wide.jpg": (7, 31, 3),
        "tiny.bmp": (1, 1, 3),
        "clear.png": (8, 8, 4),
    }.items():
        files.append(tmp_path / name)
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(files[-1])
    for run in (ssgan_run, paper_run):
        output = tmp_path / run.folder.parent.name
        assert call(capsys, "--ckpt_path", run.folder, "--input", *files, "--output_path", output)[0] == 0
        rows = read_csv(output / "predictions.csv")[1:]
        assert [row[0] for row in rows] == [str(file) for file in files]
        assert all(row[1] in run.data.class_names and 1 / 3 <= float(row[2]) <= 1 for row in rows)


def test_colour_becomes_grey_and_grey_colour(tmp_path):
    Image.new("RGB", (20, 20), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("L", (20, 20), 7).save(tmp_path / "grey.png")
    red = predict.read_input(tmp_path / "red.png", (4, 6, 1), invert=False)
    assert red.shape == (4, 6, 1) and (red == 76).all()  # 0.299 of 255
    grey = predict.read_input(tmp_path / "grey.png", (4, 6, 3), invert=False)
    assert grey.shape == (4, 6, 3) and (grey == 7).all()
    assert (predict.read_input(tmp_path / "grey.png", (4, 6, 3), invert=True) == 248).all()


def test_inverted_pictures(capsys, tmp_path, ssgan_run, pictures):
    dark = tmp_path / "dark.png"
    Image.fromarray(255 - ssgan_run.data.test_images[0, ..., 0]).save(dark)
    call(capsys, "--ckpt_path", ssgan_run.folder, "--input", pictures / "0.png", "--output_path", tmp_path)
    status, _, _ = call(capsys, "--ckpt_path", ssgan_run.folder, "--input", dark, "--invert", "--output_path", tmp_path)
    assert status == 0
    one, other = read_csv(tmp_path / "predictions.csv")[1], read_csv(tmp_path / "predictions-2.csv")[1]
    assert one[1:] == other[1:]


def test_nothing_is_overwritten(capsys, tmp_path, ssgan_run, pictures):
    (tmp_path / "predictions.csv").write_text("mine")
    (tmp_path / "generated.png").write_text("mine too")
    for _ in range(2):
        argv = ["--input", pictures / "0.png", "--generate=1", "--output_path", tmp_path]
        assert call(capsys, "--ckpt_path", ssgan_run.folder, *argv)[0] == 0
    assert (tmp_path / "predictions.csv").read_text() == "mine"
    assert (tmp_path / "generated.png").read_text() == "mine too"
    assert (tmp_path / "predictions-2.csv").read_text() == (tmp_path / "predictions-3.csv").read_text()


@pytest.mark.parametrize("kind", ["ssgan", "paper"])
def test_generates_a_grid(capsys, tmp_path, request, kind):
    run = request.getfixturevalue(f"{kind}_run")
    _, height, width, channels = run.data.train_images.shape
    for seed in (1, 1, 2):
        argv = ["--generate=70", f"--seed={seed}", "--output_path", tmp_path]
        assert call(capsys, "--ckpt_path", run.folder, *argv)[0] == 0
    first, same, other = (np.asarray(Image.open(tmp_path / f"generated{n}.png")) for n in ("", "-2", "-3"))
    assert first.shape == (8 * height, 9 * width) + ((3,) if channels == 3 else ())  # 70 pictures: 8 rows of 9
    assert (first == same).all() and (first != other).any()
    assert (first[-height:, : 7 * width] > 0).any() and (first[-height:, 7 * width :] == 0).all()  # 70 and two gaps


def test_one_checkpoint_is_enough(capsys, tmp_path, monkeypatch, ssgan_run, pictures):
    """A checkpoint that was copied away from its run, on a machine without the training data."""
    for file in (ssgan_run.folder / "checkpoints").glob("ckpt-4.*"):
        shutil.copy(str(file), str(tmp_path))
    monkeypatch.setattr(data, "load", None)
    status, said, _ = call(capsys, "--ckpt_path", tmp_path / "ckpt-4", "--input", pictures, "--output_path", tmp_path)
    assert status == 0 and said.count(".png  ") == 3
    assert trained.load(str(tmp_path)).run_folder == tmp_path.resolve()
    assert trained.load(str(ssgan_run.folder)).run_folder == ssgan_run.folder.resolve()


def other_checkpoint(folder, **state):
    tf.train.Checkpoint(**state).write(str(folder / "ckpt-1"))


def test_bad_pictures(capsys, tmp_path, ssgan_run, pictures):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes((pictures / "0.png").read_bytes()[:40])
    for path, reason in {
        "nothing.png": "there is no such file",
        "empty": "holds no picture",
        "broken.png": "is no picture that can be decoded",
    }.items():
        argv = ["--input", pictures, tmp_path / path, "--output_path", tmp_path / "output"]
        status, said, error = call(capsys, "--ckpt_path", ssgan_run.folder, *argv)
        assert status == 2 and str(tmp_path / path) in error and reason in error and error.count("\n") <= 2
        assert "0.png" not in said and not (tmp_path / "output").exists()


def test_bad_checkpoints(capsys, tmp_path, ssgan_run, pictures):
    def refused(path, reason):
        status, _, error = call(capsys, "--ckpt_path", path, "--input", pictures, "--output_path", tmp_path / "output")
        assert status == 2 and str(path) in error and reason in error and error.count("\n") <= 2
        assert not (tmp_path / "output").exists()

    refused(tmp_path / "nowhere", "no checkpoint in")
    refused(pictures, "no checkpoint in")
    for name in ("foreign", "other", "old", "swapped"):
        (tmp_path / name).mkdir()
    other_checkpoint(tmp_path / "foreign", weights=tf.Variable(1.0))
    refused(tmp_path / "foreign", "no whole checkpoint written by this model's train.py")

    from common.checkpoint import Record
    from common.run import options_of

    options = options_of(trained.load(str(ssgan_run.folder)).options)
    other_checkpoint(tmp_path / "old", record=Record(options=options))
    refused(tmp_path / "old", "not a checkpoint of ImprovedGAN that tells")
    other_checkpoint(tmp_path / "other", record=Record(options=options, about={"network": "SRGAN"}))
    refused(tmp_path / "other", "not a checkpoint of ImprovedGAN that tells")
    about = {"network": "ImprovedGAN", "image_shape": [12, 10, 1], "class_names": ["a", "b"]}
    other_checkpoint(tmp_path / "swapped", record=Record(options=options, about=about))
    refused(tmp_path / "swapped", "of another model or of other sizes")


def test_bad_flags(capsys, tmp_path, ssgan_run):
    for argv in (["--output_path", tmp_path], ["--generate=0"], ["--generate=3", "--sead=1"]):
        with pytest.raises(SystemExit) as exit_:
            predict.main(["--ckpt_path", str(ssgan_run.folder), *map(str, argv)])
        assert exit_.value.code == 2
    assert "the nearest known one is --seed" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    status, _, error = call(capsys, "--ckpt_path", ssgan_run.folder, "--generate=1", "--output_path", tmp_path / "file")
    assert status == 2 and "cannot be written" in error and str(tmp_path / "file") in error
