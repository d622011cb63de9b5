"""Rows over different samples: neither ranked nor paired, and said wherever the value is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from results_factory import write_cell

from afa_bench.publish.hub import Benchmark
from afa_bench.publish.submission import export
from afa_bench.publish.verify import verify
from afa_bench.stats import mean_interval
from afa_bench.store.layout import CellStore
from afa_bench.tables import FORMATS, Table, build_table, load_results, render

KEY = "clip_t_mini"
WHOLE = 48


def lose(cell: CellStore, places: list[int], value: float = np.nan, error: str | None = None) -> None:
    """Take values away from samples, and from the summary what they came to; with an error, the samples have failed."""
    rows = pd.read_parquet(cell.samples)
    rows.loc[places, KEY] = value
    if error:
        rows.loc[places, "error"] = error
    rows.to_parquet(cell.samples)
    summary = cell.summary() or {}
    mean = mean_interval(rows[KEY], rows["prompt_id"])
    summary["metrics"][KEY] |= {name: None if getattr(mean, name) != getattr(mean, name) else getattr(mean, name)
                                for name in ("value", "low", "high")} | {"n": mean.n}  # fmt: skip
    if error:
        summary["failed"] = len(places)
        summary["metrics"]["fid_lite0"]["n"] -= len(places)
    cell.write_summary(summary)


def built(root: Path, spoil: Callable[[CellStore], None], **options: Any) -> Table:
    write_cell(root, label="good", order=0, skill=0.1)
    spoil(write_cell(root, label="bad", order=1, skill=0.3))
    return build_table(load_results(root), **options)


SPOILT: dict[str, tuple[Callable[[CellStore], None], int]] = {
    "no value": (lambda cell: lose(cell, [0, 1, 2]), 3),
    "infinite": (lambda cell: lose(cell, [5], np.inf), 1),
    "failed": (lambda cell: lose(cell, list(range(46)), error="RuntimeError: out of memory"), 46),
    "one failed": (lambda cell: lose(cell, [7], error="RuntimeError: out of memory"), 1),
}


@pytest.mark.parametrize(("spoil", "lost"), SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("by", [None, "category"])
def test_what_is_over_other_samples_is_not_ranked(
    tmp_path: Path, spoil: Callable[[CellStore], None], lost: int, by: str | None
) -> None:
    table = built(tmp_path, spoil, by=by, versus="good", metrics=[KEY])
    section = table.sections[0]
    assert not any(cell.best or cell.second for row in section.rows for cell in row.cells)
    (cell,) = section.rows[1].cells
    assert (cell.n, cell.of) == (WHOLE - lost, WHOLE)
    assert cell.difference is not None
    assert not np.isfinite(cell.difference.value)
    for section in table.sections[1:]:  # a category that lost nothing is compared
        cell = section.rows[1].cells[0]
        whole = cell.value is not None and cell.of is None
        assert whole == cell.best == bool(cell.difference and np.isfinite(cell.difference.value))
    notes = " ".join(table.notes)
    assert f"Missing values: CLIP-T (mini): {lost} of {WHOLE} of bad (mini-1) at 10 steps" in notes
    assert "Not ranked or paired, since rows are over different samples: CLIP-T (mini) at 10 steps (mini-1)" in notes
    for form in set(FORMATS) - {"csv", "json"}:
        assert f"(n={WHOLE - lost} of {WHOLE})" in render(table, form)
    assert json.loads(render(table, "json"))["groups"][0]["rows"][1]["cells"][0]["of"] == WHOLE


def test_a_set_of_fewer_images_is_another_set(tmp_path: Path) -> None:
    table = built(tmp_path, SPOILT["failed"][0], versus="good", metrics=["fid_lite0"])
    good, bad = (row.cells[0] for row in table.sections[0].rows)
    assert not good.best
    assert (bad.n, bad.of, bad.best) == (2, WHOLE, False)
    assert bad.difference is not None
    assert not np.isfinite(bad.difference.value)


@pytest.mark.parametrize(("theirs", "ranked"), [([3, 9], True), ([9, 3], True), ([4, 9], False), ([3, 9, 10], False)])
def test_the_same_gaps_everywhere_leave_a_ranking(tmp_path: Path, theirs: list[int], ranked: bool) -> None:
    for order, gaps in enumerate(([3, 9], theirs)):
        lose(write_cell(tmp_path, label=f"m{order}", order=order, skill=0.1 * order), gaps)
    table = build_table(load_results(tmp_path), versus="m0", metrics=[KEY])
    cell = table.sections[0].rows[1].cells[0]
    assert cell.best == ranked
    assert cell.difference is not None
    assert bool(np.isfinite(cell.difference.value)) == ranked


def test_whole_columns_beside_it_stay_ranked(tmp_path: Path) -> None:
    table = built(tmp_path, SPOILT["no value"][0])
    assert [cell.best for cell in table.sections[0].rows[1].cells] == [False, True]


@pytest.mark.parametrize("name", ["failed", "no value"])
def test_a_submission_says_it_and_ranks_nothing(tmp_path: Path, name: str) -> None:
    spoil, lost = SPOILT[name]
    write_cell(tmp_path / "tiny", label="good", order=0)
    spoil(write_cell(tmp_path / "tiny", label="bad", order=1))
    results = load_results(tmp_path / "tiny")
    export(results, tmp_path / "out", Benchmark("a/b"), images=False, advance=lambda steps: None)
    (card,) = (tmp_path / "out/hub").glob("*bad/README.md")
    (entries,) = (tmp_path / "out/hub").glob("*bad/.eval_results/*.yaml")
    said = f"{WHOLE - lost} of {WHOLE} samples"
    assert "type: clip_t_mini" not in card.read_text()
    assert "clip_t_mini" not in entries.read_text()
    assert said in card.read_text()
    found = verify(tmp_path / "out")
    assert any(said in words for words in found.partial)
    assert any(f"{lost} of {WHOLE} samples failed" in words for words in found.problems) == (name == "failed")


def test_the_report_and_the_figures_say_it(tmp_path: Path) -> None:
    from afa_bench.paper.figures.lines import against_steps
    from afa_bench.report import write_report
    from afa_bench.report.images import Mode

    for order, label in enumerate(("good", "bad")):
        for steps in (10, 20):
            cell = write_cell(tmp_path / "tiny", method="afa", label=label, order=order, steps=steps)
            if (label, steps) == ("bad", 20):
                lose(cell, [1, 2])
    results = load_results(tmp_path / "tiny")
    write_report(results, tmp_path / "page", Mode.SMALL, lambda title, total: lambda steps: None)
    data = (tmp_path / "page/data.js").read_text()
    assert f"(n=46 of {WHOLE})" in data
    assert '"n":46,"of":48' in data
    assert "Missing values: CLIP-T (mini): 2 of 48 of bad (mini-1) at 20 steps" in data
    pytest.importorskip("matplotlib")
    figure = against_steps(build_table(results, metrics=[KEY]))
    assert " ".join(figure.get_supxlabel().split()) == "Hollow, over fewer samples than planned: bad 46 of 48 at 20."
    figure.savefig(tmp_path / "figure.png")
