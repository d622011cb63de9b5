"""Claims: one owner at a time, and none for ever."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from afa_bench.store.claims import EXPIRES, claimed
from afa_bench.store.layout import Store
from afa_bench.store.owners import active_claims, expired_claims


def age(claim, seconds):
    then = time.time() - seconds
    os.utime(claim, (then, then))


def elsewhere(work, number=0):
    """A claim as another machine would leave it."""
    claim = work.with_name(f"{work.name}.claim.{number}")
    claim.write_text(json.dumps({"host": "other", "machine": "other", "pid": 1, "process": "1-1"}))
    return claim


def test_one_owner_at_a_time_and_nothing_left(tmp_path):
    work = tmp_path / "folder" / "shard"
    with claimed(work) as mine, claimed(work) as second, claimed(tmp_path / "folder" / "other") as other:
        assert (mine, second, other) == (True, False, True)
        assert list(active_claims(tmp_path / "folder")) == ["other", "shard"]
        assert {owner.pid for owner in active_claims(tmp_path / "folder").values()} == {os.getpid()}
    assert not list((tmp_path / "folder").iterdir())
    with claimed(work) as again:
        assert again


def test_a_claim_of_another_machine_holds_until_it_expires(tmp_path):
    work = tmp_path / "shard"
    claim = elsewhere(work)
    with claimed(work) as mine:
        assert not mine
    age(claim, EXPIRES + 5)
    assert active_claims(tmp_path) == {}
    with claimed(work) as mine:
        assert mine
        assert (tmp_path / "shard.claim.1").is_file()
        with claimed(work) as second:
            assert not second
    assert not list(tmp_path.iterdir())


def test_a_claim_counts_as_debris_only_once_nobody_has_taken_over(tmp_path):
    work = tmp_path / "shard"
    claim = elsewhere(work)
    assert expired_claims(tmp_path) == []
    age(claim, EXPIRES + 5)
    assert expired_claims(tmp_path) == [claim]
    with claimed(work):
        assert expired_claims(tmp_path) == []


def test_a_damaged_claim_expires_too(tmp_path):
    work = tmp_path / "shard"
    claim = elsewhere(work)
    claim.write_text("{")
    with claimed(work) as mine:
        assert not mine
    age(claim, EXPIRES + 5)
    with claimed(work) as mine:
        assert mine


def test_the_claim_of_a_process_that_was_killed_ends_at_once(tmp_path):
    work = tmp_path / "shard"
    code = (
        "import pathlib, sys, time; from afa_bench.store.claims import claimed\n"
        "with claimed(pathlib.Path(sys.argv[1])) as mine: print(mine, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(work)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    with claimed(work) as mine:
        assert not mine
    process.kill()
    process.wait()
    with claimed(work) as mine:
        assert mine


def test_processes_that_plan_at_the_same_moment_lose_no_line(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from afa_bench.store.layout import PlannedCell, Store\n"
        "root, who = pathlib.Path(sys.argv[1]), sys.argv[2]\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for steps in range(1, 9):\n"
        "    Store(root).write_planned('suite', 1, [PlannedCell(f'{who}{steps}', 'g', who, steps, 10)], whole=False)\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "suite"), who], **pipes) for who in "abcd"]
    for process in processes:
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    planned = {cell.name for cell in Store(tmp_path / "suite").planned()}
    assert planned == {f"{who}{steps}" for who in "abcd" for steps in range(1, 9)}
    assert not list(tmp_path.rglob("*.claim.*"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_at_any_moment_leaves_no_claim(tmp_path):
    class Stopped(BaseException):
        pass

    arrived = []

    def stop(number, frame):
        arrived.append(number)
        raise Stopped

    def work():
        while not arrived:  # a signal may end in a place where Python drops its exception
            with claimed(tmp_path / "work"):
                pass

    rng = random.Random(0)
    term = signal.signal(signal.SIGTERM, stop)
    alarm = signal.signal(signal.SIGALRM, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    try:
        for _ in range(500):
            arrived.clear()
            with suppress(Stopped):
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 2e-3))
                work()
            assert not list(tmp_path.iterdir())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, alarm)
        signal.signal(signal.SIGTERM, term)
