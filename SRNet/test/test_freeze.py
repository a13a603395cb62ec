"""freeze.py: every export gives what predict.py gives; and what a run ends with."""

import json

import freeze
import numpy as np
import predict
from conftest import MODEL, call
from model import load_generator
from tensorflow import keras

from common import weights
from common.export import Exported


def crops(height, width, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for _ in range(2)]


def test_every_export_gives_what_the_checkpoint_gives(capsys, tmp_path, run, editor):
    """The .pb for two crops of its own size, the others of any; predict.py's editor takes the one that fits."""
    folder = tmp_path / "new"
    argv = ["--ckpt_path", run.folder, "--output_path", folder, "--batch_size=2", "--soc_version=Ascend310P3"]
    status, said, _ = call(capsys, freeze.main, *argv)
    assert status == 0 and "--input_shape=i_t:2,32,64,3;i_s:2,32,64,3" in said.replace("'", "")
    described = json.loads((folder / "final.json").read_text())
    assert described["outputs"]["o_sk"]["shape"] == [2, 32, 64, 1] and described["data_shape"] == [32, 64]
    for name, width in (("final.pb", 64), ("final_saved_model", 208), ("final.onnx", 208)):
        exported = predict.exported_editor([str(folder / name)])
        i_t, i_s = crops(32, width)
        found, expected = exported.generate(i_t, i_s), editor.generate(i_t, i_s)
        for kind in predict.OUTPUTS:
            assert np.abs(found[kind].astype(int) - expected[kind]).max() <= 1
    assert exported.size_of(10, 44) == editor.size_of(10, 44) == (32, 72)
    fixed = predict.exported_editor([str(folder / "final.pb")])
    assert fixed.size_of(10, 300) == (32, 64) and fixed.edit(*crops(20, 99))["o_f"].shape == (20, 99, 3)
    several = predict.exported_editor([str(folder / "final.pb"), str(folder / "final.onnx")])
    assert several.size_of(10, 300) == editor.size_of(10, 300) and several.size_of(10, 20) == (32, 64)


def test_what_a_run_ends_with(tmp_path, run, editor):
    """In float32 whatever the run computed in, at the training's size."""
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        generator = load_generator(weights.load(run.folder, "SRNet", MODEL))
        freeze.write_final(generator, run.options, str(tmp_path / "final.pb"))
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert [path.name for path in tmp_path.iterdir()] == ["final.pb"]
    assert Exported(tmp_path / "final.pb").inputs == {"i_t": (1, 32, 64, 3), "i_s": (1, 32, 64, 3)}
    i_t, i_s = crops(32, 64)
    found = predict.exported_editor([str(tmp_path / "final.pb")]).generate(i_t, i_s)["o_f"]
    assert np.abs(found.astype(int) - editor.generate(i_t, i_s)["o_f"]).max() <= 1


def test_sides_that_no_network_takes(capsys):
    status, _, error = call(capsys, freeze.main, "--height=20")
    assert status == 2 and "give multiples of 8" in error
