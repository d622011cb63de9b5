"""The table object, which every format is written from: sections of rows, columns of a metric at a number of steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from afa_bench.stats import Difference

Direction = Literal["higher", "lower"]
ARROWS: dict[Direction, str] = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Metric:
    """What is known of a metric beside its values.

    Attributes:
        key: its name in files and options, such as ``clip_t_mini``.
        title: its name in a table, such as ``CLIP-T (mini)``.
        kind: a mean over samples, or one value of a whole set of images.
        direction: which end is better.
        unit: shown behind the title when it is not empty.
        digits: decimals shown.
        version: of its definition.
        weights: name -> sha256 of what it was computed with.
    """

    key: str
    title: str
    kind: Literal["per-sample", "set"]
    direction: Direction
    unit: str
    digits: int
    version: str
    weights: tuple[tuple[str, str], ...]

    @property
    def heading(self) -> str:
        """Title, unit and an arrow towards the better end."""
        return f"{self.title}{f' [{self.unit}]' if self.unit else ''} {ARROWS[self.direction]}"


@dataclass(frozen=True)
class Column:
    """A metric at a number of sampling steps; ``steps`` is None for a metric without sampling, such as the denoising loss."""

    metric: Metric
    steps: int | None

    @property
    def under(self) -> str:
        """The second level of the column's heading."""
        return "any steps" if self.steps is None else f"{self.steps} steps"


@dataclass(frozen=True)
class Cell:
    """One measured value. ``value`` is None where there is none; ``low`` and ``high`` are None where there is no interval.

    ``difference`` is the paired difference to the table's reference method (this method minus that one), where it was asked for.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    best: bool = False
    second: bool = False
    difference: Difference | None = None


@dataclass(frozen=True)
class Row:
    """A method's row: the plug-in's name, the label that the suite gives it, and a cell for each of the table's columns."""

    method: str
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Section:
    """The rows of one group of models."""

    name: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        suite, revision: where the results come from.
        versus: the reference method's name where cells hold differences to it.
        columns: metrics in order, each with its steps side by side.
        sections: a section a group.
        notes: sentences for the foot: samples, failures, gaps, versions, fingerprints.
    """

    suite: str
    revision: int
    versus: str | None
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """One line that says what the table shows."""
        what = f": paired differences to {self.versus}" if self.versus else ""
        return f"Suite {self.suite}, revision {self.revision}{what}"
