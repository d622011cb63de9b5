"""Samples that are lost, failed, not finite, or too few."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from gate_cases import change, judged, one, sides
from results_factory import metric, write_cell

from afa_bench.gate import Selection, compare_results, tell
from afa_bench.tables import load_results


def test_lost_samples(tmp_path: Path) -> None:
    base, head = sides(tmp_path)
    change(head, lambda rows: rows[rows["sample_id"] != "p03/1/0"])
    finding = one(base, head)
    assert (finding.verdict, finding.words) == ("lost", "1 of 48 samples not in HEAD: p03/1/0")
    assert one(head, base).verdict == "pass"  # HEAD may have more


def test_a_lost_cell_an_unscored_one_and_a_lost_metric(tmp_path: Path) -> None:
    for label in ("afa", "gone", "unscored", "unmeasured"):
        write_cell(tmp_path / "base", label=label)
    write_cell(tmp_path / "head", label="afa")
    (write_cell(tmp_path / "head", label="unscored").folder / "summary.json").unlink()
    write_cell(tmp_path / "head", label="unmeasured", metrics={"other": metric("Other", 1.0, 48, 0)})
    found = {finding.comparison.cell.label: finding for finding in judged(tmp_path / "base", tmp_path / "head")}
    assert {label: str(finding.verdict) for label, finding in found.items()} == {
        "afa": "pass",
        "gone": "lost",
        "unscored": "lost",
        "unmeasured": "lost",
    }
    assert found["gone"].words == "HEAD has no such cell"
    assert found["unscored"].words == "HEAD's cell is not scored"
    assert found["unmeasured"].words == "HEAD does not measure it"


def test_failed_samples(tmp_path: Path) -> None:
    base, head = sides(tmp_path, failed=[3, 7])
    finding = one(base, head)
    assert finding.verdict == "failed"
    assert finding.words == "2 of 48 samples failed in HEAD: p01/1/0: RuntimeError: out of memory"
    assert one(base, head, {"metrics": {"fid_lite0": {"margin": 99}}}).verdict == "failed"  # a set with a hole is another set
    assert one(head, base).verdict == "incomparable"  # what BASE had failed is mended, but is no measure


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite(tmp_path: Path, value: float) -> None:
    base, head = sides(tmp_path, skill=0.1)
    change(head, lambda rows: rows.assign(clip_t_mini=rows["clip_t_mini"].where(rows["sample_id"] != "p05/0/0", value)))
    finding = one(base, head)
    assert (finding.verdict, finding.words) == ("nan", "1 of 48 samples without a finite value in HEAD: p05/0/0")


def test_no_value_at_all(tmp_path: Path) -> None:
    base, head = sides(tmp_path, metrics={"clip_t_mini": metric("CLIP-T (mini)", None, 0, 1, weights={"evaluator": "e"})})
    (tmp_path / "none").mkdir()
    nothing = tmp_path / "none"
    write_cell(nothing, metrics={"clip_t_mini": metric("CLIP-T (mini)", None, 0, 1)})
    assert judged(nothing, nothing) == []
    assert one(nothing, base).verdict == "new"
    assert one(base, nothing).verdict == "incomparable"  # other weights
    write_cell(tmp_path / "same", metrics={"clip_t_mini": metric("CLIP-T (mini)", 0.8, 48, 1, weights={"evaluator": "e"})})
    change(head, lambda rows: rows.drop(columns="clip_t_mini"))
    assert one(tmp_path / "same", head).verdict == "nan"


def test_base_without_a_value_to_pair(tmp_path: Path) -> None:
    base, head = sides(tmp_path)
    change(base, lambda rows: rows.assign(clip_t_mini=math.nan))
    assert one(base, head).words == "no sample has a value in both"


@pytest.mark.parametrize("prompts", [1, 2, 3, 5])
def test_few_prompts_decide_nothing(tmp_path: Path, prompts: int) -> None:
    base, head = sides(tmp_path, skill=-0.5)
    for side in (base, head):
        change(side, lambda rows: rows[rows["prompt_id"] < f"p{prompts:02d}"])
    finding = one(base, head)
    words = f"too few prompts for an interval: {prompts}, expected 6 at least"
    assert (finding.verdict, finding.words) == ("inconclusive", words)
    (comparison,) = compare_results(load_results(base), load_results(head), Selection(("clip_t_mini",)))
    assert (tell(comparison).verdict, tell(comparison).words) == ("unclear", words)


def test_six_prompts_decide(tmp_path: Path) -> None:
    base, head = sides(tmp_path, skill=-0.5)
    for side in (base, head):
        change(side, lambda rows: rows[rows["prompt_id"] < "p06"])
    assert one(base, head).verdict == "regressed"


def test_a_pair_that_is_missing_on_both_sides_is_said(tmp_path: Path) -> None:
    base, head = sides(tmp_path)
    for side in (base, head):
        change(side, lambda rows: rows.assign(clip_t_mini=rows["clip_t_mini"].where(rows["prompt_id"] != "p05")))
    finding = one(base, head)
    assert (finding.verdict, finding.words) == ("pass", "2 of 48 samples have no value in either")
    write_cell(tmp_path / "whole")
    assert one(tmp_path / "whole", head).verdict == "nan"


def test_order_of_rows_is_nothing(tmp_path: Path) -> None:
    base, head = sides(tmp_path, skill=-0.01)
    before = one(base, head).comparison.evidence
    change(head, lambda rows: rows.sample(frac=1, random_state=1))
    change(base, lambda rows: rows.sample(frac=1, random_state=2))
    after = one(base, head).comparison.evidence
    assert before is not None
    assert after is not None
    assert after.difference == before.difference
