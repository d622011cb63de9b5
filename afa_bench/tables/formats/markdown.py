"""For a README or a pull request, as GitHub renders it: best in bold, second best underlined by ``<ins>``."""

from __future__ import annotations

from afa_bench.markup import markdown as escape
from afa_bench.tables.layout import Panel, Shown, lines, notes, panels
from afa_bench.tables.model import Table


def render(table: Table) -> str:
    """The table under a heading, with its notes as a list."""
    parts = [f"### {escape(table.title)}"]
    for panel in panels(table):
        if panel.heading is not None:
            parts.append(f"**{escape(panel.heading)}**")
        parts.append(_panel(table, panel))
    parts.append("\n".join(f"- {escape(note)}" for note in notes(table)))
    return "\n\n".join(parts) + "\n"


def _panel(table: Table, panel: Panel) -> str:
    columns = [table.columns[index] for index in panel.columns]
    if panel.heading is None:
        heads = [", ".join(filter(None, (column.head, column.under))) for column in columns]
    else:
        heads = [column.under for column in columns]
    grid = [["", *map(escape, heads)]]
    for section in table.sections:
        if section.name:
            grid.append([f"*{escape(section.title)}*", *[""] * len(columns)])
        for row in section.rows:
            for line in lines(table, row, panel):
                label = f"&nbsp;&nbsp;{escape(line.label)}" if line.under else escape(line.label)
                grid.append([label, *map(_cell, line.cells)])
    widths = [max(3, *(len(line[place]) for line in grid)) for place in range(len(columns) + 1)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in grid
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _cell(shown: Shown) -> str:
    value = f"**{shown.value}**" if shown.best else f"<ins>{shown.value}</ins>" if shown.second else shown.value
    return f"{value} {escape(shown.rest)}".strip()
