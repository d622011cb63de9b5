"""The bytes of every format, and what a reader of it sees."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from golden_files import GROWN, check_golden
from markdown_it import MarkdownIt
from results_factory import ODD, write_results

from afa_bench.markup import latex, markdown
from afa_bench.tables import FORMATS, build_table, load_results, render
from afa_bench.tables.formats import rich as terminal
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
    assert {line.replace(r"\&", "").count("&") for line in rows} == {5}
    assert text.count(r"\textbf{") == text.count(r"\underline{") == 2 * 5


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
