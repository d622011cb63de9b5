"""One of the paper's tables in its own layout, with what was measured here under what the paper prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from afa_bench.errors import UserError, suggest
from afa_bench.paper.layout import Layout, Layouts, pick, read_layouts
from afa_bench.paper.numbers import SOURCE, TABLES, printed_numbers
from afa_bench.paper.sources import Source, SuiteSource, read_bench
from afa_bench.tables.build import ranked
from afa_bench.tables.find import all_suites
from afa_bench.tables.load import Results, load_results
from afa_bench.tables.model import Cell, Column, Metric, Printed, Row, Section, Table

BENCH = "bench methods"


def paper_table(table: int, measured: Path | None = None, *, groups: Sequence[str] = (), metrics: Sequence[str] = ()) -> Table:
    """The paper's table of this number.

    Args:
        table: 1 to 16.
        measured: a folder of results or a file of ``afa-bench bench methods`` to take all measured values from. By default, the
            results of the suites that are made for this table, where there are any under ``./results`` or in the package.
        groups: groups of models of ``measured`` that stand in for the table's own, in its order.
        metrics: keys of metrics of ``measured`` that stand in for the table's own, in its order.

    Raises:
        UserError: no such table, or nothing of that name in ``measured``.
    """
    if table not in TABLES:
        raise UserError(f"--paper: {table}: expected a table of the paper, {TABLES[0]} to {TABLES[-1]}")
    layouts = read_layouts()
    layout = layouts.layout(table)
    numbers = [replace(number, suite=_suite(layout, number)) for number in printed_numbers(table)]
    filling = _Filling(layouts, layout, numbers, measured, groups, metrics)
    columns: dict[tuple[str, ...], Column] = {}
    rows: dict[str, dict[tuple[str, ...], Cell]] = {}
    for number in numbers:
        place = tuple(layouts.words(axis, number) for axis in layout.columns)
        cell, metric = filling.cell(number)
        if place not in columns or cell.value is not None:
            columns[place] = Column(metric, number.steps, (place[0], place[1]))
        label = layouts.words(layout.rows, number)
        rows.setdefault(label, {})[place] = cell
    heads = {place[0]: None for place in columns}
    ordered = tuple(place for head in heads for place in columns if place[0] == head)
    filled = [Row("", label, tuple(cells.get(place, Cell()) for place in ordered)) for label, cells in rows.items()]
    shown = tuple(columns[place] for place in ordered)
    section = Section("", tuple(filled) if layout.bench else ranked(filled, shown))
    notes = [*filling.notes(), *(layouts.notes[name] for name in layout.notes), f"Source: {SOURCE}."]
    return Table("", 0, None, shown, (section,), tuple(notes), paper=(table, layout.title))


class _Filling:
    """Finds what was measured for each number, and keeps account of it."""

    def __init__(
        self,
        layouts: Layouts,
        layout: Layout,
        numbers: Sequence[Printed],
        measured: Path | None,
        groups: Sequence[str],
        metrics: Sequence[str],
    ) -> None:
        self.layouts, self.layout, self.numbers = layouts, layout, numbers
        self.keys = {number.metric: layouts.metrics[number.metric].key for number in numbers}
        self.groups = {self._group(number): self._group(number) for number in numbers}
        self.sources: dict[str, Source] = {}
        self.missing: dict[str, int] = {}
        self.stand_ins: dict[str, str] = {}
        suites = dict.fromkeys(number.suite for number in numbers if number.suite)
        if measured is None:
            known = {} if layout.bench else all_suites()
            self.sources = {suite: SuiteSource(load_results(known[suite])) for suite in suites if suite in known}
        elif layout.bench:
            self.sources = dict.fromkeys(suites, read_bench(measured))
        else:
            results = load_results(measured)
            self.sources = dict.fromkeys(suites, SuiteSource(results))
            self._take(results, groups, metrics)
        if (groups or metrics) and (measured is None or layout.bench):
            raise UserError("--paper: --group and --metrics name stand-ins in a folder of results, which is not given")

    def _take(self, results: Results, groups: Sequence[str], metrics: Sequence[str]) -> None:
        """Let the groups and metrics of these results stand in for the table's."""
        known = list(dict.fromkeys(result.cell.group for result in results.cells))
        for what, asked, there in (("group", groups, known), ("metric", metrics, list(results.metrics))):
            for name in asked:
                if name not in there:
                    raise UserError(f"unknown {what} {name!r} in these results: {suggest(name, there)}")
        if groups or not set(self.groups) & set(known):
            self.groups.update(zip(self.groups, groups or known, strict=False))
        self.keys.update(zip(self.keys, metrics, strict=False))
        words = {name: name for name in self.groups} | {
            self._group(number): self.layouts.words("group", number) for number in reversed(self.numbers) if number.group
        }
        self.stand_ins = {words[own]: other for own, other in self.groups.items() if other != own}
        self.stand_ins |= {
            own: results.metrics[key].title
            for own, key in self.keys.items()
            if key in results.metrics and results.metrics[key].title != own and key in metrics
        }

    def _group(self, number: Printed) -> str:
        return pick(self.layout.groups, number.group, number.n_models) or number.group

    def cell(self, number: Printed) -> tuple[Cell, Metric]:
        """The cell of a number, and the metric that its column is of."""
        source = self.sources.get(number.suite)
        key = self.keys[number.metric]
        row = pick(self.layout.methods, number.method, number.group)
        found = source.find(number, row, self.groups[self._group(number)], key) if source else None
        if found is None:
            self.missing[number.suite] = self.missing.get(number.suite, 0) + 1
            direction = self.layouts.metrics[number.metric].direction
            return Cell(printed=number), Metric(key, number.metric, "set", direction, number.unit, number.digits, "", ())
        return replace(found[0], printed=number), found[1]

    def notes(self) -> list[str]:
        """What was measured, with what in the place of what, and what would measure the rest."""
        whole = len(self.numbers)
        have = whole - sum(self.missing.values())
        lines = []
        if have:
            interval = "" if self.layout.bench else ", with its 95% interval"
            lines.append(f"Under the paper's numbers what was measured here{interval}.")
            sources = {id(source): source for source in self.sources.values()}
            lines += [note for source in sources.values() for note in source.notes()]
        if have and self.stand_ins:
            named = ", ".join(f"{other} for {own}" for own, other in self.stand_ins.items())
            lines.append(f"Stand-ins, so that the numbers are not to be compared with the paper's: {named}.")
        if self.missing:
            several = len(self.missing) > 1
            fill = " and ".join(
                f"{_measurer(suite)} measures {count if several else 'them'}" for suite, count in self.missing.items()
            )
            lines.append(f"Not measured yet: {sum(self.missing.values())} of {whole} numbers; {fill}.")
        return lines


def _suite(layout: Layout, number: Printed) -> str:
    return BENCH if layout.bench else pick(layout.suites, number.dataset, number.method, number.group) or ""


def _measurer(suite: str) -> str:
    """What to run for the numbers of a suite."""
    if suite == BENCH:
        return "`afa-bench bench methods sd15 --out methods.json`"
    return f"`afa-bench run {suite}`"
