"""The Ray engine on this machine: the rows of one process, whatever dies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from runs import CELLS, hashes, planned, run, summaries

from afa_bench.errors import UserError
from afa_bench.generation.ray import ATTEMPTS, REACHED, RayEngine, _cluster
from afa_bench.plan import make_plan
from afa_bench.progress import Silent
from afa_bench.run import RunOutcome, run_plan
from afa_bench.suite import read_suite
from baselines.merge import Merge


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


def run_ray(suite, out, progress) -> RunOutcome:
    return run_plan(make_plan(read_suite(suite)), out, "cpu", 4, progress, engine=RayEngine(workers=2))


@pytest.mark.slow
@pytest.mark.alone
def test_workers_make_the_rows_of_one_process_though_one_is_killed(tiny_suite, tmp_path):
    run(tiny_suite, tmp_path / "one")
    progress = Killing()
    outcome = run_ray(tiny_suite, tmp_path / "ray", progress)
    assert progress.killed
    assert (outcome.generated, outcome.failed) == (CELLS * 10, 0)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "one")
    assert summaries(tmp_path / "ray") == summaries(tmp_path / "one")
    assert not list((tmp_path / "ray").rglob("*.claim.*"))


class Deadly(Merge):
    """Its process dies whenever its denoiser is built, as of a driver's fault or too much memory."""

    def __init__(self, deaths: Path) -> None:
        self.deaths = deaths

    def build(self, group, models, options):
        with self.deaths.open("a") as file:
            file.write("x")
        os._exit(1)


@pytest.mark.slow
@pytest.mark.alone
def test_a_shard_at_which_every_worker_dies_stays_open_and_all_else_is_made(tiny_suite, tmp_path, monkeypatch):
    from ray import cloudpickle

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    plan, deaths = planned(tiny_suite, only=["one", "weighted"]), tmp_path / "deaths"
    cells = [replace(cell, method=Deadly(deaths)) if cell.label == "weighted" else cell for cell in plan.cells]
    with pytest.raises(UserError, match=f"{ATTEMPTS} workers died at shard 0 of tiny weighted 2 steps, which stay open"):
        run_plan(replace(plan, cells=cells), tmp_path, "cpu", 4, Silent(), engine=RayEngine(workers=1))
    assert deaths.read_text() == "x" * ATTEMPTS
    (made,) = tmp_path.rglob("shard-000000.json")
    assert made.parents[1].name.startswith("tiny-one.")
    assert not list(tmp_path.rglob("*.claim.*"))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.slow
@pytest.mark.alone
def test_a_home_that_cannot_be_written_is_not_needed(tiny_suite, tmp_path):
    code = (
        "import sys; from afa_bench.generation.ray import RayEngine; from afa_bench.run import run_plan\n"
        "from afa_bench.plan import make_plan; from afa_bench.suite import read_suite\n"
        "from afa_bench.progress import Silent; from pathlib import Path\n"
        "plan = make_plan(read_suite(Path(sys.argv[1])), only=['one'], limit=1)\n"
        "print(run_plan(plan, Path(sys.argv[2]), 'cpu', 4, Silent(), engine=RayEngine(workers=1)).failed)"
    )
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", code, str(tiny_suite), str(tmp_path / "out")]
    done = subprocess.run(command, env=surroundings | {"HOME": "/proc/nowhere"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "0"


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else gets."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "variable", "words"),
    [
        ("localhost:PORT", "", "--address: localhost:PORT: no Ray cluster there: .*refused"),
        ("ray://127.0.0.1:PORT", "", "--address: ray://127.0.0.1:PORT: no Ray cluster there: .*refused"),
        ("no-such-host.invalid:6379", "", "--address: no-such-host.invalid:6379: no Ray cluster there: "),
        ("auto", "127.0.0.1:PORT", "RAY_ADDRESS: 127.0.0.1:PORT: no Ray cluster there: .*refused"),
        (None, "ray://127.0.0.1:PORT", "RAY_ADDRESS: ray://127.0.0.1:PORT: no Ray cluster there: .*refused"),
        ("nonsense", "", "--address: nonsense: no Ray cluster there: (Invalid address|expected auto)"),  # newer and older Rays
        ("ray://", "", "--address: ray://: no Ray cluster there: expected auto"),
        ("other://x", "", "--address: other://x: no Ray cluster there: Module: other does not exist"),
    ],
)
def test_an_address_without_a_cluster_is_refused_at_once_in_one_line(address, variable, words, deaf, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", variable.replace("PORT", str(deaf)))
    begun = time.monotonic()
    with (
        pytest.raises(UserError, match=words.replace("PORT", str(deaf))) as caught,
        _cluster(address and address.replace("PORT", str(deaf))),
    ):
        pass
    assert time.monotonic() - begun < 2 * REACHED
    assert "\n" not in str(caught.value)


def test_a_cluster_that_is_gone_is_not_waited_for(deaf, tmp_path, monkeypatch):
    """Its address is still where ``auto`` finds the latest one that was started."""
    from ray._private import services

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(services, "find_gcs_addresses", set)  # those of other tests
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{deaf}")
    with pytest.raises(UserError, match=r"--address: auto: no Ray cluster there: .*refused"), _cluster("auto"):
        pass
