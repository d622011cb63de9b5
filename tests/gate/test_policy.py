"""Policies: the default, the one that ships, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import ROOT
from results_factory import metric, write_cell, write_results

from afa_bench.errors import UserError
from afa_bench.gate import (
    default_policy,
    read_policy,
)
from afa_bench.tables import load_results


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
    policy = read_policy(ROOT / "results" / "gate" / "policy.yaml")
    assert policy.alpha == 0.05
    assert policy.metrics["clip_t_mini"].margin > 0
