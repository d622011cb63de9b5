"""The readers of suites and results under damage: a short form of ``python tests/support/fuzz.py SECONDS``."""

from __future__ import annotations

from fuzz import fuzz


def test_damaged_suites_and_results_never_end_in_a_traceback():
    counts, findings = fuzz(trials=150, seed=1)
    assert not findings, "\n\n".join(findings)
    assert counts["suites: error"] > 5
    assert counts["results: error"] > 5
