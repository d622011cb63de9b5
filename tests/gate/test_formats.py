"""``compare`` in the formats that tables have."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from results_factory import write_cell

from afa_bench import api
from afa_bench.errors import UserError
from afa_bench.gate import Finding
from afa_bench.gate.formats import render
from afa_bench.tables import FORMATS

LABEL = "a_1 & <b>|x*"


@pytest.fixture
def findings(tmp_path: Path) -> list[Finding]:
    write_cell(tmp_path / "base", label=LABEL, failed=[3])
    write_cell(tmp_path / "head", label=LABEL, skill=-0.01)
    return api.compare(tmp_path / "base", tmp_path / "head")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_a_table(findings: list[Finding], form: str) -> None:
    text = render(findings, form)
    assert text.endswith("\n")
    assert text.count("incomparable") >= 2
    assert "1 of 48 samples failed in BASE" in text or form == "markdown"


def test_programs_read_the_same_of_both_formats(findings: list[Finding]) -> None:
    rows = json.loads(render(findings, "json"))
    told = list(csv.DictReader(io.StringIO(render(findings, "csv"))))
    for row, text in zip(rows, told, strict=True):
        assert list(row) == list(text)
        for key, value in row.items():
            assert text[key] == "" if value is None else type(value)(text[key]) == value


def test_names_stay_text(findings: list[Finding]) -> None:
    words: list[str] = []
    parser = HTMLParser()
    parser.handle_data = words.append  # type: ignore[method-assign]
    parser.feed(render(findings, "html"))
    assert any(LABEL in word for word in words)
    assert r"a\_1 \& \textless{}b\textgreater{}\textbar{}x*" in render(findings, "latex")


def test_latex_breaks_across_pages_under_the_cells(tmp_path: Path) -> None:
    for side, name in enumerate(("base", "head")):
        for label in ("один", "two"):
            write_cell(tmp_path / name, label=label, skill=0.01 * side)
    findings = api.compare(tmp_path / "base", tmp_path / "head")
    text = render(findings, "latex")
    cells = list(dict.fromkeys(finding.comparison.place for finding in findings))
    assert len(cells) > 1
    assert [text.count(f"\\textit{{{cell}}}") for cell in cells] == [1] * len(cells)
    assert text.count(r" \\") == 1 + len(cells) + len(findings)  # heads, cells, findings
    assert r"\usepackage{longtable}" in text
    assert "XeLaTeX or LuaLaTeX" in text
    assert "дин" in text.split("\n")[2]


def test_nothing_and_unknown() -> None:
    assert render([], "csv") == "\n"
    with pytest.raises(UserError, match="unknown format 'docx'"):
        render([], "docx")
