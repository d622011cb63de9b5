"""What may differ between BASE and HEAD, and what makes them incomparable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gate_cases import change, judged, one, sides
from results_factory import LITE0, SAMPLER, metric, write_cell

from afa_bench.gate.compare import first_difference


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


def test_other_noise_is_incomparable(tmp_path: Path) -> None:
    base, head = sides(tmp_path)
    change(head, lambda rows: rows.assign(seed=rows["seed"] + 1))
    finding = one(base, head)
    assert (finding.verdict, finding.words) == ("incomparable", "sample p00/0/0 starts from another seed")


def test_first_difference_names_the_path() -> None:
    assert first_difference({"a": [1, {"b": 2}], "c": 0}, {"a": [1, {"b": 3}], "c": 1}) == "a.1.b: 2 in BASE, 3 in HEAD"
    assert first_difference({"a": [1]}, {"a": [1, 2]}) == "a: [1] in BASE, [1, 2] in HEAD"
    assert first_difference({"a": {}}, {"a": {}}) == ""
