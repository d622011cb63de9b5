"""What a command line names: rows, numbers of steps, a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_factory import write_cell, write_results

from afa_bench import api
from afa_bench.errors import UserError
from afa_bench.models.sampler_names import NAMES, meant_by
from afa_bench.suite import as_suite
from afa_bench.tables import build_table, load_results
from afa_bench.tables.find import find_results


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A group in which a row of method base is labelled so and another is not, and one in which none is."""
    for order, (group, label) in enumerate((("one", "base"), ("one", "tuned"), ("two", "people"), ("two", "nature"))):
        write_cell(tmp_path, group, "base", label, order=order)
    return tmp_path


@pytest.mark.parametrize(
    ("only", "rows"),
    [
        (["base"], [["base"], ["people", "nature"]]),
        (["tuned"], [["tuned"]]),
        (["people", "base"], [["base"], ["people", "nature"]]),
    ],
)
def test_a_label_goes_before_a_method(labelled: Path, only: list[str], rows: list[list[str]]) -> None:
    shown = build_table(load_results(labelled), only=only)
    assert [[row.label for row in section.rows] for section in shown.sections] == rows
    found = [finding.comparison.cell.label for finding in api.compare(labelled, labelled, only=only, metrics="clip_t_mini")]
    assert found == [label for section in rows for label in section]


def test_a_run_takes_the_same_row(tiny_group: Path, tmp_path: Path) -> None:
    from afa_bench.plan import make_plan

    (tmp_path / "prompts.txt").write_text("a\n")
    keys = {
        "name": "x", "groups": [str(tiny_group)], "prompts": {"name": "file", "path": str(tmp_path / "prompts.txt")}, "size": 8,
        "methods": ["merge", {"name": "noise-average", "label": "merge-2"}, {"name": "block-average", "label": "noise-average"}],
        "metrics": [{"name": "is", "features": "lite0", "splits": 1}],
    }  # fmt: skip
    suite = as_suite(keys)
    assert [cell.label for cell in make_plan(suite, only=["noise-average"]).cells] == ["noise-average"]
    assert [cell.method.name for cell in make_plan(suite, only=["noise-average"]).cells] == ["block-average"]


def test_steps_that_are_there_are_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    results = load_results(write_results(tmp_path, groups=("mini-1",)))
    shown = build_table(results, steps=[20, 50, 10, 30, 50], metrics=["clip_t_mini"])
    assert [column.steps for column in shown.columns] == [20, 10]
    assert [record.getMessage() for record in caplog.records] == ["no results at 50, 30 steps: known: 10, 20"]
    assert {
        finding.comparison.cell.steps for finding in api.compare(results, results, steps=[50, 20], metrics="clip_t_mini")
    } == {20}
    with pytest.raises(UserError, match="no results at 50, 60 steps: known: 10, 20"):
        build_table(results, steps=[50, 60])
    with pytest.raises(UserError, match="no results at 50 steps"):
        api.compare(results, results, steps=50)


def test_a_folder_with_one_suite_is_that_suite(tmp_path: Path) -> None:
    write_cell(tmp_path / "tiny")
    (tmp_path / "notes").mkdir()
    assert find_results(str(tmp_path)) == tmp_path / "tiny"
    assert api.table(tmp_path).suite == "tiny"
    write_cell(tmp_path / "other")
    with pytest.raises(UserError, match="name one of the suites inside: other, tiny"):
        api.table(tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Euler a", "'EulerAncestralDiscreteScheduler'"),
        ("k_euler_ancestral", "'EulerAncestralDiscreteScheduler'"),
        ("DPM++ 2M Karras", "'DPMSolverMultistepScheduler' and sigmas: karras beside it"),
        (
            "dpmpp_2m_sde_karras",
            "'DPMSolverMultistepScheduler' and sigmas: karras beside it, with algorithm_type: sde-dpmsolver++ in the "
            "scheduler_config.json of the pipeline",
        ),
        ("UniPC", "'UniPCMultistepScheduler'"),
        ("DDIMScheduler", ""),
        ("Karras", ""),
        ("", ""),
    ],
)
def test_names_of_web_uis(name: str, meant: str) -> None:
    assert meant_by(name) == meant
    keys = {"name": "x", "groups": ["g"], "prompts": "p", "methods": ["base"], "metrics": ["is"], "sampler": {"scheduler": name}}
    if meant:
        with pytest.raises(UserError, match=f"sampler.scheduler: .*did you mean {meant.split()[0]}"):
            as_suite(keys)
    else:
        as_suite(keys)


def test_the_names_are_classes_of_diffusers() -> None:
    import diffusers

    assert all(hasattr(diffusers, kind.split()[0]) for kind in NAMES.values())
