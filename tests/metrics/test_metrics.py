"""Metrics against independent forms of their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from afa_bench.metrics.frechet import frechet_distance
from afa_bench.metrics.gaussian import FrechetTo
from afa_bench.metrics.inception_score import inception_score, score_of
from afa_bench.metrics.interval import set_interval
from afa_bench.metrics.kernel import CmmdTo, kernel_inception_distance
from afa_bench.stats import FEW_OF_SET


def draws(seed: int, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


@pytest.mark.parametrize(("n", "m", "d"), [(50, 60, 8), (6, 60, 8), (50, 5, 8), (4, 5, 8), (200, 200, 3)])
def test_frechet_distance_is_its_formula(n, m, d):
    a, b = draws(0, n, d), draws(1, m, d)
    sigma_a, sigma_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(sigma_a @ sigma_b + 1e-13 * np.eye(d)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sigma_a + sigma_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.integers(2, 30), st.integers(1, 6))
def test_frechet_distance_of_a_set_to_itself_is_zero(seed, n, d):
    a = draws(seed, n, d)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6 * (1 + np.square(a).sum()))


def weighted_mean(values):
    return lambda rows: (float(values[rows].mean()), values[rows])


def test_too_few_images_have_no_distance():
    with pytest.raises(ValueError, match="two images"):
        frechet_distance(np.ones((1, 2)), np.ones((5, 2)))


def test_the_interval_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    interval = set_interval(weighted_mean(values), np.arange(400))
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(1.966 * values.std(ddof=1) / 20, rel=1e-3)
    assert interval.low == pytest.approx(2 * interval.value - interval.high)


def test_images_of_one_prompt_move_together():
    values = np.repeat(np.random.default_rng(0).normal(size=50), 8)
    alone = set_interval(weighted_mean(values), np.arange(400))
    together = set_interval(weighted_mean(values), np.repeat(np.arange(50), 8))
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(8), rel=0.05)


def test_an_interval_takes_so_many_prompts():
    values = np.random.default_rng(0).normal(size=FEW_OF_SET)
    assert np.isnan(set_interval(weighted_mean(values[1:]), np.arange(FEW_OF_SET - 1)).low)
    assert np.isfinite(set_interval(weighted_mean(values), np.arange(FEW_OF_SET)).low)


def test_a_metric_with_a_floor_has_an_interval_above_it():
    values = np.random.default_rng(0).exponential(size=40)
    interval = set_interval(weighted_mean(values), np.arange(40), floor=0.0)
    assert 0 < interval.low < interval.value < interval.high
    assert interval.high / interval.value == pytest.approx(interval.value / interval.low)
    same = set_interval(weighted_mean(np.zeros(40)), np.arange(40), floor=0.0)
    assert (same.low, same.value, same.high) == (0, 0, 0)


@pytest.mark.parametrize("metric", ["fid of few", "fid of many", "kid", "kid of subsets", "cmmd", "is", "is of splits"])
def test_influences_are_derivatives(metric):
    """What each row does to a metric is what doubling it does, to first order."""
    rng = np.random.default_rng(3)
    a, b = draws(0, 400, 6) / 4, draws(1, 300, 6) / 4
    odds = rng.dirichlet(np.ones(7), size=400)
    few = "few" in metric
    if few:
        a, b = draws(0, 40, 60) / 20, draws(1, 90, 60) / 20
    to = {
        "fid of few": lambda rows: FrechetTo(b)(a, rows),
        "fid of many": lambda rows: FrechetTo(b)(a, rows),
        "kid": lambda rows: kernel_inception_distance(a, b, rows, 1, 500),
        "kid of subsets": lambda rows: kernel_inception_distance(a, b, rows, 3_000, 40),
        "cmmd": lambda rows: CmmdTo(b, a)(rows),
        "is": lambda rows: score_of(odds, rows, 1),
        "is of splits": lambda rows: score_of(odds, rows, 4),
    }[metric]
    n = len(a)
    value, influence = to(np.arange(n))
    assert influence.shape == (n,)
    if "splits" in metric or "subsets" in metric:  # a row more is another draw: beside all in one part
        whole = {
            "is of splits": lambda rows: score_of(odds, rows, 1),
            "kid of subsets": lambda rows: kernel_inception_distance(a, b, rows, 1, 500),
        }
        reference = whole[metric](np.arange(n))[1]
        assert np.corrcoef(influence, reference)[0, 1] > 0.95
        assert influence.std() == pytest.approx(reference.std(), rel=0.15)
        return
    influence = influence - influence.mean()
    moved = np.array([(n + 1) * (to(np.append(np.arange(n), row))[0] - value) for row in range(0, n, 7)])
    assert np.corrcoef(influence[::7], moved)[0, 1] > 0.99


def test_inception_score_bounds():
    certain = np.eye(10)[np.arange(100) % 10]
    assert inception_score(certain, 1) == pytest.approx(10)
    assert inception_score(np.full((100, 10), 0.1), 1) == pytest.approx(1)
    assert inception_score(certain, 20) <= 5


def test_inception_score_is_its_formula():
    p = np.random.default_rng(0).dirichlet(np.ones(7), size=60)
    divergence = (p * np.log(p / p.mean(0))).sum(1).mean()
    assert inception_score(p, 1) == pytest.approx(np.exp(divergence))
