"""From comparisons to verdicts, and from verdicts to the exit code.

For each gated per-sample metric of a cell, d is the mean paired difference, positive where HEAD is better, and ``[low, high]``
its interval of level 1 - alpha:

    regressed      high < -margin, and Holm's adjusted p-value of "d < -margin" is at most alpha / 2
    improved       low > 0, but for rounding, and the p-value of "d > 0" is at most alpha / 2
    pass           low >= -margin, and the p-value of "d > -margin" is at most alpha / 2
    inconclusive   anything else: more samples are needed to tell, or more prompts, where they are too few for an interval

The interval is bootstrapped and the p-values are those of the cluster-robust Student statistic (``p_below``): the one knows
about skewed differences, the other about few prompts, and a verdict takes both. So each of the three claims is wrong with a
probability of at most alpha / 2, but where differences are skewed (docs/statistics.md: in up to 6%, for a handful of prompts). A
margin is at least what is rounding: a hundredth of the last digit shown.

A gate asks many questions at once: every gated metric in every cell. Forty of them, asked one by one at 2.5%, would claim a
regression that is none in up to 64 of 100 runs. So "regressed" must hold after Holm's step-down correction over all questions
of the gate: where nothing is truly worse by more than its margin, the gate says "regressed" anywhere with a probability of at
most alpha / 2, whatever the number of cells and however they depend on each other. It takes p-values for that: Holm asks about
tails of 0.025 / 40, in which 10,000 draws hold next to nothing. "pass" and "improved" hold cell by cell.

A set metric (FID, IS) has one value and no pairs. Its margin is a stated tolerance on the difference of the two values:
``regressed`` below -margin, ``improved`` above margin, else ``pass``. It takes no part in Holm.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from afa_bench.differences import Difference, holm, p_below
from afa_bench.gate.model import FAILING, OPEN, Comparison, Evidence, Finding, Verdict
from afa_bench.gate.policy import Policy
from afa_bench.stats import too_few

OK, REGRESSION, NOTHING, UNDECIDED = 0, 1, 3, 4
"""Exit codes of the command, which ``gate.json`` has, too."""


@dataclass(frozen=True)
class Decision:
    """What a gate has decided.

    Attributes:
        suite, revision: of BASE.
        base, head: how the two were named.
        about: both in one line (:func:`afa_bench.gate.compare.about`).
        policy: what HEAD was held to.
        strict: whether open questions fail.
        findings: in the order of the rows.
    """

    suite: str
    revision: int
    base: str
    head: str
    about: str
    policy: Policy
    strict: bool
    findings: tuple[Finding, ...]

    @property
    def counts(self) -> Counter[Verdict]:
        """How many findings have each verdict."""
        return Counter(finding.verdict for finding in self.findings)

    @property
    def code(self) -> int:
        """The exit code."""
        return exit_code((finding.verdict for finding in self.findings), strict=self.strict)

    @property
    def passed(self) -> bool:
        """Whether the change may go in."""
        return self.code == OK

    @property
    def headline(self) -> str:
        """The decision in one line."""
        words = {OK: "passed", REGRESSION: "failed", NOTHING: "nothing to compare", UNDECIDED: "undecided, and strict"}
        counts = self.counts
        return f"Gate {words[self.code]}: {', '.join(f'{counts[v]} {v}' for v in Verdict if counts[v]) or 'no findings'}"


def exit_code(verdicts: Iterable[Verdict], *, strict: bool = False) -> int:
    """0 ok; 1 regressed, lost, failed or NaN; 3 nothing comparable; 4 an open question, under ``strict``."""
    found = set(verdicts)
    if found & FAILING:
        return REGRESSION
    if not found - {Verdict.INCOMPARABLE, Verdict.NEW}:
        return NOTHING
    return UNDECIDED if strict and found & OPEN else OK


def judge(comparisons: Sequence[Comparison], policy: Policy) -> list[Finding]:
    """A verdict on each comparison of a metric that the policy gates."""
    gated = [comparison for comparison in comparisons if comparison.metric.key in policy.metrics]
    margins = [policy.metrics[comparison.metric.key].margin for comparison in gated]
    tested = [index for index, comparison in enumerate(gated) if comparison.trouble is None and comparison.metric.kind != "set"]
    adjusted = dict(zip(tested, holm([_worse(gated[index], margins[index]) for index in tested]), strict=True))
    return [
        _judged(comparison, margin, adjusted.get(index), policy.alpha / 2)
        for index, (comparison, margin) in enumerate(zip(gated, margins, strict=True))
    ]


def tell(comparison: Comparison) -> Finding:
    """Improved, worse, the same but for rounding, or unclear, as far as one plain interval can tell; a set metric has none."""
    if comparison.trouble is not None or comparison.evidence is None:
        return Finding(comparison, comparison.trouble or Verdict.UNCLEAR, comparison.words)
    evidence, rounding = comparison.evidence, comparison.rounding
    gap = evidence.difference
    if max(abs(gap.value), np.abs(evidence.gaps).max(initial=0.0)) <= rounding:
        return Finding(comparison, Verdict.SAME, comparison.words)
    if gap.low > rounding:
        return Finding(comparison, Verdict.IMPROVED, comparison.words)
    verdict = Verdict.WORSE if gap.high < -rounding else Verdict.UNCLEAR
    return Finding(comparison, verdict, comparison.words or (_few(evidence) if verdict is Verdict.UNCLEAR else ""))


def decide(
    gap: Difference,
    margin: float,
    *,
    worse: float = 0.0,
    good: float = 0.0,
    better: float = 0.0,
    alpha: float = 0.025,
    rounding: float = 0.0,
) -> Verdict:
    """The verdict on an oriented paired difference.

    Args:
        gap: positive is better; bounds that are NaN (too few prompts) decide nothing.
        margin: how much worse is still good enough.
        worse: the adjusted p-value of "worse by more than the margin".
        good: the p-value of "not worse by more than the margin".
        better: the p-value of "better".
        alpha: what a p-value may be at most, for its verdict.
        rounding: what is no difference.
    """
    bound = -max(margin, rounding)
    if gap.high < bound and worse <= alpha:
        return Verdict.REGRESSED
    if gap.low > rounding and better <= alpha:
        return Verdict.IMPROVED
    return Verdict.PASS if gap.low >= bound and good <= alpha else Verdict.INCONCLUSIVE


def _worse(comparison: Comparison, margin: float) -> float:
    """The p-value of "worse by more than the margin"."""
    evidence = comparison.evidence
    return p_below(evidence.gaps, -max(margin, comparison.rounding), evidence.clusters) if evidence else 1.0


def _judged(comparison: Comparison, margin: float, worse: float | None, alpha: float) -> Finding:
    if comparison.trouble is not None or comparison.evidence is None:
        return Finding(comparison, comparison.trouble or Verdict.INCOMPARABLE, comparison.words, margin)
    evidence, rounding = comparison.evidence, comparison.rounding
    gap, bound = evidence.difference, max(margin, rounding)
    if worse is None:
        verdict = Verdict.REGRESSED if gap.value < -bound else Verdict.IMPROVED if gap.value > bound else Verdict.PASS
        return Finding(comparison, verdict, comparison.words, margin)
    good = p_below(-evidence.gaps, bound, evidence.clusters)
    better = p_below(-evidence.gaps, 0.0, evidence.clusters)
    verdict = decide(gap, margin, worse=worse, good=good, better=better, alpha=alpha, rounding=rounding)
    return Finding(comparison, verdict, comparison.words or _why(verdict, evidence, bound), margin, worse)


def _why(verdict: Verdict, evidence: Evidence, bound: float) -> str:
    if verdict is not Verdict.INCONCLUSIVE:
        return ""
    if few := _few(evidence):
        return few
    if evidence.difference.high < -bound:
        return "worse on its own, but not after Holm's correction for so many questions"
    return "the interval reaches below the margin: more samples are needed"


def _few(evidence: Evidence) -> str:
    """That there are too few prompts for an interval, if that is so."""
    return too_few(len(np.unique(evidence.clusters))) if evidence.gaps.size and math.isnan(evidence.difference.low) else ""
