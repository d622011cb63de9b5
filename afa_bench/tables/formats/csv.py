"""For a spreadsheet or a data frame: long form, a row for each group, method, metric and number of steps, in full precision."""

from __future__ import annotations

import csv
import io

from afa_bench.tables.model import Table

FIELDS = (
    "suite",
    "revision",
    "group",
    "method",
    "label",
    "metric",
    "title",
    "direction",
    "unit",
    "steps",
    "value",
    "low",
    "high",
    "n",
)
VERSUS = ("versus", "difference", "difference_low", "difference_high", "pairs", "win_rate")


def render(table: Table) -> str:
    """The rows under a line of names. What is missing is empty; numbers read back as the very same floats."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS + (VERSUS if table.versus else ()))
    for section in table.sections:
        for row in section.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                metric, gap = column.metric, cell.difference
                where = [table.suite, table.revision, section.name, row.method, row.label]
                what = [metric.key, metric.title, metric.direction, metric.unit, column.steps]
                values: list[object] = [cell.value, cell.low, cell.high, cell.n]
                if table.versus:
                    gaps = [gap.value, gap.low, gap.high, gap.n, gap.win_rate] if gap else [None] * 5
                    values += [table.versus, *gaps]
                writer.writerow([_plain(value) for value in where + what + values])
    return text.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return "" if value is None else value
