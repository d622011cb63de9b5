"""Means and paired differences with 95% intervals, by a bootstrap clustered on the prompt.

Samples of one prompt are alike, so whole prompts are drawn with replacement, never single samples (the cluster bootstrap; Efron
and Tibshirani, "An Introduction to the Bootstrap", chapters 8 and 13: percentile intervals). 10,000 draws from a fixed seed.

The same samples give the same bytes, whatever their order: the draws come from PCG64's raw stream, which numpy keeps between
versions (a ``Generator``'s methods may change), and every sum is of float64 in a fixed order, without BLAS. Nothing is rounded.
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

_CACHED = 8_000_000  # resampled indices kept between calls, at most: 32 MB each
_CHUNK = 1_000_000  # resampled values in memory at once

Values = ArrayLike | Sequence[float | None]
Floats = NDArray[np.float64]
Indices = NDArray[np.uint32]


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


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of ``a - b`` over pairs with its 95% interval, and how often a wins.

    Attributes:
        value: the mean difference; NaN when there are no pairs.
        low: lower bound, NaN with fewer than two clusters.
        high: upper bound, NaN likewise.
        n: the pairs in which both have a finite value.
        win_rate: the share of pairs in which a is better, a tie counting one half; NaN when there are no pairs.
    """

    value: float
    low: float
    high: float
    n: int
    win_rate: float


def mean_interval(values: Values, clusters: Sequence[str] | ArrayLike | None = None) -> Interval:
    """Mean of ``values`` with a 95% percentile interval, bootstrapped over clusters.

    Args:
        values: ``(n,)`` numbers. None, NaN and infinities are missing: left out of the mean, of the interval and of ``n``.
        clusters: ``(n,)`` the cluster of each value (its prompt's id); without it, every value is a cluster of its own.

    Raises:
        ValueError: the two differ in length or are not one-dimensional.
    """
    samples = _vector(values)
    names = np.arange(samples.size) if clusters is None else np.asarray(clusters)
    if names.shape != samples.shape:
        raise ValueError(f"{samples.size} values, but clusters of shape {names.shape}")
    present = np.isfinite(samples)
    samples, names = samples[present], names[present]
    if not samples.size:
        return Interval(math.nan, math.nan, math.nan, 0)
    sums, sizes = _per_cluster(samples, names)
    low, high = _percentiles(sums, sizes) if sums.size > 1 else (math.nan, math.nan)
    return Interval(_mean(samples), low, high, samples.size)


def paired_difference(
    a: Values, b: Values, clusters: Sequence[str] | ArrayLike | None = None, *, higher: bool = True
) -> Difference:
    """Mean of ``a - b`` over samples paired by position, with its 95% interval and a's win rate.

    Args:
        a: ``(n,)`` the values of one method.
        b: ``(n,)`` the values of another for the same samples (the same prompt and noise), in the same order.
        clusters: as in :func:`mean_interval`. A pair with a missing value on either side is left out.
        higher: whether the higher value wins.

    Raises:
        ValueError: the lengths differ.
    """
    first, second = _vector(a), _vector(b)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} values against {second.size}")
    with np.errstate(invalid="ignore"):  # inf - inf is missing, as inf is
        gaps = first - second
    mean = mean_interval(gaps, clusters)
    known = gaps[np.isfinite(gaps)] * (1 if higher else -1)
    wins = (np.count_nonzero(known > 0) + 0.5 * np.count_nonzero(known == 0)) / known.size if known.size else math.nan
    return Difference(mean.value, mean.low, mean.high, mean.n, float(wins))


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


def _percentiles(sums: Floats, sizes: Floats) -> tuple[float, float]:
    """The interval's bounds from cluster sums ``(m,)`` and sizes ``(m,)``: percentiles of the mean over resampled clusters."""
    alike = bool((sizes == sizes[0]).all())
    means = []
    for index in _resamples(sums.size):
        total = sums[index].sum(axis=1)
        size = sizes[0] * sums.size if alike else sizes[index].sum(axis=1)
        means.append(total / size)
    ranked = np.sort(np.concatenate(means))
    tail = (1 - LEVEL) / 2
    return _quantile(ranked, tail), _quantile(ranked, 1 - tail)


def _quantile(ranked: Floats, q: float) -> float:
    """Linear interpolation between order statistics (numpy's default, Hyndman and Fan's type 7)."""
    place = q * (ranked.size - 1)
    left = math.floor(place)
    right = min(left + 1, ranked.size - 1)
    below, above = float(ranked[left]), float(ranked[right])
    return below + (above - below) * (place - left)


def _resamples(m: int) -> Iterator[Indices]:
    """``DRAWS`` resamples of m clusters in blocks ``(rows, m)`` of indices: always the same for the same m."""
    if m * DRAWS > _CACHED:
        yield from _draw(m)
        return
    index = _kept(m)
    rows = max(1, _CHUNK // m)
    yield from (index[start : start + rows] for start in range(0, DRAWS, rows))


@lru_cache(maxsize=2)
def _kept(m: int) -> Indices:
    index = np.concatenate(list(_draw(m)))
    index.setflags(write=False)
    return index


def _draw(m: int) -> Iterator[Indices]:
    stream = np.random.PCG64(SEED)
    rows = max(2, _CHUNK // m // 2 * 2)  # even: each raw 64-bit number holds two draws
    for start in range(0, DRAWS, rows):
        count = min(rows, DRAWS - start) * m
        raw = stream.random_raw(count // 2).astype("<u8", copy=False).view("<u4")
        index = (raw.astype(np.uint64) * np.uint64(m)) >> np.uint64(32)
        yield index.astype(np.uint32).reshape(-1, m)
