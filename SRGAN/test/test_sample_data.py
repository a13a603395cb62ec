"""sample_data.py: crops of photographs, others to test on, the same for a seed, and nothing of the user's touched."""

import baseline
import numpy as np
import pytest
import sample_data
from PIL import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "photographs"
    assert sample_data.main([f"--output_path={folder}", "--train=10", "--val=3", "--size=64"]) == 0
    return folder


def test_crops_of_different_photographs(folder):
    names = {split: sorted(path.name for path in (folder / split).iterdir()) for split in ("train", "val")}
    assert [len(names[split]) for split in ("train", "val")] == [10, 3]
    assert names["val"] == ["camera_001.png", "camera_002.png", "coffee_001.png"]
    assert {"astronaut_001.png", "astronaut_002.png", "rocket_001.png"} < set(names["train"])
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (64, 64) and image.mode == "RGB" and np.ptp(np.asarray(image)) > 0


def test_crops_are_parts_of_the_photograph(folder):
    from skimage.data import coffee

    crop = np.asarray(Image.open(folder / "val" / "coffee_001.png"))
    photograph = coffee()
    rows, columns = np.where((photograph[:-63, :-63] == crop[0, 0]).all(-1))
    assert any((photograph[y : y + 64, x : x + 64] == crop).all() for y, x in zip(rows, columns))


def test_a_seed_cuts_the_same_crops_and_another_seed_others(folder, tmp_path, capsys):
    for seed in (0, 1):
        flags = [f"--output_path={tmp_path / str(seed)}", "--train=1", "--val=1", "--size=64", f"--seed={seed}"]
        assert sample_data.main(flags) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("Next:  python ") and said[-1].endswith(f"SRGAN/train.py --data_path={tmp_path / '1'}")
    for name in ("train/astronaut_001.png", "val/camera_001.png"):  # whatever the number of images
        first, again, other = (
            np.asarray(Image.open(where / name)) for where in (folder, tmp_path / "0", tmp_path / "1")
        )
        assert (first == again).all() and (first != other).any()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert sample_data.main([f"--output_path={tmp_path}"]) == 2
    assert capsys.readouterr().err == f"[Error] --output_path: {tmp_path} is not an empty folder; name another one\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert sample_data.main([f"--output_path={tmp_path / 'mine.txt'}/set"]) == 2
    assert "cannot be written (Not a directory)" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        sample_data.main([f"--output_path={tmp_path / 'new'}", "--size=301"])
    assert exit_.value.code == 2 and "at most 300" in capsys.readouterr().err


def test_it_shows_what_photo_trains_on(tmp_path):
    """lr/, of the same names at a quarter of the size, each what the chain makes of its original."""
    for kind in ("bicubic", "photo"):
        flags = [f"--output_path={tmp_path / kind}", "--train=2", "--val=1", "--size=64", f"--degradation={kind}"]
        assert sample_data.main(flags) == 0
    names = sorted(path.relative_to(tmp_path / "photo") for path in (tmp_path / "photo").rglob("*.png"))
    assert [str(name) for name in names[:3]] == [
        "lr/train/astronaut_001.png",
        "lr/train/brick_001.png",
        "lr/val/camera_001.png",
    ]
    clean, bad = (np.asarray(Image.open(tmp_path / kind / names[0])) for kind in ("bicubic", "photo"))
    hr = np.asarray(Image.open(tmp_path / "photo" / "train" / "astronaut_001.png"))
    assert (clean == baseline.shrink(hr, 4)).all() and bad.shape == clean.shape and (bad != clean).any()
