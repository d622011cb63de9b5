"""How wide a table may become: the rule that all formats for people share."""

from __future__ import annotations

from dataclasses import dataclass

from afa_bench.tables.model import Table

WIDEST = 8
"""Columns of numbers in one panel, at most: about what a page in landscape or a wide terminal holds."""


@dataclass(frozen=True)
class Panel:
    """Some columns of a table, under a heading of their own when there are several panels.

    Attributes:
        heading: the metric's, or None for a single panel that names the metrics in its columns.
        columns: indices into the table's columns.
    """

    heading: str | None
    columns: tuple[int, ...]


def panels(table: Table, widest: int = WIDEST) -> list[Panel]:
    """One panel of all columns if they are at most ``widest``, else one a metric with its steps side by side."""
    indices = range(len(table.columns))
    if len(indices) <= widest:
        return [Panel(None, tuple(indices))]
    by_metric: dict[str, list[int]] = {}
    for index in indices:
        by_metric.setdefault(table.columns[index].metric.key, []).append(index)
    return [Panel(table.columns[chosen[0]].metric.heading, tuple(chosen)) for chosen in by_metric.values()]
