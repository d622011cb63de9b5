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


def test_nothing_and_unknown() -> None:
    assert render([], "csv") == "\n"
    with pytest.raises(UserError, match="unknown format 'docx'"):
        render([], "docx")
