"""Means with 95% intervals over prompts: samples of one prompt are alike, so whole prompts count, never single samples.

Of 64 prompts and more an interval is the cluster bootstrap's percentiles (Efron and Tibshirani, "An Introduction to the
Bootstrap", chapters 8 and 13), of 6 to 63 the bootstrap-t (12.5), in which neither few prompts nor a skewed metric make it too
narrow; fewer do not tell how far prompts lie apart. docs/statistics.md shows how often each holds the truth.

The same samples give the same bytes, whatever their order: the 10,000 draws come from PCG64's raw stream, which numpy keeps
between versions (a ``Generator``'s methods may change), and every sum is of float64 in a fixed order, without BLAS.
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
FEW, FEW_OF_SET, MANY = 6, 24, 64
"""Prompts that an interval takes at least, that of a set metric, and those from which on plain percentiles hold often enough."""

LOTS = 800
"""Clusters that are drawn from, at most: what a bootstrap costs does not grow with the samples."""

_CHUNK = 1_000_000  # resampled values in memory at once, beside the indices: at most 64 MB, kept for the last two sizes

Values = ArrayLike | Sequence[float | None]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95% interval.

    Attributes:
        value: the mean of the samples which have a value; NaN when there are none.
        low, high: bounds of the interval; NaN with fewer than :data:`FEW` clusters.
        n: the samples in the mean: those whose value is finite.
    """

    value: float
    low: float
    high: float
    n: int


def mean_interval(values: Values, clusters: Sequence[str] | ArrayLike | None = None, *, level: float = LEVEL) -> Interval:
    """Mean of ``values`` with an interval bootstrapped over clusters.

    Args:
        values: ``(n,)`` numbers. None, NaN and infinities are missing: left out of the mean, of the interval and of ``n``.
        clusters: ``(n,)`` the cluster of each value (its prompt's id); without it, every value is a cluster of its own.
        level: the interval's confidence.
    """
    samples, names = present(values, clusters)
    if not samples.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    sums, sizes = per_cluster(samples, names)
    bounds = _percentiles if sums.size >= MANY else _studentised
    low, high = bounds(sums, sizes, level) if sums.size >= FEW else (math.nan, math.nan)
    return Interval(mean_of(samples), low, high, samples.size)


def standard_error(residuals: Floats, sizes: Floats) -> float:
    """Of a mean, by leaving out a cluster at a time; ``residuals`` are each cluster's sum of differences from the mean."""
    moved = residuals / (math.fsum(sizes.tolist()) - sizes)
    return math.sqrt((sizes.size - 1) / sizes.size * math.fsum((moved**2).tolist()))


def too_few(prompts: int, least: int = FEW) -> str:
    return f"too few prompts for an interval: {prompts}, expected {least} at least"


def present(values: Values, clusters: Sequence[str] | ArrayLike | None) -> tuple[Floats, NDArray[np.generic]]:
    samples = vector(values)
    names = np.arange(samples.size) if clusters is None else np.asarray(clusters)
    if names.shape != samples.shape:
        raise ValueError(f"{samples.size} values, but clusters of shape {names.shape}")
    present = np.isfinite(samples)
    return samples[present], names[present]


def vector(values: Values) -> Floats:
    samples = np.asarray(values, dtype=np.float64)
    if samples.ndim != 1:
        raise ValueError(f"expected one value a sample, got an array of shape {samples.shape}")
    return samples


def mean_of(samples: Floats) -> float:
    return math.fsum(samples.tolist()) / samples.size


def per_cluster(samples: Floats, names: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Sum and size of each cluster, in the order of their names; independent of the samples' order to the last bit."""
    _, index = np.unique(names, return_inverse=True)
    order = np.lexsort((samples, index))
    sums = np.bincount(index[order], weights=samples[order]).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _studentised(sums: Floats, sizes: Floats, level: float) -> tuple[float, float]:
    """The bootstrap-t: quantiles of (resampled mean - mean) / its standard error, times the standard error of the mean."""
    mean = math.fsum(sums.tolist()) / math.fsum(sizes.tolist())
    residuals = sums - sizes * mean
    error = standard_error(residuals, sizes)
    if error <= 1e-14 * abs(mean):  # float64's rounding
        return mean, mean
    ratios = []
    for index in _resamples(sums.size):
        drawn, size = residuals.take(index, mode="clip"), sizes.take(index, mode="clip")
        total = size.sum(axis=1, keepdims=True)
        away = drawn.sum(axis=1, keepdims=True) / total
        own = np.sqrt((1 - 1 / sums.size) * (((drawn - size * away) / (total - size)) ** 2).sum(axis=1))
        endless = np.copysign(np.inf, away[:, 0])  # a resample of clusters that are all alike has no error of its own
        ratios.append(np.divide(away[:, 0], own, out=endless, where=own > 1e-9 * error))
    ranked, last = np.sort(np.concatenate(ratios)), (1 - level) / 2 * (DRAWS - 1)
    least, most = float(ranked[math.floor(last)]), float(ranked[-1 - math.floor(last)])
    if math.isinf(least) or math.isinf(most):  # nearly all clusters are alike
        return _percentiles(sums, sizes, level)
    return mean - error * most, mean - error * least


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
    """Clusters, or ``LOTS`` lots of them, dealt at random in the same way each time: as independent, of the same mean."""
    if clusters.size <= LOTS:
        return clusters
    dealt = np.argsort(np.random.PCG64(SEED).random_raw(clusters.size), kind="stable") % LOTS
    return np.bincount(dealt, weights=clusters).astype(np.float64)


def _quantile(ranked: Floats, q: float) -> float:
    """Linear interpolation between order statistics (numpy's default, Hyndman and Fan's type 7)."""
    place = q * (ranked.size - 1)
    left = math.floor(place)
    below, above = float(ranked[left]), float(ranked[min(left + 1, ranked.size - 1)])
    return below + (above - below) * (place - left)


def _resamples(m: int) -> Iterator[Indices]:
    """``DRAWS`` resamples of m clusters in blocks ``(rows, m)`` of indices: always the same for the same m."""
    index, rows = _drawn(m), max(1, _CHUNK // m)
    yield from (index[start : start + rows] for start in range(0, DRAWS, rows))


@lru_cache(maxsize=2)
def _drawn(m: int) -> Indices:
    raw = np.random.PCG64(SEED).random_raw(DRAWS * m // 2).astype("<u8", copy=False).view("<u4")  # each number holds two draws
    index = ((raw.astype(np.uint64) * np.uint64(m)) >> np.uint64(32)).astype(np.intp).reshape(DRAWS, m)
    index.setflags(write=False)
    return index
