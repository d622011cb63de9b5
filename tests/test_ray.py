"""The Ray engine on this machine: the rows of one process, whatever dies."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from runs import Silent, planned, run
from test_run import CELLS, hashes, rows, summaries

from afa_bench.engine.ray import ATTEMPTS, RayEngine
from afa_bench.plan import make_plan
from afa_bench.run import Outcome, run_plan
from afa_bench.suite import read_suite
from baselines.weighted import Weighted


class Killing(Silent):
    """Kills one worker when the first shard is done."""

    killed = 0

    def advance(self, label: str, steps: int) -> None:
        if not self.killed:
            workers = [
                process
                for process in psutil.process_iter(["cmdline"])
                if "ray::_Worker" in "".join(process.info["cmdline"] or ())
            ]
            workers[0].kill()
            self.killed = workers[0].pid


def run_ray(suite, out, progress) -> Outcome:
    return run_plan(make_plan(read_suite(suite)), out, "cpu", 4, progress, engine=RayEngine(workers=2))


@pytest.mark.slow
def test_workers_make_the_rows_of_one_process_though_one_is_killed(tiny_suite, tmp_path):
    run(tiny_suite, tmp_path / "one")
    progress = Killing()
    outcome = run_ray(tiny_suite, tmp_path / "ray", progress)
    assert progress.killed
    assert (outcome.generated, outcome.failed) == (CELLS * 10, 0)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "one")
    assert summaries(tmp_path / "ray") == summaries(tmp_path / "one")
    assert not list((tmp_path / "ray").rglob("*.claim.*"))


class Deadly(Weighted):
    """Its process dies whenever its denoiser is built, as of a driver's fault or too much memory."""

    def __init__(self, deaths: Path) -> None:
        self.deaths = deaths

    def build(self, group, models, options):
        with self.deaths.open("a") as file:
            file.write("x")
        os._exit(1)


@pytest.mark.slow
def test_a_shard_at_which_every_worker_dies_becomes_rows_with_an_error(tiny_suite, tmp_path, monkeypatch):
    from ray import cloudpickle

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    plan, deaths = planned(tiny_suite, only=["one", "weighted"]), tmp_path / "deaths"
    cells = [replace(cell, method=Deadly(deaths)) if cell.label == "weighted" else cell for cell in plan.cells]
    outcome = run_plan(replace(plan, cells=cells), tmp_path, "cpu", 4, Silent(), engine=RayEngine(workers=1))
    assert (outcome.generated, outcome.failed, outcome.left) == (20, 10, 0)
    assert deaths.read_text() == "x" * ATTEMPTS
    assert {row["error"] for row in rows(tmp_path)} == {None, f"the worker died {ATTEMPTS} times at this shard"}
    assert not list(tmp_path.rglob("*.claim.*"))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
