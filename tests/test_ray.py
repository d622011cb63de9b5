"""The Ray engine on this machine: the rows of one process, whatever dies."""

from __future__ import annotations

import psutil
import pytest
from runs import Silent, run
from test_run import CELLS, hashes, summaries

from afa_bench.engine.ray import RayEngine
from afa_bench.plan import make_plan
from afa_bench.run import Outcome, run_plan
from afa_bench.suite import read_suite


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
