"""For a terminal: best in bold, second best underlined."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as RichTable

from afa_bench import terminal
from afa_bench.tables.layout import Panel, Shown, lines, notes, panels
from afa_bench.tables.model import Table
from afa_bench.terminal import UNLIMITED
from afa_bench.words import line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

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
    broad = min(width or UNLIMITED, max(NARROWEST_NOTE, *(_width(console, panel) for _, panel in drawn)))
    with console.capture() as capture:
        console.print(terminal.text(line(table.title), style="bold"))
        for heading, panel in drawn:
            if heading:
                console.print(terminal.text(heading, style="bold"))
            console.print(panel)
        for note in notes(table) if styled else table.notes:
            filled = textwrap.fill(line(note), broad, subsequent_indent="  ", break_on_hyphens=False)
            console.print(terminal.text(filled, style="dim"))
    return "".join(row.rstrip() + "\n" for row in capture.get().splitlines())


def text_console(width: int | None, *, styled: bool) -> Console:
    """A console that draws the same text on every machine, whatever its environment says."""
    return terminal.console(
        io.StringIO(),
        width=width or UNLIMITED,
        force_terminal=styled,
        color_system="standard" if styled else None,
        legacy_windows=False,
        _environ={},
    )


def _width(console: Console, panel: RichTable) -> int:
    return console.measure(panel, options=console.options.update(width=UNLIMITED)).maximum


def _draw(table: Table, chosen: list[Panel]) -> list[tuple[str | None, RichTable]]:
    return [(panel.heading, _panel(table, panel)) for panel in chosen]


def _panel(table: Table, panel: Panel) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, header_style="")
    drawn.add_column("", no_wrap=False)
    before = ""
    for index in panel.columns:
        column = table.columns[index]
        first = column.head if column.head != before and panel.heading is None else ""
        drawn.add_column(f"{first}\n{column.under}" if panel.heading is None else column.under, justify="right")
        before = column.head
    for section in table.sections:
        margin = "  " if section.name else ""
        if section.name:
            drawn.add_row(terminal.text(line(section.title), style="italic"))
        for row in section.rows:
            for shown in lines(table, row, panel):
                drawn.add_row(f"{margin}{'  ' if shown.under else ''}{line(shown.label)}", *map(_cell, shown.cells))
        drawn.add_section()
    return drawn


def _cell(shown: Shown) -> Text:
    style = "bold" if shown.best else "underline" if shown.second else ""
    return terminal.text((shown.value, style), " " if shown.value and shown.rest else "", shown.rest)
