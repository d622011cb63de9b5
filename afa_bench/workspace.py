"""A plan beside its results folder: what is planned, what is done, as the files say, and what is still open."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from afa_bench.cells import Cell, Plan, Sample
from afa_bench.identity import fingerprint
from afa_bench.provenance import provenance
from afa_bench.store.claims import claimed
from afa_bench.store.layout import CellStore, PlannedCell, Store

WAIT = 1.0
"""Seconds between two looks at what other processes have done."""


@dataclass(frozen=True)
class Share:
    """Every ``count``-th shard of a plan, from number ``index`` (counted from 1): what one process of several does."""

    index: int = 1
    count: int = 1

    def __contains__(self, number: int) -> bool:
        return number % self.count == self.index - 1


WHOLE: Final = Share()


@dataclass(frozen=True)
class OpenShard:
    """A shard whose samples are still to be made.

    Attributes:
        shards: all of its cell.
        number: which of them it is.
        files: of its cell.
    """

    cell: Cell
    shards: Sequence[Sequence[Sample]]
    number: int
    files: CellStore

    @property
    def samples(self) -> Sequence[Sample]:
        """In their order; made when they are asked for."""
        return self.shards[self.number]

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Claim it until the end of the block. False: another process is at it, or has made it meanwhile."""
        with claimed(self.files.shard(self.number)) as mine:
            yield mine and not self.files.is_done(self.number, _ids(self.shards, self.number))


@dataclass(frozen=True)
class Workspace:
    """A plan, its results folder, and the metrics that cannot be computed on this machine.

    Attributes:
        missing: metric key -> why it has no value.
    """

    plan: Plan
    store: Store
    missing: Mapping[str, str]
    _inputs: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def announce(self) -> None:
        """Write down what is planned."""
        plan = self.plan
        cells = [
            PlannedCell(cell.name, cell.group.name, cell.label, cell.steps, len(plan.cell_samples(cell))) for cell in plan.cells
        ]
        self.store.write_planned(plan.suite.name, plan.suite.revision, cells, plan.whole)

    def describe(self, begun: Container[str], device: str) -> None:
        """Write down what the cells of these names are, and those of which no file says it any more."""
        for cell in self.plan.cells:
            files = self.files(cell)
            if cell.name in begun or files.is_lost():
                first = (files.about() or {}).get("provenance") if files.shards() else None  # of shards that do not say it
                files.write_about({**self.about(cell), "provenance": first or provenance(device)})

    def about(self, cell: Cell) -> dict[str, Any]:
        """What a cell is."""
        return {
            "suite": self.plan.name,
            "revision": self.plan.suite.revision,
            "group": cell.group.name,
            "method": cell.identity["method"]["name"],
            "label": cell.label,
            "order": cell.order,
            "task": cell.task,
            "steps": cell.steps,
            "fingerprint": cell.fingerprint,
            "identity": cell.identity,
        }

    def files(self, cell: Cell) -> CellStore:
        return self.store.cell(cell.name)

    def inputs(self, cell: Cell) -> str:
        """Fingerprint of all that a cell's summary depends on: the cell, its samples and the metrics."""
        if cell.name not in self._inputs:
            metrics = [
                {"key": metric.key, "missing": True} if metric.key in self.missing else metric.identity()
                for metric in self.plan.metrics
                if metric.task == cell.task
            ]
            ids = [sample.id for sample in self.plan.cell_samples(cell)]
            self._inputs[cell.name] = fingerprint([cell.fingerprint, ids, metrics])
        return self._inputs[cell.name]

    def is_scored(self, cell: Cell) -> bool:
        """Whether a cell is complete: it has a summary of just these samples and metrics, and needs nothing else any more."""
        files = self.files(cell)
        summary = files.summary()
        return summary is not None and files.samples.is_file() and summary.get("inputs") == self.inputs(cell)

    def unscored(self) -> list[Cell]:
        """The cells that are not scored yet."""
        return [cell for cell in self.plan.cells if not self.is_scored(cell)]

    def open_shards(self, share: Share = WHOLE) -> list[OpenShard]:
        """What is still to be made of a share, in the plan's order."""
        found: list[OpenShard] = []
        first = 0
        for cell in self.plan.cells:
            shards = self.plan.shards(cell)
            numbers = [number for number in range(len(shards)) if first + number in share]
            first += len(shards)
            if numbers and not self.is_scored(cell):
                files = self.files(cell)
                found += [OpenShard(cell, shards, number, files) for number in files.open_shards(numbers, partial(_ids, shards))]
        return found


def count_samples(shards: Sequence[OpenShard]) -> int:
    return sum(len(shard.samples) for shard in shards)


def _ids(shards: Sequence[Sequence[Sample]], number: int) -> list[str]:
    return [sample.id for sample in shards[number]]
