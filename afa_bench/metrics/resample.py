"""Intervals of set metrics: bootstrap standard errors over resampled prompts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from afa_bench.extractors.base import Floats
from afa_bench.stats import Interval

DRAWS = 200
SEED = 7
MOST = 5_000
"""Above so many images a resample costs more than its answer is worth: no interval."""


def resampled_interval(statistic: Callable[[Floats], float], n: int, clusters: object) -> Interval:
    """A statistic of a set with its 95% interval, value ± 1.96 standard errors.

    Not the percentile interval: statistics such as FID are biased by the repeated rows of a resample, so its percentiles need
    not hold the value; their spread is still right.

    Args:
        statistic: of weights ``(n,)`` which say how often each row is in the set.
        n: rows.
        clusters: ``(n,)`` the prompt of each row; whole prompts are resampled.
    """
    value = statistic(np.ones(n))
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    count = int(index.max()) + 1
    if count < 2 or n > MOST:
        return Interval(value, np.nan, np.nan, n)
    rng = np.random.Generator(np.random.PCG64(SEED))
    draws = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)
    error = 1.96 * float(np.std([statistic(draw[index]) for draw in draws], ddof=1))
    return Interval(value, value - error, value + error, n)
