"""The main job: plan, generate what is missing, score what has changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from afa_bench.engine.inline import Work, run_shards
from afa_bench.features import FeatureBank, ImageSet, Reals, Row
from afa_bench.models.identity import vae_identity
from afa_bench.plan import Cell, Plan
from afa_bench.provenance import provenance
from afa_bench.score import Missing, inputs_of, missing_weights, score_cell
from afa_bench.scoring.passes import Passes
from afa_bench.store.atomic import write_json
from afa_bench.store.layout import SCHEMA, CellStore, Store


class Progress(Protocol):
    """What a run tells whoever watches it."""

    def stage(self, title: str, total: int) -> AbstractContextManager[None]:
        """A part of the run with so many steps."""

    def advance(self, label: str, steps: int) -> None:
        """Steps of the current stage are done."""


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        generated: samples made by this run, denoising losses included.
        reused: samples found done.
        failed: samples of the plan which are error rows.
        generate_seconds, score_seconds: of this run.
        missing: why metrics have no value: a line each.
    """

    generated: int
    reused: int
    failed: int
    generate_seconds: float
    score_seconds: float
    missing: Sequence[str] = ()


def run_plan(plan: Plan, root: Path, device: str, batch_size: int, progress: Progress, strict: bool = False) -> Outcome:
    """Generate and score all that is not done yet, below ``root / plan.name``.

    A metric whose weights are not on this machine has no value, until it is there and the plan is run again.

    Raises:
        UserError: a folder that cannot be written, a model that does not load, weights that are not the pinned ones; under
            ``strict`` weights that are not there. Nothing has been generated then.
    """
    missing = missing_weights(plan.metrics, strict)
    store = Store(root / plan.name)
    store.prepare()
    write_json(store.root / "suite.json", {"schema": SCHEMA, "suite": plan.suite.name, "revision": plan.suite.revision})
    open_cells = [cell for cell in plan.cells if not _complete(plan, cell, store, missing)]
    work = [(cell, missing_shards(plan, cell, store)) for cell in open_cells]
    todo = sum(len(plan.shards(cell)[shard]) for cell, shards in work for shard in shards)
    begun = time.perf_counter()
    if todo:
        _describe(plan, work, store, device)
        with progress.stage("generate", todo):
            run_shards(plan, work, store, device, batch_size, lambda cell, done: progress.advance(_label(cell), done))
    generated = time.perf_counter()
    if open_cells:
        _score(plan, open_cells, store, device, progress, missing)
    total = sum(len(plan.cell_samples(cell)) for cell in plan.cells)
    failed = sum((store.cell(cell.name).summary() or {})["failed"] for cell in plan.cells)
    lines = [f"{metric.title}: {missing.reasons[metric.key]}" for metric in plan.metrics if metric in missing]
    return Outcome(todo, total - todo, failed, generated - begun, time.perf_counter() - generated, lines)


def missing_shards(plan: Plan, cell: Cell, store: Store) -> list[int]:
    """The shards of a cell that are still to do: without a marker, or with one that names an image which is gone."""
    files = store.cell(cell.name)
    present = {path.name for path in files.images.iterdir()} if files.images.is_dir() else set()
    missing = []
    for shard, samples in enumerate(plan.shards(cell)):
        rows = files.shard_rows(shard)
        done = rows is not None and [row["sample_id"] for row in rows] == [sample.id for sample in samples]
        if not done or any(row["file"] and row["file"] not in present for row in rows or ()):
            missing.append(shard)
    return missing


def _complete(plan: Plan, cell: Cell, store: Store, missing: Missing) -> bool:
    files = store.cell(cell.name)
    summary = files.summary()
    return summary is not None and files.samples.is_file() and summary.get("inputs") == inputs_of(plan, cell, missing)


def _describe(plan: Plan, work: Work, store: Store, device: str) -> None:
    origin = provenance(device)
    for cell, shards in work:
        if shards:
            store.cell(cell.name).write_about(
                {
                    "suite": plan.name,
                    "revision": plan.suite.revision,
                    "group": cell.group.name,
                    "method": cell.method.name,
                    "label": cell.label,
                    "order": cell.order,
                    "task": cell.task,
                    "steps": cell.steps,
                    "fingerprint": cell.fingerprint,
                    "identity": cell.identity,
                    "provenance": origin,
                }
            )


def _score(plan: Plan, cells: Sequence[Cell], store: Store, device: str, progress: Progress, missing: Missing) -> None:
    bank = FeatureBank(_reals(plan), store, Passes(device))
    metrics = missing.present([metric for metric in plan.metrics if metric.task == "generate"])
    sets = [ImageSet(files, files.images, _Shards(plan, cell, files)) for cell in cells if (files := store.cell(cell.name))]
    images = sum(len(plan.cell_samples(cell)) for cell in cells if cell.task == "generate")
    with progress.stage("features", images):
        bank.fill(
            [s for s, cell in zip(sets, cells, strict=True) if cell.task == "generate"], metrics, partial(progress.advance, "")
        )
    with progress.stage("score", len(cells)):
        for cell in cells:
            score_cell(plan, cell, store.cell(cell.name), bank, missing)
            progress.advance(_label(cell), 1)
    write_json(store.root / "scoring.json", {"schema": SCHEMA, **asdict(bank.passes.record)})


@dataclass(frozen=True)
class _Shards(Sequence[Sequence[Row]]):
    """The rows of a cell's shards, read when they are asked for."""

    plan: Plan
    cell: Cell
    store: CellStore

    def __len__(self) -> int:
        return len(self.plan.shards(self.cell))

    def __getitem__(self, index: Any) -> Any:
        return self.store.shard_rows(range(len(self))[index]) or []


def _reals(plan: Plan) -> Reals:
    """The real images that a plan's metrics compare with."""
    first = plan.cells[0]
    return Reals(
        paired={prompt.id: prompt.image for prompt in plan.samples.prompts},
        find=lambda: plan.prompts.reference(plan.suite.file.parent),
        group=first.group,
        vae=vae_identity(first.identity["group"]),
        size=plan.suite.size,
    )


def _label(cell: Cell) -> str:
    return f"{cell.group.name} {cell.label} " + (f"{cell.steps} steps" if cell.steps else "denoising loss")
