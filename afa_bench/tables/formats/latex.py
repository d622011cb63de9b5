"""For a paper: ``table`` environments with booktabs rules, best in bold, second best underlined."""

from __future__ import annotations

from itertools import groupby

from afa_bench.markup import latex as escape
from afa_bench.markup import latex_row
from afa_bench.tables.layout import Panel, Shown, lines, notes, panels
from afa_bench.tables.model import Column, Table


def render(table: Table) -> str:
    """One ``table`` environment a panel; needs ``\\usepackage{booktabs}``. The notes follow the last panel."""
    chosen = panels(table)
    parts = ["% \\usepackage{booktabs}"]
    parts += [_panel(table, panel, last=panel is chosen[-1]) for panel in chosen]
    return "\n\n".join(parts) + "\n"


def _panel(table: Table, panel: Panel, last: bool) -> str:
    columns = [table.columns[index] for index in panel.columns]
    caption = ". ".join(filter(None, (table.title, panel.heading))) + "."
    text = [
        r"\begin{table}[t]",
        r"  \centering",
        r"  \small",
        f"  \\caption{{{escape(caption)}}}",
        f"  \\begin{{tabular}}{{@{{}}l{'r' * len(columns)}@{{}}}}",
        r"    \toprule",
        *(f"    {line}" for line in _head(columns, grouped=panel.heading is None)),
    ]
    for section in table.sections:
        text.append(r"    \midrule")
        if section.name:
            text.append(f"    \\multicolumn{{{len(columns) + 1}}}{{@{{}}l}}{{\\textit{{{escape(section.title)}}}}} \\\\")
        for row in section.rows:
            for line in lines(table, row, panel):
                label = f"\\quad {escape(line.label)}" if line.under else escape(line.label)
                text.append(f"    {latex_row([label, *map(_cell, line.cells)])}")
    text += [r"    \bottomrule", r"  \end{tabular}"]
    if last:
        text += [r"  \par\medskip", r"  \begin{minipage}{\linewidth}", r"    \footnotesize"]
        text += [f"    {escape(note)}\\par" for note in notes(table)]
        text += [r"  \end{minipage}"]
    return "\n".join([*text, r"\end{table}"])


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
