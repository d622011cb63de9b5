"""For a terminal: best in bold, second best underlined."""

from __future__ import annotations

import io
import textwrap

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from afa_bench.tables.layout import Panel, panels
from afa_bench.tables.model import Cell, Metric, Table
from afa_bench.tables.text import LEGEND, shown

UNLIMITED = 10_000
NARROWEST_NOTE = 100


def render(table: Table, width: int | None = None, *, styled: bool = False) -> str:
    """The table as lines of text.

    Args:
        table: what to show.
        width: of the terminal: a panel that is wider is split into one a metric, and then folded. None: as wide as need be.
        styled: with the escape codes of a terminal; without them bold and underlined are lost.
    """
    console = text_console(width, styled=styled)
    drawn = _draw(table, panels(table))
    if width and max(_width(console, panel) for _, panel in drawn) > width:
        drawn = _draw(table, panels(table, widest=1))
    notes = min(width or UNLIMITED, max(NARROWEST_NOTE, *(_width(console, panel) for _, panel in drawn)))
    with console.capture() as capture:
        console.print(Text(table.title, "bold"))
        for heading, panel in drawn:
            if heading:
                console.print(Text(heading, "bold"))
            console.print(panel)
        for note in [LEGEND, *table.notes] if styled else table.notes:
            console.print(Text(textwrap.fill(note, notes, subsequent_indent="  ", break_on_hyphens=False), "dim"))
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def text_console(width: int | None, *, styled: bool) -> Console:
    """A console that draws the same text on every machine, whatever its environment says."""
    return Console(
        file=io.StringIO(),
        width=width or UNLIMITED,
        force_terminal=styled,
        color_system="standard" if styled else None,
        legacy_windows=False,
        highlight=False,
        _environ={},
    )


def _width(console: Console, panel: RichTable) -> int:
    return console.measure(panel, options=console.options.update(width=UNLIMITED)).maximum


def _draw(table: Table, chosen: list[Panel]) -> list[tuple[str | None, RichTable]]:
    return [(panel.heading, _panel(table, panel)) for panel in chosen]


def _panel(table: Table, panel: Panel) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, header_style="")
    drawn.add_column("", no_wrap=False)
    before = None
    for index in panel.columns:
        column = table.columns[index]
        first = column.metric.heading if column.metric != before and panel.heading is None else ""
        drawn.add_column(Text(f"{first}\n{column.under}" if panel.heading is None else column.under), justify="right")
        before = column.metric
    for section in table.sections:
        drawn.add_row(Text(section.name, "italic"))
        for row in section.rows:
            cells = [_cell(row.cells[index], table.columns[index].metric) for index in panel.columns]
            drawn.add_row(Text(f"  {row.label}"), *cells)
        drawn.add_section()
    return drawn


def _cell(cell: Cell, metric: Metric) -> Text:
    value, rest = shown(cell, metric)
    style = "bold" if cell.best else "underline" if cell.second else ""
    return Text.assemble((value, style), f" {rest}" if rest else "")
