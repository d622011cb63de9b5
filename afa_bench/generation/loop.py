"""What is open is made, by whichever engine, until nothing of it is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from afa_bench.cells import Cell, Plan
from afa_bench.progress import Progress
from afa_bench.workspace import WAIT, OpenShard, Share, Workspace, count_samples

Engine: TypeAlias = Callable[[Plan, Sequence[OpenShard], str, int, Callable[[Cell, int], None]], int]
"""Makes the shards that no other process is at, and returns the number of samples made. Called with the plan, the open shards, a
device, the batch size and what to call after each batch: see :func:`afa_bench.generation.inline.run_shards`."""


def generate(workspace: Workspace, share: Share, engine: Engine, device: str, batch_size: int, progress: Progress) -> int:
    """Make what is open of a share, and wait for what other processes are at; returns how many samples this one has made."""
    made = 0
    work = workspace.open_shards(share)
    workspace.describe({shard.cell.name for shard in work}, device)
    if not work:
        return made
    todo = count_samples(work)
    with progress.stage("generate", todo):
        while work:
            now = engine(workspace.plan, work, device, batch_size, lambda cell, done: progress.advance(cell.title, done))
            work = workspace.open_shards(share)
            before, todo = todo, count_samples(work)
            if (elsewhere := before - now - todo) > 0:
                progress.advance("other processes", elsewhere)
            if work and not now:
                time.sleep(WAIT)
            made += now
    return made
