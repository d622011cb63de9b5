"""``afa-bench table`` from the command line: which results it finds, what it prints, what it refuses."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import typer
from results_factory import write_cell, write_results
from typer.testing import CliRunner, Result

from afa_bench.cli.exits import NOTHING_TO_DO, USAGE, exit_code
from afa_bench.cli.table import print_table, table
from afa_bench.errors import UserError
from afa_bench.tables import build_table, find, load_results, render


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one suite's results, far from any that are shipped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(find, "shipped", lambda name: tmp_path / "package")
    write_results(tmp_path / "results" / "tiny", (None, 10, 20), ("mini-1",))
    return tmp_path


def run(*words: str) -> Result:
    app = typer.Typer()
    app.command()(table)
    return CliRunner().invoke(app, list(words))


def refused(*words: str) -> UserError:
    error = run(*words).exception
    assert isinstance(error, UserError), error
    return error


def test_prints_the_table(here: Path) -> None:
    done = run("tiny")
    assert done.exit_code == 0
    assert done.stdout == render(build_table(load_results(here / "results" / "tiny")), "rich")
    assert max(map(len, done.stdout.splitlines())) > 80  # not cut to the width of no terminal
    assert "\x1b" not in done.stdout


def test_fits_a_terminal(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "72")
    print_table(build_table(load_results(here / "results" / "tiny")))
    printed = capsys.readouterr().out
    assert max(len(re.sub("\x1b.*?m", "", line)) for line in printed.splitlines()) <= 72
    assert "\x1b[1m" in printed


def test_options(here: Path) -> None:
    done = run(
        "results/tiny", "--steps", "20,10", "--format", "json", "--metrics", "clip_t_mini", "--only", "afa,base", "--vs", "afa"
    )
    cells = [cell for row in json.loads(done.stdout)["groups"][0]["rows"] for cell in row["cells"]]
    assert [(cell["metric"], cell["steps"]) for cell in cells] == [("clip_t_mini", 20), ("clip_t_mini", 10)] * 3
    assert cells[0]["difference"]["high"] < 0
    assert run("tiny", "--group", "mini-1", "--format", "csv").stdout.count("\n") == 1 + 4 * 5


def test_the_latest_by_default(here: Path) -> None:
    write_cell(here / "results" / "later")
    for file in (here / "results" / "later").rglob("*.json"):
        os.utime(file, (2e9, 2e9))
    done = run("--format", "csv")
    assert "results/later" in done.stderr.replace("\\", "/")
    assert done.stdout.count("\n") == 3


def test_shipped_results_by_name(here: Path) -> None:
    write_cell(here / "package" / "mini_full")
    assert run("mini_full").exit_code == 0
    assert "mini_full" in str(refused("mini_ful"))
    (here / "tiny").mkdir()  # a folder of this name without results does not hide the suite
    assert run("tiny").exit_code == 0


def test_nothing_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "empty").mkdir()
    assert exit_code(refused("empty")) == NOTHING_TO_DO
    write_cell(here / "package" / "mini_full")
    monkeypatch.chdir(here / "empty")
    error = refused()
    assert exit_code(error) == NOTHING_TO_DO
    assert "mini_full" in str(error)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tiny", "--format", "latx"), "unknown format 'latx': did you mean 'latex'"),
        (("tiny", "--steps", "10,many"), "--steps: expected whole numbers .* found '10,many'"),
        (("tiny", "--steps", "-5"), "--steps: expected whole numbers .* found '-5'"),
        (("tiny", "--steps", "30"), "no results at 30 steps: known: 10, 20"),
        (("tiny", "--only", "weigthed"), "did you mean 'weighted'"),
        (("tine",), "tine: no such folder, .*did you mean 'tiny'"),
    ],
)
def test_mistakes_are_one_line(here: Path, words: tuple[str, ...], message: str) -> None:
    error = refused(*words)
    assert re.search(message, str(error)), error
    assert exit_code(error) == USAGE
    assert "\n" not in str(error)
