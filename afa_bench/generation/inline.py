"""The default engine: this process does one shard after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from afa_bench.cells import Cell, Plan
from afa_bench.workspace import OpenShard


def run_shards(plan: Plan, work: Sequence[OpenShard], device: str, batch_size: int, advance: Callable[[Cell, int], None]) -> int:
    """Make all shards that no other process is at, in their order.

    A shard's marker is written after its images, so a kill loses at most the shard under way.

    Args:
        plan: what the work belongs to.
        work: what to make.
        device: a torch device.
        batch_size: samples at once.
        advance: called with the cell and the number of samples just done.

    Returns:
        The number of samples made.
    """
    from afa_bench.generation.generator import Generator

    generator = Generator(plan, device, batch_size)
    made = 0
    for shard in work:
        with shard.claim() as mine:
            if mine:
                rows = generator.run_shard(shard.cell, shard.samples, shard.files, partial(advance, shard.cell))
                shard.files.write_shard(shard.number, rows)
                made += len(rows)
    return made
