"""How often intervals hold the truth, on simulated samples whose truth is known.

``python tests/support/coverage.py [RUNS]`` prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from afa_bench.metrics.gaussian import FrechetTo, fitted
from afa_bench.metrics.inception_score import score_of
from afa_bench.metrics.interval import set_interval
from afa_bench.metrics.kernel import CmmdTo, kernel_inception_distance
from afa_bench.stats import Interval, mean_interval

Draw = Callable[[np.random.Generator], Interval]

PROMPTS = (2, 5, 6, 8, 12, 24, 48, 63, 64, 96, 300, 2000)
KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, size=n),
    "skewed": lambda rng, n: np.exp(0.5 * rng.normal(size=n)) - np.exp(0.125),
    "exponential": lambda rng, n: rng.exponential(size=n) - 1,
}
"""Distributions of prompts, with the mean 0."""


@dataclass(frozen=True)
class Coverage:
    """The shares of runs in which the truth lies inside the interval, below and above it; NaN where there is none."""

    inside: float
    below: float
    above: float


def coverage(draw: Draw, runs: int, truth: float | None = None) -> Coverage:
    """Of the intervals that are drawn; the truth is their values' mean, where it is not known."""
    found = [draw(np.random.default_rng([run, 17])) for run in range(runs)]
    true = float(np.mean([interval.value for interval in found])) if truth is None else truth
    low, high = (np.array([getattr(interval, end) for interval in found]) for end in ("low", "high"))
    if np.isnan(low).all():
        return Coverage(np.nan, np.nan, np.nan)
    below, above = float((true < low).mean()), float((true > high).mean())
    return Coverage(1 - below - above, below, above)


def mean(kind: str, prompts: int, images: int, rng: np.random.Generator) -> Interval:
    """Of prompts with 1 to ``2 * images - 1`` images, which are alike."""
    clusters = np.repeat(np.arange(prompts), rng.integers(1, 2 * images, size=prompts))
    return mean_interval(KINDS[kind](rng, prompts)[clusters] + 0.5 * rng.normal(size=clusters.size), clusters)


def features(rng: np.random.Generator, n: int, width: int, shift: float = 0.1, images: int = 1) -> np.ndarray:
    """``(n, width)``: some directions matter more than others, and images of a prompt are alike."""
    scale = 3 * np.arange(1, width + 1) ** -0.5
    prompts = rng.normal(size=(-(-n // images), width)).repeat(images, axis=0)[:n]
    rows = prompts if images == 1 else np.sqrt(0.5) * (prompts + rng.normal(size=(n, width)))
    return rows * scale * (1 + shift) + shift


def fid(n: int, width: int = 64, images: int = 1, moments: bool = False) -> Draw:
    rows = features(np.random.default_rng(9), 2_000, width, 0.0)
    to = FrechetTo(fitted([rows]) if moments else rows)

    def draw(rng: np.random.Generator) -> Interval:
        own = features(rng, n, width, images=images)
        return set_interval(partial(to, own), prompts_of(n, images), floor=0.0)

    return draw


def kid(n: int, size: int = 100, references: int = 1_000, width: int = 64, shift: float = 0.1, images: int = 1) -> Draw:
    rows = features(np.random.default_rng(9), references, width, 0.0)

    def draw(rng: np.random.Generator) -> Interval:
        own = features(rng, n, width, shift, images)
        return set_interval(lambda part: kernel_inception_distance(own, rows, part, 40, size), prompts_of(n, images))

    return draw


def cmmd(n: int, width: int = 32) -> Draw:
    reference = unit(features(np.random.default_rng(9), 1_000, width, 0.0))
    return lambda rng: set_interval(CmmdTo(reference, unit(features(rng, n, width))), prompts_of(n))


def inception_score(n: int, splits: int) -> Draw:
    def draw(rng: np.random.Generator) -> Interval:
        odds = np.exp(2 * features(rng, n, 30))
        probabilities = odds / odds.sum(axis=1, keepdims=True)
        return set_interval(lambda rows: score_of(probabilities, rows, min(splits, len(rows))), prompts_of(n), floor=1.0)

    return draw


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def prompts_of(n: int, images: int = 1) -> list[str]:
    return [f"{row // images:05d}" for row in range(n)]


SETS: dict[str, list[tuple[str, Draw]]] = {
    "FID": [(f"{n}", fid(n)) for n in (12, 24, 96, 499, 501, 1000)]
    + [("501, from moments", fid(501, moments=True)), ("501 of 167 prompts", fid(501, images=3))],
    "KID (subsets of 100)": [(f"{n}", kid(n)) for n in (12, 24, 99, 101, 200, 1000)]
    + [("200, 60 references", kid(200, references=60)), ("300 of 100 prompts", kid(300, images=3))],
    "CMMD": [(f"{n}", cmmd(n)) for n in (12, 24, 96, 400)],
    "IS": [
        ("24, 1 split", inception_score(24, 1)),
        ("96, 10 splits", inception_score(96, 10)),
        ("400", inception_score(400, 10)),
    ],
}
"""Metric -> sizes of sets and what is drawn of each."""


def told(found: Coverage) -> str:
    return "too few" if np.isnan(found.inside) else f"{100 * found.inside:.1f}"


def lines(runs: int) -> Iterator[str]:
    yield f"| prompts | {' | '.join(KINDS)} |"
    yield f"| --: |{' --: |' * len(KINDS)}"
    for prompts in PROMPTS:
        own = max(runs // 4, 100) if prompts > 64 else runs
        row = [told(coverage(partial(mean, kind, prompts, 2), own, 0.0)) for kind in KINDS]
        yield f"| {prompts:,} | {' | '.join(row)} |"
    yield ""
    yield "| metric | images | % |"
    yield "| :-- | :-- | --: |"
    for metric, sizes in SETS.items():
        for size, draw in sizes:
            yield f"| {metric} | {size} | {told(coverage(draw, max(runs // 4, 50)))} |"


if __name__ == "__main__":
    for line in lines(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000):
        print(line, flush=True)
