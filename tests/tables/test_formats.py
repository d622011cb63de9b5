"""The bytes of every format, and what a reader of it sees."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from golden_files import GROWN, check_golden
from markdown_it import MarkdownIt
from results_factory import METHODS, ODD, write_cell, write_results

from afa_bench.markup import latex, markdown
from afa_bench.tables import FORMATS, build_table, load_results, render
from afa_bench.tables.formats import rich as terminal
from afa_bench.tables.formats.latex import GAP, WIDE
from afa_bench.tables.text import number, spread


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "tiny")


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "wide", (None, 10, 20, 30, 40, 50), ("mini-1",))


@pytest.mark.parametrize("form", FORMATS)
def test_golden_tables(tiny: Path, form: str) -> None:
    check_golden(f"table.{GROWN[form]}", render(build_table(load_results(tiny)), form))


@pytest.mark.parametrize("form", FORMATS)
def test_golden_differences(tiny: Path, form: str) -> None:
    check_golden(f"versus.{GROWN[form]}", render(build_table(load_results(tiny), versus="afa", groups=["mini-2"]), form))


@pytest.mark.parametrize("form", ["rich", "markdown", "latex", "html"])
def test_golden_panels(wide: Path, form: str) -> None:
    check_golden(f"panels.{GROWN[form]}", render(build_table(load_results(wide)), form))


def test_golden_terminal(tiny: Path) -> None:
    check_golden("terminal.txt", terminal.render(build_table(load_results(tiny)), 72, styled=True))


def test_same_bytes_elsewhere(tiny: Path, tmp_path: Path) -> None:
    """Another folder, other times and hosts, cells written in another order: the same rows give the same bytes."""
    for folder in sorted(tiny.iterdir(), reverse=True):
        copy = tmp_path / folder.name
        copy.mkdir()
        for file in folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        about = json.loads((copy / "cell.json").read_text())
        about["provenance"] = {"host": "another", "time": "later"}
        (copy / "cell.json").write_text(json.dumps(about))
    for form in FORMATS:
        assert render(build_table(load_results(tmp_path)), form) == render(build_table(load_results(tiny)), form)


@pytest.mark.parametrize(
    ("value", "low", "high", "digits", "text"),
    [
        (0.8123, 0.8081, 0.8162, 3, "±0.004"),
        (0.8123, 0.8003, 0.8162, 3, "[0.800, 0.816]"),
        (12.0, 12.5, 14.0, 2, "[12.50, 14.00]"),  # an interval that does not hold its value is not centred on it
        (0.5, 0.49996, 0.50004, 3, "±0.00004"),
        (0.5, 0.5, 0.5, 3, "±0.000"),
        (0.5, None, None, 3, ""),
        (0.5, float("nan"), float("nan"), 3, ""),
        (30.0, 28.0, 32.3, 1, "[28.0, 32.3]"),
        (30.0, 28.02, 32.0, 1, "±2.0"),
    ],
)
def test_intervals_as_text(value: float, low: float | None, high: float | None, digits: int, text: str) -> None:
    assert spread(value, low, high, digits) == text


def test_numbers_as_text() -> None:
    assert number(-0.0001, 3) == "0.000"
    assert number(-0.0001, 3, sign=True) == "0.000"
    assert number(0.0123, 3, sign=True) == "+0.012"
    assert number(-1.5, 1, sign=True) == "-1.5"


def test_markdown_shows_names_as_they_are(tiny: Path) -> None:
    html = MarkdownIt("commonmark").enable("table").render(render(build_table(load_results(tiny)), "markdown"))
    assert html.count('<td style="text-align:left">base: R&amp;B_50%|x*</td>') == 2
    assert html.count("<th ") == 6
    assert html.count("<tr>") == 1 + 2 * (1 + 4)
    nasty = r"a|b *c* _d_ `e` <script> [f](g) \h ~~i~~ &amp; #1"
    shown = MarkdownIt("commonmark").enable("table").render(f"| x |\n| - |\n| {markdown(nasty)} |\n")
    assert "<td>a|b *c* _d_ `e` &lt;script&gt; [f](g) \\h ~~i~~ &amp;amp; #1</td>" in shown


def test_latex_escapes_and_balances(tiny: Path) -> None:
    assert latex(r"100% & $5 #1 a_b {c} \d ~ ^ <e>") == (
        r"100\% \& \$5 \#1 a\_b \{c\} \textbackslash{}d \textasciitilde{} \textasciicircum{} \textless{}e\textgreater{}"
    )
    text = render(build_table(load_results(tiny)), "latex")
    assert text.isascii()
    assert text.count(r"\begin{") == text.count(r"\end{")
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.replace(r"\&", "").count("&") for line in rows} == {1, 2}
    assert text.count(r"\textbf{") == text.count(r"\underline{") == 2 * 5


@pytest.fixture(scope="session")
def broken_down(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts of eight categories and of none, two metrics at three numbers of steps."""
    root = tmp_path_factory.mktemp("results") / "tiny"
    for order, (method, label, skill) in enumerate(METHODS):
        for steps in (10, 20, 50):
            cell = write_cell(root, "mini-1", method, label, skill, order, steps)
            rows = pd.read_parquet(cell.samples)
            rows["category"] = [["", *"abcdefgh"][place % 9] for place in range(len(rows))]
            rows.to_parquet(cell.samples)
    return root


COMMANDS = r"\\\\$|\\(textbf|underline|quad|textbar|uparrow|downarrow|pm|multicolumn\{\d+\}\{c\})|[${}]|\\(?=[&%_])"


def test_latex_fits_its_page(broken_down: Path, wide: Path) -> None:
    """As wide as a line of the article class, and broken across pages where it is longer than one."""
    for table in (
        build_table(load_results(broken_down), by="category", versus="afa"),
        build_table(load_results(wide), versus="afa"),
        build_table(load_results(broken_down), only=["base"], versus=ODD),
    ):
        text = render(table, "latex")
        for part in re.split(r"\n\n", text)[1:]:
            rows = [re.sub(COMMANDS, "", row) for row in part.splitlines()]
            grid = [[*map(str.strip, re.split(r"(?<!\\)&", row))] for row in rows if " & " in row]
            widths = [max(map(len, column)) for column in zip(*(row for row in grid if len(row) == len(grid[-1])), strict=True)]
            assert sum(widths) + GAP * max(0, len(widths) - 1) <= WIDE, part
            assert len(rows) < 55 or part.startswith("{\\small\n\\begin{longtable}")
        assert text.count(r"\begin{") == text.count(r"\end{")
        labels = re.findall(r"^ *(?:base: people|afa) &", text, re.MULTILINE)
        assert len(labels) % len(table.sections) == 0


def test_latex_says_what_its_letters_need(tmp_path: Path) -> None:
    def first_lines(label: str) -> list[str]:
        write_cell(tmp_path / label, label=label)
        return [
            line for line in render(build_table(load_results(tmp_path / label)), "latex").splitlines() if line.startswith("%")
        ]

    assert first_lines("plain") == [r"% \usepackage{booktabs}"]
    assert first_lines("Zoë ą") == [r"% \usepackage{booktabs}", r"% \usepackage[T1]{fontenc}"]
    assert first_lines("日本é") == [
        r"% \usepackage{booktabs}",
        r"% XeLaTeX or LuaLaTeX, with \usepackage{fontspec} and a \setmainfont that has these letters: 日本",
    ]


def test_csv_by_category_has_one_row_a_key(broken_down: Path) -> None:
    rows = pd.read_csv(io.StringIO(render(build_table(load_results(broken_down), by="category", versus="afa"), "csv")))
    key = ["group", "prompts", "category", "label", "metric", "steps"]
    assert not rows.duplicated(key).any()
    assert rows["prompts"].value_counts().to_dict() == {"category": 9 * 4 * 3, "all": 4 * 3}
    assert rows[(rows["prompts"] == "category") & rows["category"].isna()].shape[0] == 4 * 3


def test_html_escapes_and_nests(tiny: Path) -> None:
    from html.parser import HTMLParser

    open_tags: list[str] = []
    words: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

        def handle_data(self, data: str) -> None:
            words.append(data)

    reader = Reader()
    reader.feed(render(build_table(load_results(tiny)), "html"))
    assert open_tags == []
    assert words.count(ODD) == 2
    assert "<script>" not in render(replace(build_table(load_results(tiny)), suite="<script>alert(1)</script>"), "html")


def test_csv_and_json_keep_full_precision(tiny: Path) -> None:
    table = build_table(load_results(tiny))
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    document = json.loads(render(table, "json"))
    assert len(rows) == 2 * 4 * 5
    cells = [cell for section in table.sections for row in section.rows for cell in row.cells]
    flat = [cell for group in document["groups"] for row in group["rows"] for cell in row["cells"]]
    assert [float(row["low"]) for row in rows] == [cell.low for cell in cells] == [cell["low"] for cell in flat]
    assert {row["label"] for row in rows if row["method"] == "base"} == {"base: people", ODD}
    assert document["schema"] == 1
