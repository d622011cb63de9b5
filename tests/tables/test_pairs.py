"""Paired differences between the rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from results_factory import IMAGES, PROMPTS, write_cell, write_results

from afa_bench.differences import paired_difference
from afa_bench.errors import UserError
from afa_bench.tables import build_table, load_results, render


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "tiny")


def test_differences_are_paired_by_sample(tiny: Path) -> None:
    import pandas as pd

    table = build_table(load_results(tiny), versus="afa")
    base, afa = (pd.read_parquet(next(tiny.glob(f"mini-1-{order}.010.*/samples.parquet"))) for order in (0, 3))
    merged = base.merge(afa, on="sample_id", suffixes=("", "_afa"))
    expected = paired_difference(merged["clip_t_mini"], merged["clip_t_mini_afa"], merged["prompt_id"])
    rows = table.sections[0].rows
    assert rows[0].cells[1].difference == expected
    assert expected.high < 0
    assert expected.n == PROMPTS * IMAGES
    assert rows[3].cells[1].difference is None
    loss = rows[0].cells[0].difference
    assert loss is not None
    assert loss.low > 0
    assert loss.win_rate < 0.5  # a higher loss is worse
    fid = rows[0].cells[3].difference
    assert fid is not None
    assert fid.value == pytest.approx(4.0)
    assert fid.low != fid.low


def test_rows_in_another_order_pair_the_same(tiny: Path, tmp_path: Path) -> None:
    import pandas as pd

    write_results(tmp_path, groups=["mini-1"])
    file = next(tmp_path.glob("mini-1-0.010.*/samples.parquet"))
    pd.read_parquet(file).sample(frac=1, random_state=0).to_parquet(file)
    shuffled = build_table(load_results(tmp_path), versus="afa", groups=["mini-1"])
    straight = build_table(load_results(tiny), versus="afa", groups=["mini-1"])
    assert repr(shuffled.sections) == repr(straight.sections)  # a NaN equals no other


def test_a_failed_sample_leaves_no_difference(tmp_path: Path) -> None:
    write_cell(tmp_path, label="afa", order=1)
    write_cell(tmp_path, label="broken", failed=[3], skill=-0.1)
    table = build_table(load_results(tmp_path), versus="afa", only=["broken"])
    gap = table.sections[0].rows[0].cells[0].difference
    assert gap is not None
    assert gap.value != gap.value
    assert "no pairs for CLIP-T (mini) over the same samples" in " ".join(table.notes)


def test_a_group_without_the_reference(tmp_path: Path) -> None:
    write_cell(tmp_path, label="afa")
    write_cell(tmp_path, "mini-2", "weighted", order=1)
    table = build_table(load_results(tmp_path), versus="afa")
    assert "no pairs for CLIP-T (mini)" in " ".join(table.notes)
    assert "weighted" in render(table, "rich")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.assign(seed=rows["seed"] + 1), "its seed is not that of"),
        (lambda rows: rows.drop(columns="prompt_id"), "column prompt_id: missing"),
        (lambda rows: rows.drop(columns="clip_t_mini"), "column clip_t_mini: missing"),
        (lambda rows: rows.assign(sample_id="same"), "the same sample stands there twice"),
    ],
)
def test_samples_that_are_no_pairs_are_refused(tmp_path: Path, change: Any, words: str) -> None:
    import pandas as pd

    write_cell(tmp_path, label="afa", order=1)
    cell = write_cell(tmp_path, label="other")
    change(pd.read_parquet(cell.samples)).to_parquet(cell.samples)
    with pytest.raises(UserError, match=words) as caught:
        build_table(load_results(tmp_path), versus="afa")
    assert str(cell.samples) in str(caught.value)


def test_corrupt_and_missing_samples_are_refused(tmp_path: Path) -> None:
    write_cell(tmp_path, label="afa", order=1)
    cell = write_cell(tmp_path, label="other")
    cell.samples.write_bytes(cell.samples.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"samples.parquet: corrupt"):
        build_table(load_results(tmp_path), versus="afa")
    cell.samples.unlink()
    with pytest.raises(UserError, match=r"samples.parquet: missing"):
        build_table(load_results(tmp_path), versus="afa")
