"""A run's images to numbers: features of all cells in one pass, then each cell's metrics. Needs no denoiser."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from afa_bench.cells import Cell
from afa_bench.errors import UserError
from afa_bench.log import LOG
from afa_bench.progress import Progress
from afa_bench.scoring.extraction import Extraction
from afa_bench.scoring.features import FeatureStore
from afa_bench.scoring.image_set import ImageSet, RealImages
from afa_bench.scoring.summary import summarize, write_results
from afa_bench.store.atomic import write_json
from afa_bench.store.claims import claimed
from afa_bench.store.layout import SCHEMA
from afa_bench.store.rows import COLUMNS
from afa_bench.workspace import WAIT, Workspace


def score_cells(workspace: Workspace, device: str, progress: Progress) -> None:
    """Score the cells that are not scored yet, or wait until another process has."""
    while workspace.unscored():
        with claimed(workspace.store.root / "scoring") as mine:
            if mine and (cells := workspace.unscored()):  # another process may just have been at it
                _score(workspace, cells, device, progress)
        if not mine:
            time.sleep(WAIT)


def _score(workspace: Workspace, cells: Sequence[Cell], device: str, progress: Progress) -> None:
    plan, files, extraction = workspace.plan, workspace.files, Extraction(device)
    features = FeatureStore(RealImages.of_plan(plan), workspace.store, extraction)
    metrics = [metric for metric in plan.metrics if metric.task == "generate" and metric.key not in workspace.missing]
    drawn = [ImageSet.of_cell(plan, cell, files(cell)) for cell in cells if cell.task == "generate"]
    with progress.stage("features", 0):
        features.fill(drawn, metrics, progress)
    failed: dict[str, str] = {}
    values = _values(workspace)
    with progress.stage("score", len(cells)):
        for cell in cells:
            failed |= _score_cell(workspace, cell, features, values)
            progress.advance(cell.title, 1)
    write_json(workspace.store.root / "scoring.json", {"schema": SCHEMA, **asdict(extraction.record)})
    for note in features.cut_notes():
        LOG.warning("%s", note)
    for key, error in failed.items():
        raise UserError(f"{key}: {error}; the other metrics are written")


def _score_cell(workspace: Workspace, cell: Cell, features: FeatureStore, values: Iterable[str]) -> dict[str, str]:
    """Compute a finished cell's metrics; write ``samples.parquet``, then ``summary.json``.

    Returns:
        By key, why metrics have no value that should have one: the next run is to compute them.
    """
    plan, files = workspace.plan, workspace.files(cell)
    images = ImageSet.of_cell(plan, cell, files).in_memory()
    metrics = [metric for metric in plan.metrics if metric.task == cell.task]
    summary, failed = summarize(images, metrics, features, workspace.missing)
    for metric in metrics:
        summary[metric.key]["order"] = plan.metrics.index(metric)
    about: dict[str, Any] = {"fingerprint": cell.fingerprint, "inputs": None if failed else workspace.inputs(cell)}
    if len(parts := files.made_with()) > 1:
        about["made_with"] = parts
    place = {"group": cell.group.name, "method": cell.method.name, "label": cell.label, "steps": cell.steps}
    write_results(files, images.shards, summary, about, place, values)
    return failed


def _values(workspace: Workspace) -> dict[str, None]:
    """The columns of metrics that every cell's rows have: those of samples, and what metrics of denoisers add of their own."""
    keys = dict.fromkeys(metric.key for metric in workspace.plan.metrics if metric.kind != "set")
    for cell in workspace.plan.cells:
        if cell.task == "denoise":
            for row in workspace.files(cell).shard_rows(0) or ():
                keys |= dict.fromkeys(name for name in row if name not in COLUMNS)
    return keys
