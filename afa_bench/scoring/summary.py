"""Features to numbers: a value a sample, and a summary of a set of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from afa_bench.errors import NotFetchedError, UserError
from afa_bench.extractors.base import Extractor, Floats
from afa_bench.metrics.base import Metric, NoValue, sample_values, version_of
from afa_bench.scoring.features import FeatureStore, named
from afa_bench.scoring.image_set import ImageSet
from afa_bench.scoring.spool import Column
from afa_bench.stats import FEW, FEW_OF_SET, Interval, mean_interval, too_few
from afa_bench.store.atomic import write_bytes
from afa_bench.store.layout import CellStore, SampleRow
from afa_bench.store.rows import encode_rows

NO_WEIGHTS = "its weights are not there, or not the pinned ones"


def missing_weights(metrics: Sequence[Metric], strict: bool = False) -> dict[str, str]:
    """The metrics whose weights are not here: key -> why (an error under ``strict``, and always for others than the pinned)."""
    reasons: dict[str, str] = {}
    for metric in metrics:
        try:
            metric.identity()
        except NotFetchedError as error:
            if strict:
                raise
            reasons[metric.key] = str(error)
    return reasons


@dataclass
class ImageFeatures:
    """The features of some shards' images, as the metrics of one extractor ask for them (``metrics.base.Features``)."""

    features: FeatureStore
    extractor: Extractor
    images: ImageSet
    shards: Sequence[int]
    unpaired: set[int] = field(default_factory=set)  # places of rows that were found to have no real image of their own

    @cached_property
    def rows(self) -> list[SampleRow]:
        return [row for shard in self.shards for row in self.images.good(shard)]

    @property
    def clusters(self) -> list[str]:
        return [cluster_of(row) for row in self.rows]

    def generated(self, name: str) -> Floats:
        column = Column()
        for shard in self.shards:
            column.add(named(self.features.of_shard(self.extractor, self.images, shard), name, self.extractor))
        return column.whole()  # type: ignore[no-any-return] # float32 where it is in a file

    def texts(self) -> Floats:
        return self.features.texts(self.extractor, self.rows)

    def paired(self, name: str) -> Floats:
        found = self.features.paired(self.extractor, name, self.rows)
        self.unpaired |= {*np.flatnonzero(np.isnan(found).all(axis=1)).tolist()}
        return found

    def reference(self, name: str, kind: str) -> Any:
        return self.features.reference(self.extractor, name, kind)


def summarize(
    images: ImageSet, metrics: Sequence[Metric], features: FeatureStore, missing: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Compute metrics of images: per-sample values go into their rows.

    Per-sample metrics are computed shard by shard; what they hold in memory does not grow with the images.

    Returns:
        The metrics' entries of a summary, and by key why some have no value that should have one: a real image that cannot be
        read costs the metrics that compare with it, and no other.
    """
    summary: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for metric in metrics:
        interval, reason = Interval(math.nan, math.nan, math.nan, 0), NO_WEIGHTS
        if metric.key not in missing:
            try:
                interval, reason = _compute(metric, images, features)
                if "paired" in metric.needs and (broken := features.broken_pairs(metric.extractor())):
                    failed[metric.key] = str(broken[0])
                    reason = f"{reason}: {broken[0]}"
            except NoValue as why:
                reason = str(why)
            except UserError as error:
                failed[metric.key] = reason = str(error)
        summary[metric.key] = _entry(metric, interval, reason, metric.key in missing)
    return summary, failed


def write_results(
    store: CellStore,
    shards: Sequence[Sequence[SampleRow]],
    summary: Mapping[str, Any],
    about: Mapping[str, Any],
    place: Mapping[str, Any] | None = None,
    metrics: Iterable[str] = (),
) -> None:
    """Write a cell's rows, of whose columns :func:`encode_rows` says more, then its summary."""
    rows = [row for shard in shards for row in shard]
    write_bytes(store.samples, encode_rows(rows, place, metrics))
    failed = sum(row["error"] is not None for row in rows)
    store.write_summary({**about, "samples": len(rows), "failed": failed, "metrics": dict(summary)})


def _compute(metric: Metric, images: ImageSet, features: FeatureStore) -> tuple[Interval, str]:
    """One metric's value, and what it lacks in words; a per-sample metric also fills its column of the rows."""
    shards = [shard for shard in range(len(images.shards)) if images.good(shard)]
    rows = [row for shard in shards for row in images.good(shard)]
    if not rows:
        raise NoValue("no sample is left that could be scored")
    if metric.task == "denoise":
        return _mean(metric, rows)
    extractor, key = metric.extractor(), metric.key
    if metric.kind == "set":
        interval = metric.over_set(ImageFeatures(features, extractor, images, shards))
        if interval is None:
            raise NoValue("the metric gives none")
        if not isinstance(interval, Interval):
            raise UserError(f"{metric.title}: over_set: expected an Interval or None, found {interval!r}")
        return interval, _lacks(interval, rows, FEW_OF_SET)
    for shard in shards:
        part = ImageFeatures(features, extractor, images, [shard])
        for place, (row, value) in enumerate(zip(part.rows, sample_values(metric, part).tolist(), strict=True)):
            row[key] = None if place in part.unpaired else value
    return _mean(metric, rows)


def _mean(metric: Metric, rows: Sequence[SampleRow]) -> tuple[Interval, str]:
    column = np.array([row.get(metric.key) for row in rows], dtype=np.float64)
    interval = mean_interval(column, [cluster_of(row) for row in rows])
    valued = [row for row, value in zip(rows, column, strict=True) if math.isfinite(value)]
    alone = sum(row.get(metric.key) is None for row in rows)
    lost = {"no real image of their own": alone, "no finite value": len(rows) - interval.n - alone}
    reasons = [f"{count} of {len(rows)} samples have {words}" for words, count in lost.items() if count]
    return interval, "; ".join(filter(None, [*reasons, _lacks(interval, valued, FEW)]))


def _lacks(interval: Interval, rows: Sequence[SampleRow], least: int) -> str:
    prompts = len({cluster_of(row) for row in rows})
    return too_few(prompts, least) if prompts < least and math.isfinite(interval.value) else ""


def cluster_of(row: SampleRow) -> str:
    """Which samples a row's is not independent of: those of its prompt, or of the picture that several prompts tell of."""
    return str(row.get("cluster") or row["prompt_id"])


def _entry(metric: Metric, interval: Interval, reason: str, missing: bool) -> dict[str, Any]:
    """A metric's part of a summary; null stands for what could not be computed, and ``reason`` says why."""
    bounds = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {
        "title": metric.title,
        **{name: value if math.isfinite(value) else None for name, value in bounds.items()},
        "n": interval.n,
        "reason": reason or None,
        "kind": metric.kind,
        "direction": metric.direction,
        "unit": metric.unit,
        "digits": metric.digits,
        "version": version_of(metric),
        "weights": {} if missing else metric.hashes(),
        "note": metric.note,
    }
