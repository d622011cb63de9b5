"""A user's text wherever it becomes a terminal's, LaTeX, CSV, HTML, XML or Markdown: seen as it is, and it does nothing."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from results_factory import metric, write_cell
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.markup import FORMULA, latex, markdown, spreadsheet
from afa_bench.tables import build_table, load_results, render
from afa_bench.tables.formats import rich as terminal
from afa_bench.words import line

HOSTILE = (
    "[/b]",
    "[v2] [red]x[/red] :dog:",
    "*star* _under_ ~~gone~~ `code`",
    "=HYPERLINK(1)",
    "+1 @all",
    "-x--y---z",
    "@SUM(1)",
    "- a",
    "1. one",
    "# head",
    "\x1b[31mred\x1b[0m \x9b2J \a\b",
    "a\nb\r\nc\td\u2028e",
    "\u202egnp.exe \u2066x",
    "$x^2$ $$ \\frac{1}{0} %{",
    "?` !` ,, '' `` <<>> \"",
    "<script>alert(1)</script> &amp; </td>",
    "![i](http://x.org/a.png) www.x.org https://x.org me@x.org",
    "| a || b \\| c",
    "--- ^~",
    "日本語 Ελ Ж ñ é ﷽ 👩\u200d🔬",
    "\ufeffbom \x00 \x7f",
)
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def run(*words: str) -> str:
    """What a verb says on either stream."""
    done = CliRunner().invoke(app(), list(words))
    assert done.exception is None or isinstance(done.exception, UserError | SystemExit), done.exception
    return done.output + (str(done.exception) if isinstance(done.exception, UserError) else "")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A row a hostile text: its label, its prompts, their categories, what is amiss; and the metric's title, unit and note."""
    root = tmp_path_factory.mktemp("hostile") / "tiny"
    for order, text in enumerate(HOSTILE):
        whole = metric("Made [/b] \x1b[1m", 0.5, 48, 0, unit="<u>", note="see " + HOSTILE[-4], reason=text)
        cell = write_cell(root, method="base", label=text, skill=order / 1e3, order=order, metrics={"clip_t_mini": whole})
        frame = pd.read_parquet(cell.samples)
        frame["prompt"], frame["category"] = text, [HOSTILE[place % len(HOSTILE)] for place in range(len(frame))]
        frame.to_parquet(cell.samples)
    return root


class Words(HTMLParser):
    """The texts of the cells of all tables, and the names of all elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.elements: set[str] = set()
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    parser = MarkdownIt("gfm-like", {"linkify": False})
    in_table = Words(parser.render(f"| x |\n| - |\n| {markdown(text)} |\n"))
    assert in_table.cells[1:] == [line(text)]
    assert in_table.elements == {"table", "thead", "tbody", "tr", "th", "td"}
    for before, elements in (("", {"p"}), ("- ", {"ul", "li"}), ("### ", {"h3"})):
        assert Words(parser.render(before + markdown(text))).elements <= elements, before


@pytest.mark.parametrize("text", HOSTILE)
def test_latex_sets_a_text_as_it_is(text: str) -> None:
    written = latex(text)
    bare = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]|\$\\[a-z]+\$|\{\}", " ", written)
    assert not re.search(r"[&%$#_{}\\^<>|\"]|--|,,|[?!`]`", bare), written


@pytest.mark.parametrize("text", HOSTILE)
def test_a_spreadsheet_computes_no_text(text: str) -> None:
    assert not spreadsheet(text).startswith(FORMULA)
    assert spreadsheet(text).removeprefix("'") == text
    assert spreadsheet("plain") == "plain"


def test_a_terminal_is_sent_no_control_character(results: Path) -> None:
    table = build_table(load_results(results))
    shown = terminal.render(table)
    assert [text for text in HOSTILE if f"    {line(text)} " not in shown] == []
    assert not CONTROL.search(shown)
    assert not CONTROL.search(re.sub("\x1b\\[[0-9;]*m", "", terminal.render(table, 100, styled=True)))


@pytest.mark.parametrize(
    "words",
    [
        "table {0}",
        "table {0} -f markdown",
        "table {0} -f latex",
        "table {0} -f html",
        "table {0} --by category --vs afa",
        "status {0}",
        "compare {0} {0}",
        "compare {0} {0} -f markdown",
        "gate {0} {0}",
        "gc {0}",
        "retry {0}",
    ],
)
def test_no_verb_writes_a_control_character(words: str, results: Path) -> None:
    assert not CONTROL.search(run(*words.format(results).split()))


@pytest.mark.parametrize("text", [text for text in HOSTILE if CONTROL.search(text) or text != line(text)])
def test_no_error_has_a_control_character_or_a_second_line(text: str, results: Path, tmp_path: Path) -> None:
    words = (
        ("table", str(results), "--only", f"{text}x"),
        ("table", text),
        ("run", f"{text}.yaml"),
        ("run", "mini", "--only", text),
        ("score", str(tmp_path), "--metrics", text),
        ("gate", str(results), text),
        ("export", text),
        ("merge", f"./{text}"),
        ("fetch", f"./{text}"),
    )
    for command in words:
        error = CliRunner().invoke(app(), list(command)).exception
        assert isinstance(error, UserError | SystemExit), (command, error)
        assert not re.search("[\n\r]", str(error)), command
        assert not CONTROL.search(str(error)), command


def test_html_has_the_texts_and_no_element_of_theirs(results: Path) -> None:
    read = Words(render(build_table(load_results(results)), "html"))
    assert {line(text) for text in HOSTILE} <= {*read.cells}
    assert not read.elements & {"script", "img", "a", "u>"}


def test_latex_rows_are_rows(results: Path) -> None:
    text = render(build_table(load_results(results)), "latex")
    rows = [row.strip() for row in text.splitlines() if row.endswith(r" \\")]
    assert not [row for row in rows if row.startswith(("[", "*"))]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows if "multicolumn" not in row and "caption" not in row} == {1}
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_csv_and_json_are_read_back_as_they_were(results: Path) -> None:
    table = build_table(load_results(results))
    rows = csv.DictReader(io.StringIO(render(table, "csv"), newline=""))
    assert [row["label"] for row in rows] == [*HOSTILE]
    assert [row["label"] for row in json.loads(render(table, "json"))["groups"][0]["rows"]] == [*HOSTILE]


def test_safe_csv_is_said_and_read_by_spreadsheets(results: Path) -> None:
    text = run("table", str(results), "-f", "csv", "--safe-csv")
    assert text.startswith("\ufeffsuite,")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert [line(row["label"].removeprefix("'")) for row in rows] == [*map(line, HOSTILE)]
    assert not [value for row in rows for value in row.values() if value.startswith(FORMULA)]
    assert run("table", str(results), "--safe-csv") == "--safe-csv: goes with --format csv, found rich"


def test_the_gates_files(results: Path, tmp_path: Path) -> None:
    run("gate", str(results), str(results), "--out", str(tmp_path))
    summary = (tmp_path / "summary.md").read_text()
    read = Words(MarkdownIt("gfm-like", {"linkify": False}).render(summary))
    assert not CONTROL.search(summary)
    assert {f"mini-1: {line(text)}, 10 steps" for text in HOSTILE} <= {*read.cells}
    assert not read.elements & {"script", "img", "a", "em", "s"}
    cases = ET.parse(tmp_path / "junit.xml").iter("testcase")
    assert {f"mini-1.{line(text)}" for text in HOSTILE} == {case.get("classname") for case in cases}


def test_a_submission_and_a_report(results: Path, tmp_path: Path) -> None:
    run("export", str(results), "-o", str(tmp_path / "sub"), "--dataset", "me/bench")
    assert not CONTROL.search(run("verify", str(tmp_path / "sub")))
    cards = sorted((tmp_path / "sub" / "hub").glob("*/README.md"))
    assert len(cards) == len(HOSTILE)
    for card, text in zip(cards, HOSTILE, strict=True):
        _, _, body = card.read_text().removeprefix("---\n").partition("---\n\n")
        assert not CONTROL.search(body), text
        assert not Words(MarkdownIt("gfm-like", {"linkify": False}).render(body)).elements & {"script", "img", "a"}, text
    run("report", str(results), "-o", str(tmp_path / "page"))
    assert "alert" not in (tmp_path / "page" / "index.html").read_text()


def test_a_figure_draws_dollars_and_says_which_letters_it_does_not_have(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for steps in (10, 20):
        for order, label in enumerate(("$x^", "$\\frac$", "_hidden", "日本")):
            write_cell(tmp_path / "tiny", method="base", label=label, order=order, steps=steps)
    run("figure", "4", str(tmp_path / "tiny"), "-o", str(tmp_path / "f.svg"))
    assert (tmp_path / "f.svg").stat().st_size > 1000
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'f.svg'}: boxes stand in the place of letters that the figures' font does not have: 日本"
    ]
