"""Means and paired differences with 95% intervals over prompts.

Samples of one prompt are alike, so a prompt is a cluster: whole prompts count, never single samples. How an interval is made
depends on the number of prompts that it is from, and on nothing else; docs/statistics.md shows how often each holds the truth.

    64 and more  percentiles of the mean over resampled prompts: the cluster bootstrap (Efron and Tibshirani, "An Introduction to
                 the Bootstrap", chapters 8 and 13)
    6 to 63      the bootstrap-t: each resampled mean is divided by its own standard error, so that neither few prompts nor a
                 skewed metric make the interval too narrow (ibid., section 12.5)
    1 to 5       none: so few do not tell how far prompts lie apart. If five out of five go one way, a coin would do as well in
                 one of 32 cases, more than the 2.5% that an end of the interval is allowed

There are 10,000 draws from a fixed seed. The same samples give the same bytes, whatever their order: the draws come from
PCG64's raw stream, which numpy keeps between versions (a ``Generator``'s methods may change), and every sum is of float64 in a
fixed order, without BLAS. Nothing is rounded.

For many claims at once there are one-sided p-values (:func:`p_below`), which :func:`holm` adjusts. They come from the
cluster-robust Student statistic and not from the draws: of 10,000 draws none may lie in the tail that Holm asks about.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 10_000
SEED = 20240
LEVEL = 0.95
FEW = 6
"""Prompts that an interval takes at least."""

MANY = 64
"""Prompts from which on the plain percentiles hold the truth often enough."""

LOTS = 800
"""Clusters that are drawn from, at most: what a bootstrap costs does not grow with the samples."""

_CHUNK = 1_000_000  # resampled values in memory at once, beside the indices: at most 64 MB, kept for the last two sizes
_ROUNDING = 1e-14  # of a mean: a spread below it is that of float64
_NORMAL = 1_000  # degrees of freedom from which Student's distribution is the normal one, to three digits of its tails

Values = ArrayLike | Sequence[float | None]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95% interval.

    Attributes:
        value: the mean of the samples which have a value; NaN when there are none.
        low: lower bound of the interval; NaN with fewer than :data:`FEW` clusters, which do not tell the spread.
        high: upper bound, NaN likewise.
        n: the samples in the mean: those whose value is finite.
    """

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of ``a - b`` over pairs with its 95% interval, and how often a wins.

    Attributes:
        value: the mean difference; NaN when there are no pairs.
        low: lower bound, NaN with fewer than :data:`FEW` clusters.
        high: upper bound, NaN likewise.
        n: the pairs in which both have a finite value.
        win_rate: the share of pairs in which a is better, a tie counting one half; NaN when there are no pairs.
    """

    value: float
    low: float
    high: float
    n: int
    win_rate: float


@dataclass(frozen=True, slots=True)
class Spread:
    """How much a mean moves from repeat to repeat of the whole evaluation.

    Attributes:
        deviation: the standard deviation of the repeats' means; NaN with fewer than two repeats.
        low, high: the lowest and the highest of these means.
        repeats: those that have a finite value.
    """

    deviation: float
    low: float
    high: float
    repeats: int


def mean_interval(values: Values, clusters: Sequence[str] | ArrayLike | None = None, *, level: float = LEVEL) -> Interval:
    """Mean of ``values`` with an interval bootstrapped over clusters.

    Args:
        values: ``(n,)`` numbers. None, NaN and infinities are missing: left out of the mean, of the interval and of ``n``.
        clusters: ``(n,)`` the cluster of each value (its prompt's id); without it, every value is a cluster of its own.
        level: the interval's confidence.

    Raises:
        ValueError: the two differ in length or are not one-dimensional.
    """
    samples, names = _present(values, clusters)
    if not samples.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    sums, sizes = _per_cluster(samples, names)
    low, high = _bounds(sums, sizes, level)
    return Interval(_mean(samples), low, high, samples.size)


def paired_difference(
    a: Values, b: Values, clusters: Sequence[str] | ArrayLike | None = None, *, higher: bool = True, level: float = LEVEL
) -> Difference:
    """Mean of ``a - b`` over samples paired by position, with its interval and a's win rate.

    Args:
        a: ``(n,)`` the values of one method.
        b: ``(n,)`` the values of another for the same samples (the same prompt and noise), in the same order.
        clusters: as in :func:`mean_interval`. A pair with a missing value on either side is left out.
        higher: whether the higher value wins.
        level: the interval's confidence.

    Raises:
        ValueError: the lengths differ.
    """
    first, second = _vector(a), _vector(b)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} values against {second.size}")
    with np.errstate(invalid="ignore"):  # inf - inf is missing, as inf is
        gaps = first - second
    mean = mean_interval(gaps, clusters, level=level)
    known = gaps[np.isfinite(gaps)] * (1 if higher else -1)
    wins = (np.count_nonzero(known > 0) + 0.5 * np.count_nonzero(known == 0)) / known.size if known.size else math.nan
    return Difference(mean.value, mean.low, mean.high, mean.n, float(wins))


def repeat_spread(values: Values, repeats: ArrayLike) -> Spread:
    """The standard deviation of the means of each repeat: what another run with other seeds may come to.

    Args:
        values: ``(n,)`` as in :func:`mean_interval`.
        repeats: ``(n,)`` which repeat each value is of.

    Raises:
        ValueError: as in :func:`mean_interval`.
    """
    sums, sizes = _per_cluster(*_present(values, repeats))
    if not sums.size:
        return Spread(math.nan, math.nan, math.nan, 0)
    means = sums / sizes
    center = _mean(means)
    deviation = math.sqrt(math.fsum(((means - center) ** 2).tolist()) / (means.size - 1)) if means.size > 1 else math.nan
    return Spread(deviation, float(means.min()), float(means.max()), means.size)


def p_below(values: Values, bound: float, clusters: Sequence[str] | ArrayLike | None = None) -> float:
    """One-sided p-value for the claim that the true mean lies below ``bound``.

    Student's statistic of the mean with its cluster-robust standard error and one degree of freedom less than there are clusters
    (Cameron and Miller, "A Practitioner's Guide to Cluster-Robust Inference", section VI): honest for a handful of prompts, and
    not limited in its tail by a number of draws. The standard error is the jackknife's, which knows that a prompt of many samples
    pulls the mean along (MacKinnon, Nielsen and Webb, "Fast and Reliable Jackknife and Bootstrap Methods for Cluster-Robust
    Inference").

    Args:
        values: as in :func:`mean_interval`.
        bound: what the mean is claimed to be below.
        clusters: as in :func:`mean_interval`.

    Returns:
        The probability; 1, which claims nothing, with fewer than two clusters.

    Raises:
        ValueError: as in :func:`mean_interval`.
    """
    samples, names = _present(values, clusters)
    sums, sizes = _per_cluster(samples, names) if samples.size else (samples, samples)
    if sums.size < 2:
        return 1.0
    mean = _mean(samples)
    error = standard_error(sums - sizes * mean, sizes)
    if error == 0:
        return float(mean >= bound)
    return student((mean - bound) / error, sums.size - 1)


def student(t: float, freedom: int) -> float:
    """The probability that Student's t is at most ``t`` (Abramowitz and Stegun, 26.7.3 and 26.7.4: finite sums)."""
    if freedom > _NORMAL:
        return 0.5 * math.erfc(-t / math.sqrt(2))
    angle = math.atan(abs(t) / math.sqrt(freedom))
    cosine2 = math.cos(angle) ** 2
    odd = freedom % 2
    total, term = 0.0, 1.0
    for step in range(freedom // 2):
        total += term
        term *= cosine2 * (2 * step + 1 + odd) / (2 * step + 2 + odd)
    even = math.sin(angle) * total
    inside = 2 / math.pi * (angle + math.cos(angle) * even) if odd else even
    return (1 + math.copysign(inside, t)) / 2


def student_quantile(probability: float, freedom: int) -> float:
    """The ``t`` that Student's t is at most with this probability, of at least one half."""
    low, high = 0.0, 1.0
    while student(high, freedom) < probability:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if student(middle, freedom) < probability else (low, middle)
    return high


def standard_error(residuals: Floats, sizes: Floats) -> float:
    """Of the mean over all samples, by leaving out a cluster at a time.

    Args:
        residuals: ``(m,)`` each cluster's sum of its samples' differences from the mean.
        sizes: ``(m,)`` its samples.
    """
    moved = residuals / (math.fsum(sizes.tolist()) - sizes)
    return math.sqrt((sizes.size - 1) / sizes.size * math.fsum((moved**2).tolist()))


def too_few(prompts: int, least: int = FEW) -> str:
    """Why there is no interval, in words."""
    return f"too few prompts for an interval: {prompts}, expected {least} at least"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Scandinavian Journal of Statistics 6, 1979), in the order given.

    To claim all whose adjusted value is at most alpha makes a single false claim with a probability of at most alpha, however the
    tests depend on each other.
    """
    adjusted = [1.0] * len(p_values)
    so_far = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = so_far
    return adjusted


def _present(values: Values, clusters: Sequence[str] | ArrayLike | None) -> tuple[Floats, NDArray[np.generic]]:
    """The finite values and their clusters."""
    samples = _vector(values)
    names = np.arange(samples.size) if clusters is None else np.asarray(clusters)
    if names.shape != samples.shape:
        raise ValueError(f"{samples.size} values, but clusters of shape {names.shape}")
    present = np.isfinite(samples)
    return samples[present], names[present]


def _vector(values: Values) -> Floats:
    samples = np.asarray(values, dtype=np.float64)
    if samples.ndim != 1:
        raise ValueError(f"expected one value a sample, got an array of shape {samples.shape}")
    return samples


def _mean(samples: Floats) -> float:
    return math.fsum(samples.tolist()) / samples.size


def _per_cluster(samples: Floats, names: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Sum and size of each cluster, in the order of their names; independent of the samples' order to the last bit."""
    _, index = np.unique(names, return_inverse=True)
    order = np.lexsort((samples, index))
    sums = np.bincount(index[order], weights=samples[order]).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _bounds(sums: Floats, sizes: Floats, level: float) -> tuple[float, float]:
    """The interval from cluster sums ``(m,)`` and sizes ``(m,)``; NaN where there are too few clusters."""
    if sums.size < FEW:
        return math.nan, math.nan
    return _studentised(sums, sizes, level) if sums.size < MANY else _percentiles(sums, sizes, level)


def _studentised(sums: Floats, sizes: Floats, level: float) -> tuple[float, float]:
    """The bootstrap-t: quantiles of (resampled mean - mean) / its standard error, times the standard error of the mean."""
    m = sums.size
    mean = math.fsum(sums.tolist()) / math.fsum(sizes.tolist())
    residuals = sums - sizes * mean
    error = standard_error(residuals, sizes)
    if error <= _ROUNDING * abs(mean):
        return mean, mean
    ratios = []
    for index in _resamples(m):
        drawn, size = residuals.take(index, mode="clip"), sizes.take(index, mode="clip")
        total = size.sum(axis=1, keepdims=True)
        away = drawn.sum(axis=1, keepdims=True) / total
        moved = (drawn - size * away) / (total - size)
        own = np.sqrt((m - 1) / m * (moved**2).sum(axis=1))
        endless = np.copysign(np.inf, away[:, 0])  # a resample of clusters that are all alike has no error of its own
        ratios.append(np.divide(away[:, 0], own, out=endless, where=own > 1e-9 * error))
    ranked = np.sort(np.concatenate(ratios))
    tail = (1 - level) / 2
    least, most = ranked[math.floor(tail * (DRAWS - 1))], ranked[math.ceil((1 - tail) * (DRAWS - 1))]
    if not (math.isfinite(least) and math.isfinite(most)):  # nearly all clusters are alike: Student's
        most = student_quantile(1 - tail, m - 1)
        least = -most
    return float(mean - error * most), float(mean - error * least)


def _percentiles(sums: Floats, sizes: Floats, level: float) -> tuple[float, float]:
    """The interval's bounds from cluster sums ``(m,)`` and sizes ``(m,)``: percentiles of the mean over resampled clusters."""
    sums, sizes = _lots(sums), _lots(sizes)
    alike = bool((sizes == sizes[0]).all())
    means = []
    for index in _resamples(sums.size):
        total = sums.take(index, mode="clip").sum(axis=1)
        size = sizes[0] * sums.size if alike else sizes.take(index, mode="clip").sum(axis=1)
        means.append(total / size)
    ranked = np.sort(np.concatenate(means))
    tail = (1 - level) / 2
    return _quantile(ranked, tail), _quantile(ranked, 1 - tail)


def _lots(clusters: Floats) -> Floats:
    """Up to ``LOTS`` clusters as they are; more are dealt at random, the same way each time, into that many lots and added up.

    Lots of clusters are clusters: as independent, with the same mean, variance and skewness of the whole.
    """
    if clusters.size <= LOTS:
        return clusters
    dealt = np.argsort(np.random.PCG64(SEED).random_raw(clusters.size), kind="stable") % LOTS
    return np.bincount(dealt, weights=clusters).astype(np.float64)


def _quantile(ranked: Floats, q: float) -> float:
    """Linear interpolation between order statistics (numpy's default, Hyndman and Fan's type 7)."""
    place = q * (ranked.size - 1)
    left = math.floor(place)
    right = min(left + 1, ranked.size - 1)
    below, above = float(ranked[left]), float(ranked[right])
    return below + (above - below) * (place - left)


def _resamples(m: int) -> Iterator[Indices]:
    """``DRAWS`` resamples of m clusters in blocks ``(rows, m)`` of indices: always the same for the same m."""
    index = _drawn(m)
    rows = max(1, _CHUNK // m)
    yield from (index[start : start + rows] for start in range(0, DRAWS, rows))


@lru_cache(maxsize=2)
def _drawn(m: int) -> Indices:
    raw = np.random.PCG64(SEED).random_raw(DRAWS * m // 2).astype("<u8", copy=False).view("<u4")  # each number holds two draws
    index = ((raw.astype(np.uint64) * np.uint64(m)) >> np.uint64(32)).astype(np.intp).reshape(DRAWS, m)
    index.setflags(write=False)
    return index
