"""Suites that say what differs, what they will take, and what is missing for them."""

from pathlib import Path

import pytest
import yaml

from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.estimate import estimate
from afa_bench.needs import missing_of
from afa_bench.suite import find_suite, packaged_suites, read_suite


@pytest.fixture(autouse=True)
def _empty_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


def written(folder: Path, name: str, **content: object) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, **content}))
    return path


def test_a_suite_takes_over_what_it_leaves_out(tmp_path):
    parent = read_suite(find_suite("mini"))
    suite = read_suite(written(tmp_path, "child", extends="mini", steps=[5]))
    assert (suite.steps, suite.name) == ((5,), "child")
    assert suite.model_copy(update={"steps": parent.steps, "name": "mini", "file": parent.file}) == parent
    written(tmp_path, "grandchild", extends="child.yaml", size=64)
    assert read_suite(tmp_path / "grandchild.yaml").steps == (5,)


def test_a_mistake_is_named_in_the_file_that_made_it(tmp_path):
    written(tmp_path, "parent", extends="mini", stpes=[5])
    with pytest.raises(UserError, match=r"parent\.yaml:\d+: stpes: unknown key"):
        read_suite(written(tmp_path, "child", extends="parent.yaml"))
    written(tmp_path, "one", extends="two.yaml")
    with pytest.raises(UserError, match=r"extends: this suite extends itself"):
        read_suite(written(tmp_path, "two", extends="one.yaml"))
    (tmp_path / "nameless.yaml").write_text("extends: mini\n")
    with pytest.raises(UserError, match=r"name: a suite that extends another needs a name of its own"):
        read_suite(tmp_path / "nameless.yaml")


@pytest.mark.parametrize("name", packaged_suites())
def test_every_packaged_suite_is_checked_and_counted_without_weights(name):
    found = estimate(read_suite(find_suite(name)))
    assert found.prompts
    assert found.rows
    assert bool(found.missing) == (not name.startswith("mini"))


def test_an_estimate_counts_cells_images_evaluations_and_hours():
    suite = read_suite(find_suite("drawbench"))
    found = estimate(suite, rate=100)
    rows = {(row.group, row.label): row for row in found.rows}
    assert found.prompts == 200
    assert rows["sd15-1", "EpicRealism"].images == 800
    assert rows["sd15-1", "EpicRealism"].evaluations == 100  # 50 steps, both halves of the guidance
    assert rows["sd15-1", "weighted"].evaluations == 100
    assert rows["sd15-1", "afa"].evaluations == 300
    assert found.images == 14 * 800
    assert found.gpu_hours == pytest.approx(800 * 2 * (5 * 100 + 2 * 300) / 100 / 3600)
    assert any(name.startswith("civitai:134065") for name in found.missing)
    assert any(name.endswith("sabw/sd15-1") for name in found.missing)


def test_the_miniature_suite_misses_nothing():
    assert missing_of(read_suite(find_suite("mini"))) == []


def test_validate_prints_the_plan_and_doctor_the_machine(capsys):
    app()(["validate", "table10_flux"], standalone_mode=False)
    printed = capsys.readouterr().out
    for words in (
        "FLUX.1 [dev]",
        "3 cells, 2,400 images of 1024 px",
        "evaluations a second",
        "safety checker is off",
        "civitai:992642",
    ):
        assert words in printed
    app()(["doctor"], standalone_mode=False)
    printed = capsys.readouterr().out
    for words in ("device", "memory", "disk", "torch 2", "drawbench", "ready", "missing"):
        assert words in printed
