"""For a paper: ``table`` environments with booktabs rules, best in bold, second best underlined.

What is wider than a page becomes several tables, and what is longer than one breaks across pages (``longtable``). The first
lines, which are comments, say which packages it takes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from afa_bench.markup import latex as escape
from afa_bench.markup import latex_row
from afa_bench.tables.layout import Line, Panel, Shown, lines, notes, panels
from afa_bench.tables.model import Column, Table

WIDE = 70
"""Letters of ``\\small`` in a line of LaTeX's own ``article``, the narrowest of the common classes of one column."""
LABEL = 26
"""Letters of a label in one line; a longer one is folded."""
GAP = 2.6
"""Between two columns, in letters."""
TALL = 40
"""Lines of ``\\small`` and their caption on a page."""
NOTE = 90
"""Letters of ``\\footnotesize`` in a line."""

LATIN = 0x17F
"""The last letter that every LaTeX has with the encoding T1."""
PUNCTUATION = "‘’“”—…"
"""Beyond it, those that every LaTeX has."""


def render(table: Table) -> str:
    """The tables of all panels, as wide as a page at most. The notes follow the last."""
    chosen = [pair for panel in panels(table) for pair in _fitted(table, panel)]
    parts = [_table(table, panel, which, last=panel is chosen[-1][0]) for panel, which in chosen]
    return "\n\n".join(["\n".join(packages("".join(parts))), *parts]) + "\n"


def packages(text: str) -> Iterator[str]:
    """What a document needs to set a text, as comments."""
    yield r"% \usepackage{booktabs}"
    if r"\begin{longtable}" in text:
        yield r"% \usepackage{longtable} (in a document of one column)"
    beyond = sorted({char for char in text if ord(char) > 0x7F and char not in PUNCTUATION})
    if any(ord(char) > LATIN for char in beyond):
        letters = "".join(char for char in beyond if ord(char) > LATIN)
        yield rf"% XeLaTeX or LuaLaTeX, with \usepackage{{fontspec}} and a \setmainfont that has these letters: {letters}"
    elif beyond:
        yield r"% \usepackage[T1]{fontenc}"


def _fitted(table: Table, panel: Panel) -> list[tuple[Panel, str]]:
    """A panel, or as many of its columns at a time as fit beside the labels; and which part of it that is, in words."""
    rows = _lines(table, panel)
    label = min(LABEL, max((_letters(line.label) + 2 * line.under for line in rows), default=0))
    widths: dict[int, int] = {}
    for place, index in enumerate(panel.columns):
        texts = [f"{line.cells[place].value} {line.cells[place].rest}" for line in rows]
        widths[index] = max(map(_letters, [table.columns[index].under, *texts]))
    parts: list[list[int]] = []
    for index in panel.columns:
        if parts and _width([*parts[-1], index], widths, table.columns, panel) <= WIDE - label:
            parts[-1].append(index)
        else:
            parts.append([index])
    if len(parts) == 1:
        return [(panel, "")]
    return [(replace(panel, columns=tuple(part)), f" ({place + 1} of {len(parts)})") for place, part in enumerate(parts)]


def _width(indices: Sequence[int], widths: dict[int, int], columns: Sequence[Column], panel: Panel) -> float:
    """Of some columns, in letters; a heading may be wider than what is below it."""
    width = 0.0
    for head, group in groupby(indices, key=lambda index: columns[index].head):
        below = [widths[index] + GAP for index in group]
        width += max(sum(below), 0 if panel.heading is not None else _letters(head) + GAP)
    return width


def _letters(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _table(table: Table, panel: Panel, which: str, last: bool) -> str:
    columns = [table.columns[index] for index in panel.columns]
    caption = ". ".join(filter(None, (table.title, panel.heading))) + f"{which}."
    head, rows = _head(columns, grouped=panel.heading is None), [*_rows(table, panel)]
    foot = [escape(note) + r"\par" for note in notes(table)] if last else []
    form = ("p{0.35\\linewidth}" if any(_letters(line.label) > LABEL for line in _lines(table, panel)) else "l") + "r" * len(
        columns
    )
    if len(head) + len(rows) + sum(1 + len(note) // NOTE for note in foot) > TALL:
        return "\n".join(_long(form, escape(caption), head, rows, foot))
    return "\n".join(_short(form, escape(caption), head, rows, foot))


def _short(form: str, caption: str, head: list[str], rows: list[str], foot: list[str]) -> Iterator[str]:
    yield from (r"\begin{table}[t]", r"  \centering", r"  \small", f"  \\caption{{{caption}}}")
    yield f"  \\begin{{tabular}}{{@{{}}{form}@{{}}}}"
    yield r"    \toprule"
    yield from (f"    {line}" for line in (*head, *rows))
    yield from (r"    \bottomrule", r"  \end{tabular}")
    if foot:
        yield from (r"  \par\medskip", r"  \begin{minipage}{\linewidth}", r"    \footnotesize")
        yield from (f"    {note}" for note in foot)
        yield r"  \end{minipage}"
    yield r"\end{table}"


def _long(form: str, caption: str, head: list[str], rows: list[str], foot: list[str]) -> Iterator[str]:
    """Heads on every page; the notes may break across pages, too."""
    yield from (r"{\small", f"\\begin{{longtable}}{{@{{}}{form}@{{}}}}", f"  \\caption{{{caption}}} \\\\")
    for continued, end in (("", r"\endfirsthead"), (f"  \\caption[]{{{caption} Continued.}} \\\\", r"\endhead")):
        yield from filter(None, (continued, r"  \toprule", *(f"  {line}" for line in head), f"  {rows[0]}", f"  {end}"))
    yield from (r"  \bottomrule", r"  \endfoot")
    yield from (f"  {line}" for line in rows[1:])
    yield r"\end{longtable}}"
    if foot:
        yield from ("", r"{\footnotesize\noindent", *foot, "}")


def _rows(table: Table, panel: Panel) -> Iterator[str]:
    """A rule, which begins each section, and its rows."""
    for section in table.sections:
        yield r"\midrule"
        if section.name:
            form = r"p{\linewidth}@{}" if _letters(section.title) > WIDE else "l"
            yield latex_row([f"\\multicolumn{{{len(panel.columns) + 1}}}{{@{{}}{form}}}{{\\textit{{{escape(section.title)}}}}}"])
        for row in section.rows:
            for line in lines(table, row, panel):
                label = f"\\quad {escape(line.label)}" if line.under else escape(line.label)
                yield latex_row([label, *map(_cell, line.cells)])


def _lines(table: Table, panel: Panel) -> list[Line]:
    return [line for section in table.sections for row in section.rows for line in lines(table, row, panel)]


def _head(columns: list[Column], grouped: bool) -> list[str]:
    steps = latex_row(["", *(escape(column.under) for column in columns)])
    if not grouped:
        return [steps]
    titles, rules, place = [""], [], 2
    for head, group in groupby(columns, key=lambda column: column.head):
        width = len(list(group))
        titles.append(f"\\multicolumn{{{width}}}{{c}}{{{escape(head)}}}")
        rules.append(f"\\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    return [latex_row(titles), " ".join(rules), steps]


def _cell(shown: Shown) -> str:
    value, rest = _minus(shown.value), _minus(shown.rest)
    value = f"\\textbf{{{value}}}" if shown.best else f"\\underline{{{value}}}" if shown.second else value
    return f"{value} {rest}".strip()


def _minus(text: str) -> str:
    return escape(text).replace("-", "$-$") if text != "–" else "--"
