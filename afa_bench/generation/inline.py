"""The default engine: this process does one shard after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from afa_bench.plan import Cell, Plan
from afa_bench.store.claims import claimed
from afa_bench.store.layout import Store

Work: TypeAlias = Sequence[tuple[Cell, Sequence[int]]]
"""Cells with the shards that are still to do."""


def run_shards(plan: Plan, work: Work, store: Store, device: str, batch_size: int, advance: Callable[[Cell, int], None]) -> int:
    """Do all shards that no other process is at, in their order.

    A shard's marker is written after its images, so a kill loses at most the shard under way.

    Args:
        plan: what the work belongs to.
        work: what to do.
        store: where the results go.
        device: a torch device.
        batch_size: samples at once.
        advance: called with the cell and the number of samples just done.

    Returns:
        The number of samples made.
    """
    from afa_bench.generation.generator import Generator

    generator = Generator(plan, device, batch_size)
    made = 0
    for cell, shards in work:
        files = store.cell(cell.name)
        samples = plan.shards(cell)
        for shard in shards:
            with claimed(files.shard(shard)) as mine:
                if mine and not files.is_done(shard, [sample.id for sample in samples[shard]]):
                    files.write_shard(shard, generator.run_shard(cell, samples[shard], files, partial(advance, cell)))
                    made += len(samples[shard])
    return made
