"""The paired difference of every two rows of a group, each computed once: the other way round is its mirror image."""

from __future__ import annotations

from dataclasses import replace

from afa_bench.differences import Difference
from afa_bench.tables.beside import UNKNOWN
from afa_bench.tables.load import CellResult, Place, Results, measured
from afa_bench.tables.measure import Measurer
from afa_bench.tables.model import Cell, Column, Table, alike

Key = tuple[str, str, str, Column]


class Differences:
    """Differences between the rows of a table, in its columns.

    Args:
        results: what the table was built from.
        table: of values.
    """

    def __init__(self, results: Results, table: Table) -> None:
        self.columns = table.columns
        self._placed: dict[Place, CellResult] = {(*result.row, result.cell.steps): result for result in results.cells}
        self._measurer = Measurer()
        self._known: dict[Key, Cell | None] = {}

    def row(self, group: str, label: str, other: str) -> list[Cell | None]:
        """``label`` minus ``other`` in each column; None where one of the two has no value.

        Raises:
            UserError: samples which cannot be paired.
        """
        return [self._cell(group, label, other, column) for column in self.columns]

    def _cell(self, group: str, label: str, other: str, column: Column) -> Cell | None:
        mirrored = self._known.get((group, other, label, column))
        found = _mirror(mirrored) if mirrored is not None else self._computed(group, label, other, column)
        self._known[group, label, other, column] = found
        return found

    def _computed(self, group: str, label: str, other: str, column: Column) -> Cell | None:
        ours, theirs = (self._placed.get((group, name, column.steps)) for name in (label, other))
        value, against = measured(ours, column.metric), measured(theirs, column.metric)
        if ours is None or theirs is None or value.value is None or against.value is None or not alike(value, against):
            return None
        if column.metric.kind == "set":
            gap = replace(UNKNOWN, value=value.value - against.value, n=min(value.n, against.n))
        else:
            gap = self._measurer.difference(ours.folder, theirs.folder, column.metric)
        return replace(value, difference=gap, best=False, second=False)


def _mirror(cell: Cell) -> Cell:
    gap = cell.difference
    assert gap is not None
    turned = Difference(-gap.value, -gap.high, -gap.low, gap.n, 1 - gap.win_rate)
    return replace(cell, difference=turned)
