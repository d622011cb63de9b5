"""Intervals against hand-computed values, theory and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from afa_bench import stats
from afa_bench.differences import holm, p_below, paired_difference, student, student_quantile
from afa_bench.stats import FEW, mean_interval, standard_error


def theory(values: np.ndarray, clusters: np.ndarray) -> float:
    """Half of a 95% interval from the cluster-robust standard error of a mean."""
    names = np.unique(clusters)
    sums = np.array([(values[clusters == name] - values.mean()).sum() for name in names])
    return float(1.96 * np.sqrt((sums**2).sum()) / values.size)


def test_few_prompts_have_no_interval() -> None:
    for clusters in range(1, FEW):
        found = mean_interval(np.arange(clusters).repeat(4), np.arange(clusters).repeat(4))
        assert (math.isnan(found.low), math.isnan(found.high), found.n) == (True, True, 4 * clusters)
        assert found.value == pytest.approx((clusters - 1) / 2)
    assert math.isfinite(mean_interval(np.arange(FEW)).low)


def test_clusters_of_unequal_size_by_hand() -> None:
    # Leaving out prompt a (0, 0, 0) leaves 1, leaving out b (1) leaves 0; the mean is 1/4: sqrt(1/2 (9/16 + 1/16)).
    residuals, sizes = np.array([-0.75, 0.75]), np.array([3.0, 1.0])
    assert standard_error(residuals, sizes) == pytest.approx(math.sqrt(0.5 * (9 / 16 + 1 / 16)))


def test_the_interval_of_few_is_students_for_normal_values() -> None:
    values = np.random.default_rng(10).normal(size=40)
    found = mean_interval(values)
    half = student_quantile(0.975, 39) * values.std(ddof=1) / math.sqrt(40)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_nearly_all_prompts_alike() -> None:
    found = mean_interval([0.0] * 23 + [1.0])
    assert 0 <= found.low <= 1 / 24 < found.high < 0.2


def test_student_quantiles() -> None:
    assert [student_quantile(0.975, freedom) for freedom in (1, 2, 10, 100_000)] == pytest.approx(
        [12.7062, 4.30265, 2.22814, 1.95996], rel=1e-5
    )
    assert student_quantile(0.5, 3) == pytest.approx(0, abs=1e-9)


def test_constant_values_have_no_spread() -> None:
    result = mean_interval([0.3] * 12, list("aabbccddeeff"))
    assert result.value == pytest.approx(0.3)
    assert result.low == pytest.approx(0.3)
    assert result.high == pytest.approx(0.3)


def test_nothing_and_one_value() -> None:
    empty = mean_interval([])
    assert math.isnan(empty.value)
    assert empty.n == 0
    one = mean_interval([2.5])
    assert (one.value, one.n) == (2.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    same_prompt = mean_interval([1.0, 2.0], ["a", "a"])
    assert same_prompt.value == 1.5
    assert math.isnan(same_prompt.low)


def test_missing_values_are_left_out() -> None:
    holed = mean_interval([1.0, math.nan, 3.0, None, math.inf, 5.0], list("abcdef"))
    assert holed == mean_interval([1.0, 3.0, 5.0], list("acf"))
    assert holed.n == 3
    assert mean_interval([math.nan, math.nan]).n == 0


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 values"):
        mean_interval([1.0, 2.0, 3.0], ["a", "b"])
    with pytest.raises(ValueError, match="shape"):
        mean_interval([[1.0, 2.0]])
    with pytest.raises(ValueError, match="against"):
        paired_difference([1.0], [1.0, 2.0])


def test_agrees_with_theory() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(200), 4)
    values = rng.normal(size=200)[clusters] + rng.normal(size=800)
    result = mean_interval(values, clusters)
    assert result.value == pytest.approx(values.mean())
    assert (result.high - result.low) / 2 == pytest.approx(theory(values, clusters), rel=0.03)


def test_copies_of_a_sample_teach_nothing() -> None:
    values = np.random.default_rng(1).normal(size=50)
    once = mean_interval(values, np.arange(50))
    copied = mean_interval(np.repeat(values, 9), np.repeat(np.arange(50), 9))
    careless = mean_interval(np.repeat(values, 9))
    assert copied.low == pytest.approx(once.low)
    assert copied.high == pytest.approx(once.high)
    assert (careless.high - careless.low) == pytest.approx((once.high - once.low) / 3, rel=0.1)


def test_order_of_rows_is_nothing() -> None:
    rng = np.random.default_rng(2)
    values, clusters = rng.normal(size=300), np.array([f"p{i % 70}" for i in range(300)])
    shuffled = rng.permutation(300)
    assert mean_interval(values[shuffled], clusters[shuffled]) == mean_interval(values, clusters)


def test_the_size_of_blocks_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(size=101)
    whole = mean_interval(values)
    monkeypatch.setattr(stats, "_CHUNK", 1_000)
    assert mean_interval(values) == whole


def test_many_clusters_are_drawn_in_lots() -> None:
    rng = np.random.default_rng(7)
    clusters = np.repeat(np.arange(20_000), 2)
    trend = np.linspace(0, 3, 20_000)  # prompts in an order that matters, as by category
    values = (trend + rng.normal(size=20_000))[clusters] + rng.normal(size=40_000)
    result = mean_interval(values, clusters)
    assert result.value == pytest.approx(values.mean())
    assert (result.high - result.low) / 2 == pytest.approx(theory(values, clusters), rel=0.06)


def test_a_level_widens_the_interval() -> None:
    values = np.random.default_rng(8).normal(size=300)
    usual, wide = mean_interval(values), mean_interval(values, level=0.99)
    assert (wide.high - wide.low) / (usual.high - usual.low) == pytest.approx(2.576 / 1.960, rel=0.05)
    assert paired_difference(values, np.zeros(300), level=0.99).low == wide.low


@pytest.mark.parametrize(("t", "freedom"), [(12.7062, 1), (4.3027, 2), (3.1824, 3), (2.7764, 4), (1.9840, 100), (1.9600, 10**6)])
def test_student_against_the_printed_table(t: float, freedom: int) -> None:
    assert student(t, freedom) == pytest.approx(0.975, abs=1e-5)
    assert student(-t, freedom) == pytest.approx(0.025, abs=1e-5)
    assert student(0.0, freedom) == 0.5


def test_p_below_by_hand() -> None:
    # Mean 1, standard error 1 / sqrt(3), so t = -sqrt(3); with 2 degrees of freedom P(t) = 1/2 + t / (2 sqrt(2 + t^2)).
    assert p_below([0.0, 1.0, 2.0], 2.0) == pytest.approx(0.5 - math.sqrt(3) / (2 * math.sqrt(5)))
    assert p_below([0.0, 1.0, 2.0], 1.0) == 0.5
    assert p_below([0.0, 0.0, 1.0, 1.0, 2.0, 2.0], 2.0, list("aabbcc")) == pytest.approx(p_below([0.0, 1.0, 2.0], 2.0))
    assert (p_below([0.5] * 4, 1.0), p_below([0.5] * 4, 0.5)) == (0.0, 1.0)
    assert p_below([0.0], 1.0) == p_below([], 1.0) == p_below([0.0, 0.0], 1.0, ["a", "a"]) == 1.0


def test_p_values_are_uniform_where_nothing_is_to_be_found() -> None:
    rng = np.random.default_rng(9)
    clusters = np.repeat(np.arange(12), 3)
    found = [p_below(rng.normal(size=12)[clusters] + rng.normal(size=36), 0.0, clusters) for _ in range(1000)]
    assert 0.03 <= np.mean(np.array(found) < 0.05) <= 0.07
    assert 0.45 <= np.mean(np.array(found) < 0.5) <= 0.55


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_golden_bytes() -> None:
    values = [math.sqrt(i) % 1 for i in range(40)]
    result = mean_interval(values, [f"p{i // 3}" for i in range(40)])
    assert repr(result) == "Interval(value=0.4072808171040962, low=0.28125047214791493, high=0.5581651277980793, n=40)"
    many = mean_interval([math.sqrt(i) % 1 for i in range(192)], [f"p{i // 3}" for i in range(192)])
    assert repr(many) == "Interval(value=0.4660778360776556, low=0.40637589095754467, high=0.5247185396958415, n=192)"


def test_paired_by_hand() -> None:
    result = paired_difference([1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 5.0, 1.0], list("abcd"))
    assert result.value == 0.5
    assert result.n == 4
    assert result.win_rate == 0.625  # two wins and a tie of four
    assert paired_difference([1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 5.0, 1.0], higher=False).win_rate == 0.375


def test_pairs_need_both_sides() -> None:
    result = paired_difference([1.0, math.nan, 3.0, math.inf], [0.0, 1.0, math.nan, math.inf])
    assert (result.value, result.n, result.win_rate) == (1.0, 1, 1.0)
    assert math.isnan(paired_difference([], []).win_rate)


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(100), 2)
    shared = rng.normal(size=200)
    a, b = shared + 0.1 + 0.1 * rng.normal(size=200), shared + 0.1 * rng.normal(size=200)
    gap = paired_difference(a, b, clusters)
    alone = mean_interval(a, clusters)
    assert gap.low < 0.1 < gap.high
    assert gap.low > 0
    assert (gap.high - gap.low) < (alone.high - alone.low) / 4


def test_coverage_by_simulation() -> None:
    rng = np.random.default_rng(5)
    runs, clusters = 400, np.repeat(np.arange(60), 3)
    hits = careless = 0
    for _ in range(runs):
        skewed = rng.exponential(size=60)[clusters] + 0.5 * rng.normal(size=180)
        result = mean_interval(skewed, clusters)
        hits += result.low <= 1.0 <= result.high
        half = 1.96 * skewed.std() / math.sqrt(skewed.size)
        careless += abs(skewed.mean() - 1.0) <= half
    assert 0.90 <= hits / runs <= 0.98
    assert careless / runs < 0.85  # samples of a prompt taken as independent: far too sure
