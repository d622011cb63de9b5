"""A BASE that is damaged measures nothing: it is said, and no verdict. And what is no verdict leaves the exit code as it is."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gate_cases import CLIP, change, one
from results_factory import metric, write_cell

from afa_bench import api
from afa_bench.gate import Verdict
from afa_bench.store.layout import CellStore, write_checked

FID = {"metrics": {"fid_lite0": {"margin": 50}}}


def spoilt(how: str, folder: Path) -> None:
    """A cell that is damaged in one of several ways."""
    failed = {"most failed": range(46), "one failed": [5], "all failed": range(48)}.get(how, ())
    cell = write_cell(folder, failed=tuple(failed))
    if how == "not finite":
        change(folder, lambda rows: rows.assign(clip_t_mini=rows["clip_t_mini"].where(rows["prompt_id"] != "p05", math.inf)))
    if how == "no value":
        change(folder, lambda rows: rows.assign(clip_t_mini=rows["clip_t_mini"].where(rows["prompt_id"] != "p05")))
    if how == "not scored":
        write_cell(folder, label="scored", order=1)
        (cell.folder / "summary.json").unlink()


DAMAGE = {
    "most failed": "46 of 48 samples failed in BASE: p00/0/0: RuntimeError: out of memory; 2 pairs",
    "one failed": "1 of 48 samples failed in BASE: p02/1/0: RuntimeError: out of memory; 47 pairs",
    "all failed": "48 of 48 samples failed in BASE: p00/0/0: RuntimeError: out of memory; 0 pairs",
    "not finite": "2 of 48 samples without a finite value in BASE: p05/0/0; 46 pairs",
    "no value": "2 of 48 samples without a finite value in BASE: p05/0/0; 46 pairs",
    "not scored": "BASE's cell is not scored",
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("policy", [CLIP, None], ids=["policy", "default"])
@pytest.mark.parametrize("skill", [-0.3, 0.0, 0.3])
def test_a_damaged_base_is_incomparable(tmp_path: Path, how: str, policy: dict[str, object] | None, skill: float) -> None:
    spoilt(how, tmp_path / "base")
    write_cell(tmp_path / "head", skill=skill)
    decision = api.gate(tmp_path / "base", tmp_path / "head", policy, strict=True)
    found = {finding.comparison.cell.label: finding for finding in decision.findings}["afa"]
    assert (found.verdict, found.words) == (Verdict.INCOMPARABLE, DAMAGE[how])
    assert not decision.passed


def test_a_cell_that_base_has_not_begun_is_not_new(tmp_path: Path) -> None:
    for side in ("base", "head"):
        write_cell(tmp_path / side)
    cell = write_cell(tmp_path / "head", label="late", order=1, skill=-0.3)
    findings = api.gate(tmp_path / "base", tmp_path / "head").findings
    verdicts = {finding.comparison.cell.label: finding.verdict for finding in findings}
    assert verdicts["late"] == "new"
    planned = {"name": cell.folder.name, "group": "mini-1", "label": "late", "steps": 10, "samples": 48}
    write_checked(tmp_path / "base" / "suite.json", {"cells": [planned]})
    decision = api.gate(tmp_path / "base", tmp_path / "head", strict=True)
    late = next(finding for finding in decision.findings if finding.comparison.cell.label == "late")
    assert (late.verdict, late.words, decision.code) == ("incomparable", "BASE's cell is not made yet", 4)


def test_failures_of_head_go_before_those_of_base(tmp_path: Path) -> None:
    for side in ("base", "head"):
        spoilt("all failed", tmp_path / side)
    assert api.gate(tmp_path / "base", tmp_path / "head").code == 1
    assert one(tmp_path / "base", tmp_path / "head").verdict == "failed"


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"), [(24, 48, "incomparable"), (48, 24, "incomparable"), (48, 48, "improved")]
)
def test_a_set_of_another_size_is_incomparable(tmp_path: Path, ours: int, theirs: int, verdict: str) -> None:
    for side, count, value in (("base", ours, 400.0), ("head", theirs, 89.0)):
        write_cell(tmp_path / side, metrics={"fid_lite0": metric("FID", value, count, 0, kind="set", direction="lower")})
    found = one(tmp_path / "base", tmp_path / "head", FID)
    assert found.verdict == ("improved" if ours == theirs else "incomparable")
    assert found.words == ("" if ours == theirs else f"of {ours} images in BASE, of {theirs} in HEAD")


def test_a_folder_against_itself_and_two_suites_are_named(tmp_path: Path) -> None:
    write_cell(tmp_path / "base")
    (tmp_path / "link").symlink_to(tmp_path / "base")
    assert api.gate(tmp_path / "base", tmp_path / "link").about.endswith(": one folder, compared with itself")
    other = CellStore(write_cell(tmp_path / "head").folder)
    assert api.gate(tmp_path / "base", tmp_path / "head").about.endswith("(BASE)")
    other.write_about({**(other.about() or {}), "suite": "other", "revision": 4})
    base, head = tmp_path / "base", tmp_path / "head"
    names = f"Two suites: suite other, revision 4: {head} (HEAD) against suite tiny, revision 3: {base} (BASE)"
    assert api.gate(base, head).about == names


def unheard(command: str, **environment: str) -> int:
    """The exit code of a command whose standard output is closed at once."""
    words = [sys.executable, "-m", "afa_bench", *command.split()]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **environment})
    assert process.stdout is not None
    process.stdout.close()
    return process.wait()


def test_the_exit_code_is_the_verdict_whatever_becomes_of_the_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_cell(Path("base"), label="Ελλάδα 狗")
    write_cell(Path("head"), label="Ελλάδα 狗", skill=-0.3)
    assert unheard("gate base base") == 0
    assert unheard("gate base head", PYTHONUNBUFFERED="1", GITHUB_ACTIONS="true") == 1
    trials: list[tuple[dict[str, str], str]] = [
        ({"PYTHONIOENCODING": "latin-1", "GITHUB_STEP_SUMMARY": "/proc/nowhere/page.md"}, os.devnull),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "/dev/full"),
    ]
    for environment, output in trials:
        with open(output, "wb") as file:
            words = [sys.executable, "-m", "afa_bench", "gate", "base", "head"]
            done = subprocess.run(words, stdout=file, stderr=subprocess.PIPE, env={**os.environ, **environment}, check=False)
        assert done.returncode == 1, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["table base --format json", "compare base base"])
def test_a_reader_that_goes_away_is_no_failed_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_cell(Path("base"))
    assert unheard(command) == 141
