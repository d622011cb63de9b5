"""What is around a command: no home, none that may be read, no terminal, no network, options that have no effect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT
from typer.testing import CliRunner

from afa_bench import paths, terminal
from afa_bench.cli import app
from afa_bench.errors import UserError
from afa_bench.fetch.library import Library
from afa_bench.fetch.sources import HubFile
from afa_bench.fetch.transfer import Client, Patience
from afa_bench.models.group import read_group_file
from afa_bench.plan import make_plan
from afa_bench.store.layout import PlannedCell, Store
from afa_bench.store.retry import retry_failed
from afa_bench.suite import read_suite


def test_a_user_without_a_home_has_no_cache_and_no_error(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", str)  # as it is where neither HOME nor the system names one
    for variable in ("HOME", "XDG_CACHE_HOME", "AFA_BENCH_DATA"):
        monkeypatch.delenv(variable, raising=False)
    assert paths.data_folder() == Path("/nonexistent/.cache/afa-bench")
    assert paths.expanded("~/x") == Path("~/x")
    assert Library().find(HubFile(repo="me/it", file="x.safetensors")) is None


def test_a_home_that_may_not_be_read_is_an_empty_one(tmp_path, monkeypatch):
    def denied(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
    source = HubFile(repo="me/it", file="x.safetensors")
    monkeypatch.setattr(Path, "stat", denied)
    monkeypatch.setattr(Path, "is_file", denied)
    assert Library().find(source) is None


@pytest.mark.parametrize("drawn", [False, True])
def test_without_a_terminal_progress_is_a_line_a_minute(monkeypatch, capsys, drawn):
    from rich.console import Console

    now = [0.0]
    console = Console(stderr=True, force_terminal=drawn, width=200, markup=False)
    monkeypatch.setattr(terminal, "messages", lambda: console)
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    bars = terminal.Bars()
    with bars.stage("generate", 100):
        for second in range(0, 300, 10):
            now[0] = float(second)
            bars.advance("tiny [one] 2 steps", 1)
    lines = [line for line in capsys.readouterr().err.splitlines() if " min; " in line]
    assert lines == ([] if drawn else [f"generate: {6 * m + 1} of 100 in {m} min; tiny [one] 2 steps" for m in range(1, 5)])
    with terminal.Bars(shown=False).stage("generate", 1):
        now[0] += 1000
    assert not capsys.readouterr().err
    with terminal.progress() as others:  # those of searches, which have no end, and of trainings
        task = others.add_task("sweep 1", total=None, now="")
        now[0] += 120
        others.update(task, completed=3, now="loss 0.5")
    assert drawn or capsys.readouterr().err == "sweep 1: 2 min; loss 0.5\n"


@pytest.mark.slow
def test_a_terminal_that_hangs_up_ends_the_command_with_its_claims(tmp_path):
    code = (
        "import sys, time; from afa_bench import cli; from afa_bench.store.claims import claimed; from pathlib import Path\n"
        "def work():\n    with claimed(Path(sys.argv[1])):\n        print('at it', flush=True); time.sleep(60)\n"
        "cli.app = lambda: work\ncli.main()\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "work")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "at it\n"
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=30) == 128 + signal.SIGHUP
        assert process.stderr.read() == "afa-bench: hung up; run the same command again to go on\n"
    assert not list(tmp_path.iterdir())


def test_a_host_that_cannot_be_reached_is_asked_twice_for_all_files(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    client = Client(Patience(tries=5, backoff=0.1))
    begun = time.monotonic()
    for name in "abcdefgh":
        with pytest.raises(UserError, match=f"{name}.safetensors"):
            client.facts(HubFile(repo="me/it", file=f"{name}.safetensors"))
    assert time.monotonic() - begun < 2


ARRAYS = {
    "1-8": ({"ID": "3", "MIN": "1", "MAX": "8", "COUNT": "8"}, "3/8"),
    "0-8:4": ({"ID": "8", "MIN": "0", "MAX": "8", "COUNT": "3", "STEP": "4"}, "3/3"),
    "3,7": ({"ID": "7", "MIN": "3", "MAX": "7", "COUNT": "2"}, "1/1"),
    "none": ({}, "1/1"),
}


@pytest.mark.parametrize("array", ARRAYS)
def test_slurm_gives_each_task_its_part_whatever_the_array(tmp_path, array):
    given, part = ARRAYS[array]
    (tmp_path / "afa-bench").write_text('#!/bin/bash\necho "$@"\n')
    (tmp_path / "afa-bench").chmod(0o755)
    tasks = {f"SLURM_ARRAY_TASK_{name}": value for name, value in given.items()}
    environment = {**os.environ, **tasks, "PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}
    words = ["bash", str(ROOT / "examples" / "slurm.sh"), "mini", "out", "--strict"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"run mini --out out --shard {part} --strict\n", "")


@pytest.mark.parametrize("option", [["--workers", "2"], ["--address", "auto"]])
def test_options_of_ray_without_ray_are_refused(tiny_suite, option):
    with pytest.raises(UserError, match=f"{option[0]}: does nothing without --engine ray"):
        app()(["run", str(tiny_suite), *option], standalone_mode=False)


def test_retry_with_nothing_to_do_writes_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path / "suite")
    store.write_planned("suite", 1, [PlannedCell("a", "g", "a", 1, 1)])
    store.cell("a").write_about({"group": "g", "label": "a", "steps": 1})

    def refuse(*args):
        raise AssertionError("written")

    monkeypatch.setattr("afa_bench.store.claims.create", refuse)
    assert retry_failed(store.root).failed == 0
    assert "no failed samples to make again" in CliRunner().invoke(app(), ["retry", str(store.root)]).output


@pytest.mark.parametrize(
    ("text", "known"), [("{a: {fodler: x}}", "did you mean 'folder'"), ("{a: {xyz: 1}}", "known: name, folder")]
)
def test_an_unknown_key_of_an_entry_is_answered_with_those_of_entries(tmp_path, text, known):
    (tmp_path / "g.yaml").write_text(f"pipeline: base\nmodels: {text}\n")
    with pytest.raises(UserError, match=rf"models\.0\.\w+: unknown key: {known}"):
        read_group_file(str(tmp_path / "g.yaml"), tmp_path, "")


def test_a_column_of_categories_that_no_option_names_is_said(tiny_suite):
    (tiny_suite.parent / "prompts.csv").write_text("prompt,category\na,b\n")
    tiny_suite.write_text(tiny_suite.read_text().replace("prompts.txt", "prompts.csv"))
    plan = make_plan(read_suite(tiny_suite))
    assert any("the column category is not read: category_column: category takes it" in note for note in plan.notes)
