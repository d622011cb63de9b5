"""Rows and images to numbers: one row a sample, one summary. Needs no denoiser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from afa_bench.errors import NotFetchedError
from afa_bench.extractors.base import Extractor, Floats
from afa_bench.identity import fingerprint
from afa_bench.metrics.base import Metric
from afa_bench.plan import Cell, Plan
from afa_bench.scoring.features import FeatureBank, ImageSet, Row
from afa_bench.scoring.spool import Column
from afa_bench.stats import Interval, mean_interval
from afa_bench.store.atomic import write_bytes
from afa_bench.store.layout import CellStore
from afa_bench.store.rows import encode_rows

NO_WEIGHTS = "no value: its weights are not there, or not the pinned ones"


@dataclass(frozen=True)
class Missing:
    """Metrics that have no value here, and why: key -> a line."""

    reasons: Mapping[str, str]

    def __contains__(self, metric: Metric) -> bool:
        return metric.key in self.reasons

    def present(self, metrics: Sequence[Metric]) -> list[Metric]:
        """The metrics that can be computed."""
        return [metric for metric in metrics if metric not in self]


def missing_weights(metrics: Sequence[Metric], strict: bool = False) -> Missing:
    """The metrics whose weights are not on this machine.

    Raises:
        UserError: one is, but its bytes are others than the pinned ones; under ``strict`` one is not.
    """
    reasons = {}
    for metric in metrics:
        try:
            metric.identity()
        except NotFetchedError as error:
            if strict:
                raise
            reasons[metric.key] = str(error)
    return Missing(reasons)


def inputs_of(plan: Plan, cell: Cell, missing: Missing) -> str:
    """Fingerprint of all that a cell's summary depends on: the cell, its samples and the metrics."""
    metrics = [
        {"key": metric.key, "missing": True} if metric in missing else metric.identity()
        for metric in plan.metrics
        if metric.task == cell.task
    ]
    return fingerprint([cell.fingerprint, [sample.id for sample in plan.cell_samples(cell)], metrics])


@dataclass
class _Features:
    """The features of some images, as the metrics of one extractor ask for them (``metrics.base.Features``)."""

    bank: FeatureBank
    extractor: Extractor
    images: ImageSet
    shards: Sequence[int]

    @cached_property
    def rows(self) -> list[Row]:
        return [row for shard in self.shards for row in self.images.good(shard)]

    @property
    def clusters(self) -> list[str]:
        return [cluster_of(row) for row in self.rows]

    def generated(self, name: str) -> Floats:
        column = Column()
        for shard in self.shards:
            column.add(self.bank.of_shard(self.extractor, self.images, shard)[name])
        return column.whole()  # type: ignore[no-any-return] # float32 where it is in a file

    def texts(self) -> Floats:
        return self.bank.texts(self.extractor, self.rows)

    def paired(self, name: str) -> Floats | None:
        return self.bank.paired(self.extractor, name, self.rows)

    def reference(self, name: str, kind: str) -> Any:
        return self.bank.reference(self.extractor, name, kind)


def score_cell(plan: Plan, cell: Cell, store: CellStore, bank: FeatureBank, missing: Missing) -> None:
    """Compute a finished cell's metrics; write ``samples.parquet``, then ``summary.json``."""
    shards = [store.rows_of(shard) for shard in range(len(plan.shards(cell)))]
    metrics = [metric for metric in plan.metrics if metric.task == cell.task]
    summary = score_images(ImageSet(store, store.images, shards), metrics, bank, missing)
    for metric in metrics:
        summary[metric.key]["order"] = plan.metrics.index(metric)
    write_results(store, shards, summary, {"fingerprint": cell.fingerprint, "inputs": inputs_of(plan, cell, missing)})


def score_images(images: ImageSet, metrics: Sequence[Metric], bank: FeatureBank, missing: Missing) -> dict[str, dict[str, Any]]:
    """Compute metrics of images: per-sample values go into their rows, the metrics' entries of a summary are returned.

    Per-sample metrics are computed shard by shard; what they hold in memory does not grow with the images.
    """
    summary: dict[str, dict[str, Any]] = {}
    for metric in metrics:
        interval = None if metric in missing else _compute(metric, images, bank)
        summary[metric.key] = _entry(metric, interval, metric in missing)
    return summary


def write_results(
    store: CellStore, shards: Sequence[Sequence[Row]], summary: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Write ``samples.parquet``, then ``summary.json``."""
    rows = [row for shard in shards for row in shard]
    write_bytes(store.samples, encode_rows(rows))
    failed = sum(row["error"] is not None for row in rows)
    store.write_summary({**about, "samples": len(rows), "failed": failed, "metrics": dict(summary)})


def _compute(metric: Metric, images: ImageSet, bank: FeatureBank) -> Interval | None:
    """One metric's value; a per-sample metric also fills its column of the rows."""
    shards = [shard for shard in range(len(images.shards)) if images.good(shard)]
    rows = [row for shard in shards for row in images.good(shard)]
    if metric.kind == "per-sample" and metric.task == "denoise":
        return _mean(metric, rows)
    if not shards:
        return None
    extractor, key = metric.extractor(), metric.key
    if metric.kind == "set":
        return metric.over_set(_Features(bank, extractor, images, shards))
    for shard in shards:
        part = _Features(bank, extractor, images, [shard])
        values = metric.per_sample(part)
        if values is None:
            for row in rows:
                row.pop(key, None)
            return None
        for row, value in zip(part.rows, values.tolist(), strict=True):
            row[key] = value
    return _mean(metric, rows)


def _mean(metric: Metric, rows: Sequence[Row]) -> Interval:
    key = metric.key
    column = np.array([row.get(key) for row in rows], dtype=np.float64)
    return mean_interval(column, [cluster_of(row) for row in rows])


def cluster_of(row: Row) -> str:
    """Which samples a row's is not independent of: those of its prompt, or of the picture that several prompts tell of."""
    return str(row.get("cluster") or row["prompt_id"])


def _entry(metric: Metric, interval: Interval | None, missing: bool) -> dict[str, Any]:
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
        "weights": {} if missing else metric.hashes(),
        "note": NO_WEIGHTS if missing else metric.note,
    }
