"""Results as pandas' tables; cells are :class:`afa_bench.tables.load.CellResult`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from afa_bench.store.columns import read_columns
from afa_bench.store.rows import PLACE


def samples(cells: Iterable[Any]) -> pd.DataFrame:
    """All samples, a row each; a metric that a cell does not have is NaN there.

    Raises:
        UserError: a file that is missing or damaged.
    """
    frames = []
    for result in cells:
        if result.summary is not None:  # a cell that is not scored yet has no rows
            table = read_columns(result.folder / "samples.parquet", lambda field: True, "a scored cell has its rows")
            rows = table.drop_columns([name for name in PLACE if name in table.column_names])
            frames.append(pd.concat([_of_cell(result, table.num_rows), rows.to_pandas()], axis=1))
    whole: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return whole


def summaries(cells: Iterable[Any]) -> pd.DataFrame:
    """All values, a row each."""
    rows = [
        {
            **_place(result),
            "metric": key,
            **entry.model_dump(include={"title", "value", "low", "high", "n", "kind", "direction", "unit", "version"}),
            "samples": result.summary.samples,
            "failed": result.summary.failed,
        }
        for result in cells
        if result.summary is not None
        for key, entry in result.summary.metrics.items()
    ]
    return pd.DataFrame(rows).astype({"steps": "Int64", "value": float, "low": float, "high": float})


def _of_cell(result: Any, count: int) -> pd.DataFrame:
    return pd.DataFrame({name: [value] * count for name, value in _place(result).items()}).astype({"steps": "Int64"})


def _place(result: Any) -> dict[str, Any]:
    cell = result.cell
    return {"group": cell.group, "method": cell.method, "label": cell.label, "task": cell.task, "steps": cell.steps}
