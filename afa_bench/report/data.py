"""What the page knows: the table, all paired differences, every sample's row, and where it all comes from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from afa_bench import __version__
from afa_bench.report.images import Placed
from afa_bench.report.pairs import Differences
from afa_bench.report.rows import Rows
from afa_bench.tables.load import CellResult, Results
from afa_bench.tables.model import Cell, Metric, Table
from afa_bench.tables.text import difference, measured

SCHEMA = 1


def page_data(
    results: Results, table: Table, rows: Rows, images: Sequence[Placed], advance: Callable[[int], None]
) -> dict[str, Any]:
    """Everything as one JSON object; lists of numbers are in the order of the table's columns, or of the samples.

    Args:
        results: what was read.
        table: all of it, as values.
        rows: the samples, by cell in the order of ``results.cells``.
        images: where each cell's images are, in the same order.
        advance: told after each row of the table.
    """
    differences = Differences(results, table)
    lines = []
    for section in table.sections:
        for row in section.rows:
            others = [other.label for other in section.rows if other is not row]
            lines.append(
                {
                    "group": section.name,
                    "method": row.method,
                    "label": row.label,
                    "cells": [_cell(cell, column.metric) for cell, column in zip(row.cells, table.columns, strict=True)],
                    "versus": {
                        other: [
                            None if gap is None else _cell(gap, column.metric)
                            for gap, column in zip(differences.row(section.name, row.label, other), table.columns, strict=True)
                        ]
                        for other in others
                    },
                }
            )
            advance(1)
    names = _names(rows)
    number = {(line["group"], line["label"]): index for index, line in enumerate(lines)}
    cells = [
        {
            **_about(result),
            "row": number[result.row],
            "own": {name: column for name, column in own.items() if name != "file"},
            "names": names.index(own.get("file", [])),
            "values": values,
            "images": vars(placed),
        }
        for result, own, values, placed in zip(results.cells, rows.own, rows.values, images, strict=True)
    ]
    return {
        "schema": SCHEMA,
        "program": f"afa-bench {__version__}",
        "suite": results.suite,
        "revision": results.revision,
        "under_way": results.under_way,
        "shared": dict(results.shared),
        "metrics": [_metric(metric, results) for metric in results.metrics.values()],
        "columns": [{"metric": column.metric.key, "steps": column.steps} for column in table.columns],
        "rows": lines,
        "notes": list(table.notes),
        "samples": rows.samples,
        "names": names,
        "cells": cells,
    }


def _cell(cell: Cell, metric: Metric) -> dict[str, Any]:
    """A value or a difference with its bounds, and both texts as every other table has them."""
    gap = cell.difference
    text, rest = measured(cell, metric) if gap is None else difference(cell, metric)
    number = gap if gap is not None else cell
    rank = 1 if cell.best else 2 if cell.second else 0
    bounds = {name: _finite(getattr(number, name)) for name in ("value", "low", "high")}
    return {**bounds, "n": number.n, "of": cell.of, "text": text, "rest": rest, "rank": rank}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _metric(metric: Metric, results: Results) -> dict[str, Any]:
    facts = {name: getattr(metric, name) for name in ("key", "title", "kind", "direction", "unit", "digits", "version")}
    return {**facts, "weights": dict(metric.weights), "remarks": list(results.remarks.get(metric.key, ()))}


def _names(rows: Rows) -> list[list[str | None]]:
    """The distinct lists of file names: cells usually share one, since an image is named by its sample."""
    distinct: list[list[str | None]] = []
    for own in rows.own:
        names = own.get("file", [])
        if names not in distinct:
            distinct.append(names)
    return distinct


def _about(result: CellResult) -> dict[str, Any]:
    summary = result.summary
    return {
        "folder": result.folder.name,
        "task": result.cell.task,
        "steps": result.cell.steps,
        "fingerprint": result.cell.fingerprint,
        "samples": summary.samples if summary else None,
        "failed": summary.failed if summary else None,
        "identity": result.cell.identity,
        "provenance": result.cell.provenance,
        "made_with": result.made_with,
    }
