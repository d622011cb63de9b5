"""Means and paired differences with 95% intervals, by a bootstrap clustered on the prompt.

Samples of one prompt are alike, so whole prompts are drawn with replacement, never single samples (the cluster bootstrap; Efron
and Tibshirani, "An Introduction to the Bootstrap", chapters 8 and 13: percentile intervals). 10,000 draws from a fixed seed.

The same samples give the same bytes, whatever their order: the draws come from PCG64's raw stream, which numpy keeps between
versions (a ``Generator``'s methods may change), and every sum is of float64 in a fixed order, without BLAS. Nothing is rounded.

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
        low: lower bound of the interval; NaN with fewer than two clusters, which say nothing about the spread.
        high: upper bound, NaN likewise.
        n: the samples in the mean: those whose value is finite.
    """

    value: float
    low: float
    high: float
    n: int


def mean_interval(values: Values, clusters: Sequence[str] | ArrayLike | None = None, *, level: float = LEVEL) -> Interval:
    """Mean of ``values`` with a percentile interval, bootstrapped over clusters.

    Args:
        values: ``(n,)`` numbers. None, NaN and infinities are missing: left out of the mean, of the interval and of ``n``.
        clusters: ``(n,)`` the cluster of each value (its prompt's id); without it, every value is a cluster of its own.
        level: the interval's confidence.

    Raises:
        ValueError: the two differ in length or are not one-dimensional.
    """
    samples, names = present(values, clusters)
    if not samples.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    sums, sizes = per_cluster(samples, names)
    low, high = _percentiles(sums, sizes, level) if sums.size > 1 else (math.nan, math.nan)
    return Interval(mean_of(samples), low, high, samples.size)


def present(values: Values, clusters: Sequence[str] | ArrayLike | None) -> tuple[Floats, NDArray[np.generic]]:
    """The finite values and their clusters."""
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
