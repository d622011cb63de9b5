"""For a spreadsheet or a data frame: long form, a row for each group, method, metric and number of steps, in full precision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from afa_bench.markup import spreadsheet
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
BY = ("prompts",)
"""Which prompts a row is over where they are broken down: ``all``, or those of its ``category``, which may have no name."""
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


def render(table: Table, *, safe: bool = False) -> str:
    """The rows under a line of names. What is missing is empty; numbers read back as the very same floats.

    Args:
        table: what to write.
        safe: for spreadsheets: they compute no text, and find by the mark at the beginning that it is UTF-8.
    """
    cells = [cell for section in table.sections for row in section.rows for cell in row.cells]
    if table.paper is not None:
        return _text(PAPER, (_printed(cell) for cell in cells if cell.printed is not None), safe)
    repeats = any(cell.spread for cell in cells)
    fields = FIELDS + (BY if table.by else ()) + (VERSUS if table.versus else ()) + (REPEATS if repeats else ())
    return _text(fields, _rows(table, repeats), safe)


def _rows(table: Table, repeats: bool) -> Iterator[list[object]]:
    for section in table.sections:
        for row in section.rows:
            for cell, column in zip(row.cells, table.columns, strict=True):
                metric, gap, spread = column.metric, cell.difference, cell.spread
                where: list[object] = [table.suite, table.revision, section.name, section.category, row.method, row.label]
                where += [metric.key, metric.title, metric.direction, metric.unit, column.steps]
                values: list[object] = [cell.value, cell.low, cell.high, cell.n]
                if table.by:
                    values.append("all" if section.category is None else table.by)
                if table.versus:
                    values.append(table.versus)
                    values += [gap.value, gap.low, gap.high, gap.n, gap.win_rate] if gap else [None] * 5
                if repeats:
                    values += [spread.repeats, spread.deviation] if spread else [None] * 2
                yield where + values


def _printed(cell: Cell) -> list[object]:
    assert cell.printed is not None
    return [*(getattr(cell.printed, name) for name in PAPER[:-4]), cell.value, cell.low, cell.high, cell.n]


def _text(fields: Sequence[str], rows: Iterable[list[object]], safe: bool) -> str:
    text = io.StringIO("\N{ZERO WIDTH NO-BREAK SPACE}" if safe else "")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        writer.writerow([spreadsheet(value) if safe and isinstance(value, str) else _plain(value) for value in row])
    return text.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, float):
        return "" if value != value else repr(value)
    return "" if value is None else value
