"""A metric as a suite or a command line chooses it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afa_bench import registry
from afa_bench.errors import UserError
from afa_bench.extractors.base import Extractor
from afa_bench.metrics.base import Metric
from afa_bench.reading import validated
from afa_bench.store.rows import COLUMNS


def read_metric(
    name: str,
    options: Mapping[str, Any],
    where: str,
    folder: Path | None = None,
    label: str | None = None,
    words: bool = False,
) -> Metric:
    """A metric as a suite or a command line chooses it.

    Args:
        name: registered, or ``FILE.py:NAME``.
        options: of the metric.
        where: file and key, for errors.
        folder: which paths of plug-ins are relative to; the working directory by default.
        label: in tables, in place of the metric's own.
        words: whether the options are words of a command line.

    Raises:
        UserError: an unknown name or option, or a metric that could not be computed or kept.
    """
    kind: type[Metric] = registry.load("metrics", name, where, folder)
    metric = validated(kind, options, f"{where}: {name}", noun="option", folder=folder, words=words)
    metric._label = label  # of an instance just made here
    work = "of_denoiser" if metric.task == "denoise" else "over_set" if metric.kind == "set" else "per_sample"
    if getattr(kind, work) is getattr(Metric, work):
        raise UserError(f"{where}: {name}: {metric.task}, {metric.kind}: does not implement {work!r}")
    if (metric.task, metric.kind) == ("denoise", "set"):
        raise UserError(f"{where}: {name}: kind: expected per-sample for a metric of denoisers")
    if metric.features:
        check_features(metric.extractor(), metric.reads, f"{where}: {name}")
    if metric.features and "texts" in metric.needs and type(metric.extractor()).texts is Extractor.texts:
        raise UserError(f"{where}: {name}: features: {metric.extractor().name} has no embeddings of texts")
    if not metric.key:
        raise UserError(f"{where}: {name}: label: {label or kind.label!r}: expected letters or digits")
    if metric.key in COLUMNS:
        raise UserError(f"{where}: {name}: label: {label or kind.label!r} is a column of samples.parquet; expected another label")
    return metric


def check_features(extractor: Extractor, name: str, where: str) -> None:
    """Make sure, before it is loaded, that an extractor gives features of a name; an empty name asks for nothing.

    Raises:
        UserError: it does not; ``where`` begins the line.
    """
    if name and extractor.gives is not None and name not in extractor.gives:
        raise UserError(
            f"{where}: features: {extractor.name} gives {', '.join(extractor.gives)}, expected an extractor with {name!r}"
        )
