"""sample_data.py: a data set that train.py takes as it is, the same for a seed, and nothing of the user's touched."""

import data
import numpy as np
import pytest
import sample_data

from common.test.testing import call_main


def write(capsys, *flags):
    return call_main(capsys, sample_data.main, *flags, "--processes=1")


def test_a_set_to_train_on(tmp_path, capsys):
    folder = tmp_path / "pairs"
    status, said, _ = write(capsys, f"--output_path={folder}", "--number=5", "--val=2")
    assert status == 0 and said.splitlines()[-1].endswith(f"train.py --data_path={folder}")
    for split, count in (("train", 5), ("val", 2)):
        names = data.find_samples(folder / split)
        assert len(names) == count
        for name in names:
            sample = data.read_sample(folder / split, name)
            assert {image.shape[:2] for image in sample.values()} == {(64, 128)}
            assert all(np.ptp(image) > 0 for image in sample.values())


def test_a_seed_draws_the_same_and_another_seed_another_set(tmp_path, capsys):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        assert write(capsys, f"--output_path={tmp_path / name}", "--number=1", "--val=1", f"--seed={seed}")[0] == 0
    for path in ("train/t_f/00000001.png", "val/t_f/00000001.png"):
        one, two, other = ((tmp_path / name / path).read_bytes() for name in ("one", "two", "other"))
        assert one == two != other


def test_mistakes(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    status, _, said = write(capsys, f"--output_path={tmp_path}")
    assert status == 2 and said == f"[Error] --output_path: {tmp_path} is not an empty folder; name another one\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(SystemExit) as exit_:
        sample_data.main([f"--output_path={tmp_path / 'new'}", "--shape=64"])
    assert exit_.value.code == 2 and "neither HEIGHTxWIDTH" in capsys.readouterr().err
