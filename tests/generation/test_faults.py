"""What runs out or goes wrong while images are made: memory, numbers, the disk, the time that a job has."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from runs import run

from afa_bench.cells import Plan
from afa_bench.errors import UserError
from afa_bench.generation.generator import Generator
from afa_bench.generation.monitor import NonFiniteMonitor
from afa_bench.memory import in_batches
from afa_bench.method import Denoiser
from afa_bench.plan import make_plan
from afa_bench.store.layout import CellStore
from afa_bench.store.retry import retry_failed
from afa_bench.suite import read_suite
from baselines.base import Base


def plan_of(suite: Path, **changes: object) -> Plan:
    document = yaml.safe_load(suite.read_text())
    suite.write_text(yaml.safe_dump(document | {"methods": [{"name": "base", "model": "one"}], **changes}))
    return make_plan(read_suite(suite))


@dataclass
class Faulty(Base):
    """The first model; what ``fault`` does with the inputs of the U-Net and the number of its call happens before each."""

    fault: object

    def build(self, group, models, options):
        calls = []

        def before(module, args):
            calls.append(len(args[0]))
            return self.fault(args, len(calls))

        denoiser = super().build(group, models, options)
        denoiser.unet.register_forward_pre_hook(before)
        return Denoiser(denoiser.unet, denoiser.text_encoders)


def made(plan: Plan, folder: Path, fault: object, batch_size: int = 8, shard: int = 0) -> list[dict[str, object]]:
    """The rows of a shard of the plan's only cell, made under a fault."""
    (cell,) = plan.cells
    faulty = SimpleNamespace(
        **{name: getattr(cell, name) for name in ("group", "options", "label", "task", "steps", "name", "title")}
    )
    faulty.method = Faulty(fault)
    return Generator(plan, "cpu", batch_size).run_shard(faulty, plan.shards(cell)[shard], CellStore(folder), lambda count: None)


def room_for(most: int):
    """A device whose memory holds so many latents; guidance asks for two a sample."""

    def fault(args, call):
        if len(args[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return fault


def test_the_batch_is_halved_until_it_fits_and_that_is_recorded(tiny_suite, tmp_path):
    plan = plan_of(tiny_suite)
    free = made(plan, tmp_path / "free", lambda args, call: None, batch_size=2)
    tight = made(plan, tmp_path / "tight", room_for(4))
    assert [row["batch"] for row in tight] == [2] * 10
    assert [row["seed"] for row in tight] == [row["seed"] for row in free]
    assert [row["sha256"] for row in tight] == [row["sha256"] for row in free]  # what a batch of two makes, to the byte
    assert not any(row["error"] for row in tight)


def test_memory_too_small_for_one_sample_stops_the_run(tiny_suite, tmp_path):
    with pytest.raises(UserError, match="tiny one 2 steps: cpu: one sample does not fit into its memory"):
        made(plan_of(tiny_suite), tmp_path / "cell", room_for(1))


def test_failed_samples_are_made_by_a_retry(tiny_suite, tmp_path):
    plan = plan_of(tiny_suite)
    out = tmp_path / "out"
    (cell,) = plan.cells
    store = CellStore(out / plan.name / cell.name)
    store.write_shard(
        0, [{**row, "file": None, "error": "RuntimeError: x"} for row in made(plan, store.folder, lambda *args: None)]
    )
    assert run(tiny_suite, out).failed == 10
    assert retry_failed(out / plan.name).failed == 10
    outcome = run(tiny_suite, out)
    assert (outcome.generated, outcome.failed) == (10, 0)
    (file,) = out.rglob("samples.parquet")
    assert set(pq.read_table(file).column("batch").to_pylist()) == {4, 2}


def test_models_that_do_not_fit_stop_the_run_with_their_name(tiny_suite, tmp_path):
    plan = plan_of(tiny_suite)

    class Huge(Base):
        def build(self, group, models, options):
            torch.empty(2**60)

    (cell,) = plan.cells
    huge = SimpleNamespace(**{**vars(cell), "method": Huge(), "name": "huge"})
    with pytest.raises(UserError, match="tiny, one: the models do not fit into the memory of cpu"):
        Generator(plan, "cpu", 4).run_shard(huge, plan.samples[:2], CellStore(tmp_path / "cell"), lambda count: None)


def test_halving_keeps_the_order_and_ends_at_one():
    seen = []

    def work(part: slice) -> list[int]:
        if part.stop - part.start > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.append(part)
        return list(range(20)[part])

    results, batch = in_batches(20, 16, work)
    assert [value for result in results for value in result] == list(range(20))
    assert batch == 2
    with pytest.raises(MemoryError):
        in_batches(2, 2, lambda part: torch.empty(2**60))
    with pytest.raises(RuntimeError, match="another"):
        in_batches(2, 2, lambda part: (_ for _ in ()).throw(RuntimeError("another")))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_stops_being_finite_is_a_row_with_its_step(tiny_suite, tmp_path, value):
    """The fourth sample's latents are spoilt before the second of three steps; the others of its batch go on."""

    def fault(args, call):
        if call % 3 == 2 and len(args[0]) == 16:
            latents = args[0].clone()
            latents[3 :: len(latents) // 2] = value
            return (latents, *args[1:])
        return None

    plan = plan_of(tiny_suite, steps=[3])
    rows = made(plan, tmp_path, fault)
    assert {index: row["error"] for index, row in enumerate(rows) if row["error"]} == {3: "not finite from step 2 of 3"}
    assert rows[3]["file"] is None
    assert len(list((tmp_path / "images").iterdir())) == 9


def test_a_decoder_that_overflows_is_told_from_the_sampler():
    """A pipeline clamps an infinite pixel to white."""
    decoder = torch.nn.Conv2d(4, 3, 1)
    pipeline = SimpleNamespace(vae=SimpleNamespace(decoder=decoder))
    latents = torch.ones(3, 4, 2, 2)
    with NonFiniteMonitor(pipeline) as monitor:
        for step in range(2):
            assert monitor.step(pipeline, step, 0, {"latents": latents}) == {}
        decoder(torch.stack([latents[0], latents[1] / 0, latents[2]]))
    assert monitor.errors() == [None, "not finite after the VAE; its latents were in all 2 steps", None]
    assert not decoder._forward_hooks


def mounted(folder: Path, size: str) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 4 MB."""
    folder = tmp_path / "disk"
    if not mounted(folder, "4m"):
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_run_before_anything_is_lost(tiny_suite, tmp_path, small_disk):
    plan_of(tiny_suite)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3_500_000))
    with pytest.raises(UserError, match="no space left on its disk"):
        run(tiny_suite, small_disk / "out")
    assert not list(small_disk.rglob("*.claim.*"))
    ballast.unlink()
    assert run(tiny_suite, small_disk / "out").generated == 10


def test_a_file_that_may_not_grow_is_named_and_leaves_nothing(tiny_suite, tmp_path):
    """A quota ends in the middle of a file: here, by the process' own limit."""
    plan_of(tiny_suite)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(UserError, match="cannot be written: File too large"):
            run(tiny_suite, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert run(tiny_suite, tmp_path / "out").generated == 10


TERMINATED = """
import os, signal, sys, time
from afa_bench import cli
from afa_bench.store.claims import claimed
from pathlib import Path
def work():
    with claimed(Path(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
def stubborn():
    try:
        work()
    finally:
        print("cleaning", flush=True)
        time.sleep(60)
cli.app = lambda: {"once": work, "twice": stubborn}[sys.argv[2]]
cli.main()
"""


def test_sigterm_releases_claims_and_says_how_to_go_on(tmp_path):
    words = [sys.executable, "-c", TERMINATED, str(tmp_path / "shard")]
    done = subprocess.run([*words, "once"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 143
    assert done.stderr == "afa-bench: terminated; run the same command again to go on\n"
    assert not list(tmp_path.iterdir())
    with subprocess.Popen([*words, "twice"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "cleaning\n"
        process.terminate()
        assert process.wait(timeout=30) == -signal.SIGTERM


@pytest.mark.slow
def test_a_run_that_is_terminated_goes_on_where_it_was(tiny_suite, tmp_path):
    plan_of(tiny_suite, steps=[5], images_per_prompt=20)
    words = [sys.executable, "-m", "afa_bench", "run", str(tiny_suite), "--out", str(tmp_path / "out"), "--batch-size", "2"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    while not list((tmp_path / "out").rglob("shard-*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert errors.rstrip().endswith("afa-bench: terminated; run the same command again to go on")
    assert not list((tmp_path / "out").rglob("*.claim.*"))
    done = sum(1 for _ in (tmp_path / "out").rglob("shard-*.json"))
    assert 1 <= done < 4
    outcome = run(tiny_suite, tmp_path / "out", batch_size=2)
    assert outcome.reused >= 32
    assert outcome.generated == 100 - outcome.reused
    run(tiny_suite, tmp_path / "whole", batch_size=2)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.png")} for name in ("out", "whole"))
    assert one == two
