"""Numbers as a reader sees them: the one place where anything is rounded.

A mean and its interval are written ``0.812 ±0.004``: half the interval's width, half as long as both bounds and quick to compare
down a column. That is honest only where the value is in the middle, so wherever the two arms differ by more than the last digit
shown and by more than a tenth, the bounds themselves stand there: ``12.31 [11.90, 13.02]`` (FID's interval is skewed). The same
form serves every format for people; CSV and JSON carry both bounds in full precision.
"""

from __future__ import annotations

import math

from afa_bench.tables.model import Cell, Metric

MISSING = "–"
LEGEND = "Best in bold, second best underlined; values that read alike share."


def number(value: float, digits: int, *, sign: bool = False) -> str:
    """``value`` with so many decimals; never a negative zero. ``sign`` puts a plus before positive numbers."""
    value = round(value, digits) + 0.0
    return f"{value:+.{digits}f}" if sign and value else f"{value:.{digits}f}"


def spread(value: float, low: float | None, high: float | None, digits: int) -> str:
    """The interval around ``value`` in the form that the module describes; nothing where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    below, above, half = value - low, high - value, (high - low) / 2
    if min(below, above) < 0 or abs(above - below) > max(10.0**-digits, 0.1 * half):
        return f"[{number(low, digits)}, {number(high, digits)}]"
    while half > 0 and round(half, digits) == 0 and digits < 12:
        digits += 1  # an interval narrower than the digits shown is not an interval of zero
    return f"±{number(half, digits)}"


def measured(cell: Cell, metric: Metric) -> tuple[str, str]:
    """A cell's value, and its interval and the number of samples where it is not the planned one."""
    if cell.value is None:
        return MISSING, ""
    rest = [spread(cell.value, cell.low, cell.high, metric.digits)]
    if cell.of is not None:
        rest.append(f"(n={cell.n} of {cell.of})")
    return number(cell.value, metric.digits), " ".join(filter(None, rest))


def difference(cell: Cell, metric: Metric) -> tuple[str, str]:
    """A cell's paired difference with its sign, and its interval and win rate."""
    gap = cell.difference
    if gap is None or not math.isfinite(gap.value):
        return MISSING, ""
    rest = [spread(gap.value, gap.low, gap.high, metric.digits)]
    if math.isfinite(gap.win_rate):
        rest.append(f"({100 * gap.win_rate:.0f}%)")
    return number(gap.value, metric.digits, sign=True), " ".join(filter(None, rest))


def moved(cell: Cell, metric: Metric) -> str:
    """How much a cell's value moves from repeat to repeat: the standard deviation, with a digit more than the value."""
    if cell.spread is None or not math.isfinite(cell.spread.deviation):
        return MISSING
    return f"SD {number(cell.spread.deviation, metric.digits + 1)} of {cell.spread.repeats}"


def printed(cell: Cell) -> str:
    """The paper's number in a cell, with the paper's digits."""
    return MISSING if cell.printed is None else cell.printed.text
