"""The readers of all that users write under damage: a short form of ``python tests/support/fuzz.py SECONDS``."""

from __future__ import annotations

from fuzz import fuzz


def test_damage_never_ends_in_a_traceback_or_in_another_value():
    counts, findings = fuzz(trials=150, seed=1)
    assert not findings, "\n\n".join(findings)
    assert all(counts[f"{kind}: error"] > 5 for kind in ("suites", "results", "prompts", "captions", "images"))
    assert all(counts[f"{kind}: value"] > 5 for kind in ("prompts", "captions", "images"))
