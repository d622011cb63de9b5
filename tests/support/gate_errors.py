"""How often a gate is wrong, on simulated differences whose truth is known.

``python tests/support/gate_errors.py [RUNS]`` prints the table of docs/statistics.md.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from afa_bench.differences import paired_difference
from afa_bench.gate import Comparison, Evidence, Policy, judge
from afa_bench.tables.load import CellFile
from afa_bench.tables.model import Metric

PROMPTS = (3, 6, 8, 24, 64, 96)
KINDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: np.exp(0.125) - np.exp(0.5 * rng.normal(size=n)),
    "few lose much": lambda rng, n: 1 - rng.exponential(size=n),
}
"""Distributions of prompts' differences, with the mean 0."""

MARGIN = 0.1


def verdict_of(gaps: np.ndarray, clusters: np.ndarray, margin: float) -> str:
    quality = Metric("clip", "CLIP", "per-sample", "higher", "", 3, "1", ())
    cell = CellFile(suite="s", revision=1, group="g", method="m", label="", order=0, task="generate", steps=10, fingerprint="")
    evidence = Evidence(paired_difference(gaps, 0 * gaps, clusters), gaps, clusters)
    policy = Policy.model_validate({"metrics": {"clip": {"margin": margin}}})
    (found,) = judge([Comparison(cell, quality, 0.0, 0.0, evidence)], policy)
    return found.verdict


LOSSES = {"same": 0.0, "margin": MARGIN, "twice": 2 * MARGIN}


def verdicts(kind: str, prompts: int, runs: int, losses: Mapping[str, float] = LOSSES) -> Counter[tuple[str, str]]:
    """(the true loss, the verdict) -> runs."""
    rng = np.random.default_rng([prompts, list(KINDS).index(kind)])
    clusters, found = np.repeat(np.arange(prompts), 2), Counter[tuple[str, str]]()
    for _ in range(runs):
        gaps = 0.05 * KINDS[kind](rng, prompts)[clusters] + 0.02 * rng.normal(size=clusters.size)
        for truth, loss in losses.items():
            found[truth, str(verdict_of(gaps - loss, clusters, MARGIN))] += 1
    return found


def lines(runs: int) -> Iterator[str]:
    asked = [("same", "improved"), ("margin", "pass"), ("margin", "regressed"), ("same", "pass"), ("twice", "regressed")]
    yield f"| differences | prompts | {' | '.join(f'{truth}: `{verdict}`' for truth, verdict in asked)} |"
    yield f"| :-- | --: |{' --: |' * len(asked)}"
    for kind in KINDS:
        for prompts in PROMPTS:
            found = verdicts(kind, prompts, runs)
            yield f"| {kind} | {prompts} | {' | '.join(f'{100 * found[key] / runs:.1f}' for key in asked)} |"


if __name__ == "__main__":
    for line in lines(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000):
        print(line, flush=True)
