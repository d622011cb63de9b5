"""Every row of a table against one reference row of its group: paired differences instead of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from afa_bench.stats import Difference
from afa_bench.tables.load import CellResult, Place, measured
from afa_bench.tables.model import Cell, Column, Row, Table
from afa_bench.tables.pairs import Pairing

UNKNOWN = Difference(math.nan, math.nan, math.nan, 0, math.nan)


def with_differences(table: Table, placed: Mapping[Place, CellResult], references: Mapping[str, str | None]) -> Table:
    """Add to every cell its difference to the reference's cell at the same steps; the reference's own row stays as it is.

    Args:
        table: of values.
        placed: where the results stand.
        references: group -> label of its reference row, or None where it has none: its differences are unknown.

    Raises:
        UserError: samples which cannot be paired.
    """
    pairing = Pairing()

    def compared(group: str, label: str, reference: str | None, cell: Cell, column: Column) -> Cell:
        ours, theirs = placed.get((group, label, column.steps)), placed.get((group, reference or "", column.steps))
        other = measured(theirs, column.metric)
        if ours is None or theirs is None or cell.value is None or other.value is None:
            return replace(cell, difference=UNKNOWN)
        if column.metric.kind == "set":
            return replace(cell, difference=replace(UNKNOWN, value=cell.value - other.value, n=min(cell.n, other.n)))
        return replace(cell, difference=pairing.difference(ours.folder, theirs.folder, column.metric))

    def row_against(group: str, row: Row, reference: str | None) -> Row:
        if row.label == reference:
            return row
        pairs = zip(row.cells, table.columns, strict=True)
        return replace(row, cells=tuple(compared(group, row.label, reference, cell, column) for cell, column in pairs))

    sections = [
        replace(section, rows=tuple(row_against(section.name, row, references[section.name]) for row in section.rows))
        for section in table.sections
    ]
    return replace(table, sections=tuple(sections))
