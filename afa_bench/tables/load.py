"""Read a results folder: each cell's ``cell.json`` and ``summary.json``, checked before anything is shown.

What does not belong together is refused by name, never averaged away: another suite or revision, another version or other
weights of a metric, another sampler, two results for one cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from afa_bench.errors import NotFoundError, NothingToDoError, UserError
from afa_bench.log import LOG
from afa_bench.store.layout import Store, checked
from afa_bench.store.reads import reads
from afa_bench.tables.apart import apart
from afa_bench.tables.model import Cell, Metric

if TYPE_CHECKING:
    from pandas import DataFrame

    from afa_bench.tables.pairs import Samples

Place = tuple[str, str, int | None]
"""Group, label and steps (None: without sampling): where a cell's results stand in a table."""

PRIVATE = frozenset({"group", "method", "task", "steps"})
"""Keys of an identity in which the cells of one table may differ: they tell its rows and columns apart."""


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class MetricFile(_File):
    """A metric's entry in ``summary.json``.

    Attributes:
        order: its place in the suite's list, hence among a table's columns.
        reason: why it has no value, or what its value or interval lacks.
        inputs: of scores of a folder: a fingerprint of what else its values depend on, such as the real images.
    """

    title: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=0)
    reason: str | None = None
    kind: Literal["per-sample", "set"]
    direction: Literal["higher", "lower"]
    unit: str = ""
    digits: int = Field(default=3, ge=0, le=12)
    version: str
    weights: dict[str, str] = {}
    note: str | None = None
    order: int = 0
    inputs: str | None = None


class SummaryFile(_File):
    """``summary.json``: what a cell's samples come to; ``made_with`` are the versions of its parts, if there are several."""

    fingerprint: str
    samples: int = Field(ge=0)
    failed: int = Field(ge=0)
    metrics: dict[str, MetricFile]
    made_with: list[dict[str, str | None]] = []


class CellFile(_File):
    """``cell.json``: what a cell is."""

    suite: str
    revision: int
    group: str
    method: str
    label: str
    order: int
    task: Literal["generate", "denoise", "score"]
    steps: int | None
    fingerprint: str
    identity: dict[str, Any] = {}
    provenance: dict[str, Any] = {}


@dataclass(frozen=True)
class CellResult:
    """A cell's folder, what it is, and what was measured: ``summary`` is None until it has been scored.

    ``planned`` is how many samples the suite has for a cell of its task.
    """

    folder: Path
    cell: CellFile
    summary: SummaryFile | None
    planned: int = 0

    @property
    def row(self) -> tuple[str, str]:
        """The group and the label: together they name a row."""
        return self.cell.group, self.cell.label

    @property
    def made_with(self) -> Sequence[Mapping[str, str | None]]:
        """The versions that its samples were made with, package by package: several where it was made in parts."""
        first = self.cell.provenance.get("versions")
        return (self.summary.made_with if self.summary else []) or ([first] if isinstance(first, dict) else [])

    @property
    def title(self) -> str:
        """The cell in words, for notes."""
        steps = "" if self.cell.steps is None else f" at {self.cell.steps} steps"
        return f"{self.cell.label} ({self.cell.group}){steps}"

    @cached_property
    def samples(self) -> Samples | None:
        """The cell's rows; None where they are not kept."""
        from afa_bench.tables.pairs import read_samples  # numpy and pyarrow, which whole cells do without

        file = self.folder / "samples.parquet"
        return read_samples(file) if file.exists() else None


@dataclass(frozen=True)
class Results:
    """All cells of one suite, in the order of their rows, and what they have in common. Iterating gives the cells.

    Attributes:
        folder: where they lie.
        cells: sorted by order, group, label and steps.
        metrics: key -> what is known of it, in the suite's order; where that is not recorded, those without sampling lead.
        remarks: key -> the distinct notes which the summaries give to it.
        shared: the part of the identity that all cells have in common.
        planned: how many cells there will be; of a run that is under way fewer of ``cells`` are scored.
        unmade: where those of them stand that have not been begun.
    """

    folder: Path
    suite: str
    revision: int
    cells: tuple[CellResult, ...]
    metrics: Mapping[str, Metric]
    remarks: Mapping[str, tuple[str, ...]]
    shared: Mapping[str, Any] = field(default_factory=dict)
    planned: int = 0
    unmade: frozenset[Place] = frozenset()

    @property
    def under_way(self) -> str:
        """That not all cells are scored yet, in words; empty where they are."""
        scored = sum(result.summary is not None for result in self.cells)
        return f"under way: {scored} of {self.planned} cells are scored" if scored < self.planned else ""

    def __iter__(self) -> Iterator[CellResult]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    def samples(self) -> DataFrame:
        """A row a sample: the columns of ``samples.parquet`` behind the cell's group, method, label, task and steps."""
        from afa_bench.tables.frames import samples

        return samples(self.cells)

    def summaries(self) -> DataFrame:
        """A row a cell and metric: the value, its interval, the numbers of samples."""
        from afa_bench.tables.frames import summaries

        return summaries(self.cells)


def measured(result: CellResult | None, metric: Metric) -> Cell:
    """A cell's value of a metric, or an empty cell; a number that is not finite is none."""
    entry = result.summary.metrics.get(metric.key) if result and result.summary else None
    if entry is None:
        return Cell()
    cell = Cell(_finite(entry.value), _finite(entry.low), _finite(entry.high), entry.n, reason=entry.reason)
    if cell.value is None or result is None or entry.n >= result.planned:
        return cell
    return replace(cell, of=result.planned, over=result.samples.over(metric) if result.samples else "")


@reads
def load_results(folder: Path, cells: Iterable[str] | None = None, *, scored: bool = True) -> Results:
    """Read the cells of a suite's results.

    Args:
        folder: such as ``results/mini``: a folder a cell.
        cells: names of the cells' folders to read; all by default.
        scored: whether there has to be a value.

    Raises:
        NotFoundError: no such folder.
        NothingToDoError: no results in it, or none that are scored.
        UserError: a file that is corrupt, of a later schema, or does not fit the others.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no such folder of results")
    names = sorted(cells) if cells is not None else sorted(path.name for path in folder.iterdir() if _is_cell(path))
    unmade = [cell.place for cell in Store(folder).planned() if cell.name not in names] if cells is None else []
    read = [_read_cell(folder / name) for name in names]
    read = read if cells is not None else _current(folder, read)
    found = assembled(folder, read, len(read) + len(unmade), scored)
    return replace(found, unmade=frozenset(unmade))


def assembled(folder: Path, found: list[CellResult], planned: int, scored: bool = True) -> Results:
    """Cells as results, if they belong together, and if there is a value where they have to be ``scored``.

    Raises:
        NothingToDoError: there are none, or none that are scored.
        UserError: they do not belong together.
    """
    if not found:
        raise NothingToDoError(f"{folder}: no results in it{_suites_inside(folder)}")
    if scored and all(result.summary is None for result in found):
        raise NothingToDoError(f"{folder}: nothing is scored yet: no cell has a summary.json")
    found = _planned(found)
    found.sort(key=lambda result: (result.cell.order, *result.row, result.cell.steps or 0))
    _refuse_strangers(found)
    _refuse_twins(found)
    metrics, remarks = _metrics(found)
    if scored and not metrics:
        raise NothingToDoError(f"{folder}: no cell's summary has a metric")
    first = found[0].cell
    return Results(folder, first.suite, first.revision, tuple(found), metrics, remarks, _shared(found), planned)


def _planned(found: list[CellResult]) -> list[CellResult]:
    """The same cells, which know how many samples were planned: as many as the fullest cell of their task has."""
    most: dict[str, int] = {}
    for result in found:
        if result.summary is not None:
            most[result.cell.task] = max(most.get(result.cell.task, 0), result.summary.samples)
    return [replace(result, planned=most.get(result.cell.task, 0)) for result in found]


def _current(folder: Path, found: list[CellResult]) -> list[CellResult]:
    """Without cells that ``suite.json`` does not list and that have no results, or those of a listed one under a former label."""
    planned = {cell.name for cell in Store(folder).planned()}
    listed = {result.cell.fingerprint: result for result in found if result.folder.name in planned}
    kept = []
    for result in found:
        now = listed.get(result.cell.fingerprint)
        if not planned or result.folder.name in planned or (result.summary is not None and now is None):
            kept.append(result)
        elif result.summary is not None and now is not None:
            LOG.warning("%s: left out: a former label of what is now %s", result.folder, now.title)
    return kept


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


F = TypeVar("F", bound=_File)


def read_file(path: Path, kind: type[F]) -> F | None:
    content = checked(path)
    return None if content is None else as_file(content, path, kind)


def as_file(content: Any, path: Path, kind: type[F]) -> F:
    """What a file's content says, if it is what it should be."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _is_cell(path: Path) -> bool:
    return (path / "cell.json").exists() or (path / "summary.json").exists()


def _read_cell(folder: Path) -> CellResult:
    cell = read_file(folder / "cell.json", CellFile)
    if cell is None:
        raise NotFoundError(f"{folder / 'cell.json'}: missing: without it nothing says what the summary is of")
    if (cell.task == "generate") != (cell.steps is not None):
        raise UserError(f"{folder / 'cell.json'}: steps: {cell.steps}, expected {'a number' if cell.steps is None else 'null'}")
    file = folder / "summary.json"
    summary = read_file(file, SummaryFile)
    if summary is not None and summary.fingerprint != cell.fingerprint:
        raise UserError(
            f"{file}: fingerprint: {summary.fingerprint[:12]}, but cell.json has {cell.fingerprint[:12]}: "
            "the summary is of other samples, score the cell again"
        )
    return CellResult(folder, cell, summary)


def _suites_inside(folder: Path) -> str:
    suites = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(map(_is_cell, path.iterdir())))
    return f", name one of the suites inside: {', '.join(suites)}" if suites else ""


def _refuse_strangers(found: list[CellResult]) -> None:
    """Refuse cells of different suites, revisions or shared identities; a key that only one of them has is its own affair."""
    first: dict[str, tuple[Any, CellResult]] = {}
    for result in found:
        facts = {**shared_identity(result.cell.identity), "suite": result.cell.suite, "revision": result.cell.revision}
        for key, value in facts.items():
            known, other = first.setdefault(key, (value, result))
            if known != value:
                way, mine, theirs = apart(value, known, key)
                raise UserError(
                    f"{result.folder / 'cell.json'}: {way}: {mine}, but {other.folder.name} has {theirs}: results "
                    f"that differ in more than group, method and steps are not tabulated together{_way_out(result, other)}"
                )


def _refuse_twins(found: list[CellResult]) -> None:
    seen: dict[tuple[str, str, str, int | None], CellResult] = {}
    for result in found:
        key = (*result.row, result.cell.task, result.cell.steps)
        other = seen.setdefault(key, result)
        if other is not result:
            raise UserError(
                f"{result.folder}: fingerprint {result.cell.fingerprint[:12]}, but {other.folder.name} has "
                f"{other.cell.fingerprint[:12]}: two results for {result.title}, keep one of them{_way_out(result, other)}"
            )


def _way_out(*results: CellResult) -> str:
    """How to get rid of the result which the suite no longer has, if it is one of these."""
    root = results[0].folder.parent
    planned = {cell.name for cell in Store(root).planned()}
    dropped = planned and any(result.folder.name not in planned for result in results)
    return f"; `afa-bench gc {root} --dropped` shows what the suite no longer has" if dropped else ""


def _metrics(found: list[CellResult]) -> tuple[dict[str, Metric], dict[str, tuple[str, ...]]]:
    metrics: dict[str, Metric] = {}
    remarks: dict[str, dict[str, None]] = {}
    source: dict[str, CellResult] = {}
    order: dict[str, int] = {}
    inputs: dict[str, str | None] = {}
    for result in sorted(found, key=lambda result: result.cell.task == "generate"):
        for key, entry in (result.summary.metrics if result.summary else {}).items():
            facts = entry.model_dump(include={"title", "kind", "direction", "unit", "digits", "version"})
            metric = Metric(key=key, weights=tuple(sorted(entry.weights.items())), **facts)
            known = metrics.setdefault(key, metric)
            source.setdefault(key, result)
            order.setdefault(key, entry.order)
            if known != metric:
                name = next(name for name in vars(metric) if getattr(metric, name) != getattr(known, name))
                way, mine, theirs = apart(getattr(metric, name), getattr(known, name), f"metrics.{key}.{name}")
                raise UserError(
                    f"{result.folder / 'summary.json'}: {way}: {mine}, but "
                    f"{source[key].folder.name} has {theirs}: not comparable, score both again"
                )
            if entry.value is not None and inputs.setdefault(key, entry.inputs) != entry.inputs:
                raise UserError(
                    f"{result.folder / 'summary.json'}: metrics.{key}: with other real images or weights than in "
                    f"{source[key].folder.name}: not comparable"
                )
            if entry.note:
                remarks.setdefault(key, {})[entry.note] = None
    ordered = {key: metrics[key] for key in sorted(metrics, key=lambda key: order[key])}
    return ordered, {key: tuple(notes) for key, notes in remarks.items()}


def _shared(found: list[CellResult]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for result in found:
        merged |= shared_identity(result.cell.identity)
    return merged


def shared_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity without what tells the cells of a table apart."""
    return {key: value for key, value in identity.items() if key not in PRIVATE}
