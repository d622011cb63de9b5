"""The main job: plan, generate what is missing, score what has changed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from afa_bench.cells import Plan
from afa_bench.generation.inline import run_shards
from afa_bench.generation.loop import Engine, generate
from afa_bench.progress import Progress
from afa_bench.scoring.score import score_cells
from afa_bench.scoring.summary import missing_weights
from afa_bench.store.layout import Store
from afa_bench.workspace import WHOLE, Share, Workspace, count_samples


@dataclass(frozen=True)
class RunOutcome:
    """What a run did.

    Attributes:
        generated: samples made by this run, those of denoisers included.
        reused: samples found done, or made meanwhile by other processes.
        failed: samples of the plan which are error rows; 0 as long as some are left.
        left: samples still to be made by the processes of other shares; as long as there are any, nothing is scored.
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
    share: Share = WHOLE,
    engine: Engine = run_shards,
) -> RunOutcome:
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
        share: of the shards, in the plan's order.
        engine: how shards are done.

    Raises:
        UserError: a folder that cannot be written, a model that does not load, weights that are not the pinned ones; under
            ``strict`` weights that are not there. Nothing has been generated then.
    """
    missing = missing_weights(plan.metrics, strict)
    workspace = Workspace(plan, Store(root / plan.name), missing)
    workspace.store.prepare()
    workspace.announce()

    begun = time.perf_counter()
    made = generate(workspace, share, engine, device, batch_size, progress)
    generated = time.perf_counter()
    left = count_samples(workspace.open_shards())
    if not left:
        score_cells(workspace, device, progress)
    scored = time.perf_counter()

    return RunOutcome(
        generated=made,
        reused=sum(len(plan.cell_samples(cell)) for cell in plan.cells) - left - made,
        failed=0 if left else sum((workspace.files(cell).summary() or {})["failed"] for cell in plan.cells),
        left=left,
        generate_seconds=generated - begun,
        score_seconds=scored - generated,
        missing=[f"{metric.title}: {missing[metric.key]}" for metric in plan.metrics if metric.key in missing],
    )
