"""A run's images to numbers: features of all cells in one pass, then each cell's metrics. Needs no denoiser."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from afa_bench.errors import UserError
from afa_bench.log import LOG
from afa_bench.models.identity import vae_identity
from afa_bench.plan import Cell, Plan
from afa_bench.progress import Progress
from afa_bench.scoring.extraction import Extraction
from afa_bench.scoring.features import FeatureStore
from afa_bench.scoring.image_set import ImageSet, RealImages
from afa_bench.scoring.summary import summarize, write_results
from afa_bench.store.atomic import write_json
from afa_bench.store.claims import claimed
from afa_bench.store.layout import SCHEMA, CellStore, SampleRow
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
    extraction = Extraction(device)
    features = FeatureStore(_real_images(workspace.plan), workspace.store, extraction)
    metrics = [metric for metric in workspace.plan.metrics if metric.task == "generate" and metric.key not in workspace.missing]
    drawn = [_image_set(workspace, cell) for cell in cells if cell.task == "generate"]
    with progress.stage("features", 0):
        features.fill(drawn, metrics, partial(progress.advance, ""), progress.begin)
    with progress.stage("score", len(cells)):
        failed: dict[str, str] = {}
        for cell in cells:
            failed |= _score_cell(workspace, cell, features)
            progress.advance(cell.title, 1)
    write_json(workspace.store.root / "scoring.json", {"schema": SCHEMA, **asdict(extraction.record)})
    for note in features.cut_notes():
        LOG.warning("%s", note)
    for key, error in failed.items():
        raise UserError(f"{key}: {error}; the other metrics are written")


def _score_cell(workspace: Workspace, cell: Cell, features: FeatureStore) -> dict[str, str]:
    """Compute a finished cell's metrics; write ``samples.parquet``, then ``summary.json``.

    Returns:
        By key, why metrics have no value that should have one: the next run is to compute them.
    """
    images = _image_set(workspace, cell)
    images = replace(images, shards=list(images.shards))  # in memory, to be filled
    planned = workspace.plan.metrics
    metrics = [metric for metric in planned if metric.task == cell.task]
    summary, failed = summarize(images, metrics, features, workspace.missing)
    for metric in metrics:
        summary[metric.key]["order"] = planned.index(metric)
    about = {"fingerprint": cell.fingerprint, "inputs": None if failed else workspace.inputs(cell)}
    write_results(images.store, images.shards, summary, about)
    return failed


@dataclass(frozen=True)
class _StoredRows(Sequence[Sequence[SampleRow]]):
    """The rows of a cell's finished shards, read when they are asked for."""

    files: CellStore
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        return self.files.rows_of(range(self.length)[index])


def _image_set(workspace: Workspace, cell: Cell) -> ImageSet:
    files = workspace.files(cell)
    return ImageSet(files, files.images, _StoredRows(files, len(workspace.plan.shards(cell))))


def _real_images(plan: Plan) -> RealImages:
    """What a plan's metrics compare with."""
    first = plan.cells[0]
    return RealImages(
        paired={prompt.id: prompt.image for prompt in plan.samples.prompts},
        find=lambda: plan.prompts.reference(plan.suite.file.parent),
        group=first.group,
        vae=vae_identity(first.identity["group"]),
        size=plan.suite.size,
    )
