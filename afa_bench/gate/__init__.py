"""Two results of one suite against each other: ``compare`` tells what changed, ``gate`` decides. Imports no torch."""

from afa_bench.gate.compare import about, compare_results
from afa_bench.gate.model import Comparison, Evidence, Finding, Verdict
from afa_bench.gate.policy import Policy, default_policy, read_policy
from afa_bench.gate.selection import Selection
from afa_bench.gate.verdicts import Decision, decide, judge, tell

__all__ = [
    "Comparison",
    "Decision",
    "Evidence",
    "Finding",
    "Policy",
    "Selection",
    "Verdict",
    "about",
    "compare_results",
    "decide",
    "default_policy",
    "judge",
    "read_policy",
    "tell",
]
