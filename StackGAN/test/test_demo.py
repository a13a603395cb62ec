"""demo/demo.py: sentences, and embeddings of others, become sheets; nothing that is there is overwritten."""

import os
import subprocess
import sys

import numpy as np
import pytest
import text_encoder
import trained
from conftest import MODEL
from PIL import Image, ImageFont
from strong import strengthened

from common.testing import call_main

sys.path.append(str(MODEL / "demo"))
import demo  # noqa: E402

SENTENCE = "a small red bird with a white belly"


@pytest.fixture(scope="module")
def run(stage2_run, tmp_path_factory):
    """A run's folder with an encoder in it."""
    folder = strengthened(stage2_run.folder, tmp_path_factory.mktemp("strong") / "run")
    text_encoder.save(str(folder / text_encoder.FILE), text_encoder.build_text_encoder((6, 5, 4)))
    return folder


def call(capsys, run, folder, *flags):
    """demo.py's exit status, and what it said on stdout and stderr."""
    return call_main(capsys, demo.main, f"--ckpt_path={run}", f"--output_path={folder}", "--device=cpu", *flags)


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_sentences(capsys, tmp_path, run):
    lines = tmp_path / "sentences.txt"
    lines.write_text("A blue bird.\n\n  a yellow bird with very long grey legs and an orange beak, seen from below \n")
    folder = tmp_path / "drawn"
    flags = ["--caption", SENTENCE, f"--caption_path={lines}", "--number=2"]
    status, said, error = call(capsys, run, folder, *flags)
    assert status == 0 and f"{folder / 'sentence_02.png'}  A blue bird." in said, error
    names = [f"sentence_{number:02d}" for number in (1, 2, 3)]
    assert sorted(path.name for path in folder.glob("*.png")) == [f"{name}.png" for name in names]
    for stage in ("stageI", "stageII"):
        assert len(list((folder / stage).iterdir())) == 6

    # The pictures are the model's for the encoder's embedding, and the sheet has them under its sentence.
    embedding = text_encoder.encode(text_encoder.load(str(run / text_encoder.FILE)), [SENTENCE])
    small, large = trained.draw(trained.load(str(run)), embedding.repeat(2, 0), seed=0)
    assert np.abs(pixels(folder / "stageI" / "sentence_01_02.png") - small[1]).max() <= 1
    assert np.abs(pixels(folder / "stageII" / "sentence_01_01.png") - large[0]).max() <= 1
    sheet = pixels(folder / "sentence_01.png")
    bottom, right = -demo.MARGIN, -demo.MARGIN
    assert np.abs(sheet[bottom - 256 : bottom, right - 256 : right] - large[1]).max() <= 1
    assert (sheet[: demo.MARGIN + demo.FONT] < 128).any() and (sheet[0] == 255).all()

    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert call(capsys, run, folder, *flags)[0] == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    assert (folder / "sentence_03-2.png").read_bytes() == before[folder / "sentence_03.png"]  # same seed, same picture


def test_lines():
    font = ImageFont.load_default(size=demo.FONT)
    lines = demo.wrapped("a bird " * 20 + "w" * 60, font, 300)
    assert " ".join(lines) == "a bird " * 20 + "w" * 60
    assert all(font.getlength(line) <= 300 for line in lines[:-1]) and lines[-1] == "w" * 60


@pytest.mark.parametrize("name", ["birds.npy", "birds.npz"])
def test_embeddings_of_others(capsys, tmp_path, run, name):
    """Need no encoder; each caption of each picture is drawn."""
    embeddings = np.random.default_rng(0).normal(size=(2, 2, 1024)).astype(np.float32)
    path = tmp_path / name
    np.save(path, embeddings) if name.endswith("npy") else np.savez(path, embeddings=embeddings)
    status, said, error = call(capsys, run, tmp_path / "drawn", f"--embeddings={path}", "--number=1")
    assert status == 0 and f"{name}, 2.1" in said and "4 sentences, 1 pictures each" in said, error


def test_torch7(capsys, tmp_path, run):
    """As the original's example_captions.t7, in its ascii form: a table of the sentences and their embeddings."""
    values = np.random.default_rng(0).normal(size=(2, 1024)).astype(np.float32)

    def text(string):
        return f"2\n{len(string)}\n{string}\n"

    def tensor(name, row):
        storage = f"4\n{name + 1}\n3\nV 1\n18\ntorch.FloatStorage\n{len(row)}\n{' '.join(map(repr, row.tolist()))}\n"
        return f"4\n{name}\n3\nV 1\n17\ntorch.FloatTensor\n2\n1 {len(row)}\n{len(row)} 1\n1\n{storage}"

    rows = "".join(f"1\n{i + 1}\n{tensor(10 + 2 * i, row)}" for i, row in enumerate(values))
    names = "".join(f"1\n{i + 1}\n{text(name)}" for i, name in enumerate((SENTENCE, "a blue one")))
    table = f"3\n1\n2\n{text('raw_txt')}3\n2\n2\n{names}{text('fea_txt')}3\n3\n2\n{rows}"
    (tmp_path / "birds.t7").write_text(table)
    status, said, error = call(capsys, run, tmp_path / "drawn", f"--caption_path={tmp_path / 'birds.t7'}", "--number=1")
    assert status == 0 and "a blue one" in said, error
    drawn = trained.draw(trained.load(str(run)), values[:1])[0][0]
    assert np.abs(pixels(tmp_path / "drawn" / "stageI" / "sentence_01_01.png") - drawn).max() <= 1


def test_refusals(capsys, tmp_path, run, stage1_run):
    folder = tmp_path / "drawn"

    def refused(*flags, ckpt=run):
        status, _, error = call(capsys, ckpt, folder, *flags)
        assert status == 2 and not folder.exists()
        return error

    assert "is empty" in refused("--caption= ")
    assert "train_text_encoder.py makes it" in refused("--caption", SENTENCE, ckpt=stage1_run.folder)
    assert "there is no such file" in refused("--caption", SENTENCE, "--text_encoder=nowhere.h5")
    assert "no checkpoint in" in refused("--caption", SENTENCE, ckpt=tmp_path)
    np.save(tmp_path / "short.npy", np.zeros([2, 5], np.float32))
    assert "an embedding of 5 numbers, and the model takes 1024" in refused(f"--embeddings={tmp_path / 'short.npy'}")
    (tmp_path / "bad.yml").write_text("TEST:\n  NUM_COPIES: 4\n")
    assert "unknown key TEST.NUM_COPIES" in refused("--caption", SENTENCE, f"--cfg={tmp_path / 'bad.yml'}")
    (tmp_path / "none.txt").write_text("\n\n")
    assert "holds no sentence" in refused(f"--caption_path={tmp_path / 'none.txt'}")
    with pytest.raises(SystemExit) as exit_:
        call(capsys, run, folder)
    assert exit_.value.code == 2 and "nothing to draw" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["birds", "flowers"])
def test_scripts(tmp_path, what):
    """The page's scripts call demo.py with their settings, and with sentences where they are given no flags."""
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    script = ["bash", str(MODEL / "demo" / f"{what}_demo.sh")]
    environment = {**os.environ, "PYTHON": str(stand_in)}
    called = subprocess.check_output(script, cwd=str(tmp_path), env=environment).decode().splitlines()
    settings = str(MODEL / "demo" / "cfg" / f"{what}-demo.yml")
    assert called[:3] == [str(MODEL / "demo" / "demo.py"), "--cfg", settings] and called.count("--caption") == 2
    called = subprocess.check_output([*script, "--number=3"], cwd=str(tmp_path), env=environment).decode().splitlines()
    assert called[3:] == ["--number=3"]
    for file in (f"{what}-demo.yml", f"{what}-eval.yml"):
        args = demo.parse_args([f"--cfg={MODEL / 'demo' / 'cfg' / file}", "--caption=a bird"])
        assert args.ckpt_path == str(MODEL / "models" / what) and args.number == (4 if "demo" in file else 1)
