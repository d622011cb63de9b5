"""The interval of a set metric: one method for all of them, whatever their size and the form of the reference.

A set metric is no mean, but to first order it is: each image has an influence on it, the derivative with respect to its weight.
Summed prompt by prompt, the influences give the standard error as those of a mean do: the infinitesimal jackknife (Efron, "The
Jackknife, the Bootstrap and Other Resampling Plans", chapter 6), with Student's quantile.

What is curved in a metric is counted twice in that (Efron and Stein, Annals of Statistics 9, 1981), which would make FID's
error up to 1.6 times too large where there are hardly more images than features. So the same is done with both halves of the
prompts: the variance of a half is twice that of the whole without curvature, four times with nothing else, and half of what is
curvature is taken off. Resampled images are no way out: they repeat, which exaggerates FID's error two to three times.

The reference is taken as given: the interval says what other prompts and other noise would give against the same reference.
docs/statistics.md shows how often the intervals hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from afa_bench.differences import student_quantile
from afa_bench.extractors.base import Floats
from afa_bench.stats import FEW_OF_SET, LEVEL, Interval, standard_error

Indices = NDArray[np.intp]
Estimate = Callable[[Indices], tuple[float, Floats]]
"""Some rows of a set ``(k,)`` to the metric of these images, and their influences on it ``(k,)``."""

METHOD = "interval over prompts by the infinitesimal jackknife, the reference as given"

SEED = 7


def set_interval(estimate: Estimate, clusters: Sequence[str], floor: float | None = None) -> Interval:
    """A set metric of all rows with its 95% interval; the interval is NaN with fewer than :data:`stats.FEW_OF_SET` prompts.

    Args:
        estimate: of any of the rows.
        clusters: ``(n,)`` the prompt of each row.
        floor: what the metric is never below. Such a metric is curved, and the higher it is the more it varies: the interval is
            made on the logarithm of how far it is above its floor. Without one (KID and CMMD, which are hardly curved) it is made
            as of a mean.
    """
    _, prompts = np.unique(np.asarray(clusters), return_inverse=True)
    rows = np.arange(len(prompts))
    value, influence = estimate(rows)
    count = int(prompts.max()) + 1
    if count < FEW_OF_SET:
        return Interval(value, math.nan, math.nan, len(rows))
    variance = _variance(influence, prompts)
    if floor is not None and variance:
        dealt = np.random.PCG64(SEED).random_raw(count).argsort(kind="stable") % 2
        halves = [np.flatnonzero(dealt[prompts] == side) for side in (0, 1)]
        ratio = sum(_variance(estimate(half)[1], prompts[half]) for half in halves) / (2 * variance)
        variance *= 1.5 - min(max(ratio, 2.0), 4.0) / 4
    error = math.sqrt(variance) * student_quantile((1 + LEVEL) / 2, count - 1)
    if floor is None or value - floor <= error:  # or on its floor, as of a set and itself
        return Interval(value, value - error if floor is None else min(value, floor), value + error, len(rows))
    factor = math.exp(error / (value - floor))
    return Interval(value, floor + (value - floor) / factor, floor + (value - floor) * factor, len(rows))


def _variance(influence: Floats, prompts: Indices) -> float:
    """Of a metric, from its images' influences: those of a prompt count together."""
    _, index = np.unique(prompts, return_inverse=True)
    sums, sizes = np.bincount(index, influence - influence.mean()), np.bincount(index)
    return standard_error(sums.astype(np.float64), sizes.astype(np.float64)) ** 2
