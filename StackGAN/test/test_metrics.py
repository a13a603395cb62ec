"""metrics.py: known answers by hand and by plain loops."""

from types import SimpleNamespace

import data
import metrics
import numpy as np
import pytest
import sample_data


def test_inception_score_of_known_classifiers():
    """Clueless, sure of one; and certain, of images that stand class by class: they are shuffled first."""
    for dull in (np.full((40, 5), 0.2), np.eye(5)[np.zeros(40, int)]):
        assert metrics.inception_score(dull) == (pytest.approx(1), pytest.approx(0))
    mean, std = metrics.inception_score(np.eye(10)[np.repeat(np.arange(10), 200)])
    assert 9.5 < mean < 10 and 0 < std < 0.2


def test_inception_score_by_plain_loops():
    """Mean and standard deviation of exp E KL in tenths that are not of one size."""
    p, scores = np.random.default_rng(0).dirichlet(np.ones(4), 57), []
    shuffled = p[np.random.default_rng(3).permutation(57)]
    for number in range(10):
        part = shuffled[number * 57 // 10 : (number + 1) * 57 // 10]
        marginal = part.mean(0)
        kl = [sum(row[k] * np.log(row[k] / marginal[k]) for k in range(4)) for row in part]
        scores.append(np.exp(np.mean(kl)))
    assert metrics.inception_score(p, seed=3) == pytest.approx((np.mean(scores), np.std(scores)))


def test_r_precision_by_hand():
    captions = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    images = np.array([[9.0, 1.0], [0.1, 0.3], [5.0, 0.0]])  # the third is nearest to the first caption
    assert metrics.r_precision(images, captions, np.arange(3)) == pytest.approx(2 / 3)
    assert metrics.r_precision(images, captions, np.array([7, 8, 7])) == 1  # that caption may fit too
    assert metrics.r_precision(np.ones((50, 8)), np.ones((50, 8)), np.arange(50)) == 0  # all alike: nothing is told


def test_pooled_colours():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, 2:4, 6:8] = [255, 51, 0]  # the second row's last cell
    image[0, 7, 0, 2] = 204  # a quarter of the last row's first cell
    expected = np.zeros((4, 4, 3))
    expected[1, 3], expected[3, 0] = [1, 0.2, 0], [0, 0, 0.2]
    np.testing.assert_allclose(metrics.pooled_colours(image), [expected.ravel()])


def test_body_colours_of_real_birds():
    """Of the sample set's test classes as stage I sees them; paler; and with noise."""
    classes = sample_data.choose_classes(np.random.default_rng(0), 64, held_out=True)
    images, bodies = [], []
    for number, colours in enumerate(classes):
        rng = np.random.default_rng([5, number])
        image = data.resized(np.asarray(sample_data.draw(sample_data.make_bird(rng, colours), rng)), 76)
        images.append(image[6:70, 6:70])
        bodies.append(list(sample_data.COLOURS).index(colours[0]))
    images = np.stack(images)
    pale = np.uint8(np.round(128 + 0.8 * (images - 128.0)))
    noisy = np.uint8(np.clip(images + np.random.default_rng(0).normal(0, 6, images.shape), 0, 255))
    for seen in (images, pale, noisy):
        assert (metrics.body_colours(seen) == bodies).mean() > 0.98
    assert metrics.body_colours(np.full((1, 64, 64, 3), sample_data.PLACES["sky"], np.uint8)).tolist() == [0]


def test_frechet_distance():
    """Of two normal distributions by their formula; of a set from itself 0; with fewer rows than columns too."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 3)), rng.normal([1, 0, 0], [1, 2, 1], (4000, 3))
    assert metrics.frechet_distance(x, y) == pytest.approx(1 + (2 - 1) ** 2, abs=0.1)
    few = rng.normal(size=(5, 20))
    assert metrics.frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(few, few + 2) == pytest.approx(80)


def test_trivial_baselines(sample_set):
    split = data.Split(sample_set / "train", False)
    drawn = metrics.shuffled(split, 15, 64)
    crops = [crop.tobytes() for crop in split.crops(64)]
    counts = [sum(image.tobytes() == crop for image in drawn) for crop in crops]
    assert min(counts) == 2 and max(counts) == 3  # all equally often
    assert np.abs(metrics.mean_image(split, 64) - split.crops(64).astype(float).mean(0)).max() <= 0.5


def test_colour_probe():
    """It learns which colours the captions name, and images that have others get no better than chance."""
    rng, colours = np.random.default_rng(0), {"red": (200, 30, 40), "yellow": (220, 200, 40), "black": (20, 20, 25)}
    images, captions = [], []
    for number in range(60):
        name, colour = list(colours.items())[number % 3]
        image = np.full((64, 64, 3), (90, 140, 90)) + rng.integers(-20, 20, (64, 64, 3))
        image[16:48, 16:48] = np.array(colour) + rng.integers(-10, 10, (32, 32, 3))
        images.append(np.clip(image, 0, 255).astype(np.uint8))
        captions.append([f"a {name.upper()} bird", "a reddish bird"])

    class Set(SimpleNamespace):
        def __len__(self):
            return 40

    split = Set(captions=captions, crops=lambda size, rows: np.stack([images[row] for row in rows]))
    probe, held_out = metrics.colour_probe(split), range(40, 60)
    named = metrics.named_colours([captions[i][0] for i in held_out])
    assert named.sum(0)[[metrics.WORDS.index(name) for name in colours]].tolist() == [6, 7, 7] and named.sum() == 20
    shown = np.stack([images[i] for i in held_out])
    assert metrics.colour_auc(probe(shown), named) > 0.99
    assert metrics.colour_auc(probe(shown[::-1]), named) < 0.7
    assert metrics.colour_auc(np.zeros([20, 9]), named) == 0.5
    assert metrics.colour_auc(probe(shown), named[:, 3:4]) is None
    by_hand = metrics.colour_auc(np.arange(10.0)[:, None], np.array([1, 0] * 5, bool)[:, None])
    assert by_hand == pytest.approx(10 / 25)
