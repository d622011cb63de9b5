"""A cell's ``samples.parquet``, and which of its rows are pairs with another's: the same prompt and noise, by the sample's id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from afa_bench.errors import UserError
from afa_bench.store.columns import read_columns

NEEDED = ("sample_id", "prompt_id")
CLUSTER = "cluster"
"""The column of samples that are not independent, although their prompts are others."""


@dataclass(frozen=True)
class Part:
    """Which part each sample belongs to: ``names``, sorted, and for each sample ``(n,)`` the place of its part's name."""

    names: tuple[str, ...]
    codes: NDArray[np.intp]


@dataclass(frozen=True)
class Samples:
    """The rows of a cell.

    Attributes:
        file: where they stand.
        ids: ``(n,)`` strings of Arrow.
        prompts: ``(n,)`` integers, one a prompt, or a picture that several prompts tell of; in the order of their ids.
        seeds: ``(n,)``, where recorded.
        errors: ``(n,)`` strings of Arrow; null where a sample did not fail.
        metrics: key -> ``(n,)``.
        parts: key -> what the samples can be broken down by, where it was asked for.
        nulls: key -> ``(n,)`` where a metric has no value to begin with (which is not the same as one that is not finite).
    """

    file: Path
    ids: Any
    prompts: NDArray[np.intp]
    seeds: NDArray[np.int64] | None
    errors: Any
    metrics: dict[str, NDArray[np.float64]]
    parts: dict[str, Part]
    nulls: dict[str, NDArray[np.bool_]]

    def absent(self, key: str) -> NDArray[np.bool_]:
        """``(n,)`` where there is no value of a metric to begin with, such as none of a pair where there is no pair."""
        return self.nulls.get(key, np.ones(len(self.ids), dtype=bool))

    def column(self, key: str) -> NDArray[np.float64]:
        """The values of a metric.

        Raises:
            UserError: there are none.
        """
        if key not in self.metrics:
            raise UserError(f"{self.file}: column {key}: missing, although summary.json has the metric")
        return self.metrics[key]


def positions(a: Samples, b: Samples) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where the samples that both have stand in a and in b, in a's order: two arrays of the same length."""
    found = pc.index_in(a.ids, value_set=b.ids)
    return where(found.is_valid()), _numpy(found.drop_null()).astype(np.intp)


def where(truths: Any) -> NDArray[np.intp]:
    """The places in an Arrow array of truth values that hold."""
    return _numpy(pc.indices_nonzero(truths)).astype(np.intp)


def other_noise(a: Samples, b: Samples, left: NDArray[np.intp], right: NDArray[np.intp]) -> str | None:
    """The first of the paired samples that did not start from the same seed on both sides, where seeds are recorded."""
    if a.seeds is None or b.seeds is None:
        return None
    other = np.flatnonzero(a.seeds[left] != b.seeds[right])
    return str(a.ids[int(left[other[0]])]) if other.size else None


def read_samples(file: Path, parts: Sequence[str] = ()) -> Samples:
    """A cell's samples, with every column of floating-point numbers as a metric.

    Args:
        file: such as ``results/mini/<cell>/samples.parquet``.
        parts: columns to read too, such as ``category``; an empty entry is a part of its own, named with an empty string.

    Raises:
        UserError: the file is missing or corrupt, lacks a column, or holds a sample twice.
    """
    asked = {*NEEDED, *parts, "seed", "error", CLUSTER}
    table = read_columns(
        file, lambda field: field.name in asked or pa.types.is_floating(field.type), "paired differences need the samples"
    )
    known = {*table.column_names}
    for name in (*NEEDED, *parts):
        if name not in known:
            raise UserError(f"{file}: column {name}: missing")
    floats = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    try:
        rows = {name: table[name].combine_chunks() for name in table.column_names}  # whole arrays: a chunked one has no buffer
        ids, prompts = (rows[name] for name in NEEDED)
        if CLUSTER in known:
            prompts = rows[CLUSTER].fill_null(prompts)
        errors = rows["error"] if "error" in known else pa.nulls(len(ids), pa.string())
        seeds = rows["seed"] if "seed" in known and not rows["seed"].null_count else None
        broken = {name: _part(rows[name].cast(pa.string()).fill_null("")) for name in parts}
        numbers = {name: _floats(rows[name]) for name in floats}
        nulls = {name: _flags(rows[name].is_null()) for name in floats}
    except (ValueError, pa.ArrowException) as error:
        raise UserError(f"{file}: corrupt: {error}") from error
    for name, column in zip(NEEDED, (ids, prompts), strict=True):
        if column.null_count:
            raise UserError(f"{file}: column {name}: empty in row {column.is_null().index(True).as_py()}")
    if pc.count_distinct(ids).as_py() != len(ids):
        raise UserError(f"{file}: column sample_id: the same sample stands there twice")
    return Samples(file, ids, _part(prompts).codes, None if seeds is None else _numpy(seeds), errors, numbers, broken, nulls)


def _part(names: Any) -> Part:
    """The sorted names, and each one's place among them: integers which group and sort as the strings do, and faster."""
    encoded = names.dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary)
    rank = np.empty(len(order), dtype=np.intp)
    rank[_numpy(order)] = np.arange(rank.size)
    return Part(tuple(encoded.dictionary.take(order).to_pylist()), rank[_numpy(encoded.indices)])


def _floats(values: Any) -> NDArray[np.float64]:
    """Numbers, with NaN for null."""
    column = np.full(len(values), np.nan)
    column[where(values.is_valid())] = _numpy(values.drop_null())
    return column


def _flags(truths: Any) -> NDArray[np.bool_]:
    flags = np.zeros(len(truths), dtype=bool)
    flags[where(truths)] = True
    return flags


def _numpy(array: Any) -> NDArray[Any]:
    """An Arrow array of numbers without nulls as numpy sees it; Arrow's own ``to_numpy`` imports pandas first."""
    return np.from_dlpack(array)
