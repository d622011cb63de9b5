"""For a spreadsheet or a data frame: long form, a row for each group, method, metric and number of steps, in full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from afa_bench.tables.model import Cell, Table

FIELDS = (
    "suite",
    "revision",
    "group",
    "category",
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
REPEATS = ("repeats", "repeat_deviation")
PAPER = (
    "table",
    "dataset",
    "group",
    "method",
    "n_models",
    "images",
    "steps",
    "metric",
    "unit",
    "paper",
    "suite",
    "value",
    "low",
    "high",
    "n",
)
"""Fields of the paper's tables: its own number under ``paper``, what was measured under ``value``."""


def render(table: Table) -> str:
    """The rows under a line of names. What is missing is empty; numbers read back as the very same floats."""
    cells = [cell for section in table.sections for row in section.rows for cell in row.cells]
    if table.paper is not None:
        return _text(PAPER, (_printed(cell) for cell in cells if cell.printed is not None))
    repeats = any(cell.spread for cell in cells)
    fields = FIELDS + (VERSUS if table.versus else ()) + (REPEATS if repeats else ())
    return _text(fields, _rows(table, repeats))


def _rows(table: Table, repeats: bool) -> Iterator[list[object]]:
    for section in table.sections:
        for row in section.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                metric, gap, spread = column.metric, cell.difference, cell.spread
                where: list[object] = [
                    *(column.suite or (table.suite, table.revision)),
                    section.name,
                    section.category,
                    row.method,
                    row.label,
                ]
                where += [metric.key, metric.title, metric.direction, metric.unit, column.steps]
                values: list[object] = [cell.value, cell.low, cell.high, cell.n]
                if table.versus:
                    values.append(table.versus)
                    values += [gap.value, gap.low, gap.high, gap.n, gap.win_rate] if gap else [None] * 5
                if repeats:
                    values += [spread.repeats, spread.deviation] if spread else [None] * 2
                yield where + values


def _printed(cell: Cell) -> list[object]:
    assert cell.printed is not None
    return [*(getattr(cell.printed, name) for name in PAPER[:-4]), cell.value, cell.low, cell.high, cell.n]


def _text(fields: Sequence[str], rows: Iterable[list[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        writer.writerow([_plain(value) for value in row])
    return text.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return "" if value is None else value
