"""For a README or a pull request, as GitHub renders it: best in bold, second best underlined by ``<ins>``."""

from __future__ import annotations

import re

from afa_bench.tables.layout import Panel, panels
from afa_bench.tables.model import Cell, Metric, Table
from afa_bench.tables.text import LEGEND, shown


def render(table: Table) -> str:
    """The table under a heading, with its notes as a list."""
    parts = [f"### {escape(table.title)}"]
    for panel in panels(table):
        if panel.heading is not None:
            parts.append(f"**{escape(panel.heading)}**")
        parts.append(_panel(table, panel))
    parts.append("\n".join(f"- {escape(note)}" for note in [LEGEND, *table.notes]))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, inside a table too."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", " ".join(text.split()))


def _panel(table: Table, panel: Panel) -> str:
    columns = [table.columns[index] for index in panel.columns]
    if panel.heading is None:
        heads = [", ".join(filter(None, (column.metric.heading, column.under))) for column in columns]
    else:
        heads = [column.under for column in columns]
    lines = [["", *map(escape, heads)]]
    for section in table.sections:
        lines.append([f"*{escape(section.name)}*", *[""] * len(columns)])
        for row in section.rows:
            cells = [_cell(row.cells[index], table.columns[index].metric) for index in panel.columns]
            lines.append([escape(row.label), *cells])
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(columns) + 1)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    padded = [
        [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def _cell(cell: Cell, metric: Metric) -> str:
    value, rest = shown(cell, metric)
    value = f"**{value}**" if cell.best else f"<ins>{value}</ins>" if cell.second else value
    return f"{value} {escape(rest)}".strip()
