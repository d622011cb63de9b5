"""Paired differences from ``samples.parquet``: the same prompt and noise under two methods, aligned on the sample's id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from afa_bench.errors import UserError
from afa_bench.stats import Difference, paired_difference
from afa_bench.tables.model import Metric

NEEDED = ("sample_id", "prompt_id")


@dataclass(frozen=True)
class Samples:
    """The rows of a cell.

    Attributes:
        file: where they stand.
        ids: ``(n,)`` strings of Arrow.
        prompts: ``(n,)`` integers, one a prompt, in the order of the prompts' ids.
        seeds: ``(n,)``, where recorded.
        errors: ``(n,)`` strings of Arrow; null where a sample did not fail.
        metrics: key -> ``(n,)``.
    """

    file: Path
    ids: Any
    prompts: NDArray[np.intp]
    seeds: NDArray[np.int64] | None
    errors: Any
    metrics: dict[str, NDArray[np.float64]]

    def column(self, key: str) -> NDArray[np.float64]:
        """The values of a metric.

        Raises:
            UserError: there are none.
        """
        if key not in self.metrics:
            raise UserError(f"{self.file}: column {key}: missing, although summary.json has the metric")
        return self.metrics[key]


class Pairing:
    """Differences between cells; each cell's file is read once, and each pair of cells is aligned once."""

    def __init__(self) -> None:
        self._samples: dict[Path, Samples] = {}
        self._aligned: dict[tuple[Path, Path], tuple[NDArray[np.intp], NDArray[np.intp]]] = {}

    def difference(self, ours: Path, theirs: Path, metric: Metric) -> Difference:
        """``ours - theirs`` over the samples that both cells' folders have.

        Raises:
            UserError: a file that is missing, corrupt or without the metric, or whose samples started from another noise.
        """
        a, b = self._read(ours), self._read(theirs)
        left, right = self._align(a, b)
        higher = metric.direction == "higher"
        return paired_difference(a.column(metric.key)[left], b.column(metric.key)[right], a.prompts[left], higher=higher)

    def _read(self, folder: Path) -> Samples:
        if folder not in self._samples:
            self._samples[folder] = read_samples(folder / "samples.parquet")
        return self._samples[folder]

    def _align(self, a: Samples, b: Samples) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        key = (a.file, b.file)
        if key not in self._aligned:
            left, right = positions(a, b)
            sample = other_noise(a, b, left, right)
            if sample is not None:
                raise UserError(f"{a.file}: sample {sample}: its seed is not that of {b.file}: the samples are no pairs")
            self._aligned[key] = (left, right)
        return self._aligned[key]


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


def read_samples(file: Path) -> Samples:
    """A cell's samples, with every column of floating-point numbers as a metric.

    Raises:
        UserError: the file is missing or corrupt, lacks a column, or holds a sample twice.
    """
    if not file.exists():
        raise UserError(f"{file}: missing: paired differences need the samples")
    try:
        parquet = pq.ParquetFile(file)  # not read_table, which imports pandas
        schema = parquet.schema_arrow
        floats = [field.name for field in schema if pa.types.is_floating(field.type)]
        known = {*schema.names}
        for name in NEEDED:
            if name not in known:
                raise UserError(f"{file}: column {name}: missing")
        extra = [name for name in ("seed", "error") if name in known]
        table = parquet.read([*NEEDED, *extra, *floats], use_threads=False)
        rows = {name: table[name].combine_chunks() for name in table.column_names}  # whole arrays: a chunked one has no buffer
        ids, prompts = (rows[name].cast(pa.string()) for name in NEEDED)
        errors = rows["error"].cast(pa.string()) if "error" in known else pa.nulls(len(ids), pa.string())
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: corrupt: {error}") from error
    for name, column in zip(NEEDED, (ids, prompts), strict=True):
        if column.null_count:
            raise UserError(f"{file}: column {name}: empty in row {column.is_null().index(True).as_py()}")
    if pc.count_distinct(ids).as_py() != len(ids):
        raise UserError(f"{file}: column sample_id: the same sample stands there twice")
    seeds = _numpy(rows["seed"]).astype(np.int64) if "seed" in known and not rows["seed"].null_count else None
    return Samples(file, ids, _ranks(prompts), seeds, errors, {name: _floats(rows[name]) for name in floats})


def _ranks(names: Any) -> NDArray[np.intp]:
    """Each name's place among the sorted names ``(n,)``: integers which group and sort as the strings do, and faster."""
    encoded = names.dictionary_encode()
    rank = np.empty(len(encoded.dictionary), dtype=np.intp)
    rank[_numpy(pc.array_sort_indices(encoded.dictionary))] = np.arange(rank.size)
    places: NDArray[np.intp] = rank[_numpy(encoded.indices)]
    return places


def _floats(values: Any) -> NDArray[np.float64]:
    """Numbers, with NaN for null."""
    column = np.full(len(values), np.nan)
    column[where(values.is_valid())] = _numpy(values.drop_null())
    return column


def _numpy(array: Any) -> NDArray[Any]:
    """An Arrow array of numbers without nulls as numpy sees it; Arrow's own ``to_numpy`` imports pandas first."""
    return np.from_dlpack(array)
