"""Metrics against independent forms of their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from afa_bench.metrics.frechet import frechet_distance, frechet_interval
from afa_bench.metrics.inception_score import inception_score
from afa_bench.metrics.resample import resampled_interval


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


def test_repeated_rows_are_the_same_as_weights():
    a, b = draws(0, 12, 4), draws(1, 40, 4)
    weights = np.array([0, 3, 1, 1, 2, 1, 1, 0, 1, 1, 1, 0])
    from afa_bench.metrics.frechet import _Frechet

    assert _Frechet(a, b).distance(weights.astype(float)) == pytest.approx(frechet_distance(np.repeat(a, weights, axis=0), b))


def test_too_few_images_have_no_distance():
    with pytest.raises(ValueError, match="two images"):
        frechet_distance(np.ones((1, 2)), np.ones((5, 2)))
    assert np.isnan(frechet_interval(np.ones((1, 2)), np.ones((5, 2)), ["a"]).value)


def test_the_interval_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    interval = resampled_interval(lambda w: float(w @ values / w.sum()), 400, np.arange(400))
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.value == pytest.approx(1.96 * values.std() / 20, rel=0.15)


def test_images_of_one_prompt_are_resampled_together():
    values = np.repeat(np.random.default_rng(0).normal(size=50), 8)
    prompts = np.repeat(np.arange(50), 8)

    def mean(w: np.ndarray) -> float:
        return float(w @ values / w.sum())

    alone, together = resampled_interval(mean, 400, np.arange(400)), resampled_interval(mean, 400, prompts)
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(np.sqrt(8), rel=0.25)


def test_inception_score_bounds():
    certain = np.eye(10)[np.arange(100) % 10]
    assert inception_score(certain, 1) == pytest.approx(10)
    assert inception_score(np.full((100, 10), 0.1), 1) == pytest.approx(1)
    assert inception_score(certain, 20) <= 5


def test_inception_score_is_its_formula():
    p = np.random.default_rng(0).dirichlet(np.ones(7), size=60)
    divergence = (p * np.log(p / p.mean(0))).sum(1).mean()
    assert inception_score(p, 1) == pytest.approx(np.exp(divergence))
    doubled = np.concatenate([p, p[:20]])
    weights = np.concatenate([np.full(20, 2.0), np.ones(40)])
    assert inception_score(p, 1, weights) == pytest.approx(inception_score(doubled, 1))
