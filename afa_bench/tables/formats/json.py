"""For programs: everything the table knows, in full precision."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from afa_bench.tables.model import Cell, Column, Table

SCHEMA = 1


def render(table: Table) -> str:
    """A JSON object with the metrics, the groups with their rows and cells, and the notes. What is missing is null."""
    document: dict[str, Any] = {"schema": SCHEMA, "suite": table.suite, "revision": table.revision, "versus": table.versus}
    if table.paper is not None:
        document = {"schema": SCHEMA, "paper": table.paper[0], "title": table.paper[1]}
    document["metrics"] = [
        {**asdict(metric), "weights": dict(metric.weights)} for metric in dict.fromkeys(column.metric for column in table.columns)
    ]
    document["groups"] = [
        {
            "name": section.name,
            **({} if section.category is None else {"category": section.category}),
            "rows": [
                {
                    "method": row.method,
                    "label": row.label,
                    "cells": [_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)],
                }
                for row in section.rows
            ],
        }
        for section in table.sections
    ]
    document["notes"] = list(table.notes)
    return json.dumps(_known(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _cell(cell: Cell, column: Column) -> dict[str, Any]:
    missing = {"over"} | {name for name in ("spread", "printed", "reason", "of") if getattr(cell, name) is None}
    known = {name: value for name, value in asdict(cell).items() if name not in missing}
    suite = {} if column.suite is None else {"suite": column.suite[0], "revision": column.suite[1]}
    return {**suite, "metric": column.metric.key, "steps": column.steps, **known}


def _known(value: Any) -> Any:
    """The same value with null for every number that is not finite."""
    if isinstance(value, dict):
        return {key: _known(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_known(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
