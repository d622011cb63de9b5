"""Failed samples are made again: what stands in the way of that is taken away, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from afa_bench.errors import UserError
from afa_bench.store.claims import claimed
from afa_bench.store.layout import CellStore, Store


@dataclass
class Retried:
    """What the next run will make again.

    Attributes:
        failed: samples with an error.
        samples: of the shards that hold them: a shard is made as a whole, so that its batches and images are the same as ever.
        left: cells whose failed samples stay, and why.
    """

    failed: int = 0
    samples: int = 0
    left: dict[str, str] = field(default_factory=dict)


def retry_failed(root: Path) -> Retried:
    """Take the markers of all shards with a failed sample away, and the summaries of their cells.

    A shard at which some process is stays as it is.

    Args:
        root: such as ``results/mini``.

    Raises:
        UserError: a damaged file, a folder that cannot be written, or one that is being scored at the moment.
    """
    store, found = Store(root), Retried()
    if not any(_failed(files) or (files.summary() or {}).get("failed") for files in map(store.cell, store.cells())):
        return found  # nothing is written where there is nothing to do
    with claimed(root / "scoring") as mine:
        if not mine:
            raise UserError(f"{root}: is being scored: try again later")
        for name in store.cells():
            files = store.cell(name)
            failed = _failed(files)
            if not failed and (files.summary() or {}).get("failed"):
                found.left[name] = "has failed samples, but its shards are not there any more; without the folder it is made anew"
            if failed:
                files.remove_summary()  # first: from here on the cell is not complete, whatever ends this process
            for shard, (count, samples) in failed.items():
                with claimed(files.shard(shard)) as free:
                    if free:
                        files.remove_shard(shard)
                        found.failed += count
                        found.samples += samples
    return found


def _failed(files: CellStore) -> dict[int, tuple[int, int]]:
    """Shards with failed samples: how many of them, and how many samples in all."""
    failed = {}
    for shard in files.shards():
        rows = files.shard_rows(shard) or []
        if count := sum(row["error"] is not None for row in rows):
            failed[shard] = (count, len(rows))
    return failed
