"""``afa-bench compare`` and ``gate`` from the command line: exit codes, files, GitHub, and names that each format must escape."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pytest
from results_factory import METHODS, metric, rewrite, write_cell, write_results
from typer.testing import CliRunner, Result

from afa_bench.cli import app
from afa_bench.cli.exits import NOTHING_TO_DO, USAGE, exit_code
from afa_bench.errors import UserError
from afa_bench.gate.github import PAGE

HOSTILE = "::error::x\r\n## [y](z)|%0A,\x1b[31m<script>\"'&]]>\x00"
POLICY = "metrics: {clip_t_mini: {margin: 0.02}}\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    Path("policy.yaml").write_text(POLICY)


def run(*words: str) -> Result:
    return CliRunner().invoke(app(), list(words))


def gate(*words: str) -> Result:
    return run("gate", "base", "head", "--policy", "policy.yaml", *words)


def refused(*words: str) -> UserError:
    error = run(*words).exception
    assert isinstance(error, UserError), error
    return error


def test_a_gate_that_passes_writes_three_files() -> None:
    for side in ("base", "head"):
        write_results(Path(side))
    done = gate("--out", "out")
    assert done.exit_code == 0, done.output
    assert "Gate passed: 16 pass" in done.stdout
    assert "margin: 0.02" in done.stdout
    content = json.loads(Path("out/gate.json").read_text())
    assert (content["exit_code"], content["counts"], len(content["findings"])) == (0, {"pass": 16}, 16)
    assert content["findings"][0] | {"base": 0, "head": 0} == {
        "group": "mini-1", "method": "base", "label": "base: people", "task": "generate", "steps": 10, "metric": "clip_t_mini",
        "title": "CLIP-T (mini)", "kind": "per-sample", "direction": "higher", "verdict": "pass", "reason": "",
        "base": 0, "head": 0,
        "better_by": 0.0, "low": 0.0, "high": 0.0, "pairs": 48, "win_rate": 0.5, "margin": 0.02, "p_holm": 1.0,
    }  # fmt: skip
    assert Path("out/summary.md").read_text().startswith("### Gate passed: 16 pass\n")
    suite = ET.parse("out/junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("16", "0", "0")


def test_the_default_policy_is_printed() -> None:
    for side in ("base", "head"):
        write_results(Path(side))
    done = run("gate", "base", "head")
    assert done.exit_code == 0
    assert "clip_t_mini:\n    margin: 0.016\n" in done.stdout
    assert "Gate passed: 24 pass" in done.stdout


def test_a_regression_fails() -> None:
    write_cell(Path("base"))
    write_cell(Path("head"), skill=-0.1)
    done = gate("--out", "out")
    assert done.exit_code == 1
    assert re.search(r"mini-1: afa, 10 steps .* -0\.100 ±0\.\d+ +0\.02 +regressed", done.stdout)
    failure = ET.parse("out/junit.xml").getroot().find("./testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("type") == "regressed"
    summary = Path("out/summary.md").read_text()
    assert "### Gate failed: 1 regressed" in summary
    assert "::" not in done.stdout  # annotations are GitHub's alone


def test_an_open_question_fails_only_when_strict() -> None:
    write_cell(Path("base"))
    write_cell(Path("head"), skill=-0.02)
    assert gate().exit_code == 0
    done = gate("--strict", "--out", "out")
    assert done.exit_code == 4
    assert "undecided, and strict: 1 inconclusive" in done.stdout
    assert ET.parse("out/junit.xml").getroot()[0].get("failures") == "1"


def test_lost_samples_fail() -> None:
    write_cell(Path("base"))
    head = write_cell(Path("head"))
    pd.read_parquet(head.samples).iloc[1:].to_parquet(head.samples)
    done = gate()
    assert done.exit_code == 1
    assert "lost: 1 of 48 samples not in HEAD: p00/0/0: CLIP-T (mini) (mini-1: afa, 10 steps)" in done.stdout


def test_nothing_comparable() -> None:
    write_cell(Path("base"))
    write_cell(Path("head"), identity={"seed": 1})
    done = gate("--out", "out")
    assert done.exit_code == NOTHING_TO_DO
    assert "seed: 0 in BASE, 1 in HEAD" in done.stdout
    assert json.loads(Path("out/gate.json").read_text())["exit_code"] == NOTHING_TO_DO
    assert exit_code(refused("compare", "base", "head")) == NOTHING_TO_DO


def test_a_filter_that_leaves_nothing() -> None:
    write_cell(Path("base"), label="one")
    write_cell(Path("base"), "mini-2", label="two", order=1)
    Path("policy.yaml").write_text(POLICY + "groups: [mini-1]\nmethods: [two]\n")
    assert run("gate", "base", "base", "--policy", "policy.yaml").exit_code == NOTHING_TO_DO


@pytest.mark.parametrize(
    ("policy", "words", "message"),
    [
        (POLICY, ("gate", "base", "none"), "none: no such folder"),
        (
            "metrics: {clip_t: {margin: 1}}",
            ("gate", "base", "base"),
            "policy.yaml: metrics: 'clip_t' .* did you mean 'clip_t_mini'",
        ),
        (
            POLICY + "steps: [50]",
            ("gate", "base", "base"),
            "policy.yaml: steps: 50 is in neither of the results: did you mean '10'",
        ),
        ("metric: 1", ("gate", "base", "base"), "policy.yaml: metric: unknown key: did you mean 'metrics'"),
    ],
)
def test_usage(policy: str, words: tuple[str, ...], message: str) -> None:
    write_cell(Path("base"))
    Path("policy.yaml").write_text(policy)
    error = refused(*words, "--policy", "policy.yaml")
    assert re.search(message, str(error)), error
    assert exit_code(error) == USAGE
    assert exit_code(refused("compare", "base", "base", "--only", "aaf")) == USAGE
    assert exit_code(refused("compare", "base", "base", "--format", "jsn")) == USAGE
    assert run("gate", "base").exit_code == USAGE


def test_corrupt_samples_are_refused() -> None:
    write_cell(Path("base"))
    write_cell(Path("head")).samples.write_bytes(b"PAR1")
    error = refused("gate", "base", "head")
    assert exit_code(error) == USAGE
    assert "samples.parquet: corrupt" in str(error)


def test_an_error_of_ours_is_no_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    write_cell(Path("base"))

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys.modules["afa_bench.gate"], "judge", broken)  # which `afa_bench.gate`, the function, hides
    done = run("gate", "base", "base")
    assert done.exit_code == 5
    assert "ZeroDivisionError" in done.stderr


def hostile_sides() -> None:
    write_cell(Path("base"), label=HOSTILE)
    write_cell(Path("base"), label="fine", order=1)
    title = {"clip_t_mini": metric(HOSTILE, 0.8, 48, 0)}
    for side in ("base", "head"):
        write_cell(Path(side), "mini-2", label="titled", order=2, metrics=title)
        write_cell(Path(side), label="fine", order=1, metrics=title)
        write_cell(Path(side), label=HOSTILE, metrics=title)
    file = next(Path("head").glob("mini-1-0.*/samples.parquet"))
    rows = pd.read_parquet(file)
    rows.loc[3, "error"] = HOSTILE
    rows.to_parquet(file)
    for file in Path().glob("*/mini-1-0.*/cell.json"):  # half a character, which JSON can hold and UTF-8 cannot
        rewrite(file, "\\u0000", "\\ud800\\u0000")
    file = next(Path("head").glob("mini-1-1.*/samples.parquet"))
    rows = pd.read_parquet(file)
    rows["clip_t_mini"] -= 0.5
    rows.to_parquet(file)


def test_hostile_names_stay_text(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile_sides()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "page.md")
    Path("page.md").write_text("before\n")
    done = gate("--out", "out")
    assert done.exit_code == 1, done.output
    assert "\x1b" not in done.stdout

    lines = done.stdout.splitlines()
    token = re.fullmatch("::stop-commands::([0-9a-f]{32})", lines[0])
    assert token is not None
    end = lines.index(f"::{token[1]}::")
    notes = lines[end + 1 :]
    assert len(notes) == 2
    for note in notes:
        command = re.fullmatch(r"::error title=([^:,\r\n]*)::([^\r\n]*)", note)
        assert command is not None, note
        assert "%3A%3Aerror%3A%3Ax ## [y](z)|%250A%2C" in command[1]
        assert "::error::x ## [y](z)|%250A," in command[2]

    cases = ET.parse("out/junit.xml").getroot().findall("./testsuite/testcase")
    assert len(cases) == 3
    assert any("<script>\"'&]]>" in (case.get("classname") or "") for case in cases)
    failure = cases[0].find("failure")
    assert failure is not None
    assert failure.get("type") == "failed"
    assert "failed in HEAD: p01/1/0: ::error::x ## [y](z)|%0A,\N{REPLACEMENT CHARACTER}[31m<script>" in (failure.text or "")

    summary = Path("out/summary.md").read_text()
    assert Path("page.md").read_text() == "before\n" + summary
    assert "<script>" not in summary
    assert "\\[y\\]" in summary
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 8 for line in summary.splitlines() if line.startswith("|"))
    assert json.loads(Path("out/gate.json").read_text())["findings"][0]["label"] == HOSTILE.replace("\x00", "\ud800\x00")


def test_what_is_on_the_page_already_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cell(Path("base"))
    write_cell(Path("head"))
    page = tmp_path / "page.md"
    page.write_text("x" * (PAGE - 500))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert gate().exit_code == 0
    assert page.stat().st_size <= PAGE
    assert page.read_text().endswith("\n\nToo much for this page: see summary.md and gate.json.\n")


def test_many_annotations_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(14):
        write_cell(Path("base"), label=str(index), order=index)
    write_cell(Path("head"), label="0")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    notes = [line for line in gate().stdout.splitlines() if line.startswith("::error ")]
    assert len(notes) == 10
    assert notes[-1] == "::error title=afa-bench gate::and 4 more: see the job's summary"


def test_open_questions_are_warnings_until_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    write_cell(Path("base"))
    write_cell(Path("head"), skill=-0.02)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "::warning title=inconclusive%3A CLIP-T (mini)::" in gate().stdout
    assert "::error title=inconclusive%3A CLIP-T (mini)::" in gate("--strict").stdout


def test_compare_tells() -> None:
    for side, skills in (("base", 0.0), ("head", -0.01)):
        for index, (method, label, skill) in enumerate(METHODS):
            write_cell(Path(side), method=method, label=label, skill=skill + skills * (label == "afa"), order=index)
    done = run("compare", "base", "head")
    assert done.exit_code == 0
    verdicts = [line.split()[-1] for line in done.stdout.splitlines() if "CLIP-T" in line]
    assert verdicts == ["same", "same", "same", "worse"]
    assert "Margin" not in done.stdout
    rows = json.loads(run("compare", "base", "head", "--format", "json", "--only", "afa", "--metrics", "clip_t_mini").stdout)
    assert [(row["verdict"], row["margin"]) for row in rows] == [("worse", None)]
    assert run("compare", "base", "head", "-f", "markdown").stdout.startswith("| Cell | Metric |")


def test_needs_no_torch() -> None:
    write_cell(Path("base"))
    code = (
        "import sys\nfrom afa_bench.cli import app\n"
        "app()(['gate', 'base', 'base', '--out', 'out'], standalone_mode=False)\n"
        "app()(['compare', 'base', 'base'], standalone_mode=False)\n"
        "print({'torch', 'diffusers', 'transformers', 'pandas'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
