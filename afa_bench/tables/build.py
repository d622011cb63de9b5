"""From results to a table: which rows and columns, which value is best, which gaps and facts go to the foot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from afa_bench.chosen import is_meant
from afa_bench.errors import NothingToDoError, UserError, suggest
from afa_bench.log import LOG
from afa_bench.tables.load import CellResult, Place, Results, measured
from afa_bench.tables.model import Column, Metric, Row, Section, Table, alike
from afa_bench.tables.notes import foot


def build_table(
    results: Results,
    *,
    steps: Sequence[int] = (),
    metrics: Sequence[str] = (),
    groups: Sequence[str] = (),
    only: Sequence[str] = (),
    versus: str | None = None,
    by: str | None = None,
    repeats: bool = False,
) -> Table:
    """The table of a suite's results. An option left empty keeps everything.

    Args:
        results: what was read.
        steps: sampling steps, in the order of the columns; metrics without sampling stay.
        metrics: keys, in the order of the columns.
        groups: groups of models, in the order of the sections.
        only: methods, by name or by their row's label.
        versus: the method (or label) to which every other row's paired difference is added; read from ``samples.parquet``.
        by: ``category`` adds a section for each category of prompts; read from ``samples.parquet``.
        repeats: whether to add how much each value moves from repeat to repeat; read from ``samples.parquet``.

    Raises:
        UserError: a name or a number that the results do not have, with the nearest that they have.
    """
    chosen_groups = _chosen("group", groups, _unique(result.cell.group for result in results.cells))
    chosen_metrics = [results.metrics[key] for key in _chosen("metric", metrics, list(results.metrics))]
    chosen_steps = _chosen_steps(results, steps)
    _chosen("method", only, _names(results.cells))
    placed: dict[Place, CellResult] = {(*result.row, result.cell.steps): result for result in results.cells}
    columns = _columns(results, chosen_metrics, chosen_steps)
    sections = []
    for group in chosen_groups:
        inside = [result for result in results.cells if result.cell.group == group]
        methods = {result.cell.label: result.cell.method for result in inside}
        rows = [
            Row(method, label, tuple(measured(placed.get((group, label, column.steps)), column.metric) for column in columns))
            for label, method in methods.items()
            if not only or is_meant(only, label, method, methods)
        ]
        sections.append(Section(group, ranked(rows, columns)))
    sections = [section for section in sections if section.rows]
    if not sections:
        raise NothingToDoError(f"none of the methods chosen has results in {', '.join(chosen_groups)}")
    table = Table(results.suite, results.revision, None, columns, tuple(sections), ())
    if by or versus or repeats:
        table = _beside(results, table, placed, versus, by, repeats)
    return replace(table, notes=foot(results, table, placed))


def _beside(
    results: Results, table: Table, placed: Mapping[Place, CellResult], versus: str | None, by: str | None, repeats: bool
) -> Table:
    from afa_bench.tables import beside  # numpy and pyarrow: half a second which a plain table does without
    from afa_bench.tables.measure import Measurer

    if by not in (None, "category"):
        raise UserError(f"--by: unknown part {by!r}: {suggest(by or '', ['category'])}")
    if repeats and results.shared.get("repeats", 1) < 2:
        raise UserError(f"--repeats: suite {results.suite} has no repeats: expected repeats of 2 or more in it")
    measurer = Measurer([name for name, asked in (("category", by), ("repeat", repeats)) if asked])
    if by:
        table = beside.by_category(table, placed, measurer)
        table = replace(table, sections=tuple(replace(part, rows=ranked(part.rows, table.columns)) for part in table.sections))
    if versus:
        _chosen("method", [versus], _names(results.cells))
        references = {section.name: _reference(results, section.name, versus) for section in table.sections}
        table = beside.with_differences(replace(table, versus=versus), placed, references, measurer)
    return beside.with_spread(table, placed, measurer) if repeats else table


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _names(cells: Iterable[CellResult]) -> list[str]:
    """What a row may be called: its label, or its method's name."""
    return _unique(name for result in cells for name in (result.cell.label, result.cell.method))


def _chosen(what: str, asked: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names asked for, each once, or all; unknown ones are refused."""
    for name in asked:
        if name not in known:
            raise UserError(f"unknown {what} {name!r} in these results: {suggest(name, known)}")
    return _unique(asked) or list(known)


def _chosen_steps(results: Results, asked: Sequence[int]) -> list[int]:
    return there(asked, {result.cell.steps for result in results.cells if result.cell.steps is not None})


def there(asked: Sequence[int], results: Iterable[int]) -> list[int]:
    """The numbers of steps that were asked for and of which there are results, each once; all of these where none was asked for.

    Raises:
        UserError: there are results of none.
    """
    known = sorted(results)
    absent = [steps for steps in dict.fromkeys(asked) if steps not in known]
    if absent:
        words = f"no results at {', '.join(map(str, absent))} steps: known: {', '.join(map(str, known)) or 'none'}"
        if len(absent) == len(set(asked)):
            raise UserError(words)
        LOG.warning("%s", words)
    return [steps for steps in dict.fromkeys(asked) if steps in known] or known


def _columns(results: Results, metrics: Sequence[Metric], steps: Sequence[int]) -> tuple[Column, ...]:
    tasks: dict[str, set[str]] = {metric.key: set() for metric in metrics}
    for result in results.cells:
        for key in result.summary.metrics if result.summary else ():
            tasks.setdefault(key, set()).add(result.cell.task)
    columns: list[Column] = []
    for metric in metrics:
        if "denoise" in tasks[metric.key]:
            columns.append(Column(metric, None))
        if "score" in tasks[metric.key]:
            columns.append(Column(metric, None, (metric.heading, "")))
        if "generate" in tasks[metric.key]:
            columns.extend(Column(metric, count) for count in steps)
    return tuple(columns)


def ranked(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Mark the best and the second best of each column, as far as the digits shown tell them apart, and all are over the same
    samples."""
    marked = [list(row.cells) for row in rows]
    for index, column in enumerate(columns):
        shown = [None if row.cells[index].value is None else _oriented(row.cells[index].value, column) for row in rows]
        levels = sorted({value for value in shown if value is not None}, reverse=True)
        if len([value for value in shown if value is not None]) < 2 or not alike(*(row.cells[index] for row in rows)):
            continue
        for cells, value in zip(marked, shown, strict=True):
            cells[index] = replace(cells[index], best=value == levels[0], second=value is not None and value in levels[1:2])
    return tuple(replace(row, cells=tuple(cells)) for row, cells in zip(rows, marked, strict=True))


def _oriented(value: float | None, column: Column) -> float:
    """The value as shown, turned so that higher is better."""
    shown = round(value or 0.0, column.metric.digits)
    return shown if column.metric.direction == "higher" else -shown


def _reference(results: Results, group: str, versus: str) -> str | None:
    """The label of the row of ``group`` that ``versus`` names; None where the group has no such row."""
    inside = [result.cell for result in results.cells if result.cell.group == group]
    labels = _unique(cell.label for cell in inside if versus == cell.label) or _unique(
        cell.label for cell in inside if versus == cell.method
    )
    if len(labels) > 1:
        raise UserError(f"method {versus!r} has {len(labels)} rows in {group}, compare to one of them: {', '.join(labels)}")
    return labels[0] if labels else None
