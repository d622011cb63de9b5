"""Paired differences from ``samples.parquet``: the same prompt and noise under two methods, aligned on the sample's id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from afa_bench.errors import UserError
from afa_bench.stats import Difference, paired_difference
from afa_bench.tables.model import Metric

NEEDED = ("sample_id", "prompt_id")


@dataclass(frozen=True)
class Samples:
    """The rows of a cell: ids ``(n,)``, prompt ids ``(n,)``, seeds ``(n,)`` where recorded, and metrics ``(n,)`` by key."""

    file: Path
    ids: NDArray[np.str_]
    prompts: NDArray[np.str_]
    seeds: NDArray[np.int64] | None
    metrics: dict[str, NDArray[np.float64]]


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
        return paired_difference(
            _column(a, metric.key)[left],
            _column(b, metric.key)[right],
            a.prompts[left],
            higher=metric.direction == "higher",
        )

    def _read(self, folder: Path) -> Samples:
        if folder not in self._samples:
            self._samples[folder] = read_samples(folder / "samples.parquet")
        return self._samples[folder]

    def _align(self, a: Samples, b: Samples) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        key = (a.file, b.file)
        if key not in self._aligned:
            _, left, right = np.intersect1d(a.ids, b.ids, assume_unique=True, return_indices=True)
            if a.seeds is not None and b.seeds is not None:
                other = np.flatnonzero(a.seeds[left] != b.seeds[right])
                if other.size:
                    sample = a.ids[left[other[0]]]
                    raise UserError(f"{a.file}: sample {sample}: its seed is not that of {b.file}: the samples are no pairs")
            self._aligned[key] = (left, right)
        return self._aligned[key]


def read_samples(file: Path) -> Samples:
    """A cell's samples, with every column of floating-point numbers as a metric.

    Raises:
        UserError: the file is missing or corrupt, lacks a column, or holds a sample twice.
    """
    if not file.exists():
        raise UserError(f"{file}: missing: paired differences need the samples")
    try:
        schema = pq.read_schema(file)
        floats = [field.name for field in schema if pa.types.is_floating(field.type)]
        known = {*schema.names}
        for name in NEEDED:
            if name not in known:
                raise UserError(f"{file}: column {name}: missing")
        seed = ["seed"] if "seed" in known else []
        rows = pq.read_table(file, columns=[*NEEDED, *seed, *floats])
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file}: corrupt: {error}") from error
    ids = np.asarray(rows["sample_id"].to_pylist(), dtype=np.str_)
    if np.unique(ids).size != ids.size:
        raise UserError(f"{file}: column sample_id: the same sample stands there twice")
    prompts = np.asarray(rows["prompt_id"].to_pylist(), dtype=np.str_)
    seeds = rows["seed"].to_numpy().astype(np.int64) if seed and not rows["seed"].null_count else None
    metrics = {name: np.asarray(rows[name].to_numpy(zero_copy_only=False), dtype=np.float64) for name in floats}
    return Samples(file, ids, prompts, seeds, metrics)


def _column(samples: Samples, key: str) -> NDArray[np.float64]:
    if key not in samples.metrics:
        raise UserError(f"{samples.file}: column {key}: missing, although summary.json has the metric")
    return samples.metrics[key]
