"""A cell's rows and images to its numbers: one row a sample, one summary. Needs no denoiser."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from afa_bench.features import FeatureBank
from afa_bench.identity import fingerprint
from afa_bench.metrics.base import Extractor, Floats, Metric
from afa_bench.plan import Cell, Plan, Sample
from afa_bench.stats import Interval, mean_interval
from afa_bench.store.atomic import write_bytes
from afa_bench.store.layout import CellStore

Row = dict[str, Any]


def inputs_of(plan: Plan, cell: Cell) -> str:
    """Fingerprint of all that a cell's summary depends on: the cell, its samples and the metrics."""
    metrics = [metric.identity() for metric in plan.metrics if metric.task == cell.task]
    return fingerprint([cell.fingerprint, [sample.id for sample in plan.cell_samples(cell)], metrics])


@dataclass
class _CellFeatures:
    """The features of a cell's good samples, as the metrics of one extractor ask for them (``metrics.base.Features``)."""

    bank: FeatureBank
    extractor: Extractor
    samples: Sequence[Sample]
    arrays: Mapping[str, Any]

    @property
    def clusters(self) -> list[str]:
        return [sample.prompt.id for sample in self.samples]

    def generated(self, name: str) -> Floats:
        return np.asarray(self.arrays[name], dtype=np.float64)

    def texts(self) -> Floats:
        return self.bank.texts(self.extractor, self.samples)

    def paired(self, name: str) -> Floats | None:
        return self.bank.paired(self.extractor, name, self.samples)

    def reference(self, name: str, kind: str) -> Floats | None:
        return self.bank.reference(self.extractor, name, kind)


def score_cell(plan: Plan, cell: Cell, store: CellStore, bank: FeatureBank) -> None:
    """Compute a finished cell's metrics; write ``samples.parquet``, then ``summary.json``."""
    shards = [store.shard_rows(shard) or [] for shard in range(len(plan.shards(cell)))]
    rows: list[Row] = [dict(row) for shard in shards for row in shard]
    good = [index for index, row in enumerate(rows) if row["error"] is None]
    samples = [plan.cell_samples(cell)[index] for index in good]
    metrics = [metric for metric in plan.metrics if metric.task == cell.task]
    banks: dict[str, _CellFeatures] = {}
    summary: dict[str, Any] = {}
    for metric in metrics:
        if metric.features and metric.features not in banks and good:
            extractor = metric.extractor()
            parts = [
                bank.of_shard(extractor, store, number, kept)
                for number, shard in enumerate(shards)
                if (kept := [row for row in shard if row["error"] is None])
            ]
            arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            banks[metric.features] = _CellFeatures(bank, extractor, samples, arrays)
        interval = _compute(metric, rows, good, samples, banks.get(metric.features))
        summary[metric.key] = {"order": plan.metrics.index(metric), **_entry(metric, interval)}
    write_bytes(store.samples, _parquet(rows))
    store.write_summary(
        {
            "fingerprint": cell.fingerprint,
            "inputs": inputs_of(plan, cell),
            "samples": len(rows),
            "failed": len(rows) - len(good),
            "metrics": summary,
        }
    )


def _compute(
    metric: Metric, rows: list[Row], good: Sequence[int], samples: Sequence[Sample], features: _CellFeatures | None
) -> Interval | None:
    """One metric's value; a per-sample metric also fills its column of ``rows``."""
    if metric.kind == "set":
        return metric.over_set(features) if features else None
    if metric.task == "generate":
        values = metric.per_sample(features) if features else None
        if values is None:
            return None
        for index, value in zip(good, values.tolist(), strict=True):
            rows[index][metric.key] = value
    column = np.array([rows[index].get(metric.key) for index in good], dtype=np.float64)
    return mean_interval(column, [sample.prompt.id for sample in samples])


def _entry(metric: Metric, interval: Interval | None) -> dict[str, Any]:
    """A metric's part of a summary; null stands for what could not be computed."""
    numbers = dict.fromkeys(("value", "low", "high"))
    if interval:
        bounds = {"value": interval.value, "low": interval.low, "high": interval.high}
        numbers = {name: value if math.isfinite(value) else None for name, value in bounds.items()}
    return {
        "title": metric.title,
        **numbers,
        "n": interval.n if interval else 0,
        "kind": metric.kind,
        "direction": metric.direction,
        "unit": metric.unit,
        "digits": metric.digits,
        "version": str(metric.version),
        "weights": metric.extractor().identity["weights"] if metric.features else {},
        "note": metric.note,
    }


def _parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = ("sample_id", "prompt_id", "prompt", "category", "file", "sha256", "error", "device")
    schema = {name: pa.string() for name in texts} | {name: pa.int64() for name in ("image_index", "repeat", "seed")}
    columns = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: pa.array([row.get(name) for row in rows], schema.get(name, pa.float64())) for name in columns})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
