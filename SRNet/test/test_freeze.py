"""freeze.py: every export gives what predict.py gives."""

import json

import freeze
import numpy as np
import predict
from conftest import call


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
        exported = predict.exported_editor(str(folder / name))
        assert exported.options.data_shape == [32, 64] and not exported.options.tight_text
        i_t, i_s = crops(32, width)
        found, expected = exported.generate(i_t, i_s), editor.generate(i_t, i_s)
        for kind in predict.OUTPUTS:
            assert np.abs(found[kind].astype(int) - expected[kind]).max() <= 1
    assert exported.size_of(10, 44) == editor.size_of(10, 44) == (32, 72)
    fixed = predict.exported_editor(str(folder / "final.pb"))
    assert fixed.size_of(10, 300) == (32, 64) and fixed.edit(*crops(20, 99))["o_f"].shape == (20, 99, 3)
