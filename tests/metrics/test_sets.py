"""Set metrics on features: moments, distances, intervals, statistics files."""

import json

import numpy as np
import pytest
import torch

from afa_bench.errors import UserError
from afa_bench.metrics.frechet import FrechetDistance, frechet_distance
from afa_bench.metrics.gaussian import batches, distance, distance_interval, factor, fitted
from afa_bench.metrics.inception_score import InceptionScore, inception_score, split_of, streamed_score
from afa_bench.metrics.kernel import ClipMaximumMeanDiscrepancy, cmmd_interval, kernel_inception_distances, kid_interval
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
    assert streamed_score(probabilities, 10) == pytest.approx(inception_score(probabilities, 10), abs=1e-12)


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


def test_a_large_set_has_the_interval_of_a_resampled_one():
    a, b = features(150, 4), features(2_000, 4, seed=1, shift=0.05)
    prompts = [str(index // 3) for index in range(150)]
    metric = FrechetDistance(features="inception")
    resampled = metric.over_set(Held(a, b, prompts))
    linear = distance_interval(fitted(batches(a)), fitted(batches(b)), batches(a), prompts)
    assert linear.value == pytest.approx(resampled.value, abs=1e-5)
    assert linear.high - linear.value == pytest.approx(resampled.high - resampled.value, rel=0.25)
    copies = np.concatenate([a] * 4)
    large = metric.over_set(Held(copies, b, prompts * 4))
    assert large.n == 600
    assert large.high - large.value == pytest.approx(linear.high - linear.value, rel=0.05)  # copies of a prompt tell nothing new


def test_kernel_distances_are_their_formulas():
    a, b = features(40, 8), features(40, 8, seed=1)

    def kernel(x, y):
        return (x @ y / 8 + 1) ** 3

    def within(rows):
        return np.mean([kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j])

    expected = within(a) + within(b) - 2 * np.mean([kernel(x, y) for x in a for y in b])
    names = [str(i) for i in range(40)]
    assert kid_interval(a, b, names).value == pytest.approx(expected)
    assert kernel_inception_distances(a, b, subsets=3, size=40) == pytest.approx([expected] * 3)
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    near = lambda x, y: np.mean([np.exp(-np.square(p - q).sum() / 200) for p in x for q in y])  # noqa: E731
    assert cmmd_interval(a, b, names).value == pytest.approx(1000 * (near(a, a) + near(b, b) - 2 * near(a, b)))
    assert cmmd_interval(a, a, names).value == pytest.approx(0, abs=1e-9)


def test_distances_of_very_many_rows_are_those_of_their_blocks():
    """Rows of float32, as they lie in a file, in more than one block of 1,024."""
    a, b = features(2_100, 8).astype(np.float32), features(1_500, 8, seed=1).astype(np.float32)
    names = [str(i) for i in range(2_100)]
    wide = [rows.astype(np.float64) for rows in (a, b)]

    def near(x, y):
        squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
        return np.exp(-squares / 200).mean()

    x, y = wide
    assert cmmd_interval(a, b, names).value == pytest.approx(1000 * (near(x, x) + near(y, y) - 2 * near(x, y)), abs=1e-9)
    assert kernel_inception_distances(a, b, 3, 500) == pytest.approx(kernel_inception_distances(*wide, 3, 500), rel=1e-12)
    assert frechet_distance(x[:400], b) == pytest.approx(distance(fitted([x[:400]]), fitted([y])), abs=1e-5)  # n x n of rank 8


def test_titles_name_what_is_not_the_definition():
    titles = [
        FrechetDistance(features="inception").title,
        FrechetDistance(features="inception", resize="pytorch-fid", reference="vae").title,
        FrechetDistance().title,
        InceptionScore(features="inception", resize="torch-fidelity").title,
        ClipMaximumMeanDiscrepancy().title,
    ]
    expected = ["FID", "FID (pytorch-fid, VAE ref.)", "FID", "IS (torch-fidelity)", "CMMD (224 px)"]
    assert titles == expected


def test_a_resize_without_inception_is_refused():
    with pytest.raises(UserError, match="resize: only features: inception"):
        FrechetDistance(features="lite0", resize="pytorch-fid").extractor()


def test_cells_scored_before_there_was_a_resize_keep_their_identity():
    assert FrechetDistance(features="lite0").identity()["options"] == {"features": "lite0", "reference": "real"}
    assert InceptionScore(features="lite0", splits=1).identity()["options"] == {"features": "lite0", "splits": 1}


def test_statistics_are_read_as_written_and_as_others_write_them(tmp_path):
    gaussian = fitted([features(50, 6)])
    write_statistics(tmp_path / "ours.npz", Statistics(gaussian, {"images": 50}))
    ours = read_statistics(tmp_path / "ours.npz")
    assert ours.about == {"images": 50}
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
