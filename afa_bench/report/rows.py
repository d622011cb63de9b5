"""The rows of every cell, brought to one order: column lists of equal length, which are compact to store and quick to filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from afa_bench.errors import UserError
from afa_bench.store.columns import read_columns
from afa_bench.tables.load import CellResult

SHARED = ("sample_id", "prompt_id", "prompt", "category", "image_index", "repeat", "seed")
"""Columns that are the same in every cell: they say what a sample is."""

OWN = ("file", "sha256", "seconds", "device", "error")
"""Columns of one cell; all others that hold floating-point numbers are values of metrics."""

DIGITS = 6
"""Significant digits of a sample's value: more than anyone reads, at a third of the bytes."""

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Rows:
    """All samples of a suite.

    Attributes:
        samples: :data:`SHARED` -> a value a sample.
        own: for each cell, :data:`OWN` -> a value a sample, None where the cell does not have the sample.
        values: for each cell, a metric's key -> a value a sample; numbers that are not finite are None.
    """

    samples: Columns
    own: Sequence[Columns]
    values: Sequence[Columns]


def read_rows(cells: Sequence[CellResult]) -> Rows:
    """Read ``samples.parquet`` of every cell and align them on the sample's id, in the order of the cell that has most.

    Raises:
        UserError: a file that is missing, corrupt, without a sample's id, or with a sample twice.
    """
    read = [_read(cell.folder / "samples.parquet") for cell in cells]
    place: dict[str, int] = {}
    samples: Columns = {name: [] for name in SHARED}
    for columns in sorted(read, key=lambda columns: -len(columns["sample_id"])):
        for row, identity in enumerate(columns["sample_id"]):
            if identity not in place:
                place[identity] = len(place)
                for name in SHARED:
                    samples[name].append(columns[name][row] if name in columns else None)
    own, values = [], []
    for columns in read:
        places = [place[identity] for identity in columns["sample_id"]]
        filled = {name: column for name, column in columns.items() if name in OWN or any(value is not None for value in column)}
        whole = {name: _spread(column, places, len(place)) for name, column in filled.items() if name not in SHARED}
        own.append({name: whole.pop(name) for name in OWN if name in whole})
        values.append(whole)
    samples["seed"] = [None if seed is None else str(seed) for seed in samples["seed"]]  # 63 bits are too many for a browser
    return Rows(samples, own, values)


def _read(file: Path) -> Columns:
    table = read_columns(
        file, lambda field: field.name in SHARED + OWN or pa.types.is_floating(field.type), "the report shows the samples"
    )
    try:
        columns: Columns = {name: table[name].to_pylist() for name in table.column_names}
    except (ValueError, pa.ArrowException) as error:
        raise UserError(f"{file}: corrupt: {error}") from error
    if "sample_id" not in columns:
        raise UserError(f"{file}: column sample_id: missing")
    if len(set(columns["sample_id"])) < len(columns["sample_id"]) or None in columns["sample_id"]:
        raise UserError(f"{file}: column sample_id: expected every sample once")
    return {name: [_short(value) for value in column] for name, column in columns.items()}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def _spread(column: list[Any], places: Sequence[int], size: int) -> list[Any]:
    """The column's values at their places, and None elsewhere."""
    if len(column) == size and all(place == index for index, place in enumerate(places)):
        return column
    spread: list[Any] = [None] * size
    for place, value in zip(places, column, strict=True):
        spread[place] = value
    return spread
