"""Folders that ``score`` made, and several results in one table."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from results_factory import write_cell, write_results
from score_cases import images_in, score, verb

from afa_bench import api
from afa_bench.errors import UserError
from afa_bench.tables import FORMATS, render

COUNT = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of the images of two models for the same prompts, whose files are called otherwise."""
    root = tmp_path_factory.mktemp("scores")
    (root / "prompts.txt").write_text("".join(f"a red dog {index}\n" for index in range(COUNT)))
    for seed, name in enumerate(("one", "two")):
        for file in sorted(images_in(root / name, COUNT, seed).iterdir()):
            file.rename(file.with_name(f"{name}-{file.name}"))
        metrics = "clip-t:features=mini-clip,is:features=lite0:splits=1"
        options = ("--prompts", root / "prompts.txt", "--metrics", metrics, "--device", "cpu")
        assert score(root / name, *options, "--out", root / "scores" / name).exit_code == 0
    return root / "scores"


def test_a_row_a_folder(folders: Path) -> None:
    for table in (api.table(folders), api.table([folders / "one", folders / "two"])):
        assert [row.label for row in table.sections[0].rows] == ["one", "two"]
        assert [(column.metric.key, column.steps) for column in table.columns] == [("clip_t_mini", None), ("is_lite0", None)]
        assert "any steps" not in "".join(render(table, form) for form in FORMATS)
    (row,) = api.table(folders / "one").sections[0].rows
    summary = json.loads((folders / "one" / "summary.json").read_text())["metrics"]["clip_t_mini"]
    assert (row.label, row.cells[0].value, row.cells[0].n) == ("images", summary["value"], COUNT)


def test_pairs_are_of_the_same_prompt(folders: Path) -> None:
    gap = api.table(folders, versus="one").sections[0].rows[1].cells[0].difference
    assert gap is not None
    assert gap.n == COUNT
    (found, _) = api.compare(folders / "one", folders / "two")
    assert found.comparison.evidence is not None
    assert found.comparison.evidence.difference.value == pytest.approx(gap.value)
    assert api.gate(folders / "one", folders / "one", strict=True).passed
    policy = {"metrics": {"clip_t_mini": {"margin": 2}}}
    assert api.gate(folders / "one", folders / "two", policy).counts == {"pass": 1}


def test_other_prompts_are_no_pairs(folders: Path, tmp_path: Path) -> None:
    import pandas as pd

    other = shutil.copytree(folders / "two", tmp_path / "two")
    rows = pd.read_parquet(other / "samples.parquet")
    rows["prompt"] = rows["prompt"].str.replace("red dog 3", "blue dog")
    rows.to_parquet(other / "samples.parquet")
    found = api.compare(folders / "one", other, metrics="clip_t_mini")[0]
    assert (found.verdict, found.words) == ("lost", "1 of 8 samples not in HEAD: a red dog 3#0")


def test_other_real_images_are_refused(folders: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(folders / name, tmp_path / name)
    file = tmp_path / "two" / "summary.json"
    content = json.loads(file.read_text())
    content.pop("sha256")
    content["metrics"]["is_lite0"]["inputs"] = "0" * 64
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"metrics.is_lite0: with other real images or weights than in one: not comparable"):
        api.table(tmp_path)
    found = api.compare(tmp_path / "one", tmp_path / "two", metrics="is_lite0")[0]
    assert found.verdict == "incomparable"


def test_scores_have_a_report_and_no_submission(folders: Path, tmp_path: Path) -> None:
    assert verb("report", folders, "-o", tmp_path / "page").exit_code == 0
    assert '"label":"two"' in (tmp_path / "page" / "data.js").read_text()
    with pytest.raises(UserError, match="scores of images; expected the results of a suite"):
        verb("export", folders, "-o", tmp_path / "out")


def test_suites_stand_side_by_side(tmp_path: Path) -> None:
    one, two = write_results(tmp_path / "one", groups=("mini-1",)), write_results(tmp_path / "two", steps=(20,))
    for cell in two.glob("*/cell.json"):
        content = json.loads(cell.read_text())
        content.pop("sha256", None)
        cell.write_text(json.dumps({**content, "suite": "other", "revision": 7}))
    table = api.table([one, two], steps=[10, 20], versus="afa", only="afa,weighted")
    assert table.title == "tiny and other, side by side, with paired differences to afa"
    heads = [column.head for column in table.columns]
    assert heads[0] == "tiny: Denoising loss ↓"
    assert heads[-1] == "other: FID (lite0) ↓"
    assert [[row.label for row in section.rows] for section in table.sections] == [["weighted", "afa"], ["weighted", "afa"]]
    first = [row.cells for row in table.sections[0].rows]
    alone = {name: api.table(tmp_path / name, groups="mini-1", only="afa,weighted", versus="afa") for name in ("one", "two")}
    expected = [[*a.cells, *b.cells] for a, b in zip(*(part.sections[0].rows for part in alone.values()), strict=True)]
    assert repr(first) == repr([tuple(cells) for cells in expected])
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert {(row["suite"], row["revision"]) for row in rows} == {("tiny", "3"), ("other", "7")}
    assert {cell["suite"] for cell in json.loads(render(table, "json"))["groups"][0]["rows"][0]["cells"]} == {"tiny", "other"}
    for form in set(FORMATS) - {"csv", "json"}:
        assert "other: FID (lite0)" in render(table, form)


def test_what_does_not_stand_side_by_side(tmp_path: Path) -> None:
    write_cell(tmp_path / "a")
    write_cell(tmp_path / "b", label="other")
    assert api.table([tmp_path / "a", tmp_path / "b"], only="other,afa").together == (str(tmp_path / "a"), str(tmp_path / "b"))
    with pytest.raises(UserError, match="is given twice"):
        api.table([tmp_path / "a", tmp_path / "a"])
    with pytest.raises(UserError, match=r"unknown metric 'clip' in these results: .*'clip_t_mini'"):
        api.table([tmp_path / "a", tmp_path / "b"], metrics="clip")
    with pytest.raises(UserError, match="a: has none of other: known: afa"):
        api.table([tmp_path / "a", tmp_path / "b"], only="other")


@pytest.mark.parametrize(
    "damage",
    [{"samples": "x"}, {"failed": None}, {"metrics": []}, {"metrics": {"clip_t_mini": {}}}, {"schema": 9}, {"images": "\ud800"}],
)
def test_damaged_scores_are_one_line(folders: Path, tmp_path: Path, damage: dict[str, object]) -> None:
    copy = shutil.copytree(folders, tmp_path / "scores")
    file = copy / "two" / "summary.json"
    content = json.loads(file.read_text())
    content.pop("sha256")
    file.write_text(json.dumps(content | damage))
    for read in (
        lambda: api.table(copy),
        lambda: api.gate(copy / "one", copy / "two", {"metrics": {"clip_t_mini": {"margin": 2}}}),
    ):
        if "images" in damage:
            read()
        else:
            with pytest.raises(UserError) as caught:
                read()
            assert str(file) in str(caught.value)
