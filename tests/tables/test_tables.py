"""Tables from results folders: what is shown, marked, missing and noted."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from results_factory import IMAGES, ODD, PROMPTS, metric, rewrite, write_cell, write_results

from afa_bench.errors import UserError
from afa_bench.tables import FORMATS, Table, build_table, load_results, render
from afa_bench.tables.formats import rich as terminal
from afa_bench.tables.layout import WIDEST, panels


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "tiny")


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_results(tmp_path_factory.mktemp("results") / "wide", (None, 10, 20, 30, 40, 50), ("mini-1",))


def one_metric(values: list[float | None], direction: str = "higher", root: Path | None = None, **more: Any) -> Table:
    """A table of one group and one metric with these values, a row each."""
    assert root is not None
    for order, value in enumerate(values):
        entry = metric("Score", value, 4, 0, direction=direction, **more)
        write_cell(root, label=f"m{order}", order=order, metrics={"score": entry})
    return build_table(load_results(root))


def marks(table: Table) -> str:
    """The first column's marks, a letter a row."""
    cells = [row.cells[0] for row in table.sections[0].rows]
    return "".join("b" if cell.best else "s" if cell.second else "-" for cell in cells)


def test_rows_columns_and_values(tiny: Path) -> None:
    table = build_table(load_results(tiny))
    assert [section.name for section in table.sections] == ["mini-1", "mini-2"]
    assert [row.label for row in table.sections[0].rows] == ["base: people", ODD, "weighted", "afa"]
    assert [(column.metric.key, column.steps) for column in table.columns] == [
        ("denoising_loss", None), ("clip_t_mini", 10), ("clip_t_mini", 20), ("fid_lite0", 10), ("fid_lite0", 20),
    ]  # fmt: skip
    summary = json.loads(next(tiny.glob("mini-2-7.010.*/summary.json")).read_text())["metrics"]["clip_t_mini"]
    cell = table.sections[1].rows[3].cells[1]
    assert (cell.value, cell.low, cell.high, cell.n) == (summary["value"], summary["low"], summary["high"], PROMPTS * IMAGES)


def test_choices(tiny: Path) -> None:
    results = load_results(tiny)
    table = build_table(results, steps=[20, 10], metrics=["fid_lite0", "denoising_loss"], groups=["mini-2"], only=["base", "afa"])
    assert [(column.metric.key, column.steps) for column in table.columns] == [
        ("fid_lite0", 20), ("fid_lite0", 10), ("denoising_loss", None),
    ]  # fmt: skip
    assert [[row.label for row in section.rows] for section in table.sections] == [["base: people", ODD, "afa"]]
    assert build_table(results, only=[ODD]).sections[0].rows[0].method == "base"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metrics": ["clip_t"]}, "unknown metric 'clip_t'.*'clip_t_mini'"),
        ({"only": ["wheighted"]}, "unknown method 'wheighted'.*'weighted'"),
        ({"groups": ["mini-3"]}, "unknown group 'mini-3'.*'mini-"),
        ({"versus": "aaf"}, "unknown method 'aaf'.*'afa'"),
        ({"versus": "base"}, "2 rows in mini-1.*base: people"),
        ({"steps": [50]}, "no results at 50 steps: known: 10, 20"),
    ],
)
def test_unknown_names_are_refused(tiny: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_table(load_results(tiny), **options)


def test_marks_follow_the_direction(tmp_path: Path) -> None:
    assert marks(one_metric([0.1, 0.3, 0.2], "higher", tmp_path / "up")) == "-bs"
    assert marks(one_metric([0.1, 0.3, 0.2], "lower", tmp_path / "down")) == "b-s"


def test_ties_share(tmp_path: Path) -> None:
    assert marks(one_metric([0.3, 0.1, 0.3, 0.2, 0.2], "higher", tmp_path / "exact")) == "b-bss"
    # 0.30012 and 0.30041 both read 0.300: neither is better for a reader
    assert marks(one_metric([0.30012, 0.30041, 0.299], "higher", tmp_path / "shown")) == "bbs"
    assert marks(one_metric([0.30012, 0.30041, 0.299], "higher", tmp_path / "digits", digits=4)) == "sb-"


def test_nothing_to_compare_is_not_marked(tmp_path: Path) -> None:
    assert marks(one_metric([0.3], root=tmp_path / "one")) == "-"
    assert marks(one_metric([0.3, None], root=tmp_path / "known")) == "--"


def test_missing_values_are_a_dash_and_a_note(tmp_path: Path) -> None:
    cells = [write_cell(tmp_path, label=f"m{order}", order=order, steps=steps) for order in range(3) for steps in (10, 20)]
    summary = cells[0].summary()
    assert summary is not None
    summary["metrics"]["clip_t_mini"]["value"] = None
    cells[0].write_summary(summary)
    (cells[2].folder / "summary.json").unlink()
    for name in ("cell.json", "summary.json", "samples.parquet"):
        (cells[5].folder / name).unlink()
    table = build_table(load_results(tmp_path))
    assert [[cell.value is None for cell in row.cells[:2]] for row in table.sections[0].rows] == [
        [True, False], [True, False], [False, True],
    ]  # fmt: skip
    assert (
        "–: m0 (mini-1) at 10 steps: no value of CLIP-T (mini); m1 (mini-1) at 10 steps: not scored; "
        "m2 (mini-1) at 20 steps: not run."
    ) in table.notes
    for form in ("rich", "markdown"):
        line = next(line for line in render(table, form).splitlines() if "m1" in line)
        assert line.count("–") == 2
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert [row["value"] == "" for row in rows if row["metric"] == "clip_t_mini"] == [True, False, True, False, False, True]
    assert json.loads(render(table, "json"))["groups"][0]["rows"][0]["cells"][0]["value"] is None


def test_nan_is_missing(tmp_path: Path) -> None:
    write_cell(tmp_path, label="good", metrics={"score": metric("Score", 0.5, 4, 0)})
    bad = write_cell(tmp_path, label="bad", order=1, metrics={"score": metric("Score", 0.7, 4, 0)})
    file = bad.folder / "summary.json"
    rewrite(file, "0.7", "NaN")
    table = build_table(load_results(tmp_path))
    assert table.sections[0].rows[1].cells[0].value is None
    assert "NaN" not in "".join(render(table, form) for form in FORMATS)
    assert marks(table) == "--"


def test_a_metric_without_any_value_is_one_note(tmp_path: Path) -> None:
    table = one_metric([None, None, None], root=tmp_path)
    assert "–: no value of Score anywhere." in table.notes


def test_failed_samples_are_counted(tmp_path: Path) -> None:
    write_cell(tmp_path, failed=[0, 5])
    write_cell(tmp_path, label="whole", order=1)
    table = build_table(load_results(tmp_path))
    assert f"Failed samples: afa (mini-1) at 10 steps: 2 of {PROMPTS * IMAGES}." in table.notes
    assert table.sections[0].rows[0].cells[0].n == PROMPTS * IMAGES - 2


def test_wide_tables_become_panels(tiny: Path, wide: Path) -> None:
    assert [panel.heading for panel in panels(build_table(load_results(tiny)))] == [None]
    table = build_table(load_results(wide))
    assert len(table.columns) > WIDEST
    assert [(panel.heading, len(panel.columns)) for panel in panels(table)] == [
        ("Denoising loss ↓", 1), ("CLIP-T (mini) ↑", 5), ("FID (lite0) ↓", 5),
    ]  # fmt: skip
    narrow = terminal.render(build_table(load_results(tiny)), 72)
    assert max(map(len, narrow.splitlines())) <= 72
    assert "FID (lite0) ↓\n" in narrow


def test_cells_of_a_plan_alone(tiny: Path) -> None:
    names = [path.name for path in tiny.iterdir() if ".010." in path.name and path.name.startswith("mini-1")]
    table = build_table(load_results(tiny, names))
    assert {column.steps for column in table.columns} == {10}
    assert [section.name for section in table.sections] == ["mini-1"]


def test_neither_torch_nor_pandas_is_imported(tiny: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import afa_bench.tables, afa_bench.cli.table; from afa_bench.tables import *\n"
        f"results = load_results(Path({str(tiny)!r}))\n"
        "for form in FORMATS: render(build_table(results), form)\n"
        "print({'torch', 'diffusers', 'transformers', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules))\n"
        "render(build_table(results, versus='afa'), 'rich')\n"
        "print({'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "set()"]


@pytest.mark.parametrize(("guidance", "said"), [(1.0, " (takes no part without guidance)"), (3.0, "")])
def test_a_negative_prompt_that_does_nothing_is_not_shown_as_if_it_did(tmp_path: Path, guidance: float, said: str) -> None:
    sampler = {"guidance": guidance, "negative_prompt": "blur", "scheduler": "DDIMScheduler", "clip_skip": 1}
    write_cell(tmp_path, identity={"sampler": sampler})
    notes = "\n".join(build_table(load_results(tmp_path)).notes)
    assert f"negative prompt blur{said}, scheduler DDIMScheduler" in notes
    assert "clip skip 1" in notes
