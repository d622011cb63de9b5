"""Where a user's text becomes part of what has a syntax of its own: Markdown, HTML, LaTeX, CSV.

Labels, prompts, names of files and messages of errors are data. Whatever shows them puts them through the one function here that
is meant for it (for a terminal, through :mod:`afa_bench.terminal`), so that they are seen as they are and do nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from afa_bench.words import line

MARKDOWN = re.compile(r"([\\`*_\[\]|~#$])")
FIRST = re.compile(r"^(?:([-+=])(?=\s|\1|$)|(\d+)(?=[.)](?:\s|$)))")
"""What begins a list, a rule or an underlined heading where it leads a line of Markdown."""
LINKED = re.compile(r"(?<=@)(?=\w)|(?<=:)(?=//|[\w+-]+:)|(?<=www)(?=\.)", re.IGNORECASE)
"""Where GitHub makes a mention, a link or a picture of what has no brackets."""

LATEX = {
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
    "×": r"$\times$",
    "–": "--",
    "\N{NO-BREAK SPACE}": "~",
    "\N{REPLACEMENT CHARACTER}": "?",
}
LIGATURES = re.compile(r"(?<=-)(?=-)|(?<=,)(?=,)|(?<=')(?=')|(?<=[`?!])(?=`)")
"""Between letters of which LaTeX makes one."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a text begins that a spreadsheet computes, in place of showing it."""


def markdown(text: str) -> str:
    """Text that Markdown shows as it is, as GitHub reads it, inside a table too."""
    text = line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = FIRST.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\", MARKDOWN.sub(r"\\\1", text))
    return LINKED.sub("<!-- -->", text)


def html(text: str) -> str:
    """Text that HTML shows as it is, in an element or in an attribute."""
    return escape(line(text))


def latex(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(LATEX.get(char, char) for char in LIGATURES.sub("{}", line(text)))


def latex_row(cells: Sequence[str]) -> str:
    """A row of a ``tabular`` from cells of LaTeX: a bracket or a star in front would be an argument of the row before."""
    row = " & ".join(cells)
    return ("{}" if row.startswith(("[", "*")) else "") + row + r" \\"


def spreadsheet(text: str) -> str:
    """Text that a spreadsheet shows and does not compute: an apostrophe stands before what it would take for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
