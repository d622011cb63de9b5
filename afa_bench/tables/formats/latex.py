"""For a paper: ``table`` environments with booktabs rules, best in bold, second best underlined."""

from __future__ import annotations

from itertools import groupby

from afa_bench.tables.layout import Panel, panels
from afa_bench.tables.model import Cell, Column, Metric, Table
from afa_bench.tables.text import LEGEND, shown

SPECIAL = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "±": r"$\pm$",
    "–": "--",
}


def render(table: Table) -> str:
    """One ``table`` environment a panel; needs ``\\usepackage{booktabs}``. The notes follow the last panel."""
    chosen = panels(table)
    parts = ["% \\usepackage{booktabs}"]
    parts += [_panel(table, panel, notes=panel is chosen[-1]) for panel in chosen]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(SPECIAL.get(char, char) for char in " ".join(text.split()))


def _panel(table: Table, panel: Panel, notes: bool) -> str:
    columns = [table.columns[index] for index in panel.columns]
    caption = ". ".join(filter(None, (table.title, panel.heading))) + "."
    lines = [
        r"\begin{table}[t]",
        r"  \centering",
        r"  \small",
        f"  \\caption{{{escape(caption)}}}",
        f"  \\begin{{tabular}}{{@{{}}l{'r' * len(columns)}@{{}}}}",
        r"    \toprule",
        *(f"    {line}" for line in _head(columns, grouped=panel.heading is None)),
    ]
    for section in table.sections:
        lines += [
            r"    \midrule",
            f"    \\multicolumn{{{len(columns) + 1}}}{{@{{}}l}}{{\\textit{{{escape(section.name)}}}}} \\\\",
        ]
        for row in section.rows:
            cells = [_cell(row.cells[index], table.columns[index].metric) for index in panel.columns]
            lines.append(f"    {' & '.join([escape(row.label), *cells])} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    if notes:
        lines += [r"  \par\medskip", r"  \begin{minipage}{\linewidth}", r"    \footnotesize"]
        lines += [f"    {escape(note)}\\par" for note in [LEGEND, *table.notes]]
        lines += [r"  \end{minipage}"]
    return "\n".join([*lines, r"\end{table}"])


def _head(columns: list[Column], grouped: bool) -> list[str]:
    steps = " & ".join(["", *(escape(column.under) for column in columns)]) + r" \\"
    if not grouped:
        return [steps]
    titles, rules, place = [""], [], 2
    for metric, group in groupby(columns, key=lambda column: column.metric):
        width = len(list(group))
        titles.append(f"\\multicolumn{{{width}}}{{c}}{{{escape(metric.heading)}}}")
        rules.append(f"\\cmidrule(lr){{{place}-{place + width - 1}}}")
        place += width
    return [" & ".join(titles) + r" \\", " ".join(rules), steps]


def _cell(cell: Cell, metric: Metric) -> str:
    value, rest = (_minus(text) for text in shown(cell, metric))
    value = f"\\textbf{{{value}}}" if cell.best else f"\\underline{{{value}}}" if cell.second else value
    return f"{value} {rest}".strip()


def _minus(text: str) -> str:
    return escape(text).replace("-", "$-$") if text != "–" else "--"
