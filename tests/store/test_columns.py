"""The rows of a suite's cells are one data set: for pyarrow, for pandas, for the hub's library, by the name of the folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml
from places import ROOT
from results_factory import write_cell, write_results
from runs import run
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.tables import load_results

PLACE = ["group", "method", "label", "steps"]


def export(results: Path, out: Path) -> Path:
    done = CliRunner().invoke(app(), ["export", str(results), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(app(), ["verify", str(out)]).exit_code == 0
    return out


def whole(folder: Path) -> pd.DataFrame:
    """The rows of all cells in a folder, as pyarrow finds them; every file has every column, in the same order."""
    files = sorted(folder.rglob("samples.parquet"))
    assert len({tuple((field.name, field.type) for field in pq.read_schema(file)) for file in files}) == 1
    rows = ds.dataset(folder, format="parquet", exclude_invalid_files=True).to_table().to_pandas()
    assert len(rows) == sum(pq.read_metadata(file).num_rows for file in files)
    assert not rows.duplicated([*PLACE, "sample_id"]).any()
    return rows


@pytest.fixture
def both_tasks(tiny_suite: Path, tmp_path: Path) -> Path:
    """A suite with cells of images and cells of denoisers, whose metrics have columns of their own."""
    suite = yaml.safe_load(tiny_suite.read_text())
    suite["prompts"] = {"name": "mini", "limit": 3}
    suite["metrics"] = [{"name": "clip-t", "features": "mini-clip"}, {"name": "denoising-loss", "timesteps": 2}]
    suite["methods"] = ["base", {"name": "merge", "label": "mine"}]
    tiny_suite.write_text(yaml.safe_dump(suite))
    return tiny_suite


@pytest.mark.slow
def test_a_results_folder_is_one_data_set(both_tasks: Path, tmp_path: Path) -> None:
    assert run(both_tasks, tmp_path / "out", only=["one", "mine"]).failed == 0
    assert run(both_tasks, tmp_path / "out", only=["two"]).failed == 0  # another process, another day
    rows = whole(tmp_path / "out" / "tiny")
    assert {*rows["label"]} == {"one", "two", "mine"}
    assert rows.groupby("label")["method"].agg(set).to_dict() == {"one": {"base"}, "two": {"base"}, "mine": {"merge"}}
    assert rows["denoising_loss_t250"].notna().sum() == rows["denoising_loss"].notna().sum() == 3 * 3
    assert rows["clip_t_mini"].notna().sum() == rows["steps"].notna().sum() == 3 * 3 * 2
    frame = load_results(tmp_path / "out" / "tiny").samples()
    assert frame.columns.is_unique
    assert len(frame) == len(rows)


def test_rows_of_one_data_set_are_handed_on_as_they_are(both_tasks: Path, tmp_path: Path) -> None:
    run(both_tasks, tmp_path / "out", only=["one"])
    sub = export(tmp_path / "out" / "tiny", tmp_path / "sub")
    for file in (tmp_path / "out" / "tiny").rglob("samples.parquet"):
        assert (sub / "results" / "tiny" / file.parent.name / file.name).read_bytes() == file.read_bytes()


def test_a_submission_is_one_data_set_whatever_wrote_the_results(tmp_path: Path) -> None:
    write_results(tmp_path / "tiny", (None, 10), ("mini-1",))
    write_cell(tmp_path / "tiny", "mini-2", order=9)
    rows = whole(export(tmp_path / "tiny", tmp_path / "sub"))
    assert {*rows["group"]} == {"mini-1", "mini-2"}
    assert rows["clip_t_mini"].notna().sum() == 5 * 48
    assert rows["denoising_loss"].notna().sum() == 4 * 24


def test_the_committed_results_can_be_handed_on_as_one_data_set(tmp_path: Path) -> None:
    rows = whole(export(ROOT / "results/gate/mini", tmp_path / "sub"))
    assert {*rows["steps"].dropna()} == {10, 20}


def test_the_hubs_library_reads_a_submission_and_the_cells_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    write_results(tmp_path / "tiny", (None, 10), ("mini-1",))
    sub = export(tmp_path / "tiny", tmp_path / "sub")
    read = datasets.load_dataset(str(sub), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(read) == len(whole(sub))
    assert {*PLACE, "clip_t_mini", "denoising_loss"} <= {*read.column_names}
    files = str(sub / "results" / "tiny" / "*" / "samples.parquet")
    again = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert len(again) == len(read)
