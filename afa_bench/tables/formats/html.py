"""For a web page: a ``<table>`` a panel, best in ``<strong>``, second best in ``<u>``. No style and no script of its own."""

from __future__ import annotations

from itertools import groupby

from afa_bench.markup import html as escape
from afa_bench.tables.layout import Panel, Shown, lines, notes, panels
from afa_bench.tables.model import Column, Table


def render(table: Table) -> str:
    """One ``<section>`` with heading, tables and notes, to be put into a page; every word from outside is escaped."""
    parts = ['<section class="afa-bench-table">', f"<h2>{escape(table.title)}</h2>"]
    for panel in panels(table):
        parts += _panel(table, panel)
    parts += ["<ul>", *(f"<li>{escape(note)}</li>" for note in notes(table)), "</ul>", "</section>"]
    return "\n".join(parts) + "\n"


def _panel(table: Table, panel: Panel) -> list[str]:
    columns = [table.columns[index] for index in panel.columns]
    caption = [f"<caption>{escape(panel.heading)}</caption>"] if panel.heading else []
    text = ["<table>", *caption, "<thead>", *_head(columns, grouped=panel.heading is None), "</thead>"]
    for section in table.sections:
        text.append("<tbody>")
        if section.name:
            text.append(f'<tr><th colspan="{len(columns) + 1}" scope="rowgroup">{escape(section.title)}</th></tr>')
        for row in section.rows:
            for line in lines(table, row, panel):
                name = ' class="under"' if line.under else ""
                text.append(f'<tr{name}><th scope="row">{escape(line.label)}</th>{"".join(map(_cell, line.cells))}</tr>')
        text.append("</tbody>")
    return [*text, "</table>"]


def _head(columns: list[Column], grouped: bool) -> list[str]:
    below = "".join(f'<th scope="col">{escape(column.under)}</th>' for column in columns)
    if not grouped:
        return [f"<tr><td></td>{below}</tr>"]
    heads = ((head, len(list(group))) for head, group in groupby(columns, key=lambda column: column.head))
    above = "".join(f'<th colspan="{width}" scope="colgroup">{escape(head)}</th>' for head, width in heads)
    return [f'<tr><td rowspan="2"></td>{above}</tr>', f"<tr>{below}</tr>"]


def _cell(shown: Shown) -> str:
    value = escape(shown.value)
    value = f"<strong>{value}</strong>" if shown.best else f"<u>{value}</u>" if shown.second else value
    return f"<td>{f'{value} {escape(shown.rest)}'.strip()}</td>"
