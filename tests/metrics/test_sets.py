"""Set metrics on features: moments, distances, intervals, statistics files."""

import json

import numpy as np
import pytest
import torch

from afa_bench.errors import UserError
from afa_bench.metrics.base import NoValue
from afa_bench.metrics.frechet import FrechetDistance, frechet_distance
from afa_bench.metrics.gaussian import FrechetTo, Gaussian, batches, distance, factor, fitted
from afa_bench.metrics.inception_score import InceptionScore, inception_score, split_of
from afa_bench.metrics.kernel import ClipMaximumMeanDiscrepancy, CmmdTo, KernelInceptionDistance, kernel_inception_distance
from afa_bench.metrics.moments import Moments, SplitScores
from afa_bench.metrics.reference import Statistics, read_statistics, write_statistics


def features(n, dim, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return np.abs(rng.standard_normal((n, dim)) @ rng.standard_normal((dim, dim)) / np.sqrt(dim) + 0.4 + shift)


class Held:
    """Features in memory, as a metric asks for them."""

    def __init__(self, generated, reference, clusters=None):
        self.arrays, self.real = generated, reference
        self.clusters = clusters or [str(index) for index in range(len(generated))]

    def generated(self, name):
        return self.arrays

    def reference(self, name, kind):
        return self.real


@pytest.mark.parametrize("parts", [2, 7])
def test_merged_shards_are_one_pass(parts):
    rows = torch.from_numpy(features(640, 48))
    whole, shards = Moments(48), [Moments(48) for _ in range(parts)]
    whole.update(rows)
    for shard, piece in zip(shards, rows.chunk(parts), strict=True):
        for batch in piece.split(13):
            shard.update(batch)
    for other in shards[1:]:
        shards[0].merge_state(other)
    for one, merged in zip(whole.compute(), shards[0].compute(), strict=True):
        np.testing.assert_allclose(merged, one, rtol=0, atol=1e-12)
    mean, covariance = whole.compute()
    np.testing.assert_allclose(covariance, np.cov(rows.numpy(), rowvar=False), atol=1e-12)
    np.testing.assert_allclose(mean, rows.numpy().mean(axis=0), atol=1e-12)


def test_merged_split_scores_are_one_pass():
    probabilities = np.random.default_rng(0).dirichlet(np.full(20, 0.1), size=301)
    split = torch.from_numpy(split_of(301, 10))
    one, other = SplitScores(10, 20), SplitScores(10, 20)
    one.update(torch.from_numpy(probabilities[:120]), split[:120])
    other.update(torch.from_numpy(probabilities[120:]), split[120:])
    one.merge_state(other)
    assert float(one.compute().mean()) == pytest.approx(inception_score(probabilities, 10), abs=1e-12)


def test_splits_are_even_and_one_split_holds_all():
    assert sorted(np.bincount(split_of(301, 10))) == [30] * 9 + [31]
    assert not split_of(301, 1).any()


def test_the_distance_of_moments_is_that_of_the_rows():
    a, b = features(300, 32), features(400, 32, seed=1, shift=0.1)
    assert distance(fitted(batches(a)), fitted(batches(b))) == pytest.approx(frechet_distance(a, b), abs=1e-5)


def test_the_distance_of_few_rows_to_a_singular_gaussian():
    a, b = features(20, 32), features(25, 32, seed=1)
    few = fitted([b])
    assert np.allclose(factor(few.covariance) @ factor(few.covariance).T, few.covariance, atol=1e-9)
    assert distance(fitted([a]), few) == pytest.approx(frechet_distance(a, b), abs=1e-5)


@pytest.mark.parametrize("n", [50, 150, 600])
def test_the_form_of_the_reference_is_nothing(n):
    """Rows or their moments, more or fewer images than features: one value, one interval."""
    a, b = features(n, 100), features(2_000, 100, seed=1, shift=0.05)
    prompts = [str(index // 2) for index in range(n)]
    metric = FrechetDistance()
    rows, moments = (metric.over_set(Held(a, reference, prompts)) for reference in (b, fitted([b])))
    assert rows.n == n
    assert [moments.value, moments.low, moments.high] == pytest.approx([rows.value, rows.low, rows.high], rel=1e-9)
    few = b[:60]  # a reference of fewer images than features
    alone, from_moments = (metric.over_set(Held(a, reference, prompts)) for reference in (few, fitted([few])))
    assert [from_moments.value, from_moments.low] == pytest.approx([alone.value, alone.low], rel=1e-6)


def test_copies_of_a_prompt_tell_nothing_new():
    a, b = features(300, 8), features(2_000, 8, seed=1, shift=0.05)
    prompts = [str(index) for index in range(300)]
    once = FrechetDistance().over_set(Held(a, b, prompts))
    copied = FrechetDistance().over_set(Held(np.concatenate([a] * 4), b, prompts * 4))
    assert copied.n == 1200
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.05)


def test_a_set_beside_itself():
    a = features(80, 20)
    found = FrechetDistance().over_set(Held(a, a))
    assert found.value == pytest.approx(0, abs=1e-8)
    assert found.low <= found.value <= found.high < 1e-3


@pytest.mark.parametrize(
    ("metric", "reference", "why"),
    [
        (FrechetDistance(), "one", "two images at least on either side"),
        (KernelInceptionDistance(), "moments", "takes the reference images themselves"),
        (ClipMaximumMeanDiscrepancy(), "moments", "takes the reference images themselves"),
        (KernelInceptionDistance(), "one", "two images at least on either side"),
        (InceptionScore(), "none", "10 splits take as many images at least, found 9"),
    ],
)
def test_what_has_no_value_says_why(metric, reference, why):
    real = {"one": features(1, 6), "moments": Gaussian(np.zeros(6), np.eye(6)), "none": None}[reference]
    with pytest.raises(NoValue, match=why):
        metric.over_set(Held(features(9, 6), real))


@pytest.mark.parametrize(("images", "references"), [(12, 8), (51, 20), (120, 49), (120, 51), (50, 300)])
def test_kid_takes_any_sizes(images, references):
    """Also more images than a subset has, and fewer references."""
    a, b = features(images, 8), features(references, 8, seed=1)
    found = KernelInceptionDistance(subset_size=50, subsets=200).over_set(Held(a, b))
    whole = kernel_inception_distance(a, b, np.arange(images), 1, 1_000)[0]
    assert found.n == images
    assert found.value == pytest.approx(whole, abs=0.1 + 0.2 * abs(whole))
    assert np.isnan(found.low) == (images < 16)


def test_kernel_distances_are_their_formulas():
    a, b = features(40, 8), features(40, 8, seed=1)

    def kernel(x, y):
        return (x @ y / 8 + 1) ** 3

    def within(rows):
        return np.mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j])

    expected = within(a) + within(b) - 2 * np.mean([kernel(x, y) for x in a for y in b])
    rows = np.arange(40)
    assert kernel_inception_distance(a, b, rows, subsets=3, size=40)[0] == pytest.approx(expected)
    assert kernel_inception_distance(a, b, rows, subsets=3, size=39)[0] == pytest.approx(expected, abs=0.05)
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    near = lambda x, y: np.mean([np.exp(-np.square(p - q).sum() / 200) for p in x for q in y])  # noqa: E731
    assert CmmdTo(b, a)(rows)[0] == pytest.approx(1000 * (near(a, a) + near(b, b) - 2 * near(a, b)))
    assert CmmdTo(a, a)(rows)[0] == pytest.approx(0, abs=1e-9)


def test_distances_of_very_many_rows_are_those_of_their_blocks():
    """Rows of float32, as they lie in a file, in more than one block of 1,024."""
    a, b = features(2_100, 8).astype(np.float32), features(1_500, 8, seed=1).astype(np.float32)
    rows = np.arange(2_100)
    wide = [rows.astype(np.float64) for rows in (a, b)]

    def near(x, y):
        squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
        return np.exp(-squares / 200).mean()

    x, y = wide
    assert CmmdTo(b, a)(rows)[0] == pytest.approx(1000 * (near(x, x) + near(y, y) - 2 * near(x, y)), abs=1e-9)
    narrow, broad = (kernel_inception_distance(*sides, rows, 3, 500) for sides in ((a, b), wide))
    assert narrow[0] == pytest.approx(broad[0], rel=1e-12)
    assert frechet_distance(x[:400], b) == pytest.approx(distance(fitted([x[:400]]), fitted([y])), abs=1e-5)
    value, influence = FrechetTo(b)(a, rows)
    assert value == pytest.approx(distance(fitted([x]), fitted([y])), abs=1e-5)
    assert influence.shape == (2_100,)


def test_titles_name_what_is_not_the_definition():
    titles = [
        FrechetDistance(features="inception").title,
        FrechetDistance(features="inception", resize="pytorch-fid", reference="vae").title,
        FrechetDistance(features="lite0").title,
        FrechetDistance().title,
        InceptionScore().title,
        InceptionScore(features="inception", resize="torch-fidelity").title,
        ClipMaximumMeanDiscrepancy().title,
    ]
    expected = ["FID", "FID (pytorch-fid, VAE ref.)", "FID (lite0)", "FID", "IS", "IS (torch-fidelity)", "CMMD (224 px)"]
    assert titles == expected


def test_a_resize_without_inception_is_refused():
    with pytest.raises(UserError, match="resize: only features: inception"):
        FrechetDistance(features="lite0", resize="pytorch-fid").extractor()


def test_cells_scored_before_there_was_a_resize_keep_their_identity():
    assert FrechetDistance(features="lite0").identity()["options"] == {"features": "lite0", "reference": "real"}
    assert InceptionScore(features="lite0", splits=1).identity()["options"] == {"features": "lite0", "splits": 1}


def test_statistics_are_read_as_written_and_as_others_write_them(tmp_path):
    gaussian = fitted([features(50, 6)])
    about = {"images": 50, "extractor": {"name": "e", "version": 1, "weights": {}}}
    write_statistics(tmp_path / "ours.npz", Statistics(gaussian, about))
    ours = read_statistics(tmp_path / "ours.npz")
    assert ours.about == about
    assert ours.gaussian.n == 50
    assert np.array_equal(ours.gaussian.covariance, gaussian.covariance)
    np.savez(tmp_path / "theirs.npz", mu=gaussian.mean, sigma=gaussian.covariance)
    theirs = read_statistics(tmp_path / "theirs.npz")
    assert theirs.about == {}
    assert distance(theirs.gaussian, ours.gaussian) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, "mu, sigma: expected arrays"),
        ({"mu": np.zeros(3), "sigma": np.eye(2)}, "mu, sigma: expected arrays"),
        ({"mu": np.zeros(2), "sigma": np.full((2, 2), np.nan)}, "finite"),
        ({"mu": np.array(["a", "b"]), "sigma": np.eye(2)}, "finite"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "expected arrays"),
        ({"mu": np.zeros(2), "sigma": np.array([[1.0, 0.9], [0.0, 1.0]])}, "a covariance"),
        ({"mu": np.zeros(2), "sigma": -np.eye(2)}, "a covariance"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "n": np.arange(3)}, "n: expected a number of images"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "n": np.array("many")}, "n: expected a number of images"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "about": np.array("made with care")}, "about: expected what afa-bench stats"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "about": np.array('{"images": 3}')}, "about: expected what afa-bench stats"),
        ({"mu": np.zeros(2, object), "sigma": np.eye(2)}, "cannot be read as statistics"),
        (None, "cannot be read as statistics"),
    ],
)
def test_a_foreign_file_is_one_line(tmp_path, arrays, message):
    path = tmp_path / "stats.npz"
    if arrays is None:
        path.write_text(json.dumps({}))
    else:
        np.savez(path, **arrays)
    with pytest.raises(UserError, match=message) as error:
        read_statistics(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["npy", "text", "half", "flipped", "empty"])
def test_a_damaged_file_of_statistics_is_one_line(tmp_path, name):
    path = tmp_path / "stats.npz"
    np.savez_compressed(path, mu=np.zeros(40), sigma=np.eye(40))
    whole = path.read_bytes()
    array = tmp_path / "array.npy"
    np.save(array, np.zeros(3))
    flipped = bytearray(whole)
    flipped[60:90] = bytes(30)
    content = {
        "npy": array.read_bytes(),
        "text": b"mu",
        "half": whole[: len(whole) // 2],
        "flipped": bytes(flipped),
        "empty": b"",
    }
    path.write_bytes(content[name])
    with pytest.raises(UserError, match=r"stats\.npz: ") as error:
        read_statistics(path)
    assert "\n" not in str(error.value)


def test_statistics_of_another_width_are_refused_before_anything_is_loaded(tmp_path):
    from afa_bench.extractors.lite0 import Lite0
    from afa_bench.extractors.mini_clip import MiniClip

    np.savez(tmp_path / "stats.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    read = read_statistics(tmp_path / "stats.npz")
    with pytest.raises(UserError, match=r"mu: expected 1280 numbers, as lite0 gives features, found 2048"):
        read.check(Lite0(), tmp_path / "stats.npz")
    with pytest.raises(UserError, match=r"mini-clip gives embedding, expected an extractor with 'pool'"):
        read.check(MiniClip(), tmp_path / "stats.npz")
