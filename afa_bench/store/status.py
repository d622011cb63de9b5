"""How far a run is, as the files of its results folder say, while it goes on or after."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from afa_bench.errors import NothingToDoError, UserError
from afa_bench.store.layout import CellStore, PlannedCell, Store
from afa_bench.store.owners import Owner, active_claims
from afa_bench.store.place import key, storage
from afa_bench.store.reads import reads

SHARD = re.compile(r"shard-(\d+)\.json")


@dataclass(frozen=True)
class Claimed:
    """A shard, or the scoring (None), that some process is at."""

    shard: int | None
    owner: Owner


@dataclass(frozen=True)
class CellStatus:
    """How far a cell is, in samples.

    Attributes:
        cell: as planned.
        planned: samples in all; None for a cell that no ``suite.json`` lists and that is not scored.
        done: made, without error.
        failed: rows with an error.
        scored: whether its summary is there.
        running: the shards that some process is at.
        seconds: that a sample takes one process, on average; None where none was made.
    """

    cell: PlannedCell
    planned: int | None
    done: int
    failed: int
    scored: bool
    running: Sequence[Claimed]
    seconds: float | None

    @property
    def left(self) -> int:
        """Samples still to be made."""
        return max(0, (self.planned or 0) - self.done - self.failed)


@dataclass(frozen=True)
class Status:
    """How far a suite's results are.

    Attributes:
        cells: in the order of the plan, then those that no plan lists.
        scoring: who is at the scoring.
        disk: bytes of all files.
    """

    cells: Sequence[CellStatus]
    scoring: Owner | None
    disk: int

    @property
    def running(self) -> int:
        """Shards that are being made."""
        return sum(len(cell.running) for cell in self.cells)

    @property
    def rate(self) -> float | None:
        """Samples a second of all processes that are at work; None where there is none, or no sample to tell by."""
        rates = [len(cell.running) / seconds for cell in self.cells if cell.running and (seconds := self._seconds(cell))]
        return sum(rates) or None

    @property
    def work_left(self) -> float | None:
        """Seconds in which one process makes what is left; None where there is no sample to tell by."""
        parts = [(cell.left, self._seconds(cell)) for cell in self.cells if cell.left]
        return None if any(seconds is None for _, seconds in parts) else sum(left * (seconds or 0) for left, seconds in parts)

    @property
    def time_left(self) -> float | None:
        """Seconds until all samples are made, if as many processes stay at work; None where none is."""
        return None if not self.running or self.work_left is None else self.work_left / self.running

    def _seconds(self, cell: CellStatus) -> float | None:
        """That a sample takes: as those of the cell; else, by the number of steps, as those of its row, or as those of all.

        An image and a denoising loss are not compared, unless there is nothing else.
        """
        if cell.seconds is not None:
            return cell.seconds
        known = [other for other in self.cells if other.seconds is not None]
        known = [other for other in known if (other.cell.steps is None) == (cell.cell.steps is None)] or known
        row = [other for other in known if (other.cell.group, other.cell.label) == (cell.cell.group, cell.cell.label)]
        steps = [(other.seconds or 0) / (other.cell.steps or 1) for other in row or known]
        return fmean(steps) * (cell.cell.steps or 1) if steps else None

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON; seconds and bytes are plain numbers."""
        cells = [
            {
                **asdict(cell.cell),
                "samples": cell.planned,
                "done": cell.done,
                "failed": cell.failed,
                "left": cell.left,
                "scored": cell.scored,
                "running": [{"shard": claim.shard, **asdict(claim.owner)} for claim in cell.running],
                "seconds_per_sample": cell.seconds,
            }
            for cell in self.cells
        ]
        total = {key: sum(cell[key] or 0 for cell in cells) for key in ("samples", "done", "failed", "left", "scored")}
        return {
            "cells": cells,
            "total": {**total, "running": self.running},
            "scoring": self.scoring and asdict(self.scoring),
            "samples_per_second": self.rate,
            "seconds_left": self.time_left,
            "seconds_left_of_one_process": self.work_left,
            "disk": self.disk,
        }


@reads
def read_status(root: Path) -> Status:
    """Read how far a suite's results are.

    Args:
        root: such as ``results/mini``.

    Raises:
        NothingToDoError: no results there.
        UserError: a damaged file.
    """
    store = Store(root)
    planned = {cell.name: cell for cell in store.planned()}
    names = [*planned, *(name for name in store.cells() if name not in planned)]
    if not names:
        raise NothingToDoError(f"{root}: no results in it")
    cells = [_cell(store.cell(name), planned.get(name)) for name in names]
    linked = sum(disk_used(root / name) for name in names if (root / name).is_symlink())
    return Status(cells, active_claims(root).get("scoring"), disk_used(root) + linked)


def disk_used(folder: Path) -> int:
    """Bytes of a file, or of all files in a folder; what vanishes meanwhile is left out."""
    if (fs := storage(folder)) is not None:
        return int(fs.du(key(folder)))
    if not folder.is_dir():
        return _size(folder)
    return sum(_size(os.path.join(where, name)) for where, _, names in os.walk(folder) for name in names)


def _size(path: Path | str) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _cell(files: CellStore, planned: PlannedCell | None) -> CellStatus:
    summary = files.summary()
    done = failed = 0
    seconds: list[float] = []
    if summary is None:
        for row in _rows(files, files.shards()):
            done, failed = (done + 1, failed) if row["error"] is None else (done, failed + 1)
            seconds += [row["seconds"]] if row["error"] is None else []
    else:
        failed = summary["failed"]
        done = summary["samples"] - failed
        seconds = [row["seconds"] for row in _rows(files, files.shards()[:1]) if row["error"] is None]
    claims = active_claims(files.folder / "state")
    running = [Claimed(int(shard[1]), owner) for name, owner in claims.items() if (shard := SHARD.fullmatch(name))]
    count = planned.samples if planned else None if summary is None else summary["samples"]
    return CellStatus(
        planned or _described(files), count, done, failed, summary is not None, running, fmean(seconds) if seconds else None
    )


def _rows(files: CellStore, shards: Sequence[int]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        yield from files.shard_rows(shard) or []


def _described(files: CellStore) -> PlannedCell:
    """A cell that no plan lists, as its own ``cell.json`` says."""
    about = files.about() or {}
    try:
        return PlannedCell(files.folder.name, about["group"], about["label"], about["steps"], 0)
    except KeyError as error:
        raise UserError(f"{files.folder / 'cell.json'}: {error.args[0]}: missing") from None
