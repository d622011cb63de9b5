"""What is shown of results and is no part of their identity: it is the suite's of today, whatever it was when they were made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from runs import hashes, run

from afa_bench import provenance, refresh
from afa_bench.store.layout import CellStore
from afa_bench.tables import load_results
from afa_bench.tables.build import build_table
from afa_bench.workspace import Share

ANIMALS = "prompt,category\n" + "".join(f"prompt {index},{'animals' if index < 2 else 'people'}\n" for index in range(4))


@pytest.fixture
def suite(tiny_suite: Path) -> Path:
    (tiny_suite.parent / "prompts.csv").write_text(ANIMALS)
    return changed(
        tiny_suite,
        prompts={"name": "file", "path": "prompts.csv", "category_column": "category"},
        methods=[{"name": "base", "model": "one", "label": "A"}, {"name": "base", "model": "two", "label": "B"}],
        images_per_prompt=1,
    )


def changed(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, allow_unicode=True))
    return path


def labels(out: Path) -> list[str]:
    return [row.label for row in build_table(load_results(out / "tiny")).sections[0].rows]


def categories(out: Path) -> list[list[str]]:
    return [pq.read_table(file).column("category").to_pylist() for file in sorted(out.rglob("samples.parquet"))]


def rename(suite: Path) -> None:
    changed(
        suite,
        methods=[{"name": "base", "model": "one", "label": "狗 [v2]"}, {"name": "base", "model": "two", "label": "B"}],
    )


def reorder(suite: Path) -> None:
    changed(suite, methods=list(reversed(yaml.safe_load(suite.read_text())["methods"])))


def recategorise(suite: Path) -> None:
    (suite.parent / "prompts.csv").write_text(ANIMALS.replace("people", "animals"))


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False], ids=["a finished run", "half a run"])
@pytest.mark.parametrize("edit", [rename, reorder, recategorise])
def test_what_is_shown_is_what_a_run_of_today_would_show_and_no_image_is_made_again(suite, tmp_path, edit, whole):
    run(suite, tmp_path / "out", shard_size=2, share=Share() if whole else Share(1, 2))
    made = {path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    edit(suite)
    assert run(suite, tmp_path / "out", shard_size=2).reused == len(made) >= 4
    assert run(suite, tmp_path / "out", shard_size=2).generated == 0
    run(suite, tmp_path / "fresh", shard_size=2)
    assert labels(tmp_path / "out") == labels(tmp_path / "fresh")
    assert categories(tmp_path / "out") == categories(tmp_path / "fresh")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "fresh")
    old, new = (
        {cell.folder.name: (cell.cell.order, cell.summary) for cell in load_results(tmp_path / name / "tiny")}
        for name in ("out", "fresh")
    )
    assert old == new


@pytest.mark.slow
def test_a_cell_under_a_former_label_is_left_out_where_its_folder_could_not_be_renamed(suite, tmp_path, monkeypatch, caplog):
    run(suite, tmp_path / "out")
    rename(suite)
    monkeypatch.setattr(refresh, "_adopt", lambda *args: None)  # as at a URL
    run(suite, tmp_path / "out")
    assert labels(tmp_path / "out") == ["狗 [v2]", "B"]
    assert "left out: a former label of what is now 狗 [v2] (tiny) at 2 steps" in caplog.text


def test_a_cell_without_results_that_no_plan_lists_blocks_no_reader(suite, tmp_path):
    run(suite, tmp_path / "out", only=["A"])
    root = tmp_path / "out" / "tiny"
    (cell,) = load_results(root)
    stranger = CellStore(root / "tiny-A.002.00000000")
    stranger.write_about({**cell.cell.model_dump(), "identity": {**cell.cell.identity, "size": 33}, "fingerprint": "0" * 64})
    assert [one.folder for one in load_results(root)] == [cell.folder]


@pytest.mark.slow
@pytest.mark.parametrize("said", [True, False], ids=["parts say their versions", "the first part does not"])
def test_a_cell_of_two_versions_names_both_and_the_table_says_so(suite, tmp_path, monkeypatch, said):
    """Two processes under two versions of torch; the first may be of a time when only cell.json named them."""
    from afa_bench.store import layout

    here = dict(provenance.versions())
    run(suite, tmp_path / "out", shard_size=2, share=Share(1, 2))
    if not said:
        for file in (tmp_path / "out").rglob("shard-*.json"):
            content = layout.checked(file)
            layout.write_checked(file, {"rows": content["rows"]})
    for module in (layout, provenance):
        monkeypatch.setattr(module, "versions", lambda: here | {"torch": "9.9", "diffusers": "8.8"})
    run(suite, tmp_path / "out", shard_size=2)
    results = load_results(tmp_path / "out" / "tiny")
    assert [[part["torch"] for part in cell.made_with] for cell in results] == [[here["torch"], "9.9"]] * 2
    (note,) = [note for note in build_table(results).notes if note.startswith("Made with several versions")]
    assert f"torch {here['torch']} and 9.9" in note
    assert f"diffusers {here['diffusers']} and 8.8" in note
    assert "Of several in one cell: A (tiny) at 2 steps, B (tiny) at 2 steps." in note
    assert dataclasses.replace(results).cells[0].cell.provenance["versions"] == here


def test_one_version_is_not_mentioned(suite, tmp_path):
    run(suite, tmp_path / "out")
    assert not [note for note in build_table(load_results(tmp_path / "out" / "tiny")).notes if "several versions" in note]
