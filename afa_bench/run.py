"""The main job: plan, generate what is missing, score what has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from afa_bench.generation.inline import Work, run_shards
from afa_bench.models.identity import vae_identity
from afa_bench.plan import Cell, Plan, Sample
from afa_bench.provenance import provenance
from afa_bench.scoring.extraction import Passes
from afa_bench.scoring.features import FeatureBank, ImageSet, Reals, Row
from afa_bench.scoring.score import Missing, inputs_of, missing_weights, score_cell
from afa_bench.store.atomic import write_json
from afa_bench.store.claims import claimed
from afa_bench.store.layout import SCHEMA, CellStore, PlannedCell, Store

WAIT = 1.0
"""Seconds between two looks at what other processes have done."""

Engine: TypeAlias = Callable[[Plan, Work, Store, str, int, Callable[[Cell, int], None]], int]
"""Does the shards that no other process is at, and returns the number of samples made. Called with the plan, the work, the
store, a device, the batch size and what to call after each batch: see :func:`afa_bench.generation.inline.run_shards`."""


class Progress(Protocol):
    """What a run tells whoever watches it."""

    def stage(self, title: str, total: int) -> AbstractContextManager[None]:
        """A part of the run with so many steps."""

    def begin(self, total: int) -> None:
        """The current stage begins anew, with so many steps."""

    def advance(self, label: str, steps: int) -> None:
        """Steps of the current stage are done."""


@dataclass(frozen=True)
class Part:
    """Every ``count``-th shard, from number ``index`` (counted from 1): what one process of several does."""

    index: int = 1
    count: int = 1

    def __contains__(self, number: int) -> bool:
        return number % self.count == self.index - 1


WHOLE: Final = Part()


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        generated: samples made by this run, denoising losses included.
        reused: samples found done, or made meanwhile by other processes.
        failed: samples of the plan which are error rows; 0 as long as some are left.
        left: samples still to be made by the processes of other parts; as long as there are any, nothing is scored.
        generate_seconds, score_seconds: of this run.
        missing: why metrics have no value: a line each.
    """

    generated: int
    reused: int
    failed: int
    left: int
    generate_seconds: float
    score_seconds: float
    missing: Sequence[str] = ()


def run_plan(
    plan: Plan,
    root: Path,
    device: str,
    batch_size: int,
    progress: Progress,
    strict: bool = False,
    part: Part = WHOLE,
    engine: Engine = run_shards,
) -> Outcome:
    """Generate and score all that is not done yet, below ``root / plan.name``.

    A metric whose weights are not on this machine has no value, until it is there and the plan is run again. Several processes
    may do this at the same time in one folder: each takes what no other is at, and all end when the work does.

    Args:
        plan: what is to be done.
        root: folder of all results.
        device: a torch device.
        batch_size: samples at once.
        progress: who watches.
        strict: whether missing weights are an error.
        part: of the shards, in the plan's order.
        engine: how shards are done.

    Raises:
        UserError: a folder that cannot be written, a model that does not load, weights that are not the pinned ones; under
            ``strict`` weights that are not there. Nothing has been generated then.
    """
    missing = missing_weights(plan.metrics, strict)
    store = Store(root / plan.name)
    store.prepare()
    _announce(plan, store)
    lines = [f"{metric.title}: {missing.reasons[metric.key]}" for metric in plan.metrics if metric in missing]
    begun = time.perf_counter()
    made = _generate(plan, store, missing, device, batch_size, progress, part, engine)
    generated = time.perf_counter()
    total = sum(len(plan.cell_samples(cell)) for cell in plan.cells)
    if left := _samples(plan, _open_work(plan, store, missing)):
        return Outcome(made, total - left - made, 0, left, generated - begun, 0, lines)
    _score(plan, store, device, progress, missing)
    failed = sum((store.cell(cell.name).summary() or {})["failed"] for cell in plan.cells)
    return Outcome(made, total - made, failed, 0, generated - begun, time.perf_counter() - generated, lines)


def _announce(plan: Plan, store: Store) -> None:
    """Write down what is planned."""
    cells = [PlannedCell(cell.name, cell.group.name, cell.label, cell.steps, len(plan.cell_samples(cell))) for cell in plan.cells]
    store.write_planned(plan.suite.name, plan.suite.revision, cells, plan.whole)


def _open_work(plan: Plan, store: Store, missing: Missing, part: Part = WHOLE) -> Work:
    """The cells with shards that are still to do, as the files say."""
    work: list[tuple[Cell, list[int]]] = []
    first = 0
    for cell in plan.cells:
        shards = plan.shards(cell)
        numbers = [number for number in range(len(shards)) if first + number in part]
        first += len(shards)
        files = store.cell(cell.name)
        if numbers and not _complete(plan, cell, store, missing):
            todo = files.open_shards(numbers, partial(_ids, shards))
            if todo:
                work.append((cell, todo))
    return work


def _ids(shards: Sequence[Sequence[Sample]], number: int) -> list[str]:
    return [sample.id for sample in shards[number]]


def _samples(plan: Plan, work: Work) -> int:
    return sum(len(plan.shards(cell)[shard]) for cell, shards in work for shard in shards)


def _generate(
    plan: Plan,
    store: Store,
    missing: Missing,
    device: str,
    batch_size: int,
    progress: Progress,
    part: Part,
    engine: Engine,
) -> int:
    """Do what is open of a part, and wait for what others are at; returns how many samples this process made."""
    made = 0
    work = _open_work(plan, store, missing, part)
    begun = {cell.name for cell, _ in work}
    _describe(plan, [cell for cell in plan.cells if cell.name in begun or store.cell(cell.name).is_lost()], store, device)
    if not work:
        return made
    todo = _samples(plan, work)
    with progress.stage("generate", todo):
        while work:
            now = engine(plan, work, store, device, batch_size, lambda cell, done: progress.advance(_label(cell), done))
            made += now
            work = _open_work(plan, store, missing, part)
            before, todo = todo, _samples(plan, work)
            if (elsewhere := before - now - todo) > 0:
                progress.advance("other processes", elsewhere)
            if work and not now:
                time.sleep(WAIT)
    return made


def _complete(plan: Plan, cell: Cell, store: Store, missing: Missing) -> bool:
    files = store.cell(cell.name)
    summary = files.summary()
    return summary is not None and files.samples.is_file() and summary.get("inputs") == inputs_of(plan, cell, missing)


def _describe(plan: Plan, cells: Sequence[Cell], store: Store, device: str) -> None:
    origin = provenance(device) if cells else {}
    for cell in cells:
        store.cell(cell.name).write_about(
            {
                "suite": plan.name,
                "revision": plan.suite.revision,
                "group": cell.group.name,
                "method": cell.identity["method"]["name"],
                "label": cell.label,
                "order": cell.order,
                "task": cell.task,
                "steps": cell.steps,
                "fingerprint": cell.fingerprint,
                "identity": cell.identity,
                "provenance": origin,
            }
        )


def _score(plan: Plan, store: Store, device: str, progress: Progress, missing: Missing) -> None:
    """Score the cells that are not scored yet, or wait until another process has."""
    while not all(_complete(plan, cell, store, missing) for cell in plan.cells):
        with claimed(store.root / "scoring") as mine:
            if mine:
                cells = [cell for cell in plan.cells if not _complete(plan, cell, store, missing)]
                _score_cells(plan, cells, store, device, progress, missing)
        if not mine:
            time.sleep(WAIT)


def _score_cells(plan: Plan, cells: Sequence[Cell], store: Store, device: str, progress: Progress, missing: Missing) -> None:
    bank = FeatureBank(_reals(plan), store, Passes(device))
    metrics = missing.present([metric for metric in plan.metrics if metric.task == "generate"])
    drawn = [(cell, store.cell(cell.name)) for cell in cells if cell.task == "generate"]
    sets = [ImageSet(files, files.images, _Shards(plan, cell, files)) for cell, files in drawn]
    with progress.stage("features", 0):
        bank.fill(sets, metrics, partial(progress.advance, ""), progress.begin)
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
        return self.store.rows_of(range(len(self))[index])


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
