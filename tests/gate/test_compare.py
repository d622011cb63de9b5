"""The gate's rules: the truth table, exit codes, and from files to a verdict."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from gate_cases import change, gap, one, sides
from results_factory import IMAGES, PROMPTS, metric, write_cell, write_results

from afa_bench.errors import NothingToDoError, UserError
from afa_bench.gate import (
    Selection,
    Verdict,
    compare_results,
    decide,
    tell,
)
from afa_bench.gate.verdicts import exit_code
from afa_bench.tables import load_results


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.03, "improved"),
        (0.0, 0.03, "pass"),
        (-0.01, 0.01, "pass"),
        (-0.02, -0.01, "pass"),  # truly worse, within the margin
        (-0.021, 0.05, "inconclusive"),
        (-0.03, -0.02, "inconclusive"),  # the bounds themselves are within the margin
        (-0.03, -0.0201, "regressed"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_truth_table(low: float, high: float, verdict: str) -> None:
    assert decide(gap(low, high), 0.02) == verdict


def test_a_verdict_takes_the_interval_and_the_p_value() -> None:
    assert decide(gap(-0.04, -0.03), 0.02, worse=0.0251) == "inconclusive"
    assert decide(gap(-0.04, -0.03), 0.02, worse=0.025) == "regressed"
    assert decide(gap(-0.04, -0.03), 0.02, worse=0.04, alpha=0.05) == "regressed"
    assert decide(gap(0.01, 0.03), 0.02, better=0.03) == "pass"
    assert decide(gap(-0.01, 0.03), 0.02, good=0.03) == "inconclusive"


@pytest.mark.parametrize(("shift", "margin"), [(1e-7, 0.02), (1e-7, 0), (-1e-7, 0)])
def test_rounding_is_neither_better_nor_worse(tmp_path: Path, shift: float, margin: float) -> None:
    base, head = sides(tmp_path)
    change(head, lambda rows: rows.assign(clip_t_mini=rows["clip_t_mini"] + shift))
    assert one(base, head, {"metrics": {"clip_t_mini": {"margin": margin}}}).verdict == "pass"
    (comparison,) = compare_results(load_results(base), load_results(head), Selection(("clip_t_mini",)))
    assert tell(comparison).verdict == "same"
    change(head, lambda rows: rows.assign(clip_t_mini=rows["clip_t_mini"] + 1000 * shift))
    assert one(base, head, {"metrics": {"clip_t_mini": {"margin": margin}}}).verdict == ("improved" if shift > 0 else "regressed")


@pytest.mark.parametrize(
    ("verdicts", "usual", "strict"),
    [
        (("pass", "improved"), 0, 0),
        (("pass", "inconclusive"), 0, 4),
        (("pass", "incomparable"), 0, 4),
        (("pass", "new"), 0, 0),
        (("regressed", "inconclusive"), 1, 1),
        (("improved", "nan"), 1, 1),
        (("failed",), 1, 1),
        (("lost", "incomparable"), 1, 1),
        (("incomparable", "new"), 3, 3),
        ((), 3, 3),
    ],
)
def test_exit_codes(verdicts: tuple[str, ...], usual: int, strict: int) -> None:
    assert exit_code(map(Verdict, verdicts)) == usual
    assert exit_code(map(Verdict, verdicts), strict=True) == strict


@pytest.mark.parametrize(
    ("skill", "verdict"), [(0.01, "improved"), (0.0, "pass"), (-0.01, "pass"), (-0.02, "inconclusive"), (-0.04, "regressed")]
)
def test_from_files_to_a_verdict(tmp_path: Path, skill: float, verdict: str) -> None:
    base, head = sides(tmp_path, skill=skill)
    finding = one(base, head)
    evidence = finding.comparison.evidence
    assert finding.verdict == verdict
    assert evidence is not None
    assert evidence.difference.value == pytest.approx(skill, abs=0.005)
    assert evidence.difference.n == PROMPTS * IMAGES
    assert (finding.verdict == "regressed") == ((finding.p or 0) <= 0.025 and evidence.difference.high < -0.02)


def test_a_lower_loss_is_better(tmp_path: Path) -> None:
    for side, skill in (("base", 0.0), ("better", 0.05), ("worse", -0.05)):
        write_cell(tmp_path / side, steps=None, skill=skill)
    policy = {"metrics": {"denoising_loss": {"margin": 0.01}}}
    assert one(tmp_path / "base", tmp_path / "better", policy).verdict == "improved"
    assert one(tmp_path / "base", tmp_path / "worse", policy).verdict == "regressed"


@pytest.mark.parametrize(
    ("fid", "verdict"), [(31.0, "pass"), (31.01, "regressed"), (29.0, "pass"), (28.9, "improved"), (None, "nan")]
)
def test_a_set_metric_has_a_tolerance(tmp_path: Path, fid: float | None, verdict: str) -> None:
    for side, value in (("base", 30.0), ("head", fid)):
        write_cell(tmp_path / side, metrics={"fid_lite0": metric("FID", value, 48, 0, kind="set", direction="lower")})
    finding = one(tmp_path / "base", tmp_path / "head", {"metrics": {"fid_lite0": {"margin": 1}}})
    assert finding.verdict == verdict
    assert finding.p is None


def test_filters(tmp_path: Path) -> None:
    base = load_results(write_results(tmp_path))
    assert len(compare_results(base, base)) == 2 * 4 * (1 + 2 * 2)
    kept = compare_results(base, base, Selection(("clip_t_mini", "denoising_loss"), ("base",), ("mini-2",), (20,)))
    assert [(c.cell.label, c.cell.steps) for c in kept] == [
        ("base: people", None), ("base: people", 20), ("base: R&B_50%|x*", None), ("base: R&B_50%|x*", 20)
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"policy: methods: 'weigthed' is in neither of the results: did you mean 'weighted'"):
        Selection(methods=("weigthed",)).check("policy: ", base)


def test_telling_without_a_margin(tmp_path: Path) -> None:
    for side, skill in (("base", 0.0), ("better", 0.005), ("worse", -0.005)):
        write_cell(tmp_path / side, skill=skill)
    results = {side: load_results(tmp_path / side) for side in ("base", "better", "worse")}

    def told(side: str, key: str) -> str:
        (comparison,) = compare_results(results["base"], results[side], Selection((key,)))
        return tell(comparison).verdict

    assert [told(side, "clip_t_mini") for side in ("better", "worse", "base")] == ["improved", "worse", "same"]
    assert [told(side, "fid_lite0") for side in ("better", "base")] == ["unclear", "same"]


def test_nothing_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(NothingToDoError, match="no results in it"):
        load_results(tmp_path)
