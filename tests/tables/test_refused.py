"""Results that a table refuses, each with one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from results_factory import metric, write_cell

from afa_bench.errors import NotFoundError, NothingToDoError, UserError
from afa_bench.tables import load_results
from afa_bench.tables.apart import apart


def spoil(folder: Path, name: str, **changes: Any) -> Path:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return file


@pytest.mark.parametrize("name", ["cell.json", "summary.json"])
def test_a_later_schema_is_refused(tmp_path: Path, name: str) -> None:
    file = spoil(write_cell(tmp_path).folder, name, schema=2)
    with pytest.raises(UserError, match="schema") as caught:
        load_results(tmp_path)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("text", ['{"schema": 1, "sui', "[]", "{}", "", "\xff"])
@pytest.mark.parametrize("name", ["cell.json", "summary.json"])
def test_corrupt_json_is_refused(tmp_path: Path, name: str, text: str) -> None:
    file = write_cell(tmp_path).folder / name
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError) as caught:
        load_results(tmp_path)
    assert str(file) in str(caught.value)


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, metrics={"score": metric("Score", 0.5, 4, 0, direction="sideways")}).folder
    with pytest.raises(UserError, match=r"summary.json: metrics.score.direction: "):
        load_results(tmp_path)
    spoil(folder, "cell.json", steps=None)
    with pytest.raises(UserError, match=r"cell.json: steps: None, expected a number"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"revision": 4}, "revision: 4, but .* has 3"), ({"suite": "other"}, "suite: other, but .* has tiny")],
)
def test_mixed_suites_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write_cell(tmp_path)
    spoil(write_cell(tmp_path, label="other", order=1).folder, "cell.json", **changes)
    with pytest.raises(UserError, match=words):
        load_results(tmp_path)


def test_mixed_identities_are_refused(tmp_path: Path) -> None:
    write_cell(tmp_path)
    write_cell(tmp_path, label="other", order=1, identity={"sampler": {"scheduler": "EulerDiscreteScheduler"}})
    with pytest.raises(UserError, match=r"sampler.scheduler: .*EulerDiscreteScheduler.*not tabulated together"):
        load_results(tmp_path)


def test_two_results_for_one_cell_are_refused(tmp_path: Path) -> None:
    write_cell(tmp_path)
    write_cell(tmp_path, identity={"method": {"name": "afa", "version": 2}})
    with pytest.raises(UserError, match=r"two results for afa \(mini-1\) at 10 steps"):
        load_results(tmp_path)


def test_another_version_of_a_metric_is_refused(tmp_path: Path) -> None:
    write_cell(tmp_path, metrics={"score": metric("Score", 0.5, 4, 0)})
    write_cell(tmp_path, label="other", order=1, metrics={"score": metric("Score", 0.5, 4, 0, version="2")})
    with pytest.raises(UserError, match=r"metrics.score.version: 2, but .* has 1: not comparable"):
        load_results(tmp_path)


def test_a_summary_of_other_samples_is_refused(tmp_path: Path) -> None:
    spoil(write_cell(tmp_path).folder, "summary.json", fingerprint="f" * 64)
    with pytest.raises(UserError, match=r"summary.json: fingerprint: ffffffffffff, but cell.json has"):
        load_results(tmp_path)


def test_a_summary_without_its_cell_is_refused(tmp_path: Path) -> None:
    (write_cell(tmp_path).folder / "cell.json").unlink()
    with pytest.raises(UserError, match=r"cell.json: missing"):
        load_results(tmp_path)


def test_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match="no results in it"):
        load_results(tmp_path)
    with pytest.raises(NotFoundError, match="no such folder"):
        load_results(tmp_path / "none")
    cell = write_cell(tmp_path / "suite")
    with pytest.raises(NothingToDoError, match="name one of the suites inside: suite"):
        load_results(tmp_path)
    (cell.folder / "summary.json").unlink()
    with pytest.raises(NothingToDoError, match="nothing is scored yet"):
        load_results(tmp_path / "suite")


LONG = "word " * 30


@pytest.mark.parametrize(
    ("one", "other", "shown"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ("key.a.c", "2", "3")),
        ({"a": [1, {"b": 2}]}, {"a": [1, {}]}, ("key.a.1.b", "2", "nothing")),
        ([1], [1, 2], ("key", "[1]", "[1, 2]")),
        (LONG + "cat", LONG + "dog", ("key", "...word word word word cat", "...word word word word dog")),
        (LONG, LONG + "x" * 99, ("key", "...word word word word ", "...word word word word " + "x" * 34 + "...")),
        ("", LONG, ("key", "", LONG[:57] + "...")),
        (None, 1, ("key", "null", "1")),
    ],
)
def test_an_error_shows_where_two_values_differ(one: Any, other: Any, shown: tuple[str, str, str]) -> None:
    assert apart(one, other, "key") == shown
    way, mine, theirs = apart(other, one, "key")
    assert (way, theirs, mine) == shown
