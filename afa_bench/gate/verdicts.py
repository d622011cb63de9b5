"""From comparisons to verdicts, and from verdicts to the exit code.

For each gated per-sample metric of a cell, d is the mean paired difference, positive where HEAD is better, and ``[low, high]``
its bootstrap interval of level 1 - alpha:

    regressed      high < -margin, and Holm's adjusted p-value of "d < -margin" is at most alpha / 2
    improved       low > 0
    pass           low >= -margin
    inconclusive   anything else: more samples are needed to tell

A gate asks many questions at once: every gated metric in every cell. Forty of them, asked one by one at 2.5%, would claim a
regression that is none in up to 64 of 100 runs. So "regressed" must hold after Holm's step-down correction over all questions of
the gate: where nothing is truly worse by more than its margin, the gate says "regressed" anywhere with a probability of at most
alpha / 2, whatever the number of cells and however they depend on each other. The p-values are those of the cluster-robust
Student statistic (``stats.p_below``), since Holm asks about tails of 0.025 / 40, in which 10,000 draws hold next to nothing.
"pass" and "improved" are read from the plain interval: each is wrong with a probability of at most alpha / 2, cell by cell.

A set metric (FID, IS) has one value and no pairs. Its margin is a stated tolerance on the difference of the two values:
``regressed`` below -margin, ``improved`` above margin, else ``pass``. It takes no part in Holm.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from afa_bench.gate.model import FAILING, OPEN, Comparison, Finding, Verdict
from afa_bench.gate.policy import Policy
from afa_bench.stats import Difference, holm, p_below

OK, REGRESSION, NOTHING, UNDECIDED = 0, 1, 3, 4
"""Exit codes of the command, which ``gate.json`` has, too."""


@dataclass(frozen=True)
class Decision:
    """What a gate has decided.

    Attributes:
        suite, revision: of BASE.
        base, head: how the two were named.
        policy: what HEAD was held to.
        strict: whether open questions fail.
        findings: in the order of the rows.
    """

    suite: str
    revision: int
    base: str
    head: str
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
    def headline(self) -> str:
        """The decision in one line."""
        said = {OK: "passed", REGRESSION: "failed", NOTHING: "nothing to compare", UNDECIDED: "undecided, and strict"}
        counts = self.counts
        return f"Gate {said[self.code]}: {', '.join(f'{counts[v]} {v}' for v in Verdict if counts[v]) or 'no findings'}"


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
    raw = [_p(gated[index], margins[index]) for index in tested]
    adjusted = dict(zip(tested, holm(raw), strict=True))
    return [
        _judged(comparison, margin, adjusted.get(index), policy.alpha / 2)
        for index, (comparison, margin) in enumerate(zip(gated, margins, strict=True))
    ]


def tell(comparison: Comparison) -> Finding:
    """Improved, worse, the same to the last bit, or unclear, as far as one plain interval can tell; a set metric has none."""
    if comparison.trouble is not None or comparison.evidence is None:
        return Finding(comparison, comparison.trouble or Verdict.UNCLEAR, comparison.words)
    gap = comparison.evidence.difference
    if gap.value == 0 and not comparison.evidence.gaps.any():
        return Finding(comparison, Verdict.SAME)
    if gap.low > 0:
        return Finding(comparison, Verdict.IMPROVED)
    return Finding(comparison, Verdict.WORSE if gap.high < 0 else Verdict.UNCLEAR)


def decide(gap: Difference, margin: float, *, p: float = 0.0, alpha: float = 0.025) -> Verdict:
    """The verdict on an oriented paired difference.

    Args:
        gap: positive is better; bounds that are NaN (one prompt) decide nothing.
        margin: how much worse is still good enough.
        p: the adjusted p-value of "worse by more than the margin".
        alpha: what it may be at most, for ``regressed``.
    """
    if gap.high < -margin and p <= alpha:
        return Verdict.REGRESSED
    if gap.low > 0:
        return Verdict.IMPROVED
    return Verdict.PASS if gap.low >= -margin else Verdict.INCONCLUSIVE


def _p(comparison: Comparison, margin: float) -> float:
    evidence = comparison.evidence
    return p_below(evidence.gaps, -margin, evidence.clusters) if evidence else 1.0


def _judged(comparison: Comparison, margin: float, p: float | None, alpha: float) -> Finding:
    if comparison.trouble is not None or comparison.evidence is None:
        return Finding(comparison, comparison.trouble or Verdict.INCOMPARABLE, comparison.words, margin)
    gap = comparison.evidence.difference
    if p is None:
        verdict = Verdict.REGRESSED if gap.value < -margin else Verdict.IMPROVED if gap.value > margin else Verdict.PASS
        return Finding(comparison, verdict, "", margin)
    verdict = decide(gap, margin, p=p, alpha=alpha)
    return Finding(comparison, verdict, _why(verdict, gap, margin), margin, p)


def _why(verdict: Verdict, gap: Difference, margin: float) -> str:
    if verdict is not Verdict.INCONCLUSIVE:
        return ""
    if math.isnan(gap.low):
        return "one prompt has no interval"
    if gap.high < -margin:
        return "worse on its own, but not after Holm's correction for so many questions"
    return "the interval reaches below the margin: more samples are needed"
