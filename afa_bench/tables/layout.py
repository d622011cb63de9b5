"""What all formats for people share: how wide a table may become, and the lines that a row is shown in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from afa_bench.tables.model import Cell, Metric, Row, Table
from afa_bench.tables.text import LEGEND, difference, measured, moved, printed

WIDEST = 8
"""Columns of numbers in one panel, at most: about what a page in landscape or a wide terminal holds."""


@dataclass(frozen=True)
class Panel:
    """Some columns of a table, under a heading of their own when there are several panels.

    Attributes:
        heading: what its columns share, or None for a single panel that says so in its columns.
        columns: indices into the table's columns.
    """

    heading: str | None
    columns: tuple[int, ...]


def panels(table: Table, widest: int = WIDEST) -> list[Panel]:
    """One panel of all columns if they are at most ``widest``, else one for each first level of the columns' headings."""
    indices = range(len(table.columns))
    if len(indices) <= widest:
        return [Panel(None, tuple(indices))]
    by_head: dict[str, list[int]] = {}
    for index in indices:
        by_head.setdefault(table.columns[index].head, []).append(index)
    return [Panel(head, tuple(chosen)) for head, chosen in by_head.items()]


@dataclass(frozen=True)
class Shown:
    """A cell's text: the value, which a format emphasises if it is the best or the second best, and the rest behind it."""

    value: str
    rest: str = ""
    best: bool = False
    second: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a row: the first has the row's label; those under it say what they add.

    Attributes:
        label: at the line's head.
        cells: one for each of the panel's columns.
        under: whether it belongs under the line before.
    """

    label: str
    cells: tuple[Shown, ...]
    under: bool = False


TextOf = Callable[[Cell, Metric], Shown]


def lines(table: Table, row: Row, panel: Panel) -> Iterator[Line]:
    """The lines in which people see a row: its values, then what was asked for beside them."""

    def line(label: str, text: TextOf, under: bool = True) -> Line:
        chosen = [(row.cells[index], table.columns[index].metric) for index in panel.columns]
        return Line(label, tuple(text(cell, metric) for cell, metric in chosen), under)

    if table.paper is not None:
        yield line(row.label, lambda cell, metric: Shown(printed(cell)), under=False)
        if any(row.cells[index].value is not None for index in panel.columns):
            yield line("measured", _marked)
        return
    yield line(row.label, _marked, under=False)
    if any(cell.difference is not None for cell in row.cells):
        yield line(f"vs {table.versus}", lambda cell, metric: Shown(*difference(cell, metric)))
    if any(cell.spread is not None for cell in row.cells):
        yield line("repeats", lambda cell, metric: Shown("", moved(cell, metric)))


def _marked(cell: Cell, metric: Metric) -> Shown:
    return Shown(*measured(cell, metric), best=cell.best, second=cell.second)


def notes(table: Table) -> tuple[str, ...]:
    """What stands under the table, led by the legend of the marks if there are any."""
    marked = any(cell.best for section in table.sections for row in section.rows for cell in row.cells)
    return ((LEGEND,) if marked else ()) + table.notes
