"""What stands beside a table's values when it is asked for: categories, paired differences, the spread over repeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from afa_bench.differences import Difference
from afa_bench.errors import UserError
from afa_bench.stats import FEW
from afa_bench.tables.load import CellResult, Place, measured
from afa_bench.tables.measure import Measurer
from afa_bench.tables.model import Cell, Column, Metric, Row, Section, Table, alike

FEW_PROMPTS = f"too few prompts for an interval, which takes {FEW} at least"
UNKNOWN = Difference(math.nan, math.nan, math.nan, 0, math.nan)
Placed = Mapping[Place, CellResult]
CellOf = Callable[[str, Row, Cell, Column, CellResult | None], Cell]


def by_category(table: Table, placed: Placed, measurer: Measurer) -> Table:
    """Under each group's section one for each category of its prompts, over all metrics that have a value a sample.

    Raises:
        UserError: no metric is of samples, or the samples have no categories.
    """
    kept = [index for index, column in enumerate(table.columns) if column.metric.kind == "per-sample"]
    if not kept:
        raise UserError("--by category: none of the metrics chosen has a value for each sample")
    columns = tuple(table.columns[index] for index in kept)
    sections: list[Section] = []
    for section in table.sections:
        rows = [replace(row, cells=tuple(row.cells[index] for index in kept)) for row in section.rows]
        cells = [placed.get((section.name, row.label, column.steps)) for row in rows for column in columns]
        names = {name for cell in cells if cell and cell.summary for name in measurer.categories(cell.folder)}
        if not names - {""}:
            raise UserError(f"--by category: the prompts of {section.name} have no categories")
        sections.append(replace(section, rows=tuple(rows)))
        for name in sorted(names):

            def inside(group: str, row: Row, cell: Cell, column: Column, result: CellResult | None, name: str = name) -> Cell:
                return Cell() if cell.value is None else _within(result, column.metric, name, measurer)

            sections.append(replace(_each(section.name, rows, columns, placed, inside), category=name))
    return replace(table, columns=columns, sections=tuple(sections), by="category")


def _within(result: CellResult | None, metric: Metric, category: str, measurer: Measurer) -> Cell:
    """The value over one category of prompts."""
    if result is None or measured(result, metric).value is None:
        return Cell()
    mean = measurer.mean(result.folder, metric, category)
    value, low, high = (part if math.isfinite(part) else None for part in (mean.value, mean.low, mean.high))
    cell = Cell(value, low, high, mean.n, reason=None if value is None or low is not None else FEW_PROMPTS)
    planned, over = measurer.coverage(result.folder, metric, category)
    return cell if value is None or mean.n == planned else replace(cell, of=planned, over=over)


def with_differences(table: Table, placed: Placed, references: Mapping[str, str | None], measurer: Measurer) -> Table:
    """Add to every cell its difference to the reference's cell at the same steps; the reference's own row stays as it is.

    Args:
        table: of values.
        placed: where the results stand.
        references: group -> label of its reference row, or None where it has none: its differences are unknown.
        measurer: of the samples.

    Raises:
        UserError: samples which cannot be paired.
    """

    def compared(section: Section) -> CellOf:
        def cell_of(group: str, row: Row, cell: Cell, column: Column, ours: CellResult | None) -> Cell:
            reference = references[group]
            if row.label == reference:
                return cell
            theirs = placed.get((group, reference or "", column.steps))
            category = section.category
            other = measured(theirs, column.metric) if category is None else _within(theirs, column.metric, category, measurer)
            if ours is None or theirs is None or cell.value is None or other.value is None or not alike(cell, other):
                return replace(cell, difference=UNKNOWN)
            if column.metric.kind == "set":
                return replace(cell, difference=replace(UNKNOWN, value=cell.value - other.value, n=min(cell.n, other.n)))
            return replace(cell, difference=measurer.difference(ours.folder, theirs.folder, column.metric, section.category))

        return cell_of

    return replace(table, sections=_sections(table, placed, compared))


def with_spread(table: Table, placed: Placed, measurer: Measurer) -> Table:
    """Add to every cell of a metric of samples how much its value moves from repeat to repeat."""

    def spread(section: Section) -> CellOf:
        def cell_of(group: str, row: Row, cell: Cell, column: Column, result: CellResult | None) -> Cell:
            if result is None or cell.value is None or column.metric.kind == "set" or result.cell.task == "denoise":
                return cell
            return replace(cell, spread=measurer.spread(result.folder, column.metric, section.category))

        return cell_of

    return replace(table, sections=_sections(table, placed, spread))


def _sections(table: Table, placed: Placed, of_section: Callable[[Section], CellOf]) -> tuple[Section, ...]:
    return tuple(
        replace(_each(section.name, section.rows, table.columns, placed, of_section(section)), category=section.category)
        for section in table.sections
    )


def _each(group: str, rows: Sequence[Row], columns: Sequence[Column], placed: Placed, cell_of: CellOf) -> Section:
    """A section with every cell renewed."""
    renewed = []
    for row in rows:
        cells = zip(row.cells, columns, strict=True)
        renewed.append(
            replace(row, cells=tuple(cell_of(group, row, c, col, placed.get((group, row.label, col.steps))) for c, col in cells))
        )
    return Section(group, tuple(renewed))
