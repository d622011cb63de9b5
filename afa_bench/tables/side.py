"""Several results side by side: the same methods on other data sets, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from afa_bench.errors import UserError, suggest
from afa_bench.tables.build import build_table, there
from afa_bench.tables.load import Results
from afa_bench.tables.model import Cell, Column, Row, Section, Table


def side_by_side(results: Sequence[Results], *, steps: Sequence[int] = (), **options: Any) -> Table:
    """One table of several results: each one's columns beside the others', rows of one group and label on one line.

    Args:
        results: two or more.
        steps: as :func:`afa_bench.tables.build.build_table` takes them.
        options: its others.

    Raises:
        UserError: a name that none of the results has, or a suite of which nothing would be left.
    """
    names = _names(results)
    there(steps, {result.cell.steps for part in results for result in part if result.cell.steps is not None})
    tables = []
    for part, name in zip(results, names, strict=True):
        chosen = {key: _present(key, value, part, name, results) for key, value in options.items()}
        known = {result.cell.steps for result in part}
        table = build_table(part, steps=[count for count in steps if count in known], **chosen)
        tables.append(replace(table, columns=tuple(_named(column, name, table) for column in table.columns)))
    sections = dict.fromkeys((section.name, section.category) for table in tables for section in table.sections)
    return Table(
        names[0],
        tables[0].revision,
        tables[0].versus,
        tuple(column for table in tables for column in table.columns),
        tuple(_section(tables, *place) for place in sections),
        tuple(_notes(tables, names)),
        tables[0].by,
        together=tuple(names),
    )


def _names(results: Sequence[Results]) -> list[str]:
    """What each is called: its suite, or its folder where the suite stands there twice."""
    suites = [f"{part.suite}, revision {part.revision}" for part in results]
    names = [part.suite if suites.count(suite) == 1 else str(part.folder) for part, suite in zip(results, suites, strict=True)]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: is given twice")
    return names


def _present(key: str, value: Any, part: Results, name: str, results: Sequence[Results]) -> Any:
    """Of the names that were asked for, those that one of the results has."""
    if key not in ("metrics", "groups", "only") or not value:
        return value
    known = _known(key, part)
    everywhere = dict.fromkeys(word for other in results for word in _known(key, other))
    for word in value:
        if word not in everywhere:
            raise UserError(f"unknown {key.removesuffix('s')} {word!r} in these results: {suggest(word, everywhere)}")
    kept = [word for word in value if word in known]
    if not kept:
        raise UserError(f"{name}: has none of {', '.join(value)}: known: {', '.join(known)}")
    return kept


def _known(key: str, part: Results) -> list[str]:
    if key == "metrics":
        return list(part.metrics)
    cells = [result.cell for result in part]
    words = (word for cell in cells for word in ((cell.group,) if key == "groups" else (cell.label, cell.method)))
    return list(dict.fromkeys(words))


def _named(column: Column, name: str, table: Table) -> Column:
    return replace(column, headings=(f"{name}: {column.head}", column.under), suite=(table.suite, table.revision))


def _section(tables: Sequence[Table], name: str, category: str | None) -> Section:
    found = [{row.label: row for part in table.sections if (part.name, part.category) == (name, category) for row in part.rows}
             for table in tables]  # fmt: skip
    rows = []
    for label in dict.fromkeys(label for part in found for label in part):
        method = next(part[label].method for part in found if label in part)
        empty = (tuple(Cell() for _ in table.columns) for table in tables)
        cells = [part[label].cells if label in part else blank for part, blank in zip(found, empty, strict=True)]
        rows.append(Row(method, label, tuple(cell for part in cells for cell in part)))
    return Section(name, tuple(rows), category)


def _notes(tables: Sequence[Table], names: Sequence[str]) -> list[str]:
    """Each note once: what holds of all as it is, what holds of one under its name."""
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    shared = [note for note in notes if all(note in table.notes for table in tables)]
    own = [f"{name}: {note}" for table, name in zip(tables, names, strict=True) for note in table.notes if note not in shared]
    revisions = ", ".join(f"{table.suite} revision {table.revision}" for table in tables)
    return [f"Suites: {revisions}; rows of one group and label stand on one line.", *shared, *own]
