"""predict.py and demo/demo.py: sentences become images; noise, refusals, exports; nothing is overwritten."""

import os
import subprocess
import sys

import freeze
import numpy as np
import predict
import pytest
import text_encoder
from conftest import MODEL, call_main
from PIL import Image

from common.cli import UserError

sys.path.append(str(MODEL / "demo"))
import demo  # noqa: E402

SENTENCE = "a small red bird with a white belly"
EMBEDDINGS = np.random.default_rng(0).normal(size=(3, 1024)).astype(np.float32)


@pytest.fixture(scope="module")
def both(stage2_run):
    return predict.open_generator(str(stage2_run))


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_an_image_does_not_depend_on_the_others(both, monkeypatch):
    """Nor on how many are made at a time: same embedding, same noise, same image, but for rounding."""
    together = predict.generate(both, EMBEDDINGS, seed=5)
    assert [images.shape for images in together] == [(3, 64, 64, 3), (3, 256, 256, 3)] and together[1].std() > 5
    monkeypatch.setattr(both, "batch", 2)
    for others in (predict.generate(both, EMBEDDINGS, seed=5), predict.generate(both, EMBEDDINGS[:1], seed=5)):
        for images, other in zip(together, others):
            assert np.abs(images[: len(other)].astype(int) - other).max() <= 1
    assert not np.array_equal(predict.generate(both, EMBEDDINGS, seed=6)[1], together[1])
    with pytest.raises(UserError, match=r"takes \[n, 1024\]"):
        predict.generate(both, np.zeros([3, 7], np.float32))


def test_latents():
    sizes = (1024, 4, 3)
    eps, z = predict.latents(50, 1, sizes)
    assert eps.shape == (2, 50, 4) and z.shape == (50, 3)
    assert np.abs(eps).max() <= 2 < np.abs(predict.latents(500, 1, sizes)[1]).max()
    drawn = predict.latents(2, 1, (0, 10000, 1))[0]  # their standard deviation is 0.880
    assert abs(drawn.std() - 0.880) < 0.01 and abs(drawn.mean()) < 0.02
    assert np.array_equal(predict.latents(2, 1, sizes)[0], eps[:, :2])


def test_sentences(capsys, tmp_path, stage2_run, both):
    """A sheet in the working folder; unknown words are named; the same again goes to files beside the first."""
    flags = [SENTENCE, "a PENGUIN", f"--ckpt_path={stage2_run}", f"--output_path={tmp_path}", "--num=2"]
    status, said, error = call_main(capsys, predict.main, *flags, "--separate")
    assert status == 0 and "'a PENGUIN': never seen in training, so they mean little: penguin" in said, error
    name = "a_small_red_bird_with_a_white_belly"
    assert f"{tmp_path / name}.png  {SENTENCE}" in said and len(list(tmp_path.iterdir())) == 2 + 2 * 4
    embedding = text_encoder.load(both.folder / text_encoder.FILE).encode([SENTENCE])
    small, large = predict.generate(both, embedding.repeat(2, 0), seed=0)
    assert np.abs(pixels(tmp_path / f"{name}_64_02.png") - small[1]).max() <= 1
    sheet, edge = pixels(tmp_path / f"{name}.png"), -predict.MARGIN
    assert np.abs(sheet[edge - 256 : edge, edge - 256 : edge] - large[1]).max() <= 1
    assert (sheet[: predict.MARGIN + predict.FONT] < 128).any() and (sheet[0] == 255).all()
    before = (tmp_path / f"{name}.png").read_bytes()
    assert call_main(capsys, predict.main, *flags, "--stage=1")[0] == 0
    assert (tmp_path / f"{name}.png").read_bytes() == before
    assert pixels(tmp_path / f"{name}-2.png").shape[0] < sheet.shape[0]  # stage I alone


def test_refusals(capsys, tmp_path, stage1_run, stage2_run):
    def refused(*flags, ckpt=stage2_run):
        command = [f"--ckpt_path={ckpt}", f"--output_path={tmp_path / 'new'}", *flags]
        status, _, error = call_main(capsys, predict.main, *command)
        assert status == 2 and error.count("\n") <= 2 and not (tmp_path / "new").exists()
        return error

    assert "nothing to show" in refused()
    assert "is empty" in refused(" ")
    assert "train_text_encoder.py makes it" in refused(SENTENCE, ckpt=stage1_run)
    assert "is of stage I" in refused(SENTENCE, "--stage=2", ckpt=stage1_run)
    np.save(tmp_path / "short.npy", np.zeros([2, 5], np.float32))
    assert "takes [n, 1024]" in refused(f"--embeddings={tmp_path / 'short.npy'}")
    (tmp_path / "none.txt").write_text("\n\n")
    assert "nothing to show" in refused(f"--caption_path={tmp_path / 'none.txt'}")
    assert "neither .onnx, .pb nor .om" in refused(SENTENCE, "--model=none.txt")


def test_every_export_gives_the_same_images(capsys, tmp_path, stage2_run, both):
    """freeze.py's files by predict.py, the .pb's batch filled up; ONNX without TensorFlow."""
    folder = tmp_path / "exported"
    flags = [f"--ckpt_path={stage2_run}", f"--output_path={folder}", "--batch_size=4"]
    status, said, error = call_main(capsys, freeze.main, *flags, "--soc_version=Ascend310")
    assert status == 0, error
    assert (
        "--framework=3" in said and "Placeholder:1,4,1024;eps:4,4;z:4,3;eps_2:4,4" in said and "msame --model" in said
    )
    embeddings = np.concatenate([EMBEDDINGS] * 2)[:5]
    expected = predict.generate(both, embeddings, seed=3)
    for name in ("model.pb", "generator.onnx", "generator_saved_model"):
        found = predict.generate(predict.open_generator(model=folder / name), embeddings, seed=3)
        for images, wanted in zip(found, expected):
            assert images.shape == wanted.shape and np.abs(images.astype(int) - wanted).max() <= 1
    code = (
        f"import sys; sys.path.insert(0, {str(MODEL)!r}); import predict\n"
        f"assert predict.main([{SENTENCE!r}, '--model={folder / 'generator.onnx'}', '--output_path={tmp_path}']) == 0\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "a_small_red_bird_with_a_white_belly.png").exists()
    status, said, error = call_main(capsys, freeze.main, *flags, f"--check={folder / 'model.pb'}")
    assert status == 0 and "image_256: largest difference" in said, error
    status, _, error = call_main(capsys, freeze.main, *flags)
    assert status == 2 and "already" in error


def test_weights_alone(capsys, tmp_path, stage2_run, both):
    """A file a stage, in float16, which stand for the run."""
    flags = [f"--ckpt_path={stage2_run}", f"--output_path={tmp_path / 'small'}", "--format=weights"]
    assert call_main(capsys, freeze.main, *flags)[0] == 0
    names = ["stage1.safetensors", "stage2.safetensors", text_encoder.FILE]
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == names
    found = predict.generate(predict.open_generator(tmp_path / "small"), EMBEDDINGS)
    for images, wanted in zip(found, predict.generate(both, EMBEDDINGS)):
        assert np.abs(images.astype(int) - wanted).mean() < 2
    first = predict.open_generator(tmp_path / "small", stage=1)
    assert np.array_equal(predict.generate(first, EMBEDDINGS)[0], found[0])


@pytest.mark.parametrize("what", ["birds", "flowers"])
def test_demo(tmp_path, what, monkeypatch, capsys, stage2_run):
    """The page's scripts call demo.py with their settings, and with sentences where they are given no flags."""
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    script = ["bash", str(MODEL / "demo" / f"{what}_demo.sh")]
    environment = {**os.environ, "PYTHON": str(stand_in)}
    called = subprocess.check_output(script, cwd=str(tmp_path), env=environment).decode().splitlines()
    settings = str(MODEL / "demo" / "cfg" / f"{what}-demo.yml")
    assert called[:3] == [str(MODEL / "demo" / "demo.py"), "--cfg", settings] and called.count("--caption") == 2
    args = demo.parse_args([*called[1:], "--number=3"])
    assert len(args.sentences) == 2 and args.num == 3 and args.ckpt_path is None and args.separate
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / what).symlink_to(stage2_run)
    (tmp_path / "sentences.txt").write_text(f"{SENTENCE}\n")
    assert call_main(capsys, demo.main, "--cfg", settings, "--caption_path", "sentences.txt")[0] == 0
    assert len(list((tmp_path / "generated").iterdir())) == 1 + 2 * 4
