"""Findings as lines of text: what the terminal and Markdown have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from afa_bench.gate.model import Finding
from afa_bench.tables.text import MISSING, number, spread

HEADS = ("Cell", "Metric", "BASE", "HEAD", "Better by", "Margin", "Verdict")
"""Columns of :func:`row`."""

FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold and a terminal must not be sent: control characters, escapes, lone surrogates."""


def plain(text: str) -> str:
    """One line without control characters, which labels, prompts and error messages may hold."""
    return " ".join(FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text).split())


def row(finding: Finding) -> tuple[str, ...]:
    """A finding's texts under :data:`HEADS`; the difference is oriented, its interval behind it."""
    comparison = finding.comparison
    digits = comparison.metric.digits
    gap = comparison.evidence.difference if comparison.evidence else None
    better = MISSING
    if gap and math.isfinite(gap.value):
        better = f"{number(gap.value, digits, sign=True)} {spread(gap.value, gap.low, gap.high, digits)}".strip()
    return (
        plain(comparison.place),
        plain(comparison.metric.title),
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
            place = f"{plain(finding.comparison.metric.title)} ({plain(finding.comparison.place)})"
            places.setdefault((finding.verdict, plain(finding.words)), []).append(place)
    return [f"{verdict}: {words}: {_some(found)}" for (verdict, words), found in places.items()]


def sentence(finding: Finding) -> str:
    """A finding in one line, for a log."""
    place, title, base, head, better, margin, _ = row(finding)
    words = f"{title}, {place}: BASE {base}, HEAD {head}, better by {better}"
    if finding.margin is not None:
        words += f", margin {margin}"
    return f"{words}: {plain(finding.words)}" if finding.words else words


def _some(places: list[str], most: int = 3) -> str:
    more = len(places) - most
    return "; ".join(places[:most]) + (f"; and {more} more" if more > 0 else "")
