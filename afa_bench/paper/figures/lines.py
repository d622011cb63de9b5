"""A metric as lines: against the number of steps (the paper's figure 4), or of training samples (figure 8)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from afa_bench.errors import NothingToDoError
from afa_bench.paper.figures.style import AFA, MARKERS, OTHERS
from afa_bench.tables.model import Cell, Metric, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLEARANCE = 0.075
"""Between two labels at the ends of lines, as a share of a panel's height."""


@dataclass(frozen=True)
class Line:
    """One line: its points are ``(x, cell)``, from left to right; ``ours`` is drawn to be seen first."""

    label: str
    points: tuple[tuple[int, Cell], ...]
    ours: bool


@dataclass(frozen=True)
class Panel:
    """The lines of one pair of axes."""

    title: str
    lines: tuple[Line, ...]


def against_steps(table: Table) -> Figure:
    """A panel for each group of models, a line for each of its rows, over the numbers of steps.

    Raises:
        NothingToDoError: fewer than two numbers of steps have a value.
    """
    panels = []
    for section in table.sections:
        lines = []
        for row in section.rows:
            cells = zip(table.columns, row.cells, strict=True)
            points = {column.steps: cell for column, cell in cells if column.steps is not None and cell.value is not None}
            if points:
                lines.append(Line(row.label, tuple(sorted(points.items(), key=lambda point: point[0])), row.method == "afa"))
        panels.append(Panel(section.title, tuple(lines)))
    _require_two(panels, "numbers of steps")
    return _draw(panels, table.columns[0].metric, "inference steps")


def against_training(table: Table) -> Figure:
    """A line for each group of models over its rows that are labelled by their numbers of training samples, ``samples-2000``.

    Raises:
        NothingToDoError: fewer than two such rows.
    """
    lines = []
    for place, section in enumerate(table.sections):
        points = []
        for row in section.rows:
            number = re.fullmatch(r"samples-(\d+)", row.label)
            if number and row.cells[-1].value is not None:
                points.append((int(number[1]), row.cells[-1]))
        if points:
            lines.append(Line(section.title, tuple(sorted(points, key=lambda point: point[0])), place == 0))
    panels = [Panel("", tuple(lines))]
    _require_two(panels, "rows labelled by their training samples, such as samples-2000")
    return _draw(panels, table.columns[-1].metric, "training samples")


def _require_two(panels: Sequence[Panel], what: str) -> None:
    if not any(len(line.points) > 1 for panel in panels for line in panel.lines):
        raise NothingToDoError(f"these results have nothing to draw a line through: expected two or more {what}")


def _draw(panels: Sequence[Panel], metric: Metric, across: str) -> Figure:
    from matplotlib.figure import Figure

    longest = max(len(line.label) for panel in panels for line in panel.lines)
    figure = Figure(figsize=((2.8 + 0.08 * longest) * len(panels) + 0.6, 3.1))
    looks = _looks(panels)
    places = sorted({x for panel in panels for line in panel.lines for x, _ in line.points})
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw_panel(axes, panel, places, looks)
        axes.set(title=panel.title, xlabel=across, xticks=places)
        axes.margins(y=0.08)
    all_axes[0].set_ylabel(metric.heading)
    partial = [
        f"{line.label} {cell.n} of {cell.of} at {x}"
        for panel in panels
        for line in panel.lines
        for x, cell in line.points
        if cell.of is not None
    ]
    if partial:
        note = textwrap.fill(f"Hollow, over fewer samples than planned: {'; '.join(partial)}.", int(14 * figure.get_figwidth()))
        figure.supxlabel(note, x=0.01, ha="left", fontsize=7)
    figure.tight_layout(w_pad=2 + 0.6 * longest)  # in letters: room for the names behind the lines
    for axes, panel in zip(all_axes, panels, strict=True):
        _name_lines(axes, panel, looks)
    return figure


def _looks(panels: Sequence[Panel]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each line by its label: the same in all panels."""
    lines = [line for panel in panels for line in panel.lines]
    others = dict.fromkeys(line.label for line in lines if not line.ours)
    looks = {label: (OTHERS[place % len(OTHERS)], MARKERS[place % len(MARKERS)]) for place, label in enumerate(others)}
    return looks | {line.label: (AFA, "o") for line in lines if line.ours}


def _draw_panel(axes: Any, panel: Panel, places: Sequence[int], looks: Mapping[str, tuple[str, str]]) -> None:
    gap = min(b - a for a, b in pairwise(places)) if len(places) > 1 else 1
    for index, line in enumerate(panel.lines):
        shift = 0.05 * gap * (index - (len(panel.lines) - 1) / 2)  # so that intervals stand beside each other
        x = [place + shift for place, _ in line.points]
        values = [cell.value or 0.0 for _, cell in line.points]
        reach = [[value - _or(cell.low, value) for value, (_, cell) in zip(values, line.points, strict=True)]]
        reach += [[_or(cell.high, value) - value for value, (_, cell) in zip(values, line.points, strict=True)]]
        colour, marker = looks[line.label]
        axes.errorbar(
            x,
            values,
            yerr=reach,
            color=colour,
            marker=marker,
            label=line.label,
            linewidth=2.0 if line.ours else 1.2,
            elinewidth=0.7,
            alpha=1.0 if line.ours else 0.9,
            markeredgecolor="white",
            markeredgewidth=0.5,
            zorder=4 if line.ours else 3,
        )
        hollow = [(at, value) for at, value, (_, cell) in zip(x, values, line.points, strict=True) if cell.of is not None]
        axes.plot(
            [at for at, _ in hollow],
            [value for _, value in hollow],
            linestyle="none",
            color=colour,
            marker=marker,
            markerfacecolor="white",
            zorder=5,
        )


def _or(bound: float | None, value: float) -> float:
    return value if bound is None else bound


def _name_lines(axes: Any, panel: Panel, looks: Mapping[str, tuple[str, str]]) -> None:
    """Write each line's name behind its last point, apart from each other."""
    low, high = axes.get_ylim()
    ends = sorted((((line.points[-1][1].value or 0.0) - low) / (high - low), index) for index, line in enumerate(panel.lines))
    heights = [height for height, _ in ends]
    for _ in range(50):  # push neighbours apart until none touch
        for place in range(len(heights) - 1):
            short = CLEARANCE - (heights[place + 1] - heights[place])
            if short > 1e-6:
                heights[place] -= short / 2
                heights[place + 1] += short / 2
    for height, (true, index) in zip(heights, ends, strict=True):
        line = panel.lines[index]
        colour, _ = looks[line.label]
        axes.annotate(
            line.label,
            xy=(1.0, true),
            xytext=(1.045, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=colour,
            fontsize=8.5,
            fontweight="bold" if line.ours else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )
