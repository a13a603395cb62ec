"""evaluate.py: generators whose metrics are known, what is written read back, and bad input."""

import json
from argparse import Namespace

import data
import evaluate
import metrics
import numpy as np
import pytest
from conftest import COLOURS, call_main, write_run, write_set
from PIL import Image

SHADES = np.array(list(COLOURS.values()), np.uint8)


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Twelve plain images to train on and six to measure on, whose attributes.json tells their colours."""
    folder = write_set(tmp_path_factory.mktemp("birds") / "set", 12)
    for part in ("train", "test"):
        names = data.Split(folder / part, False).filenames
        shown = {name: {"body": name.split("/")[0]} for name in names}
        (folder / part / "attributes.json").write_text(json.dumps(shown))
    return folder


def args_of(folder, output="nowhere"):
    return Namespace(data_path=str(folder), output_path=str(output), seed=0)


def generator_of(folder, sizes, of=lambda label: label):
    """Knows by its embedding which colour a caption names, and gives that one, or the one that `of` makes of it."""
    split = data.Split(folder / "train")
    names = [name.split("/")[0] for name in split.filenames]
    known = np.stack([split.embeddings[names.index(name), 0] for name in COLOURS])

    def generate(embeddings, seed):
        labels = of(np.argmax(embeddings @ known.T, 1))
        return [np.broadcast_to(SHADES[labels][:, None, None], (len(labels), size, size, 3)) for size in sizes]

    return generate


def test_captions_that_are_taken(birds):
    split = data.Split(birds / "test")  # six images with three captions
    few = evaluate.choose(split, 3)
    assert few.indices.tolist() == [0, 2, 4] and few.numbers.tolist() == [0, 2, 1]
    many = evaluate.choose(split, 20)
    pairs = list(zip(many.indices.tolist(), many.numbers.tolist()))
    assert len(set(pairs)) == 18 and pairs[18:] == pairs[:2]  # each once, then again
    assert np.array_equal(many.embeddings[7], split.embeddings[pairs[7]])
    assert many.captions[7] == split.captions[pairs[7][0]][pairs[7][1]]


def test_one_that_understands_and_one_that_does_not(birds, tmp_path):
    split = data.Split(birds / "test")
    wrong = generator_of(birds, [64], lambda x: (x + 1) % 3)
    found, trivial = evaluate.evaluate_run(args_of(birds), wrong, split, tmp_path / "evaluation")
    assert found["colour_share"] == 0 and found["images"] == 6
    assert trivial["real_colour_share"] == 1 and trivial["colour_share"] < 1
    assert trivial["mean_colour_share"] in (0, pytest.approx(1 / 3)) and "real_frechet_colours" not in trivial
    found, _ = evaluate.evaluate_run(args_of(birds), generator_of(birds, [64, 256]), split, tmp_path / "evaluation")
    assert found["colour_share"] == found["stageI_colour_share"] == 1
    assert found["frechet_colours"] < trivial["mean_frechet_colours"] / 5  # nearer than the mean image
    plain = SHADES[[2, 2, 1, 1, 0, 0]][:, None, None] * np.ones((1, 64, 64, 1), np.uint8)
    expected = metrics.frechet_distance(metrics.pooled_colours(plain), metrics.pooled_colours(split.crops(256)))
    assert found["frechet_colours"] == pytest.approx(expected)

    written = tmp_path / "evaluation-2"  # the first one stays
    means = json.loads((written / "evaluation.json").read_text())["metrics"]
    assert means["stageII"]["colour_share"] == 1 and set(means) == {"stageI", "stageII", "real", "shuffled", "mean"}
    for number, name in enumerate(split.filenames):
        kind, file = name.split("/")
        image = np.asarray(Image.open(written / "stageII" / f"{number:04}_{file}.png"))
        assert image.shape == (256, 256, 3) and (image == COLOURS[kind]).all()
    assert (written / "index.html").read_text().count("<img ") == 6 * 3


def test_colours_of_photographs(sample_set):
    """Where no attributes are known: captions name the colours, and five of each are enough."""
    train, test = (data.Split(sample_set / part) for part in ("train", "test"))
    many, few = (evaluate.choose(test, number) for number in (18, 12))
    ruler = evaluate.make_ruler(many, train, many.real(64))
    values = [ruler(images).get("colour_auc", 0) for images in (many.real(64), np.roll(many.real(64), 1, 0))]
    assert values[0] > 0.95 and values[1] < 0.6
    assert "colour_auc" not in evaluate.make_ruler(few, train, few.real(64))(few.real(64))


def test_features_and_r_precision(birds):
    """An encoder that hears colours and one that sees them; features that are colours, and a classifier of them."""

    class Hears:
        def encode(self, captions):
            return np.array([[f"a {name} bird" in caption for name in COLOURS] for caption in captions], float)

    def sees(images):
        return np.eye(3)[((images.mean((1, 2))[:, None] - SHADES) ** 2).sum(2).argmin(1)]

    chosen = evaluate.choose(data.Split(birds / "test"), 12)
    networks = {"frechet_x": lambda x: (x.mean((1, 2)), sees(x)), "frechet_y": lambda x: (x[:, 0, 0], None)}
    real = chosen.real(64)
    ruler = evaluate.make_ruler(chosen, data.Split(birds / "train"), real, Hears(), sees, networks)
    values = ruler(real)
    assert values["r_precision"] == 1 and values["inception"] == pytest.approx(1, abs=0.5)
    assert values["frechet_x"] == pytest.approx(0, abs=1e-6) == values["frechet_y"]
    worse = ruler(np.roll(real, 1, 3))
    assert worse["r_precision"] < 1 and worse["frechet_x"] >= 0


def test_the_command(capsys, tmp_path, birds, stage1_run, stage2_run):
    """Of a run of both stages; what is printed is what is written."""
    flags = [
        f"--ckpt_path={stage2_run}",
        f"--data_path={birds}",
        "--number=10",
        f"--output_path={tmp_path / 'x'}",
    ]
    status, said, error = call_main(capsys, evaluate.main, *flags)
    assert status == 0 and "10 captions of" in said, error
    result = json.loads((tmp_path / "x" / "evaluation.json").read_text())
    [line] = [line for line in said.splitlines() if line.startswith("colour_share")]
    assert float(line.split()[2]) == pytest.approx(result["metrics"]["stageII"]["colour_share"], abs=1e-3)
    table = [line for line in said.splitlines() if line.startswith((" ", "colour_", "frechet_"))]
    assert len(table) == 3 and max(map(len, table)) <= 100
    for changed, told in (
        (f"--ckpt_path={tmp_path}", "no weights in"),
        (f"--data_path={tmp_path}", "no images in test/images"),
        (f"--vgg19_weights={tmp_path / 'x.h5'}", "there is no such file"),
    ):
        status, _, error = call_main(capsys, evaluate.main, *flags, changed)
        assert status == 2 and told in error
    run = write_run(tmp_path / "whole", random_crop=False)  # its images are compared with whole ones
    assert not (birds / "test" / "64images.npy").exists()
    status, _, error = call_main(capsys, evaluate.main, f"--ckpt_path={run}", f"--data_path={birds}", "--number=10")
    assert status == 0 and (birds / "test" / "64images.npy").exists(), error
    status, _, error = call_main(capsys, evaluate.main, *flags, f"--ckpt_path={stage1_run}", "--stage=2")
    assert status == 2 and "is of stage I" in error
