"""Every interval holds the truth in about 95 of 100 cases, or there is none: docs/statistics.md has more runs of the same."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from coverage import KINDS, PROMPTS, SETS, coverage, fid, kid, mean

pytestmark = pytest.mark.slow


def bounds(runs: int, low: float = 0.93, high: float = 0.97) -> tuple[float, float]:
    """What 93 to 97% comes to in so many runs, but for one time in a hundred on either side."""
    return low - 2.3 * math.sqrt(low * (1 - low) / runs), high + 2.3 * math.sqrt(high * (1 - high) / runs)


@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_means(kind: str, prompts: int) -> None:
    runs = 40 if prompts > 500 else 250
    found = coverage(partial(mean, kind, prompts, 2), runs, 0.0)
    if prompts < 6:
        assert math.isnan(found.inside)
    else:
        low, high = bounds(runs)
        assert low <= found.inside <= high


@pytest.mark.parametrize("metric", SETS)
def test_sets(metric: str) -> None:
    for size, draw in SETS[metric]:
        runs = 40 if "1000" in size else 100
        found = coverage(draw, runs)
        low, high = bounds(runs)
        if size == "12":
            assert math.isnan(found.inside)
        else:
            assert low <= found.inside <= high, size


def test_the_interval_does_not_jump_where_the_method_used_to_change() -> None:
    """FID's at 500 images, KID's at its size of subsets: beside the true spread, which the runs' values have."""
    widths, runs = {}, 100
    for name, draw in {"fid 499": fid(499), "fid 501": fid(501), "kid 100": kid(100), "kid 101": kid(101)}.items():
        found = [draw(np.random.default_rng([run, 3])) for run in range(runs)]
        spread = np.std([interval.value for interval in found], ddof=1)
        widths[name] = float(np.mean([interval.high - interval.low for interval in found]) / (2 * 1.96 * spread))
    assert all(0.8 <= width <= 1.4 for width in widths.values()), widths
    assert widths["fid 499"] == pytest.approx(widths["fid 501"], rel=0.3)


def test_kinds_have_the_mean_that_they_are_said_to_have() -> None:
    for kind, draw in KINDS.items():
        assert abs(draw(np.random.default_rng(0), 400_000).mean()) < 0.006, kind
