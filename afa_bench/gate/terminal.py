"""Findings on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from afa_bench.gate.model import FAILING, OPEN, Finding, Verdict
from afa_bench.gate.text import HEADS, reasons, row
from afa_bench.tables.formats.rich import text_console
from afa_bench.terminal import text

LEFT = 2
"""Columns of words; those of numbers stand to the right."""


def render(findings: Sequence[Finding], width: int | None = None, *, styled: bool = False) -> str:
    """The findings as a table, then the reasons.

    Args:
        findings: in the order of the rows.
        width: of the terminal; None: as wide as need be.
        styled: with colours.
    """
    console = text_console(width, styled=styled)
    drawn = Table(box=box.SIMPLE_HEAD, header_style="")
    shown = [index for index, head in enumerate(HEADS) if head != "Margin" or any(f.margin is not None for f in findings)]
    for index in shown:
        drawn.add_column(HEADS[index], justify="left" if index < LEFT or HEADS[index] == "Verdict" else "right")
    for finding in findings:
        texts = row(finding)
        drawn.add_row(*(text((texts[index], _style(finding.verdict) if HEADS[index] == "Verdict" else "")) for index in shown))
    with console.capture() as capture:
        console.print(drawn)
        for reason in reasons(findings):
            console.print(reason)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def _style(verdict: Verdict) -> str:
    if verdict in FAILING or verdict is Verdict.WORSE:
        return "bold red"
    return "yellow" if verdict in OPEN else "green" if verdict is Verdict.IMPROVED else ""
