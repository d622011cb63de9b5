"""Findings in each of the formats that tables have."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from afa_bench.gate.files import finding_json, markdown_table
from afa_bench.gate.model import Finding
from afa_bench.gate.terminal import render as as_text
from afa_bench.gate.terminal import shown_heads
from afa_bench.gate.text import HEADS, reasons, row
from afa_bench.markup import html, latex, latex_row
from afa_bench.tables.formats import check_format
from afa_bench.tables.formats.csv import spread_out
from afa_bench.tables.formats.latex import packages


def render(findings: Sequence[Finding], form: str, *, safe: bool = False) -> str:
    """Findings as text that ends with a newline: rich, markdown, latex, html, csv (``safe``: for spreadsheets) or json.

    Raises:
        UserError: an unknown format.
    """
    check_format(form)
    return as_csv(findings, safe) if form == "csv" else WRITERS[form](findings)


def as_json(findings: Sequence[Finding]) -> str:
    """All that is known, in full precision; what is missing is null."""
    return json.dumps([finding_json(finding) for finding in findings], indent=1, allow_nan=False) + "\n"


def as_csv(findings: Sequence[Finding], safe: bool = False) -> str:
    """The same, a row a finding; what is missing is empty."""
    rows = [finding_json(finding) for finding in findings]
    return spread_out(list(rows[0]) if rows else [], ([*row.values()] for row in rows), safe)


def as_markdown(findings: Sequence[Finding]) -> str:
    """A table as GitHub renders it."""
    return markdown_table(findings) + "\n"


def as_latex(findings: Sequence[Finding]) -> str:
    """A ``longtable`` with booktabs rules, which breaks across pages: each cell over its metrics, and the reasons below."""
    shown = shown_heads(findings)[1:]
    form = "".join("p{0.26\\linewidth}" if index == 1 else "l" if HEADS[index] == "Verdict" else "r" for index in shown)
    heads = latex_row([latex(HEADS[index]) for index in shown])
    lines = [r"\toprule", heads, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
    for cell, those in groupby(findings, key=lambda finding: row(finding)[0]):
        lines.append(latex_row([f"\\multicolumn{{{len(shown)}}}{{@{{}}p{{\\linewidth}}@{{}}}}{{\\textit{{{latex(cell)}}}}}"]))
        lines += [latex_row([latex(row(finding)[index]) for index in shown]) for finding in those]
    text = [r"{\footnotesize", f"\\begin{{longtable}}{{@{{}}{form}@{{}}}}", *(f"  {line}" for line in lines), r"\end{longtable}}"]
    if words := reasons(findings):
        text += ["", r"{\footnotesize\noindent", *(rf"{latex(reason)}\par" for reason in words), "}"]
    return "\n".join([*packages("\n".join(text)), *text]) + "\n"


def as_html(findings: Sequence[Finding]) -> str:
    """One ``<section>`` with the table and the reasons; every word from outside is escaped."""
    shown = shown_heads(findings)
    head = "".join(f'<th scope="col">{HEADS[index]}</th>' for index in shown)
    text = ['<section class="afa-bench-findings">', "<table>", f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for finding in findings:
        texts = row(finding)
        text.append(f"<tr>{''.join(f'<td>{html(texts[index])}</td>' for index in shown)}</tr>")
    items = [f"<li>{html(reason)}</li>" for reason in reasons(findings)]
    return "\n".join([*text, "</tbody>", "</table>", *(["<ul>", *items, "</ul>"] if items else []), "</section>"]) + "\n"


WRITERS: Mapping[str, Callable[[Sequence[Finding]], str]] = {
    "rich": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "html": as_html,
    "json": as_json,
}
