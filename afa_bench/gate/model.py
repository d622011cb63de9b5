"""What is known of one metric in one cell of two results, and what is said about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from afa_bench.differences import Difference
from afa_bench.tables.load import CellFile
from afa_bench.tables.model import Metric


class Verdict(StrEnum):
    """What is said about one metric in one cell; ``worse``, ``unclear`` and ``same`` where there is no margin to hold it to."""

    IMPROVED = "improved"
    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    REGRESSED = "regressed"
    WORSE = "worse"
    UNCLEAR = "unclear"
    SAME = "same"
    NAN = "nan"
    FAILED = "failed"
    LOST = "lost"
    INCOMPARABLE = "incomparable"
    NEW = "new"


FAILING = frozenset({Verdict.REGRESSED, Verdict.NAN, Verdict.FAILED, Verdict.LOST})
"""Verdicts that fail the gate."""

OPEN = frozenset({Verdict.INCONCLUSIVE, Verdict.INCOMPARABLE})
"""Verdicts that leave a question open: they fail a strict gate."""


@dataclass(frozen=True)
class Evidence:
    """The oriented difference HEAD - BASE, positive where HEAD is better.

    Attributes:
        difference: its mean and interval over the paired samples; of a set metric the two values' difference, without bounds.
        gaps: ``(n,)`` the paired samples' oriented differences; empty for a set metric.
        clusters: ``(n,)`` each pair's prompt.
    """

    difference: Difference
    gaps: NDArray[np.float64]
    clusters: NDArray[np.intp]


@dataclass(frozen=True)
class Comparison:
    """One metric in one cell of two results.

    Attributes:
        cell: what BASE says about the cell, or HEAD where BASE has none.
        metric: what is measured.
        base, head: the values in the two summaries.
        evidence: None where nothing can be paired.
        trouble: a verdict that holds whatever the numbers are (new, incomparable, lost, failed, nan), if there is one.
        words: what the trouble is, or what else is to be said.
    """

    cell: CellFile
    metric: Metric
    base: float | None
    head: float | None
    evidence: Evidence | None = None
    trouble: Verdict | None = None
    words: str = ""

    @property
    def rounding(self) -> float:
        """What is no difference: a hundredth of the last digit that the metric shows."""
        return float(10.0 ** -(self.metric.digits + 2))

    @property
    def place(self) -> str:
        """The cell in words."""
        steps = "" if self.cell.steps is None else f", {self.cell.steps} steps"
        return f"{self.cell.group}: {self.cell.label}{steps}"


@dataclass(frozen=True)
class Finding:
    """A comparison with its verdict.

    Attributes:
        comparison: what was found.
        verdict: what it comes to.
        words: why, in a sentence; empty where the numbers say it.
        margin: how much worse HEAD may be, in the metric's own unit; None where nothing is decided.
        p: Holm's adjusted one-sided p-value of "worse by more than the margin"; None for what is not tested.
    """

    comparison: Comparison
    verdict: Verdict
    words: str = ""
    margin: float | None = None
    p: float | None = None
