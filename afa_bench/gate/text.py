"""Findings as lines of text: what the terminal and Markdown have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable

from afa_bench.gate.model import Finding
from afa_bench.tables.text import MISSING, number, spread
from afa_bench.words import line

HEADS = ("Cell", "Metric", "BASE", "HEAD", "Better by", "Margin", "Verdict")
"""Columns of :func:`row`."""


def row(finding: Finding) -> tuple[str, ...]:
    """A finding's texts under :data:`HEADS`; the difference is oriented, its interval behind it."""
    comparison = finding.comparison
    digits = comparison.metric.digits
    gap = comparison.evidence.difference if comparison.evidence else None
    better = MISSING
    if gap and math.isfinite(gap.value):
        better = f"{number(gap.value, digits, sign=True)} {spread(gap.value, gap.low, gap.high, digits)}".strip()
    return (
        line(comparison.place),
        line(comparison.metric.title),
        *(MISSING if value is None else number(value, digits) for value in (comparison.base, comparison.head)),
        better,
        MISSING if finding.margin is None else f"{finding.margin:g}",
        finding.verdict,
    )


def reasons(findings: Iterable[Finding]) -> list[str]:
    """What has to be said about findings in words: equal words once, with the places where they hold."""
    places: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        if finding.words:
            place = f"{line(finding.comparison.metric.title)} ({line(finding.comparison.place)})"
            places.setdefault((finding.verdict, line(finding.words)), []).append(place)
    return [f"{verdict}: {words}: {_some(found)}" for (verdict, words), found in places.items()]


def sentence(finding: Finding) -> str:
    """A finding in one line, for a log."""
    place, title, base, head, better, margin, _ = row(finding)
    words = f"{title}, {place}: BASE {base}, HEAD {head}, better by {better}"
    if finding.margin is not None:
        words += f", margin {margin}"
    return f"{words}: {line(finding.words)}" if finding.words else words


def _some(places: list[str], most: int = 3) -> str:
    more = len(places) - most
    return "; ".join(places[:most]) + (f"; and {more} more" if more > 0 else "")
