"""autoMBW's search on problems with a known best, its budgets, its log, and what a kill leaves of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from afa_bench.architectures import sd15, sdxl
from afa_bench.architectures.layout import BASE
from afa_bench.cli.search import _spent
from afa_bench.errors import UserError
from afa_bench.search.auto_mbw import Budget, Candidate, Found, Rules, Search, Spent
from afa_bench.search.log import Log
from afa_bench.search.space import Kind, Row, Weights, block_groups, models_space, neighbours, points, same

NAMES = ("A", "B", "C")
SD15, SDXL = sd15.SD15.layout, sdxl.SDXL.layout
TARGET: dict[str, Row] = {
    "+".join(group): row
    for group, row in zip(
        block_groups(SD15),
        [(0.75, 0.25, 0.0), (0.0, 1.0, 0.0), (0.25, 0.25, 0.5), (0.5, 0.0, 0.5), (0.0, 0.25, 0.75)] * 3,
        strict=False,
    )
}


class Hills:
    """A judge whose score falls with the distance to known weights; the images differ in how high they are."""

    def __init__(self, target: Mapping[str, Row], flat: bool = False, kill_after: int | None = None) -> None:
        self.target = {block: row for group, row in target.items() for block in group.split("+")}
        self.flat, self.kill_after = flat, kill_after
        self.merges = self.images = 0

    def merge(self, weights: Weights) -> None:
        if self.merges == self.kill_after:
            raise KeyboardInterrupt
        self.merges += 1
        self.weights = weights

    def score(self, first: int, last: int) -> list[float]:
        self.images += last - first
        gap = sum((a - b) ** 2 for block, row in self.target.items() for a, b in zip(self.weights[block], row, strict=True))
        return [0.5 if self.flat else 0.1 * image - gap * (1 + 0.01 * image) for image in range(first, last)]


def search(judge: Hills, file: Path, form: Kind = "simplex", names: tuple[str, ...] = NAMES, **settings: object) -> Found:
    budget = settings.pop("budget", Budget())
    log = Log(file, {"search": "test", "form": form})
    groups = block_groups(SD15)
    space = models_space(names, form)
    job = Search(judge, groups, space.stages, Rules(**settings), budget, log)  # type: ignore[arg-type]
    try:
        return job.run(space.begin(SD15.blocks))
    finally:
        log.close()


def test_the_groups() -> None:
    groups = block_groups(SD15)
    assert groups[:2] == [("M00",), ("IN00", "IN01")]
    assert groups[-1] == ("OUT10", "OUT11")
    assert len(groups) == 13
    assert len(block_groups(SD15, size=1, base=True)) == 26
    for layout in (SD15, SDXL):
        assert sorted(block for group in block_groups(layout) for block in group) == sorted(layout.blocks)
    assert block_groups(SDXL, base=True)[-1] == (BASE,)


def test_the_points() -> None:
    assert set(points(3, 2)) == {(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)}
    assert set(neighbours((1.0, 0.0, 0.0))) == {(0.75, 0.25, 0.0), (0.75, 0.0, 0.25)}
    assert set(neighbours((1 / 3, 1 / 3, 1 / 3))) == {(0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.25, 0.25, 0.5)}
    assert all(abs(sum(row) - 1) < 1e-12 and min(row) >= 0 for row in (*points(4, 2), *neighbours((0.3, 0.3, 0.4))))


def test_it_finds_a_known_best(tmp_path: Path) -> None:
    judge = Hills(TARGET)
    found = search(judge, tmp_path / "log.jsonl", sweeps=5)
    assert found.reason.endswith("found nothing better")
    for block, row in judge.target.items():
        assert same(found.best.weights[block], row), block
    assert (found.spent.merges, found.spent.images) == (judge.merges, judge.images)
    assert judge.images < 8 * judge.merges  # most candidates were dropped after two images


def test_a_chain_finds_a_known_best_of_two_models(tmp_path: Path) -> None:
    alphas = [0.3, 1.0, 0.0, 0.7, 0.5] * 3
    target = {group: (1 - alpha, alpha) for group, alpha in zip(TARGET, alphas, strict=False)}
    judge = Hills(target)
    found = search(judge, tmp_path / "log.jsonl", "chain", ("A", "B"))
    assert all(same(found.best.weights[block], row) for block, row in judge.target.items())
    assert judge.merges <= 1 + 2 * 13 * 11


def test_a_chain_of_three_models_keeps_to_its_form(tmp_path: Path) -> None:
    found = search(Hills(TARGET), tmp_path / "log.jsonl", "chain")
    assert all(abs(sum(row) - 1) < 1e-9 for row in found.best.weights.values())
    assert found.best.mean > found.first.mean
    assert same(found.first.weights["M00"], (1.0, 0.0, 0.0))


def test_ties_end(tmp_path: Path) -> None:
    judge = Hills(TARGET, flat=True)
    found = search(judge, tmp_path / "log.jsonl")
    assert found.reason == "sweep 1 found nothing better"
    assert found.best == found.first
    assert judge.merges == 1 + 13 * (6 + 3)


@pytest.mark.parametrize(
    "budget", [Budget(merges=1), Budget(merges=17), Budget(images=8), Budget(images=31), Budget(seconds=0.02)]
)
def test_budgets_are_kept_to_the_merge_and_the_image(tmp_path: Path, budget: Budget) -> None:
    judge = Hills(TARGET)
    found = search(judge, tmp_path / "log.jsonl", budget=budget)
    assert (found.spent.merges, found.spent.images) == (judge.merges, judge.images)
    if budget.merges:
        assert judge.merges == budget.merges
    if budget.images:
        assert budget.images - 4 < judge.images <= budget.images
    assert found.reason.startswith("the budget of ")


def test_a_larger_budget_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = search(Hills(TARGET), tmp_path / "whole.jsonl")
    for images in (9, 33, 100):
        search(Hills(TARGET), tmp_path / "log.jsonl", budget=Budget(images=images))
    found = search(Hills(TARGET), tmp_path / "log.jsonl")
    assert found.best == whole.best
    assert (found.spent.merges, found.spent.images) == (whole.spent.merges, whole.spent.images)


def test_more_sweeps_go_on_to_the_same_end(tmp_path: Path) -> None:
    whole = search(Hills(TARGET), tmp_path / "whole.jsonl", sweeps=3)
    first = search(Hills(TARGET), tmp_path / "log.jsonl", sweeps=1)
    judge = Hills(TARGET)
    found = search(judge, tmp_path / "log.jsonl", sweeps=3)
    assert found.best == whole.best
    assert judge.merges == whole.spent.merges - first.spent.merges, "none is scored again"
    assert lines(tmp_path / "log.jsonl") == lines(tmp_path / "whole.jsonl")


def test_a_log_that_has_the_sweeps_is_read(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"rules":{"clearly":2.0,"images":[2],"sweeps":1}}\n')
    Log(tmp_path / "log.jsonl", {"rules": {"images": [2], "clearly": 2.0}}).close()
    with pytest.raises(UserError, match="rules: is the log of another search"):
        Log(tmp_path / "log.jsonl", {"rules": {"images": [2, 4], "clearly": 2.0}})


def test_what_was_spent_is_said_beside_the_budget() -> None:
    one = Candidate({}, (0.5,))

    def said(merges: int | None) -> str:
        return _spent(Found(one, one, "x", Spent(5, 10, 3.0)), Budget(merges=merges)).partition(",")[0]

    assert [said(merges) for merges in (None, 5, 8, 2)] == [
        "5 merges",
        "5 of 5 merges",
        "5 of 8 merges",
        "5 merges (more than the budget of 2)",
    ]


def lines(file: Path) -> list[dict[str, object]]:
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def test_a_killed_search_resumes_to_the_same_log(tmp_path: Path) -> None:
    whole = search(Hills(TARGET), tmp_path / "whole.jsonl")
    merges = 0
    for kill in (1, 7, 40):
        judge = Hills(TARGET, kill_after=kill)
        with pytest.raises(KeyboardInterrupt):
            search(judge, tmp_path / "log.jsonl")
        merges += judge.merges
        with (tmp_path / "log.jsonl").open("ab") as file:
            file.write(b'{"id": "to')  # a line torn by the kill
    judge = Hills(TARGET)
    found = search(judge, tmp_path / "log.jsonl")
    assert lines(tmp_path / "log.jsonl") == lines(tmp_path / "whole.jsonl")
    assert found.best == whole.best
    assert judge.merges + merges == whole.spent.merges == found.spent.merges
    again = Hills(TARGET)
    assert search(again, tmp_path / "log.jsonl").best == whole.best
    assert again.merges == 0


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="search: the budget of 7 images does not allow 8 images of the first candidate"):
        search(Hills(TARGET), tmp_path / "log.jsonl", budget=Budget(images=7))
    with pytest.raises(UserError, match=r"log\.jsonl: form: is the log of another search"):
        search(Hills(TARGET), tmp_path / "log.jsonl", "chain")
    (tmp_path / "log.jsonl").write_text('{"form": "simplex", "search": "test"}\nno JSON\n')
    with pytest.raises(UserError, match=r"log\.jsonl:2: damaged"):
        search(Hills(TARGET), tmp_path / "log.jsonl")


def test_two_searches_do_not_write_one_log(tmp_path: Path) -> None:
    about = {"search": "test", "form": "simplex"}
    first = Log(tmp_path / "log.jsonl", about)
    code = (
        f"from pathlib import Path; from afa_bench.search.log import Log; Log(Path({str(tmp_path / 'log.jsonl')!r}), {about!r})"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another search is writing it; expected one search a folder" in other.stderr
    assert len(lines(tmp_path / "log.jsonl")) == 1
    first.close()
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"scores": [0.5], "verdict": "start", "seconds": 1}', r"log\.jsonl:2: damaged: id: Field required"),
        ('{"id": "x", "scores": ["a"], "verdict": "start", "seconds": 1}', r"log\.jsonl:2: damaged: scores\.0: Input should be"),
        ('{"id": "x", "scores": [NaN], "verdict": "start", "seconds": 1}', r"log\.jsonl:2: damaged: scores\.0: Input should be"),
        ('{"id": "x", "scores": [1.0], "verdict": "start"}', r"log\.jsonl:2: damaged: seconds: Field required"),
        ("[]", r"log\.jsonl:2: damaged: line: Input should be"),
        ("{", r"log\.jsonl:2: damaged: .*expected a line of JSON"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    about = {"search": "test", "form": "simplex"}
    (tmp_path / "log.jsonl").write_text(json.dumps(about) + "\n" + line + "\n")
    with pytest.raises(UserError, match=message):
        Log(tmp_path / "log.jsonl", about)
    (tmp_path / "log.jsonl").write_text("3\n")
    with pytest.raises(UserError, match=r"log\.jsonl:1: damaged: expected what is searched, found b'3'"):
        Log(tmp_path / "log.jsonl", about)
