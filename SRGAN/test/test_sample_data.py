"""sample_data.py: crops of photographs, others to test on."""

import baseline
import numpy as np
import sample_data
from conftest import call
from PIL import Image
from skimage.data import coffee


def test_crops_of_different_photographs(tmp_path, capsys):
    for name, count in (("one", 10), ("other", 1)):
        flags = [f"--output_path={tmp_path / name}", f"--train={count}", "--val=3", "--size=64"]
        status, said, _ = call(capsys, sample_data.main, *flags)
        assert status == 0 and said.endswith(f"SRGAN/train.py --data_path={tmp_path / name}\n")
    names = {split: sorted(path.name for path in (tmp_path / "one" / split).iterdir()) for split in ("train", "val")}
    assert names["val"] == ["camera_001.png", "camera_002.png", "coffee_001.png"] and len(names["train"]) == 10
    assert {"astronaut_001.png", "astronaut_002.png", "rocket_001.png"} < set(names["train"])
    for path in (tmp_path / "one").rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (64, 64) and image.mode == "RGB"
    first, again = (tmp_path / name / "train" / "astronaut_001.png" for name in ("one", "other"))
    assert first.read_bytes() == again.read_bytes()  # whatever the number of images
    crop, photograph = np.asarray(Image.open(tmp_path / "one" / "val" / "coffee_001.png")), coffee()
    rows, columns = np.where((photograph[:-63, :-63] == crop[0, 0]).all(-1))
    assert any((photograph[y : y + 64, x : x + 64] == crop).all() for y, x in zip(rows, columns))


def test_it_shows_what_photo_trains_on(tmp_path):
    """lr/, of the same names at a quarter of the size, each what the chain makes of its original."""
    for kind in ("bicubic", "photo"):
        flags = [f"--output_path={tmp_path / kind}", "--train=2", "--val=1", "--size=64", f"--degradation={kind}"]
        assert sample_data.main(flags) == 0
    clean, bad = (np.asarray(Image.open(tmp_path / kind / "lr/train/brick_001.png")) for kind in ("bicubic", "photo"))
    hr = np.asarray(Image.open(tmp_path / "photo/train/brick_001.png"))
    assert (clean == baseline.shrink(hr, 4)).all() and bad.shape == clean.shape and (bad != clean).any()
