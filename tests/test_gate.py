"""Verdicts: the truth table, Holm, what is comparable, and simulated changes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from results_factory import IMAGES, LITE0, PROMPTS, SAMPLER, metric, write_cell, write_results

from afa_bench.errors import NOTHING_TO_DO, UserError
from afa_bench.gate import (
    Comparison,
    Evidence,
    Finding,
    Policy,
    Selection,
    Verdict,
    compare_results,
    decide,
    default_policy,
    judge,
    read_policy,
    tell,
)
from afa_bench.gate.compare import first_difference
from afa_bench.gate.verdicts import exit_code
from afa_bench.stats import Difference, paired_difference
from afa_bench.tables import load_results
from afa_bench.tables.load import CellFile
from afa_bench.tables.model import Metric

CLIP = {"metrics": {"clip_t_mini": {"margin": 0.02}}}


def gap(low: float, high: float) -> Difference:
    return Difference((low + high) / 2, low, high, 100, 0.5)


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


def test_regressed_has_to_hold_after_holm() -> None:
    assert decide(gap(-0.04, -0.03), 0.02, p=0.0251) == "inconclusive"
    assert decide(gap(-0.04, -0.03), 0.02, p=0.025) == "regressed"
    assert decide(gap(-0.04, -0.03), 0.02, p=0.04, alpha=0.05) == "regressed"


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


def judged(base: Path, head: Path, policy: dict[str, Any] = CLIP) -> list[Finding]:
    held = Policy.model_validate(policy)
    return judge(compare_results(load_results(base), load_results(head), held.selection, level=1 - held.alpha), held)


def one(base: Path, head: Path, policy: dict[str, Any] = CLIP) -> Finding:
    (finding,) = judged(base, head, policy)
    return finding


def sides(tmp_path: Path, **head: Any) -> tuple[Path, Path]:
    """BASE with one cell, and HEAD with the same cell but for what is given."""
    write_cell(tmp_path / "base")
    write_cell(tmp_path / "head", **head)
    return tmp_path / "base", tmp_path / "head"


def change(root: Path, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    (file,) = root.glob("*/samples.parquet")
    how(pd.read_parquet(file)).to_parquet(file)


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


def test_the_method_is_what_may_differ(tmp_path: Path) -> None:
    changed = {"method": {"name": "afa", "version": 9, "weights": {"sabw": "0"}}, "group": {"name": "x", "models": {"one": "0"}}}
    base, head = sides(tmp_path, identity=changed)
    assert one(base, head).verdict == "pass"


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"sampler": {**SAMPLER, "guidance": 5.0}}, "sampler.guidance: 3.0 in BASE, 5.0 in HEAD"),
        ({"seed": 1}, "seed: 0 in BASE, 1 in HEAD"),
        ({"prompts": "other"}, "prompts: "),
        ({"new": 1}, "new: nothing in BASE, 1 in HEAD"),
    ],
)
def test_another_sampler_or_seed_is_incomparable(tmp_path: Path, identity: dict[str, Any], words: str) -> None:
    base, head = sides(tmp_path, identity=identity)
    finding = one(base, head)
    assert finding.verdict == "incomparable"
    assert finding.words.startswith(words)


def test_another_scheduler_file_is_another_sampler(tmp_path: Path) -> None:
    for side, scheduler in (("base", "aa"), ("head", "bb")):
        write_cell(tmp_path / side, identity={"group": {"name": "mini-1", "pipeline": {"scheduler": scheduler, "vae": side}}})
    finding = one(tmp_path / "base", tmp_path / "head")
    assert (finding.verdict, finding.words) == ("incomparable", "scheduler: aa in BASE, bb in HEAD")


def test_another_suite_has_lost_nothing(tmp_path: Path) -> None:
    write_cell(tmp_path / "base", label="gone")
    other = write_cell(tmp_path / "head", label="here")
    other.write_about({**(other.about() or {}), "revision": 4})
    verdicts = {finding.comparison.cell.label: finding for finding in judged(tmp_path / "base", tmp_path / "head")}
    assert verdicts["gone"].verdict == "incomparable"
    assert verdicts["gone"].words == "revision: 3 in BASE, 4 in HEAD"
    assert verdicts["here"].verdict == "new"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"version": "2"}, "metrics.fid_lite0.version: 1 in BASE, 2 in HEAD"),
        ({"weights": {"efficientnet-lite0": "f00"}}, "metrics.fid_lite0.weights.efficientnet-lite0: "),
        ({"direction": "higher"}, "metrics.fid_lite0.direction: lower in BASE, higher in HEAD"),
    ],
)
def test_another_metric_version_is_incomparable(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    plain = {"kind": "set", "direction": "lower", "weights": {"efficientnet-lite0": LITE0}}
    for side, extra in (("base", {}), ("head", changed)):
        write_cell(tmp_path / side, metrics={"fid_lite0": metric("FID (lite0)", 30.0, 48, 0, **{**plain, **extra})})
    finding = one(tmp_path / "base", tmp_path / "head", {"metrics": {"fid_lite0": {"margin": 1}}})
    assert finding.verdict == "incomparable"
    assert finding.words.startswith(words)


@pytest.mark.parametrize(
    ("fid", "verdict"), [(31.0, "pass"), (31.01, "regressed"), (29.0, "pass"), (28.9, "improved"), (None, "nan")]
)
def test_a_set_metric_has_a_tolerance(tmp_path: Path, fid: float | None, verdict: str) -> None:
    for side, value in (("base", 30.0), ("head", fid)):
        write_cell(tmp_path / side, metrics={"fid_lite0": metric("FID", value, 48, 0, kind="set", direction="lower")})
    finding = one(tmp_path / "base", tmp_path / "head", {"metrics": {"fid_lite0": {"margin": 1}}})
    assert finding.verdict == verdict
    assert finding.p is None


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
    assert one(head, base).verdict == "pass"  # what BASE had failed is mended


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


def test_other_noise_is_incomparable(tmp_path: Path) -> None:
    base, head = sides(tmp_path)
    change(head, lambda rows: rows.assign(seed=rows["seed"] + 1))
    finding = one(base, head)
    assert (finding.verdict, finding.words) == ("incomparable", "sample p00/0/0 starts from another seed")


def test_base_without_a_value_to_pair(tmp_path: Path) -> None:
    base, head = sides(tmp_path)
    change(base, lambda rows: rows.assign(clip_t_mini=math.nan))
    assert one(base, head).words == "no sample has a value in both"


def test_one_prompt_decides_nothing(tmp_path: Path) -> None:
    base, head = sides(tmp_path, skill=-0.5)
    for side in (base, head):
        change(side, lambda rows: rows[rows["prompt_id"] == "p00"])
    finding = one(base, head)
    assert (finding.verdict, finding.words) == ("inconclusive", "one prompt has no interval")


def test_order_of_rows_is_nothing(tmp_path: Path) -> None:
    base, head = sides(tmp_path, skill=-0.01)
    before = one(base, head).comparison.evidence
    change(head, lambda rows: rows.sample(frac=1, random_state=1))
    change(base, lambda rows: rows.sample(frac=1, random_state=2))
    after = one(base, head).comparison.evidence
    assert before is not None
    assert after is not None
    assert after.difference == before.difference


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


def test_default_policy_is_two_percent_of_per_sample_metrics(tmp_path: Path) -> None:
    results = load_results(write_results(tmp_path / "tiny"))
    policy = default_policy(results)
    assert {key: limit.margin for key, limit in policy.metrics.items()} == {"denoising_loss": 0.0023, "clip_t_mini": 0.016}
    file = tmp_path / "policy.yaml"
    file.write_text(policy.text())
    assert read_policy(file) == policy
    write_cell(tmp_path / "sets", metrics={"fid": metric("FID", 3.0, 9, 0, kind="set")})
    with pytest.raises(UserError, match="no per-sample metric"):
        default_policy(load_results(tmp_path / "sets"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("metrics: {a: {magrin: 1}}", "metrics.a.magrin: unknown key: did you mean 'margin'"),
        ("metrics: {a: {margin: 1}}\nmetric: 1", "metric: unknown key: did you mean 'metrics'"),
        ("metrics: {a: {}}", "metrics.a.margin: "),
        ("metrics: {a: {margin: -1}}", "metrics.a.margin: "),
        ("metrics: {a: {margin: .nan}}", "metrics.a.margin: "),
        ("metrics: {a: {margin: yes}}", "metrics.a.margin: "),
        ("metrics: {}", "metrics: "),
        ("alpha: 0.05", "metrics: "),
        ("metrics: {a: {margin: 1}}\nalpha: 1", "alpha: "),
        ("- metrics", "expected a mapping"),
        ("metrics: [", "cannot be read as YAML"),
    ],
)
def test_policies_that_are_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_policy(file)
    assert str(caught.value).startswith(f"{file}: {words}"), caught.value
    with pytest.raises(UserError, match="cannot be read"):
        read_policy(tmp_path / "none.yaml")


def test_the_policy_that_ships_is_read() -> None:
    policy = read_policy(Path(__file__).parent.parent / "results" / "gate" / "policy.yaml")
    assert policy.alpha == 0.05
    assert policy.metrics["clip_t_mini"].margin > 0


def test_first_difference_names_the_path() -> None:
    assert first_difference({"a": [1, {"b": 2}], "c": 0}, {"a": [1, {"b": 3}], "c": 1}) == "a.1.b: 2 in BASE, 3 in HEAD"
    assert first_difference({"a": [1]}, {"a": [1, 2]}) == "a: [1] in BASE, [1, 2] in HEAD"
    assert first_difference({"a": {}}, {"a": {}}) == ""


QUESTIONS, MARGIN = 3, 0.05


def simulated(seed: int, drop: float) -> list[Finding]:
    """A gate on three cells of 30 prompts with two images: another seed's noise, and a true drop in the first cell."""
    rng = np.random.default_rng([seed, 11])
    quality = Metric("clip", "CLIP", "per-sample", "higher", "", 3, "1", ())
    clusters = np.repeat(np.arange(30), 2)
    comparisons = []
    for index in range(QUESTIONS):
        prompts = 0.1 * rng.normal(size=30)[clusters]
        base = prompts + 0.03 * rng.normal(size=30)[clusters] + 0.04 * rng.normal(size=60)
        head = prompts + 0.03 * rng.normal(size=30)[clusters] + 0.04 * rng.normal(size=60) - (drop if index == 0 else 0.0)
        cell = CellFile(
            suite="s", revision=1, group="g", method="m", label=str(index), order=index, task="generate", steps=10, fingerprint=""
        )
        evidence = Evidence(paired_difference(head, base, clusters), head - base, clusters)
        comparisons.append(Comparison(cell, quality, float(base.mean()), float(head.mean()), evidence))
    return judge(comparisons, Policy.model_validate({"metrics": {"clip": {"margin": MARGIN}}}))


def test_two_seeds_of_one_model_pass() -> None:
    runs = [simulated(seed, 0.0) for seed in range(100)]
    clean = sum(all(finding.verdict in ("pass", "improved") for finding in run) for run in runs)
    assert clean >= 95
    assert sum(exit_code(finding.verdict for finding in run) == 0 for run in runs) == 100


def test_a_drop_of_two_margins_is_caught() -> None:
    runs = [simulated(seed, 2 * MARGIN) for seed in range(100)]
    assert sum(run[0].verdict == "regressed" for run in runs) >= 95
    assert Counter(finding.verdict for run in runs for finding in run[1:])["regressed"] == 0


def test_holm_keeps_false_claims_rare() -> None:
    # Everything is worse by exactly the margin: each claim would be a false one, and forty are asked for at once.
    rng = np.random.default_rng(12)
    quality = Metric("clip", "CLIP", "per-sample", "higher", "", 3, "1", ())
    cell = CellFile(suite="s", revision=1, group="g", method="m", label="", order=0, task="generate", steps=10, fingerprint="")
    policy = Policy.model_validate({"metrics": {"clip": {"margin": MARGIN}}})
    clusters = np.arange(30)
    wrong = careless = 0
    for _ in range(20):
        gaps = -MARGIN + 0.05 * rng.normal(size=(40, 30))
        found = judge(
            [
                Comparison(cell, quality, 0.0, 0.0, Evidence(paired_difference(row, 0 * row, clusters), row, clusters))
                for row in gaps
            ],
            policy,
        )
        wrong += any(finding.verdict is Verdict.REGRESSED for finding in found)
        careless += any(finding.comparison.evidence.difference.high < -MARGIN for finding in found if finding.comparison.evidence)
    assert wrong <= 2  # 2.5% of 20 runs is half a run
    assert careless >= 8  # without Holm


def test_nothing_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results in it") as caught:
        load_results(tmp_path)
    assert caught.value.code == NOTHING_TO_DO
