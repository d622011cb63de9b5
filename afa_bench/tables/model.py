"""The table object, which every format is written from: sections of rows, columns of a metric at a number of steps."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from afa_bench.differences import Difference, Spread

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
    """A metric at a number of sampling steps; ``steps`` is None for a metric without sampling, such as the denoising loss.

    A table of the paper's has headings of its own, in two levels. ``suite`` is the column's own, and its revision, where suites
    stand side by side.
    """

    metric: Metric
    steps: int | None
    headings: tuple[str, str] | None = None
    suite: tuple[str, int] | None = None

    @property
    def head(self) -> str:
        """The first level of the column's heading, which neighbours share."""
        return self.metric.heading if self.headings is None else self.headings[0]

    @property
    def under(self) -> str:
        """The second level of the column's heading."""
        if self.headings is not None:
            return self.headings[1]
        return "any steps" if self.steps is None else f"{self.steps} steps"


@dataclass(frozen=True)
class Printed:
    """One number of the paper, and where it stands.

    Attributes:
        table: 1 to 16.
        dataset: whose prompts; empty for none.
        group: of models: ``I``, ``II``, ``SDXL``, ``FLUX.1-dev``; empty where a table has no groups.
        method: the row's name in the paper.
        n_models: how many models take part.
        images: made at once, in the tables of efficiency.
        steps: of sampling.
        metric: its name in the paper.
        unit: empty where the metric has none.
        text: the number with the paper's digits.
        suite: the suite that measures it, empty until it is known (:mod:`afa_bench.paper.build` says it).
    """

    table: int
    dataset: str
    group: str
    method: str
    n_models: int
    images: int | None
    steps: int
    metric: str
    unit: str
    text: str
    suite: str = ""

    @property
    def paper(self) -> float:
        """The number itself."""
        return float(self.text)

    @property
    def digits(self) -> int:
        """Decimals printed."""
        return len(self.text.partition(".")[2])


@dataclass(frozen=True)
class Cell:
    """One measured value. ``value`` is None where there is none; ``low`` and ``high`` are None where there is no interval.

    ``difference`` is the paired difference to the table's reference method (this method minus that one), and ``spread`` how much
    the value moves from repeat to repeat, where they were asked for. ``printed`` is the paper's own number, in its tables.
    ``reason`` says why there is no value, or what it lacks. ``of`` is how many samples were planned where the value is over
    fewer, and ``over`` then tells apart which ones they are.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    best: bool = False
    second: bool = False
    difference: Difference | None = None
    spread: Spread | None = None
    printed: Printed | None = None
    reason: str | None = None
    of: int | None = None
    over: str = ""


def alike(*cells: Cell) -> bool:
    """Whether the values of cells are over the same samples: else they are neither ranked nor subtracted."""
    return len({(cell.n, cell.over) for cell in cells if cell.value is not None}) < 2


@dataclass(frozen=True)
class Row:
    """A method's row: the plug-in's name, the label that the suite gives it, and a cell for each of the table's columns."""

    method: str
    label: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Section:
    """The rows of one group of models; ``category`` where they are of that category of prompts alone."""

    name: str
    rows: tuple[Row, ...]
    category: str | None = None

    @property
    def title(self) -> str:
        """The section in words."""
        return self.name if self.category is None else f"{self.name}: {self.category or 'no category'}"


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        suite, revision: where the results come from.
        paper: the number and the subject of the paper's table, if it is one of those.
        versus: the reference method's name where cells hold differences to it.
        columns: metrics in order, each with its steps side by side.
        sections: a section a group.
        notes: sentences for the foot: samples, failures, gaps, versions, fingerprints.
        by: what the rows are broken down by, such as ``category``.
        together: the names of several results that stand side by side; ``suite`` and ``revision`` are the first's.
    """

    suite: str
    revision: int
    versus: str | None
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    by: str | None = None
    paper: tuple[int, str] | None = None
    together: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """One line that says what the table shows."""
        if self.paper is not None:
            return f"Table {self.paper[0]} of the paper: {self.paper[1]}"
        what = f", by {self.by}" if self.by else ""
        what += f", with paired differences to {self.versus}" if self.versus else ""
        if self.together:
            return f"{' and '.join(self.together)}, side by side{what}"
        return f"Suite {self.suite}, revision {self.revision}{what}"

    def render(self, form: str = "rich") -> str:
        """The table as text: rich, markdown, latex, html, csv or json.

        Raises:
            UserError: an unknown format.
        """
        formats = import_module("afa_bench.tables.formats")  # which are written from tables: looked up when one is asked for
        return formats.render(self, form)  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return self.render()
