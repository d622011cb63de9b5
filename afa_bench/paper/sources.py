"""Where the paper's numbers are measured: in the results of suites, or in what ``afa-bench bench methods`` wrote."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from afa_bench.errors import NotFoundError, UserError
from afa_bench.identity import fingerprint
from afa_bench.paper.layout import RowRef
from afa_bench.store.layout import checked
from afa_bench.tables.load import CellResult, Results, measured
from afa_bench.tables.model import Cell, Metric, Printed
from afa_bench.tables.notes import SHORT, in_words


class Source(Protocol):
    """Something that knows measured values."""

    def find(self, number: Printed, row: RowRef | None, group: str, metric: str) -> tuple[Cell, Metric] | None:
        """The cell in which ``number`` is measured, and with which metric; None where it is not."""

    def notes(self) -> list[str]:
        """What the foot says of it."""


@dataclass
class SuiteSource:
    """A suite's results; ``used`` are the cells and metrics that values were taken from."""

    results: Results
    used: list[tuple[CellResult, Metric]] = field(default_factory=list)

    def find(self, number: Printed, row: RowRef | None, group: str, metric: str) -> tuple[Cell, Metric] | None:
        """The value in this suite."""
        if row is None or metric not in self.results.metrics:
            return None
        inside = [result for result in self.results.cells if result.cell.group == group]
        if row.label is not None:
            labels = [row.label]
        else:
            labels = list(dict.fromkeys(result.cell.label for result in inside if result.cell.method == row.method))
            labels = labels[row.index : row.index + 1]
        for result in inside:
            if result.cell.label in labels and result.cell.steps in (number.steps, None):
                known = self.results.metrics[metric]
                cell = measured(result, known)
                if cell.value is not None:
                    self.used.append((result, known))
                    return cell, known
        return None

    def notes(self) -> list[str]:
        """The suite, and the fingerprint of the cells that were used."""
        if not self.used:
            return []
        mark = fingerprint(sorted({result.cell.fingerprint for result, _ in self.used}))[:SHORT]
        metrics = dict.fromkeys(metric for _, metric in self.used)
        return [
            f"Measured: suite {self.results.suite}, revision {self.results.revision}; fingerprint of the cells {mark}; "
            + "; ".join(in_words(metric, self.results.remarks.get(metric.key, ())) for metric in metrics)
            + "."
        ]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class BenchRun(_File):
    """One row of a file of ``afa-bench bench methods``."""

    method: str
    n_models: int
    images: int
    steps: int
    parameters: int | None = None
    tflops: float | None = None
    train_tflops: float | None = None
    seconds: float | None = None


class BenchFile(_File):
    """What ``afa-bench bench methods`` wrote; see :mod:`afa_bench.bench.methods`."""

    device: str
    architecture: str
    dtype: str
    size: int
    runs: tuple[BenchRun, ...]


@dataclass
class BenchSource:
    """Measurements of speed and size."""

    file: BenchFile

    def find(self, number: Printed, row: RowRef | None, group: str, metric: str) -> tuple[Cell, Metric] | None:
        """The value of the run with the same method, models, images and steps; parameters need only the first two."""
        unsampled = metric in ("parameters", "train_tflops")
        for run in self.file.runs:
            same = row is not None and run.method == row.method and run.n_models == self._models(number, row)
            if not same or not (unsampled or (run.steps == number.steps and run.images == (number.images or 1))):
                continue
            value = getattr(run, metric)
            if value is not None:
                scale = 1e-6 if metric == "parameters" else 1.0
                direction = Metric(metric, number.metric, "set", "lower", number.unit, number.digits, "1", ())
                return Cell(scale * value, n=1), direction
        return None

    def notes(self) -> list[str]:
        """Which machine and which models."""
        file = self.file
        return [
            f"Measured: {file.architecture} at {file.size} px in {file.dtype} on {file.device}.",
            "TFLOPs measured: a multiply-add is two operations; attention, text encoders and the VAE's decoder are counted too.",
        ]

    def _models(self, number: Printed, row: RowRef) -> int:
        return 1 if row.method == "base" else number.n_models


def read_bench(path: Path) -> BenchSource:
    """The file of ``afa-bench bench methods``.

    Raises:
        UserError: missing, damaged, of a later version, or another file.
    """
    content = checked(path)
    if content is None:
        raise NotFoundError(f"{path}: no such file; expected what `afa-bench bench methods --out FILE` wrote")
    try:
        return BenchSource(BenchFile.model_validate(content))
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
