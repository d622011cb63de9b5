"""What a table shows beside its values: categories of prompts, and the spread over repeats."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from results_factory import IMAGES, PROMPTS, write_cell, write_results

from afa_bench.differences import paired_difference
from afa_bench.errors import UserError
from afa_bench.stats import mean_interval
from afa_bench.store.layout import CellStore
from afa_bench.tables import build_table, load_results, render


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "tiny", groups=("mini-1",))


def samples(root: Path, cell: str) -> pd.DataFrame:
    return pd.read_parquet(next(root.glob(f"{cell}.*/samples.parquet")))


def again(cell: CellStore, shift: float, repeat: int = 1) -> None:
    """Add another repeat of every sample, whose values are shifted."""
    rows = pd.read_parquet(cell.samples)
    first = rows[rows["repeat"] == 0]
    other = first.assign(repeat=repeat, sample_id=first["sample_id"] + f"#{repeat}", clip_t_mini=first["clip_t_mini"] + shift)
    pd.concat([rows, other]).to_parquet(cell.samples)


def test_a_section_for_each_category(tiny: Path) -> None:
    table = build_table(load_results(tiny), by="category")
    assert [section.title for section in table.sections] == ["mini-1", "mini-1: scene", "mini-1: single"]
    assert [(column.metric.key, column.steps) for column in table.columns] == [
        ("denoising_loss", None), ("clip_t_mini", 10), ("clip_t_mini", 20),
    ]  # fmt: skip
    rows = samples(tiny, "mini-1-3.010")
    rows = rows[rows["category"] == "scene"]
    expected = mean_interval(rows["clip_t_mini"], rows["prompt_id"])
    cell = table.sections[1].rows[3].cells[1]
    assert (cell.value, cell.low, cell.high, cell.n) == (expected.value, expected.low, expected.high, PROMPTS * IMAGES // 2)
    assert table.sections[1].rows[3].cells[1].best
    assert table.title == "Suite tiny, revision 3, by category"
    categories = [row["category"] for row in csv.DictReader(io.StringIO(render(table, "csv")))]
    assert categories == [""] * 12 + ["scene"] * 12 + ["single"] * 12


def test_differences_within_a_category(tiny: Path) -> None:
    table = build_table(load_results(tiny), by="category", versus="afa", metrics=["clip_t_mini"])
    ours, theirs = (rows[rows["category"] == "single"] for rows in (samples(tiny, "mini-1-0.020"), samples(tiny, "mini-1-3.020")))
    expected = paired_difference(ours["clip_t_mini"], theirs["clip_t_mini"], ours["prompt_id"])
    assert table.sections[2].rows[0].cells[1].difference == expected
    assert table.sections[2].rows[3].cells[1].difference is None


def test_the_spread_over_repeats(tmp_path: Path) -> None:
    identity = {"repeats": 3}
    for order, label in enumerate(("steady", "restless")):
        cell = write_cell(tmp_path, label=label, order=order, identity=identity)
        for repeat in (1, 2):
            again(cell, 0.03 * repeat * order, repeat)
    table = build_table(load_results(tmp_path), repeats=True)
    steady, restless = (row.cells[0].spread for row in table.sections[0].rows)
    assert steady is not None
    assert restless is not None
    assert (steady.deviation, steady.repeats) == (pytest.approx(0.0, abs=1e-12), 3)
    assert restless.deviation == pytest.approx(0.03)
    assert restless.high - restless.low == pytest.approx(0.06)
    assert table.sections[0].rows[0].cells[1].spread is None  # a metric of the set
    assert "SD 0.0300 of 3" in render(table, "markdown")
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert (rows[2]["repeats"], float(rows[2]["repeat_deviation"])) == ("3", restless.deviation)


def test_nothing_to_break_down(tiny: Path, tmp_path: Path) -> None:
    results = load_results(tiny)
    for options, words in (
        ({"by": "categry"}, "--by: unknown part 'categry'.*'category'"),
        ({"by": "category", "metrics": ["fid_lite0"]}, "none of the metrics chosen has a value for each sample"),
        ({"repeats": True}, "suite tiny has no repeats"),
    ):
        with pytest.raises(UserError, match=words):
            build_table(results, **options)
    cell = write_cell(tmp_path)
    for change, words in (({"category": None}, "have no categories"), (None, "column category: missing")):
        rows = pd.read_parquet(cell.samples)
        (rows.assign(**change) if change else rows.drop(columns="category")).to_parquet(cell.samples)
        with pytest.raises(UserError, match=words):
            build_table(load_results(tmp_path), by="category")
