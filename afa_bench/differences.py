"""Two methods on the same samples: paired differences, how far a mean moves from repeat to repeat, and what is significant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from afa_bench.stats import LEVEL, Floats, Values, mean_interval, mean_of, per_cluster, present, standard_error, vector

_NORMAL = 1_000  # degrees of freedom from which Student's distribution is the normal one, to three digits of its tails


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of ``a - b`` over pairs with its 95% interval, and how often a wins.

    Attributes:
        value: the mean difference; NaN when there are no pairs.
        low: lower bound, NaN with fewer than :data:`stats.FEW` clusters.
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
    first, second = vector(a), vector(b)
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
    sums, sizes = per_cluster(*present(values, repeats))
    if not sums.size:
        return Spread(math.nan, math.nan, math.nan, 0)
    means = sums / sizes
    center = mean_of(means)
    deviation = math.sqrt(math.fsum(((means - center) ** 2).tolist()) / (means.size - 1)) if means.size > 1 else math.nan
    return Spread(deviation, float(means.min()), float(means.max()), means.size)


def p_below(values: Values, bound: float, clusters: Sequence[str] | ArrayLike | None = None) -> float:
    """One-sided p-value for the claim that the true mean lies below ``bound``.

    Student's statistic of the mean with its cluster-robust standard error and one degree of freedom less than there are clusters
    (Cameron and Miller, "A Practitioner's Guide to Cluster-Robust Inference", section VI): honest for a handful of prompts, and
    not limited in its tail by a number of draws. The standard error is the jackknife's, which knows that a prompt of many samples
    pulls the mean along (MacKinnon, Nielsen and Webb, "Fast and Reliable Jackknife and Bootstrap Methods for Cluster-Robust
    Inference"). Where clusters are skewed, such as a few that lose much, the statistic leans to one side: the p-value is that of
    the statistic as it is or without its skewness (Hall, "On the Removal of Skewness by Transformation"), whichever is larger.

    Args:
        values: as in :func:`mean_interval`.
        bound: what the mean is claimed to be below.
        clusters: as in :func:`mean_interval`.

    Returns:
        The probability; 1, which claims nothing, with fewer than two clusters.

    Raises:
        ValueError: as in :func:`mean_interval`.
    """
    samples, names = present(values, clusters)
    sums, sizes = per_cluster(samples, names) if samples.size else (samples, samples)
    if sums.size < 2:
        return 1.0
    mean, freedom = mean_of(samples), sums.size - 1
    residuals = sums - sizes * mean
    error = standard_error(residuals, sizes)
    if error == 0:
        return float(mean >= bound)
    t = (mean - bound) / error
    return max(student(t, freedom), student(_without_skewness(t, residuals), freedom))


def _without_skewness(t: float, residuals: Floats) -> float:
    """Hall's monotone cubic of Student's t; clusters' residuals ``(m,)`` tell of the skewness, of which three are needed."""
    m = residuals.size
    spread = math.fsum((residuals**2).tolist()) / m
    if m < 3 or not spread:
        return t
    skewness = math.fsum((residuals**3).tolist()) / m / math.pow(spread, 1.5) * math.sqrt(m * (m - 1)) / (m - 2)
    w = t / math.sqrt(m)
    return math.sqrt(m) * (w + skewness * w**2 / 3 + skewness**2 * w**3 / 27 + skewness / (6 * m))


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
