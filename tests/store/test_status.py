"""What status, retry and gc say of a results folder, and what they leave alone."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from afa_bench.cli import app
from afa_bench.cli.status import duration, print_status, size
from afa_bench.errors import UserError
from afa_bench.store.claims import EXPIRES, claimed, clock
from afa_bench.store.garbage import find_dropped, find_garbage, remove_garbage
from afa_bench.store.layout import CellStore, PlannedCell, Store
from afa_bench.store.retry import retry_failed
from afa_bench.store.status import read_status

SAMPLES = 80  # two shards of 32 and one of 16


def row(index: int, error: str | None = None, seconds: float = 2.0) -> dict[str, object]:
    file = None if error else f"{index:016x}.png"
    return {"sample_id": f"p{index}/0/0", "file": file, "error": error, "seconds": seconds}


def shard(cell: CellStore, number: int, failed: tuple[int, ...] = (), seconds: float = 2.0) -> None:
    indices = range(number * 32, min((number + 1) * 32, SAMPLES))
    rows = [row(index, "RuntimeError: x" if index in failed else None, seconds) for index in indices]
    for each in rows:
        if each["file"]:
            cell.write_image(str(each["file"]), b"png")
    cell.write_shard(number, rows)


def cell(store: Store, name: str, scored: int | None = None) -> CellStore:
    """A cell's folder; ``scored`` counts its failed samples."""
    files = store.cell(name)
    files.write_about({"group": "g", "label": name, "steps": 10})
    if scored is not None:
        files.write_summary({"samples": SAMPLES, "failed": scored, "metrics": {}})
    return files


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run that has finished one cell, is at another, and has not begun a third."""
    store = Store(tmp_path / "suite")
    planned = [("whole", 10), ("half", 20), ("open", 40)]
    store.write_planned("suite", 1, [PlannedCell(name, "g", name, steps, SAMPLES) for name, steps in planned])
    whole, half = cell(store, "whole", scored=1), cell(store, "half")
    for number in range(3):
        shard(whole, number, failed=(3,), seconds=1.0)
    shard(half, 0, failed=(7, 8))
    return store


def test_status_counts_what_the_files_say_while_a_run_goes_on(store):
    with claimed(store.cell("half").shard(1)) as mine:
        assert mine
        found = read_status(store.root)
        assert found.disk == sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file())
    counts = [(one.cell.name, one.done, one.failed, one.left, one.scored) for one in found.cells]
    assert counts == [("whole", 79, 1, 0, True), ("half", 30, 2, 48, False), ("open", 0, 0, 80, False)]
    assert [(claim.shard, claim.owner.pid) for claim in found.cells[1].running] == [(1, os.getpid())]
    assert abs(found.cells[1].running[0].owner.since - time.time()) < 60
    assert found.rate == 1 / 2.0
    assert found.work_left == 48 * 2.0 + 80 * 40 * (1.0 / 10 + 2.0 / 20) / 2  # the row of 40 steps has no sample yet
    assert found.time_left == found.work_left
    assert read_status(store.root).time_left is None  # nobody is at work now


def test_cells_that_no_plan_lists_are_counted_too(store):
    cell(store, "old", scored=0)
    shard(cell(store, "lost"), 0)
    found = {one.cell.name: one for one in read_status(store.root).cells}
    assert list(found) == ["whole", "half", "open", "lost", "old"]
    assert (found["old"].planned, found["old"].done) == (SAMPLES, SAMPLES)
    assert (found["lost"].planned, found["lost"].done, found["lost"].left) == (None, 32, 0)


def test_status_of_a_folder_that_has_no_results_or_a_damaged_file_is_one_line(store, tmp_path):
    with pytest.raises(UserError, match="no results in it"):
        read_status(tmp_path / "nothing")
    (store.root / "half" / "state" / "shard-000000.json").write_bytes(b"{")
    with pytest.raises(UserError, match=r"shard-000000\.json: damaged"):
        read_status(store.root)


def test_status_is_a_table_and_json_and_needs_no_torch(store):
    with claimed(store.cell("half").shard(1)), claimed(store.root / "scoring"):
        code = (
            "import sys; from afa_bench.cli import app; app()(sys.argv[1:], standalone_mode=False); print('torch' in sys.modules)"
        )
        words = [sys.executable, "-c", code, "status", str(store.root)]
        shown = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "120"}).stdout
        out = CliRunner().invoke(app(), ["status", str(store.root), "--json"]).stdout
    assert shown.rstrip().endswith("False")
    assert "g half 20 steps" in shown
    assert f"g half 20 steps, shard 1: process {os.getpid()}" in shown
    assert f"scoring: process {os.getpid()}" in shown
    found = json.loads(out)
    assert found["total"] == {"samples": 240, "done": 109, "failed": 3, "left": 128, "scored": 1, "running": 1}
    assert found["cells"][1]["running"][0]["pid"] == os.getpid()
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 # closed with the process
    print_status(read_status(store.root), console)
    assert "nobody is at work" in console.export_text()


def test_numbers_are_whole_and_times_have_a_zone_at_80_columns(tmp_path: Path) -> None:
    store = Store(tmp_path / "suite")
    label = "an aggregator of three, trained on pairs"
    store.write_planned("suite", 1, [PlannedCell("cell", "sd15-group-1", label, 50, 41_300), PlannedCell("o", "g", "o", 20, 9)])
    shard(cell(store, "cell"), 0)
    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True)
    with claimed(store.cell("cell").shard(1)):
        print_status(read_status(store.root), console)
    shown = console.export_text()
    assert "41,268" in shown
    assert "41,277" in shown
    assert "…" not in shown
    assert max(map(len, shown.splitlines()[:5])) <= 80
    assert re.search(r" since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\n", shown)


def test_linked_cells_count(store: Store, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in store.root.glob("*/"):
        (linked / path.name).symlink_to(path)
    (linked / "suite.json").write_bytes((store.root / "suite.json").read_bytes())
    found, whole = read_status(linked), read_status(store.root)
    assert [(one.cell.name, one.done) for one in found.cells] == [(one.cell.name, one.done) for one in whole.cells]
    assert found.disk >= whole.disk


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (duration(45.4), "45 s"),
        (duration(720), "12 min"),
        (duration(3599.9), "1 h 0 min"),
        (size(999), "999 bytes"),
        (size(3.4e9), "3.4 GB"),
    ],
)
def test_numbers_for_people(text, expected):
    assert text == expected


def test_retry_takes_away_what_failed_and_nothing_else(store):
    before = {path.relative_to(store.root).as_posix() for path in store.root.rglob("*")}
    found = retry_failed(store.root)
    assert (found.failed, found.samples, found.left) == (3, 64, {})
    after = {path.relative_to(store.root).as_posix() for path in store.root.rglob("*")}
    assert before - after == {"whole/summary.json", "whole/state/shard-000000.json", "half/state/shard-000000.json"}
    assert after <= before
    assert retry_failed(store.root).failed == 0


def test_retry_leaves_what_is_being_made_and_says_what_it_cannot_do(store):
    cell(store, "bare", scored=4)
    with claimed(store.cell("half").shard(0)):
        found = retry_failed(store.root)
    assert found.failed == 1
    assert list(found.left) == ["bare"]
    assert store.cell("half").shard_rows(0) is not None
    assert store.cell("bare").summary()
    with claimed(store.root / "scoring"), pytest.raises(UserError, match="is being scored"):
        retry_failed(store.root)
    done = CliRunner().invoke(app(), ["retry", str(store.root)])
    assert "2 failed samples will be made again by the next run, with the 30 others of their shards" in done.output


def age(path: Path, seconds: float = EXPIRES + 60) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_gc_finds_debris_and_no_result(store):
    assert find_garbage(store.root) == []
    half, gone = store.cell("half"), cell(store, "gone")
    shard(gone, 0)
    cell(store, "old", scored=0)  # a result, though in no plan
    parts = [half.images / ".a.png.0123abcd.part", store.root / ".clock.0123abcd", half.folder / "state" / ".probe"]
    for part in parts:
        part.touch()
    young = half.images / ".b.png.0123abcd.part"
    young.touch()
    for part in parts:
        age(part)
    stale = half.folder / "state" / "shard-000002.json.claim.0"
    stale.write_text(json.dumps({"host": "other", "machine": "other", "pid": 1, "process": "1-1", "since": 0}))
    age(stale)
    features = [half.features("lite0-01234567", number) for number in (0, 1)]
    for file in features:
        file.touch()
    found = {garbage.path for garbage in find_garbage(store.root)}
    assert found == {*parts, stale, features[1], gone.folder}
    with claimed(gone.shard(1)):
        assert gone.folder not in {garbage.path for garbage in find_garbage(store.root)}
    (half.images / str(row(0)["file"])).unlink()
    assert features[0] in {garbage.path for garbage in find_garbage(store.root)}

    shown = CliRunner().invoke(app(), ["gc", str(store.root)])
    assert "7 to remove" in shown.output
    assert all(garbage.path.exists() for garbage in find_garbage(store.root))
    kept = {path for name in ("whole", "old", "half") for path in store.root.joinpath(name).rglob("*") if path.is_file()}
    CliRunner().invoke(app(), ["gc", str(store.root), "--yes"])
    assert find_garbage(store.root) == []
    assert {path for path in kept if not path.exists()} == {*parts, stale, *features} - {store.root / ".clock.0123abcd"}
    assert young.exists()


def test_gc_removes_finished_cells_that_the_suite_no_longer_has_only_if_asked_to(store):
    before, other = cell(store, "before", scored=0), cell(store, "other", scored=0)
    before.write_about({"group": "g", "label": "whole", "steps": 10})  # as the suite has it, with other options
    half = other.images / ".a.png.0123abcd.part"
    half.parent.mkdir()
    half.touch()
    age(half)
    assert [(one.path, one.reason) for one in find_dropped(store.root)] == [
        (before.folder, "finished, but no longer in the suite; it has whole in its place"),
        (other.folder, "finished, but no longer in the suite"),
    ]
    with claimed(before.shard(1)):
        assert [one.path for one in find_dropped(store.root)] == [other.folder]

    def gc(*options: str) -> str:
        return CliRunner().invoke(app(), ["gc", str(store.root), *options]).output

    assert "2 finished and no longer in the suite" in gc()
    assert "2 to remove" in gc("--dropped")  # with what is in their folders
    assert half.exists()
    assert "1 to remove" in gc("--yes")
    assert before.summary()
    assert other.summary()
    assert not half.exists()
    assert "2 to remove" in gc("--dropped", "--yes")
    assert store.cells() == ["half", "whole"]


def test_gc_leaves_alone_what_no_run_writes(store, tmp_path):
    strangers = [
        store.root / "notes" / ".thesis.tex.0123abcd.part",
        store.root / "notes" / "storm.claim.1",
        store.root / ".bashrc.old",
        store.root / "storm.claim.1",
        store.root / "whole" / "mine" / ".x.0123abcd.part",
    ]
    elsewhere = tmp_path / "home" / ".bashrc.0123abcd.part"
    for path in (*strangers, elsewhere):
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        age(path)
    assert find_garbage(store.root) == []
    with pytest.raises(UserError, match="home: no results in it"):
        find_garbage(elsewhere.parent)


def test_without_a_plan_no_cell_is_debris(store):
    (store.root / "suite.json").unlink()
    assert find_garbage(store.root) == find_dropped(store.root) == []
    remove_garbage([])


def test_claims_survive_a_clock_that_is_set(tmp_path):
    work = tmp_path / "shard"
    claim = work.with_name("shard.claim.0")
    claim.write_text(json.dumps({"host": "other", "machine": "other", "pid": 1, "process": "1-1", "since": 0}))
    age(claim, seconds=-EXPIRES / 2)
    with claimed(work) as mine:
        assert not mine
    age(claim, seconds=-3600)  # the clock was set back by an hour since; its owner would have renewed it
    with claimed(work) as mine:
        assert mine
    assert abs(clock(tmp_path) - time.time()) < 60


def test_every_verb_has_a_help_line():
    commands = typer.main.get_command(app()).commands
    assert {"status", "retry", "gc"} <= set(commands)
