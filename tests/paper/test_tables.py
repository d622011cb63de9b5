"""The paper's sixteen tables: all numbers, their layouts, what is measured beside them, and what is still to be measured."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from golden_files import GROWN, check_golden
from results_factory import metric, write_cell

from afa_bench.errors import UserError
from afa_bench.paper import TABLES, paper_table, printed_numbers
from afa_bench.paper.layout import read_layouts
from afa_bench.store.atomic import write_json
from afa_bench.suite import find_suite, packaged_suites, read_suite
from afa_bench.tables import FORMATS, find, render


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder without any results, far from any that are shipped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(find, "shipped", lambda name: tmp_path / "package")
    return tmp_path


@pytest.fixture
def fewer_steps(nothing: Path) -> Path:
    """Results of the suite that table 8 is made of: two groups, two methods, two of five steps."""
    suite = read_layouts().tables[8].suites["drawbench"]
    for group, gain in ((read_layouts().groups["I"], 0.0), (read_layouts().groups["II"], 0.05)):
        for order, (method, skill) in enumerate((("weighted", 0.3), ("afa", 0.4))):
            for steps in (20, 50):
                value = skill + gain + steps / 1000
                entry = metric("ImageReward", value, 800, 0, low=value - 0.03, high=value + 0.03, digits=4)
                write_cell(nothing / "results" / suite, group, method, order=order, steps=steps, metrics={"imagereward": entry})
    return nothing


def test_all_numbers_are_there() -> None:
    numbers = [number for table in TABLES for number in printed_numbers(table)]
    assert len(numbers) == 843
    assert Counter(number.table for number in numbers) == {
        1: 64, 2: 64, 3: 14, 4: 48, 5: 24, 6: 39, 7: 30, 8: 50, 9: 36, 10: 28, 11: 6, 12: 128, 13: 128, 14: 128, 15: 24, 16: 32,
    }  # fmt: skip
    (afa,) = (
        number for number in numbers if (number.table, number.group, number.method, number.steps) == (8, "II", "AFA (Ours)", 10)
    )
    assert (afa.text, afa.paper, afa.digits) == ("0.4013", 0.4013, 4)


@pytest.mark.parametrize("table", TABLES)
def test_golden_tables_of_the_paper(nothing: Path, table: int) -> None:
    check_golden(f"paper-{table:02d}.md", render(paper_table(table), "markdown"))


@pytest.mark.parametrize("form", FORMATS)
def test_golden_formats_of_a_table_of_the_paper(fewer_steps: Path, form: str) -> None:
    check_golden(f"paper-measured.{GROWN[form]}", render(paper_table(8), form))


@pytest.mark.parametrize("table", TABLES)
def test_every_number_of_a_table_is_shown_once(nothing: Path, table: int) -> None:
    shown = paper_table(table)
    (section,) = shown.sections
    cells = [cell.printed for row in section.rows for cell in row.cells if cell.printed is not None]
    assert sorted((c.method, c.group, c.metric, c.steps, c.images or 0, c.n_models, c.text) for c in cells) == sorted(
        (n.method, n.group, n.metric, n.steps, n.images or 0, n.n_models, n.text) for n in printed_numbers(table)
    )
    assert all(cell.suite for cell in cells), "each number has what measures it"
    assert f"Not measured yet: {len(cells)} of {len(cells)} numbers" in " ".join(shown.notes)


def test_what_is_measured_stands_under_what_is_printed(fewer_steps: Path) -> None:
    rows = {
        (row["group"], row["method"], row["steps"]): row for row in csv.DictReader(io.StringIO(render(paper_table(8), "csv")))
    }
    assert len(rows) == 50
    assert (rows["II", "AFA (Ours)", "50"]["paper"], rows["II", "AFA (Ours)", "50"]["value"]) == ("0.4892", "0.5")
    assert rows["I", "Wtd. Merging", "20"]["value"] == "0.32"
    assert rows["I", "MBW", "20"]["value"] == rows["I", "AFA (Ours)", "40"]["value"] == ""
    notes = " ".join(paper_table(8).notes)
    assert "Not measured yet: 42 of 50 numbers" in notes
    assert "Stand-ins" not in notes
    best = [row.label for row in paper_table(8).sections[0].rows if row.cells[0].best]
    assert best == ["AFA (Ours)"]


def test_the_original_and_the_distilled_ensemble_come_from_two_suites(nothing: Path) -> None:
    suites = read_layouts().tables[11].suites
    assert set(suites.values()) <= packaged_suites().keys()
    distilled = read_suite(find_suite(suites["drawbench/AFA distilled"]))
    for suite, label, steps in (
        (suites["drawbench"], "afa", (50, 20)),
        (distilled.name, distilled.methods[0].label, distilled.steps),
    ):
        for count in steps:
            entry = metric("ImageReward", count / 100, 800, 0, low=0.0, high=1.0, digits=4)
            folder = nothing / "results" / suite
            write_cell(folder, distilled.groups[0], "afa", label, steps=count, metrics={"imagereward": entry})
    (row,) = paper_table(11).sections[0].rows
    assert [cell.value for cell in row.cells] == [0.5, 0.2, 0.2, 0.04, 0.02, 0.01]


def test_other_results_stand_in_and_the_table_says_so(fewer_steps: Path) -> None:
    for group in ("mini-1", "mini-2"):
        write_cell(Path("small"), group, "afa", steps=20)
    shown = paper_table(8, Path("small"), groups=["mini-2", "mini-1"], metrics=["clip_t_mini"])
    note = next(note for note in shown.notes if note.startswith("Stand-ins"))
    assert note.endswith("mini-2 for Group I, mini-1 for Group II, CLIP-T (mini) for IR.")
    afa = zip(shown.columns, shown.sections[0].rows[-1].cells, strict=True)
    assert [column.headings for column, cell in afa if cell.value] == [("Group I", "20 steps"), ("Group II", "20 steps")]
    assert "42 of 50" not in " ".join(shown.notes)
    for options, words in (({"groups": ["mini-3"]}, "unknown group 'mini-3'"), ({"metrics": ["ir"]}, "unknown metric 'ir'")):
        with pytest.raises(UserError, match=words):
            paper_table(8, Path("small"), **options)


def test_efficiency_comes_from_the_bench(nothing: Path) -> None:
    run = {"method": "afa", "n_models": 3, "images": 1, "steps": 50, "parameters": 2623696000, "tflops": 230.5, "seconds": 9.5}
    base = {"method": "base", "n_models": 1, "images": 1, "steps": 50, "parameters": 859520964, "tflops": 80.0}
    about = {
        "schema": 1,
        "device": "a GPU",
        "architecture": "Stable Diffusion 1.5, random weights",
        "dtype": "float16",
        "size": 512,
    }
    write_json(Path("methods.json"), {**about, "runs": [run, base]})
    rows = {row.label: row for row in paper_table(6, Path("methods.json")).sections[0].rows}
    assert [cell.value for cell in rows["AFA (50 inf. steps)"].cells] == [pytest.approx(2623.696), None, 230.5, 9.5] + [None] * 4
    assert rows["AFA (20 inf. steps)"].cells[0].value == pytest.approx(2623.696)
    assert rows["AFA (20 inf. steps)"].cells[2].value is None
    assert rows["Base Model"].cells[0].value == pytest.approx(859.520964)
    nine = paper_table(9, Path("methods.json"))
    assert sum(cell.value is not None for row in nine.sections[0].rows for cell in row.cells) == 4
    write_json(Path("later.json"), {**about, "schema": 9, "runs": []})
    write_json(Path("wrong.json"), {**about, "runs": [{"method": "afa"}]})
    for file, words in (("later.json", "written by a later"), ("wrong.json", r"runs.0.n_models"), ("none.json", "no such file")):
        with pytest.raises(UserError, match=words):
            paper_table(6, Path(file))


def test_no_such_table(nothing: Path) -> None:
    with pytest.raises(UserError, match="--paper: 17: expected a table of the paper, 1 to 16"):
        paper_table(17)
    with pytest.raises(UserError, match="stand-ins"):
        paper_table(8, groups=["mini-1"])


def test_json_has_both_numbers(fewer_steps: Path) -> None:
    document = json.loads(render(paper_table(8), "json"))
    cell = document["groups"][0]["rows"][0]["cells"][0]
    assert (document["paper"], cell["printed"]["text"], cell["value"]) == (8, "0.3909", 0.35)
